"""The account of a cage: nothing passes a limit in any order of calls; warnings first, then the
end.
"""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.errors import ProtocolError
from akiosd.meter.account import Account, Ending, Shared, lent_to
from akiosd.meter.budget import (
    MAX_OPEN,
    PATIENCE_NS,
    Other,
    least_of,
    lend,
    let_go,
    longest,
    lose,
    reserve,
    settle,
    take_back,
)
from akiosd.meter.loops import MINUTE_S, Repeats
from akiosd.values.denial import Denial
from akiosd.values.policy import Budget
from akiosd.values.spend import Ask, Bill, Grant, Tokens, Trail, Wait
from akiosd.values.units import NS_PER_S, USD

FREE = Budget(usd_micro=0, same_request=0, same_tool_calls=0, same_answers=0, cycles=0)
LATER = PATIENCE_NS


def account(*, loops_up_to=50, **limits):
    return Account(msgspec.structs.replace(FREE, **limits), loops_up_to)


LIVE = Trail(live=True)
"""Of an agent in the middle of its work."""


def ask(request=b"", **fields):
    return Ask("openai", "gpt-4o", request, **{"output_usd_nano": 10_000, "output": 100, **fields})


class Agent:
    """Makes calls one after another, ``pause`` apart."""

    def __init__(self, state, pause=LATER):
        self.state, self.pause, self.now, self.call = state, pause, 0, 0

    def ask(self, request=b"", **fields):
        self.now += self.pause
        self.call += 1
        self.state, verdict = reserve(self.state, self.call, ask(request, **fields), self.now)
        return verdict

    def answer(self, outcome="completed", answer=b"x", **bill):
        self.state, settled = settle(
            self.state, self.call, Bill(outcome, answer=answer, **bill), self.now
        )
        return settled

    def make(self, request=b"", answer=b"x", outcome="completed", usd_micro=0, trail=LIVE):
        verdict = self.ask(request, trail=trail)
        if isinstance(verdict, Grant):
            self.answer(outcome, answer, usd_micro=usd_micro)
        return verdict


# ---- money ---------------------------------------------------------------------------------------


def test_a_grant_reserves_input_and_all_choices_rounded_up():
    state, grant = reserve(
        account(usd_micro=USD), 1, ask(input_usd_micro=7, choices=3, output_usd_nano=333), 0
    )
    assert grant == Grant(7 + 100)  # 3 × 100 × 0.333 = 99.9
    assert (state.reserved_usd_micro, state.reserved_tokens, state.usd_micro) == (107, 300, 0)


def test_a_long_answer_is_shortened_and_a_missing_length_filled_in():
    limits = {"usd_micro": 1_000}
    assert reserve(account(**limits), 1, ask(output=1_000), 0)[1] == Grant(1_000, 100, lowered=100)
    assert reserve(account(**limits), 1, ask(output=50), 0)[1] == Grant(500, 0)
    assert reserve(account(**limits), 1, ask(output=0, ceiling=30), 0)[1] == Grant(300, 30)
    assert reserve(account(**limits), 1, ask(output=0, ceiling=9_999), 0)[1] == Grant(
        1_000, 100, lowered=100
    )
    assert reserve(account(**limits), 1, ask(output=0, ceiling=0), 0)[1] == Grant(1_000, 100)
    assert reserve(account(**limits), 1, ask(output=0, ceiling=0, output_usd_nano=0), 0)[
        1
    ] == Grant(0, 0)
    assert reserve(account(tokens=40), 1, ask(output=0, ceiling=90, input_tokens=10), 0)[
        1
    ] == Grant(300, 30, lowered=30)
    assert reserve(account(), 1, ask(output=0, ceiling=90), 0)[1] == Grant(900, 0)


