"""Counts what happens, from the first time that somebody asks for metrics.

One subscription for all who ask.  While akiosd is away it waits, and takes up where it stopped;
cages that came and went meanwhile are counted from their start.
"""

from __future__ import annotations

import trio

from akiosctl.api.daemon_stream import subscribe, wait_back
from akiosctl.api.metrics.count import Counts
from akiosctl.api.positions import note_place
from akiosctl.cages import list_cages
from akiosctl.client import Client, GoneError
from akiosctl.reconnect import Births
from akiosd.errors import AkiosError
from akiosd.wire.messages import CageInfo, Records, Subscribe

_REFUSED_SECONDS = 60.0
_MOST_LOGS = 4096
_HOST = "host"


class Meter:
    """``want`` once makes it count, where ``run`` runs."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._wanted = trio.Event()
        self._cursors: dict[str, int] = {}
        self._births: Births | None = None

    def want(self) -> None:
        """Somebody collects: count from now on."""
        self._wanted.set()

    async def run(self, events: str, control: str) -> None:
        """For ever; ``events`` and ``control`` are akiosd's sockets."""
        await self._wanted.wait()
        while True:
            try:
                await self._follow(events, control)
            except GoneError:
                await wait_back(control, AkiosError)
            except AkiosError:  # refused: too many connections
                self._cursors.clear()
                self._births = None
                await trio.sleep(_REFUSED_SECONDS)

    async def _follow(self, path: str, control: str) -> None:
        infos = await trio.to_thread.run_sync(_list, control, abandon_on_cancel=True)
        if self._births is None:
            self._births = Births(infos)
        else:
            self._cursors |= self._births.missed(infos, self._cursors)
        # A log that was destroyed meanwhile has no more to tell.
        there = {_HOST, *(info.cage for info in infos)}
        self._cursors = {log: at for log, at in self._cursors.items() if log in there}
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


def _list(control: str) -> list[CageInfo]:
    with Client(control) as client:
        return list_cages(client, everyone=True)
