"""References in values: ``{steps.NAME.outputs.key}``, ``{inputs.x}``, ``{previous_output}``,
``{step_1_output[key]}``, ``${NAME:-default}``.

What a reference brings is data: it is put in once and never read again for references.  Text that
is one reference and nothing else keeps the type of the value.  Nothing is cut: what is too large is
an error that says its size.  ``{{`` before a name, and ``$${``, stand for themselves.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from akiosd.errors import AkiosError
from akiosd.values.units import MIB, format_size
from akiosd.workflow.references import NUMBERED, ROOTS, Path, Scope, look_up, read_path, show

MAX_VALUES = 16 * MIB
"""Bytes of all values of a step together, as JSON would write them; see StepRequest."""
_BEGINS = re.compile(
    r"\$\$\{|\$\{\{|\$\{([^{}]*)\}|\$\{|\{\{(?=\s*[A-Za-z_])|\{([A-Za-z_][A-Za-z0-9_-]*)([.\[][^{}\n]*)?\}"
)
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?\Z", re.DOTALL)
_NAMES = re.compile(
    r"\s*(inputs|steps?|matrix|outputs|env|secrets|github|previous_output|step_[0-9]+_output)\b"
)
_TWICE_CLOSED = re.compile(r"[^{}]{0,200}\}\}")
_CLOSE = 0.8


class Reference(NamedTuple):
    """A value by its path."""

    path: Path


class Variable(NamedTuple):
    """A variable of the caller; without it ``default``, None for an error."""

    name: str
    default: str | None


Piece = str | Reference | Variable


def parse_text(text: str) -> tuple[Piece, ...]:
    """Literal text and references in turn.  Raises :class:`AkiosError` for what looks like a
    reference and is none.
    """
    pieces: list[Piece] = []
    at = 0
    for found in _BEGINS.finditer(text):
        if found.start() < at:
            continue
        piece = _piece(text, found)
        if piece is None:
            continue
        pieces += [text[at : found.start()], piece]
        at = found.end()
    pieces.append(text[at:])
    return _joined(pieces)


def _piece(text: str, found: re.Match[str]) -> Piece | None:
    """What stands there; None for text that only has braces."""
    whole = found[0]
    if whole == "$${":
        return "${"
    is_name = whole == "{{" and _NAMES.match(text, found.end())
    if whole == "${{" or (is_name and _TWICE_CLOSED.match(text, found.end())):
        raise AkiosError(
            f"{text[found.start() : found.start() + 40]!r} is not a reference as AKIOS writes them",
            next="write {inputs.NAME} or {steps.NAME.outputs.KEY}; for a literal { write {{",
        )
    if whole == "{{":
        return "{" if is_name else None
    if whole.startswith("${"):
        return _variable(found[1] or "", whole)
    return _reference(found[2], found[3] or "", whole)


def _variable(inner: str, whole: str) -> Variable:
    found = _VARIABLE.match(inner)
    if found is None:
        raise AkiosError(
            f"{whole!r} is not a variable",
            next="write ${NAME} or ${NAME:-default}; for a literal ${ write $${",
        )
    return Variable(found[1], found[2])


def _reference(root: str, rest: str, whole: str) -> Reference | None:
    if root in ROOTS or NUMBERED.match(root):
        path = read_path(root, rest)
        if path is None or (len(path) < 2 and root in ("inputs", "steps", "matrix", "outputs")):
            raise AkiosError(
                f"{whole!r} is not a whole reference",
                next="write {inputs.NAME}, {matrix.NAME} or {steps.NAME.outputs.KEY}",
            )
        return Reference(path)
    # {input.x} is a slip of the pen, {"a": 1} and {name} are somebody's text.
    near = difflib.get_close_matches(root, ROOTS, 1, _CLOSE) if rest else []
    if near or root in ("step", "env"):
        meant = {"step": "steps", "env": "${NAME}"}.get(root) or near[0]
        next = f"did you mean {meant}? for a literal {{ write {{{{"
        raise AkiosError(f"{whole!r} names nothing", next=next)
    return None


def _joined(pieces: list[Piece]) -> tuple[Piece, ...]:
    found: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and found and isinstance(found[-1], str):
            found[-1] += piece
        elif piece != "":
            found.append(piece)
    return tuple(found)


def pieces_of(value: Any) -> Iterator[tuple[Path, tuple[Piece, ...]]]:
    """(path, pieces) of each text in plain data.  Raises :class:`PieceError`."""
    if isinstance(value, str):
        try:
            yield (), parse_text(value)
        except AkiosError as error:
            raise PieceError(error, ()) from None
    elif isinstance(value, Mapping | list | tuple):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in items:
            try:
                for path, pieces in pieces_of(inner):
                    yield (key, *path), pieces
            except PieceError as error:
                raise PieceError(error, (key, *error.path)) from None


class PieceError(AkiosError):
    """What is wrong in one text of plain data, and the path of that text."""

    def __init__(self, error: AkiosError, path: Path) -> None:
        super().__init__(error.what, error.where, error.next)
        self.path = path


def has_reference(value: Any) -> bool:
    """Whether anything in plain data is filled in later."""
    return any(not isinstance(p, str) for _, pieces in pieces_of(value) for p in pieces)


def fill(value: Any, scope: Scope, *, limit: int = MAX_VALUES) -> Any:
    """Plain data with every reference replaced by what it stands for.

    Raises :class:`AkiosError`: a reference without a value, or more than ``limit`` bytes in all.
    """
    return _Filler(scope, limit).fill(value, ())


class _Filler:
    """One pass over the data: what was put in is not looked at again."""

    def __init__(self, scope: Scope, limit: int) -> None:
        self._names, self._variables = scope.names(), scope.variables
        self._limit, self._used = limit, 0

    def fill(self, value: Any, path: Path) -> Any:
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, Mapping):
            return {key: self.fill(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.fill(inner, (*path, index)) for index, inner in enumerate(value)]
        return value

    def _text(self, text: str, path: Path) -> Any:
        pieces = parse_text(text)
        if len(pieces) == 1 and isinstance(pieces[0], Reference):
            value = look_up(pieces[0].path, self._names)
            self._count(len(_as_text(value).encode("utf-8", "surrogatepass")), path)
            return value
        found = ""
        for piece in pieces:
            part = piece if isinstance(piece, str) else _as_text(self._value(piece))
            self._count(len(part.encode("utf-8", "surrogatepass")), path)
            found += part
        return found

    def _value(self, piece: Reference | Variable) -> Any:
        if isinstance(piece, Reference):
            return look_up(piece.path, self._names)
        # As in a shell, ``:-`` holds for an empty variable too.
        value = self._variables.get(piece.name)
        if piece.default is not None and not value:
            return piece.default
        if value is None:
            raise AkiosError(
                f"the variable {piece.name} is not set",
                f"${{{piece.name}}}",
                f"set it, or write ${{{piece.name}:-default}}",
            )
        return value

    def _count(self, size: int, path: Path) -> None:
        self._used += size
        if self._used > self._limit:
            raise AkiosError(
                f"the values of this step are larger than {format_size(self._limit)} together: with"
                f" this one they have {format_size(self._used)} ({self._used:,} bytes); AKIOS does"
                " not shorten them",
                show(path),
                "give the step a smaller value, or write it to a file and name that",
            )


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)
    except RecursionError:
        raise AkiosError("a value is nested too deeply", next="name a part of it") from None


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value)
