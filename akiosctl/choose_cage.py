"""Decides which cage a verb means.  Pure.

Without a name, or as ``last``, it is the newest cage of the caller's in this very directory,
changed or not; with a name, the cage of that id. A directory is the one that akiosd found behind
the descriptor, never a name: a link to it, or its new name after a rename, lead to the same cages;
another directory under its old name does not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from akiosctl.render import escape
from akiosd.errors import AkiosError
from akiosd.values.ids import DirectoryId, is_cage_id
from akiosd.wire.messages import CageInfo

LAST = "last"
MIN_PREFIX = 4
"""Characters of an id that a verb which changes something takes for its beginning: two cages rarely
share them.
"""
_MAX_NAMED = 5
_ID_PART = re.compile(r"(?:c-)?[0-9a-z]{1,12}")

Need = Literal["", "running", "changes"]


def choose(
    own: Sequence[CageInfo],
    others: Sequence[CageInfo],
    here: DirectoryId | None,
    name: str,
    *,
    writes: bool = False,
    need: Need = "",
) -> CageInfo:
    """The one cage ``name`` means.  ``own`` are the caller's, ``others`` the rest that they may
    see, in any order.

    ``writes``: the verb changes something, so it takes no short beginning, and somebody else's cage
    only by its whole name.  ``need``: what the cage must have for the verb.  Raises
    :class:`AkiosError` when none or several are meant.
    """
    found = _last(own, here) if name == LAST else _named(own, others, name, writes)
    problem = _lacks(found, need)
    if problem:
        same = [cage for cage in own if _is_at(cage, found.directory) and not _lacks(cage, need)]
        better = newest(same) if name == LAST else None
        hint = (
            f"of this directory {better.cage} could be meant: name it"
            if better
            else "list them: akiosctl ps --all"
        )
        what = f"{found.cage}{', the last cage here,' if name == LAST else ''} {problem}"
        raise AkiosError(what, place(found), hint)
    return found


def place(cage: CageInfo) -> str:
    """Its directory, fit to be shown."""
    return escape(cage.workspace)


def newest(cages: Sequence[CageInfo]) -> CageInfo | None:
    """The cage that started last; None of none."""
    return max(cages, key=_age, default=None)


def _age(cage: CageInfo) -> tuple[int, int, str]:
    return cage.order, cage.started_ns, cage.cage


def _is_at(cage: CageInfo, here: DirectoryId | None) -> bool:
    return here is not None and cage.directory is not None and cage.directory.is_same(here)


def _last(own: Sequence[CageInfo], here: DirectoryId | None) -> CageInfo:
    found = newest([cage for cage in own if _is_at(cage, here)])
    if found is not None:
        return found
    elsewhere = newest(own)
    if elsewhere is None:
        raise AkiosError("you have no cages", LAST, "start one: akiosctl run -- COMMAND")
    what = "no cage of yours was started in this directory"
    raise AkiosError(
        what, LAST, f"your newest is {elsewhere.cage} in {place(elsewhere)}: name it, or go there"
    )


def _named(
    own: Sequence[CageInfo], others: Sequence[CageInfo], name: str, writes: bool
) -> CageInfo:
    exact = [cage for cage in (*own, *others) if cage.cage == name]
    if exact:
        return exact[0]
    found = match_beginning(own, name)
    if len(found) > 1:
        several = ", ".join(f"{cage.cage} in {place(cage)}" for cage in found[:_MAX_NAMED])
        raise AkiosError(
            f"{name!r} could be {len(found)} cages: {several}", "cage", "give more of the name"
        )
    if found and (not writes or len(name.removeprefix("c-")) >= MIN_PREFIX):
        return found[0]
    strangers = match_beginning(others, name) if not found else []
    if len(strangers) == 1 and not writes:
        return strangers[0]
    near = found or strangers
    if near:
        raise AkiosError(
            f"{name!r} is only the beginning of a name",
            "cage",
            f"give all of it, {near[0].cage}, if you mean that one",
        )
    raise AkiosError(f"there is no cage {name!r}", "cage", "list them: akiosctl ps --all")


def match_beginning(cages: Sequence[CageInfo], name: str) -> list[CageInfo]:
    """Those whose id begins so, with or without ``c-``."""
    if _ID_PART.fullmatch(name) is None:
        return []
    return [cage for cage in cages if cage.cage.startswith((name, f"c-{name}"))]


def _lacks(cage: CageInfo, need: Need) -> str:
    if need == "running" and cage.ended_ns:
        return "has ended"
    if need == "changes" and not cage.ended_ns:
        return "still runs"
    if need == "changes" and not cage.changes:
        return "has no changes"
    return ""


def is_whole(name: str) -> bool:
    """Whether it could be the id of a cage of which nothing but its log is left."""
    return is_cage_id(name)
