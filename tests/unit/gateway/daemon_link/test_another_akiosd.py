"""A gateway's link through the deaths of akiosd: real ends, a real account, a stand-in model that
counts what it is paid.

akiosd dies between two of its effects: before or after a write to the state memory, to the log, or
of any number of bytes to the link.  What it leaves is the memory as last written, and of its log
what is on disk.
"""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
import trio

from akiosd.daemon.gateways.gateway_link import GatewayLink
from akiosd.daemon.gateways.spend import Spend
from akiosd.daemon.gateways.spend_memory import SPEND, SpendState
from akiosd.gateway.daemon_link.link import Link
from akiosd.kernel import scm_rights
from akiosd.values.policy import Budget, Policy
from akiosd.values.records import LlmCall, NetDenied, NetRequest, Record, decode_entry
from akiosd.values.spend import Ask, Bill, Grant, Tokens
from akiosd.wire.gateway import Resume, Setup

USD = 1_000
BUDGET = Budget(usd_micro=USD * 40, same_request=0, cycles=0)


class DeathError(BaseException):
    """akiosd dies here."""


class Machine:
    """What outlives akiosd: the state memory, the disk, and the gateway's socket for ``Resume``.

    ``fate()`` is asked at every effect whether akiosd dies now.
    """

    def __init__(self, fate: Callable[[str], bool]) -> None:
        self.fate = fate
        self.memory = b""
        self.log: list[bytes] = []
        self.durable = 0
        self.deaths: Counter[str] = Counter()
        self.relink, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ended: list[str] = []
        self.dead = False

    def die(self, where: str) -> None:
        """Here it may be dead; what is dead has no effects."""
        if not self.dead and self.fate(where):
            self.dead = True
            self.deaths[where] += 1
        if self.dead:
            raise DeathError

    # ---- the log: a Book -------------------------------------------------------------------------

    @property
    def next_index(self) -> int:
        return len(self.log)

    async def wait_turn(self, records: int) -> None:
        await trio.lowlevel.checkpoint()

    def write(self, records: Sequence[Record], entries: Sequence[bytes]) -> None:
        self.write_again(entries)

    def write_again(self, entries: Sequence[bytes]) -> None:
        self.die("before the log")
        self.log += entries
        if self.fate("to the disk at once"):
            self.durable = len(self.log)
        self.die("behind the log")

    async def wait_durable(self, index: int) -> None:
        await trio.lowlevel.checkpoint()
        self.durable = max(self.durable, index + 1)
        self.die("behind the disk")

    async def read(self, index: int) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return self.log[index] if index < len(self.log) else None

    def save(self, name: str, data: bytes) -> None:
        assert name == SPEND
        self.die("before the memory")
        self.memory = data
        self.die("behind the memory")

    def has_to_write(self) -> bool:
        """Whether something that was written down is missing in the log."""
        state = msgspec.msgpack.decode(self.memory, type=SpendState)
        return any(self.log[index : index + 1] != [entry] for index, entry in state.unwritten)

    # ---- one akiosd after the other --------------------------------------------------------------

    def lose_power_of_the_process(self) -> None:
        """What was not on disk is gone; some of it may have got there in the last moment."""
        self.durable += random.Random(len(self.log)).randint(0, len(self.log) - self.durable)
        del self.log[self.durable :]

    async def run_akiosd(self, sock: socket.socket, *, first: bool) -> None:
        """Until it dies.  Raises DeathError."""
        told = self.ended.append
        if first:
            spend = Spend(BUDGET, self, lambda kind, detail: told(kind))
        else:
            spend = Spend.restore(BUDGET, self, lambda kind, detail: told(kind), self.memory)
        link = GatewayLink(sock, spend)
        link._plain = Dying(self, sock)  # type: ignore[assignment]
        try:
            spend.memory.keep_in(self.save)
            await spend.resume()
            await link.receive_ready()
            if first:
                await link.send_setup(Setup("c-1", Policy()), [])
            await link.run()
        finally:
            link.close()

    async def run(self) -> None:
        """As many akiosds as it takes; the last one goes on until it is cancelled."""
        sock, self.link = socket.socketpair()
        sock.setblocking(False)
        first = True
        while True:
            try:
                await self.run_akiosd(sock, first=first)
            except DeathError:
                pass
            except BaseExceptionGroup as group:
                if group.split(DeathError)[0] is None:
                    raise
            first = self.dead = False
            self.lose_power_of_the_process()
            sock, other = socket.socketpair()
            sock.setblocking(False)
            taken = msgspec.msgpack.decode(self.memory, type=SpendState).taken
            with other:
                scm_rights.send_blocking(
                    self.relink, msgspec.msgpack.encode(Resume(taken=taken)), [other.fileno()]
                )


