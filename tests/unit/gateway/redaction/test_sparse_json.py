"""A large text read without its bulk means what it means read whole; and what is no JSON is none
either way.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.gateway.llm.restore_large import digest_of, restore_kept
from akiosd.gateway.llm.restore_reply import restore
from akiosd.gateway.llm.signed_texts import Memory, Signed
from akiosd.gateway.redaction import sparse_json
from akiosd.gateway.redaction.sparse_json import LARGE, parse_sparse, pieces_of
from akiosd.gateway.redaction.strict_json import BadJsonError, Kept, dump, parse
from akiosd.redact.engine import Engine
from akiosd.redact.pseudonyms import Pseudonyms
from akiosd.redact.redactor import Redactor

ENGINE = Engine()
FILLER = {"filler": "x" * LARGE}
ODD = st.text(
    st.sampled_from(list('ab "\\/[]{}:,\n\u0001é中\U0001f600\ud800\udc00e1N')),
    min_size=1,
    max_size=12,
)
NAMES = st.one_of(ODD, st.sampled_from(["embedding", "logprobs", "usage", "content", "text"]))
LEAVES = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
    *(ODD, ODD.map(lambda text: text * 900), st.just([0.5, -1e-9, 12] * 200)),
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=25
)


def written(value: Any, plain: bool) -> bytes:
    return json.dumps(value, ensure_ascii=not plain).encode("utf-8", "surrogatepass")


def kept_in(value: Any) -> list[Kept]:
    if isinstance(value, Kept):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [kept for item in inner for kept in kept_in(item)]


@given(VALUES)
@settings(max_examples=80, deadline=None)
def test_the_same_value_is_read(value: Any) -> None:
    data = written({**FILLER, "value": value}, plain=False)
    found = parse_sparse(data)
    assert parse(dump(found)) == parse(data)
    assert found["filler"] == Kept(b'"%b"' % (b"x" * LARGE))


@given(ODD.map(lambda text: text * 3000), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_long_text_comes_in_pieces(text: str, plain: bool) -> None:
    raw = dump(text) if plain else json.dumps(text).encode()
    kept = Kept(raw)
    pieces = [bytes(kept.raw[piece]) for piece in pieces_of(kept)]
    assert b'"' + b"".join(pieces) + b'"' == raw
    assert all(len(piece) <= 140 << 10 for piece in pieces)
    signed = Signed()
    signed.remember_digest(digest_of(kept))
    assert signed.known(str(parse(raw)))


def padded(data: bytes) -> bytes:
    return b'{"filler":"' + b"x" * LARGE + b'","value":' + data + b"}"


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"NaN", b"[NaN]", b"Infinity", b"01", b"1.", b"[1,]", b"tru", b'"\x01"', b'"\\x"', b'"\xff"'),
        *(b'{"a":1,"a":2}', b"[1 2]", b'{"a" 1}', b"1}{", b'"\\u12g4"', b"[" + b"1," * 2000 + b"]"),
        *(b"[" + b"1 " * 2000 + b"]", b'"' + b"\xc3" * 5000 + b'"', b'"' + b"y" * 5000 + b'\\q"'),
    ],
)  # fmt: skip
def test_what_is_no_json(data: bytes) -> None:
    for whole in (padded(data), padded(b'"ok"')[:-1], padded(b'"ok"') + b"]"):
        with pytest.raises(BadJsonError):
            parse(whole)
        with pytest.raises(BadJsonError):
            parse_sparse(whole)
    assert parse_sparse(padded(b'"ok"'))["value"] == "ok"


def test_lone_surrogates_are_json_wherever_they_stand() -> None:
    for shift in range(8):
        data = (
            b'{"value":"\\ud800","filler":"' + b"x" * (LARGE - 24 - shift) + b'\\udc00\\ud83d y"}'
        )
        assert parse(dump(parse_sparse(data))) == parse(data)


def test_many_parts_leave_what_stands_outermost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more parts than there is room for, usage is read all the same; without end, they are
    refused.
    """
    monkeypatch.setattr(sparse_json, "MOST_PARSED", 1 << 18)
    many = b"[" + b"[]," * (1 << 17) + b"[]]"
    found = parse_sparse(b'{"choices":' + many + b',"usage":{"prompt_tokens":7}}')
    assert found == {"choices": Kept(many), "usage": {"prompt_tokens": 7}}
    with pytest.raises(BadJsonError):
        parse_sparse(many)


VALUE = "ada@example.org"


@pytest.fixture
def pseudonyms() -> Pseudonyms:
    return Pseudonyms(b"k" * 32)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("at", [0, 64 * 1024 - 9, 64 * 1024 - 1, 89_990])
@pytest.mark.parametrize("filling", ["é", '{"a": "', "\n "])
def test_stand_ins_anywhere_in_a_long_text(
    pseudonyms: Pseudonyms, filling: str, at: int, plain: bool
) -> None:
    text = " " + filling * (90_000 // len(filling))
    stand_in = pseudonyms.give(VALUE, "email")
    text = f"{text[:at]} {stand_in} {text[at:]}"
    data = written({"choices": [{"message": {"content": text}}], "usage": {"n": 1}}, plain)
    value, whole = parse_sparse(data), parse(data)
    assert len(kept_in(value)) == 1
    memory = Memory(Redactor(ENGINE))
    assert restore(value, pseudonyms, memory) and restore(whole, pseudonyms, memory)
    assert parse(dump(value)) == whole
    assert VALUE in whole["choices"][0]["message"]["content"]


def test_stand_ins_in_bulk(pseudonyms: Pseudonyms) -> None:
    """Strings of what no meter reads are restored like all others."""
    stand_in = pseudonyms.give(VALUE, "email")
    tokens = [
        {"token": f'[{n}] "{stand_in}"', "logprob": -0.5, "bytes": [1, 2]} for n in range(2000)
    ]
    data = written({"choices": [{"logprobs": {"content": tokens}}]}, plain=True)
    value, whole = parse_sparse(data), parse(data)
    memory = Memory(Redactor(ENGINE))
    assert len(kept_in(value)) == 1
    assert restore(value, pseudonyms, memory) and restore(whole, pseudonyms, memory)
    assert parse(dump(value)) == whole and stand_in.encode() not in dump(value)


def test_what_holds_no_stand_in_is_not_touched(pseudonyms: Pseudonyms) -> None:
    pseudonyms.give(VALUE, "email")
    kept = Kept(written("all is well " * 20_000, plain=True))
    assert restore_kept(kept, pseudonyms) is kept


def test_long_signed_texts_are_remembered_and_not_touched(pseudonyms: Pseudonyms) -> None:
    stand_in = pseudonyms.give(VALUE, "email")
    secret = (stand_in + "c2lnbmVk") * 20_000
    data = written({"output": [{"type": "reasoning", "encrypted_content": secret}]}, plain=True)
    value, memory = parse_sparse(data), Memory(Redactor(ENGINE))
    assert not restore(value, pseudonyms, memory)
    assert memory.signed.known(secret) and parse(dump(value)) == parse(data)


def test_what_is_held_where_a_piece_ends_is_not_lost(pseudonyms: Pseudonyms) -> None:
    """A piece with a stand-in ends like another one, and nothing that follows may hold any."""
    stand_in = pseudonyms.give(VALUE, "email")
    head = f"{stand_in} {'n' * LARGE}"[: LARGE - 5] + stand_in[:5]
    text = head + " n" * LARGE
    kept = restore_kept(Kept(written(text, plain=True)), pseudonyms)
    assert parse(bytes(kept.raw)) == pseudonyms.restore(text)
