"""Notices, while a request is answered, that the agent went away, so that the call to the upstream
can be stopped.
"""

from __future__ import annotations

import trio

from akiosd.gateway.http.agent_connection import Leaver, Wire

PATIENCE_SECONDS = 0.05
"""Watching begins so long after the request: most answers take less time, and reading from the
agent costs as much as serving it.
"""


class Watch:
    """The watch over one connection.  :meth:`run` is a task for the whole connection; each request
    calls :meth:`begin`, then :meth:`end`.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._leaver: Leaver | None = None
        self._some = trio.Event()
        self._reading: trio.CancelScope | None = None
        self._stopped = trio.Event()

    def begin(self, leaver: Leaver) -> None:
        """A request is being answered; ``leaver`` is told when the agent goes away."""
        self._leaver = leaver
        self._some.set()

    async def end(self) -> None:
        """The request is answered.  When this returns, nobody but the caller reads from
        the agent.
        """
        self._leaver = None
        if self._reading is not None:
            self._reading.cancel()
            await self._stopped.wait()

    async def run(self) -> None:
        """Runs until it is cancelled."""
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