def test_an_answer_is_not_shortened_below_its_floor():
    state = account(usd_micro=1_000)
    assert isinstance(reserve(state, 1, ask(output=200, floor=101), 0)[1], Denial)
    assert reserve(state, 1, ask(output=200, floor=100), 0)[1] == Grant(1_000, 100, lowered=100)
    # A floor above what is asked for is what is asked for.
    assert reserve(state, 1, ask(output=10, floor=5_000), 0)[1] == Grant(100, 0)


def test_what_a_call_may_cost_is_said_and_what_to_do():
    state = Agent(account(usd_micro=USD))
    state.ask(input_usd_micro=990_000, output=1)
    state.answer(usd_micro=985_000)
    refused = state.ask(input_usd_micro=50_000)
    assert (refused.rule, refused.status, refused.final) == ("budget.usd", 402, False)
    assert refused.words == (
        "budget.usd is $1.00, $0.985 used; this call needs room for $0.05001; finish without further calls; "
        "going on ends the run"
    )
    refused = state.ask(input_usd_micro=50_000)
    assert refused == Denial(
        "budget.usd", "the run ends: budget $1.00 spent", status=402, final=True, needs=1_036_000
    )
    assert state.state.ending == Ending("budget", "$1.00 spent")
    assert state.ask(input_usd_micro=0).final


@pytest.mark.parametrize("limit", ["usd_micro", "tokens", "calls", "usd_micro_per_minute"])
@pytest.mark.parametrize("named", [0, 100])
def test_the_limit_that_a_refusal_tells_allows_the_call_with_its_whole_answer(limit, named):
    """After a call that was paid, and beside one that is open; one less shortens it."""

    def verdict(most):
        agent = Agent(account(), pause=1)
        agent.make(usd_micro=321)
        agent.ask(input_usd_micro=40, input_tokens=40, output=7)
        agent.state = msgspec.structs.replace(
            agent.state, limits=msgspec.structs.replace(FREE, **{limit: most})
        )
        return agent.ask(input_usd_micro=55, input_tokens=55, output=named, ceiling=90, floor=9)

    refused = verdict(1)
    assert isinstance(refused, Denial) and refused.needs > 1
    granted, less = verdict(refused.needs), verdict(refused.needs - 1)
    assert isinstance(granted, Grant) and not granted.lowered
    assert isinstance(less, Denial) or less.lowered


def test_a_call_too_dear_for_an_untouched_budget_is_not_called_spent():
    agent = Agent(account(usd_micro=USD))
    assert not agent.ask(input_usd_micro=15 * USD).final
    assert isinstance(agent.make(), Grant)  # a cheaper one, and the warning is forgotten
    assert not agent.ask(input_usd_micro=15 * USD).final
    assert agent.ask(input_usd_micro=15 * USD).final
    assert (
        agent.state.ending.detail
        == "$1.00 too small: $0.00 used, this call needs room for $15.00001"
    )


def test_calls_under_way_together_are_warned_together():
    agent = Agent(account(usd_micro=USD), pause=1_000)
    assert not any(agent.ask(input_usd_micro=2 * USD).final for _ in range(100))
    agent.now += LATER
    assert agent.ask(input_usd_micro=2 * USD).final


def test_refusals_without_a_pause_end_it_too():
    agent = Agent(account(usd_micro=USD), pause=1)
    verdicts = [agent.ask(input_usd_micro=2 * USD).final for _ in range(300)]
    assert verdicts.index(True) == 256


def test_what_open_calls_hold_is_waited_for_and_never_ends_the_cage():
    agent = Agent(account(usd_micro=1_000))
    assert agent.ask() == Grant(1_000)
    for _ in range(1_000):
        refused = agent.ask()
        assert (
            "wait for an open call" in refused.words
            and "$0.001 held by open calls" in refused.words
        )
        assert not refused.final
    agent.state, _ = settle(agent.state, 1, Bill("failed"), agent.now)
    assert agent.ask() == Grant(1_000)


