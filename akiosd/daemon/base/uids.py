"""Host ids for cages and gateways: no two living cages share one, and none is reused while changes
are owned by it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path

from akiosd.errors import AkiosError, CageFailedError

_BLOCK = 1000


class CageUids:
    """Hands out ``count`` ids from ``first`` on, in order, so that each is used again as late as
    possible.

    The position is remembered in ``path``, in blocks, so that a restart does not reuse recent ids.
    ``kept`` returns the ids that own changes waiting for a commit; it is asked each time.
    """

    def __init__(self, path: Path, first: int, count: int) -> None:
        self._path, self._first, self._count = path, first, count
        self.kept: Callable[[], Collection[int]] = tuple
        self._living: set[int] = set()
        try:
            self._next = int(path.read_text())
        except FileNotFoundError:
            # Two daemons on one host share the range: a start of its own keeps their cages' ids
            # apart.
            self._next = int.from_bytes(os.urandom(4), "big") % count
        except ValueError as error:
            raise AkiosError(
                "the file that says which uid the next cage gets holds no number",
                str(path),
                "delete it, and start akiosd again: it then chooses anew where to begin, and gives"
                " no cage the uid of one with uncommitted changes",
            ) from error
        self._reserved = self._next

    @property
    def left(self) -> int:
        """How many ids are free."""
        kept = sum(
            self._first <= uid < self._first + self._count for uid in {*self.kept()} - self._living
        )
        return self._count - len(self._living) - kept

    def take(self) -> int:
        """An id, which is the caller's until :meth:`give_back`.  CageFailedError when all are in
        use.
        """
        kept = self.kept()
        for _ in range(min(self._count, len(self._living) + len(kept) + 1)):
            uid = self._first + self._next % self._count
            self._advance()
            if uid not in self._living and uid not in kept:
                self._living.add(uid)
                return uid
        what = (
            f"all {self._count} uids for cages are in use, {len(kept)} of them by uncommitted"
            " changes"
        )
        raise CageFailedError(
            what,
            "uids.cage_count in akiosd.yaml",
            "commit or discard changes, or ask the administrator to raise uids.cage_count",
        )

    def adopt(self, uid: int) -> None:
        """An earlier akiosd had handed it out, and something still runs as it."""
        self._living.add(uid)

    def give_back(self, uid: int) -> None:
        """Nothing runs as ``uid`` any more, and what its cage left is gone or is among ``kept``."""
        self._living.discard(uid)

    def _advance(self) -> None:
        if self._next >= self._reserved:
            self._reserved = self._next + _BLOCK
            fresh = self._path.with_suffix(".new")
            fresh.write_text(str(self._reserved))
            fresh.rename(self._path)
        self._next += 1
