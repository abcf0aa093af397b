"""References in values: data only, put in once, whole, with their types."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.errors import AkiosError
from akiosd.workflow.interpolate import fill
from akiosd.workflow.references import Done, Scope

HOSTILE = "{inputs.secret} ${HOME} {{ ${{ x }} {steps.a.outputs.text} '; rm -rf / #"
SCOPE = Scope(
    inputs={"n": 3, "t": HOSTILE, "items": [1, {"a": "{inputs.n}"}], "flag": True, "none": None},
    steps={"a-b": Done("success", {"text": "words", "json": {"k": [10]}, "odd key": 1})},
    matrix={"os": "linux"},
    variables={"TEAM": HOSTILE, "EMPTY": ""},
    previous="a-b",
    numbers={1: "a-b"},
)

FILLED: tuple[tuple[Any, Any], ...] = (
    ("{inputs.n}", 3),
    ("{inputs.items}", [1, {"a": "{inputs.n}"}]),
    ("{inputs.none}", None),
    ("n={inputs.n}, {inputs.flag}, {inputs.none}", "n=3, true, null"),
    ("{inputs.t}", HOSTILE),
    ("a {inputs.t} b", f"a {HOSTILE} b"),
    ("{inputs.t}{inputs.t}", HOSTILE * 2),
    ("${TEAM}", HOSTILE),
    ("${NONE:-a b}", "a b"),
    ("${EMPTY:-other}", "other"),
    ("${EMPTY}", ""),
    ("{steps.a-b.outputs.json.k[0]}", 10),
    ("{steps.a-b.outputs['odd key']}", 1),
    ("{steps.a-b.output} {previous_output} {step_1_output}", "words words words"),
    ("{step_1_output[json]}", {"k": [10]}),
    ("{matrix.os}", "linux"),
    ('{"a": {inputs.items}}', '{"a": [1,{"a":"{inputs.n}"}]}'),
    ("{name} {a b} {} {0} {x.y}", "{name} {a b} {} {0} {x.y}"),
    ("{{inputs.n} $${TEAM}", "{inputs.n} ${TEAM}"),
    ({"k": ["{inputs.n}", 5, None]}, {"k": [3, 5, None]}),
)


@pytest.mark.parametrize(("value", "filled"), FILLED, ids=lambda value: str(value)[:40])
def test_a_value_is_put_in_as_it_is(value: Any, filled: Any) -> None:
    assert fill(value, SCOPE) == filled


REFUSED = {
    "${{ inputs.n }}": "is not a reference as AKIOS writes",
    "{{inputs.n}}": "is not a reference as AKIOS writes",
    "{{ steps.a.outputs.b }}": "is not a reference as AKIOS writes",
    "{input.n}": "names nothing",
    "{step.a.outputs.b}": "names nothing",
    "{inputs}": "not a whole reference",
    "{inputs.n!r}": "not a whole reference",
    "{inputs.n.__class__}": "has no value",
    "{inputs.m}": "has no value",
    "{steps.a-b.outputs.txt}": "has no value",
    "${HOME}": "is not set",
    "${1}": "not a variable",
    "${X": "not a variable",
    "${X:-{}}": "not a variable",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_looks_like_a_reference_and_is_none_is_refused(text: str) -> None:
    with pytest.raises(AkiosError) as caught:
        fill(text, SCOPE)
    assert REFUSED[text] in caught.value.what and caught.value.next


def test_nothing_is_cut() -> None:
    text = "x" * 5_000
    scope = Scope(inputs={"t": text})
    assert fill(["{inputs.t}", "a{inputs.t}"], scope) == [text, "a" + text]
    with pytest.raises(AkiosError, match=r"10,001 bytes\); AKIOS does not shorten"):
        fill(["{inputs.t}", "a{inputs.t}"], scope, limit=10_000)


@given(st.recursive(st.text() | st.integers() | st.none(), st.lists, max_leaves=5))
@settings(max_examples=100, deadline=None)
def test_any_value_comes_through_unchanged_and_unread(value: Any) -> None:
    scope = Scope(inputs={"v": value, "secret": "s3cret"})
    assert fill("{inputs.v}", scope) == value
    shown = (
        value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    )
    assert fill("<{inputs.v}>", scope) == f"<{shown}>"
