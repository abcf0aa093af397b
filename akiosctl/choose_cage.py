"""Decides which cage a verb means.  Pure.

Without a word, or as ``last``, it is the newest cage of the caller's in this very directory,
changed or not; ``last~2`` is the second before that. Otherwise it is the newest of the caller's
cages that was given this name, or the cage of this id, or of an id that begins so.

A directory is the one that akiosd found behind the descriptor, never a name: a link to it, or its
new name after a rename, lead to the same cages; another directory under its old name does not.
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
_LAST = re.compile(r"last(?:~([0-9]{1,6}))?")
_ID_PART = re.compile(r"(?:c-)?[0-9a-z]{1,12}")

_LIST = "list those that run or have changes: akiosctl ps"

Need = Literal["", "running", "changes", "view"]


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
    back = count_back(name)
    found = _last(own, here, name, back) if back is not None else _named(own, others, name, writes)
    lack = _lacks(found, need)
    if lack:
        same = [cage for cage in own if _is_at(cage, found.directory) and not _lacks(cage, need)]
        better = newest(same) if back is not None else None
        problem, other = "has no changes", _LIST
        if lack == "end":
            problem = "still runs"
            other = f"wait until it has ended, or end it: akiosctl stop {found.cage}"
        elif lack == "running":
            problem, other = "has ended", _LIST
        instead = better.cage if better else ""
        hint = (
            f"you may mean {instead}, also of this directory: give that name" if better else other
        )
        if back is None:
            what = f"{found.cage} {problem}"
        elif name == LAST:
            what = f"{found.cage}, the last cage here, {problem}"
        else:
            what = f"{name} means {found.cage} in this directory, and that cage {problem}"
        raise AkiosError(what, place(found), hint)
    return found


def count_back(name: str) -> int | None:
    """How many cages before the last one a word means, 0 for ``last`` itself; None for any other
    word.
    """
    found = _LAST.fullmatch(name)
    return int(found[1] or 0) if found else None


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


def _last(own: Sequence[CageInfo], here: DirectoryId | None, name: str, back: int) -> CageInfo:
    found = sorted((cage for cage in own if _is_at(cage, here)), key=_age, reverse=True)
    if len(found) > back:
        return found[back]
    elsewhere = newest(own)
    if elsewhere is None:
        raise AkiosError("you have no cages", name, "start one: akiosctl run -- COMMAND")
    if found:
        known = "1 cage" if len(found) == 1 else f"{len(found)} cages"
        raise AkiosError(
            f"you have only {known} of this directory",
            name,
            f"the oldest is {found[-1].cage}; list them: akiosctl ps --all",
        )
    what = "no cage of yours was started in this directory"
    raise AkiosError(
        what, name, f"your newest is {elsewhere.cage} in {place(elsewhere)}: name it, or go there"
    )


def _named(
    own: Sequence[CageInfo], others: Sequence[CageInfo], name: str, writes: bool
) -> CageInfo:
    exact = [cage for cage in (*own, *others) if cage.cage == name]
    if exact:
        return exact[0]
    called = newest([cage for cage in own if name and cage.name == name])
    if called is not None:
        return called
    found = match_beginning(own, name)
    if len(found) > 1:
        several = ", ".join(f"{cage.cage} in {place(cage)}" for cage in found[:_MAX_NAMED])
        raise AkiosError(
            f"{name!r} could be {len(found)} cages: {several}", "cage", "give more of the name"
        )
    if found and (not writes or len(name.removeprefix("c-")) >= MIN_PREFIX):
        return found[0]
    strangers = [cage for cage in others if name and cage.name == name] if not found else []
    strangers = strangers or (match_beginning(others, name) if not found else [])
    if len(strangers) == 1 and not writes:
        return strangers[0]
    near = found or strangers
    if near:
        raise AkiosError(
            f"{name!r} is not the whole id of a cage",
            "cage",
            f"give all of it, {near[0].cage}, if you mean that one",
        )
    raise AkiosError(f"there is no cage {name!r}", "cage", "list them: akiosctl ps --all")


def match_beginning(cages: Sequence[CageInfo], name: str) -> list[CageInfo]:
    """Those whose id begins so, with or without ``c-``."""
    if _ID_PART.fullmatch(name) is None:
        return []
    return [cage for cage in cages if cage.cage.startswith((name, f"c-{name}"))]


def _lacks(cage: CageInfo, need: Need) -> Literal["", "running", "end", "changes"]:
    """What a verb needs of a cage that this one is not, or has not."""
    if need == "running" and cage.ended_ns:
        return "running"
    if need == "changes" and not cage.ended_ns:
        return "end"
    if need == "view" and not cage.ended_ns:
        return ""
    if need in ("changes", "view") and not cage.changes:
        return "changes"
    return ""


def is_whole(name: str) -> bool:
    """Whether it could be the id of a cage of which nothing but its log is left."""
    return is_cage_id(name)
