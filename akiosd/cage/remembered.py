"""Remembers the newest ended cage of each user and workspace after its data is gone, so that
``last`` still names it.

Otherwise an older cage that left changes would be taken for the last one of its workspace.
"""

from __future__ import annotations

from collections.abc import Iterable

from akiosd.values.ids import DirectoryId
from akiosd.wire.messages import CageInfo

MAX_PER_USER = 256
"""Workspaces remembered for one user; beyond it the one that was used longest ago is forgotten."""


class Remembered:
    """A table of one cage for each (user, workspace)."""

    def __init__(self, infos: Iterable[CageInfo] = ()) -> None:
        self._newest: dict[tuple[int, DirectoryId | None], CageInfo] = {}
        for info in infos:
            self.add(info)

    def add(self, info: CageInfo) -> list[str]:
        """Remember ``info`` if it is the newest of its workspace; returns names that are no longer
        remembered, perhaps its own.
        """
        place = (info.uid, info.directory)
        known = self._newest.get(place)
        if known is not None and known.order > info.order:
            return [info.cage]
        dropped = [known.cage] if known is not None and known.cage != info.cage else []
        self._newest[place] = info
        own = [key for key in self._newest if key[0] == info.uid]
        if len(own) > MAX_PER_USER:
            dropped.append(self._newest.pop(min(own, key=lambda key: self._newest[key].order)).cage)
        return dropped

    def remove(self, cages: Iterable[str]) -> None:
        """Forget ``cages``, whose data was destroyed."""
        gone = set(cages)
        self._newest = {key: info for key, info in self._newest.items() if info.cage not in gone}

    def infos(self) -> list[CageInfo]:
        """All remembered cages, in no particular order."""
        return list(self._newest.values())