def test_unknown_prices_are_refused_and_nothing_else_happens():
    state = account()
    for call in range(1_000):
        state, refused = reserve(state, call, ask(priced=False), call * NS_PER_S)
        assert (refused.rule, refused.status, refused.final) == ("prices", 403, False)
    assert state == account()


def test_failed_calls_cost_nothing_and_missing_usage_the_reservation():
    agent = Agent(account(usd_micro=10_000))
    agent.ask(input_tokens=20)
    settled = agent.answer("failed")
    assert (settled.usd_micro, agent.state.usd_micro, agent.state.calls) == (0, 0, 0)
    agent.ask(input_tokens=20)
    settled = agent.answer("completed", estimated=True)
    assert (settled.usd_micro, settled.tokens) == (1_000, Tokens(20, 100))
    agent.ask()
    agent.answer("cut", usd_micro=30, tokens=Tokens(1, 2))
    assert (agent.state.usd_micro, agent.state.calls, agent.state.tokens) == (1_030, 2, 123)
    assert agent.state.reserved_usd_micro == 0


def test_a_bill_above_its_reservation_is_booked_and_ends_the_cage_at_the_limit():
    agent = Agent(account(usd_micro=2_000))
    agent.ask()
    agent.answer(usd_micro=1_500)
    assert (agent.state.usd_micro, agent.state.ending) == (1_500, None)
    agent.ask(output=10)
    agent.answer(usd_micro=700)
    assert (agent.state.usd_micro, agent.state.ending) == (2_200, Ending("budget", "$0.002 spent"))


def test_a_budget_spent_to_the_last_within_its_reservations_does_not_end_by_itself():
    agent = Agent(account(usd_micro=1_000))
    agent.ask()
    agent.answer(usd_micro=1_000)
    assert agent.state.ending is None
    assert not agent.ask().final and agent.ask().final


def test_more_tokens_than_reserved_end_it_at_the_limit():
    agent = Agent(account(tokens=1_000))
    agent.ask(output=10)
    agent.answer(tokens=Tokens(990, 10))
    assert agent.state.ending == Ending("budget", "1,000 tokens spent")


def test_a_dead_gateway_has_spent_what_it_held():
    agent = Agent(account(usd_micro=10_000))
    agent.ask(input_tokens=5)
    agent.ask(output=50)
    state, lost = lose(agent.state, agent.now)
    assert [(settled.outcome, settled.usd_micro, settled.estimated) for settled in lost] == [
        ("cut", 1_000, True),
        ("cut", 500, True),
    ]
    assert (state.usd_micro, state.reserved_usd_micro, state.tokens, state.open) == (
        1_500,
        0,
        155,
        {},
    )
    assert lose(state, agent.now) == (state, ())


def test_calls_are_known_by_their_number():
    state, _ = reserve(account(), 7, ask(), 0)
    with pytest.raises(ProtocolError):
        reserve(state, 7, ask(), 0)
    with pytest.raises(ProtocolError):
        settle(state, 8, Bill("completed"), 0)
    state, _ = settle(state, 7, Bill("completed"), 0)
    with pytest.raises(ProtocolError):
        settle(state, 7, Bill("completed"), 0)


def test_open_calls_are_bounded():
    state = account()
    for call in range(MAX_OPEN):
        state, _ = reserve(state, call, ask(), 0)
    assert reserve(state, MAX_OPEN, ask(), 0)[1].status == 429


# ---- no order of calls passes a limit ------------------------------------------------------------


def test_a_hundred_calls_at_once_at_99_percent_of_the_budget():
    agent = Agent(account(usd_micro=USD), pause=1)
    agent.ask(input_usd_micro=990_000, output=0, ceiling=0, output_usd_nano=0)
    agent.answer(usd_micro=990_000)
    granted = []
    for _ in range(100):
        verdict = agent.ask(input_usd_micro=50, output=200, output_usd_nano=15_000)
        assert agent.state.usd_micro + agent.state.reserved_usd_micro <= USD
        if isinstance(verdict, Grant):
            granted.append((agent.call, verdict))
        else:
            assert not verdict.final
    # Three as they were asked for, the fourth shortened to what was left.
    assert [grant for _, grant in granted] == [Grant(3_050)] * 3 + [Grant(845, 53, lowered=53)]
    for call, grant in granted:
        agent.state, _ = settle(agent.state, call, Bill("completed", grant.usd_micro), agent.now)
    assert agent.state.usd_micro == 999_995 and agent.state.ending is None


