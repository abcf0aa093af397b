"""Ids: who the agent is on the host, and who files appear to belong to.  Pure arithmetic on ranges.

One host uid belongs to each cage, and only the agent runs under it.  Every other id, inside or on a
disk, is shown in one shared *display range* in which nothing runs, so that owners look right and
nothing foreign maps to the agent.  Lines are ``(first inside, first outside, count)`` as in uid_map
(user_namespaces(7)); for an idmapped mount "inside" is the id on disk (mount_setattr(2)).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from akiosd.values.ids import Lines

DISPLAY_COUNT = 0x70000000
"""How many ids the display range shows: everything below it keeps its owner's number."""

AGENT_ID = 1000


class Identity(msgspec.Struct, frozen=True):
    """Who the agent is.

    ``host_id`` is the cage's own uid on the host, ``host_gid`` its gid: the same number unless the
    cage runs as its caller. ``inside`` and ``inside_gid`` are their numbers in the cage.
    ``display`` is the first id of the display range.
    """

    host_id: int
    host_gid: int
    display: int
    caller_uid: int
    caller_gid: int
    inside: int = AGENT_ID
    inside_gid: int = AGENT_ID


def _shifted(special: dict[int, int], display: int, skip: Iterable[int] = ()) -> Lines:
    """``x → display + x`` for the whole range, except for ``special``; ``skip`` stays unmapped."""
    lines: list[tuple[int, int, int]] = []
    start = 0
    for point in sorted({*special, *skip}):
        if point > start:
            lines.append((start, display + start, point - start))
        if point in special:
            lines.append((point, special[point], 1))
        start = point + 1
    if start < DISPLAY_COUNT:
        lines.append((start, display + start, DISPLAY_COUNT - start))
    return tuple(lines)


def cage_map(inside: int, host_id: int, display: int) -> Lines:
    """The map of the cage's user namespace: the agent's number is its own host id, all others lie
    in the display range.
    """
    return _shifted({inside: host_id}, display)


def system_map(display: int) -> Lines:
    """The map of system trees: owners keep their numbers, and nothing belongs to the agent."""
    return _shifted({}, display)


def caller_map(caller: int, inside: int, host_id: int, display: int) -> Lines:
    """The map of workspace and toolchain: the caller's files are the agent's.

    Files of whoever has the agent's number on the host appear under the caller's number, so that
    the two cannot be confused.
    """
    special = {caller: host_id}
    if caller != inside:
        special[inside] = display + caller
    return _shifted(special, display)


def reverse(lines: Lines) -> Lines:
    """The same map in the other direction, to show a cage's files to its caller."""
    return tuple(sorted((outside, inside, count) for inside, outside, count in lines))


def lookup(lines: Lines, number: int) -> int | None:
    """The outside id of ``number``; None when it is not mapped."""
    for inside, outside, count in lines:
        if inside <= number < inside + count:
            return outside + number - inside
    return None
