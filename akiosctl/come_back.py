"""A run goes on while akiosd is restarted: its client comes back to the cage by itself.

What the agent writes does not pass akiosd, so it is printed on meanwhile; what the client asks for,
such as a signal, is asked for when akiosd is back.
"""

from __future__ import annotations

import time

from akiosctl.client import PlainClient
from akiosd.errors import AkiosError

PATIENCE_S = 90.0
"""The keeper ends cages whose akiosd has been away for so long."""
PAUSE_S = 0.1
_QUIET_S = 2.0
_MOST_KEPT = 16


class Absence:
    """One time that akiosd is away.  ``gone`` is what the user is told if it stays away."""

    def __init__(self, path: str, cage: str, gone: AkiosError) -> None:
        self._path, self._cage, self._gone = path, cage, gone
        self._since = time.monotonic()
        self._said = False
        self.kept: list[tuple[str, dict[str, object]]] = []
        """Requests that wait until it is back."""

    def keep(self, name: str, fields: dict[str, object]) -> None:
        """Ask for this when akiosd is back; too many of them are dropped."""
        if len(self.kept) < _MOST_KEPT:
            self.kept.append((name, fields))

    def look(self) -> tuple[PlainClient, int] | None:
        """Try to come back: a connection and the number of the request to rejoin, or None for not
        yet.  Raises AkiosError when it has been away for too long.
        """
        away = time.monotonic() - self._since
        try:
            client = PlainClient(self._path)
        except AkiosError:
            if away > PATIENCE_S:
                raise self._gone from None
            if away > _QUIET_S and not self._said:
                self._said = True
                from akiosctl.render import note

                note(f"akiosd is away; {self._cage} goes on, and waits for it where it needs it")
            return None
        return client, client.request("rejoin", {"cage": self._cage})
