"""The two sections of the state memory are the account at every moment, and few bytes a message."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest
from msgspec.structs import replace

from akiosd.daemon.gateways.spend_memory import (
    MORE,
    SPEND,
    Refused,
    SpendMemory,
    SpendState,
    decode,
)
from akiosd.meter.account import Account, Open
from akiosd.values.denial import Denial
from akiosd.values.policy import Budget
from akiosd.values.spend import Tokens


def call(number: int) -> Open:
    return Open("anthropic", "model" * 40, b"d" * 32, number, 1000, Tokens(input=1, output=1))


def refused(number: int) -> Refused:
    return Refused(Denial("budget.usd", f"no {number} " * 20, status=402))


@pytest.mark.parametrize("seed", range(3))
def test_what_is_kept_is_the_state_after_each_change(seed: int) -> None:
    rng, written = random.Random(seed), dict[str, bytes]()
    sizes: list[tuple[str, int]] = []

    def write(name: str, data: bytes) -> None:
        written[name] = data
        sizes.append((name, len(data)))

    state = SpendState(account=Account(Budget(usd_micro=10**9), None))
    memory = SpendMemory(cast(Any, None), state)
    memory.keep_in(write)
    for number in range(1, 1500):
        account = state.account
        opened = dict(account.open)
        grows = number < 600 or number > 1200
        for gone in rng.sample(sorted(opened), min(len(opened), 0 if grows else 2)):
            del opened[gone]
        opened[number] = call(number)
        if rng.random() < 0.5:
            state.denied[number] = refused(number)
        elif state.denied and rng.random() < 0.5:
            known = rng.choice(sorted(state.denied))
            state.denied[known] = replace(state.denied[known], recorded=True)
        elif state.denied:
            del state.denied[next(iter(state.denied))]
        if rng.random() < 0.01:
            opened, state.denied = {}, {}
        state.account = replace(account, open=opened, calls=number)
        state.taken = number
        memory.save()
        found = decode(written[SPEND], written.get(MORE))
        assert found == state
        assert list(found.account.open) == list(opened) and list(found.denied) == list(state.denied)
    wholes = [size for name, size in sizes if name == SPEND and size > 50_000]
    changes = [size for name, size in sizes if name == MORE]
    assert len(changes) > 10 * len(wholes) > 0
    assert sum(changes) / len(changes) < sum(wholes) / len(wholes) / 5
