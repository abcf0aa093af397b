"""Checks one step: its agent's fields, its references, its condition, its commands.

What an agent takes is in its own forms (:mod:`akiosd.workflow.steps.kinds`); a value with a
reference in it is checked once it is filled in.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from akiosd.errors import AkiosError
from akiosd.values.workflow import MAX_INSTANCES, Step
from akiosd.workflow.allowed_programs import program_not_allowed
from akiosd.workflow.condition import names_in, parse_condition
from akiosd.workflow.forms import fields_of
from akiosd.workflow.interpolate import (
    Piece,
    PieceError,
    Reference,
    Variable,
    has_reference,
    pieces_of,
)
from akiosd.workflow.references import Known, Path, check_path, find_unquoted, show
from akiosd.workflow.schema import Places, plain_words, what_to_write
from akiosd.workflow.shell_traps import check_words
from akiosd.workflow.steps.kinds import find_action


class StepChecker:
    """Every mistake goes to ``places``."""

    def __init__(
        self, step: Step, path: Path, known: Known, variables: frozenset[str], places: Places
    ) -> None:
        self._step, self._path, self._known = step, path, known
        self._variables, self._places = variables, places

    def check(self) -> None:
        step = self._step
        self._check_condition()
        for key, value in (("parameters", step.parameters), ("config", step.config)):
            self._check_references(value, (key,), settled=key == "config")
        self._check_matrix()
        self._check_outputs()
        if step.agent is UNSET:
            self._add((), "the step has no agent", "write agent: llm, or another kind of step")
        elif not step.action:
            self._add((), "the step has no action", f"say what the {step.agent} step does")
        else:
            self._check_fields(str(step.agent))

    def _add(self, path: Path, what: str, next: str) -> None:
        self._places.add((*self._path, *path), what, next)

    def _check_condition(self) -> None:
        condition = self._step.condition
        if not isinstance(condition, str):
            return
        try:
            node = parse_condition(condition)
        except AkiosError as error:
            self._add(("if",), f"if: {error.what} ({error.where})", error.next)
            return
        for path in names_in(node):
            self._check_name(path, ("if",))

    def _check_references(self, value: Any, at: Path, *, settled: bool) -> None:
        for path, name in find_unquoted(value):
            what = f"{{{name}}} stands without quotes: YAML reads a table with one key"
            self._add((*at, *path), what, f'put it in quotes: "{{{name}}}"')
        try:
            found = list(pieces_of(value))
        except PieceError as error:
            self._add((*at, *error.path), error.what, error.next)
            return
        for path, pieces in found:
            for piece in pieces:
                self._check_piece(piece, (*at, *path), settled=settled)

    def _check_piece(self, piece: Piece, at: Path, *, settled: bool) -> None:
        if isinstance(piece, Variable) and piece.name not in self._variables:
            what = f"${{{piece.name}}} is not declared"
            self._add(at, what, f"write env: [{piece.name}] at the top; $${{ is the text itself")
        elif isinstance(piece, Reference):
            if settled and piece.path[0] not in ("inputs", "matrix"):
                what = f"{{{show(piece.path)}}} in config: settings are known before the run"
                self._add(at, what, "move it to parameters, or use {inputs.NAME}")
                return
            self._check_name(piece.path, at)

    def _check_name(self, path: Path, at: Path) -> None:
        error = check_path(path, self._known)
        if path[0] == "outputs" and at[0] != "outputs":
            error = AkiosError(
                "{outputs.KEY} means this step's own outputs, and can stand only in its section"
                " outputs",
                next="for outputs of an earlier step: {steps.NAME.outputs.KEY}",
            )
        if error is not None:
            self._add(at, error.what + (f" ({error.where})" if error.where else ""), error.next)

    def _check_matrix(self) -> None:
        count = 1
        for name, value in self._step.matrix.items():
            self._check_references(value, ("matrix", name), settled=False)
            if isinstance(value, list):
                count *= len(value)
            elif not _is_whole_reference(value) and not any(find_unquoted(value)):
                what = f"matrix.{name} is not a list"
                hint = 'write a list, or one reference such as "{inputs.x}"'
                self._add(("matrix", name), what, hint)
        if count > MAX_INSTANCES:
            what = f"the matrix has {count:,} combinations; {MAX_INSTANCES} are the most"
            self._add(("matrix",), what, "make its lists shorter")

    def _check_outputs(self) -> None:
        for name, value in self._step.outputs.items():
            self._check_references(value, ("outputs", name), settled=False)

    def _check_fields(self, agent: str) -> None:
        try:
            action = find_action(agent, self._step.action)
        except AkiosError as error:
            self._add(
                (error.where if error.where == "action" else "agent",), error.what, error.next
            )
            return
        for key, form in (("config", action.config), ("parameters", action.parameters)):
            self._check_form(form, getattr(self._step, key), key)
        check_words(agent, self._step, self._add)
        if agent == "tool" and (program := program_not_allowed(self._step)):
            what = f"this step may not run {program}: config.allow does not name it"
            hint = f"write config: {{allow: [{program}]}}, if the workflow is to run it"
            self._add(("config",), what, hint)

    def _check_form(self, form: Any, given: Mapping[str, Any], key: str) -> None:
        fields = fields_of(form)
        for name, value in given.items():
            if name not in fields:
                near = difflib.get_close_matches(name, fields, 1)
                hint = (
                    f"did you mean {near[0]}?" if near else f"known: {', '.join(fields) or 'none'}"
                )
                self._add((key, name), f"{self._step.agent} has no {key}.{name}", hint)
            elif not _refers(value) and not any(find_unquoted(value)):
                self._check_type(fields[name].type, value, (key, name))
        for field in fields.values():
            if field.required and field.encode_name not in given:
                what = f"{self._step.agent} {self._step.action} needs {key}.{field.encode_name}"
                self._add((key,), what, f"write {field.encode_name}: there")

    def _check_type(self, form: Any, value: Any, at: Path) -> None:
        try:
            msgspec.convert(value, form, strict=False)
        except msgspec.ValidationError as error:
            what = f"{show(at)}: {plain_words(str(error))}"
            self._add(at, what, what_to_write(form, value, str(error)))


def _refers(value: Any) -> bool:
    """Whether it is filled in later; what is wrong in a text is told elsewhere."""
    try:
        return has_reference(value)
    except AkiosError:
        return True


def _is_whole_reference(value: Any) -> bool:
    try:
        found = list(pieces_of(value))
    except AkiosError:
        return True
    return (
        isinstance(value, str) and len(found[0][1]) == 1 and isinstance(found[0][1][0], Reference)
    )
