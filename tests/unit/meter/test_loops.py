"""Loop detectors fire at their number and not before, whatever came earlier."""

from akiosd.meter.loops import Minute, Repeats, answered, find_batch, find_circle
from akiosd.values.units import NS_PER_S
from hypothesis import given, settings
from hypothesis import strategies as st


def after(requests, batches=None):
    repeats = Repeats()
    for index, request in enumerate(requests):
        repeats = answered(repeats, request, batches[index] if batches else b"")
    return repeats


def rounds(history, period):
    """How often the last ``period`` requests stand in a row at the end: the definition, written
    down plainly.
    """
    length = 0
    while length < len(history) and (
        length < period or history[-1 - length] == history[-1 - length + period]
    ):
        length += 1
    return length // period


letters = st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), max_size=24)
looping = st.builds(
    lambda block, times, tail: block * times + tail, letters.filter(len), st.integers(1, 6), letters
)


@settings(max_examples=400, deadline=None)
@given(
    letters,
    st.one_of(letters, looping),
    st.sampled_from([b"a", b"b", b"c", b"d"]),
    st.integers(2, 6),
    st.integers(2, 5),
)
def test_a_circle_is_found_exactly_when_the_definition_says_so(
    before, history, request, same, cycles
):
    history = before + history
    found = find_circle(after(history), request, same_request=same, cycles=cycles)
    whole = [*history, request]
    expected = [1] if rounds(whole, 1) >= same else []
    expected += [p for p in (2, 3, 4) if rounds(whole, p) >= cycles and len(set(whole[-p:])) > 1]
    assert (found.period if found else None) == (expected[0] if expected else None)


def test_the_same_request_closes_at_its_number():
    for limit in (2, 3, 5):
        for made in range(1, limit):
            found = find_circle(after([b"x", *[b"a"] * made]), b"a", same_request=limit, cycles=0)
            assert (found is not None) == (made == limit - 1), (limit, made)
    assert found.describe() == "same request 5 times" and found.rule == "budget.same_request"


def test_cycles_close_with_their_last_request():
    for period, block in ((2, b"ab"), (3, b"abc"), (4, b"abcd"), (3, b"aab"), (4, b"aaab")):
        requests = [bytes([letter]) for letter in block] * 4
        for made in range(len(requests)):
            found = find_circle(after(requests[:made]), requests[made], same_request=0, cycles=4)
            assert (found is not None) == (made == len(requests) - 1), (block, made)
        assert found.describe() == f"cycle of {period} requests 4 times"


def test_the_same_request_is_no_cycle_and_limits_of_nothing_find_nothing():
    repeats = after([b"a"] * 50)
    assert find_circle(repeats, b"a", same_request=0, cycles=4) is None
    assert find_circle(after([b"a", b"b"] * 50), b"a", same_request=5, cycles=0) is None
    assert find_circle(Repeats(), b"a", same_request=1, cycles=1) is None
    assert find_batch(after([b"a"] * 9, [b"t"] * 9), 0) == (None, False)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([b"", b"s", b"t"]), max_size=20), st.integers(3, 6))
def test_batches_of_tool_calls_in_a_row(batches, limit):
    row = 0
    while row < len(batches) and batches[-1] and batches[-1 - row] == batches[-1]:
        row += 1
    circle, closed = find_batch(after([b"%d" % n for n in range(len(batches))], batches), limit)
    assert (circle is not None, closed) == (row >= limit - 1, row >= limit)


def test_one_batch_is_never_a_loop():
    for limit in (1, 2, 3):
        assert find_batch(after([b"a"], [b"t"]), limit) == (None, False)
        assert (
            find_batch(after([b"a", b"b"], [b"t", b"t"]), limit)[0].describe()
            == "same tool calls 3 times"
        )


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