def test_a_patient_call_waits_for_what_open_ones_hold():
    state, first = reserve(account(usd_micro=USD), 1, ask(output=90_000), 0, patient=True)
    assert first == Grant(900_000)
    # A tenth is left: who may wait waits for the length it named, who may not is shortened to it.
    assert reserve(state, 2, ask(output=20_000), 0, patient=True) == (state, Wait("budget.usd"))
    assert reserve(state, 2, ask(output=20_000), 0)[1] == Grant(100_000, 10_000, lowered=10_000)
    assert reserve(state, 2, ask(output=10_000), 0, patient=True)[1] == Grant(100_000)
    # One that names no length waits for a comfortable one only.
    assert reserve(state, 2, ask(output=0, ceiling=64_000), 0, patient=True)[1] == Grant(
        100_000, 10_000, lowered=10_000
    )
    state, second = reserve(state, 2, ask(output=5_000), 0, patient=True)
    assert second == Grant(50_000)
    assert reserve(state, 3, ask(output=0, ceiling=64_000), 0, patient=True)[1] == Wait(
        "budget.usd"
    )
    # Once the first is over, and cost less than was held, there is room.
    state, _ = settle(state, 1, Bill("completed", 300_000), 0)
    assert reserve(state, 3, ask(output=0, ceiling=64_000), 0, patient=True)[1] == Grant(
        640_000, 64_000
    )


def test_who_waited_could_not_read_a_warning_given_meanwhile():
    state = account(usd_micro=1_000)
    state, _ = reserve(state, 1, ask(output=100), 0)
    state, _ = settle(state, 1, Bill("completed", 1_000), 0)
    for call in range(2, 80):
        # They stood in line together, and are told one after the other.
        now = call * NS_PER_S
        state, verdict = reserve(state, call, ask(), now, patient=True, waited_ns=now)
        assert isinstance(verdict, Denial) and not verdict.final
    # The control: who asks anew so much later was warned.
    _, verdict = reserve(state, 99, ask(), 99 * NS_PER_S, patient=True)
    assert isinstance(verdict, Denial) and verdict.final


def test_nobody_waits_for_what_will_never_be_there():
    spent = account(usd_micro=1_000)
    spent, _ = reserve(spent, 1, ask(output=50), 0)
    refused = reserve(spent, 2, ask(input_usd_micro=1_001, output=1), 0, patient=True)[1]
    assert isinstance(refused, Denial)
    # What fits only alone is shortened as soon as it is alone.
    assert reserve(spent, 2, ask(output=900), 0, patient=True)[1] == Wait("budget.usd")
    spent, _ = settle(spent, 1, Bill("completed", 400), 0)
    assert reserve(spent, 2, ask(output=900), 0, patient=True)[1] == Grant(600, 60, lowered=60)


amounts = st.integers(-5, 5_000)
asks = st.builds(
    lambda **fields: Ask("p", "m", b"", **fields),
    input_tokens=amounts,
    input_usd_micro=amounts,
    output_usd_nano=st.integers(-1, 50_000),
    output=amounts,
    floor=st.integers(0, 200),
    ceiling=amounts,
    choices=st.integers(-1, 4),
)
# A step: a call to reserve (an ask), or to settle: (which of the open, share of its reservation,
# outcome).
settles = st.tuples(
    st.integers(0, 99), st.integers(0, 100), st.sampled_from(["completed", "failed", "cut"])
)
steps = st.lists(
    st.tuples(st.one_of(asks, asks, settles), st.integers(0, 8 * NS_PER_S), st.booleans()),
    max_size=60,
)
limits = st.builds(
    lambda **fields: msgspec.structs.replace(FREE, **fields),
    usd_micro=st.sampled_from([0, 1, 500, 20_000]),
    tokens=st.sampled_from([0, 1, 300, 9_000]),
    calls=st.sampled_from([0, 1, 5]),
    requests_per_minute=st.sampled_from([0, 1, 4]),
    usd_micro_per_minute=st.sampled_from([0, 1, 3_000]),
)


