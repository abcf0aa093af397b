"""Requests on their way out, and replies of any shape on their way in: properties over generated
JSON.
"""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.gateway.llm.prepare import prepare
from akiosd.gateway.llm.providers.base import Route, unknown_field
from akiosd.gateway.llm.providers.registry import BY_NAME
from akiosd.gateway.llm.redact_request import Outward
from akiosd.gateway.llm.restore_reply import Meter, StreamReply, restore
from akiosd.gateway.llm.signed_texts import Memory, Signed, is_signed
from akiosd.gateway.llm.sse import SseCodec
from akiosd.gateway.redaction.redactors import Redactors
from akiosd.gateway.redaction.strict_json import MAX_DEPTH, BadJsonError, Number, dump, parse
from akiosd.redact.engine import Engine
from akiosd.redact.model import RedactError, Result
from akiosd.redact.pseudonyms import Pseudonyms
from akiosd.redact.redactor import Redactor, Remembering
from akiosd.values.denial import Denial
from akiosd.values.policy import Redact
from akiosd.values.records import NetDenied
from akiosd.values.spend import ModelPrice
from akiosd.wire.frame import encode_frame

ENGINE = Engine()
PLANTED = "ada@example.org"
OPERATIONS = {
    type(op): op for provider in BY_NAME.values() for _, _, op in provider.routes
}.values()


