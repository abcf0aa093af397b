"""Remembers ended cages after their data is gone, so that people can ask what became of them, and
``last`` still names the last one.

Of each user the newest ``most`` are remembered until they are too old; the newest one of each
workspace stays beyond that, because an older cage that left changes would otherwise be taken for
the last one of its workspace. One user's cages never push out another's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from akiosd.values.ids import DirectoryId
from akiosd.wire.messages import CageInfo

MAX_PER_USER = 256
"""Workspaces whose newest cage is remembered for one user, whatever ``most`` is; beyond it the one
that was used longest ago is forgotten.
"""


class Remembered:
    """The ended cages of all users, by their ids."""

    def __init__(self, infos: Iterable[CageInfo] = (), most: int = MAX_PER_USER) -> None:
        self.most = most
        self._of: dict[int, dict[str, CageInfo]] = {}
        for info in infos:
            self._of.setdefault(info.uid, {})[info.cage] = info

    def add(self, info: CageInfo) -> list[str]:
        """Remember ``info``; returns names that are no longer remembered, perhaps its own."""
        own = self._of.setdefault(info.uid, {})
        own[info.cage] = info
        if len(own) <= min(self.most, MAX_PER_USER):
            return []
        newest = sorted(own.values(), key=lambda one: one.order, reverse=True)
        stays = {one.cage for one in newest[: self.most]} | _newest_of_each_place(newest)
        stays |= _standing(newest)
        return self._keep_only(own, stays)

    def expire(self, is_old: Callable[[str], bool]) -> list[str]:
        """Forget cages that ``is_old`` says are, but none that is the newest of its workspace;
        returns their names.
        """
        gone = []
        for own in self._of.values():
            newest = sorted(own.values(), key=lambda one: one.order, reverse=True)
            stays = _newest_of_each_place(newest) | _standing(newest)
            stays |= {name for name in own if name not in stays and not is_old(name)}
            gone += self._keep_only(own, stays)
        return gone

    def _keep_only(self, own: dict[str, CageInfo], stays: set[str]) -> list[str]:
        gone = sorted((one.order, name) for name, one in own.items() if name not in stays)
        for _, name in gone:
            del own[name]
        return [name for _, name in gone]

    def remove(self, cages: Iterable[str]) -> None:
        """Forget ``cages``, whose data was destroyed."""
        for name in cages:
            for own in self._of.values():
                own.pop(name, None)

    def infos(self) -> list[CageInfo]:
        """All remembered cages, in no particular order."""
        return [info for own in self._of.values() for info in own.values()]


def _standing(infos: list[CageInfo]) -> set[str]:
    """Names of standing cages: they are down with their data until somebody takes them down."""
    return {info.cage for info in infos if info.standing}


def _newest_of_each_place(newest: list[CageInfo]) -> set[str]:
    """Names of the newest cage of each workspace; ``newest`` are one user's, the newest first."""
    places: dict[DirectoryId | None, str] = {}
    for info in newest:
        if len(places) < MAX_PER_USER:
            places.setdefault(info.directory, info.cage)
    return set(places.values())
