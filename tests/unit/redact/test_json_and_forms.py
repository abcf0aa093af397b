"""JSON at any depth, JSON in strings, forms, URLs, headers."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akiosd.redact.containers.json_text import MAX_DEPTH
from akiosd.redact.engine import Engine
from akiosd.redact.json_and_forms import Structured
from akiosd.redact.known_values import Known
from akiosd.redact.pseudonyms import Pseudonyms
from akiosd.redact.redactor import Mode, Redactor

ENGINE = Engine()
KEY = bytes(range(32))


def masked() -> Structured:
    return Structured(Redactor(ENGINE, "mask"))


def redacted(structure: Structured, body: object) -> Any:
    return json.loads(structure.text(json.dumps(body)))


def test_values_at_any_depth_and_keys_kept() -> None:
    body = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "I am ada@example.org"}]}
        ],
        "n": 1,
    }
    structure = masked()
    assert redacted(structure, body)["messages"][0]["content"][0]["text"] == "I am [EMAIL]"
    assert structure.findings[0].place == "$.messages[0].content[0].text"


def test_a_key_is_the_context_of_its_value() -> None:
    assert redacted(masked(), {"ssn": "order 078051121 x", "id": "order 078051121 x"}) == {
        "ssn": "order [US_SSN_PLAIN] x",
        "id": "order 078051121 x",
    }
    assert redacted(masked(), {"card": 4012888888881881, "count": 4012888888881882}) == {
        "card": "[CREDIT_CARD]",
        "count": 4012888888881882,
    }


def test_json_inside_a_string() -> None:
    inner = {"path": "a.txt", "content": "to: ada@example.org"}
    safe = redacted(masked(), {"function": {"arguments": json.dumps(inner)}})
    assert json.loads(safe["function"]["arguments"]) == {"path": "a.txt", "content": "to: [EMAIL]"}


@pytest.mark.parametrize(
    "inner",
    ['{"ada@example.org": 1}', '{"a": {"ada@example.org": "bob"}}', '{"a": "ada@example.org", "a": "b"}',
     '[{"a": "ada@example.org", "a": "b"}]', '{"card": 4012888888881881.0}', '[4012888888881881e0]'],
)  # fmt: skip
def test_json_inside_a_string_hides_nothing(inner: str) -> None:
    """Neither in names, nor in what stands there twice, nor in a fraction."""
    for body in ({"arguments": inner}, {"more": [json.dumps({"arguments": inner})]}):
        structure = masked()
        safe = json.dumps(redacted(structure, body))
        assert "ada@" not in safe and "4012888888881881" not in safe and structure.findings


def test_json_in_strings_is_read_however_deep() -> None:
    text = "ada@example.org"
    for _ in range(3):
        text = "[" * (MAX_DEPTH - 5) + json.dumps(text) + "]" * (MAX_DEPTH - 5)
    assert "ada" not in masked().text(text)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://ex.org/u/ada%40example.org/x?q=1", "https://ex.org/u/%5BEMAIL%5D/x?q=1"),
        ("https://ex.org/?mail=ada%40example.org&x=1", "https://ex.org/?mail=%5BEMAIL%5D&x=1"),
        ("https://ex.org/?ada@example.org", "https://ex.org/?%5BEMAIL%5D"),
        ("https://bob:secret1@ex.org/", "https://%5BURL_PASSWORD%5D@ex.org/"),
        ("https://ex.org/a%2Fb?x=%20y", "https://ex.org/a%2Fb?x=%20y"),
    ],
)
def test_urls(url: str, safe: str) -> None:
    assert masked().url(url) == safe


def test_forms_and_headers() -> None:
    assert masked().form("name=x&to=ada%40example.org&b=") == "name=x&to=%5BEMAIL%5D&b="
    assert masked().headers([("X-From", "ada@example.org"), ("Accept", "*/*")]) == [
        ("X-From", "[EMAIL]"),
        ("Accept", "*/*"),
    ]


def test_findings_hold_types_and_places_and_no_values() -> None:
    structure = masked()
    redacted(
        structure, {"ada@example.org": {"card": "4012888888881881"}, "text": "call +1 415 555 0132"}
    )
    record = msgspec.msgpack.encode(structure.findings)
    for value in (b"ada@example", b"4012888888881881", b"0132"):
        assert value not in record
    assert [finding.place for finding in structure.findings] == ["$", "$.*.card", "$.text"]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("mode", ["mask", "pseudonym"])
def test_a_place_in_an_array_stays_two_values(mode: Mode, indent: int | None) -> None:
    body = {"at": [52.520008, 13.404954], "line": [[48.858370, 2.294481, 35], [1, 2]]}
    structure = Structured(Redactor(ENGINE, mode, Pseudonyms(bytes(32)), Known()))
    safe = json.loads(structure.text(json.dumps(body, indent=indent)))
    assert [len(safe["at"]), len(safe["line"][0]), safe["line"][1]] == [2, 3, [1, 2]]
    left = {*safe["at"], *safe["line"][0]} & {52.520008, 13.404954, 48.858370, 2.294481}
    assert not left and [found.type for found in structure.findings] == ["COORDINATES"] * 2
    assert safe["at"][0] == safe["at"][1] and safe["at"][0].startswith("[COORDINATES")


@pytest.mark.parametrize("indent", [None, 1])
def test_a_vector_is_no_place(indent: int | None) -> None:
    body = json.dumps({"embedding": [0.12345, -0.54321, 0.98765, 0.45678]}, indent=indent)
    assert masked().text(body) == body


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_the_shape_of_json_stays(value: object) -> None:
    def shape(item: object) -> object:
        if isinstance(item, dict):
            return {key: shape(inner) for key, inner in item.items()}
        return [shape(inner) for inner in item] if isinstance(item, list) else None

    assert shape(redacted(masked(), {"in": value})) == {"in": shape(value)}
