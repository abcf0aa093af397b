"""What cages that write to a user's directory leave of its file system."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akiosd.cage.room import Overrun, Room, allowances, floor_of, is_short, next_look_s, who_waits

GIB, TIB = 1 << 30, 1 << 40
SIZES = st.integers(0, 1 << 50)
FASTEST = 4 << 30


@pytest.mark.parametrize(
    "keep_free, size, floor",
    [(GIB, TIB, GIB), (GIB, 10 * GIB, GIB // 2), (0, TIB, 0), (GIB, 0, 0)],
)
def test_a_small_file_system_is_useful_too(keep_free: int, size: int, floor: int) -> None:
    assert floor_of(keep_free, Room(size, size)) == floor


def test_it_goes_on_with_more_than_it_stood_still_at() -> None:
    floor = GIB
    assert not is_short(Room(floor, TIB), GIB)
    assert is_short(Room(floor - 1, TIB), GIB)
    assert is_short(Room(floor, TIB), GIB, was_short=True), "else it would freeze and thaw for ever"
    assert not is_short(Room(floor + GIB // 8, TIB), GIB, was_short=True)


def test_with_nothing_to_keep_free_it_never_stands_still() -> None:
    assert not is_short(Room(0, TIB), 0)
    assert not is_short(Room(0, TIB), 0, was_short=True)


@given(free=SIZES, size=SIZES, keep_free=SIZES)
def test_the_next_look_comes_before_the_floor_is_reached(
    free: int, size: int, keep_free: int
) -> None:
    """But for what is written in the shortest pause, and there is room for that."""
    room = Room(min(free, size), size)
    floor = floor_of(keep_free, room)
    pause = next_look_s(room, keep_free)
    assert (0.005 if floor else 0.05) <= pause <= 5
    if not is_short(room, keep_free):
        left = room.free - pause * FASTEST
        assert left >= floor - 0.05 * FASTEST - 1
        assert left >= -1 or floor < 0.005 * FASTEST


MIB = 1 << 20


def test_where_there_is_too_little_who_takes_more_of_it_waits() -> None:
    before = {"grows": 500 * MIB, "rewrites": 500 * MIB, "writes a line": 0}
    taken = {"grows": 520 * MIB, "rewrites": 500 * MIB, "writes a line": 4096, "new": 800 * MIB}
    assert who_waits(Room(GIB - 1, TIB), GIB, before, taken) == {"grows"}
    assert who_waits(Room(GIB, TIB), GIB, before, taken) == frozenset(), "there is enough"
    # It goes on waiting while it has what it took.
    assert who_waits(Room(GIB - 1, TIB), GIB, before, taken) == {"grows"}


def test_with_nothing_to_keep_free_only_what_does_not_fit_waits() -> None:
    before, taken = {"c": 0}, {"c": 10 * MIB}
    assert who_waits(Room(0, TIB), 0, before, taken) == frozenset()
    assert who_waits(Room(-1, TIB), 0, before, taken) == {"c"}


@given(
    free=st.integers(-(1 << 50), 1 << 50),
    keep_free=SIZES,
    before=st.dictionaries(st.text(), SIZES),
    taken=st.dictionaries(st.text(), SIZES),
)
def test_whoever_goes_on_took_little(
    free: int, keep_free: int, before: dict[str, int], taken: dict[str, int]
) -> None:
    room = Room(free, 1 << 50)
    waiting = who_waits(room, keep_free, before, taken)
    if is_short(room, keep_free):
        for name in taken.keys() - waiting:
            assert taken[name] - before.get(name, taken[name]) < MIB
    else:
        assert not waiting


@given(
    free=SIZES, size=SIZES, keep_free=SIZES, cages=st.integers(1, 40), writing=st.integers(0, 40)
)
def test_what_is_allowed_to_all_leaves_half_of_what_stays_free(
    free: int, size: int, keep_free: int, cages: int, writing: int
) -> None:
    room = Room(min(free, size), size)
    names = {str(number) for number in range(cages)}
    found = allowances(room, keep_free, names, {str(number) for number in range(writing)})
    assert found.keys() == names and min(found.values()) >= 2 * MIB
    beyond = sum(size for size in found.values() if size > 2 * MIB)
    assert room.free - beyond >= floor_of(keep_free, room) // 2 or not beyond
    assert next_look_s(room, keep_free, min(found.values())) <= next_look_s(room, keep_free)


def test_who_writes_on_is_ended_where_it_becomes_less() -> None:
    half = GIB // 2
    over = Overrun(10.0)
    assert not over.is_over(Room(0, TIB), GIB, 10.04), "it had no time"
    assert not over.is_over(Room(half, TIB), GIB, 11), "there is room"
    assert not over.is_over(Room(half - 1, TIB), GIB, 12)
    assert not over.is_over(Room(half - MIB, TIB), GIB, 13), "it becomes no less"
    assert over.is_over(Room(half - 1 - MIB, TIB), GIB, 14)
