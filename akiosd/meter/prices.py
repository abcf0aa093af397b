"""Prices of models, from genai-prices without network, compiled to integers; what a call did cost
or could cost.

Prices are micro-USD for a million tokens, the finest unit that vendors publish: a token at $0.0125
a million is no whole number of nano-USD. Every sum is exact, and rounded up once to the micro-USD.

Only the gateway imports this module, and the verb that previews a price: the data takes 0.15 s to
load. It is what the installed package carries; the package's updater is never started, so nothing
here reaches a network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache

import msgspec
from genai_prices import types as genai
from genai_prices.data import providers as _DATA

from akiosd.meter.models import candidates, max_output
from akiosd.values.providers import FACTS, facts_of
from akiosd.values.spend import ModelPrice, Tokens

_MILLION = 1_000_000
_NANO_PER_MICRO = 1_000
_NS_PER_DAY = 86_400 * 1_000_000_000
UNKNOWN_CONTEXT = 1_000_000
"""Input tokens of a model whose context window is not listed."""

# Our name of a provider → that of genai-prices.
VENDORS = {name: facts.price_list for name, facts in FACTS.items() if facts.price_list}
_PROVIDERS = {ours: next(p for p in _DATA if p.id == theirs) for ours, theirs in VENDORS.items()}

# Counted by the call, not by tokens: hosted tools, which are refused or priced elsewhere.
_PER_USE = frozenset(
    (
        "web_searches_kcount",
        "storage_searches_kcount",
        "social_searches_kcount",
        "code_executions_kcount",
    )
)
# Where the providers' usage does not tell these apart, the dearest of them counts.
_UNITS: dict[str, tuple[str, ...]] = {
    "input": ("input_mtok", "input_image_mtok", "input_video_mtok"),
    "output": ("output_mtok", "output_image_mtok", "output_video_mtok"),
    "cache_read": ("cache_read_mtok", "cache_image_read_mtok"),
    "cache_read_audio": ("cache_read_mtok", "cache_audio_read_mtok", "cache_image_read_mtok"),
    "cache_write": ("cache_write_mtok",),
    "cache_write_1h": ("cache_write_1h_mtok",),
    "input_audio": ("input_audio_mtok",),
    "output_audio": ("output_audio_mtok",),
}
_KNOWN = _PER_USE.union(*_UNITS.values())
# Request parameters that make a call dearer; a model without a price for what was asked is not
# priced.
_DEAR = (("service_tier", "priority"), ("service_tier", "fast"), ("speed", "fast"))
_CONTEXT = (*_DEAR, ("service_tier", "default"), ("service_tier", "flex"))


class Rates(msgspec.Struct, frozen=True):
    """Prices for calls whose input has more than ``above`` tokens, in micro-USD for a million
    tokens.
    """

    above: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_read_audio: int = 0
    """For all tokens read from the cache when the input has audio: providers do not say how many of
    them were audio.
    """
    cache_write: int = 0
    cache_write_1h: int = 0
    input_audio: int = 0
    output_audio: int = 0


class Quote(msgspec.Struct, frozen=True):
    """The prices of one model.

    ``rates`` are sorted by ``above`` and begin with 0. ``context`` and ``max_output`` are in
    tokens.
    """

    rates: tuple[Rates, ...] = (Rates(),)
    context: int = UNKNOWN_CONTEXT
    max_output: int = 0


FREE = Quote()
"""The prices of a model that costs nothing."""


def quote(
    provider: str,
    model: str,
    overrides: Mapping[str, ModelPrice] | None = None,
    *,
    now_ns: int,
    context: Mapping[str, str] | None = None,
) -> Quote | None:
    """The prices of ``model``, as its provider spells it, at ``now_ns`` (Unix time); None when they
    are not known.

    ``overrides`` are prices from akiosd.yaml, under ``model`` or ``provider/model``; they take
    precedence. ``context`` is what else in the request decides the price: its ``service_tier`` and
    ``speed``.
    """
    names = candidates(provider, model)
    for name in (model, *names):
        given = (overrides or {}).get(f"{provider}/{name}") or (overrides or {}).get(name)
        if given is not None:
            return _given(given)
    if facts_of(provider).is_free:
        return FREE
    if provider not in _PROVIDERS:
        return None
    asked = tuple(pair for pair in _CONTEXT if (context or {}).get(pair[0]) == pair[1])
    for name in names:
        found = _listed(provider, name, now_ns // _NS_PER_DAY, asked)
        if found is not None:
            return found
    return None


def cost(quote: Quote, tokens: Tokens) -> int:
    """What a call cost in micro-USD, rounded up.

    Where counts contradict each other (parts larger than the total), the parts are paid.
    """
    rates = _rates(quote, tokens.input)
    hour = min(_count(tokens.cache_write_1h), _count(tokens.cache_write))
    parts_in = (
        (
            _count(tokens.cache_read),
            rates.cache_read_audio if _count(tokens.input_audio) else rates.cache_read,
        ),
        (_count(tokens.cache_write) - hour, rates.cache_write),
        (hour, rates.cache_write_1h),
        (_count(tokens.input_audio), rates.input_audio),
    )
    parts_out = ((_count(tokens.output_audio), rates.output_audio),)
    total = _sum(tokens.input, rates.input, parts_in) + _sum(tokens.output, rates.output, parts_out)
    return -(-total // _MILLION)


def bound_input(quote: Quote, tokens: int, *, hour_cache: bool = True, audio: bool = True) -> int:
    """The most that ``tokens`` of input can cost, in micro-USD.

    ``hour_cache`` and ``audio``: whether the request may use them.
    """
    dearest = 0
    for rates in _reachable(quote, tokens):
        prices = [rates.input, rates.cache_read, rates.cache_write]
        prices += [rates.cache_write_1h] if hour_cache else []
        prices += [rates.input_audio, rates.cache_read_audio] if audio else []
        dearest = max(dearest, *prices)
    return -(-_count(tokens) * dearest // _MILLION)


def bound_output(quote: Quote, input_tokens: int, *, audio: bool = True) -> int:
    """The most that one token of output can cost after ``input_tokens``, in nano-USD rounded up."""
    dearest = max(
        max(rates.output, rates.output_audio if audio else 0)
        for rates in _reachable(quote, input_tokens)
    )
    return -(-dearest * _NANO_PER_MICRO // _MILLION)


def ceiling(quote: Quote, input_tokens: int) -> int:
    """Output tokens to ask for where a request names none: they must fit into the context window
    beside the input.
    """
    return max(1, min(quote.max_output, max(quote.context - input_tokens, quote.context // 8)))


# ---- inside --------------------------------------------------------------------------------------


def _given(price: ModelPrice) -> Quote:
    read = price.cache_read if price.cache_read >= 0 else price.input
    write = price.cache_write if price.cache_write >= 0 else price.input
    rates = Rates(
        input=_count(price.input),
        output=_count(price.output),
        cache_read=read,
        cache_read_audio=read,
        cache_write=write,
        cache_write_1h=write,
        input_audio=_count(price.input),
        output_audio=_count(price.output),
    )
    return Quote((rates,), price.context, price.max_output)


@lru_cache(maxsize=512)
def _listed(
    provider: str, name: str, day: int, context: tuple[tuple[str, str], ...]
) -> Quote | None:
    # Not the package's own search: that falls back to other vendors' models, and remembers every
    # name ever asked for.
    model = _PROVIDERS[provider].find_model(name)
    if model is None:
        return None
    moment = _moment(day)
    if any(word in _DEAR and not _has_variant(model, word, moment) for word in context):
        return None
    found = model.get_prices(moment, dict(context))
    prices = {key: value for key, value in vars(found).items() if value is not None}
    if not prices and name.startswith(facts_of(provider).models.given_away):
        return msgspec.structs.replace(FREE, max_output=max_output(provider, name))
    if "input_mtok" not in prices or not prices.keys() <= _KNOWN:
        return None
    tiered = [value for value in prices.values() if isinstance(value, genai.TieredPrices)]
    starts = sorted({tier.start for value in tiered for tier in value.tiers})
    rates = tuple(_compile(prices, above) for above in (0, *starts))
    return Quote(rates, model.context_window or UNKNOWN_CONTEXT, max_output(provider, name))


def _has_variant(model: genai.ModelInfo, word: tuple[str, str], moment: datetime) -> bool:
    return any(
        variant.when.get(word[0]) == word[1]
        and (variant.constraint is None or variant.constraint.active(moment))
        for variant in model.price_variants or ()
    )


def _moment(day: int) -> datetime:
    return datetime.combine(date.fromordinal(date(1970, 1, 1).toordinal() + day), time(), UTC)


def _compile(prices: Mapping[str, Decimal | genai.TieredPrices], above: int) -> Rates:
    found: dict[str, int] = {}
    for field, units in _UNITS.items():
        given = [_at(prices[unit], above) for unit in units if unit in prices]
        if given:
            found[field] = max(given)
    plain = found.get("input", 0)
    found.setdefault("cache_read", plain)
    found.setdefault("cache_read_audio", found["cache_read"])
    found.setdefault("cache_write", plain)
    found.setdefault("cache_write_1h", found["cache_write"])
    found.setdefault("input_audio", plain)
    found.setdefault("output_audio", found.get("output", 0))
    return Rates(above=above, **found)


def _at(price: Decimal | genai.TieredPrices, above: int) -> int:
    """The price that holds when the input has more than ``above`` tokens: dollars → micro-USD,
    rounded up.
    """
    dollars = price
    if isinstance(price, genai.TieredPrices):
        dollars = price.base
        for tier in price.tiers:
            if tier.start <= above and above:
                dollars = tier.price
    assert isinstance(dollars, Decimal)
    numerator, denominator = dollars.as_integer_ratio()
    return -(-numerator * _MILLION // denominator)


def _rates(quote: Quote, input_tokens: int) -> Rates:
    chosen = quote.rates[0]
    for rates in quote.rates[1:]:
        if input_tokens > rates.above:
            chosen = rates
    return chosen


def _reachable(quote: Quote, input_tokens: int) -> tuple[Rates, ...]:
    """Rates that hold for this much input or less."""
    return (quote.rates[0], *(rates for rates in quote.rates[1:] if input_tokens > rates.above))


def _sum(total: int, price: int, parts: Iterable[tuple[int, int]]) -> int:
    """``parts`` at their own prices, what is left of ``total`` at ``price``."""
    rest, sum_ = _count(total), 0
    for count, own in parts:
        rest -= count
        sum_ += count * own
    return sum_ + max(0, rest) * price


def _count(tokens: int) -> int:
    return max(0, tokens)
