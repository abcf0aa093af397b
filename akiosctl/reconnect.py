"""Goes on after a restart of akiosd, for verbs that follow something."""

from __future__ import annotations

import time

from akiosctl.client import Client, GoneError
from akiosctl.render import note

_PATIENCE_SECONDS = 60
_PAUSE_SECONDS = 0.2


def wait_for_daemon(path: str, *, says: bool) -> None:
    """Until akiosd takes connections again; ``says`` that it waits.  Raises :class:`GoneError`
    after a minute.
    """
    if says:
        note("akiosd is gone; waiting until it is back")
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        # Also before the first try: one that stops takes connections for a moment longer.
        time.sleep(_PAUSE_SECONDS)
        try:
            Client(path).close()
        except GoneError:
            if time.monotonic() > deadline:
                raise
        else:
            return
