"""Loop detectors fire at their number and not before, whatever came earlier."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.meter import turns as meter_turns
from akiosd.meter.loops import BATCH, MAX_SEEN, WAITING, Minute, Repeats, answered, find_circle
from akiosd.meter.plain_results import (
    MAX_READ,
    begin_otherwise,
    differ_at_once,
    plain_result,
    plain_words,
    sentences,
)
from akiosd.meter.texts import MAX_HEARD, MAX_PARTS, MAX_PLAIN, MOST_READ, Texts
from akiosd.meter.turns import MAX_TURNS, Turn
from akiosd.values.policy import Budget
from akiosd.values.spend import Ask, Trail
from akiosd.values.units import NS_PER_S

NONE = Budget(same_request=0, same_tool_calls=0, same_answers=0, cycles=0)


def limits(**given):
    return msgspec.structs.replace(NONE, **given)


def read_trail(turns):
    return meter_turns.read_trail(turns, Texts())


def same(one, other):
    return meter_turns.same(one, other, Texts())


def same_results(one, other):
    return Texts().same_results(one, other)


def tool(letter, result="same"):
    return Turn(calls=((letter, {"a": 1}),), results=(result,))


def asked(turns=(), request=b"", before=b""):
    return Ask("p", "m", request, trail=read_trail(turns), before=before)


def rounds(history, period):
    """How often the last ``period`` turns stand in a row at the end: the definition, written down
    plainly.
    """
    length = 0
    while length < len(history) and (
        length < period or history[-1 - length] == history[-1 - length + period]
    ):
        length += 1
    return length // period


letters = st.lists(st.sampled_from("abcd"), max_size=24)
looping = st.builds(
    lambda block, times, tail: block * times + tail, letters.filter(len), st.integers(1, 6), letters
)


@settings(max_examples=300, deadline=None)
@given(letters, st.one_of(letters, looping), st.integers(2, 6), st.integers(2, 5))
def test_a_circle_is_found_exactly_when_the_definition_says_so(before, history, same_calls, cycles):
    history = before + history
    found = find_circle(
        Repeats(),
        asked([tool(letter) for letter in history]),
        limits(same_tool_calls=same_calls, cycles=cycles),
    )
    expected = ["same tool calls and results"] if rounds(history, 1) >= same_calls else []
    expected += [
        f"cycle of {p} turns"
        for p in (2, 3, 4)
        if len(history) >= p and rounds(history, p) >= cycles and len(set(history[-p:])) > 1
    ]
    assert (found.what if found else None) == (expected[0] if expected else None)


@pytest.mark.parametrize("limit", [1, 2, 3, 8])
def test_tools_and_words_have_their_own_numbers(limit):
    words = Turn(said="All done.", told="Go on.")
    for made in range(1, limit + 2):
        closes = made >= max(limit, 2)
        calls = find_circle(Repeats(), asked([tool("a")] * made), limits(same_tool_calls=limit))
        assert (calls is not None) == closes
        said = find_circle(Repeats(), asked([words] * made), limits(same_answers=limit))
        assert (said is not None) == closes
    assert (
        calls.describe()
        == f"same tool calls and results {max(limit, 2)} times (budget.same_tool_calls is {limit})"
    )
    assert said.rule == "budget.same_answers"
    assert (
        find_circle(
            Repeats(), asked([words] * 99), limits(same_tool_calls=2, cycles=2, same_request=2)
        )
        is None
    )
    assert (
        find_circle(
            Repeats(), asked([tool("a")] * 99), limits(same_answers=2, cycles=2, same_request=2)
        )
        is None
    )


def test_what_waits_may_bring_the_same_more_often():
    for waits in ({"command": "sleep 30; cat x"}, {"cmd": "gh run watch 1"}, {"wait_seconds": 5}):
        turn = Turn(calls=(("Bash", waits),), results=("",))
        assert (
            find_circle(Repeats(), asked([turn] * (3 * WAITING - 1)), limits(same_tool_calls=3))
            is None
        )
        assert (
            find_circle(Repeats(), asked([turn] * (3 * WAITING)), limits(same_tool_calls=3))
            is not None
        )
    plain = Turn(calls=(("Bash", {"command": "cat sleepy", "timeout": 5}),), results=("",))
    assert find_circle(Repeats(), asked([plain] * 3), limits(same_tool_calls=3)) is not None


def test_nothing_new_is_a_loop_in_whatever_order_it_is_said():
    said = [
        "The report is complete and final now",
        "Sales grew in the north by much",
        "The south fell far behind this",
    ]
    turns = [
        Turn(said=". ".join(said[n % 3 :] + said[: n % 3]), told=f"Turn {n} of 99")
        for n in range(6)
    ]
    assert read_trail(turns).stale == 5
    assert (
        read_trail([*turns, Turn(said="But the east was flat all year", told="Turn 6 of 99")]).stale
        == 0
    )
    assert read_trail([*turns, tool("a")]).stale == 0
    short = [Turn(said="Heads." if n % 3 else "Tails.", told="Flip.") for n in range(9)]
    assert read_trail(short).stale == 0


# ---- the same request ----------------------------------------------------------------------------


def test_the_same_request_closes_at_its_number_if_its_answer_is_the_same():
    live = Trail(rounds=(1, 0, 0, 0), calls=True, live=True)
    single = ", and 50 for questions without a conversation"
    for trail, factor, more in ((live, 1, ""), (Trail(), BATCH, single)):
        ask, repeats = Ask("p", "m", b"a", trail=trail), Repeats()
        for made in range(1, 5 * factor):
            assert find_circle(repeats, ask, limits(same_request=5)) is None
            repeats = answered(repeats, b"a", b"x", trail.live)
            found = find_circle(repeats, ask, limits(same_request=5))
            assert (found is not None) == (made == 5 * factor - 1)
        assert (
            found.describe()
            == f"same request and answer {5 * factor} times (budget.same_request is 5{more})"
        )
        assert (
            find_circle(answered(repeats, b"a", b"y", trail.live), ask, limits(same_request=5))
            is None
        )
        assert (
            find_circle(answered(repeats, b"a", b"", trail.live), ask, limits(same_request=5))
            is None
        )


def test_a_conversation_that_shows_its_last_turns_only_is_counted_on():
    """Three rounds are seen in each request, and each is the request before: they add up."""
    shown = Trail(rounds=(3, 0, 0, 0), calls=True, live=True)
    ask, repeats = Ask("p", "m", b"a", trail=shown), Repeats()
    for made in range(4):
        found = find_circle(repeats, ask, limits(same_request=5))
        assert (found is not None) == (made >= 2), made
        repeats = answered(repeats, b"a", b"x", True)


def test_conversations_that_begin_alike_are_as_many_as_their_beginning_was_answered():
    live = Trail(rounds=(1, 0, 0, 0), calls=True, live=True)
    repeats = Repeats()
    for _ in range(9):
        repeats = answered(repeats, b"first", b"x", False)
    second = Ask("p", "m", b"second", trail=live, before=b"first")
    for made in range(20):
        assert (find_circle(repeats, second, limits(same_request=5)) is not None) == (made >= 12), (
            made
        )
        repeats = answered(repeats, b"second", b"y", True)


def test_batch_work_is_counted_in_a_row():
    repeats, ask = Repeats(), Ask("p", "m", b"a")
    for _ in range(100):
        repeats = answered(answered(repeats, b"a", b"x", False), b"b", b"x", False)
    assert find_circle(repeats, ask, limits(same_request=2)) is None


def test_what_is_remembered_is_bounded():
    repeats = Repeats()
    for number in range(1000):
        repeats = answered(repeats, b"%d" % number, b"x", number % 2 == 0)
        repeats = answered(repeats, b"", b"x", False)
    assert len(repeats.seen) == MAX_SEEN
    assert max(read_trail([tool("a")] * 2000).rounds) == MAX_TURNS


# ---- results -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("one", "other"), [
    ("done at 2026-11-28T18:00:01.123Z", "done at 2026-11-28T19:30:59.9Z"),
    ("Sat Nov 28 18:59:59 UTC 2026", "Sun Nov 29 01:00:01 UTC 2026"),
    ("real\t0m0.073s", "real\t1m12.5s"),
    ("id 2333eb27-94b6-4163-a560-2094d06055a8", "id 00000000-94b6-4163-a560-2094d06055a9"),
    ("object at 0x7faf5de48180", "object at 0x7faf5de48999"),
    ("attempt 3 of 10 failed", "attempt 4 of 10 failed"),
    ("app[4711]: locked", "app[4712]: locked"),
    ("45%|## | 45/100 [00:12<00:15, 3.61it/s]", "45%|## | 45/100 [00:13<00:16, 3.33it/s]"),
    ("none<system-reminder>5 left</system-reminder>", "none<system-reminder>4 left</system-reminder>"),
])  # fmt: skip
def test_times_ids_and_counts_are_no_difference(one, other):
    assert (
        one != other and same_results(one, other) and same_results(f"a\n{one}\nb", f"a\n{other}\nb")
    )
    assert same(tool("a", one), tool("a", other)) and not same(tool("a", one), tool("b", other))


@pytest.mark.parametrize(("one", "other"), [
    ("45%", "46%"), ("45/120 files", "46/120 files"), ("12 passed, 1 failed", "13 passed"), ("Step 3/10", "Step 4/10"),
    ("loss 0.51", "loss 0.50"), ("exit 1", "exit 2"), ("12:00:01 a", "12:00:01 a\n12:00:02 a"),
    ("1s" * MAX_READ + "1s", "1s" * MAX_READ + "2s"), ("HTTP 500", "HTTP 200"), ("", "x"),
    ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "f" * 64),
])  # fmt: skip
def test_every_other_number_is_a_difference(one, other):
    assert not same_results(one, other) and not same_results(f"a\n{one}", f"a\n{other}")
    assert plain_result(one) != plain_result(other) and not same(tool("a", one), tool("a", other))


def test_arguments_are_compared_as_they_are():
    at = [
        Turn(calls=(("is_free", {"at": f"2026-11-28T{hour}:00:00Z"}),), results=("no",))
        for hour in (10, 11)
    ]
    assert not same(*at)
    assert same(Turn(calls=(("f", '{"a": 1, "b": 2}'),)), Turn(calls=(("f", '{"b":2,"a":1}'),)))
    assert not same(Turn(calls=(("f", '{"a": 1}'),)), Turn(calls=(("f", '{"a": 2}'),)))
    assert not same(Turn(calls=(("f", '{"a": 1'),)), Turn(calls=(("f", '{"a": 1 '),)))
    issues = [
        Turn(calls=(("new_issue", {"title": "a", "description": text}),)) for text in ("x", "y")
    ]
    assert not same(*issues)
    runs = [Turn(calls=(("Bash", {"command": "a", "description": text}),)) for text in ("x", "y")]
    assert same(*runs) and not same(runs[0], Turn(calls=(("Bash", {"command": "b"}),)))


WORDS = st.sampled_from((
    "the", "report", "is", "complete", "12:00:01", "13:59:59", "turn", "3", "4", "of", "9",
    "done.", "45%", "46%", "and", "so", "on", "req_0a1b2c3d",
))  # fmt: skip
SPOKEN = st.lists(WORDS, max_size=40).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(SPOKEN, SPOKEN, st.integers(0, 30))
def test_what_differs_at_once_differs_wholly(one, other, alike):
    """The short ways of telling texts apart say nothing that the long one does not."""
    begin = " ".join(one.split()[:alike])
    for left, right in ((one, other), (f"{begin} {one}", f"{begin} {other}")):
        if begin_otherwise(left, right):
            assert plain_words(left) != plain_words(right)
        left, right = left.replace(". ", "\n"), right.replace(". ", "\n")
        if differ_at_once(left, right):
            assert plain_result(left) != plain_result(right)


def clocked(number, lines=40):
    return "".join(
        f"12:{number % 60:02d}:{n % 60:02d} waiting for the lock\n" for n in range(lines)
    )


@pytest.mark.parametrize("made", [
    lambda n: tool("a", clocked(n)), lambda n: tool("a", clocked(n // 4) + str(n // 4)),
    lambda n: tool("ab"[n % 2], clocked(n)),
    lambda n: Turn(said=f"Turn {n}. The report is complete.", told="Is it?"),
    lambda n: Turn(said=f"It is {n % 5} of the clock. The report is complete and final.", told=f"Is it {n % 3}?"),
])  # fmt: skip
def test_what_is_remembered_changes_nothing(made):
    texts = Texts()
    turns = [made(n) for n in range(20)]
    found = [meter_turns.read_trail(turns[:n], texts) for n in range(21)]
    assert found == [read_trail(turns[:n]) for n in range(21)]
    assert max(found[-1].rounds) > 1 or found[-1].stale > 1


def test_each_request_reads_its_newest_turn_however_long_the_conversation_is():
    texts, turns = Texts(), [tool("a", clocked(n, 120)) for n in range(20)]
    found = [meter_turns.read_trail(turns[: n + 1], texts).rounds[0] for n in range(20)]
    assert found == list(range(1, 21))
    at_once = read_trail(turns).rounds[0]
    assert 8 <= at_once < 20, "control: together they are more than is read for one request"


def test_what_is_read_for_one_request_is_bounded_and_so_is_what_is_kept():
    """What is not read counts as it stands, until another request reads it."""
    texts = Texts()
    pairs = [("12:00:01 x" * 500 + str(n), "12:00:02 x" * 500 + str(n)) for n in range(50)]
    seen = [texts.same_results(*pair) for pair in pairs]
    read = MOST_READ // (2 * 5000)
    assert seen == [True] * sum(seen) + [False] * (50 - sum(seen)) and read - 1 <= sum(seen) <= read
    texts.begin()
    assert texts.same_results(*pairs[-1])
    for n in range(MAX_PLAIN + 99):
        texts.begin()
        texts.plain(f"12:00:01 {n}")
        texts.same_words(f"Turn {n}", f"{n} turns")
    for n in range(MAX_HEARD + 9):
        texts.begin()
        texts.words(f"some words {n}")
        texts.sentences(f"{n}. " + "".join(f"So{n}. " for n in range(n + 9)))
    assert len(texts._results) == len(texts._told) == MAX_PLAIN
    assert len(texts._words) == len(texts._sentences) == MAX_HEARD
    assert max(map(len, texts._sentences.values())) <= MAX_PARTS


def test_words_of_thanks_say_nothing_and_others_do():
    assert sentences("Thank you so much! You're very welcome. Have a great day!") == frozenset()
    assert sentences("Thank you! The build is green.") == {"the build is green"}
    assert plain_words("Turn 3 of 9: GO on, please.") == plain_words("turn 4 of 9 - go on please")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20 * NS_PER_S), st.integers(0, 9)), max_size=40))
def test_a_minute_never_forgets_too_early_and_stays_small(steps):
    now, minute, log = 0, Minute(), []
    for wait, amount in steps:
        now += wait
        minute = minute.add(amount, now)
        log.append((now, amount))
        exact = sum(value for at, value in log if at > now - 60 * NS_PER_S)
        late = sum(value for at, value in log if at > now - 62 * NS_PER_S)
        assert exact <= minute.total(now) <= late
        assert len(minute.seconds) <= 62
    assert minute.total(now + 62 * NS_PER_S) == 0


def test_a_minute_is_not_shorter_than_60_seconds():
    minute = Minute().add(5, 999_999_999)
    assert minute.total(60_900_000_000) == 5  # 59.9 s later
    assert minute.total(61_000_000_000) == 0