@settings(max_examples=400, deadline=None)
@given(limits, steps)
def test_no_interleaving_passes_a_limit(limits, steps):
    state, now, number, grants, paid, last_word = Account(limits), 0, 0, [], [], False
    for step, wait, patient in steps:
        now += wait
        if isinstance(step, Ask):
            number += 1
            before = state
            state, verdict = reserve(state, number, step, now, patient=patient)
            if isinstance(verdict, Wait):
                # It moves nothing, and somebody is there to wait for.
                assert patient and state == before and state.open
            last_word = last_word or (isinstance(verdict, Denial) and verdict.final)
            if isinstance(verdict, Grant):
                assert not last_word
                grants.append(now)
                assert verdict.usd_micro == state.open[number].usd_micro >= 0
        elif state.open:
            call = sorted(state.open)[step[0] % len(state.open)]
            held = state.open[call]
            usd = held.usd_micro * step[1] // 100 if step[2] != "failed" else 0
            tokens = Tokens(held.tokens.input * step[1] // 100, held.tokens.output * step[1] // 100)
            state, settled = settle(state, call, Bill(step[2], usd, tokens), now)
            paid.append((now, settled.usd_micro))
        for limit, used in (
            (limits.usd_micro, state.usd_micro + state.reserved_usd_micro),
            (limits.tokens, state.tokens + state.reserved_tokens),
            (limits.calls, state.calls + len(state.open)),
            (limits.requests_per_minute, sum(at > now - MINUTE_S * NS_PER_S for at in grants)),
            (
                limits.usd_micro_per_minute,
                sum(usd for at, usd in paid if at > now - MINUTE_S * NS_PER_S),
            ),
        ):
            assert not limit or used <= limit
        # Bills within their reservations never end a cage: only refusals do.
        assert (state.ending is not None) == last_word
    assert state.usd_micro == sum(usd for _, usd in paid)


def within(limit, used):
    return not limit or used <= limit


@settings(max_examples=400, deadline=None)
@given(limits, limits, st.lists(st.tuples(st.integers(0, 2), st.one_of(asks, settles))))
def test_cages_that_share_a_budget_never_pass_it_together(limits, own, steps):
    """0 is the cage whose budget it is; 1 and 2 share it."""
    whose, cages, number = Account(limits), {}, 0
    for who in (1, 2):
        cages[who] = Account(least_of(own, limits))
    for now, (who, step) in enumerate(steps):
        account = cages.get(who, whose)
        other = Other(whose, "one") if who else None
        if isinstance(step, Ask):
            number += 1
            account, verdict = reserve(account, number, step, now, other=other)
            if who and isinstance(verdict, Grant):
                whose = lend(whose, lent_to(f"c-{who}", number), account.open[number], now)
                assert verdict.output <= (longest(account.limits, step) or max(step.output, 0))
        elif account.open:
            call = sorted(account.open)[step[0] % len(account.open)]
            held = account.open[call]
            usd = held.usd_micro * step[1] // 100 if step[2] != "failed" else 0
            account, settled = settle(account, call, Bill(step[2], usd), now)
            if who:
                whose = take_back(whose, lent_to(f"c-{who}", call), settled, now)
        if who:
            cages[who] = account
        else:
            whose = account
        all_ = [whose, *cages.values()]
        usd = sum(one.usd_micro + sum(o.usd_micro for o in one.open.values()) for one in all_)
        assert within(limits.usd_micro, usd)
        assert within(limits.calls, sum(one.calls + len(one.open) for one in all_))
        spent = (
            sum(one.usd_micro for one in cages.values()),
            sum(one.calls for one in cages.values()),
        )
        assert (whose.shared.usd_micro, whose.shared.calls) == spent
        assert len(whose.lent) == sum(len(one.open) for one in cages.values())


def test_what_is_refused_for_anothers_budget_ends_the_cage_that_asked():
    whose = msgspec.structs.replace(account(calls=3), shared=Shared(calls=3))
    agent = Agent(account(calls=3))
    for warned in (True, False):
        agent.now, agent.call = agent.now + LATER, agent.call + 1
        agent.state, verdict = reserve(
            agent.state, agent.call, ask(), agent.now, other=Other(whose, "three")
        )
        assert isinstance(verdict, Denial) and verdict.final is not warned
        assert not warned or verdict.words.startswith("budget.calls of the cage three is 3 calls")
    assert agent.state.ending == Ending("budget", "3 calls spent") and whose.ending is None


def test_what_others_hold_is_neither_waited_for_nor_a_reason_to_end():
    whose, held = account(calls=1), account()
    held, _ = reserve(held, 1, ask(), 0)
    whose = lend(whose, lent_to("c-1", 1), held.open[1], 0)
    agent = account(calls=1)
    for call in range(2, 9):
        agent, verdict = reserve(
            agent, call, ask(), call * LATER, patient=True, other=Other(whose, "one")
        )
        assert isinstance(verdict, Denial) and not verdict.final, verdict
        assert "wait for an open call to end" in verdict.words
    whose, _ = (let_go(whose, list(whose.lent), 0, spent=False), None)
    assert isinstance(reserve(agent, 9, ask(), 0, other=Other(whose, "one"))[1], Grant)


@pytest.mark.parametrize(("spent", "shared"), [(True, Shared(1_000, 100, 1)), (False, Shared())])
def test_calls_that_nobody_settles_count_as_spent_or_not_at_all(spent, shared):
    held, _ = reserve(account(), 1, ask(), 0)
    whose = lend(account(), lent_to("c-1", 1), held.open[1], 0)
    whose = let_go(whose, list(whose.lent), 0, spent=spent)
    assert (whose.lent, whose.shared, whose.usd_micro) == ({}, shared, 0)


@settings(max_examples=400, deadline=None)
@given(limits, asks, st.booleans())
def test_the_longest_answer_is_known_before(limits, asked, roomy):
    """A gateway makes the head of a request, with the body's length in it, before it knows what it
    is granted.
    """
    if roomy:
        there = {
            name: 10**12
            for name in ("usd_micro", "tokens", "usd_micro_per_minute")
            if getattr(limits, name)
        }
        limits = msgspec.structs.replace(limits, **there)
    _, verdict = reserve(Account(limits), 1, asked, 0)
    most = longest(limits, asked)
    assert not (asked.output > 0 and most)
    if isinstance(verdict, Grant):
        assert verdict.output <= (most or max(asked.output, 0))
        assert bool(verdict.output) >= bool(most) and (not roomy or verdict.output == most)


numbers = st.integers(-(2**63), 2**64 - 1)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.builds(
                lambda *values: Ask("p", "m", b"", *values), *[numbers] * 7
            ),
            st.builds(
                lambda usd, tokens, estimated: Bill("completed", usd, tokens, estimated),
                numbers, st.builds(Tokens, *[numbers] * 8), st.booleans(),
            ),
        ),
        max_size=5,
    )
)  # fmt: skip
def test_numbers_of_a_hostile_gateway_never_lower_what_is_spent_and_can_be_sent(calls):
    state = account(usd_micro=0)
    for number, (asked, bill) in enumerate(calls):
        state, verdict = reserve(state, number, asked, 0)
        msgspec.msgpack.encode(verdict)
        if isinstance(verdict, Grant):
            before = state.usd_micro
            state, settled = settle(state, number, bill, 0)
            msgspec.msgpack.encode((settled, state.usd_micro, state.tokens))
            assert (
                state.usd_micro >= before
                and settled.usd_micro >= 0
                and min(getattr(settled.tokens, name) for name in Tokens.__struct_fields__) >= 0
            )


