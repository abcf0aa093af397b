"""The words of a condition, and the nodes that they become.

Bounds are part of the language: a condition is short, flat, and its numbers fit into 64 bits.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from akiosd.errors import AkiosError
from akiosd.workflow.references import Path

MANUAL = "see CONDITIONS in akios-workflow(5)"
_SHORTER = "make it shorter, or spread it over several steps"
MAX_LENGTH = 4_096
MAX_DEPTH = 32
MAX_TOKENS = 512
INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<number>[0-9][0-9A-Za-z_.]*)
      | (?P<text>[rR]?(?:'(?:[^'\\\n]|\\[^\n])*'|"(?:[^"\\\n]|\\[^\n])*"))
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>\*\*|&&|\|\||==|!=|<=|>=|[<>!()\[\],.?:+*%/-])""",
    re.VERBOSE,
)
_INTEGER, _FRACTION = re.compile(r"[0-9]{1,19}\Z"), re.compile(r"[0-9]{1,30}\.[0-9]{1,30}\Z")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_TEMPLATE = re.compile(
    r"\$?\{\{|\$\{|\{(?:inputs|steps|matrix|previous_output|step_[0-9]+_output)\b"
)
_INSTEAD = {
    "=": "write '==' to compare",
    "&": "write 'and' or '&&'",
    "|": "write 'or' or '||'",
}
CONSTANTS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}


class Token(NamedTuple):
    """``kind``: number, text, name, sign, or end.  ``column`` counts from 1."""

    kind: str
    word: str
    column: int
    value: Any = None


class Literal(NamedTuple):
    value: Any


class Items(NamedTuple):
    """A list of expressions."""

    items: tuple[Node, ...]


class Name(NamedTuple):
    """A reference from its root on, as far as its keys are written as names, texts or numbers."""

    path: Path


class Index(NamedTuple):
    """One step further into a value, by a key that is known only then."""

    value: Node
    key: Node


class Unary(NamedTuple):
    """``not`` or ``-``."""

    sign: str
    value: Node


class Binary(NamedTuple):
    """``and or == != < <= > >= in + - * %``."""

    sign: str
    left: Node
    right: Node


class Choice(NamedTuple):
    condition: Node
    yes: Node
    no: Node


class Call(NamedTuple):
    """One of the functions of :mod:`akiosd.workflow.evaluate`."""

    function: str
    arguments: tuple[Node, ...]


Node = Literal | Items | Name | Index | Unary | Binary | Choice | Call
"""Every kind of node there is: what the evaluator does not know cannot be written."""


def read_tokens(source: str) -> list[Token]:
    """The words of a condition, and an end.  Raises :class:`AkiosError`."""
    if len(source) > MAX_LENGTH:
        raise refuse(
            f"a condition has at most {MAX_LENGTH:,} characters, and this one {len(source):,}",
            1,
            _SHORTER,
        )
    tokens, at = [], 0
    while at < len(source):
        found = _TOKEN.match(source, at)
        if found is None:
            raise _strange(source, at)
        at = found.end()
        if found.lastgroup != "space":
            tokens.append(_token(found, found.start() + 1))
        if len(tokens) > MAX_TOKENS:
            what = f"a condition has at most {MAX_TOKENS} words"
            raise refuse(what, found.start() + 1, _SHORTER)
    tokens.append(Token("end", "the end", len(source) + 1))
    return tokens


def refuse(what: str, column: int, next: str = MANUAL) -> AkiosError:
    """An error of the condition's text; who read the file puts file and line before it."""
    return AkiosError(what, f"column {column} of the condition", next)


def _token(found: re.Match[str], column: int) -> Token:
    kind, word = str(found.lastgroup), found[0]
    if kind == "number":
        return Token(kind, word, column, _read_number(word, column))
    if kind == "text":
        return Token(kind, word, column, _read_text(word, column))
    return Token(kind, word, column)


def _read_number(word: str, column: int) -> int | float:
    if _INTEGER.match(word) and int(word) <= INT_MAX:
        return int(word)
    if _FRACTION.match(word):
        return float(word)
    raise refuse(
        f"{word[:40]!r} is not a number of 64 bits",
        column,
        "write digits, and a point where needed",
    )


def _read_text(word: str, column: int) -> str:
    is_raw = word[0] in "rR"
    inner = word[2:-1] if is_raw else word[1:-1]
    template = _TEMPLATE.search(inner)
    if template is not None:
        raise refuse(
            f"{template[0]!r} in a text is not filled in: the text would be compared as it stands",
            column,
            "name the value itself, as in inputs.x == 'yes'",
        )
    return inner if is_raw else _ESCAPE.sub(lambda found: _unescape(found[1], column), inner)


def _unescape(letter: str, column: int) -> str:
    if len(letter) == 5:
        return chr(int(letter[1:], 16))
    if letter not in _ESCAPES:
        raise refuse(
            f"\\{letter} means nothing in a text", column, r"write \\ for a backslash, or r'...'"
        )
    return _ESCAPES[letter]


def _strange(source: str, at: int) -> AkiosError:
    rest = source[at : at + 2]
    if _TEMPLATE.match(source, at) or rest[:1] in ("{", "$"):
        return refuse(
            f"{source[at : at + 20]!r}: a condition is not a template",
            at + 1,
            "name values by themselves, as in steps.check.outputs.count > 3",
        )
    if rest[:1] in ("'", '"'):
        return refuse("the text has no end", at + 1, "close the quotes in the same line")
    sign = rest[:1]
    what = f"{sign!r} means nothing in a condition"
    if sign in _INSTEAD:
        return refuse(what, at + 1, _INSTEAD[sign])
    return refuse(what, at + 1)
