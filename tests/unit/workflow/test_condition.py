"""Conditions: both spellings, what is refused and why, and that nothing is without a bound."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.errors import AkiosError
from akiosd.workflow.condition import parse_condition
from akiosd.workflow.condition_tokens import MAX_DEPTH, MAX_LENGTH
from akiosd.workflow.evaluate import MAX_BYTES, holds
from akiosd.workflow.references import Done, Scope

SCOPE = Scope(
    inputs={"n": 3, "t": "abc", "items": [1, "b"], "flag": True, "none": None, "f": 0.5, "e": ""},
    steps={"a": Done("success", {"n": 5, "text": "an x", "map": {"k": 1}})},
    matrix={"os": "linux"},
    previous="a",
    numbers={1: "a"},
)

TRUE = (
    "'x' in previous_output and step_1_output['n'] > 3",  # the old form, as its users wrote it
    "previous_output == 'an x'",
    "inputs.n == 3 && !(inputs.t == 'b') || false",
    "inputs.n == 3 and not inputs.t == 'b' or False",
    "1 < inputs.n <= 3 < 4",
    "inputs.t.startsWith('ab') ? inputs.flag : false",
    "inputs.t.endsWith('bc') and contains(inputs.t, 'b')",
    "matches(inputs.t, '^a.c$')",
    "has(steps.a.outputs.n) and not has(steps.a.outputs.m)",
    "size(inputs.items) == 2 and size(inputs.t) == 3 and size(steps.a.outputs.map) == 1",
    "'b' in inputs.items and 2 not in inputs.items and 'k' in steps.a.outputs.map",
    "inputs.none == null and inputs.n != None",
    "steps['a'].status == 'success' and matrix.os in ['linux', 'mac']",
    "inputs.n + 2 * -1 == 1 and inputs.n % 2 == 1 and inputs.f < 1",
    "inputs.t + 'd' == \"abcd\"",
    "r'\\d' == '\\\\d'",
    "inputs.items[inputs.n - 3] == 1",
    "true",
    "false or false or false or inputs.flag",
    "false and inputs.nothing == 1 == false or true",
)


@pytest.mark.parametrize("source", TRUE)
def test_a_condition_holds_and_its_opposite_does_not(source: str) -> None:
    assert holds(parse_condition(source), SCOPE) is True
    assert holds(parse_condition(f"not ({source})"), SCOPE) is False


REFUSED = {
    # Always true elsewhere: a quoted expression, a template in it, a text beside or.
    "'inputs.n == 4'": "in quotes",
    "'${{ inputs.n == 4 }}'": "is not filled in",
    "'${{ inputs.t }}' == ''": "is not filled in",
    "'{inputs.t}' == 'abc'": "is not filled in",
    "${{ inputs.n == 4 }}": "not a template",
    "{inputs.t} == 'a'": "not a template",
    "inputs.t == 'a' or 'b'": "always count as true",
    "'a' and inputs.flag": "always count as true",
    "not 'a'": "always count as true",
    "'a' ? true : false": "always count as true",
    "[1]": "a value and no condition",
    # Attributes, calls, programs.
    "inputs.t.__class__ == 1": "no attributes",
    "inputs.t.upper() == 'A'": "no function",
    "__import__('os')": "no function",
    "eval('1')": "no function",
    "inputs.t.startswith('a')": "no function",
    "lambda: 1": "no 'lambda'",
    "inputs.t := 1": "'=' means nothing",
    "[x for x in inputs.items]": "no 'x'",
    "other == 1": "no 'other'",
    # Bounds.
    "2 ** 9 > 1": "powers",
    "inputs.n / 2 > 1": "division",
    "9223372036854775808 > 1": "64 bits",
    "1e999 > 1": "64 bits",
    "(" * 200 + "true" + ")" * 200: f"deeper than {MAX_DEPTH}",
    "not " * 200 + "true": f"deeper than {MAX_DEPTH}",
    "!" * 200 + "true": f"deeper than {MAX_DEPTH}",
    "[" * 200: f"deeper than {MAX_DEPTH}",
    "true ? " * 200 + "true": f"deeper than {MAX_DEPTH}",
    "true or " * 300 + "true": "at most 512 words",
    "'" + "a" * MAX_LENGTH + "' == ''": "at most 4,096 characters",
    # Slips of the pen.
    "inputs.n = 3": "'=' means nothing",
    "inputs.n == 3 inputs.t": "ends before",
    "inputs.n & 3": "'&' means nothing",
    "inputs.n == 3 and": "the condition ends where a value belongs",
    "": "the condition ends where a value belongs",
    "'abc": "no end",
    "'\\q' == ''": "means nothing in a text",
    "has('a')": "has() takes a reference",
    "size(inputs.t, 1) == 1": "size() takes one value",
    "1 in [1] in [2]": "'in' cannot be chained",
}


@pytest.mark.parametrize("source", REFUSED, ids=lambda source: source[:30])
def test_what_is_refused_says_why_and_where(source: str) -> None:
    with pytest.raises(AkiosError) as caught:
        parse_condition(source)
    assert REFUSED[source] in caught.value.what
    assert "column" in caught.value.where


ERRORS = {
    "inputs.m == 1": "has no value",
    "inputs.t == 3": "are never equal",
    "inputs.flag == 1": "are never equal",
    "inputs.t > 3": "cannot be ordered",
    "inputs.flag > false": "cannot be ordered",
    "inputs.t": "neither true nor false",
    "inputs.e": "neither true nor false",
    "not inputs.t": "neither true nor false",
    "inputs.n and true": "neither true nor false",
    "inputs.none": "neither true nor false",
    "3 in inputs.t": "cannot be looked for",
    "inputs.items[2] == 1": "has 2 items",
    "inputs.items.a == 1": "no key",
    "inputs.t[0] == 'a'": "no item",
    "9223372036854775807 + inputs.n > 1": "64 bits",
    "inputs.n % 0 == 1": "1 or more on its right",
    "size(inputs.n) == 1": "no size",
    "matches(inputs.t, '(')": "not a pattern",
    "matches(inputs.t, '(?=a)')": "not a pattern",
    "steps.b.status == 'success'": "has no value",
}


@pytest.mark.parametrize("source", ERRORS)
def test_an_error_is_an_error_and_never_false(source: str) -> None:
    node = parse_condition(source)
    with pytest.raises(AkiosError) as caught:
        holds(node, SCOPE)
    assert ERRORS[source] in caught.value.what


def test_large_values_have_a_budget() -> None:
    most = MAX_BYTES // 2 + 1
    scope = Scope(inputs={"a": "x" * most, "b": "x" * most, "deep": _nested(100), "few": "x" * 10})
    with pytest.raises(AkiosError, match="looks at more than"):
        holds(parse_condition("inputs.a == inputs.b"), scope)
    with pytest.raises(AkiosError, match="too deep"):
        holds(parse_condition("inputs.deep == inputs.deep"), scope)
    with pytest.raises(AkiosError, match="would take too long"):
        holds(parse_condition("matches(inputs.a, '(x+x+)+y')"), scope)
    assert holds(parse_condition("inputs.a.startsWith('xx')"), scope), "the control"
    assert not holds(parse_condition("matches(inputs.few, '(x+x+)+y')"), scope), "the control"


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


_VOCABULARY = (
    "inputs steps matrix previous_output step_1_output . [ ] ( ) and or not in && || ! ? : == != <"
    " > <= >= + - * % ** / 'a' \"b\" 1 2.5 true null has size matches , n t items a __class__ {"
    " } $ \\ = x"
)
_WORDS = st.sampled_from(_VOCABULARY.split(" "))


@given(st.lists(_WORDS, max_size=40).map(" ".join) | st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_condition_or_refused_in_words(source: str) -> None:
    """Nothing else comes out: no other exception, and no value but true and false."""
    try:
        assert holds(parse_condition(source), SCOPE) in (True, False)
    except AkiosError as error:
        assert error.what
