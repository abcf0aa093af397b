"""The authority over a cage's money, over a real ledger: what is recorded, durable when, and lost
with a gateway.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from akiosd.daemon.base.priority import Bulk, Hurry
from akiosd.daemon.gateways.gateway_records import Book
from akiosd.daemon.gateways.spend import Spend
from akiosd.daemon.ledger.append import Ledger
from akiosd.errors import ProtocolError
from akiosd.meter.budget import PATIENCE_NS
from akiosd.values.denial import Denial
from akiosd.values.ids import CageId, LogId
from akiosd.values.policy import Budget, Limits
from akiosd.values.records import LlmCall, Record, SpendWarning, decode_entry
from akiosd.values.spend import Ask, Bill, Grant, ModelSpend, Tokens, Trail
from akiosd.values.units import NS_PER_S, USD

CAGE = CageId("c-000000000001")
LIMITS = Budget(usd_micro=1_000, same_request=3)


class Bench:
    """A Spend whose clock stands still until it is moved."""

    def __init__(self, ledger: Ledger, budget: Budget) -> None:
        self.ledger, self.log, self.clock, self.ended = (
            ledger,
            LogId(CAGE),
            0,
            list[tuple[str, str]](),
        )
        self.bytes = list[int]()
        book = Book(ledger, self.log, Limits(), self.bytes.append, Bulk(Hurry()))
        self.spend = Spend(
            budget,
            book,
            lambda kind, detail: self.ended.append((kind, detail)),
            now_ns=lambda: 7,
            clock_ns=lambda: self.clock,
        )

    async def records(self, kind: type) -> list[object]:
        entries = await self.ledger.read(self.log, 0, 10_000)
        return [record for _, entry in entries if isinstance(record := decode_entry(entry), kind)]

    @property
    def durable(self) -> int:
        return self.ledger._sequencer.logs[self.log].durable


@asynccontextmanager
async def bench(state: Path, budget: Budget = LIMITS) -> AsyncIterator[Bench]:
    ledger = Ledger.open(state, time.time_ns, os.urandom, segment_bytes=1 << 20)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(ledger.run)
            ledger.open_log(CAGE)
            yield Bench(ledger, budget)
            await ledger.aclose()


def ask(request: bytes = b"", **fields: int) -> Ask:
    return Ask("openai", "gpt-4o", request, **{"output": 10, "output_usd_nano": 10_000, **fields})


async def test_a_call_is_granted_settled_and_recorded(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        assert await b.spend.reserve(1, ask(input_tokens=5)) == Grant(100)
        assert (
            b.spend.describe("x").open_calls == 1
            and b.spend.describe("x").reserved_usd_micro == 100
        )
        b.clock = 3 * NS_PER_S
        assert b.spend.describe("x").open[0].age_ns == 3 * NS_PER_S
        await b.spend.settle(1, Bill("completed", 42, Tokens(5, 7), status=200, stream=True))
        await b.ledger.wait_durable(b.log, b.ledger.size(b.log) - 1)
        assert await b.records(LlmCall) == [
            LlmCall(
                ts=7,
                provider="openai",
                model="gpt-4o",
                outcome="completed",
                usd_micro=42,
                reserved_usd_micro=100,
                total_usd_micro=42,
                tokens=Tokens(5, 7),
                status=200,
                stream=True,
                duration_ns=3 * NS_PER_S,
            )
        ]
        told = b.spend.describe("x")
        assert (told.usd_micro, told.calls, told.input_tokens, told.output_tokens, told.open) == (
            42,
            1,
            5,
            7,
            (),
        )
        assert told.models == (ModelSpend("openai/gpt-4o", 1, 42, 5, 7),)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=type(told)) == told


async def test_a_refusal_is_durable_before_it_is_answered(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        verdict = await b.spend.reserve(1, ask(input_usd_micro=2_000))
        assert isinstance(verdict, Denial) and not verdict.final
        assert b.durable == b.ledger.size(b.log) == 2
        assert await b.records(SpendWarning) == [
            SpendWarning(
                ts=7,
                provider="openai",
                model="gpt-4o",
                rule="budget.usd",
                words=verdict.words,
                needs=2_100,
            )
        ]
        assert b.ended == [] and b.spend.describe("x").refused == 1


async def test_the_end_is_told_once_and_after_its_record(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.spend.reserve(1, ask(input_usd_micro=2_000))
        b.clock = PATIENCE_NS
        sizes = []
        b.spend._on_final = lambda kind, detail: sizes.append((kind, detail, b.durable))
        for call in (2, 3, 4):
            verdict = await b.spend.reserve(call, ask(input_usd_micro=2_000))
            assert isinstance(verdict, Denial) and verdict.final
        assert sizes == [
            ("budget", "$0.001 too small: $0.00 used, this call needs room for $0.00201", 3)
        ]


async def test_a_loop_ends_the_cage_with_its_reason(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        same = msgspec.structs.replace(ask(b"same"), trail=Trail(live=True))
        for call in (1, 2):
            assert isinstance(await b.spend.reserve(call, same), Grant)
            await b.spend.settle(call, Bill("completed", 1, answer=b"x"))
        verdict = await b.spend.reserve(3, same)
        assert isinstance(verdict, Denial) and verdict.status == 400 and b.ended == []
        b.clock = PATIENCE_NS
        await b.spend.reserve(4, same)
        assert b.ended == [("loop", "same request and answer 3 times (budget.same_request is 3)")]


async def test_a_bill_over_the_budget_ends_the_cage(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.spend.reserve(1, ask())
        await b.spend.settle(1, Bill("completed", 5_000))
        assert b.ended == [("budget", "$0.001 spent")]


async def test_a_dead_gateway_costs_what_it_had_open_and_the_next_one_goes_on(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as b:
        for call in (1, 2, 3):
            await b.spend.reserve(call, ask())
        await b.spend.settle(2, Bill("completed", 10))
        await b.spend.gateway_lost()
        told = b.spend.describe("x")
        assert (told.usd_micro, told.reserved_usd_micro, told.open_calls, told.calls) == (
            210,
            0,
            0,
            3,
        )
        # The next gateway counts its calls from the beginning.
        assert await b.spend.reserve(1, ask()) == Grant(100)
        await b.ledger.wait_durable(b.log, b.ledger.size(b.log) - 1)
        await b.spend.settle(2, Bill("completed", 10))  # booked already
        made = [(call.outcome, call.usd_micro, call.estimated) for call in await b.records(LlmCall)]
        assert made == [("completed", 10, False), ("cut", 100, True), ("cut", 100, True)]
        assert (await b.records(LlmCall))[-1].total_usd_micro == 210


async def test_a_call_asked_for_again_has_its_answer_and_no_more_money(tmp_path: Path) -> None:
    """As a gateway asks that does not know what an earlier akiosd answered."""
    async with bench(tmp_path) as b:
        first = await b.spend.reserve(1, ask(output=1_000))
        # What it asks for now plays no part.
        assert isinstance(first, Grant)
        assert await b.spend.reserve(1, ask(output=7)) == first
        assert b.spend.account.reserved_usd_micro == first.usd_micro
        refused = await b.spend.reserve(2, ask(input_usd_micro=2_000))
        b.clock = 2 * PATIENCE_NS
        again = await b.spend.reserve(2, ask(input_usd_micro=2_000))
        assert again == refused and isinstance(again, Denial) and not again.final
        assert len(await b.records(SpendWarning)) == 1 and b.ended == []
        # The control: another call that is refused then ends the cage.
        last = await b.spend.reserve(3, ask(input_usd_micro=2_000))
        assert isinstance(last, Denial) and last.final and b.ended


async def test_the_close_books_what_is_open_and_then_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.spend.reserve(1, ask())
        await b.spend.close()
        size = b.ledger.size(b.log)
        await b.ledger.wait_durable(b.log, size - 1)
        assert b.spend.account.usd_micro == 100 and len(await b.records(LlmCall)) == 1
        await b.spend.settle(1, Bill("completed", 1))
        await b.spend.gateway_lost()
        await b.spend.close()
        verdict = await b.spend.reserve(2, ask())
        assert isinstance(verdict, Denial) and verdict.final
        assert b.ledger.size(b.log) == size and b.ended == []


async def test_a_hundred_at_once_never_pass_the_budget(tmp_path: Path) -> None:
    async with bench(tmp_path, Budget(usd_micro=USD)) as b:
        await b.spend.reserve(0, ask(input_usd_micro=990_000, output=0, output_usd_nano=0))
        await b.spend.settle(0, Bill("completed", 990_000))
        verdicts: dict[int, Grant | Denial] = {}

        async def call(number: int) -> None:
            verdicts[number] = await b.spend.reserve(
                number, ask(input_usd_micro=3_000, output_usd_nano=0)
            )
            assert b.spend.account.usd_micro + b.spend.account.reserved_usd_micro <= USD

        async with trio.open_nursery() as nursery:
            for number in range(1, 101):
                nursery.start_soon(call, number)
        granted = [number for number, verdict in verdicts.items() if isinstance(verdict, Grant)]
        assert len(verdicts) == 100 and len(granted) == 3 and b.ended == []
        for number in granted:
            await b.spend.settle(number, Bill("completed", 3_000))
        assert b.spend.account.usd_micro == 999_000


class InstantBook:
    """For the pace alone: virtual time does not wait for a disk."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.next_index = self.durable = 0

    async def wait_turn(self, records: int) -> None:
        self.times.append(trio.current_time())

    def write(self, records: Sequence[Record], entries: Sequence[bytes]) -> None:
        self.next_index += len(records)
        self.durable = self.next_index

    def write_again(self, entries: Sequence[bytes]) -> None:
        raise AssertionError

    async def read(self, index: int) -> bytes | None:
        raise AssertionError

    async def wait_durable(self, index: int) -> None:
        await trio.lowlevel.checkpoint()


