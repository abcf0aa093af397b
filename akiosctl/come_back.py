"""A run goes on while akiosd is restarted: its client comes back to the cage by itself.

What the agent writes does not pass akiosd, so it is printed on meanwhile; what the client asks for,
such as a signal, is asked for when akiosd is back.
"""

from __future__ import annotations

import time

from akiosctl.client import PlainClient
from akiosd.errors import AkiosError

_LONGER_S = 10.0
"""An akiosd that came back at the last moment needs some time to start."""
_QUIET_S = 2.0
_RETRY_S = 0.1
_MOST_KEPT = 16


class Absence:
    """One time that akiosd is away, until it answers: one that is being ended still takes
    connections, and systemd does in the place of one that has not started.

    ``gone`` is what the user is told if it stays away for longer than ``come_back_s``, when the
    cage has ended; ``whom`` names the cage, and the program of a standing one.
    """

    def __init__(
        self, path: str, whom: dict[str, object], gone: AkiosError, come_back_s: int
    ) -> None:
        self._patience_s = come_back_s + _LONGER_S
        self._path, self._whom, self._gone = path, whom, gone
        self._since = time.monotonic()
        self._said = False
        self._was_reached = False
        self.kept: list[tuple[str, dict[str, object]]] = []
        """Requests that wait until it is back."""

    def keep(self, name: str, fields: dict[str, object]) -> None:
        """Ask for this when akiosd is back.  Of many signals some are dropped; a stop never is."""
        if name == "stop":
            if (name, fields) not in self.kept:
                self.kept.append((name, fields))
        elif len(self.kept) < _MOST_KEPT:
            self.kept.append((name, fields))

    def look(self) -> tuple[PlainClient, int] | None:
        """Try to come back: a connection and the number of the request to rejoin, or None for not
        yet.  To be asked again where the connection ends unanswered.  Raises AkiosError when akiosd
        has been away for too long.
        """
        client = self._connect()
        return (client, client.request("rejoin", self._whom)) if client is not None else None

    def _connect(self) -> PlainClient | None:
        away = time.monotonic() - self._since
        if self._was_reached and away > self._patience_s:
            raise self._gone
        try:
            client = PlainClient(self._path)
        except AkiosError:
            if away > self._patience_s:
                raise self._gone from None
            if away > _QUIET_S and not self._said:
                self._said = True
                from akiosctl.render import note

                cage = self._whom["cage"]
                note(f"akiosd is away; {cage} goes on, and waits for it where it needs it")
            return None
        self._was_reached = True
        return client

    def wait(self) -> tuple[PlainClient, int]:
        """Look until it is back, as :meth:`look` does."""
        client = self.wait_connected()
        return client, client.request("rejoin", self._whom)

    def wait_connected(self) -> PlainClient:
        """The same where nothing was begun that could be rejoined: a connection."""
        if self._was_reached:
            time.sleep(_RETRY_S)
        while (client := self._connect()) is None:
            time.sleep(_RETRY_S)
        return client
