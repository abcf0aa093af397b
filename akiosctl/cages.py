"""Cages by the names people give them: whole, a unique beginning, or ``last``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from akiosd.errors import AkiosError

if TYPE_CHECKING:
    from akiosctl.client import Client
    from akiosd.wire.messages import CageInfo

_WHOLE_NAME = re.compile(r"^c-[a-z0-9]{12}$")


def list_cages(client: Client, everyone: bool = False) -> list[CageInfo]:
    """The caller's own cages, or all that they may see, oldest first."""
    from akiosd.wire.messages import Cages, List

    found: list[CageInfo] = []
    more = True
    while more:
        reply, _ = client.call(List(everyone=everyone, after=found[-1].cage if found else ""), Cages)
        found += reply.cages
        more = reply.more and bool(reply.cages)
    return sorted(found, key=lambda cage: cage.started_ns)


def find_cage(client: Client, name: str) -> CageInfo:
    """The cage called ``name``: one of the caller's, else, by its name alone, one that they may see.

    Raises :class:`AkiosError` when none or several are.
    """
    cages = list_cages(client)
    if name == "last":
        if not cages:
            raise AkiosError("you have no cages", "last", "start one: akiosctl run -- COMMAND")
        return cages[-1]
    found = match_cages(cages, name)
    if not found:
        found = match_cages(list_cages(client, everyone=True), name)
    if len(found) == 1:
        return found[0]
    if not found:
        raise AkiosError(f"there is no cage {name!r}", "cage", "list them: akiosctl ps --all")
    several = ", ".join(cage.cage for cage in found[:5])
    raise AkiosError(f"{name!r} could be {len(found)} cages: {several}", "cage", "give more of the name")


def find_log(client: Client, name: str) -> str:
    """The cage whose log is called ``name``: also one that ended and left nothing but its log, by its whole name."""
    try:
        return find_cage(client, name).cage
    except AkiosError:
        if _WHOLE_NAME.match(name) is None:
            raise
        return name


def match_cages(cages: list[CageInfo], name: str) -> list[CageInfo]:
    """Those called exactly so, else those whose id begins so, with or without ``c-``."""
    exact = [cage for cage in cages if cage.cage == name]
    return exact or [cage for cage in cages if name and cage.cage.startswith((name, f"c-{name}"))]
