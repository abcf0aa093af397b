"""Prices against the package they come from, names that must not find one, and bounds that are
bounds.
"""

import subprocess
import sys
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal

import pytest
from genai_prices import Usage
from genai_prices import types as genai
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.meter import prices
from akiosd.meter.models import candidates, max_output
from akiosd.meter.prices import FREE, Quote, Rates, bound_input, bound_output, ceiling, cost, quote
from akiosd.values.spend import ModelPrice, Tokens

NOW = datetime(2026, 11, 20, tzinfo=UTC)
NOW_NS = int(NOW.timestamp()) * 1_000_000_000
PLAIN = {"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok"}
AUDIO = {"input_audio_mtok", "output_audio_mtok"}


def listed(allowed):
    """(our provider, model of the data) whose prices have only units of ``allowed``, besides those
    by the use.
    """
    found = []
    for ours in prices.VENDORS:
        for model in prices._PROVIDERS[ours].models:
            keys = {
                key for key, value in vars(model.get_prices(NOW)).items() if value is not None
            } - prices._PER_USE
            # Not every id of the data is a name that its own pattern matches first.
            if (
                "input_mtok" in keys
                and keys <= allowed
                and prices._PROVIDERS[ours].find_model(model.id) is model
            ):
                found.append((ours, model))
    return found


HEARING = {"input_audio_mtok", "cache_audio_read_mtok"}
# Text costs what it costs whether a model also hears or not.
TEXT_MODELS = listed(PLAIN | HEARING)
PLAIN_MODELS = listed(PLAIN)
AUDIO_MODELS = [entry for entry in listed(PLAIN | AUDIO) if entry not in PLAIN_MODELS]


def micro(dollars: Decimal) -> int:
    return int((dollars * 1_000_000).to_integral_value(ROUND_CEILING))


def oracle(provider, model, **usage):
    vendor = prices._PROVIDERS[provider]
    return micro(model.calc_price(Usage(**usage), vendor, genai_request_timestamp=NOW).total_price)


def test_the_data_has_many_models_of_every_provider():
    assert {ours for ours, _ in TEXT_MODELS} == set(prices.VENDORS)
    assert len(TEXT_MODELS) > 200 and len(AUDIO_MODELS) >= 5


def test_every_text_model_of_the_data_is_priced():
    """All but those whose id is no name a provider would be given."""
    missing = [
        model.id for ours, model in TEXT_MODELS if quote(ours, model.id, now_ns=NOW_NS) is None
    ]
    assert [name for name in missing if not name.startswith("ft:")] == []


