"""Both ends of a gateway's link, over a real socket pair: what is asked is answered, what is told
is kept.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
import trio.testing

from akiosd.daemon.gateways.gateway_link import MAX_ADDRESSES, MAX_NAMES_BYTES, GatewayLink
from akiosd.daemon.gateways.spend import Spend
from akiosd.daemon.gateways.spend_memory import SpendMemory, SpendState
from akiosd.errors import CageFailedError, ProtocolError
from akiosd.gateway.daemon_link.coalesce_denials import Folder
from akiosd.gateway.daemon_link.link import Link, LinkLostError
from akiosd.meter.account import Account
from akiosd.values.denial import Denial
from akiosd.values.policy import Budget, Policy
from akiosd.values.records import GatewayFailed, LlmCall, NetDenied, NetRequest, Record
from akiosd.values.spend import Ask, Bill, Grant, Wait
from akiosd.wire.frame import encode_frame
from akiosd.wire.gateway import Address, FromGateway, GatewayRecords, Listener, Ready, Setup

ASK = Ask("openai", "m", b"r" * 32)


def denied(host: str, count: int = 1) -> NetDenied:
    return NetDenied(ts=0, host=host.encode(), rule="r", protocol="dns", port=53, count=count)


class Booked:
    """A log on a disk that takes no time; :attr:`durability` keeps what is written from being
    durable.
    """

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.entries: list[bytes] = []
        self.durability = trio.Event()
        self.durability.set()

    @property
    def next_index(self) -> int:
        return len(self.entries)

    @property
    def durable(self) -> int:
        return len(self.entries) if self.durability.is_set() else 0

    async def wait_turn(self, records: int) -> None:
        pass

    def write(self, records: Sequence[Record], entries: Sequence[bytes]) -> None:
        self.records += records
        self.entries += entries

    def write_again(self, entries: Sequence[bytes]) -> None:
        self.entries += entries

    async def wait_durable(self, index: int) -> None:
        await self.durability.wait()

    async def read(self, index: int) -> bytes | None:
        return self.entries[index] if index < len(self.entries) else None


class Notes(Booked):
    """The cage's log and account, as far as a link needs them."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = SpendMemory(self, SpendState(account=Account(Budget())))
        self.settled: list[tuple[int, Bill]] = []
        self.asked: list[Ask] = []
        self.heard_of: list[int] = []
        self.spend: Spend | None = None
        """The real authority, where a test wants it."""
        self.decided = trio.Event()
        self.decided.set()

    async def record(self, records: Sequence[Record], number: int) -> int:
        self.memory.state.taken = number
        return self.memory.write(records)

    def take(self, number: int) -> None:
        self.memory.state.taken = number

    def heard(self, call: int, number: int) -> None:
        self.heard_of.append(call)
        self.take(number)

    async def reserve(
        self, call: int, ask: Ask, *, patient: bool = False, waited_ns: int = 0
    ) -> Grant | Denial | Wait:
        self.asked.append(ask)
        if self.spend is not None:
            return await self.spend.reserve(call, ask, patient=patient)
        await self.decided.wait()
        return Grant(usd_micro=call) if ask.model == "m" else Denial("budget.usd", "no")

    async def settle(self, call: int, bill: Bill, number: int) -> None:
        self.settled.append((call, bill))
        self.take(number)
        if self.spend is not None:
            await self.spend.settle(call, bill)


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Link, GatewayLink, Notes]]:
    notes = Notes()
    theirs, end = GatewayLink.pair(notes)  # type: ignore[arg-type]
    relink, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link = Link(socket.socket(fileno=end.take()), other)
    with relink:
        try:
            yield link, theirs, notes
        finally:
            theirs.close()
            link._socket.close()
            link._relink.close()


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Link, GatewayLink, Notes]]:
    async with pair() as (link, theirs, notes), trio.open_nursery() as nursery:
        nursery.start_soon(theirs.run)
        nursery.start_soon(link.run, socket.socket.close)
        yield link, theirs, notes
        nursery.cancel_scope.cancel()


