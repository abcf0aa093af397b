"""Two cages that share the budget of a third: akiosd dies before and after each of its writes, and
no call is booked twice or forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from akiosd.daemon.gateways.spend import Sharing, Spend
from akiosd.daemon.gateways.spend_memory import MORE, SPEND
from akiosd.meter.account import Shared
from akiosd.values.denial import Denial
from akiosd.values.policy import Budget
from akiosd.values.records import Record
from akiosd.values.spend import Ask, Bill, Grant, Tokens

WHOSE, ONE, TWO = "c-000000000001", "c-000000000002", "c-000000000003"
BUDGET = Budget(usd_micro=0, calls=3, same_request=0)
ASK = Ask("openai", "gpt-4o", b"", output=10, output_usd_nano=10_000)
BILL = Bill("completed", 42, Tokens(5, 7))


class DiedError(BaseException):
    """akiosd was killed here."""


class Log:
    """Takes everything at once; nothing of it is asked here."""

    next_index, durable = 0, 1

    async def wait_turn(self, records: int) -> None: ...
    def write(self, records: Sequence[Record], entries: Sequence[bytes]) -> None: ...
    def write_again(self, entries: Sequence[bytes]) -> None: ...
    async def wait_durable(self, index: int) -> None:
        await trio.lowlevel.checkpoint()

    async def read(self, index: int) -> bytes | None: ...


class Host:
    """What outlives akiosd of three cages, and the accounts of one akiosd."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, bytes]] = {WHOSE: {}, ONE: {}, TWO: {}}
        self.up = set(self.kept)
        self.writes, self.last = 0, -1
        """After so many writes akiosd dies; with a negative number it does not."""
        self.spends = dict[str, Spend]()

    async def start(self) -> None:
        """An akiosd that goes on with what the last one left."""
        self.spends = {}
        for cage, kept in self.kept.items():
            if kept:
                spend = Spend.restore(BUDGET, Log(), _no_end, kept.get(SPEND), kept.get(MORE))
            else:
                spend = Spend(BUDGET, Log(), _no_end)
            if cage != WHOSE:
                spend.sharing = Sharing(cage, self._find)
            self.spends[cage] = spend
        for cage, spend in self.spends.items():
            spend.memory.keep_in(lambda name, data, cage=cage: self._write(cage, name, data))  # type: ignore[misc]
            await spend.resume()

    def _find(self) -> tuple[str, Spend] | None:
        return ("whose", self.spends[WHOSE]) if WHOSE in self.up else None

    def _write(self, cage: str, name: str, data: bytes) -> None:
        if self.writes == self.last:
            raise DiedError
        self.writes += 1
        self.kept[cage][name] = data

    @property
    def shared(self) -> Shared:
        return self.spends[WHOSE].account.shared


def _no_end(kind: str, detail: str) -> None:
    raise AssertionError((kind, detail))


async def say(host: Host, cage: str, call: int) -> None:
    """What a gateway does: it asks until it is answered, and tells until it is taken."""
    spend = host.spends[cage]
    if call not in spend.account.open and spend.memory.state.taken < call:
        assert isinstance(await spend.reserve(call, ASK), Grant)
    if spend.memory.state.taken < call:
        await spend.settle(call, BILL, call)


@pytest.mark.parametrize("last", range(-1, 12))
async def test_a_death_at_any_write_changes_nothing(last: int) -> None:
    host = Host()
    await host.start()
    host.writes, host.last = 0, last
    calls, died = [(ONE, 1), (TWO, 1), (ONE, 2)], False
    while calls:
        try:
            await say(host, *calls[0])
        except DiedError:
            assert not died
            died, host.last = True, -1
            await host.start()
        else:
            calls.pop(0)
    assert died is (last >= 0)
    assert host.shared == Shared(3 * 42, 3 * 12, 3)
    assert host.spends[WHOSE].account.lent == {}
    for cage, number in ((ONE, 3), (TWO, 2)):
        refusal = await host.spends[cage].reserve(number, ASK)
        assert isinstance(refusal, Denial), "the budget of the third cage is spent"
    # Its own programs are held to the same.
    assert isinstance(await host.spends[WHOSE].reserve(1, ASK), Denial)


async def test_what_was_lent_to_a_question_that_nobody_repeats_is_given_back() -> None:
    """akiosd and the gateway died between the two writes of a grant."""
    host = Host()
    await host.start()
    host.writes, host.last = 0, 1
    with pytest.raises(DiedError):
        await host.spends[ONE].reserve(1, ASK)
    host.last = -1
    await host.start()
    assert (host.spends[WHOSE].account.lent, host.shared) == ({}, Shared())


async def test_a_gateway_that_is_gone_has_spent_what_it_held() -> None:
    host = Host()
    await host.start()
    await host.spends[ONE].reserve(1, ASK)
    assert host.spends[WHOSE].describe(WHOSE).open_calls == 1
    await host.spends[ONE].gateway_lost()
    assert (host.shared, host.spends[WHOSE].account.lent) == (Shared(100, 10, 1), {})
    # That of the cage itself holds nothing of theirs.
    await host.spends[TWO].reserve(1, ASK)
    await host.spends[WHOSE].gateway_lost()
    assert len(host.spends[WHOSE].account.lent) == 1


async def test_with_the_cage_its_budget_is_gone() -> None:
    host = Host()
    await host.start()
    assert isinstance(await host.spends[ONE].reserve(1, ASK), Grant), "control"
    host.up.remove(WHOSE)
    refusal = await host.spends[ONE].reserve(2, ASK)
    assert isinstance(refusal, Denial) and "is down" in refusal.words
    await host.spends[ONE].settle(1, BILL)
    assert host.spends[ONE].account.calls == 1
