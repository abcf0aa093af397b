"""Goes on after a restart of akiosd, for verbs that follow something."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from akiosctl.client import Client, DaemonError
from akiosctl.render import note
from akiosd.errors import AkiosError

_PATIENCE_SECONDS = 60
_PAUSE_SECONDS = 0.2


class Lost(Exception):
    """akiosd closed the connection: it stops, or was killed."""


@contextmanager
def lost_when_closed() -> Iterator[None]:
    """Around a receive alone: what akiosd refuses is an error as before."""
    try:
        yield
    except DaemonError:
        raise
    except AkiosError:
        raise Lost from None


def wait_for_daemon(path: str) -> None:
    """Until akiosd takes connections again.  Raises :class:`AkiosError` after a minute."""
    note("akiosd is gone; waiting until it is back")
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            Client(path).close()
        except AkiosError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return