# ---- rates ---------------------------------------------------------------------------------------


def test_requests_within_a_minute_wait_for_its_end():
    agent = Agent(account(requests_per_minute=3), pause=0)
    assert [isinstance(agent.make(), Grant) for _ in range(3)] == [True] * 3
    refused = agent.ask()
    assert (refused.rule, refused.status, refused.final) == (
        "budget.requests_per_minute",
        429,
        False,
    )
    agent.now += 62 * NS_PER_S
    assert isinstance(agent.make(), Grant)


def test_who_does_not_wait_is_ended_after_ten_refusals():
    agent = Agent(account(requests_per_minute=3), pause=NS_PER_S)
    verdicts = [agent.make() for _ in range(20)]
    assert [isinstance(verdict, Grant) for verdict in verdicts[:3]] == [True] * 3
    assert [verdict.final for verdict in verdicts[3:14]] == [False] * 10 + [True]
    assert agent.state.ending == Ending("loop", "more than 3 requests in a minute")


def test_money_within_a_minute():
    agent = Agent(account(usd_micro_per_minute=2_500), pause=NS_PER_S)
    assert agent.make(usd_micro=1_000) == Grant(1_000)
    assert agent.make(usd_micro=1_000) == Grant(1_000)
    assert agent.make(usd_micro=500) == Grant(500, 50, lowered=50)
    refused = agent.ask()
    assert (refused.rule, refused.status, refused.final) == ("budget.usd_per_minute", 402, False)
    for _ in range(9):
        assert not agent.ask().final
    assert agent.ask().final
    assert agent.state.ending == Ending("loop", "more than $0.0025 in a minute")