counts = st.one_of(st.integers(0, 2_000), st.integers(90_000, 1_100_000))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(TEXT_MODELS), counts, counts, counts, counts, counts)
def test_the_cost_of_text_is_that_of_the_package_to_the_micro_dollar(
    entry, plain, read, write, hour, output
):
    provider, model = entry
    if not model.id.startswith("ft:"):
        found = quote(provider, model.id, now_ns=NOW_NS)
        total = plain + read + write + hour
        tokens = Tokens(
            input=total,
            output=output,
            cache_read=read,
            cache_write=write + hour,
            cache_write_1h=hour,
        )
        assert cost(found, tokens) == oracle(
            provider,
            model,
            input_tokens=total,
            output_tokens=output,
            cache_read_tokens=read,
            cache_write_tokens=write + hour,
            cache_write_1h_tokens=hour,
            cache_write_5m_tokens=write,
        )


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(AUDIO_MODELS), counts, counts, counts, counts)
def test_the_cost_of_audio_is_that_of_the_package(entry, plain, audio, text, spoken):
    provider, model = entry
    tokens = Tokens(
        input=plain + audio, output=text + spoken, input_audio=audio, output_audio=spoken
    )
    assert cost(quote(provider, model.id, now_ns=NOW_NS), tokens) == oracle(
        provider,
        model,
        input_tokens=plain + audio,
        input_audio_tokens=audio,
        output_tokens=text + spoken,
        output_audio_tokens=spoken,
    )


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TEXT_MODELS + AUDIO_MODELS), counts, counts, counts, counts, counts, counts)
def test_no_usage_within_the_bound_costs_more_than_the_bound(
    entry, bound, read, write, hour, audio, output
):
    found = quote(entry[0], entry[1].id, now_ns=NOW_NS)
    if found is None:
        return
    total = min(bound, read + write + hour + audio)
    read = min(read, total)
    write = min(write, total - read)
    hour = min(hour, write)
    audio = min(audio, total - read - write)
    tokens = Tokens(total, output, read, write, hour, input_audio=audio, output_audio=output // 3)
    most = bound_input(found, bound) * 1000 + output * bound_output(found, bound)
    assert cost(found, tokens) <= -(-most // 1000)


def test_prices_of_the_data_are_whole_micro_dollars_a_million():
    """So that rounding happens once, at the end.  And none depends on the hour, which quotes do not
    know.
    """
    for ours in prices.VENDORS:
        for model in prices._PROVIDERS[ours].models:
            conditional = [] if isinstance(model.prices, genai.ModelPrice) else model.prices
            assert not any(
                isinstance(c.constraint, genai.TimeOfDateConstraint) for c in conditional
            ), model.id
            for value in vars(model.get_prices(NOW)).values():
                tiered = isinstance(value, genai.TieredPrices)
                for price in (
                    [value.base, *(tier.price for tier in value.tiers)] if tiered else [value]
                ):
                    assert price is None or price * 1_000_000 % 1 == 0, model.id


def test_a_known_price_tiers_and_limits():
    found = quote("anthropic", "claude-sonnet-4-5-20250929", now_ns=NOW_NS)
    read, write = 300_000, 3_750_000
    assert found.rates[0] == Rates(
        0, 3_000_000, 15_000_000, read, read, write, 6_000_000, 3_000_000, 15_000_000
    )
    assert found.rates[1].above == 200_000
    assert cost(found, Tokens(input=200_000)) == 600_000
    assert cost(found, Tokens(input=200_001)) == 1_200_006
    assert (found.context, found.max_output) == (200_000, 64_000)
    assert cost(found, Tokens(input=1)) == 3 and cost(found, Tokens(cache_read=1, input=1)) == 1
    assert bound_output(found, 200_000) == 15_000 and bound_output(found, 200_001) == 22_500


def test_a_price_changes_on_its_day():
    before, after = (int(datetime(2025, 6, day, tzinfo=UTC).timestamp()) * 10**9 for day in (9, 10))
    million = Tokens(input=1_000_000)
    assert cost(quote("openai", "o3", now_ns=before), million) == 10_000_000
    assert cost(quote("openai", "o3", now_ns=after), million) == 2_000_000


def test_a_dearer_service_tier_has_its_own_price_or_none():
    million = Tokens(input=1_000_000)
    standard = cost(quote("openai", "gpt-4.1", now_ns=NOW_NS), million)
    fast = quote("openai", "gpt-4.1", now_ns=NOW_NS, context={"service_tier": "priority"})
    assert (standard, cost(fast, million)) == (2_000_000, 3_500_000)
    assert quote("openai", "gpt-4", now_ns=NOW_NS, context={"service_tier": "priority"}) is None
    assert quote("openai", "gpt-4.1", now_ns=0, context={"service_tier": "priority"}) is None
    assert (
        quote("openai", "gpt-4", now_ns=NOW_NS, context={"service_tier": "auto", "other": "x"})
        is not None
    )


SPELLINGS = [
    ("openai", "gpt-4o-2024-11-20", "gpt-4o"),
    ("openai", "GPT-4o", "gpt-4o"),
    ("gemini", "models/gemini-2.5-pro", "gemini-2.5-pro"),
    ("gemini", "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
    ("bedrock", "us.meta.llama3-3-70b-instruct-v1:0", "meta.llama3-3-70b-instruct-v1:0"),
    (
        "bedrock",
        "us.anthropic.claude-sonnet-4-20250514-v1:0",
        "anthropic.claude-sonnet-4-20250514-v1:0",
    ),
    ("bedrock", "apac.mistral.pixtral-large-2502-v1:0", "mistral.pixtral-large-2502-v1:0"),
    ("xai", "grok-4-0709", "grok-4"),
]


@pytest.mark.parametrize(("provider", "spelling", "plain"), SPELLINGS)
def test_spellings_of_a_model_cost_the_same(provider, spelling, plain):
    found = quote(provider, spelling, now_ns=NOW_NS)
    assert found is not None and found.rates == quote(provider, plain, now_ns=NOW_NS).rates


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-99"),
        ("openai", ""),
        ("openai", "gpt-4o\n"),
        ("openai", "gpt-4o x"),
        ("openai", "x" * 5000),
        ("openai", "gpt-4o/../o1-pro"),
        ("openai", "whisper-1"),  # by the hour
        ("openai", "tts-1"),  # by the character
        # The organisation's own words never match a pattern of the data.
        ("openai", "ft:gpt-4.1-2025-04-14:moderation:moderation:moderation"),
        ("mistral", "mistral-ocr-latest"),
        ("mistral", "mistral-nemo:free"),
        ("gemini", "tunedModels/gemini-2.5-pro"),
        ("anthropic", "gpt-4o"),
        (
            "bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/anthropic.claude-3-haiku",
        ),
        ("cohere", "command-r"),
        ("ollama2", "llama3"),
    ],
)
def test_what_has_no_list_price_is_not_priced(provider, model):
    assert quote(provider, model, now_ns=NOW_NS) is None


def test_nobodys_own_words_are_part_of_a_name():
    assert candidates("openai", "ft:gpt-4.1-2025-04-14:acme:gpt-5-nano:Ab1") == (
        "ft:gpt-4.1-2025-04-14",
    )
    assert candidates("bedrock", "us.amazon.nova-pro-v1:0") == (
        "us.amazon.nova-pro-v1:0",
        "amazon.nova-pro-v1:0",
    )
    assert candidates("openai", "x" * 201) == candidates("gemini", "models/a/b") == ()


def test_what_costs_nothing_is_named():
    assert quote("ollama", "llama3.2:1b", now_ns=NOW_NS) == FREE
    assert quote("ollama", "hf.co/someone/Some-Model:Q4", now_ns=NOW_NS) == FREE
    for provider, model in (("openai", "omni-moderation-latest"), ("gemini", "gemma-3-27b-it")):
        assert cost(quote(provider, model, now_ns=NOW_NS), Tokens(10**6, 10**6)) == 0


def test_prices_of_the_configuration_come_first():
    arn = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/Mine"
    overrides = {
        "gpt-99": ModelPrice(1, 2),
        "bedrock/" + arn: ModelPrice(3, 4, 5, 6, 7, 8),
        "gpt-4o": ModelPrice(0, 0),
    }
    assert (
        cost(quote("openai", "gpt-99", overrides, now_ns=NOW_NS), Tokens(10**6, 10**6, 10**6)) == 3
    )
    found = quote("bedrock", arn, overrides, now_ns=NOW_NS)
    assert found == Quote((Rates(0, 3, 4, 5, 5, 6, 6, 3, 4),), 7, 8)
    assert quote("openai", arn, overrides, now_ns=NOW_NS) is None
    assert cost(quote("openai", "GPT-4o", overrides, now_ns=NOW_NS), Tokens(10**6, 10**6)) == 0


@given(st.builds(Tokens, *[st.integers(-(2**63), 2**63 - 1)] * 8))
def test_counts_of_a_hostile_provider_never_cost_less_than_nothing(tokens):
    assert cost(quote("openai", "gpt-4o", now_ns=NOW_NS), tokens) >= 0


def test_the_longest_answer_fits_beside_the_input():
    small = Quote((Rates(),), 8_192, 8_192)
    assert ceiling(small, 100) == 8_092
    assert ceiling(small, 100_000) == 1_024
    assert ceiling(Quote((Rates(),), 200_000, 64_000), 1_000) == 64_000


@pytest.mark.parametrize(
    ("provider", "model", "tokens"),
    [
        ("openai", "gpt-4o-mini", 16_384),
        ("openai", "o3-mini", 100_000),
        ("openai", "gpt-99", 32_768),
        ("anthropic", "claude-3-haiku-20240307", 4_096),
        ("bedrock", "eu.anthropic.claude-3-haiku-20240307-v1:0", 4_096),
        ("bedrock", "amazon.nova-pro-v1:0", 5_000),
        ("mistral", "mistral-large-latest", 32_768),
    ],
)
def test_longest_answers(provider, model, tokens):
    assert max_output(provider, candidates(provider, model)[0]) == tokens


def test_quoting_opens_no_socket_and_starts_no_thread():
    """The package has an updater that would fetch prices; nothing may start it."""
    code = """
import socket, threading
def refuse(*args, **kwargs):
    raise SystemExit("a socket was opened")
socket.socket.__init__ = refuse
socket.getaddrinfo = refuse
from akiosd.meter.prices import quote
assert quote("openai", "gpt-4o", now_ns=0) is not None
from genai_prices import data_snapshot
assert data_snapshot._custom_snapshot is None
assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
print("quoted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "quoted\n"), done.stderr
