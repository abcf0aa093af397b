"""Whether a call fits into what is left of a limit, and how long its answer may then be."""

from __future__ import annotations

from typing import Literal

import msgspec

from akiosd.values.spend import Ask
from akiosd.values.units import format_usd

UNKNOWN_CEILING = 32_768
"""Where neither the request nor the price list says how long an answer can be."""
MAX_AMOUNT = 1 << 40
"""Of one call, in micro-USD or tokens: more cannot be true, and sums of it stay encodable."""
_NANO_PER_MICRO = 1_000
_NEARLY = 10  # a budget of which less than a tenth is left reads as spent


class Need(msgspec.Struct, frozen=True):
    """An ask in numbers that make sense: ``named`` by the request, ``wanted`` reserved for, at the ``least`` useful.

    Output is tokens of each of ``choices``.
    """

    input_tokens: int
    input_usd_micro: int
    output_usd_nano: int
    choices: int
    named: int
    wanted: int
    least: int

    def usd_micro(self, output: int) -> int:
        return self.input_usd_micro - (-self.choices * output * self.output_usd_nano // _NANO_PER_MICRO)

    def tokens(self, output: int) -> int:
        return self.input_tokens + self.choices * output


def read_ask(ask: Ask) -> Need:
    """A gateway's numbers are believed only as far as they cannot lower what is spent."""
    named, nano = max(ask.output, 0), max(ask.output_usd_nano, 0)
    wanted = named or max(ask.ceiling, 0) or (UNKNOWN_CEILING if nano else 0)
    return Need(
        input_tokens=max(ask.input_tokens, 0), input_usd_micro=max(ask.input_usd_micro, 0), output_usd_nano=nano,
        choices=max(ask.choices, 1), named=named, wanted=wanted, least=min(wanted, max(ask.floor, 1)),
    )  # fmt: skip


class Room(msgspec.Struct, frozen=True):
    """A limit, what of it is ``used``, and what open calls hold; ``unit`` of all three: micro-USD, tokens or calls."""

    rule: str
    unit: Literal["usd", "tokens", "calls"]
    limit: int
    used: int
    held: int

    @property
    def left(self) -> int:
        return self.limit - self.used - self.held

    def describe(self, need: Need) -> str:
        held = f" and {self._show(self.held)} held by open calls" if self.held else ""
        return f"{self.rule} is {self._show(self.limit)}, {self._show(self.used)} used{held}; {self._want(need)}"

    def verdict(self, need: Need) -> str:
        """What the reason line says of a budget."""
        if (self.limit - self.used) * _NEARLY <= self.limit or self.unit == "calls":
            return f"{self._show(self.limit)} spent"
        return f"{self._show(self.limit)} too small: {self._show(self.used)} used, {self._want(need)}"

    def _want(self, need: Need) -> str:
        if self.unit == "calls":
            return "this is one more"
        least = need.usd_micro(need.least) if self.unit == "usd" else need.tokens(need.least)
        return f"this call needs room for {self._show(least)}"

    def _show(self, amount: int) -> str:
        return format_usd(amount) if self.unit == "usd" else f"{amount:,} {self.unit}"


def fit(need: Need, room: Room, left: int) -> int | None:
    """The longest output, up to the wanted, that fits into ``left``; None when not even the least does."""
    if room.unit == "calls":
        return need.wanted if left >= 1 else None
    if room.unit == "usd":
        price, rest = need.choices * need.output_usd_nano, (left - need.input_usd_micro) * _NANO_PER_MICRO
    else:
        price, rest = need.choices, left - need.input_tokens
    if rest < 0:
        return None
    longest = min(need.wanted, rest // price) if price else need.wanted
    return longest if longest >= need.least else None
