"""The token bucket, against a model that counts in fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from akiosd.meter.token_bucket import TokenBucket
from hypothesis import given
from hypothesis import strategies as st


def test_what_is_spent_is_owed() -> None:
    bucket = TokenBucket(10, 3, 0.0)
    assert [bucket.spend(0.0) for _ in range(5)] == [
        0,
        0,
        0,
        pytest.approx(0.1),
        pytest.approx(0.2),
    ]
    assert bucket.spend(10.0) == 0
    assert [bucket.spend(10.0) for _ in range(3)] == [0, 0, pytest.approx(0.1)]
    assert TokenBucket(10, 3, 0.0).spend(0.0, 5) == pytest.approx(0.2)


def test_what_is_asked_for_in_vain_is_not_owed() -> None:
    bucket = TokenBucket(1, 60, 0.0)
    assert [bucket.ask(0.0) for _ in range(62)] == [0] * 60 + [1.0, 1.0]
    assert bucket.ask(0.5) == 0.5 and bucket.ask(1.5) == 0


STEPS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3), st.booleans()), max_size=30)


@given(st.integers(0, 3), st.integers(1, 4), STEPS)
def test_it_counts_as_the_model_does(
    power: int, burst: int, steps: list[tuple[int, int, bool]]
) -> None:
    """Times are eighths of a second and the rate is a power of two, so that no float is rounded."""
    rate, bucket = 1 << power, TokenBucket(1 << power, burst, 0.0)
    tokens, now = Fraction(burst), Fraction(0)
    for eighths, count, owes in steps:
        now += Fraction(eighths, 8)
        tokens = min(Fraction(burst), tokens + Fraction(eighths, 8) * rate)
        if owes:
            tokens -= count
            assert bucket.spend(float(now), count) == max(0, -tokens / rate)
        elif tokens >= 1:
            tokens -= 1
            assert bucket.ask(float(now)) == 0
        else:
            assert bucket.ask(float(now)) == (1 - tokens) / rate
