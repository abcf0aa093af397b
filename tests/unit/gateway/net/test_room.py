"""The memory for large answers: never more than it has and one answer, in order, and nobody waits
for ever.
"""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.gateway.net.room import Room

MOST = 100
ANSWERS = st.lists(
    st.tuples(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.booleans()),
    min_size=1,
    max_size=12,
)


@given(ANSWERS)
@settings(max_examples=100, deadline=None)
def test_all_end_within_the_bound(answers: list[tuple[list[int], bool]]) -> None:
    """However they grow and whichever are cancelled, everyone else comes to an end."""
    room, ended, largest = Room(MOST), list[int](), max(sum(sizes) for sizes, _ in answers)

    async def answer(number: int, sizes: list[int], leaves: bool) -> None:
        with trio.CancelScope() as scope, room.share() as share:
            for size in sizes:
                await share.grow(size)
                assert room.held <= MOST + largest
                await trio.lowlevel.checkpoint()
                if leaves:
                    scope.cancel()
            assert share.size == sum(sizes)
            ended.append(number)

    async def main() -> None:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for number, (sizes, leaves) in enumerate(answers):
                    nursery.start_soon(answer, number, sizes, leaves)

    trio.run(main)
    assert set(ended) >= {number for number, (_, leaves) in enumerate(answers) if not leaves}
    assert room.held == 0


async def grows(room: Room, sizes: list[int], done: list[int], end: trio.Event) -> None:
    with room.share() as share:
        for size in sizes:
            await share.grow(size)
            done.append(size)
        await end.wait()


async def test_first_come_first_served(autojump_clock: trio.testing.MockClock) -> None:
    room, done = Room(MOST), list[int]()
    ends = [trio.Event() for _ in range(4)]
    async with trio.open_nursery() as nursery:
        for sizes, end in zip([[60], [39], [50], [1]], ends, strict=True):
            nursery.start_soon(grows, room, sizes, done, end)
            await trio.testing.wait_all_tasks_blocked()
        # There is room for the last, but it came after one that waits.
        assert done == [60, 39] and room.held == 99
        ends[1].set()
        await trio.testing.wait_all_tasks_blocked()
        assert done == [60, 39]
        ends[0].set()
        await trio.testing.wait_all_tasks_blocked()
        # Both at once, so that either may say so first.
        assert sorted(done[2:]) == [1, 50] and room.held == 51
        ends[2].set()
        ends[3].set()
    assert room.held == 0


async def test_the_first_never_waits_for_those_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Each holds half and wants more: the first gets it, and then the second."""
    room, done = Room(MOST), list[int]()
    ends = [trio.Event(), trio.Event()]
    first = trio.Event()

    async def grow_later(size: int, end: trio.Event) -> None:
        with room.share() as share:
            await share.grow(50)
            await first.wait()
            await share.grow(size)
            done.append(size)
            await end.wait()

    async with trio.open_nursery() as nursery:
        for size, end in zip([70, 80], ends, strict=True):
            nursery.start_soon(grow_later, size, end)
            await trio.testing.wait_all_tasks_blocked()
        first.set()
        await trio.testing.wait_all_tasks_blocked()
        assert done == [70] and room.held == 170
        ends[0].set()
        await trio.testing.wait_all_tasks_blocked()
        assert done == [70, 80] and room.held == 130
        ends[1].set()


async def test_who_leaves_while_waiting_gives_way(autojump_clock: trio.testing.MockClock) -> None:
    room, done, end = Room(MOST), list[int](), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(grows, room, [90], done, end)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1) as patience:
            await grows(room, [20], done, end)
        assert patience.cancelled_caught and done == [90] and room.held == 90
        end.set()
        await grows(room, [20], done, end)
    assert room.held == 0
