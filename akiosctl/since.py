"""``--since``: a time in the past, as people write it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from akiosd.errors import PolicyError
from akiosd.values.units import parse_duration_ns


def parse_since(text: str, now_ns: int) -> int:
    """``"10m"``, ``"3d"``, ``"2026-01-31"`` or ``"2026-01-31T13:30"`` → Unix time in ns.

    A time without an offset is the local time.  Raises ValueError.
    """
    try:
        return max(1, now_ns - parse_duration_ns(text))
    except PolicyError:
        return max(1, int(datetime.fromisoformat(text).timestamp() * 1e9))


def _convert(ctx: click.Context, parameter: click.Parameter, text: str | None) -> int:
    if text is None:
        return 0
    try:
        return parse_since(text, time.time_ns())
    except (ValueError, OverflowError):
        what = f"{text!r} is no time: write 10m, 2h, 3d, 2026-01-31 or 2026-01-31T13:30."
        raise click.BadParameter(what, ctx, parameter) from None


def since_option(words: str) -> Callable[[Any], Any]:
    """The option, for a verb; 0 where it is not given."""
    return click.option("--since", metavar="TIME", callback=_convert, help=words)
