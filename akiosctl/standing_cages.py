"""The caller's standing cages, up and down, for the verbs that are not on the way of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from akiosctl.cages import list_cages
from akiosctl.render import escape
from akiosd.errors import AkiosError

if TYPE_CHECKING:
    from akiosctl.client import Client
    from akiosd.wire.messages import CageInfo


def list_standing(client: Client) -> list[CageInfo]:
    """The caller's standing cages, the oldest first."""
    return [cage for cage in list_cages(client) if cage.standing]


def find_standing(cages: Sequence[CageInfo], name: str | None) -> CageInfo:
    """The one that ``name`` means, by its name or id; the only one without a word.  Raises
    AkiosError.
    """
    if name is None:
        if len(cages) == 1:
            return cages[0]
        known = ", ".join(cage.name for cage in cages)
        what = f"you have {len(cages)} standing cages: {known}" if cages else _NONE
        raise AkiosError(what, "cage", "name one" if cages else _MAKE)
    found = [cage for cage in cages if name in (cage.name, cage.cage)]
    if not found:
        raise AkiosError(
            f"you have no standing cage {name!r}", "cage", "list yours: akiosctl cage list"
        )
    return found[-1]


_NONE, _MAKE = "you have no standing cage", "make one: akiosctl cage up NAME"


def words_of_standstill(cage: CageInfo) -> str:
    """Why a cage stands still that nobody paused, in a line of its own: no column has room for
    it; "" for any other.
    """
    if cage.ended_ns or not cage.reason:
        return ""
    return f"{escape(cage.name or cage.cage)} stands still: {escape(cage.reason)}"


def state_of(cage: CageInfo) -> str:
    """``up``, ``paused``, ``down``, or what it is on its way to."""
    if cage.ended_ns:
        return "down"
    return "up" if cage.state == "running" else cage.state
