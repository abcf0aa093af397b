"""Whatever container a value stands in, the same is found of it."""

from __future__ import annotations

import gc
import json
import string
import sysconfig
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from akiosd.redact.containers.view import MAX_NESTED, view
from akiosd.redact.engine import Engine
from akiosd.redact.known_values import Known
from akiosd.redact.patterns import PATTERNS
from akiosd.redact.redactor import Redactor
from tests.unit.redact import heldout
from tests.unit.redact.prose import prose
from tests.unit.redact.texts import TEXTS
from tests.unit.redact.written import ANY, PLAIN, Fields

ENGINE = Engine()
MASK = Redactor(ENGINE, "mask")
ALL = {**ANY, **PLAIN}
SECRETS: Fields = {
    "password": "hunter22!", "api_key": "f3a9c1b27d8e4056a1b2", "client_secret": "Zx81-kk09-QQ17-aa55",
    "ssn": "078051121",
    "patient_name": "Grace Hopper", "account_number": "945456787654", "dbPassword": "correct horse battery",
    "session_id": "abc123def456ghi789", "heart_rate": "72 bpm", "mail": "ada@example.org",
}  # fmt: skip


def found(text: str, names: Fields) -> set[tuple[str, str, str]]:
    """(name, type, value) of what is found in the texts called one of ``names``."""
    leaves = list(view(text).leaves())
    spans = MASK.find_all([leaf.text for leaf in leaves], [leaf.label for leaf in leaves])
    return {
        (leaf.label, span.type, leaf.text[span.start : span.end])
        for leaf, some in zip(leaves, spans, strict=True)
        for span in some
        if leaf.label in names
    }


@pytest.mark.parametrize("container", ALL)
def test_labelled_secrets_in_every_container(container: str) -> None:
    text = ALL[container](SECRETS)
    safe = MASK.read(text).text
    assert [name for name, value in SECRETS.items() if value in safe] == []
    assert found(text, SECRETS) == found(json.dumps(SECRETS), SECRETS)
    assert {name for name, _, _ in found(text, SECRETS)} == set(SECRETS)


def test_the_control_is_that_nothing_of_it_is_found_without_a_name() -> None:
    values = {f"x{number}": value for number, value in enumerate(SECRETS.values())}
    for write in ALL.values():
        assert {kind for _, kind, _ in found(write(values), values)} <= {
            "EMAIL",
            "VITAL_SIGN",
            "US_SSN_PLAIN",
        }


LABELS = st.sampled_from(
    [*SECRETS, "token", "card", "phone", "note", "user", "iban", "pwd", "PGPASSWORD", "color"]
)
VALUES = (
    st.one_of(
        st.sampled_from(
            [
                *SECRETS.values(),
                "4012888888881881",
                "4012 8888 8888 1881",
                "DE89370400440532013000",
                "+1 415 555 0132",
                "of 4012888888881881 and ada@example.org",
                "a, b; c",
                'say "hi" & <go>',
                "x=1&y=2",
                "it's: {fine}",
                "a|b",
                "é",
                "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=",
                "[EMAIL]",
                "hunter22!,x",
                'Xk9$mm,2p"Q',
                "C:\\dir\\n",
            ]
        ),
        st.text(
            string.ascii_letters + string.digits + "!$%&<>,;'\"#@ éñ\\:={}[]|-_./",
            min_size=1,
            max_size=24,
        ),
        st.text(string.ascii_letters + string.digits + "!$_.", min_size=8, max_size=24),
    )
    .map(lambda text: " ".join(text.split()))
    .filter(bool)
)
SIMPLE = st.one_of(
    st.sampled_from(list(SECRETS.values())),
    st.text(string.ascii_letters + string.digits + "!$_.", min_size=8, max_size=24),
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(LABELS, VALUES, min_size=1, max_size=4))
@example({"password": 'Xk9$mm,2p"Q'})
@example({"note": '{"password": "hunter22!"}', "id": "x"})
def test_any_value_is_found_alike_in_every_container(fields: Fields) -> None:
    expected = found(json.dumps(fields), fields)
    for name, write in ANY.items():
        assert found(write(fields), fields) == expected, name


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(LABELS, SIMPLE, min_size=1, max_size=4))
def test_and_in_those_that_write_it_as_it_is(fields: Fields) -> None:
    expected = found(json.dumps(fields), fields)
    for name, write in PLAIN.items():
        assert found(write(fields), fields) == expected, name


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(ALL)),
    st.sampled_from(sorted(ALL)),
    st.sampled_from(["password", "api_key", "ssn"]),
)
def test_what_one_container_gives_away_is_found_in_all(first: str, then: str, label: str) -> None:
    """At all its occurrences: before, behind, and in another container where nothing says what it
    is.
    """
    value = SECRETS[label]
    redactor = Redactor(ENGINE, "mask", known=Known())
    other = ALL[then]({"color": value, "what": f"with {value}."})
    if value not in MASK.read(other).text:
        return
    text = f"I used {value} there.\n\n{ALL[first]({label: value})}\n\nThen {value}, again."
    assert value not in redactor.read(text).text
    assert value not in redactor.read(other).text


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            TEXTS, st.sampled_from([write({"password": "hunter22!"}) for write in ALL.values()])
        )
    )
)
def test_nothing_is_left_out_and_nothing_changes_but_what_is_found(pieces: list[str]) -> None:
    text = "\n".join(pieces)
    whole = view(text)
    done = 0
    for leaf, inner in whole.inner:
        assert leaf.begin >= done and not any(c.isalnum() for c in text[done : leaf.begin])
        assert leaf.codec.decode(text[leaf.begin : leaf.end]) == inner.text
        done = leaf.end
    assert not whole.inner or not any(c.isalnum() for c in text[done:])
    safe = MASK.read(text)
    assert "hunter22!" not in safe.text or "password" not in text
    assert safe.spans or safe.text == text


