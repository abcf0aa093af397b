"""Cages that ended and left nothing: one for each user and workspace, so that the last cage there stays the last.

Without them the newest cage of a workspace that changed something would pass for its last.
"""

from __future__ import annotations

from collections.abc import Iterable

from akiosd.values.ids import DirectoryId
from akiosd.wire.messages import CageInfo

MAX_PER_USER = 256
"""Workspaces of one user; past that the one longest unused is forgotten."""


class Remembered:
    """A table; ``add`` says which entries it drops."""

    def __init__(self, infos: Iterable[CageInfo] = ()) -> None:
        self._newest: dict[tuple[int, DirectoryId | None], CageInfo] = {}
        for info in infos:
            self.add(info)

    def add(self, info: CageInfo) -> list[str]:
        """The names of cages that are no longer remembered, perhaps this one's."""
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
        """Their data was destroyed."""
        gone = set(cages)
        self._newest = {key: info for key, info in self._newest.items() if info.cage not in gone}

    def infos(self) -> list[CageInfo]:
        return list(self._newest.values())