async def test_an_agent_that_goes_on_asking_waits(autojump_clock: trio.testing.MockClock) -> None:
    book = InstantBook()
    spend = Spend(LIMITS, book, lambda kind, detail: None)
    begun = trio.current_time()
    for call in range(300):
        await spend.reserve(call, Ask("openai", "gpt-99", b"", priced=False))
    waited = [at - begun for at in book.times]
    assert waited[99] == pytest.approx(0) and waited[299] == pytest.approx(
        4
    )  # 50 a second beyond the first 100


async def test_what_is_given_up_before_it_was_asked_for_holds_no_money(tmp_path: Path) -> None:
    """Reservations are answered in tasks of their own: a bill may overtake the one it belongs
    to.
    """
    async with bench(tmp_path) as b:
        await b.spend.settle(5, Bill("failed"))
        verdict = await b.spend.reserve(5, ask())
        assert isinstance(verdict, Denial) and not verdict.final
        assert b.spend.account.open == {} and await b.spend.reserve(6, ask()) == Grant(100)
        # Numbers are those of one gateway's life.
        await b.spend.settle(7, Bill("failed"))
        await b.spend.gateway_lost()
        assert await b.spend.reserve(7, ask()) == Grant(100)


async def test_names_the_agent_makes_up_fill_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path, Budget(usd_micro=0)) as b:
        for call in range(100):
            await b.spend.reserve(call, Ask("ollama", f"{call}" + "x" * 5_000, b""))
            await b.spend.settle(call, Bill("completed", 1, Tokens(1, 1)))
        models = b.spend.describe("x").models
        assert len(models) == 65 and models[-1] == ModelSpend("(others)", 36, 36, 36, 36)
        assert max(len(model.model) for model in models) == 200
        assert b.spend.describe("x").calls == 100


async def test_a_gateway_taken_over_fills_no_memory(tmp_path: Path) -> None:
    """What it says of a call is kept while the call is open, and a thousand may be."""
    async with bench(tmp_path, Budget(usd_micro=0)) as b:
        await b.spend.reserve(1, Ask("p" * 100_000, "m" * 100_000, bytes(32)))
        [held] = b.spend.account.open.values()
        assert (len(held.provider), len(held.model), held.request) == (200, 200, bytes(32))
        with pytest.raises(ProtocolError):
            await b.spend.reserve(2, Ask("p", "m", bytes(33)))
        with pytest.raises(ProtocolError):
            await b.spend.reserve(2, Ask("p", "m", b"", before=bytes(33)))
        with pytest.raises(ProtocolError):
            await b.spend.settle(1, Bill("completed", answer=bytes(33)))
