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
from functools import partial
from typing import Any

import msgspec
import pytest
import trio

from akiosd.daemon.gateways import spend_memory
from akiosd.daemon.gateways.gateway_link import GatewayLink
from akiosd.daemon.gateways.spend import Spend
from akiosd.daemon.gateways.spend_memory import MORE, SPEND, SpendState, decode
from akiosd.gateway.daemon_link.link import Link, LinkLostError
from akiosd.kernel import scm_rights
from akiosd.values.denial import Denial
from akiosd.values.policy import Budget, Policy
from akiosd.values.records import (
    LlmCall,
    NetDenied,
    NetRequest,
    Record,
    SpendWarning,
    decode_entry,
)
from akiosd.values.spend import Ask, Bill, Grant, Tokens
from akiosd.wire.gateway import Resume, Setup

USD = 1_000
PLACES = {
    *(f"{when} the memory" for when in ("before", "behind")),
    *(f"{when} the log" for when in ("before", "behind")),
    *(f"{when} the answer" for when in ("before", "in the middle of", "behind")),
    "behind the disk",
}
BUDGET = Budget(usd_micro=USD * 40, same_request=0, cycles=0)


@pytest.fixture(params=["whole", "changes"], autouse=True)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few calls the state is written whole each time, with many what changed of it."""
    if request.param == "changes":
        monkeypatch.setattr(spend_memory, "WHOLE_UP_TO", -1)
        monkeypatch.setattr(spend_memory, "MOST_CHANGED", 2)


class DeathError(BaseException):
    """akiosd dies here."""


class Machine:
    """What outlives akiosd: the state memory, the disk, and the gateway's socket for ``Resume``.

    ``fate()`` is asked at every effect whether akiosd dies now.
    """

    def __init__(self, fate: Callable[[str], bool]) -> None:
        self.fate = fate
        self.memory: dict[str, bytes] = {}
        self.log: list[bytes] = []
        self.durable = 0
        self.deaths: Counter[str] = Counter()
        self.relink, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ended: list[str] = []
        self.dead = False
        self.addresses: dict[str, str] = {}
        """As the gateway's own section of the state memory has them."""

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
        assert name in (SPEND, MORE)
        self.die("before the memory")
        self.memory[name] = data
        self.die("behind the memory")

    def sections(self) -> tuple[bytes | None, bytes | None]:
        return self.memory.get(SPEND), self.memory.get(MORE)

    def state(self) -> SpendState:
        return decode(self.memory[SPEND], self.memory.get(MORE))

    def has_to_write(self) -> bool:
        """Whether something that was written down is missing in the log."""
        state = self.state()
        return any(self.log[index : index + 1] != [entry] for index, entry in state.unwritten)

    def keep_addresses(self, link: GatewayLink) -> None:
        self.die("before the memory")
        self.addresses = dict(link.addresses)
        self.die("behind the memory")

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
            spend = Spend.restore(BUDGET, self, lambda kind, detail: told(kind), *self.sections())
        link = GatewayLink(sock, spend)
        link._plain = Dying(self, sock)  # type: ignore[assignment]
        link.addresses, link.on_address = dict(self.addresses), partial(self.keep_addresses, link)
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
            taken = self.state().taken
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


def check(machine: Machine, model: Model, reported: list[str], refusals: int = 0) -> None:
    state = machine.state()
    records = [decode_entry(entry) for entry in machine.log]
    paid = [found for found in records if isinstance(found, LlmCall) and found.usd_micro]
    assert state.account.open == {} and state.waiting == set() and state.denied == {}
    assert state.account.usd_micro == model.bill <= BUDGET.usd_micro
    assert sum(found.usd_micro for found in paid) == model.bill
    assert len(paid) == model.calls == state.account.calls, "each call once"
    warned = [found for found in records if isinstance(found, SpendWarning)]
    assert len(warned) == state.refused == refusals, "each refusal once"
    for kind in (NetRequest, NetDenied):
        told: list[Any] = [found for found in records if isinstance(found, kind)]
        hosts = [one.host if isinstance(one.host, str) else one.host.decode() for one in told]
        assert sorted(hosts) == sorted(reported), "each report once"


async def test_a_death_at_each_single_effect() -> None:
    """Every message in both directions, and akiosd dies once: at each of its effects in turn.  What
    the gateway had not sent whole by then, or had no answer to, is sent and asked again.
    """
    died: list[str] = []
    while (where := await talk(len(died))) is not None:
        died.append(where)
    assert set(died) == PLACES and len(died) > 30, died


async def talk(effects: int) -> str | None:
    """A short life in which akiosd dies after so many effects; returns at which."""
    left = [effects + 1]

    def fate(where: str) -> bool:
        if where != "to the disk at once":
            left[0] -= 1
        return where != "to the disk at once" and left[0] == 0

    machine, model = Machine(lambda where: False), Model()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            link = await begin(machine, nursery)
            machine.fate = fate
            asked = Ask("openai", "m", b"", input_usd_micro=USD, output_usd_nano=0, output=1)
            paid = link.reserve(asked)
            dear = link.reserve(msgspec.structs.replace(asked, input_usd_micro=USD * 41))
            link.remember("a.example", "198.18.0.9")
            link.report(NetRequest(ts=0, host="a", port=443, mode="inspect"))
            granted = await paid.wait_verdict()
            assert granted == Grant(USD), "the same grant, whoever is asked"
            refused = await dear.wait_verdict()
            assert isinstance(refused, Denial) and not refused.final
            paid.settle(Bill("completed", model.answer(granted, random.Random(1)), Tokens(1, 1)))
            await link.report_durable(denied("a"))
            await settled(link, machine)
            nursery.cancel_scope.cancel()
    check(machine, model, ["a"], refusals=1)
    assert machine.addresses == {"a.example": "198.18.0.9"}
    return next(iter(machine.deaths), None)


async def test_while_there_is_no_akiosd_nothing_is_granted() -> None:
    """And with nobody left who could send another link, the gateway ends."""
    machine = Machine(lambda where: False)
    link = Link(*ends(machine))
    ours = machine.link
    with trio.fail_after(60):
        with pytest.raises(BaseExceptionGroup) as caught:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run, socket.socket.close)
                await link.wait_room()  # the control
                ours.close()
                while link._here.is_set():
                    await trio.sleep(0)
                with trio.move_on_after(0.1):
                    await link.wait_room()
                    raise AssertionError("something may begin")
                asked = link.reserve(Ask("openai", "m", b""))
                with trio.move_on_after(0.1):
                    await asked.wait_verdict()
                    raise AssertionError("it was granted by nobody")
                asked.settle(Bill("failed"))
                machine.relink.close()
        assert caught.group_contains(LinkLostError)
        await link.say_last_words()


def ends(machine: Machine) -> tuple[socket.socket, socket.socket]:
    machine.link, theirs = socket.socketpair()
    return theirs, machine.theirs


@pytest.mark.parametrize("seed", range(4))
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
    assert sum(deaths.values()) > 1_000 and set(deaths) == PLACES, deaths
