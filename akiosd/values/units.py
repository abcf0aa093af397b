"""Sizes, durations and money: parsed from what people write to integers (bytes, ns, micro-USD), and
formatted for people.
"""

from __future__ import annotations

import re

from akiosd.errors import PolicyError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
USD = 1_000_000  # micro-USD
NS_PER_S = 1_000_000_000

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*$", re.IGNORECASE)
_SIZE_FACTOR = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": GIB << 10}
_TIME = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*$", re.IGNORECASE)
_TIME_FACTOR = {
    "ms": 1_000_000,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
    "d": 86400 * NS_PER_S,
}


def parse_size(text: str | int) -> int:
    """``"512M"``, ``"2 GiB"`` or an int of bytes → bytes.  Factors are binary (K = 1024).  Raises
    PolicyError.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    match = _SIZE.match(str(text))
    if match is None or isinstance(text, bool):
        raise PolicyError(
            f"{text!r} is not a size", next="write bytes, or a number with K, M, G or T, as in 512M"
        )
    return int(float(match[1]) * _SIZE_FACTOR[match[2].upper()])


def parse_duration_ns(text: str | int | float) -> int:
    """``"90s"``, ``"15m"`` or a number of seconds → nanoseconds.  Raises PolicyError."""
    match = _TIME.match(str(text))
    if match is None or isinstance(text, bool):
        raise PolicyError(
            f"{text!r} is not a duration", next="write seconds, or a number with ms, s, m, h or d"
        )
    return int(float(match[1]) * _TIME_FACTOR[(match[2] or "s").lower()])


def format_size(size: int) -> str:
    """Bytes → ``"512 MiB"``; exact below 1 KiB, at most one decimal above."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if value == int(value) else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def format_duration(duration_ns: int) -> str:
    """Nanoseconds → ``"1.5 s"``, ``"12 min"``; for people, never parsed back."""
    seconds = duration_ns / NS_PER_S
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"


def format_usd(micro: int) -> str:
    """Micro-USD → ``"$1.00"``; more digits only where they say something."""
    dollars, rest = divmod(micro, USD)
    digits = f"{rest:06d}".rstrip("0")
    return f"${dollars:,}.{digits:0<2}"
