"""Sizes and times: what people write, what stands inside, what is printed."""

from __future__ import annotations

import pytest
from akiosd.errors import PolicyError
from akiosd.values.units import (
    GIB,
    KIB,
    MIB,
    NS_PER_S,
    format_duration,
    format_size,
    parse_duration_ns,
    parse_size,
)
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        (4096, 4096),
        ("1K", KIB),
        ("512M", 512 * MIB),
        ("512m", 512 * MIB),
        ("2 GiB", 2 * GIB),
        ("1.5G", 3 * GIB // 2),
        ("1T", 1024 * GIB),
        (" 8 KB ", 8 * KIB),
    ],
)
def test_a_size(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "M", "-1", "1X", "1 2", "0x10", "1e3", "1M\nx", True, -5, None, "512MM", "nan"]
)
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(PolicyError, match="not a size"):
        parse_size(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("90s", 90 * NS_PER_S),
        ("90", 90 * NS_PER_S),
        (90, 90 * NS_PER_S),
        (0.5, NS_PER_S // 2),
        ("250ms", NS_PER_S // 4),
        ("15m", 900 * NS_PER_S),
        ("1.5 h", 5400 * NS_PER_S),
        ("2D", 2 * 86400 * NS_PER_S),
        ("0", 0),
    ],
)
def test_a_duration(text: str | float, ns: int) -> None:
    assert parse_duration_ns(text) == ns


@pytest.mark.parametrize(
    "text", ["", "s", "-1", "1y", "1h30m", True, False, None, float("nan"), float("inf"), -1]
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(PolicyError, match="not a duration"):
        parse_duration_ns(text)  # type: ignore[arg-type]


@given(st.integers(0, 1 << 50), st.sampled_from(["", "K", "M", "G", "T"]))
@settings(max_examples=100, deadline=None)
def test_a_whole_number_is_exact(number: int, unit: str) -> None:
    factor = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": 1024 * GIB}[unit]
    assert parse_size(f"{number}{unit}") == number * factor


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (KIB, "1 KiB"),
        (1536, "1.5 KiB"),
        (512 * MIB, "512 MiB"),
        (1 << 41, "2.0 TiB"),
    ],
)
def test_a_size_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0 ms"), (250_000_000, "250 ms"), (1_500_000_000, "1.5 s"), (90 * NS_PER_S, "90 s")],
)
def test_a_duration_for_people(ns: int, text: str) -> None:
    assert format_duration(ns) == text
