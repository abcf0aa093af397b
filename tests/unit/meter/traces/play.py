"""A trace, played through what a gateway does with each request and what akiosd answers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec

from akiosd.gateway.llm.prepare import Request, prepare
from akiosd.gateway.llm.providers.registry import BY_NAME
from akiosd.gateway.llm.restore_reply import Meter
from akiosd.gateway.llm.signed_texts import Memory
from akiosd.gateway.llm.threads import named_thread
from akiosd.gateway.redaction.redactors import Redactors
from akiosd.gateway.redaction.strict_json import parse
from akiosd.meter.account import Account
from akiosd.meter.budget import PATIENCE_NS, reserve, settle
from akiosd.values.denial import Denial
from akiosd.values.policy import Budget, Redact
from akiosd.values.spend import Bill, Grant
from tests.unit.meter.traces.shapes import Step

PAUSE_NS = 2 * 10**9
"""An agent takes so long for a turn."""
LIMITS = Budget(usd_micro=0)


class Refused(msgspec.Struct):
    """At which request, which time round, in which words; ``ended``: going on ended the run."""

    request: int
    round: int
    denial: Denial
    ended: bool


def play(steps: Iterator[Step], limits: Budget = LIMITS) -> Refused | None:
    """The first refusal, and what comes of asking the same again; None where all was granted."""
    account = Account(limits)
    memory = Memory(Redactors(Redact(models="off"), bytes(32)).models)
    open_: list[tuple[int, Request, Step]] = []
    for call, step in enumerate(steps, 1):
        now = call * PAUSE_NS
        if not step.together:
            account = _answer(account, memory, open_, now)
        request = _prepare(step, memory)
        account, verdict = reserve(account, call, request.ask, now)
        if isinstance(verdict, Denial):
            _, last = reserve(account, call + 1, request.ask, now + PATIENCE_NS)
            return Refused(call, step.round, verdict, isinstance(last, Denial) and last.final)
        assert isinstance(verdict, Grant)
        open_.append((call, request, step))
    return None


def _prepare(step: Step, memory: Memory) -> Request:
    provider = BY_NAME[step.provider]
    route = provider.find("POST", step.target)
    assert route is not None, step.target
    request = prepare(
        provider,
        route,
        json.dumps(step.body).encode(),
        [],
        step.target,
        memory=memory,
        overrides={},
        binary="pass",
        now_ns=1_795_000_000 * 10**9,
    )
    assert isinstance(request, Request), request
    return request


def _answer(
    account: Account, memory: Memory, open_: list[tuple[int, Request, Step]], now: int
) -> Account:
    for call, request, step in open_:
        meter = Meter(request.operation)
        meter.take(parse(json.dumps(step.reply)), "")
        if step.outcome == "completed" and request.operation.threads:
            name = named_thread(request.body) if request.body.get("conversation") else meter.name
            memory.threads.remember(name, request.turns, meter.open_turn)
        bill = Bill(step.outcome, answer=meter.answer)  # type: ignore[arg-type]
        account, _ = settle(account, call, bill, now)
    open_.clear()
    return account
