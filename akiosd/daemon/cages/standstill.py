"""Has everything in a cage stand still for a while, and tells why.

A cage may have several reasons at once: it is paused, it waits for room, its changes are read. It
goes on when the last of them is gone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from akiosd.daemon.base.log import get_log
from akiosd.daemon.cages.keep_cage import KeptCage
from akiosd.errors import AkiosError, DeniedError
from akiosd.kernel.cgroup import CageCgroup

_log = get_log("cage")
PATIENCE_S = 3.0
"""Within which everything in a cage has come to a standstill, or waits in the kernel."""
_LOOK_S = 0.005
_PAUSED, _DISK, _WRITTEN = "paused", "room for its disk", "room where it writes"


class Standstill:
    """Of the cage ``cage``, whose processes are in ``cgroup``; ``is_running`` tells whether its
    agent, or its init, is.
    """

    def __init__(
        self, cage: str, cgroup: CageCgroup, kept: KeptCage, is_running: Callable[[], bool]
    ) -> None:
        self._cage, self._cgroup, self._kept, self._is_running = cage, cgroup, kept, is_running
        self._reasons: set[object] = set()
        self.is_paused = False
        """By :meth:`pause`."""
        self.short_of_room = ""
        """Why it waits for room for its disk, "" while it does not."""
        self.why_written: Callable[[], str] = str
        """Why it waits for room where it writes to directly, "" while it does not."""
        self._changed = trio.Event()

    @property
    def is_asked(self) -> bool:
        """Whether everything in it is to stand still, for whatever reason."""
        return bool(self._reasons)

    @property
    def why(self) -> str:
        """Why it does without having been paused, "" where it does not."""
        return self.short_of_room or self.why_written()

    def freeze(self, frozen: bool, reason: object = None) -> None:
        """Begin or end a standstill.  Raises :class:`AkiosError`."""
        if frozen:
            self._reasons.add(reason)
        else:
            self._reasons.discard(reason)
        if self._is_running():
            self._cgroup.freeze(bool(self._reasons))

    def pause(self, paused: bool) -> None:
        """Begin or end the standstill that a user asked for; another akiosd knows of it."""
        if self.is_paused != paused:
            self.is_paused = paused
            self.freeze(paused, _PAUSED)
            self._kept.remember(paused=paused)

    def wait_for_room(self, why: str) -> None:
        """Stand still because of ``why``, or go on where that is ""."""
        self.freeze(bool(why), _DISK)
        self.short_of_room = why
        self._tell()

    def wait_where_written(self, frozen: bool) -> None:
        """The same for a directory of a user's that it writes to."""
        self.freeze(frozen, _WRITTEN)
        self._tell()

    def take_up(self, paused: bool) -> None:
        """Of a cage that another akiosd began: whatever else it stood still for was that one's."""
        self.is_paused = paused
        if paused:
            self._reasons.add(_PAUSED)

    def is_still(self) -> bool:
        """Whether nothing goes on: a call that is under way does."""
        try:
            return not self._is_running() or self._cgroup.is_frozen()
        except AkiosError:
            return True  # its group went meanwhile

    async def wait_still(self) -> None:
        """Until the kernel says that everything does."""
        while not self._cgroup.is_frozen():
            await trio.sleep(_LOOK_S)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def tell(self, tell: Callable[[str], Awaitable[object]]) -> None:
        """Call ``tell`` with why it stands still, and with "" when it goes on, until cancelled."""
        told = ""
        while True:
            changed = self._changed
            if self.why != told:
                told = self.why
                await tell(told)
            else:
                await changed.wait()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Everything in the cage stands still inside the ``with``.  Raises :class:`DeniedError`
        where it does not run, or does not stop.
        """
        reason = object()
        if not self._is_running():
            what = f"the agent of {self._cage} is not running: it is starting, or has ended"
            raise DeniedError(what, "diff", "ask again, or see akiosctl ps --all")
        self.freeze(True, reason)
        try:
            with trio.move_on_after(PATIENCE_S) as patience:
                await self.wait_still()
            if patience.cancelled_caught:
                raise DeniedError(
                    f"{self._cage} cannot be paused: one of its programs waits in the kernel,"
                    " probably for a disk or a network, and does not stop",
                    "diff",
                    "try again in a minute, or when the cage has ended",
                )
            yield
        finally:
            try:
                self.freeze(False, reason)
            except AkiosError as error:
                # It ended meanwhile: there is nothing to thaw.
                _log.info("a pause ended with its cage", cage=self._cage, why=error.what)