async def until(holds: object) -> None:
    """Both ends are tasks of this thread: they are through when nothing is left to be read."""
    while not holds():  # type: ignore[operator]
        await trio.sleep(0.001)


async def test_the_setup_comes_with_its_sockets() -> None:
    async with pair() as (link, theirs, _notes):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
            bound.bind(("127.0.0.1", 0))
            async with trio.open_nursery() as nursery:

                async def daemon() -> None:
                    assert await theirs.receive_ready() == ("uid 1900000007",)
                    setup = Setup(
                        cage="c-1",
                        policy=Policy(),
                        listeners=(Listener("dns", 53),),
                        pseudonym_key=b"k" * 32,
                    )
                    await theirs.send_setup(setup, [bound.fileno()])

                nursery.start_soon(daemon)
                setup, [found] = await link.start(("uid 1900000007",))
            with found:
                assert (setup.cage, setup.pseudonym_key) == ("c-1", b"k" * 32)
                assert found.getsockname() == bound.getsockname()
                assert not os.get_inheritable(found.fileno())


@pytest.mark.parametrize("count", [0, 2])
async def test_a_setup_with_other_sockets_than_it_names_is_refused(count: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with pair() as (link, theirs, _notes):
        with socket.socket() as one:
            setup = Setup(cage="c-1", policy=Policy(), listeners=(Listener("dns", 53),))
            await theirs.send_setup(setup, [one.fileno()] * count)
            with pytest.raises(ProtocolError):
                await link.start(())
        await link.say_last_words()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_reserve_and_settle() -> None:
    async with running() as (link, _theirs, notes):
        first, second = link.reserve(ASK), link.reserve(msgspec.structs.replace(ASK, model="x"))
        assert await second.wait_verdict() == Denial("budget.usd", "no")
        verdict = await first.wait_verdict()
        assert isinstance(verdict, Grant) and verdict.usd_micro
        second.settle(Bill("failed"))
        first.settle(Bill("completed", 7))
        await until(lambda: notes.settled)
        # Of what was refused nothing is told.
        assert notes.settled == [(verdict.usd_micro, Bill("completed", 7))]


async def test_a_reservation_that_nobody_waits_for_any_more_is_given_back() -> None:
    async with running() as (link, _theirs, notes):
        notes.decided = trio.Event()
        reservation = link.reserve(ASK)
        await until(lambda: notes.asked)
        reservation.settle(Bill("failed"))
        notes.decided.set()
        await until(lambda: notes.settled)
        assert [bill.outcome for _, bill in notes.settled] == ["failed"]


def spending(usd_micro: int) -> Spend:
    return Spend(
        Budget(usd_micro=usd_micro, same_request=0, cycles=0), Booked(), lambda kind, detail: None
    )


def priced(usd_micro: int) -> Ask:
    return msgspec.structs.replace(ASK, input_usd_micro=usd_micro, output_usd_nano=0, output=1)


async def test_calls_wait_in_line_and_are_granted_in_their_order() -> None:
    async with running() as (link, _theirs, notes):
        notes.spend = spending(1_000)
        done: list[int] = []

        async def call(number: int, usd_micro: int) -> None:
            reservation = link.reserve(priced(usd_micro), patience_s=60)
            assert isinstance(await reservation.wait_verdict(), Grant)
            assert notes.spend is not None and notes.spend.account.reserved_usd_micro <= 1_000
            done.append(number)
            await trio.testing.wait_all_tasks_blocked()
            reservation.settle(Bill("completed", 1))

        async with trio.open_nursery() as nursery:
            for number in range(40):
                # The third is large: no small one passes it.
                nursery.start_soon(call, number, 900 if number == 2 else 300)
                await trio.testing.wait_all_tasks_blocked(0.001)
        assert done == list(range(40)) and notes.spend.account.open == {} and len(link._line) == 0


async def test_who_leaves_the_line_holds_nobody_up_and_leaves_nothing() -> None:
    async with running() as (link, _theirs, notes):
        notes.spend = spending(1_000)
        first = link.reserve(priced(900), patience_s=60)
        assert isinstance(await first.wait_verdict(), Grant)
        large, small = (
            link.reserve(priced(800), patience_s=60),
            link.reserve(priced(100), patience_s=60),
        )
        assert not await large.wait_word() and not await small.wait_word()
        large.settle(Bill("failed"))
        # With the large one gone, the small one fits beside the first.
        assert isinstance(await small.wait_verdict(), Grant)
        small.settle(Bill("completed", 1))
        first.settle(Bill("completed", 1))
        await until(lambda: notes.spend is not None and not notes.spend.account.open)
        assert not notes.spend.memory.state.waiting and not notes.spend._early


async def test_patience_ends_with_a_refusal_that_is_recorded() -> None:
    async with running() as (link, _theirs, notes):
        notes.spend = spending(1_000)
        first = link.reserve(priced(900), patience_s=60)
        assert isinstance(await first.wait_verdict(), Grant)
        verdict = await link.reserve(priced(200), patience_s=0.05).wait_verdict()
        assert isinstance(verdict, Denial) and "wait for an open call" in verdict.words
        assert notes.spend.memory.state.refused == 1
        first.settle(Bill("completed", 1))


async def test_a_durable_report_returns_when_it_is_durable() -> None:
    async with running() as (link, _theirs, notes):
        notes.durability = trio.Event()
        done = trio.Event()

        async def report() -> None:
            await link.report_durable(
                denied("a"), NetRequest(ts=5, host="b", port=443, mode="inspect")
            )
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(report)
            await until(lambda: len(notes.records) == 2)
            await trio.testing.wait_all_tasks_blocked()
            assert not done.is_set()
            notes.durability.set()
        assert done.is_set()
        assert all(record.ts > 10**18 for record in notes.records), "the time is akiosd's"


async def test_equal_denials_are_one_record_and_its_count() -> None:
    async with running() as (link, _theirs, notes):
        for _ in range(100):
            link.report(denied("a"))
        link.report(denied("b"))
        await until(lambda: len(notes.records) == 2)
    counted = [
        (record.host, record.count) for record in notes.records if isinstance(record, NetDenied)
    ]
    assert counted == [(b"a", 1), (b"b", 1)], "the first of each at once"


async def test_what_was_folded_is_said_at_the_end() -> None:
    async with pair() as (link, theirs, notes):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(theirs.run)
            link.report(*[denied("a")] * 7)
            await theirs.end()
            with pytest.raises(BaseExceptionGroup) as caught:
                await link.run(socket.socket.close)
            assert caught.group_contains(LinkLostError)
            await link.say_last_words()
    assert [record.count for record in notes.records if isinstance(record, NetDenied)] == [1, 6]


async def test_addresses_are_remembered_up_to_a_number() -> None:
    async with running() as (link, theirs, _notes):
        for number in range(MAX_ADDRESSES + 5):
            link.remember(f"{number}.example", "198.18.0.1")
        assert await link.reserve(ASK).wait_verdict()
        assert len(theirs.addresses) == MAX_ADDRESSES


async def test_addresses_are_remembered_up_to_a_size() -> None:
    async with running() as (link, theirs, _notes):
        for number in range(MAX_ADDRESSES):
            link.remember(f"{number}".rjust(253, "x"), "198.18.0.1")
        await link.reserve(ASK).wait_verdict()
        assert MAX_NAMES_BYTES - 253 < sum(map(len, theirs.addresses)) <= MAX_NAMES_BYTES


NOT_A_MESSAGE: dict[str, bytes] = {
    "no msgpack": encode_frame(b"\xc1"),
    "another message": encode_frame(msgspec.msgpack.encode({"m": "kept", "number": 1})),
    "an unknown field": encode_frame(
        msgspec.msgpack.encode({"m": "address", "name": "a", "address": "b", "number": 1, "x": 1})
    ),
    "a name that no host has": encode_frame(
        msgspec.msgpack.encode(Address(name="a" * 254, address="198.18.0.1", number=1))
    ),
    "what is no address": encode_frame(
        msgspec.msgpack.encode(Address(name="a", address="1" * 16, number=1))
    ),
    "Ready again": encode_frame(msgspec.msgpack.encode(Ready())),
    "an empty report": encode_frame(msgspec.msgpack.encode(GatewayRecords(records=(), number=1))),
    "a bill of its own": encode_frame(
        msgspec.msgpack.encode(
            GatewayRecords(
                records=(
                    LlmCall(ts=0, provider="p", model="m", outcome="completed", usd_micro=-5),
                ),
                number=1,
            )
        )
    ),
    "a record of akiosd's": encode_frame(
        msgspec.msgpack.encode(
            {
                "m": "report",
                "number": 1,
                "records": [{"kind": "end", "v": 1, "ts": 1, "exit_code": 0}],
            }
        )
    ),
    "a number left out": encode_frame(
        msgspec.msgpack.encode(Address(name="a", address="198.18.0.1", number=2))
    ),
    "no number": encode_frame(msgspec.msgpack.encode(Address(name="a", address="198.18.0.1"))),
    "a frame too long": b"\xff\xff\xff\xff",
    "deep nesting": encode_frame(b"\x91" * 5000 + b"\xc0"),
}


@pytest.mark.parametrize("what", NOT_A_MESSAGE)
async def test_a_gateway_gone_mad_is_ended(what: str) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    notes = Notes()
    link = GatewayLink(ours, notes)  # type: ignore[arg-type]
    with theirs:
        theirs.sendall(NOT_A_MESSAGE[what])
        with pytest.raises((ProtocolError, BaseExceptionGroup)) as caught:
            await link.run()
    error = caught.value
    assert isinstance(error, ProtocolError) or caught.group_contains(ProtocolError)
    assert notes.records == []
    link.close()


async def test_descriptors_have_no_way_in() -> None:
    before = len(os.listdir("/proc/self/fd"))
    notes = Notes()
    link, end = GatewayLink.pair(notes)  # type: ignore[arg-type]
    message: FromGateway = Address(name="a", address="198.18.0.1", number=1)
    with socket.socket(fileno=end.take()) as theirs, open(os.devnull, "rb") as file:
        socket.send_fds(theirs, [encode_frame(msgspec.msgpack.encode(message))], [file.fileno()])
    await link.run()
    assert link.addresses == {"a": "198.18.0.1"}
    link.close()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_one_that_ends_before_it_is_ready() -> None:
    async with pair() as (link, theirs, _notes):
        await link.say_last_words()
        with pytest.raises(CageFailedError):
            await theirs.receive_ready()


def test_the_folder() -> None:
    folder = Folder()
    assert folder.fold([denied("a"), denied("a"), denied("b")], 0.0) == (denied("a"), denied("b"))
    other = GatewayFailed(ts=0, what="x")
    assert folder.fold([other, other, denied("a", 3)], 0.5) == (other, other)
    assert folder.take_due(0.9) == []
    assert folder.take_due(1.0) == [denied("a", 4)]
    assert folder.fold([denied("b")], 1.1) == (denied("b"),), "its second was over"
    assert folder.fold([denied("a")], 1.5) == (), "a's next second runs"
    assert folder.take_due(2.0) == [denied("a", 1)]


def test_the_folder_is_bounded() -> None:
    folder = Folder()
    told = [
        record
        for n in range(20_000)
        for record in folder.fold([denied(f"h{n}"), denied(f"h{n}")], 0.0)
    ]
    told += folder.take_due(float("inf"))
    assert sum(record.count for record in told if isinstance(record, NetDenied)) == 40_000
    assert len(folder._open) <= 4096