def test_calls_and_tokens():
    agent = Agent(account(calls=2))
    assert isinstance(agent.make(), Grant) and isinstance(agent.make(outcome="failed"), Grant)
    assert isinstance(agent.make(), Grant)
    assert not agent.make().final and agent.make().final
    assert agent.state.ending == Ending("budget", "2 calls spent")
    agent = Agent(account(tokens=1_000))
    agent.ask(output=1_000)
    agent.answer(tokens=Tokens(900, 99))
    assert not agent.ask(input_tokens=10).final and agent.ask(input_tokens=10).final
    assert agent.state.ending == Ending("budget", "1,000 tokens spent")


# ---- loops ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [3, 5, 9])
def test_the_same_request_is_warned_about_at_its_number_and_then_ended(limit):
    agent = Agent(account(same_request=limit))
    assert all(isinstance(agent.make(b"a"), Grant) for _ in range(limit - 1))
    warning, end = agent.make(b"a"), agent.make(b"a")
    assert (warning.rule, warning.status, warning.final) == ("budget.same_request", 400, False)
    assert warning.words.startswith(
        f"the same request had the same answer {limit - 1} times in a row; change it or stop"
    )
    assert end.final and agent.state.ending == Ending(
        "loop", f"same request and answer {limit} times (budget.same_request is {limit})"
    )


