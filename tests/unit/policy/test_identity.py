"""Ids: whatever the numbers are, nothing is the host's root and nobody is taken for the agent."""

from __future__ import annotations

from itertools import combinations

from akiosd.daemon.base.config import Uids
from akiosd.policy.compile.identity import (
    AGENT_ID,
    DISPLAY_COUNT,
    Lines,
    cage_map,
    caller_map,
    lookup,
    reverse,
    system_map,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

NO_ID = 2**32 - 1
# user_namespaces(7): more lines than this the kernel does not take.
MAX_LINES = 340

_UIDS = Uids()
hosts = st.integers(_UIDS.first_cage, _UIDS.first_cage + _UIDS.cage_count - 1)
displays = st.integers(_UIDS.first_cage + _UIDS.cage_count, NO_ID - 1 - DISPLAY_COUNT)
# Directories give numbers far above what a local user has.
people = st.integers(0, DISPLAY_COUNT - 1) | st.sampled_from(
    [0, 1, AGENT_ID, 65533, 65534, DISPLAY_COUNT - 1]
)
insides = st.sampled_from([AGENT_ID, 0, 1, 65534]) | people
on_disk = st.integers(0, NO_ID - 1) | people

checked = settings(max_examples=150, deadline=None)


def disjoint(ranges: list[tuple[int, int]]) -> bool:
    return all(a + n <= b or b + m <= a for (a, n), (b, m) in combinations(ranges, 2))


def check_map(lines: Lines) -> None:
    """What the kernel demands of a uid_map, and what we do."""
    assert 0 < len(lines) <= MAX_LINES
    assert all(count > 0 and inside >= 0 and outside > 0 for inside, outside, count in lines)
    assert all(
        inside + count <= NO_ID and outside + count <= NO_ID for inside, outside, count in lines
    )
    assert disjoint([(inside, count) for inside, _, count in lines]), "one id inside is two outside"
    assert disjoint([(outside, count) for _, outside, count in lines]), (
        "two ids inside are one outside"
    )
    assert lookup(reverse(lines), 0) is None, "an id inside is the host's root"


@checked
@given(insides, hosts, displays)
def test_a_cages_map_is_injective_and_never_reaches_host_root(
    inside: int, host: int, display: int
) -> None:
    check_map(cage_map(inside, host, display))


@checked
@given(people, insides, hosts, displays)
@example(0, AGENT_ID, _UIDS.first_cage, _UIDS.display_base)
@example(AGENT_ID, AGENT_ID, _UIDS.first_cage, _UIDS.display_base)
@example(0, 0, _UIDS.first_cage, _UIDS.display_base)
def test_a_callers_map_is_injective_and_never_reaches_host_root(
    c: int, inside: int, host: int, display: int
) -> None:
    check_map(caller_map(c, inside, host, display))


@checked
@given(displays)
def test_system_trees_belong_to_the_display_range(display: int) -> None:
    check_map(system_map(display))
    assert system_map(display) == ((0, display, DISPLAY_COUNT),)


@checked
@given(insides, hosts, displays)
def test_only_the_agents_number_is_the_cages_own_id(inside: int, host: int, display: int) -> None:
    lines = cage_map(inside, host, display)
    assert lookup(lines, inside) == host
    assert [line for line in lines if line[1] < display] == [(inside, host, 1)]


@checked
@given(people, insides, hosts, displays)
def test_the_callers_files_are_the_agents(
    caller: int, inside: int, host: int, display: int
) -> None:
    assert lookup(caller_map(caller, inside, host, display), caller) == host


def shown(owner: int, caller: int, inside: int, host: int, display: int) -> int | None:
    """The number ``ls -n`` shows in the cage for a file of ``owner`` in the caller's workspace;
    None is nobody.
    """
    middle = lookup(caller_map(caller, inside, host, display), owner)
    return None if middle is None else lookup(reverse(cage_map(inside, host, display)), middle)


@checked
@given(on_disk, people, insides, hosts, displays)
def test_nobody_elses_file_looks_like_the_agents(
    owner: int, caller: int, inside: int, host: int, display: int
) -> None:
    seen = shown(owner, caller, inside, host, display)
    assert (seen == inside) == (owner == caller)
    if owner not in (caller, inside) and owner < DISPLAY_COUNT:
        assert seen == owner, "owners keep their numbers"
    if owner == inside != caller:
        assert seen == caller, "the two are shown swapped"


@checked
@given(on_disk, insides, hosts, displays)
def test_no_system_file_looks_like_the_agents(
    owner: int, inside: int, host: int, display: int
) -> None:
    """Its number may be that of the agent; the agent's own id it is not."""
    assert lookup(system_map(display), owner) != host


@checked
@given(on_disk, people, insides, hosts, displays)
def test_what_is_mapped_is_mapped_back(
    owner: int, caller: int, inside: int, host: int, display: int
) -> None:
    for lines in (
        caller_map(caller, inside, host, display),
        cage_map(inside, host, display),
        system_map(display),
    ):
        middle = lookup(lines, owner)
        assert middle is None or lookup(reverse(lines), middle) == owner
        assert reverse(reverse(lines)) == lines


@checked
@given(people, insides, hosts, displays)
def test_the_agents_files_are_the_callers_when_it_looks(
    caller: int, inside: int, host: int, display: int
) -> None:
    back = reverse(caller_map(caller, inside, host, display))
    assert lookup(back, host) == caller
    roots = lookup(caller_map(caller, inside, host, display), 0)
    assert roots is not None and lookup(back, roots) == 0 and (roots == host) == (caller == 0)


@checked
@given(st.lists(st.tuples(people, people, people), max_size=4).map(tuple), people)
def test_lookup_finds_the_line_or_nothing(lines: Lines, number: int) -> None:
    first = [line for line in lines if line[0] <= number < line[0] + line[2]]
    assert lookup(lines, number) == (first[0][1] + number - first[0][0] if first else None)
