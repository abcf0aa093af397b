"""What cages that write to a user's directory leave of its file system."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akiosd.cage.room import Room, floor_of, is_short, next_look_s, who_waits

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
    """But for what is written in the shortest pause, an eighth of the default's floor."""
    room = Room(min(free, size), size)
    pause = next_look_s(room, keep_free, is_short(room, keep_free))
    assert 0.05 <= pause <= 5
    if not is_short(room, keep_free):
        left = room.free - pause * FASTEST
        assert left >= floor_of(keep_free, room) - 0.05 * FASTEST - 1


MIB = 1 << 20


def test_who_has_much_to_write_waits_where_it_finds_no_room() -> None:
    room = Room(GIB + 100 * MIB, TIB)
    unwritten = {"much": 90 * MIB, "some": 20 * MIB, "nothing": 0}
    assert who_waits(room, GIB, unwritten, ()) == {"much", "some"}
    assert who_waits(room, GIB, {"much": 90 * MIB, "nothing": 0}, ()) == frozenset(), "it fits"
    # What was written meanwhile took its room, and whoever waits goes on waiting.
    later = {"much": 0, "some": 0, "nothing": 0}
    assert who_waits(Room(GIB - 10 * MIB, TIB), GIB, later, {"much"}) == {"much"}
    assert who_waits(Room(2 * GIB, TIB), GIB, later, {"much"}) == frozenset()


def test_with_nothing_to_keep_free_only_what_does_not_fit_waits() -> None:
    assert who_waits(Room(10 * MIB, TIB), 0, {"c": 10 * MIB}, ()) == frozenset()
    assert who_waits(Room(10 * MIB, TIB), 0, {"c": 10 * MIB + 1}, ()) == {"c"}


@given(
    free=SIZES,
    keep_free=SIZES,
    unwritten=st.dictionaries(st.text(), SIZES),
    waiting=st.sets(st.text()),
)
def test_whoever_goes_on_finds_room(
    free: int, keep_free: int, unwritten: dict[str, int], waiting: set[str]
) -> None:
    room = Room(free, 1 << 50)
    left = free - sum(unwritten.values())
    going_on = unwritten.keys() - who_waits(room, keep_free, unwritten, waiting)
    if left < floor_of(keep_free, room):
        assert all(unwritten[name] < MIB for name in going_on)
