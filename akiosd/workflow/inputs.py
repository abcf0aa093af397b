"""The values that whoever starts a workflow gives, checked against what the file declares."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from akiosd.errors import AkiosError
from akiosd.values.workflow import Input
from akiosd.workflow.references import describe

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "text": ((str,), "a text"),
    "integer": ((int,), "a whole number, as in 3"),
    "number": ((int, float), "a number, as in 0.5"),
    "boolean": ((bool,), "true or false"),
    "list": ((list,), "a list, as in [1, 2]"),
    "map": ((dict,), 'keys with values, as in {"a": 1}'),
}


def read_given(words: Mapping[str, str], declared: Mapping[str, Input]) -> dict[str, Any]:
    """Values from a command line, by name: text as it stands, all else as JSON.  Raises
    :class:`AkiosError`.
    """
    given: dict[str, Any] = {}
    for name, word in words.items():
        given[name] = word
        if name in declared and declared[name].type != "text":
            try:
                given[name] = json.loads(word)
            except (ValueError, RecursionError):
                raise _refused(name, declared[name], f"{word[:80]!r} is none") from None
    return given


def settle_inputs(given: Mapping[str, Any], declared: Mapping[str, Input]) -> dict[str, Any]:
    """Every declared input with its value.  Raises :class:`AkiosError`."""
    for name in given:
        if name not in declared:
            near = difflib.get_close_matches(name, declared, 1)
            hint = (
                f"did you mean {near[0]}?" if near else f"it has: {', '.join(declared) or 'none'}"
            )
            raise AkiosError(f"the workflow has no input {name!r}", "inputs", hint)
    values: dict[str, Any] = {}
    for name, form in declared.items():
        value = given.get(name, form.default)
        if name not in given and not has_default(form):
            what = f"the input {name} is not given"
            raise AkiosError(what, "inputs", f"give it: --input {name}=VALUE")
        check_input(name, form, value)
        values[name] = value
    return values


def known_inputs(given: Mapping[str, Any], declared: Mapping[str, Input]) -> dict[str, Any]:
    """As :func:`settle_inputs`, without those that nobody gave a value yet."""
    there = {n: form for n, form in declared.items() if n in given or has_default(form)}
    return settle_inputs(given, declared if given.keys() - declared.keys() else there)


def has_default(form: Input) -> bool:
    """Whether the file says what holds where nothing is given."""
    return form.default is not msgspec.UNSET


def check_input(name: str, form: Input, value: Any) -> None:
    """Raises :class:`AkiosError` where a value is not of the declared type."""
    types, _ = _TYPES[form.type]
    is_flag = isinstance(value, bool)
    if not isinstance(value, types) or (is_flag and form.type != "boolean"):
        raise _refused(name, form, f"this is {describe(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise _refused(name, form, "this is no finite number")
    if form.choices and value not in form.choices:
        choices = ", ".join(map(str, form.choices))
        raise AkiosError(
            f"the input {name} must be one of {choices}", f"inputs.{name}", "give one of them"
        )


def _refused(name: str, form: Input, why: str) -> AkiosError:
    what = f"the input {name} takes {_TYPES[form.type][1]}; {why}"
    return AkiosError(what, f"inputs.{name}", f"give {_TYPES[form.type][1]}")
