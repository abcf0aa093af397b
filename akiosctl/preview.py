"""What a model would be sent of a text: redacted as the gateway does it, with its size and what it
would cost.  Nothing is sent.

In a cage a value becomes a stand-in that is made for that cage; here, where there is none, it
becomes its type, as in ``[EMAIL]``.
"""

from __future__ import annotations

import re
import time
from typing import Any, NamedTuple

from akiosctl.render import escape, paint
from akiosd.errors import AkiosError
from akiosd.meter.prices import bound_output, cost, quote
from akiosd.redact.engine import Engine
from akiosd.redact.redactor import Redactor
from akiosd.values.policy import PROVIDERS
from akiosd.values.spend import Tokens
from akiosd.values.units import format_usd

_BYTES_OF_A_TOKEN = 4
"""Of English text, on average; code and other languages take more tokens."""
_COLOURS = {
    "personal": "yellow",
    "financial": "red",
    "health": "magenta",
    "digital": "cyan",
    "communication": "green",
    "location": "blue",
}


class Found(NamedTuple):
    type: str
    category: str
    times: int


class Price(NamedTuple):
    """In micro-USD: of the text as input, and of a thousand tokens of an answer."""

    model: str
    input: int
    thousand_out: int


class Preview(NamedTuple):
    """``tokens`` is an estimate."""

    text: str
    found: list[Found]
    characters: int
    bytes: int
    tokens: int
    price: Price | None


def preview(text: str, model: str = "", disable: tuple[str, ...] = ()) -> Preview:
    """``model`` is PROVIDER/MODEL, or "" for no price.  Raises :class:`AkiosError`."""
    result = Redactor(Engine(disable=disable)).read(text)
    categories = {span.type: span.category for span in result.spans}
    found = [Found(kind, categories[kind], n) for kind, n in sorted(result.counts().items())]
    size = len(result.text.encode("utf-8", "surrogateescape"))
    tokens = -(-size // _BYTES_OF_A_TOKEN)
    price = price_of(model, tokens) if model else None
    return Preview(result.text, found, len(result.text), size, tokens, price)


def price_of(model: str, tokens: int) -> Price:
    """Of so many tokens of input.  Raises :class:`AkiosError` where it is not known."""
    provider, _, name = model.partition("/")
    if provider not in PROVIDERS or not name:
        raise AkiosError(
            f"{model!r} is not the name of a model",
            "--model",
            f"write PROVIDER/MODEL: {', '.join(PROVIDERS)}",
        )
    prices = quote(provider, name, now_ns=time.time_ns())
    if prices is None:
        raise AkiosError(
            f"the price of {name} is not known",
            "--model",
            "name another model: the price list of AKIOS lacks this one",
        )
    # Nano-USD of one token are micro-USD of a thousand.
    thousand = bound_output(prices, tokens, audio=False)
    return Price(model, cost(prices, Tokens(input=tokens)), thousand)


def together(parts: list[Preview], price: Price | None) -> Preview:
    """Several texts as one: their sizes and findings added up, without their words."""
    times: dict[tuple[str, str], int] = {}
    for one in (found for part in parts for found in part.found):
        times[one.type, one.category] = times.get((one.type, one.category), 0) + one.times
    found = [Found(*key, n) for key, n in sorted(times.items())]
    return Preview(
        "",
        found,
        sum(part.characters for part in parts),
        sum(part.bytes for part in parts),
        sum(part.tokens for part in parts),
        price,
    )


def as_json(shown: Preview) -> dict[str, Any]:
    """All but the text."""
    price = shown.price
    return {
        "redactions": [
            {"type": one.type, "category": one.category, "count": one.times} for one in shown.found
        ],
        "characters": shown.characters,
        "bytes": shown.bytes,
        "tokens": shown.tokens,
        "price": None
        if price is None
        else {
            "model": price.model,
            "input_usd_micro": price.input,
            "output_usd_micro_per_1000_tokens": price.thousand_out,
        },
    }


def printable(text: str) -> str:
    """Bytes that are no text as ``\\xNN``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def marked(shown: Preview) -> str:
    """The text for people: what was redacted in the colour of its category, controls escaped."""
    if not shown.found:
        return _lines(shown.text)
    colours = {f"[{one.type}]": _COLOURS[one.category] for one in shown.found}
    parts = re.split(f"({'|'.join(map(re.escape, colours))})", shown.text)
    return "".join(
        paint(part, colours[part]) if part in colours else _lines(part) for part in parts
    )


def _lines(text: str) -> str:
    return "\n".join(escape(line) for line in text.split("\n"))


def summary(shown: Preview) -> list[str]:
    """What was redacted, how large it is, what it costs; lines for stderr."""
    kinds = ", ".join(
        f"{paint(one.type, _COLOURS[one.category], 2)} {one.times}" for one in shown.found
    )
    total = sum(one.times for one in shown.found)
    lines = [
        f"redacted: {total}{f' ({kinds})' if kinds else ''}",
        f"size: {shown.characters:,} characters, {shown.bytes:,} bytes,"
        f" about {shown.tokens:,} tokens",
    ]
    if shown.price is not None:
        lines.append(
            f"price: about {format_usd(shown.price.input)} as input of {shown.price.model}, and"
            f" {format_usd(shown.price.thousand_out)} for each 1,000 tokens of an answer"
        )
    return lines
