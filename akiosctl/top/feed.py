"""What ``top`` knows, from akiosd: one connection that asks, one subscription for what begins and
ends, and one for the cage that is looked at closely.

Nothing is asked for each cage.  While akiosd is away it waits, says so, and takes up where it was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import trio

from akiosctl.api.daemon_stream import subscribe
from akiosctl.cages import list_cages
from akiosctl.client import Client, GoneError
from akiosctl.top.one_cage import MOST_RECORDS
from akiosctl.verbs.stop import end
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds
from akiosd.wire.messages import (
    BudgetInfo,
    BudgetReply,
    CageInfo,
    CageUse,
    Gap,
    LedgerInfo,
    LedgerReply,
    Measure,
    Measured,
    Ok,
    Pause,
    Records,
    Subscribe,
)

EVERY_SECONDS = 2.0
_LIST_AGAIN_SECONDS = 60.0
"""Also where no record says that something changed: a commit stands in the host's log only."""
_RETRY_SECONDS = 1.0
_GRACE_NS = 10_000_000_000
_TELLING = ("birth", "started", "end", "system_changed")
"""Records after which the list is another one."""


class Sink(Protocol):
    """Who is told.  All of it is called between two steps of the loop that runs the feed."""

    def listed(self, infos: list[CageInfo]) -> None: ...

    def measured(self, uses: list[CageUse]) -> None: ...

    def away(self, why: AkiosError | None) -> None:
        """akiosd cannot be asked; None: it can again."""

    def opened(self, cage: str, start: int) -> None: ...

    def entries(self, cage: str, start: int, entries: tuple[bytes, ...]) -> None: ...

    def gap(self, cage: str, start: int, stop: int) -> None: ...

    def spent(self, cage: str, budget: BudgetReply | None) -> None: ...

    def said(self, text: str, is_bad: bool) -> None: ...


def measure(client: Client) -> list[CageUse]:
    """What all running cages use that may be seen, in one request for each 64 of them."""
    found: list[CageUse] = []
    more = True
    while more:
        after = found[-1].cage if found else ""
        reply, _ = client.call(Measure(everyone=True, after=after), Measured)
        found += reply.cages
        more = reply.more and bool(reply.cages)
    return found


class Feed:
    """``run`` in Trio's loop; the other methods may be called beside it, in the same thread."""

    def __init__(self, control: str, events: str, sink: Sink) -> None:
        self._control, self._events, self._sink = control, events, sink
        self._client: Client | None = None
        self._wake = trio.Event()
        self._changed = True
        self._known_ns = 0.0
        self._open = ""
        self._looking = trio.CancelScope()
        self._orders = trio.open_memory_channel[Callable[[], Awaitable[None]]](16)

    async def run(self) -> None:
        """For ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask_again_and_again)
            nursery.start_soon(self._hear_of_changes)
            nursery.start_soon(self._look)
            async for order in self._orders[1]:
                await order()

    def look_at(self, cage: str) -> None:
        """Follow the log of this cage from now on; "" for none."""
        self._open = cage
        self._looking.cancel()
        self._wake.set()

    def list_again(self) -> None:
        """Something changed."""
        self._changed = True
        self._wake.set()

    def stop(self, cage: str) -> None:
        """End a cage as ``akiosctl stop`` does."""
        self._order(cage, f"{cage} has ended", lambda client: end(client, cage, _GRACE_NS))

    def pause(self, cage: str, paused: bool) -> None:
        """Pause a standing cage, or let it go on."""
        said = f"{cage} {'stands still' if paused else 'goes on'}"
        self._order(cage, said, lambda client: client.call(Pause(cage=cage, paused=paused), Ok))

    def _order(self, cage: str, said: str, act: Callable[[Client], object]) -> None:
        try:
            self._orders[0].send_nowait(partial(self._carry_out, said, act))
        except trio.WouldBlock:
            self._sink.said(f"{cage}: wait until the requests before are answered", True)

    async def _carry_out(self, said: str, act: Callable[[Client], object]) -> None:
        """On a connection of its own: an end takes up to ten seconds."""

        def ask() -> None:
            with Client(self._control) as client:
                act(client)

        try:
            await trio.to_thread.run_sync(ask, abandon_on_cancel=True)
        except AkiosError as error:
            self._sink.said(f"{error.what}; {error.next}" if error.next else error.what, True)
        else:
            self._sink.said(said, False)
        self.list_again()

    # ---- what is asked -----------------------------------------------------------------------

    async def _ask_again_and_again(self) -> None:
        is_away = False
        while True:
            self._wake = trio.Event()
            try:
                await self._ask()
            except AkiosError as error:
                self._drop()
                is_away = self._changed = True
                self._sink.away(error)
            else:
                if is_away:
                    is_away = False
                    self._sink.away(None)
            with trio.move_on_after(_RETRY_SECONDS if is_away else EVERY_SECONDS):
                await (trio.sleep_forever() if is_away else self._wake.wait())

    async def _ask(self) -> None:
        changed = self._changed or time.monotonic() - self._known_ns > _LIST_AGAIN_SECONDS
        self._changed = False
        infos, uses, budget = await trio.to_thread.run_sync(
            self._ask_all, changed, self._open, abandon_on_cancel=True
        )
        if infos is not None:
            self._known_ns = time.monotonic()
            self._sink.listed(infos)
        self._sink.measured(uses)
        if self._open:
            self._sink.spent(self._open, budget)

    def _ask_all(
        self, changed: bool, cage: str
    ) -> tuple[list[CageInfo] | None, list[CageUse], BudgetReply | None]:
        if self._client is None:
            self._client = Client(self._control)
        client = self._client
        infos = list_cages(client, everyone=True) if changed else None
        uses = measure(client)
        budget = None
        if any(use.cage == cage for use in uses):
            try:
                budget, _ = client.call(BudgetInfo(cage=cage), BudgetReply)
            except GoneError:
                raise
            except AkiosError:
                budget = None  # it ended meanwhile, or a monitor may not ask
        return infos, uses, budget

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    # ---- what is heard -----------------------------------------------------------------------

    async def _hear_of_changes(self) -> None:
        """What begins and ends, and nothing else: it costs akiosd a look at the kind."""
        while True:
            try:
                async for _ in subscribe(self._events, Subscribe(kinds=_TELLING)):
                    self.list_again()
            except AkiosError:
                await trio.sleep(_RETRY_SECONDS)

    async def _look(self) -> None:
        while True:
            with trio.CancelScope() as self._looking:
                cage = self._open
                if not cage:
                    await trio.sleep_forever()
                await self._follow(cage)

    async def _follow(self, cage: str) -> None:
        position = -1
        while True:
            try:
                if position < 0:
                    size = await trio.to_thread.run_sync(self._size, cage, abandon_on_cancel=True)
                    position = max(0, size - MOST_RECORDS)
                    self._sink.opened(cage, position)
                request = Subscribe(cages=(cage,), cursors={cage: position})
                async for message in subscribe(self._events, request, math.inf):
                    if isinstance(message, Records):
                        self._sink.entries(cage, message.start, message.entries)
                        position = message.start + len(message.entries)
                    elif isinstance(message, Gap):
                        self._sink.gap(cage, message.start, message.stop)
                        position = message.stop
            except GoneError:
                await trio.sleep(_RETRY_SECONDS)
            except AkiosError as error:
                self._sink.said(f"{error.what}; {error.next}" if error.next else error.what, True)
                await trio.sleep_forever()

    def _size(self, cage: str) -> int:
        with Client(self._control) as client:
            reply, fds = client.call(LedgerInfo(cage=cage), LedgerReply)
            close_fds(fds)
            return reply.size
