"""The authority over one cage's money: a gateway asks before it calls a model, and reports what the
call cost.

Every decision is made before the first wait, so that no two calls are granted the same money.

When what is durable: a refusal before it is answered, like every denial. A grant waits for no disk,
because nothing is spent yet. A bill is in the log's queue when ``settle`` returns, before anything
that is recorded later, and on disk within 20 ms; the cage's ``end`` record is waited for, and
stands behind every bill.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import trio

from akiosd.errors import GatewayFaultError
from akiosd.meter.account import Account, Settled
from akiosd.meter.budget import lose, reserve, settle
from akiosd.values.denial import PAYMENT_REQUIRED, Denial
from akiosd.values.policy import Budget, Most
from akiosd.values.records import LlmCall, Record, SpendWarning
from akiosd.values.spend import Ask, Bill, Grant, ModelSpend, OpenCall, Wait
from akiosd.wire.messages import BudgetReply

OnFinal = Callable[[str, str], None]

REFUSALS_PER_SECOND = 50
"""Refusals that one cage may write into the log; more of them wait."""
_BURST_S = 2.0
_MAX_MODELS = 64
_OTHERS = "(others)"
_MAX_NAME = 200
_DIGEST = 32
_MAX_OPEN_SHOWN = 100
_MAX_EARLY = 1024


class Book(Protocol):
    """Where the cage's records go (:class:`akiosd.daemon.gateways.gateway_records.Book`)."""

    async def append(self, records: Sequence[Record]) -> int: ...
    async def wait_durable(self, index: int) -> None: ...


