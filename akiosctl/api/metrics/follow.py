"""Counts what happens, from the first time that somebody asks for metrics.

One subscription for all who ask.  While akiosd is away it waits, and takes up where it stopped.
"""

from __future__ import annotations

import trio

from akiosctl.api.daemon_stream import subscribe, wait_back
from akiosctl.api.metrics.count import Counts
from akiosctl.api.positions import note_place
from akiosctl.client import GoneError
from akiosd.errors import AkiosError
from akiosd.wire.messages import Records, Subscribe

_REFUSED_SECONDS = 60.0
_MOST_LOGS = 512


class Meter:
    """``want`` once makes it count, where ``run`` runs."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._wanted = trio.Event()
        self._cursors: dict[str, int] = {}

    def want(self) -> None:
        """Somebody collects: count from now on."""
        self._wanted.set()

    async def run(self, events: str, control: str) -> None:
        """For ever; ``events`` and ``control`` are akiosd's sockets."""
        await self._wanted.wait()
        while True:
            try:
                await self._follow(events)
            except GoneError:
                await wait_back(control, AkiosError)
            except AkiosError:  # refused: too many connections, or a log that was destroyed
                self._cursors.clear()
                await trio.sleep(_REFUSED_SECONDS)

    async def _follow(self, path: str) -> None:
        async for message in subscribe(path, Subscribe(cursors=self._cursors)):
            if isinstance(message, Records):
                self.counts.entries(message.entries)
                stop = message.start + len(message.entries)
            elif message is not None:
                stop = message.stop
                self.counts.add("akios_records_missed", (), stop - message.start)
            else:
                continue
            note_place(self._cursors, message.log, stop, _MOST_LOGS)
