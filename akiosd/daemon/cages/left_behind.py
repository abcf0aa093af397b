"""Counts threads of akiosd that wait for a user's file system although their cage has ended, and
bounds them for each user.

Only the file system can end such a wait, so a thread is counted until it is over; with too many of
them the user may not begin another cage.
"""

from __future__ import annotations

from collections import Counter

from akiosd.errors import CageFailedError
from akiosd.kernel.user_tree import FIND_HANGING

MOST = 4
"""Waiting threads of one user with which no further cage begins."""
_waiting: Counter[int] = Counter()


def check(uid: int) -> None:
    """To be called before a cage of this user begins: CageFailedError when too many
    threads wait.
    """
    if _waiting[uid] >= MOST:
        what = f"akiosd still waits for {_waiting[uid]} answers of your file systems"
        raise CageFailedError(what, "workspace", FIND_HANGING)


def add(uid: int) -> None:
    """One more thread waits."""
    _waiting[uid] += 1


def remove(uid: int) -> None:
    """A thread's wait is over."""
    _waiting[uid] -= 1