def test_a_refusal_names_the_number_the_setting_and_where_it_can_be_raised():
    trail = Trail(rounds=(8, 0, 0, 0), calls=True, live=True)
    agent = Agent(account(same_tool_calls=8))
    warning = agent.make(b"a", trail=trail)
    assert warning.words.startswith(
        "same tool calls and results 8 times in this conversation; change something"
    )
    told = "budget.same_tool_calls is 8; akios.yaml may raise it up to 50, as in budget: {same_tool_calls: N}"
    assert f"({told})" in warning.words and f"({told})" in agent.make(b"a", trail=trail).words
    administrators = (
        "budget.same_tool_calls is 8; an administrator of this host may let projects raise it, by projects_may: "
        "{loops: N} in /etc/akios/policy.yaml"
    )
    for bound, hint in (
        (8, administrators),
        (None, administrators),
        (
            0,
            "budget.same_tool_calls is 8; akios.yaml may raise it to any number, as in budget: {same_tool_calls: N}",
        ),
    ):
        refused = Agent(account(same_tool_calls=8, loops_up_to=bound)).make(b"a", trail=trail)
        assert f"({hint})" in refused.words


def test_who_heeds_the_warning_goes_on():
    agent = Agent(account(same_request=3))
    for _ in range(10):
        assert isinstance(agent.make(b"a"), Grant) and isinstance(agent.make(b"a"), Grant)
        assert not agent.make(b"a").final
        assert isinstance(agent.make(b"b"), Grant)
        agent.state = msgspec.structs.replace(agent.state, repeats=Repeats())


def test_failed_and_cut_calls_are_no_loop():
    agent = Agent(account(same_request=3, cycles=2, same_tool_calls=3))
    for outcome in ("failed", "cut") * 50:
        assert isinstance(agent.make(b"a", outcome=outcome), Grant)
    # Between answered ones they do not break the row either.
    for _ in range(2):
        agent.make(b"a")
        agent.make(b"a", outcome="failed")
    assert isinstance(agent.make(b"a"), Denial)


def test_other_answers_to_the_same_request_are_no_loop():
    agent = Agent(account(same_request=2))
    assert all(isinstance(agent.make(b"a", answer=b"%d" % number), Grant) for number in range(50))


@pytest.mark.parametrize(("trail", "rule", "detail"), [
    (Trail(rounds=(3, 1, 1, 0), calls=True), "same_tool_calls", "same tool calls and results 3 times"),
    (Trail(rounds=(3, 1, 1, 0)), "same_answers", "same answer 3 times"),
    (Trail(stale=3), "same_answers", "nothing new 3 times"),
    (Trail(rounds=(1, 0, 3, 0)), "cycles", "cycle of 3 turns 3 times"),
])  # fmt: skip
def test_what_a_conversation_shows_is_warned_about_and_ended(trail, rule, detail):
    agent = Agent(account(**{rule: 4}))
    assert isinstance(agent.make(b"a", trail=trail), Grant)
    agent = Agent(account(**{rule: 3}))
    warning = agent.make(b"a", trail=trail)
    assert (warning.rule, warning.status, warning.final) == (f"budget.{rule}", 400, False)
    assert isinstance(agent.make(b"a", trail=Trail()), Grant), "who changes something goes on"
    assert not agent.make(b"a", trail=trail).final and agent.make(b"a", trail=trail).final
    assert agent.state.ending == Ending("loop", f"{detail} (budget.{rule} is 3)")


def test_calls_made_together_are_warned_together():
    agent = Agent(account(same_request=3), pause=1)
    for _ in range(20):
        assert isinstance(agent.ask(b"a", trail=LIVE), Grant)
    for call in range(1, 21):
        agent.state, _ = settle(agent.state, call, Bill("completed", answer=b"x"), agent.now)
    assert agent.state.ending is None
    assert not agent.ask(b"a", trail=LIVE).final and not agent.ask(b"a", trail=LIVE).final


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(*[st.integers(-(2**63), 2**64 - 1)] * 4),
    st.integers(-(2**63), 2**64 - 1),
    st.booleans(),
)
def test_numbers_of_a_hostile_gateway_about_loops_can_be_answered(rounds, stale, flag):
    state = Account(Budget(usd_micro=0))
    _, verdict = reserve(state, 1, ask(b"a", trail=Trail(rounds, stale, flag, flag, flag)), 0)
    msgspec.msgpack.encode(verdict)
    assert isinstance(verdict, Grant | Denial)
