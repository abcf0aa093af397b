"""Whether a call fits into what is left of a limit, and how long its answer may then be.  Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from akiosd.values.spend import Ask
from akiosd.values.units import format_usd

UNKNOWN_CEILING = 32_768
"""Output tokens reserved where neither the request nor the price list says how long an answer can
be.
"""
MAX_AMOUNT = 1 << 40
"""Most micro-USD or tokens of one call: more cannot be true, and sums of such amounts can still be
encoded.
"""
COMFORTABLE = 8192
"""Output tokens.  A request that names no length waits for no more than that: few answers are
longer.
"""
_NANO_PER_MICRO = 1_000
_NEARLY = 10  # a budget of which less than a tenth is left reads as spent


class Need(msgspec.Struct, frozen=True):
    """An ask after its numbers were checked.

    ``named``: output tokens that the request asks for, 0 for none. ``wanted``: those to reserve.
    ``least``: fewer make no sense. Output counts once for each of ``choices``.
    """

    input_tokens: int
    input_usd_micro: int
    output_usd_nano: int
    choices: int
    named: int
    wanted: int
    least: int

    @property
    def useful(self) -> int:
        """Output tokens of an answer that is not cut short, or hardly ever."""
        return min(self.wanted, max(COMFORTABLE, self.least))

    def usd_micro(self, output: int) -> int:
        """The price of the call with ``output`` tokens for each choice, rounded up."""
        return self.input_usd_micro - (
            -self.choices * output * self.output_usd_nano // _NANO_PER_MICRO
        )

    def tokens(self, output: int) -> int:
        """All tokens of the call with ``output`` tokens for each choice."""
        return self.input_tokens + self.choices * output


def read_ask(ask: Ask) -> Need:
    """Check an ask that comes from a gateway: its numbers are believed only as far as they cannot
    lower what is booked.
    """
    named, nano = max(ask.output, 0), max(ask.output_usd_nano, 0)
    wanted = named or max(ask.ceiling, 0) or (UNKNOWN_CEILING if nano else 0)
    return Need(
        input_tokens=max(ask.input_tokens, 0),
        input_usd_micro=max(ask.input_usd_micro, 0),
        output_usd_nano=nano,
        choices=max(ask.choices, 1),
        named=named,
        wanted=wanted,
        least=min(wanted, max(ask.floor, 1)),
    )


class Room(msgspec.Struct, frozen=True):
    """One limit of the policy, how much of it is ``used``, and how much is ``held`` by open calls;
    all three in ``unit`` (micro-USD, tokens or calls).  ``of`` names the other cage whose limit it
    is, if it is one's.
    """

    rule: str
    unit: Literal["usd", "tokens", "calls"]
    limit: int
    used: int
    held: int
    of: str = ""

    @property
    def left(self) -> int:
        """What a further call may still take."""
        return self.limit - self.used - self.held

    def describe(self, need: Need) -> str:
        """The state of the limit and the call's need, in words for the agent."""
        held = f" and {self._show(self.held)} held by open calls" if self.held else ""
        of = f" of the cage {self.of}" if self.of else ""
        return (
            f"{self.rule}{of} is {self._show(self.limit)}, {self._show(self.used)} used{held};"
            f" {self._want(need)}"
        )

    def verdict(self, need: Need) -> str:
        """What the reason line of the cage's end says of the budget."""
        if (self.limit - self.used) * _NEARLY <= self.limit or self.unit == "calls":
            return f"{self._show(self.limit)} spent"
        return (
            f"{self._show(self.limit)} too small: {self._show(self.used)} used, {self._want(need)}"
        )

    def enough(self, need: Need) -> int:
        """A limit under which the call would have fitted, with an answer of some use."""
        return self.used + self.held + self._amount(need, need.useful)

    def _want(self, need: Need) -> str:
        if self.unit == "calls":
            return "this is one more"
        return f"this call needs room for {self._show(self._amount(need, need.least))}"

    def _amount(self, need: Need, output: int) -> int:
        if self.unit == "calls":
            return 1
        return need.usd_micro(output) if self.unit == "usd" else need.tokens(output)

    def _show(self, amount: int) -> str:
        return format_usd(amount) if self.unit == "usd" else f"{amount:,} {self.unit}"


def fit(need: Need, room: Room, left: int) -> int | None:
    """The longest output, at most ``need.wanted``, that fits into ``left``; None when not even
    ``need.least`` does.
    """
    if room.unit == "calls":
        return need.wanted if left >= 1 else None
    if room.unit == "usd":
        price, rest = (
            need.choices * need.output_usd_nano,
            (left - need.input_usd_micro) * _NANO_PER_MICRO,
        )
    else:
        price, rest = need.choices, left - need.input_tokens
    if rest < 0:
        return None
    longest = min(need.wanted, rest // price) if price else need.wanted
    return longest if longest >= need.least else None