def test_json_stays_json() -> None:
    body = {
        "a": 4012888888881881,
        "password": 'x9y!!7\\"z',
        "l": ["ada@example.org", 1.50, None],
        "n": {"m": "ok"},
    }
    safe = json.loads(MASK.read(json.dumps(body, indent=2)).text)
    assert safe == {
        "a": "[CREDIT_CARD]",
        "password": "[PASSWORD]",
        "l": ["[EMAIL]", 1.5, None],
        "n": {"m": "ok"},
    }


def test_names_and_what_stands_between_are_read_too() -> None:
    for text in (
        '{"ada@example.org": 1, "a": "b"}',
        "a: b\n# to ada@example.org\nc: d\n",
        "<a b='c'><!-- ada@example.org --></a>",
        "x,y\n1,2\nada@example.org\n",
        '{"a": "b", ada@example.org: [}',
    ):
        assert "ada@" not in MASK.read(text).text, text


def test_nesting_is_bounded_and_what_is_deeper_is_read_all_the_same() -> None:
    text = json.dumps({"mail": "ada@example.org"})
    for _ in range(MAX_NESTED + 4):
        text = json.dumps({"a": text})
    assert "ada@example.org" not in MASK.read(text).text
    for deep in (
        "[" * 5000 + '"ada@example.org"',
        '{"a":' * 5000 + '"ada@example.org"',
        "<a>" * 5000 + "ada@example.org",
    ):
        assert "ada@" not in MASK.read(deep).text


HOSTILE = {
    "braces": '{"', "single quotes": "{'", "members": '{"a":', "arrays": "[[", "bare": "{a:", "backslashes": '{"\\',
    "tags": "<a>", "ends": "</a>", "elements": "<a></a>", "comments": "<!--", "cdata": "<![CDATA[",
    "attributes": '<a b="c" ', "spaces": "<a " + " " * 50, "names": "a: ", "lines": "a: b\n", "items": "- a:\n",
    "sections": "[a]\n", "below": "a:\n  b\n", "triple": 'a = """\n', "headers": "a,b\n", "quotes": 'a,b\n"',
    "cells": '"",', "bars": "| a ", "queries": "?a=b&c", "pairs": "a=b&", "strings in JSON": '{"a":"{\\"',
    "names of secrets": "password ", "secrets": "password: a1\n",
    "commands": "curl -u a ", "inputs": "<input a=b ", "columns": "USER  PASSWORD\n", "calls": "login(", "prose":
    "password for a b c d e f g ", "inserts": "(password) VALUES (", "attributes of secrets": '="password" value ',
    "SQL": "identified with ", "blocks": '"password" {', "pairs of names": '["password",', "one line": "password|",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_take_no_more_than_their_length(name: str) -> None:
    """32 times as long takes about 32 times as long; with a square in it, it would be hundreds of
    times.
    """

    def seconds(size: int) -> float:
        text = HOSTILE[name] * (size // len(HOSTILE[name]))
        begun = time.process_time()
        view(text)
        return time.process_time() - begun

    gc.disable()
    try:
        bound = 100 * max(0.003, min(seconds(8_000) for _ in range(3)))
        # A second time only where something else may have been at work.
        assert any(seconds(256_000) < bound for _ in range(2))
    finally:
        gc.enable()


def test_prose_is_quiet_and_loses_nothing() -> None:
    assert MASK.read(prose(500_000)).spans == ()
    for pattern in PATTERNS:
        for text in pattern.yes:
            assert pattern.name in {span.type for span in MASK.read(text).spans}, text
    for case in heldout.cases():
        if any(span.type == case.type for span in ENGINE.find(case.text)):
            assert case.type in {span.type for span in MASK.read(case.text).spans}, case.text


def test_source_code_is_quiet() -> None:
    size, counts = 0, Counter[str]()
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if {"test", "tests", "site-packages", "dist-packages"} & set(path.parts):
            continue
        text = path.read_text(errors="replace")
        size += len(text)
        counts.update(span.type for span in MASK.read(text).spans)
    others = counts.total() - sum(
        counts[kind] for kind in ("EMAIL", "COMPANY_NAME", "IPV4", "IPV6")
    )
    assert counts.total() <= 10 * size / 1e6 and others <= size / 1e6, (size, counts)
