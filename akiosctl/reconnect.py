"""Goes on after a restart of akiosd, for verbs that follow something."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from akiosctl.client import Client, GoneError
from akiosctl.render import note

if TYPE_CHECKING:
    from akiosd.wire.messages import CageInfo

_PATIENCE_SECONDS = 60
_PAUSE_SECONDS = 0.2


class Births:
    """Cages that began while a follower had no connection: their logs it must read from the start,
    since nobody told it of them.
    """

    def __init__(self, infos: Iterable[CageInfo]) -> None:
        """``infos``: the list before what is followed begins."""
        self._order = max((info.order for info in infos), default=0)

    def missed(self, infos: Sequence[CageInfo], cursors: Mapping[str, int]) -> dict[str, int]:
        """Cursors for those that are newer than every cage of the list before, and unheard of."""
        new = {info.cage: 0 for info in infos if info.order > self._order}
        self._order = max((info.order for info in infos), default=self._order)
        return {cage: at for cage, at in new.items() if cage not in cursors}


class Told:
    """Says once that akiosd is gone, however often it is met so, and once that it is back."""

    def __init__(self) -> None:
        self._is_gone = False

    def gone(self) -> None:
        """It was lost, or was not there again."""
        if not self._is_gone:
            note("akiosd is gone; waiting until it is back")
        self._is_gone = True

    def back(self) -> None:
        """It has answered."""
        if self._is_gone:
            note("akiosd is back")
        self._is_gone = False


def wait_for_daemon(path: str) -> None:
    """Until akiosd takes connections again.  Raises :class:`GoneError` after a minute."""
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
