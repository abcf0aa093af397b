"""A gateway before stand-in models: the real account, a real upstream on loopback, an agent that
speaks raw bytes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

import msgspec

from akiosd.gateway.daemon_link.link import Reservation
from akiosd.gateway.http.exchange import Destination
from akiosd.gateway.net.limits import Limits
from akiosd.gateway.net.names import Names, Rule
from akiosd.gateway.net.rates import RateLimiter
from akiosd.gateway.net.room import Room
from akiosd.gateway.redaction.redactors import Redactors
from akiosd.gateway.upstream.upstream import Upstreams
from akiosd.meter import budget
from akiosd.meter.account import Account, Settled
from akiosd.values.policy import PROVIDERS, Network, Policy, Redact
from akiosd.values.policy import Budget as Limit
from akiosd.values.providers import FACTS, with_regions
from akiosd.values.records import Record
from akiosd.values.spend import Ask, Bill, ModelPrice, Wait
from akiosd.wire.frame import encode_frame
from akiosd.wire.gateway import ProviderSetup, Setup
from tests.unit.gateway import harness

_AWS_KEY = b"AKIDEXAMPLE\nwJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
_REGION = "eu-west-1"
KEYS = {
    name: _AWS_KEY if len(facts.key.prompts) > 1 else f"real-key-of-{name}".encode()
    for name, facts in FACTS.items()
}
HOSTS = {
    name: (facts.hosts or ("127.0.0.1",))[0].replace("*", _REGION) for name, facts in FACTS.items()
}
REGIONS = dict.fromkeys(with_regions(), _REGION)
PRICE = ModelPrice(
    input=3_000_000, output=15_000_000, cache_read=300_000, context=100_000, max_output=8_000
)
"""$3, $15, $0.30 a million tokens."""


class AccountLink(harness.Link):
    """akiosd's side of the money, without the process between."""

    def __init__(self, limits: Limit) -> None:
        super().__init__()
        self.account = Account(limits, loops_up_to=50)
        self.asks: list[Ask] = []
        self.bills: list[Bill] = []
        self.settled: list[Settled] = []
        self._call = 0
        self.line: list[tuple[int, Ask, Reservation]] = []
        """Who was told to wait."""
        self.undecided: list[Callable[[], None]] | None = None
        """Where there is a list, verdicts wait here to be called."""

    def reserve(self, ask: Ask, patience_s: float = 0.0) -> Reservation:
        self._call += 1
        encode_frame(msgspec.msgpack.encode(ask))
        self.asks.append(ask)
        call = self._call
        self.account, verdict = budget.reserve(
            self.account, call, ask, call * 10**9, patient=patience_s > 0
        )
        reservation = Reservation(
            partial(self.settle, call), patience_s, partial(self._insist, call)
        )
        if isinstance(verdict, Wait):
            reservation.hold()
            self.line.append((call, ask, reservation))
            return reservation
        decide = partial(reservation.decide, verdict)
        decide() if self.undecided is None else self.undecided.append(decide)
        return reservation

    def settle(self, call: int, bill: Bill) -> None:
        left = [waiting for waiting in self.line if waiting[0] == call]
        if left:
            self.line.remove(left[0])
            return
        encode_frame(msgspec.msgpack.encode(bill))
        self.bills.append(bill)
        # Raises when a call is settled twice.
        self.account, settled = budget.settle(self.account, call, bill, self._call * 10**9)
        self.settled.append(settled)
        for waiting in list(self.line):
            self._retry(*waiting, patient=True)

    def _insist(self, call: int) -> None:
        for waiting in [one for one in self.line if one[0] == call]:
            self._retry(*waiting, patient=False)

    def _retry(self, call: int, ask: Ask, reservation: Reservation, *, patient: bool) -> None:
        self.account, verdict = budget.reserve(
            self.account, call, ask, self._call * 10**9, patient=patient
        )
        if not isinstance(verdict, Wait):
            self.line.remove((call, ask, reservation))
            reservation.decide(verdict)


class Upstream(Protocol):
    url: str


class Gateway:
    """The context of handlers."""

    def __init__(
        self, models: Upstream, policy: Policy, without_keys: bool = False, **prices: ModelPrice
    ) -> None:
        providers = tuple(
            ProviderSetup(
                name, models.url, b"" if without_keys else KEYS[name], REGIONS.get(name, "")
            )
            for name in PROVIDERS
        )
        self.setup = Setup("test", policy, providers=providers, prices={"m": PRICE, **prices})
        self.link = AccountLink(policy.budget)
        # Upstreams of tests that say nothing more would be listened to for minutes.
        self.limits = msgspec.structs.replace(Limits(), paid_seconds=0.05, paid_stream_seconds=0.05)
        self.names = Names(policy)
        self.upstreams = Upstreams.from_setup(self.setup, self.limits)
        self.redactors = Redactors(policy.redact, bytes(range(32)))
        self.rates = RateLimiter(0)
        self.replies = Room(self.limits.held_replies_bytes)


@asynccontextmanager
async def talking(
    models: Upstream,
    provider: str,
    *,
    limits: Limit = Limit(same_request=0, same_tool_calls=0, cycles=0),  # noqa: B008
    network: Network = Network(),  # noqa: B008
    redact: Redact = Redact(),  # noqa: B008
    without_keys: bool = False,
    **prices: ModelPrice,
) -> AsyncIterator[tuple[Gateway, harness.Agent]]:
    policy = msgspec.structs.replace(Policy(), budget=limits, network=network, redact=redact)
    gateway = Gateway(models, policy, without_keys, **prices)
    host = HOSTS[provider]
    where = Destination(host, 443, True, Rule("llm", host, provider))
    async with harness.connected(gateway, where) as agent:
        yield gateway, agent


async def post(
    agent: harness.Agent,
    provider: str,
    target: str,
    body: Any,
    *,
    headers: tuple[tuple[str, str], ...] = (),
) -> tuple[int, dict[str, str], bytes]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = [("content-type", "application/json"), *headers]
    return await agent.ask("POST", target, raw, fields, host=HOSTS[provider])


def of(records: list[Record], kind: type[Any]) -> list[Any]:
    return [record for record in records if isinstance(record, kind)]
