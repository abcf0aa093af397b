"""Follows records and sends what they tell, for as long as it runs.

What waits to be sent is bounded: while a collector is away, records stay where they are.  akiosd
keeps a bounded number for each reader and says which it left out; those are read back from the log.
So a collector or an akiosd that was away costs time, and nothing else; nobody waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Protocol

import trio

from akiosctl.api.daemon_stream import subscribe, wait_back
from akiosctl.api.positions import note_place
from akiosctl.cages import list_cages
from akiosctl.client import Client, GoneError
from akiosctl.entry_time import time_of
from akiosctl.otlp.spans import Span, Tracer
from akiosctl.reconnect import Births, Told
from akiosctl.render import note
from akiosd.errors import AkiosError
from akiosd.wire.messages import CageInfo, Gap, LogEntries, ReadLog, Records, Subscribe

MOST_SPANS = 512
"""Spans that wait before they are sent, however short the time."""
SPANS_SECONDS = 2.0
METRICS_SECONDS = 15.0
_BEAT_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
_LAST_SECONDS = 5.0
_MOST_LOGS = 4096
_HOST = "host"

Outcome = Literal["sent", "later", "refused"]


class Sends(Protocol):
    """:class:`akiosctl.otlp.send.Sender`, whose methods wait for some seconds at most."""

    status: int

    def spans(self, spans: list[Span]) -> Outcome: ...

    def metrics(self) -> Outcome: ...


class Export:
    """``count`` is called with each record; those before ``since_ns`` (Unix time) are left out."""

    def __init__(
        self,
        control: str,
        events: str,
        sender: Sends,
        count: Callable[[bytes], None],
        since_ns: int = 0,
    ) -> None:
        self._control, self._events = control, events
        self._sender, self._count, self._since_ns = sender, count, since_ns
        self._tracer = Tracer()
        self._spans: list[Span] = []
        self._cursors: dict[str, int] = {}
        self._births: Births | None = None
        self._spans_s = self._metrics_s = time.monotonic()

    async def run(self, cages: tuple[str, ...], cursors: Mapping[str, int]) -> None:
        """For ever.  ``cages``: only these, all where empty; ``cursors``: logs to be read from
        there on.
        """
        self._cursors, told = dict(cursors), Told()
        try:
            while True:
                try:
                    await self._follow(cages)
                except GoneError:
                    told.gone()
                    await wait_back(self._control, AkiosError)
                    told.back()
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(_LAST_SECONDS):
                await self._try_spans()
                await self._try_metrics()

    async def _follow(self, cages: tuple[str, ...]) -> None:
        infos = await trio.to_thread.run_sync(self._list, abandon_on_cancel=True)
        if self._births is None:
            self._births = Births(infos)
        elif not cages:
            self._cursors |= self._births.missed(infos, self._cursors)
        self._tracer.known(info for info in infos if not info.ended_ns)
        # A log that was destroyed meanwhile has no more to tell.
        there = {_HOST, *(info.cage for info in infos)}
        self._cursors = {log: at for log, at in self._cursors.items() if log in there}
        request = Subscribe(cages=cages, cursors=self._cursors)
        async for message in subscribe(self._events, request, _BEAT_SECONDS):
            if isinstance(message, Records):
                await self._take(message.log, message.start, message.entries)
            elif isinstance(message, Gap):
                await self._read_back(message)
            if time.monotonic() - self._spans_s > SPANS_SECONDS:
                await self._send_spans()
            if time.monotonic() - self._metrics_s > METRICS_SECONDS:
                self._metrics_s = time.monotonic()
                await self._try_metrics()

    def _list(self) -> list[CageInfo]:
        with Client(self._control) as client:
            return list_cages(client, everyone=True)

    async def _take(self, log: str, start: int, entries: Iterable[bytes]) -> None:
        for index, entry in enumerate(entries, start):
            span = self._tracer.entry(log, index, entry)
            if not self._since_ns or time_of(entry) >= self._since_ns:
                self._count(entry)
                self._spans += [span] if span is not None else []
            note_place(self._cursors, log, index + 1, _MOST_LOGS)
            if len(self._spans) >= MOST_SPANS:
                await self._send_spans()

    async def _read_back(self, gap: Gap) -> None:
        """What akiosd did not keep for us is in the log, unless it is pruned."""
        start = gap.start
        while start < gap.stop:
            found = await trio.to_thread.run_sync(
                self._read, gap.log, start, gap.stop, abandon_on_cancel=True
            )
            if not found.entries:
                break
            await self._take(gap.log, found.start, found.entries)
            start = found.start + len(found.entries)
        note_place(self._cursors, gap.log, gap.stop, _MOST_LOGS)
        if start < gap.stop:
            note(f"{gap.stop - start} records of {gap.log} are gone, and were not sent")

    def _read(self, log: str, start: int, stop: int) -> LogEntries:
        with Client(self._control) as client:
            request = ReadLog(cage="" if log == _HOST else log, start=start, stop=stop)
            reply, _ = client.call(request, LogEntries)
            return reply

    # ---- sending -----------------------------------------------------------------------------

    async def _send_spans(self) -> None:
        """Until they are sent, or will never be: nothing is read meanwhile."""
        pause = _RETRY_SECONDS
        told = False
        while (outcome := await self._try_spans()) == "later":
            if not told:
                note("the collector does not take spans; they wait")
                told = True
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        if told and outcome == "sent":
            note("the collector takes spans again")

    async def _try_spans(self) -> Outcome:
        outcome: Outcome = "sent"
        if self._spans:
            send = list(self._spans)
            outcome = await trio.to_thread.run_sync(
                self._sender.spans, send, abandon_on_cancel=True
            )
        if outcome == "refused":
            note(f"the collector refused {len(self._spans)} spans: HTTP {self._sender.status}")
        if outcome != "later":
            self._spans.clear()
            self._spans_s = time.monotonic()
        return outcome

    async def _try_metrics(self) -> None:
        """What is not sent now is in the sums of the next time."""
        outcome = await trio.to_thread.run_sync(self._sender.metrics, abandon_on_cancel=True)
        if outcome == "refused":
            note(f"the collector refused metrics: HTTP {self._sender.status}")