def outward() -> tuple[Outward, Memory, Pseudonyms]:
    pseudonyms = Pseudonyms(bytes(range(32)))
    memory = Memory(Redactor(ENGINE, "pseudonym", pseudonyms))
    return Outward(memory, "pass"), memory, pseudonyms


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-99_999, 99_999),
    st.text('abcdefgh \n"\\{[é', max_size=12),
    st.sampled_from(
        [
            PLANTED,
            f"to {PLANTED}.",
            json.dumps({"a": [PLANTED, {PLANTED: 1}]}),
            f'"{PLANTED}"',
            f"{{{PLANTED}",
        ]
    ),
)
NAMES = st.sampled_from(
    [
        "content",
        "text",
        "id",
        "type",
        "role",
        "data",
        "url",
        "signature",
        "thinking",
        "model",
        PLANTED,
    ]
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_nothing_planted_leaves_and_everything_comes_back(tree: Any) -> None:
    out, memory, pseudonyms = outward()
    before = dump(tree)
    safe = out.body(tree)
    assert PLANTED not in json.dumps(json.loads(dump(safe)))
    assert (PLANTED.encode() in before) == bool(out.findings())
    assert all(PLANTED not in f"{finding.place}{finding.type}" for finding in out.findings())
    whole = [safe]
    restore(whole, pseudonyms, Memory(memory.redactor))
    assert flat(whole[0]) == flat(tree)


def flat(value: Any) -> Any:
    """What is said, whatever the spelling of JSON in strings; signed names are not restored."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return flat(json.loads(value))
        except ValueError:
            return value
    if isinstance(value, dict):
        return {name: flat(item) for name, item in value.items() if not is_signed(value, name)}
    return [flat(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=150, deadline=None)
@given(st.recursive(LEAVES | st.floats(allow_nan=False, allow_infinity=False), lambda i: st.lists(i) | st.dictionaries(
    st.text(max_size=5), i), max_leaves=20))  # fmt: skip
def test_json_is_written_as_it_was_read(tree: Any) -> None:
    text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
    assert dump(parse(text)).decode() == text
    assert dump(parse(text), sort=True) == dump(parse(json.dumps(tree, sort_keys=True)), sort=True)


@pytest.mark.parametrize(
    "number", ["1.50", "1e5", "-0", "-0.0", "1E400", "123456789012345678901234567890", "0.1"]
)
def test_numbers_keep_their_spelling(number: str) -> None:
    assert dump(parse(f'{{"n":{number}}}')).decode() == f'{{"n":{number}}}'


def test_a_number_that_is_personal_data_becomes_text() -> None:
    out, _, _ = outward()
    safe = out.body({"card": 4012888888881881, "n": Number("1.50"), "small": 5})
    assert isinstance(safe["card"], str) and safe["card"] != "4012888888881881"
    assert dump({"n": safe["n"], "small": safe["small"]}) == b'{"n":1.50,"small":5}'


@pytest.mark.parametrize(
    "text",
    ['{"a":1,"a":2}', '{"a":{"b":1,"b":1}}', "[NaN]", "[Infinity]", "[1", "", "\ufeff{}", "[01]"],
)
def test_json_with_two_meanings_is_refused(text: str) -> None:
    with pytest.raises(BadJsonError):
        parse(text)


def test_ids_are_read_too_and_stay_when_they_are_ids() -> None:
    ids = {
        "id": "call_8sKq0Zb2LxYt4Vw6",
        "tool_call_id": "toolu_01A09q90qw90lq917835lq9",
        "type": "function",
    }
    assert outward()[0].body(ids) == ids
    assert (
        "4012888888881881"
        not in dump(outward()[0].body({"tool_call_id": "4012888888881881"})).decode()
    )


def test_what_is_too_deep_is_refused() -> None:
    deep = "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2)
    with pytest.raises(RedactError):
        outward()[0].body(parse(deep))
    with pytest.raises(RedactError):
        outward()[0].body(parse('{"a":' * (MAX_DEPTH + 2) + "1" + "}" * (MAX_DEPTH + 2)))
    with pytest.raises(BadJsonError):
        parse("[" * 1_000_000)


def test_a_lone_surrogate_passes_as_an_escape() -> None:
    assert dump(parse('["\\ud800 x"]')) == b'["\\ud800 x"]'


WORDS = st.sampled_from(
    [
        "type",
        "index",
        "delta",
        "choices",
        "content",
        "text",
        "usage",
        "tool_calls",
        "function",
        "arguments",
        "name",
        "response",
        "output",
        "candidates",
        "parts",
        "content_block",
        "message",
        "error",
        "sequence_number",
        "thinking",
        "signature",
        "contentBlockIndex",
        "toolUse",
        "input",
        "usageMetadata",
        "bytes",
        "part",
        "output_index",
        "item",
        "generationConfig",
        "responseModalities",
        "tools",
        "thinkingConfig",
        "max_tokens",
        "messages",
        "functionCall",
        "tool",
        "definition",
        "service_tier",
        "speed",
        "prompt_cache_options",
        "prompt_cache_breakpoint",
        "ttl",
        "id",
        "execution",
        "environment",
        "toolConfig",
        "invokeModel",
        "body",
        "inferenceConfig",
        "contents",
        "stream",
        "model",
        "stream_options",
        "n",
        "options",
        "contentBlock",
        "input_audio",
        "image_url",
        "url",
        "tool_choice",
        "serviceTier",
    ]
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from(
        [
            "response.output_text.delta",
            "response.output_text.done",
            "content_block_delta",
            "text_delta",
            "content_block_stop",
            "response.completed",
            "message_start",
            "input_json_delta",
            "thinking_delta",
            "function_call",
            "response.output_item.done",
            "tool_use",
            "additional_tools",
            "tool_addition",
            "tool_definition",
            "web_search",
            "tool_search",
            "shell",
            "local",
            "namespace",
            "flex",
            "fast",
            "12h",
            "auto",
            "m",
            "gpt-4o-mini",
            "e30=",
            "https://example.com/x",
        ]
    ),
)
EVENTS = st.dictionaries(
    WORDS,
    st.recursive(
        VALUES,
        lambda i: st.lists(i, max_size=3) | st.dictionaries(WORDS, i, max_size=4),
        max_leaves=12,
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(EVENTS, max_size=4),
    st.sampled_from(["", "chunk", "contentBlockDelta", "contentBlockStart", "error"]),
)
def test_no_reply_of_any_shape_breaks_the_reader(events: list[dict[str, Any]], kind: str) -> None:
    data = b"".join(
        b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps(event).encode()) for event in events
    )
    for operation in OPERATIONS:
        _, memory, pseudonyms = outward()
        pseudonyms.give(PLANTED, "EMAIL")
        reply = StreamReply(operation, SseCodec(), pseudonyms, memory, strip=True)
        out = b"".join(reply.push(data)) + reply.flush()
        assert isinstance(out, bytes) and reply.meter.answer is not None
        tokens = reply.meter.tokens
        assert tokens is None or (tokens.input >= 0 and tokens.output >= 0)


@settings(max_examples=100, deadline=None)
@given(EVENTS)
def test_no_request_of_any_shape_breaks_the_reader(body: dict[str, Any]) -> None:
    for operation in OPERATIONS:
        copy = parse(json.dumps(body))
        if isinstance(operation.normalise(copy), Denial) or isinstance(
            unknown_field(operation, copy), Denial
        ):
            continue
        if operation.refuse(copy) is None:
            operation.prepare(copy)
            operation.set_output(copy, 5)
            assert operation.output(copy) in (0, 5)
            assert operation.choices(copy) >= 1 and operation.floor(copy) >= 1
            operation.refers(copy)
            operation.stream(copy, {})


ROUTES = [
    (provider, verb, pattern, operation)
    for provider in BY_NAME.values()
    for verb, pattern, operation in provider.routes
    if operation.kind != "read"
]


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_every_body_is_sent_redacted_or_refused(body: dict[str, Any]) -> None:
    """Whatever an agent sends: a request without what was planted, or a refusal, and nothing
    else.
    """
    body["user"] = [PLANTED]
    raw = json.dumps(body | {"model": body.get("model", "m")}).encode()
    prices = {"m": ModelPrice(1, 1, max_output=5)}
    for provider, verb, _, operation in ROUTES:
        _, memory, _ = outward()
        for data in (
            raw,
            json.dumps({name: body[name] for name in body if name in operation.fields}).encode(),
        ):
            try:
                made = prepare(
                    provider,
                    Route(operation, "m"),
                    data,
                    [],
                    "/x",
                    memory=memory,
                    overrides=prices,
                    binary="pass",
                    now_ns=0,
                )
            except RedactError:
                continue
            if isinstance(made, Denial):
                continue
            assert verb == "POST" and PLANTED.encode() not in made.grant(3)
            ask = made.ask
            assert operation.kind == "free" or (
                ask.input_tokens >= 0 and ask.choices >= 1 and ask.floor >= 1
            )


def test_findings_can_be_told_whatever_the_names_are() -> None:
    inner: Any = [PLANTED] * 300
    for number in range(150):
        inner = {f"\ud800 {number} " * 9: inner}
    outward = Outward(Memory(Redactor(ENGINE)), "pass")
    outward.body(inner)
    told = outward.findings()
    assert len(told) > 0 and len(encode_frame(msgspec.msgpack.encode(told))) < 1 << 19


def test_memories_are_bounded() -> None:
    signed = Signed(most=3)
    for number in range(5):
        signed.remember(f"text {number}")
    assert [signed.known(f"text {number}") for number in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]
    redactor = Remembering(ENGINE, most_bytes=2000)
    for number in range(40):
        for _ in range(2):
            assert PLANTED not in redactor.redact(f"mail {number} {PLANTED}").text
    assert 1 < len(redactor._seen) < 8 and redactor._bytes <= 2000
    redactor.redact("x", "n" * 1_000_000)
    assert len(repr(redactor._seen)) < 5000, "a name as long as an agent likes is not kept either"
    for number in range(2000):
        assert (
            redactor.has(f"{number}")
            == Redactor(ENGINE).has(f"{number}")
            == redactor.has(f"{number}")
        )
    assert len(redactor._names) == 1000


def test_to_forget_the_oldest_takes_no_longer_when_many_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Redactor, "redact", lambda self, text, hint="": Result(text, ()))
    redactor = Remembering(ENGINE, most_bytes=100_000 * 200)

    def seconds(name: str, count: int) -> float:
        begun = time.process_time()
        for number in range(count):
            redactor.redact(f"{name} {number}")
        return time.process_time() - begun

    kept = seconds("kept", 100_000)
    assert seconds("forgotten", 100_000) < 10 * kept + 0.1 and len(redactor._seen) == 100_000


def test_what_was_read_once_is_read_the_same_again() -> None:
    pseudonyms = Pseudonyms(bytes(range(32)))
    for mode in ("pseudonym", "mask", "block", "off"):
        plain, remembering = (
            Redactor(ENGINE, mode, pseudonyms),
            Remembering(ENGINE, mode, pseudonyms),
        )
        for text in (PLANTED, "nothing", "", f"to {PLANTED} and {PLANTED}", "\ud800 x"):
            for hint in ("", "mail", ""):
                assert remembering.redact(text, hint) == plain.redact(text, hint)


def test_a_denial_is_told_without_the_value() -> None:
    """A name that is asked for may be made of it, and the hint repeats the name."""
    redactors = Redactors(Redact(models="off", sites="off"), bytes(32))
    hint = "network: {allowed_domains: [4012888888881881.evil.example]}"
    told = NetDenied(
        ts=0, host=b"4012888888881881.evil.example", rule="r", protocol="dns", hint=hint
    )
    safe = redactors.mask_denial(told)
    assert safe.host == b"[CREDIT_CARD].evil.example" and "4012888888881881" not in safe.hint
    plain = NetDenied(
        ts=0, host=b"\xff.example.com", rule="r", protocol="dns", hint="network: {get_only: []}"
    )
    assert redactors.mask_denial(plain) == plain


def test_meters_do_not_mix_calls() -> None:
    operation = BY_NAME["ollama"].find("POST", "/api/chat")
    assert operation is not None
    meter = Meter(operation.operation)
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    meter.take({"message": {"tool_calls": [call]}}, "")
    once = meter.answer
    meter.take(
        {"message": {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 2}}}]}}, ""
    )
    assert meter.answer != once
