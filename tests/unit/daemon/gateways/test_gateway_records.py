"""What a gateway may write into its cage's log: at the policy's pace, while there is room,
counted.
"""

from __future__ import annotations

import trio
import trio.testing

from akiosd.daemon.base.priority import Bulk, Hurry
from akiosd.daemon.gateways.gateway_records import Book
from akiosd.values.ids import LogId
from akiosd.values.policy import Limits
from akiosd.values.records import GatewayFailed, encode_entry

RECORD = GatewayFailed(ts=1, what="x")


class Ledger:
    """As much of the real one as a book asks for."""

    def __init__(self) -> None:
        self.has_room = True
        self.made_room = trio.Event()
        self.entries: list[bytes] = []

    async def wait_room(self) -> None:
        await self.made_room.wait()

    def size(self, log: LogId) -> int:
        return len(self.entries)

    def append_many(self, log: LogId, entries: list[bytes]) -> int:
        self.entries += entries
        return len(self.entries) - len(entries)


def book(ledger: Ledger, rate: int, counted: list[int]) -> Book:
    limits = Limits(events_per_second=rate)
    return Book(ledger, LogId("c-000000000001"), limits, counted.append, Bulk(Hurry()))  # type: ignore[arg-type]


async def test_a_flood_comes_at_the_policys_pace(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.jump(1000)
    ledger, began = Ledger(), trio.current_time()
    of_ten = book(ledger, 10, [])
    for _ in range(100):
        await of_ten.append([RECORD])
    # Those of one second come at once.
    assert 8.9 <= trio.current_time() - began <= 9.1
    began = trio.current_time()
    await of_ten.append([RECORD] * 50)
    assert 4.9 <= trio.current_time() - began <= 5.1, "many in one report are many"


async def test_without_a_limit_nothing_waits(autojump_clock: trio.testing.MockClock) -> None:
    began = trio.current_time()
    for _ in range(100):
        await book(Ledger(), 0, []).append([RECORD])
    assert trio.current_time() == began


async def test_nothing_is_written_while_the_ledger_is_full(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ledger, counted = Ledger(), list[int]()
    ledger.has_room = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(book(ledger, 0, counted).append, [RECORD])
        await trio.testing.wait_all_tasks_blocked()
        assert ledger.entries == [] and counted == []
        ledger.made_room.set()
    assert ledger.entries == [encode_entry(RECORD)] and counted == [len(encode_entry(RECORD))]