class Dying:
    """The socket of akiosd, which gets a part of what it writes out before it dies."""

    def __init__(self, machine: Machine, sock: socket.socket) -> None:
        self._machine, self._sock = machine, sock

    def send(self, data: bytes | memoryview) -> int:
        self._machine.die("before the answer")
        try:
            self._machine.die("in the middle of the answer")
        except DeathError:
            self._sock.send(memoryview(data)[: len(data) // 2])
            raise
        sent = self._sock.send(data)
        self._machine.die("behind the answer")
        return sent


class Model:
    """The provider, which has a bill of its own."""

    def __init__(self) -> None:
        self.bill = 0
        self.calls = 0

    def answer(self, grant: Grant, chance: random.Random) -> int:
        cost = chance.randint(1, grant.usd_micro)
        self.bill += cost
        self.calls += 1
        return cost


async def settled(link: Link, machine: Machine) -> None:
    """Everything was taken, and the last akiosd has written what the one before had not."""
    while len(link._outbox) or link._outbox.say_again() or machine.has_to_write():
        await trio.sleep(0.001)


async def begin(machine: Machine, nursery: trio.Nursery) -> Link:
    nursery.start_soon(machine.run)
    await trio.sleep(0)
    while not hasattr(machine, "link"):
        await trio.sleep(0)
    link = Link(machine.link, machine.theirs)
    await link.start(())
    nursery.start_soon(link.run, socket.socket.close)
    return link


async def call(link: Link, model: Model, chance: random.Random, granted: list[int]) -> None:
    ask = Ask("openai", "m", b"", input_usd_micro=USD, output_usd_nano=0, output=1)
    reservation = link.reserve(ask, patience_s=60 if chance.random() < 0.5 else 0)
    if chance.random() < 0.1:
        # Its agent does not wait for the answer.
        await trio.sleep(chance.random() * 0.002)
        reservation.settle(Bill("failed"))
        return
    verdict = await reservation.wait_verdict()
    bill = Bill("failed")
    try:
        if isinstance(verdict, Grant):
            granted.append(verdict.usd_micro)
            cost = model.answer(verdict, chance)
            await trio.sleep(chance.random() * 0.003)
            bill = Bill("completed", cost, Tokens(1, 1))
    finally:
        reservation.settle(bill)


async def live(seed: int, rate: float) -> Counter[str]:
    """One life of a gateway, in which akiosd dies at each effect with a chance of ``rate``."""
    chance = random.Random(seed)
    alive = [False]

    def fate(where: str) -> bool:
        if where == "to the disk at once":
            return chance.random() < 0.3
        return alive[0] and chance.random() < rate

    machine, model, granted = Machine(fate), Model(), list[int]()
    reported = [f"site-{number}" for number in range(20)]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            link = await begin(machine, nursery)
            alive[0] = True
            async with trio.open_nursery() as agents:
                for number in range(60):
                    agents.start_soon(call, link, model, chance, granted)
                    if number % 3 == 0:
                        name = reported[number // 3]
                        link.report(NetRequest(ts=0, host=name, port=443, mode="inspect"))
                        agents.start_soon(link.report_durable, denied(name))
                    await trio.sleep(chance.random() * 0.002)
            alive[0] = False
            await settled(link, machine)
            nursery.cancel_scope.cancel()
    check(machine, model, reported)
    return machine.deaths


def denied(host: str) -> NetDenied:
    return NetDenied(ts=0, host=host.encode(), rule="r", protocol="dns", port=53)


def check(machine: Machine, model: Model, reported: list[str]) -> None:
    state = msgspec.msgpack.decode(machine.memory, type=SpendState)
    records = [decode_entry(entry) for entry in machine.log]
    paid = [found for found in records if isinstance(found, LlmCall) and found.usd_micro]
    assert state.account.open == {} and state.waiting == set() and state.denied == {}
    assert state.account.usd_micro == model.bill <= BUDGET.usd_micro
    assert sum(found.usd_micro for found in paid) == model.bill
    assert len(paid) == model.calls == state.account.calls, "each call once"
    for kind in (NetRequest, NetDenied):
        told: list[Any] = [found for found in records if isinstance(found, kind)]
        hosts = [one.host if isinstance(one.host, str) else one.host.decode() for one in told]
        assert sorted(hosts) == sorted(reported), "each report once"


@pytest.mark.parametrize("seed", range(6))
async def test_the_bill_of_the_model_is_the_budgets_spend(seed: int) -> None:
    deaths = await live(seed, 0.04)
    assert sum(deaths.values()) >= 5, deaths


async def test_without_a_death_it_is_too() -> None:
    assert not await live(1, 0.0)


@pytest.mark.named_set("deaths")
async def test_after_hundreds_of_deaths() -> None:
    deaths: Counter[str] = Counter()
    for seed in range(100, 140):
        deaths += await live(seed, 0.04 + 0.1 * (seed % 3))
    print(dict(deaths))
    assert sum(deaths.values()) > 1_000 and len(deaths) == 8, deaths