class Spend:
    """The account of one cage, through all its gateways.

    ``on_final(kind, detail)`` is called once, when the cage must end. ``now_ns`` is Unix time,
    ``clock_ns`` a monotonic clock.
    """

    def __init__(
        self,
        budget: Budget,
        book: Book,
        on_final: OnFinal,
        now_ns: Callable[[], int] = time.time_ns,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        *,
        loops_up_to: Most = None,
    ) -> None:
        self.account = Account(budget, loops_up_to)
        self.refused = 0
        self._book, self._on_final = book, on_final
        self._now_ns, self._clock_ns = now_ns, clock_ns
        self._models: dict[str, ModelSpend] = {}
        self._early: dict[int, None] = {}
        self._waiting: dict[int, None] = {}
        self._next_refusal = 0.0
        self._closed = self._told = False

    # ---- what a gateway asks and tells
    # ---------------------------------------------------------------

    async def reserve(
        self, call: int, ask: Ask, *, patient: bool = False, waited_ns: int = 0
    ) -> Grant | Denial | Wait:
        """Decide whether a call may be made; see :func:`akiosd.meter.budget.reserve`.

        A ``patient`` call may be told to wait, and is asked for again after another was settled;
        ``waited_ns`` says how long it has waited. Raises ProtocolError when ``call`` is open
        already or ``ask`` is malformed.
        """
        _check_digest(ask.request)
        _check_digest(ask.before)
        self._waiting.pop(call, None)
        # It is kept while the call is open, a thousand of them at once.
        ask = msgspec.structs.replace(
            ask, provider=ask.provider[:_MAX_NAME], model=ask.model[:_MAX_NAME]
        )
        if self._closed:
            return Denial("budget.usd", "the run has ended", status=PAYMENT_REQUIRED, final=True)
        if call in self._early:
            # The agent went away before this answer, and the gateway's settling overtook its
            # question.
            del self._early[call]
            return Denial("budget.calls", "the call was given up", status=PAYMENT_REQUIRED)
        patient = patient and len(self._waiting) < _MAX_EARLY
        verdict: Grant | Denial | Wait
        if patient and self._waiting and min(self._waiting) < call:
            # Nobody passes who came before.
            verdict = Wait("budget")
        else:
            self.account, verdict = reserve(
                self.account, call, ask, self._clock_ns(), patient=patient, waited_ns=waited_ns
            )
        if isinstance(verdict, Wait):
            self._waiting[call] = None
        if isinstance(verdict, Denial):
            await self._record_refusal(ask, verdict)
            self._tell_ending()
        return verdict

    async def settle(self, call: int, bill: Bill) -> None:
        """Book what a call cost.  One that was refused, or is booked already, changes nothing."""
        _check_digest(bill.answer)
        if self._closed:
            return
        if call not in self.account.open:
            if call in self._waiting:
                del self._waiting[call]
            elif len(self._early) < _MAX_EARLY:
                self._early[call] = None
            return
        now = self._clock_ns()
        self.account, settled = settle(self.account, call, bill, now)
        self._tell_ending()
        await self._record(settled, bill, now)

    async def gateway_lost(self) -> None:
        """A gateway is dead: what it had open counts as spent.  To be called before the next
        gateway is started.
        """
        now = self._clock_ns()
        self._early.clear()
        self._waiting.clear()
        self.account, lost = lose(self.account, now)
        self._tell_ending()
        for settled in lost:
            await self._record(settled, Bill("cut", estimated=True), now)

    async def close(self) -> None:
        """The cage has ended and its last record is about to be written: book what can still be
        booked.
        """
        self._told = self._closed = True
        await self.gateway_lost()

    # ---- telling
    # -------------------------------------------------------------------------------------

    def describe(self, cage: str) -> BudgetReply:
        """The state of the account, for its owner."""
        account, now = self.account, self._clock_ns()
        shown = list(account.open.values())[:_MAX_OPEN_SHOWN]
        return BudgetReply(
            cage=cage,
            limits=account.limits,
            usd_micro=account.usd_micro,
            reserved_usd_micro=account.reserved_usd_micro,
            input_tokens=account.input_tokens,
            output_tokens=account.output_tokens,
            reserved_tokens=account.reserved_tokens,
            calls=account.calls,
            minute_usd_micro=account.paid.total(now),
            minute_requests=account.granted.total(now),
            models=tuple(self._models.values()),
            open_calls=len(account.open),
            refused=self.refused,
            open=tuple(
                OpenCall(_name(o.provider, o.model), o.usd_micro, now - o.at_ns) for o in shown
            ),
            ending=account.ending.detail if account.ending is not None else "",
        )

    # ---- inside
    # --------------------------------------------------------------------------------------

    async def _record_refusal(self, ask: Ask, refusal: Denial) -> None:
        self.refused += 1
        now = trio.current_time()
        self._next_refusal = max(self._next_refusal, now) + 1 / REFUSALS_PER_SECOND
        if not refusal.final:
            await trio.sleep_until(self._next_refusal - _BURST_S)
        if self._closed:
            return
        record = SpendWarning(
            ts=self._now_ns(),
            provider=ask.provider,
            model=ask.model,
            rule=refusal.rule,
            words=refusal.words,
            final=refusal.final,
        )
        await self._book.wait_durable(await self._book.append([record]))

    async def _record(self, settled: Settled, bill: Bill, now_ns: int) -> None:
        if settled.outcome != "failed":
            self._count(settled)
        held = settled.open
        record = LlmCall(
            ts=self._now_ns(),
            provider=held.provider,
            model=held.model,
            outcome=settled.outcome,
            usd_micro=settled.usd_micro,
            reserved_usd_micro=held.usd_micro,
            total_usd_micro=self.account.usd_micro,
            tokens=settled.tokens,
            estimated=settled.estimated,
            status=bill.status,
            stream=bill.stream,
            duration_ns=now_ns - held.at_ns,
            lowered=held.lowered,
        )
        await self._book.append([record])

    def _count(self, settled: Settled) -> None:
        name = _name(settled.open.provider, settled.open.model)
        if name not in self._models and len(self._models) >= _MAX_MODELS:
            name = _OTHERS
        before = self._models.get(name, ModelSpend(name))
        self._models[name] = msgspec.structs.replace(
            before,
            calls=before.calls + 1,
            usd_micro=before.usd_micro + settled.usd_micro,
            input_tokens=before.input_tokens + settled.tokens.input,
            output_tokens=before.output_tokens + settled.tokens.output,
        )

    def _tell_ending(self) -> None:
        ending = self.account.ending
        if ending is not None and not self._told:
            self._told = True
            self._on_final(ending.kind, ending.detail)


def _check_digest(found: bytes) -> None:
    if len(found) > _DIGEST:
        raise GatewayFaultError(
            f"the digest of a call has {len(found)} bytes, at most {_DIGEST} can be right",
            "gateway",
        )


def _name(provider: str, model: str) -> str:
    return f"{provider}/{model}"[:_MAX_NAME]
