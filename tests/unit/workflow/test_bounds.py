"""Bounds and refusals of conditions and references that nobody meets with good values."""

from __future__ import annotations

import random
from typing import Any

import pytest

from akiosd.errors import AkiosError
from akiosd.workflow.condition import parse_condition
from akiosd.workflow.evaluate import holds
from akiosd.workflow.interpolate import fill
from akiosd.workflow.references import Done, Scope
from akiosd.workflow.schema import read_workflow

TEXT = "".join(random.Random(1).choices("ab", k=200_000))


def test_matches_has_a_bound_of_time() -> None:
    """RE2 is linear in the text for one pattern; a pattern can make each character dear."""
    node = parse_condition("inputs.v.matches(inputs.p)")
    with pytest.raises(AkiosError, match="too long"):
        holds(node, Scope(inputs={"v": TEXT, "p": "a.{900}q"}))
    assert holds(node, Scope(inputs={"v": TEXT, "p": "^[ab]+$"}))
    assert not holds(node, Scope(inputs={"v": TEXT[:2_000], "p": "a.{900}q"}))


@pytest.mark.parametrize(
    "source", ["size(inputs.l)", "inputs.n + 1", "inputs.on ? 'a' : 'b'", "true and -inputs.n"]
)
def test_what_can_be_no_condition_is_refused_by_the_parser(source: str) -> None:
    with pytest.raises(AkiosError, match="no condition"):
        parse_condition(source)
    parse_condition(f"({source.partition(' and ')[2] or source}) == inputs.x")


def test_one_is_not_true_at_any_depth() -> None:
    scope = Scope(inputs={"l": [1, [True]]})
    assert holds(parse_condition("inputs.l != [true, [1]] and !(true in inputs.l)"), scope)
    assert holds(parse_condition("inputs.l == [1, [true]] and 1 in inputs.l"), scope)


def test_a_value_nested_without_end_is_an_error() -> None:
    value: Any = "x"
    for _ in range(5_000):
        value = [value]
    with pytest.raises(AkiosError, match="nested"):
        fill("{inputs.v}", Scope(inputs={"v": value}))


def test_a_key_of_what_came_before_is_found() -> None:
    scope = Scope(steps={"a": Done("success", {"text": "t", "n": 4})}, previous="a")
    assert fill("{previous_output} {previous_output[n]}", scope) == "t 4"
    assert holds(parse_condition("previous_output['n'] == 4 and previous_output == 't'"), scope)


def test_half_a_character_is_refused() -> None:
    with pytest.raises(AkiosError, match="half a character"):
        read_workflow(b'name: "\\uD800"\nsteps: []\n', "w.yml")
    read_workflow(b'name: "\\U0001F600"\nsteps: []\n', "w.yml")
