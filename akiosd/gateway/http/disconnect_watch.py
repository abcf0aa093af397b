"""Noticing, while a request is answered, that the agent went away: what nobody waits for need not be paid for."""

from __future__ import annotations

import trio

from akiosd.gateway.http.agent_connection import Leaver, Wire

PATIENCE_SECONDS = 0.05
"""Most answers take less, and are not watched: to read from the agent meanwhile costs as much as to serve it."""


class Watch:
    """Of one connection.  :meth:`run` is a task for as long as it stands; requests :meth:`begin` and :meth:`end`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._leaver: Leaver | None = None
        self._some = trio.Event()
        self._reading: trio.CancelScope | None = None
        self._stopped = trio.Event()

    def begin(self, leaver: Leaver) -> None:
        self._leaver = leaver
        self._some.set()

    async def end(self) -> None:
        """Nobody but the caller reads from the agent when this returns."""
        self._leaver = None
        if self._reading is not None:
            self._reading.cancel()
            await self._stopped.wait()

    async def run(self) -> None:
        while True:
            await self._some.wait()
            seen = self._leaver
            await trio.sleep(PATIENCE_SECONDS)
            if self._leaver is None:
                self._some = trio.Event()
            elif self._leaver is seen:
                await self._read(seen)

    async def _read(self, leaver: Leaver) -> None:
        self._stopped = trio.Event()
        with trio.CancelScope() as self._reading:
            await self._wire.watch(leaver)
        self._reading = None
        self._stopped.set()
