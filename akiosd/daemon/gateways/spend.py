"""The authority over one cage's money: a gateway asks before it calls a model, and reports what the
call cost.

Every decision is made before the first wait, so that no two calls are granted the same money.

When what is durable: a refusal before it is answered, like every denial. A grant waits for no disk,
because nothing is spent yet. A bill is in the log's queue when ``settle`` returns, before anything
that is recorded later, and on disk within 20 ms; the cage's ``end`` record is waited for, and
stands behind every bill.

What outlives akiosd (:mod:`akiosd.daemon.gateways.spend_memory`): everything that was granted,
denied or booked, from before anybody hears of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec
import trio

from akiosd.daemon.gateways.spend_memory import Book, Refused, SpendMemory, SpendState
from akiosd.errors import GatewayFaultError
from akiosd.meter.account import Account, Open, Settled, borrower_of, lent_to
from akiosd.meter.budget import Other, lend, let_go, lose, reserve, settle, take_back
from akiosd.values.denial import PAYMENT_REQUIRED, Denial
from akiosd.values.places import SYSTEM_FILE
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
_MAX_DENIED = 1024


class Sharing:
    """For one cage, the account of another whose budget it shares; that may have been made by an
    earlier akiosd, and has the same calls in it.

    It is changed, and its change outlives akiosd, before that of the cage's own: what akiosd died
    between is asked or told again by the cage's gateway, and changes nothing in it then.
    """

    def __init__(self, cage: str, find: Callable[[], tuple[str, Spend] | None]) -> None:
        """``find`` brings what the other cage is called and its account, while it runs."""
        self._cage, self._find_named = cage, find

    def look(self, call: int) -> Other | Denial:
        """The other account as it is without ``call``."""
        found = self._find_named()
        if found is None:
            words = "the cage whose budget this shares is down"
            return Denial("budget.usd", words, status=PAYMENT_REQUIRED)
        account, key = found[1].account, lent_to(self._cage, call)
        lent = {name: held for name, held in account.lent.items() if name != key}
        return Other(msgspec.structs.replace(account, lent=lent), found[0])

    def _find(self) -> Spend | None:
        found = self._find_named()
        return found[1] if found is not None else None

    def lend(self, call: int, held: Open) -> None:
        """The call was granted."""
        spend = self._find()
        if spend is not None:
            spend.lend(lent_to(self._cage, call), held)

    def take_back(self, settled: Sequence[Settled]) -> None:
        """These calls are over."""
        spend = self._find()
        if spend is not None:
            spend.take_back({lent_to(self._cage, one.call): one for one in settled})

    def compare(self, calls: Collection[int]) -> None:
        """Only these are open: others were never granted, as far as the gateway knows."""
        spend = self._find()
        if spend is not None:
            keys = {lent_to(self._cage, call) for call in calls}
            own = [key for key in spend.account.lent if borrower_of(key) == self._cage]
            spend.let_go([key for key in own if key not in keys], spent=False)


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
        system_file: str = SYSTEM_FILE,
    ) -> None:
        account = Account(budget, loops_up_to, system_file=system_file)
        self.memory = SpendMemory(book, SpendState(account=account))
        self._book, self._on_final = book, on_final
        self._now_ns, self._clock_ns = now_ns, clock_ns
        self._early: dict[int, None] = {}
        self._next_refusal = 0.0
        self._closed = self._told = False
        self.sharing: Sharing | None = None
        """Whose budget is shared, if another cage's is."""

    @classmethod
    def restore(
        cls,
        budget: Budget,
        book: Book,
        on_final: OnFinal,
        data: bytes | None,
        more: bytes | None = None,
        *,
        loops_up_to: Most = None,
        system_file: str = SYSTEM_FILE,
    ) -> Spend:
        """The account as an earlier akiosd left it; ``data`` and ``more`` are the sections
        ``SPEND`` and ``MORE`` of the cage's state memory.  Call :meth:`resume` before anything else
        is asked of it.  Raises StateError.
        """
        spend = cls(budget, book, on_final, loops_up_to=loops_up_to, system_file=system_file)
        spend.memory = SpendMemory.restore(book, data, spend.account, more)
        return spend

    @property
    def account(self) -> Account:
        """All that was spent, and what is reserved."""
        return self.memory.state.account

    async def resume(self) -> None:
        """An earlier akiosd made this account: append the records that it did not get onto the
        disk, and say again that the cage must end, where it must.
        """
        if self.sharing is not None:
            self.sharing.compare(self.account.open)
        await self.memory.recover()
        self._tell_ending()

    # ---- what a gateway asks and tells
    # ---------------------------------------------------------------

    async def reserve(
        self, call: int, ask: Ask, *, patient: bool = False, waited_ns: int = 0
    ) -> Grant | Denial | Wait:
        """Decide whether a call may be made; see :func:`akiosd.meter.budget.reserve`.

        A ``patient`` call may be told to wait, and is asked for again after another was settled;
        ``waited_ns`` says how long it has waited. Raises GatewayFaultError when ``call`` is open
        already or ``ask`` is malformed.
        """
        _check_digest(ask.request)
        _check_digest(ask.before)
        if self._closed:
            return Denial("budget.usd", "the run has ended", status=PAYMENT_REQUIRED, final=True)
        # It is kept while the call is open, a thousand of them at once.
        ask = msgspec.structs.replace(
            ask, provider=ask.provider[:_MAX_NAME], model=ask.model[:_MAX_NAME]
        )
        verdict = self._find_verdict(call) or self._decide(call, ask, patient, waited_ns)
        self.memory.save()
        if isinstance(verdict, Denial) and call in self.memory.state.denied:
            await self._record_refusal(call, ask)
            self._tell_ending()
        return verdict

    def _find_verdict(self, call: int) -> Grant | Denial | None:
        """The answer that an earlier akiosd gave, and that did not arrive."""
        state = self.memory.state
        if call in state.account.open:
            return state.account.open[call].grant
        return state.denied[call].denial if call in state.denied else None

    def _decide(self, call: int, ask: Ask, patient: bool, waited_ns: int) -> Grant | Denial | Wait:
        state = self.memory.state
        state.waiting.discard(call)
        if call in self._early:
            # The agent went away before this answer, and the gateway's settling overtook its
            # question.
            del self._early[call]
            return Denial("budget.calls", "the call was given up", status=PAYMENT_REQUIRED)
        patient = patient and len(state.waiting) < _MAX_EARLY
        verdict: Grant | Denial | Wait
        if patient and state.waiting and min(state.waiting) < call:
            # Nobody passes who came before.
            verdict = Wait("budget")
        else:
            verdict = self._reserve(call, ask, patient, waited_ns)
        if isinstance(verdict, Wait):
            state.waiting.add(call)
        elif isinstance(verdict, Denial):
            state.refused += 1
            state.denied[call] = Refused(verdict)
            if len(state.denied) > _MAX_DENIED:
                del state.denied[next(iter(state.denied))]
        return verdict

    def _reserve(self, call: int, ask: Ask, patient: bool, waited_ns: int) -> Grant | Denial | Wait:
        state = self.memory.state
        other = self.sharing.look(call) if self.sharing is not None else None
        if isinstance(other, Denial):
            return other
        state.account, verdict = reserve(
            state.account,
            call,
            ask,
            self._clock_ns(),
            patient=patient,
            waited_ns=waited_ns,
            other=other,
        )
        if self.sharing is not None and isinstance(verdict, Grant):
            self.sharing.lend(call, state.account.open[call])
        return verdict

    async def settle(self, call: int, bill: Bill, number: int = 0) -> None:
        """Book what a call cost.  One that was refused, or is booked already, changes nothing.
        ``number``: of the message that says so.
        """
        _check_digest(bill.answer)
        if call in self.account.open:
            await self.memory.wait_turn(1)
        if self._closed:
            return
        state, now = self.memory.state, self._clock_ns()
        state.taken = number or state.taken
        if call in state.account.open:
            state.account, settled = settle(state.account, call, bill, now)
            if self.sharing is not None:
                self.sharing.take_back([settled])
            self.memory.write([self._record(settled, bill, now)])
            self._tell_ending()
            return
        if call in state.waiting:
            state.waiting.remove(call)
        elif len(self._early) < _MAX_EARLY:
            self._early[call] = None
        self.memory.save()

    def heard(self, call: int, number: int) -> None:
        """The gateway knows that ``call`` was denied."""
        self.memory.state.denied.pop(call, None)
        self.take(number)

    def take(self, number: int) -> None:
        """What the gateway's message ``number`` said is where it outlives akiosd."""
        self.memory.state.taken = number
        self.memory.save()

    async def record(self, records: Sequence[Record], number: int = 0) -> int:
        """Write what the gateway's message ``number`` reported, or what was seen of the gateway;
        returns the index of the last record.
        """
        await self.memory.wait_turn(len(records))
        self.memory.state.taken = number or self.memory.state.taken
        return self.memory.write(records)

    async def gateway_lost(self) -> None:
        """A gateway is dead: what it had open counts as spent.  To be called before the next
        gateway is started.
        """
        await self.memory.wait_turn(len(self.account.open))
        state, now = self.memory.state, self._clock_ns()
        self._early.clear()
        state.waiting.clear()
        state.denied.clear()
        state.taken = 0
        state.account, lost = lose(state.account, now)
        if self.sharing is not None:
            self.sharing.take_back(lost)
        bill = Bill("cut", estimated=True)
        self.memory.write([self._record(settled, bill, now) for settled in lost])
        self._tell_ending()

    async def close(self) -> None:
        """The cage has ended and its last record is about to be written: book what can still be
        booked.
        """
        self._told = self._closed = True
        await self.gateway_lost()

    # ---- what cages do that share this budget
    # ---------------------------------------------------------------

    def lend(self, key: str, held: Open) -> None:
        """A call of such a cage was granted; see :func:`akiosd.meter.budget.lend`."""
        self._change(lend(self.account, key, held, self._clock_ns()))

    def take_back(self, settled: Mapping[str, Settled]) -> None:
        """Calls of such a cage are over."""
        account = self.account
        for key, one in settled.items():
            account = take_back(account, key, one, self._clock_ns())
        self._change(account)

    def let_go(self, keys: Sequence[str], *, spent: bool) -> None:
        """Nobody will settle these calls."""
        self._change(let_go(self.account, keys, self._clock_ns(), spent=spent))

    def _change(self, account: Account) -> None:
        if not self._closed and account is not self.account:
            self.memory.state.account = account
            self.memory.save()
            self._tell_ending()

    # ---- telling
    # -------------------------------------------------------------------------------------

    def describe(self, cage: str) -> BudgetReply:
        """The state of the account, for its owner."""
        account, now = self.account, self._clock_ns()
        open_calls = [*account.open.values(), *account.lent.values()]
        shown = open_calls[:_MAX_OPEN_SHOWN]
        return BudgetReply(
            cage=cage,
            limits=account.limits,
            usd_micro=account.usd_micro,
            reserved_usd_micro=account.reserved_usd_micro,
            input_tokens=account.input_tokens,
            output_tokens=account.output_tokens,
            reserved_tokens=account.reserved_tokens,
            calls=account.calls,
            shared_usd_micro=account.shared.usd_micro,
            shared_tokens=account.shared.tokens,
            shared_calls=account.shared.calls,
            minute_usd_micro=account.paid.total(now),
            minute_requests=account.granted.total(now),
            models=tuple(self.memory.state.models.values()),
            open_calls=len(open_calls),
            refused=self.memory.state.refused,
            open=tuple(
                OpenCall(_name(o.provider, o.model), o.usd_micro, now - o.at_ns) for o in shown
            ),
            ending=account.ending.detail if account.ending is not None else "",
        )

    # ---- inside
    # --------------------------------------------------------------------------------------

    async def _record_refusal(self, call: int, ask: Ask) -> None:
        """Return once the refusal is on disk."""
        denied = self.memory.state.denied
        refusal = denied[call].denial
        if denied[call].recorded:
            await self.memory.wait_written()
            return
        now = trio.current_time()
        self._next_refusal = max(self._next_refusal, now) + 1 / REFUSALS_PER_SECOND
        if not refusal.final:
            await trio.sleep_until(self._next_refusal - _BURST_S)
        await self.memory.wait_turn(1)
        if self._closed:
            return
        record = SpendWarning(
            ts=self._now_ns(),
            provider=ask.provider,
            model=ask.model,
            rule=refusal.rule,
            words=refusal.words,
            final=refusal.final,
            needs=refusal.needs,
        )
        if call in denied:
            denied[call] = Refused(refusal, recorded=True)
        await self._book.wait_durable(self.memory.write([record]))

    def _record(self, settled: Settled, bill: Bill, now_ns: int) -> LlmCall:
        if settled.outcome != "failed":
            self._count(settled)
        held = settled.open
        return LlmCall(
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

    def _count(self, settled: Settled) -> None:
        name = _name(settled.open.provider, settled.open.model)
        models = self.memory.state.models
        if name not in models and len(models) >= _MAX_MODELS:
            name = _OTHERS
        before = models.get(name, ModelSpend(name))
        models[name] = msgspec.structs.replace(
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
            f"the digest of a call has {len(found)} bytes; no digest has more than {_DIGEST}",
            "gateway",
        )


def _name(provider: str, model: str) -> str:
    return f"{provider}/{model}"[:_MAX_NAME]
