"""Reads a workflow file: YAML text → structs, with every mistake at its line and column.

Nothing is believed of the text: its size, depth and number of nodes are bounded before it is
looked at; anchors, aliases, tags and keys that stand twice are refused
(:mod:`akiosd.policy.yaml_lines`).  The old form of AKIOS 1.4 is read too
(:mod:`akiosd.workflow.old_form`).
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from typing import Any, NamedTuple

import msgspec

from akiosd.errors import AkiosError
from akiosd.policy.schema import Position
from akiosd.policy.yaml_lines import Mark, load_strict
from akiosd.values.units import KIB
from akiosd.values.workflow import Part, Workflow
from akiosd.workflow.forms import fields_of
from akiosd.workflow.old_form import renew

MAX_BYTES = 256 * KIB
MAX_DEPTH = 32
NOUN = "the workflow"
_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "keys with values",
    "null": "nothing",
}

_HOW = {
    "true or false": "write true or false; yes, no, on and off are text",
    "a list": "write a list: [one, two], or lines below it that begin with -",
    "keys with values": "write its keys and values below it",
    "nothing": "leave it out",
}
"""What to write where the name of a type alone does not say it."""
_WANTED = re.compile(r"expected ([^,]+), got ")
_NOT_CHOSEN = re.compile(r"Invalid enum value (.*)", re.DOTALL)
_TOO_SHORT = re.compile(r"Expected `array` of length >= (\d+)")

Path = tuple[str | int, ...]


class WorkflowError(AkiosError):
    """Something in a workflow file is not acceptable."""


class Places:
    """Where things stand in a file, and the mistakes that were found so far."""

    def __init__(self, name: str, marks: dict[Path, Mark]) -> None:
        self.name, self._marks = name, marks
        self.errors: list[AkiosError] = []

    def where(self, path: Path) -> str:
        """File, line and column of a key, or of what holds it."""
        while path and path not in self._marks:
            path = path[:-1]
        line, column = self._marks.get(path, (0, 0))
        return f"{self.name}, line {line}, column {column}" if line else self.name

    def line(self, path: Path) -> int:
        """Of a key; 0 where it is not in the file."""
        return self._marks.get(path, (0, 0))[0]

    def below(self, path: Path) -> dict[Path, Position]:
        """(file, line) of all that stands below a key, as the policy language wants them."""
        return {
            own[len(path) :]: (self.name, line)
            for own, (line, _) in self._marks.items()
            if own[: len(path)] == path
        }

    def add_at(self, path: Path, error: AkiosError) -> None:
        """A mistake of the policy at ``path``, which knows its own line."""
        if error.where.startswith(self.name + ","):
            self.errors.append(WorkflowError(error.what, error.where, error.next))
        else:
            self.add(path, error.what, error.next)

    def add(self, path: Path, what: str, next: str = "") -> None:
        """One more mistake, unless it was found already."""
        error = WorkflowError(what, self.where(path), next)
        if str(error) not in map(str, self.errors):
            self.errors.append(error)


class Read(NamedTuple):
    """``workflow`` is None where there are errors.  ``notes``: what a file of AKIOS 1.4 has now."""

    workflow: Workflow | None
    places: Places
    notes: list[str]


def read_workflow(data: bytes, name: str) -> Read:
    """``name`` is the file as errors show it.  What is no YAML at all raises
    :class:`AkiosError`; all other mistakes are in ``places.errors``.
    """
    if len(data) > MAX_BYTES:
        raise WorkflowError(
            f"the file is larger than {MAX_BYTES:,} bytes",
            name,
            "workflows are short; put data into files that steps read",
        )
    content, marks = load_strict(data, name, noun=NOUN, depth=MAX_DEPTH)
    places = Places(name, marks)
    if not isinstance(content, dict):
        places.add((), "the workflow is not a table of keys", "write name: and steps:")
        return Read(None, places, [])
    notes = renew(content, marks, places.add)
    found = _Reader(places).part(Workflow, content, ())
    return Read(None if places.errors else found, places, notes)


class _Reader:
    """Plain data → structs, key by key, so that every mistake is told and not only the first."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def part(self, form: type[Part], data: Any, path: Path) -> Any:
        if not isinstance(data, dict):
            what = f"{_dotted(path)} is not a table of keys"
            hint = f"write its keys below it: {', '.join(fields_of(form))}"
            return self._places.add(path, what, hint)
        fields = fields_of(form)
        given: dict[str, Any] = {}
        for key, value in data.items():
            if key not in fields:
                self._unknown(path, str(key), tuple(fields))
            elif value is not None or key == "default":
                given[fields[key].name] = self.value(fields[key].type, value, (*path, key))
        for field in fields.values():
            if field.required and field.name not in given:
                what = f"{_dotted(path) or NOUN} has no {field.encode_name}"
                self._places.add(path, what, f"write {field.encode_name}: there")
        return None if self._places.errors else form(**given)

    def _unknown(self, path: Path, key: str, known: tuple[str, ...]) -> None:
        near = difflib.get_close_matches(key.lower(), known, 1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        self._places.add((*path, key), f"unknown key {_dotted((*path, key))!r}", hint)

    def value(self, form: Any, data: Any, path: Path) -> Any:
        """A value of a field's type; structs and lists of them are read part by part."""
        inner = _plain_type(form)
        if isinstance(inner, type) and issubclass(inner, Part):
            return self.part(inner, data, path)
        arguments = typing.get_args(inner)
        item = _plain_type(arguments[0]) if arguments else None
        if isinstance(data, list) and isinstance(item, type) and issubclass(item, Part):
            # Lengths are part of the whole type; the items are read one by one.
            self._convert(typing.Annotated[list[Any], *_metas(form)], data, path)
            return tuple(self.part(item, one, (*path, i)) for i, one in enumerate(data))
        last = _plain_type(arguments[-1]) if arguments else None
        if isinstance(data, dict) and isinstance(last, type) and issubclass(last, Part):
            for key in data:
                self._convert(arguments[0], key, (*path, key))
            return {key: self.part(last, one, (*path, key)) for key, one in data.items()}
        return self._convert(form, data, path)

    def _convert(self, form: Any, data: Any, path: Path) -> Any:
        try:
            return msgspec.convert(data, form)
        except msgspec.ValidationError as error:
            what = f"{_dotted(path)}: {plain_words(str(error))}"
            self._places.add(path, what, what_to_write(form, data, str(error)))
            return None


def plain_words(text: str) -> str:
    """msgspec's words, with the names that people have for its types."""
    what = text.split(" - at `")[0]
    if chosen := _NOT_CHOSEN.fullmatch(what):
        return f"{chosen[1]} cannot be written here"
    if shortest := _TOO_SHORT.fullmatch(what):
        return f"at least {shortest[1]} is needed"
    for name, word in _EXPECTED.items():
        what = what.replace(f"`{name}`", word).replace(f"`{name} | null`", word)
    for regex, words in (
        ("'^[A-Za-z_][A-Za-z0-9_-]{0,63}$'", "letters, digits, _ and -, at most 64"),
        ("'^[A-Za-z_][A-Za-z0-9_]{0,127}$'", "the name of a variable"),
    ):
        what = what.replace(f"matching regex {regex}", f"of {words}")
    return what[:1].lower() + what[1:]


def _plain_type(form: Any) -> Any:
    """Without ``Annotated`` and without the types that stand for "left out"."""
    if typing.get_origin(form) is typing.Annotated:
        return _plain_type(typing.get_args(form)[0])
    if typing.get_origin(form) in (types.UnionType, typing.Union):
        own = [one for one in typing.get_args(form) if one not in (msgspec.UnsetType, type(None))]
        return _plain_type(own[0]) if len(own) == 1 else form
    return form


def _metas(form: Any) -> tuple[Any, ...]:
    is_annotated = typing.get_origin(form) is typing.Annotated
    return typing.get_args(form)[1:] if is_annotated else (msgspec.Meta(),)


def what_to_write(form: Any, data: Any, error: str) -> str:
    """What somebody writes instead of a value that msgspec refused with these words."""
    inner = _plain_type(form)
    if typing.get_origin(inner) is typing.Literal:
        choices = [str(choice) for choice in typing.get_args(inner) if choice is not None]
        near = difflib.get_close_matches(str(data), choices, 1)
        return f"did you mean {near[0]}?" if near else f"write one of: {', '.join(choices)}"
    if _TOO_SHORT.match(error):
        return "add what is missing"
    wanted = _WANTED.match(plain_words(error))
    if wanted is None or " - at `" in error:
        return "mend the value"
    return _HOW.get(wanted[1], f"write {wanted[1]}")


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
