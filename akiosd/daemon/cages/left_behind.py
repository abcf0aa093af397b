"""Threads of akiosd's that wait for a user's file system although their cage has ended: few for each user.

Nothing ends such a wait but the file system, so it is counted until it is over, and the user begins no cage meanwhile
when there are too many.
"""

from __future__ import annotations

from collections import Counter

from akiosd.errors import CageFailedError

MOST = 4
_waiting: Counter[int] = Counter()


def check(uid: int) -> None:
    """Before a cage of this user's begins.  CageFailedError when too much waits."""
    if _waiting[uid] >= MOST:
        what = f"{_waiting[uid]} threads of akiosd wait for file systems of yours that do not answer"
        raise CageFailedError(what, "workspace", "see which of them hang, and unmount or mend them")


def count(uid: int) -> int:
    return _waiting[uid]


def add(uid: int) -> None:
    _waiting[uid] += 1


def remove(uid: int) -> None:
    _waiting[uid] -= 1
