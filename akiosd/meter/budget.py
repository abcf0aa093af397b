"""The account of one cage: what its calls to models may still cost.  A state machine over values.

Before a call its dearest outcome is reserved, afterwards what it cost is booked, or all of the
reservation where that was not learned; spent and reserved together never pass a limit, in whatever
order calls begin and end.  Only a provider that counts more than the call could cost gets past it.

What is refused, and when the cage ends.  ``again`` is a refusal at least ``PATIENCE_NS`` after the
first with no call granted between, since calls that were under way together could not read the
warning; the 256th ends it in any case.

rule                          refused                                              ends the cage
----------------------------  ---------------------------------------------------  ------------------------------------
prices                        403: the model has no known price                    never
budget.same_request           400: it was answered the same N - 1 times in a row   again
budget.same_tool_calls        400: N equal batches in a row had equal results      again
budget.same_answers           400: N turns in a row changed nothing                again
budget.cycles                 400: a cycle of 2 to 4 turns went round N times      again
budget.requests_per_minute    429: N calls were granted within a minute            again, after max(N, 10) refusals
budget.usd_per_minute         402: it may not fit into the minute                  again, after 10 refusals
budget.usd, tokens, calls     402: it does not fit until open calls end, and       never
                              waited for as long as its client may wait
budget.usd, tokens, calls     402: it does not fit                                 again
budget.usd, tokens            (a bill above its reservation reaches the limit)     at once

A call that may wait is told to while open calls hold what it needs.  One that fits only alone, or
may not wait, has its answer shortened to what fits before it is refused.

A cage may share the budget of another one: its calls have to fit into both, and are reserved and
booked in both.  What it is refused counts against itself, and none of its calls waits for those of
other cages, of whose ends it does not hear.  Its own limits are at most those of the other one
(:func:`least_of`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from akiosd.errors import GatewayFaultError
from akiosd.meter import loops
from akiosd.meter.account import Account, Ending, Open, Settled, Shared, Warned
from akiosd.meter.headroom import COMFORTABLE, MAX_AMOUNT, Need, Room, fit, read_ask
from akiosd.values.denial import BAD_REQUEST, FORBIDDEN, PAYMENT_REQUIRED, TOO_MANY, Denial
from akiosd.values.policy import Budget
from akiosd.values.spend import Ask, Bill, Grant, Outcome, Tokens, Wait
from akiosd.values.units import NS_PER_S, format_usd

PATIENCE_NS = 5 * NS_PER_S
"""So long after its first refusal a rule may end the cage.  A hundred calls that begin at once on a
busy machine reach the gateway within this time, before any of them can have read the warning.
"""
MAX_REFUSALS = 256
"""After so many refusals by one rule the cage ends in any case."""
RATE_REFUSALS = 10
"""Refusals by a rate limit before the cage may end."""
MAX_OPEN = 1024
"""Calls of one cage that may be open at once."""

_SHARED = ("usd_micro", "tokens", "calls", "usd_micro_per_minute", "requests_per_minute")

Verdict = tuple[Account, Grant | Denial | Wait]


class Other(NamedTuple):
    """Another cage whose budget is shared, and what it is called."""

    account: Account
    name: str


def reserve(
    account: Account,
    call: int,
    ask: Ask,
    now_ns: int,
    *,
    patient: bool = False,
    waited_ns: int = 0,
    other: Other | None = None,
) -> Verdict:
    """Decide whether the call that ``ask`` describes may be made.

    ``call`` is its number until it is settled; ProtocolError if that number is in use. ``now_ns``
    is of a monotonic clock. A grant says how much was reserved, and how long the answer may be.

    Only a ``patient`` call is told to wait; it is asked for again after another was settled.
    ``waited_ns``: how long it has waited; as it could not read warnings meanwhile, a refusal now
    does not count against it.  A grant has room with the ``other`` one, too, whose account is not
    changed here: see :func:`lend`.
    """
    if call in account.open:
        raise GatewayFaultError(f"the call {call} is open already", "reserve")
    if account.ending is not None:
        return account, _last_word("budget", PAYMENT_REQUIRED, account.ending)
    if not ask.priced:
        words = (
            "this model's price is not known; the administrator can name it in akiosd.yaml,"
            " gateway.prices"
        )
        return account, Denial("prices", words, status=FORBIDDEN)
    if len(account.open) >= MAX_OPEN:
        if patient:
            return account, Wait("budget.calls")
        return account, Denial(
            "budget.calls", f"{MAX_OPEN} calls are open; wait for one to end", status=TOO_MANY
        )
    for check in (_check_circles, _check_rate):
        verdict = check(account, ask, now_ns)
        if verdict is not None:
            return verdict
    rooms: list[Room] = []
    if other is not None:
        hasty = _check_other(other, now_ns)
        if hasty is not None:
            return account, hasty
        rooms = _rooms(other.account, now_ns, other.name)
    return _check_room(account, call, ask, now_ns, patient, max(waited_ns, 0), rooms)


def longest(limits: Budget, ask: Ask) -> int:
    """The ``Grant.output`` that :func:`reserve` would give if there were room for everything; it
    never grants a longer one.
    """
    need = read_ask(ask)
    return 0 if need.named or not _is_bounded(limits, need) else need.wanted


def least_of(own: Budget, other: Budget) -> Budget:
    """``own`` with none of its bounds of money, tokens and calls above those of ``other``."""
    pairs = ((name, getattr(own, name), getattr(other, name)) for name in _SHARED)
    return msgspec.structs.replace(
        own, **{name: min(a, b) if a and b else a or b for name, a, b in pairs}
    )


def lend(account: Account, key: str, held: Open, now_ns: int) -> Account:
    """The account of the cage whose budget is shared, after a call of another cage was granted;
    asked for again, it is reserved once.
    """
    is_counted = bool(account.limits.requests_per_minute) and key not in account.lent
    return msgspec.structs.replace(
        account,
        lent={**account.lent, key: held},
        granted=account.granted.add(1, now_ns) if is_counted else account.granted,
    )


def take_back(account: Account, key: str, settled: Settled, now_ns: int) -> Account:
    """The same, after that call was settled; of one that is settled already nothing changes."""
    if key not in account.lent:
        return account
    usd, tokens = settled.usd_micro, _both(settled.tokens)
    before, limits = account.shared, account.limits
    shared = Shared(
        before.usd_micro + usd,
        before.tokens + tokens,
        before.calls + (settled.outcome != "failed"),
    )
    account = msgspec.structs.replace(
        account,
        lent={name: held for name, held in account.lent.items() if name != key},
        shared=shared,
        paid=account.paid.add(usd, now_ns) if limits.usd_micro_per_minute else account.paid,
    )
    return _check_overdrawn(account, settled)


def let_go(account: Account, keys: Iterable[str], now_ns: int, *, spent: bool) -> Account:
    """The same, of calls that nobody will settle; ``spent``: they were made, and are booked as
    reserved.
    """
    outcome: Outcome = "cut" if spent else "failed"
    for key in keys:
        held = account.lent[key]
        usd, tokens = (held.usd_micro, held.tokens) if spent else (0, Tokens())
        gone = Settled(0, held, outcome, usd, tokens, estimated=True)
        account = take_back(account, key, gone, now_ns)
    return account


def settle(account: Account, call: int, bill: Bill, now_ns: int) -> tuple[Account, Settled]:
    """Book a call that is over and release its reservation.  ProtocolError if ``call`` is not open.

    A bill that is estimated is booked at the whole reservation.
    """
    if call not in account.open:
        raise GatewayFaultError(f"the call {call} is not open", "settle")
    held = account.open[call]
    unknown = bill.estimated and bill.outcome != "failed"
    tokens = held.tokens if unknown else _credible(bill.tokens)
    usd = held.usd_micro if unknown else _amount(bill.usd_micro)
    settled = Settled(call, held, bill.outcome, usd, tokens, bill.estimated)
    account = msgspec.structs.replace(
        account,
        open={number: other for number, other in account.open.items() if number != call},
        usd_micro=account.usd_micro + usd,
        input_tokens=account.input_tokens + tokens.input,
        output_tokens=account.output_tokens + tokens.output,
        calls=account.calls + (bill.outcome != "failed"),
        paid=account.paid.add(usd, now_ns) if account.limits.usd_micro_per_minute else account.paid,
    )
    if bill.outcome == "completed":
        repeats = loops.answered(account.repeats, held.request, bill.answer, held.live)
        account = msgspec.structs.replace(account, repeats=repeats)
    return _check_overdrawn(account, settled), settled


def lose(account: Account, now_ns: int) -> tuple[Account, tuple[Settled, ...]]:
    """Settle all open calls because the gateway is gone: each may have been spent in full, and is
    booked so.
    """
    lost = []
    for call in list(account.open):
        account, settled = settle(account, call, Bill("cut", estimated=True), now_ns)
        lost.append(settled)
    return account, tuple(lost)


# ---- loops and rates
# -------------------------------------------------------------------------------


def _check_circles(account: Account, ask: Ask, now_ns: int) -> Verdict | None:
    limits = account.limits
    circle = loops.find_circle(account.repeats, ask, limits)
    if circle is None:
        return None
    words = f"{circle.what} {circle.count} times in this conversation; change something or stop"
    if circle.rule == "budget.same_request":
        words = (
            f"the same request had the same answer {circle.count - 1} times in a row; change it or"
            " stop"
        )
    ending = Ending("loop", circle.describe())
    account, refusal = _refuse(account, circle.rule, words, now_ns, ending, BAD_REQUEST)
    told = f"{refusal.words} ({_how_to_raise(circle, account)})"
    return account, msgspec.structs.replace(refusal, words=told)


def _how_to_raise(circle: loops.Circle, account: Account) -> str:
    """The number, its setting, and who may change it where."""
    key, bound = circle.rule.removeprefix("budget."), account.loops_up_to
    if bound is None or circle.limit >= bound > 0:
        return (
            f"{circle.number}; an administrator of this host may let projects raise it, by"
            f" projects_may: {{loops: N}} in {account.system_file}"
        )
    most = f"up to {bound}" if bound else "to any number"
    return f"{circle.number}; akios.yaml may raise it {most}, as in budget: {{{key}: N}}"


def _check_rate(account: Account, ask: Ask, now_ns: int) -> Verdict | None:
    limit = account.limits.requests_per_minute
    if not limit or account.granted.total(now_ns) < limit:
        return None
    ending = Ending("loop", f"more than {limit} requests in a minute")
    words = f"{limit} requests were made within a minute; wait until it is over"
    patience = max(limit, RATE_REFUSALS)
    return _refuse(account, "budget.requests_per_minute", words, now_ns, ending, TOO_MANY, patience)


# ---- money, tokens, calls ------------------------------------------------------------------------


def _rooms(account: Account, now_ns: int, of: str = "") -> list[Room]:
    """What each limit that is set leaves; those that end a cage soonest come first."""
    limits, shared, held = account.limits, account.shared, account.reserved_usd_micro
    tokens, calls = account.tokens + shared.tokens, account.calls + shared.calls
    minute, paid = limits.usd_micro_per_minute, account.paid.total(now_ns)
    usd, open_calls = account.usd_micro + shared.usd_micro, len(account.open) + len(account.lent)
    rooms = [
        Room("budget.usd", "usd", limits.usd_micro, usd, held, of),
        Room("budget.tokens", "tokens", limits.tokens, tokens, account.reserved_tokens, of),
        Room("budget.calls", "calls", limits.calls, calls, open_calls, of),
        Room("budget.usd_per_minute", "usd", minute, paid, held, of),
    ]
    return [room for room in rooms if room.limit]


def _check_other(other: Other, now_ns: int) -> Denial | None:
    account = other.account
    if account.ending is not None:
        words = f"the budget of the cage {other.name} ends: {account.ending.detail}"
        return Denial("budget.usd", words, status=PAYMENT_REQUIRED)
    limit = account.limits.requests_per_minute
    if not limit or account.granted.total(now_ns) < limit:
        return None
    words = f"{limit} requests were made for the cage {other.name} within a minute"
    words += "; wait until it is over"
    return Denial("budget.requests_per_minute", words, status=TOO_MANY)


def _check_room(
    account: Account,
    call: int,
    ask: Ask,
    now_ns: int,
    patient: bool,
    waited_ns: int,
    others: Sequence[Room] = (),
) -> Verdict:
    need, rooms = read_ask(ask), _rooms(account, now_ns)
    wait = _find_wait(need, rooms) if patient else None
    if wait is not None:
        return account, wait
    output, rooms = need.wanted, [*rooms, *others]
    for room in rooms:
        fits = fit(need, room, room.left)
        if fits is None:
            return _no_room(account, need, room, now_ns, waited_ns)
        output = min(output, fits)
    shortened = output < need.named or (not need.named and _is_bounded(account.limits, need))
    usd, tokens = (
        need.usd_micro(output),
        Tokens(input=need.input_tokens, output=need.choices * output),
    )
    if max(usd, tokens.input, tokens.output) > MAX_AMOUNT:
        return account, Denial(
            "budget.usd", "no call can be as large as this one", status=PAYMENT_REQUIRED
        )
    lowered = output if output < (need.named or ask.ceiling) else 0
    held = Open(
        ask.provider,
        ask.model,
        ask.request,
        now_ns,
        usd,
        tokens,
        lowered,
        ask.trail.live,
        output if shortened else 0,
    )
    account = msgspec.structs.replace(
        account,
        open={**account.open, call: held},
        granted=(
            account.granted.add(1, now_ns)
            if account.limits.requests_per_minute
            else account.granted
        ),
        warned={},
    )
    return account, held.grant


def _find_wait(need: Need, rooms: list[Room]) -> Wait | None:
    """Whether open calls hold what would make this one possible, or its answer as long as it should
    be.
    """
    alone = [fit(need, room, room.limit - room.used) for room in rooms]
    possible = [output for output in alone if output is not None]
    if len(possible) < len(rooms):
        return None
    enough = min(need.wanted, *possible) if possible else need.wanted
    if not need.named:
        enough = min(enough, max(COMFORTABLE, need.least))
    for room in rooms:
        now = fit(need, room, room.left)
        if room.held and (now is None or now < enough):
            return Wait(room.rule)
    return None


def _is_bounded(limits: Budget, need: Need) -> bool:
    return bool(
        limits.tokens
        or ((limits.usd_micro or limits.usd_micro_per_minute) and need.output_usd_nano)
    )


def _no_room(account: Account, need: Need, room: Room, now_ns: int, waited_ns: int) -> Verdict:
    state, needs = room.describe(need), room.enough(need)
    if room.held and fit(need, room, room.limit - room.used) is not None:
        words = f"{state}; wait for an open call to end"
        return account, Denial(room.rule, words, status=PAYMENT_REQUIRED, needs=needs)
    if room.rule == "budget.usd_per_minute":
        ending = Ending("loop", f"more than {format_usd(room.limit)} in a minute")
        words = f"{state}; wait until the minute is over"
        account, denial = _refuse(
            account, room.rule, words, now_ns, ending, PAYMENT_REQUIRED, RATE_REFUSALS
        )
    else:
        words = f"{state}; finish without further calls"
        ending = Ending("budget", room.verdict(need))
        account, denial = _refuse(
            account, room.rule, words, now_ns, ending, PAYMENT_REQUIRED, waited_ns=waited_ns
        )
    return account, msgspec.structs.replace(denial, needs=needs)


def _check_overdrawn(account: Account, settled: Settled) -> Account:
    """A bill within its reservation cannot reach past a limit; one above it may."""
    limits, held = account.limits, settled.open
    ending = account.ending
    if (
        limits.usd_micro
        and settled.usd_micro > held.usd_micro
        and account.usd_micro + account.shared.usd_micro >= limits.usd_micro
    ):
        ending = ending or Ending("budget", f"{format_usd(limits.usd_micro)} spent")
    over = _both(settled.tokens) > _both(held.tokens)
    if limits.tokens and over and account.tokens + account.shared.tokens >= limits.tokens:
        ending = ending or Ending("budget", f"{limits.tokens:,} tokens spent")
    return msgspec.structs.replace(account, ending=ending)


# ---- refusing
# --------------------------------------------------------------------------------------


def _refuse(
    account: Account,
    rule: str,
    words: str,
    now_ns: int,
    ending: Ending,
    status: int,
    patience: int = 1,
    waited_ns: int = 0,
) -> tuple[Account, Denial]:
    """Warn, and after ``patience`` warnings that could be read, end."""
    before = account.warned.get(rule, Warned(now_ns, 0))
    readable = now_ns - waited_ns - before.since_ns >= PATIENCE_NS
    if (before.count >= patience and readable) or before.count >= MAX_REFUSALS:
        return msgspec.structs.replace(account, ending=ending), _last_word(rule, status, ending)
    warned = {**account.warned, rule: Warned(before.since_ns, before.count + 1)}
    last = "; going on ends the run" if before.count + 1 >= patience else ""
    return msgspec.structs.replace(account, warned=warned), Denial(
        rule, words + last, status=status
    )


def _last_word(rule: str, status: int, ending: Ending) -> Denial:
    budget = "budget " if ending.kind == "budget" else ""
    return Denial(rule, f"the run ends: {budget}{ending.detail}", status=status, final=True)


def _amount(number: int) -> int:
    return min(max(number, 0), MAX_AMOUNT)


def _credible(tokens: Tokens) -> Tokens:
    return Tokens(*(_amount(getattr(tokens, name)) for name in Tokens.__struct_fields__))


def _both(tokens: Tokens) -> int:
    return tokens.input + tokens.output
