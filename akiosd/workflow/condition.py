"""Reads a condition (``if``, ``condition``) into nodes of a fixed list; nothing is ever compiled.

Two spellings of one language: ``and or not in`` with Python's comparisons, as AKIOS 1.4 had, and
``&& || ! ?:`` with the functions of CEL (github.com/google/cel-spec, "Syntax").  Loosest first:

    a ? b : c  ·  or ||  ·  and &&  ·  not  ·  == != < <= > >= in  ·  + -  ·  * %  ·  ! -  ·  .x [x]

What would always be true is refused here: a condition in quotes, a text where a comparison is
due.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from akiosd.workflow.condition_tokens import (
    CONSTANTS,
    MAX_DEPTH,
    Binary,
    Call,
    Choice,
    Index,
    Items,
    Literal,
    Name,
    Node,
    Token,
    Unary,
    read_tokens,
    refuse,
)
from akiosd.workflow.evaluate import FUNCTIONS
from akiosd.workflow.references import NUMBERED, ROOTS, Path, canonical

_COMPARE = ("==", "!=", "<", "<=", ">", ">=")
_WORDS = {"and", "or", "not", "in"}
_NO_NAMES = {
    "**": "powers are not part of conditions",
    "/": "division is not part of conditions",
}
_COMPARE_VALUES = "compare the values themselves"


def parse_condition(source: str) -> Node:
    """Raises :class:`akiosd.errors.AkiosError`, ``where`` the column in ``source``."""
    parser = _Parser(read_tokens(source))
    node = parser.expression(0)
    parser.end()
    if is_value(node):
        raise refuse(
            "the whole condition is in quotes, and so it is only a text"
            if isinstance(node, Literal) and isinstance(node.value, str)
            else "this is a value and no condition",
            1,
            "write a comparison, as in inputs.x == 'yes', without quotes around the whole",
        )
    return node


def is_value(node: Node) -> bool:
    """Whether it can be neither true nor false, whatever the values are that it names."""
    match node:
        case Literal(value):
            return not isinstance(value, bool)
        case Choice(_, yes, no):
            return is_value(yes) or is_value(no)
        case Unary(sign, _):
            return sign == "-"
        case Binary(sign, _, _):
            return sign in ("+", "-", "*", "%")
        case Call(function, _):
            return function == "size"
    return isinstance(node, Items)


def names_in(node: Node) -> Iterator[Path]:
    """Every reference of a condition."""
    if isinstance(node, Name):
        yield node.path
    for part in node:
        parts = (part,) if isinstance(part, Node) else part if isinstance(part, tuple) else ()
        for one in parts:
            if isinstance(one, Node):
                yield from names_in(one)


class _Parser:
    """Recursive descent; ``depth`` counts what is open, so that no text makes the stack deep."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens, self._at = tokens, 0

    @property
    def _now(self) -> Token:
        return self._tokens[self._at]

    def _take(self, *words: str) -> Token | None:
        """The next token, where it is one of these signs or words."""
        now = self._now
        if now.kind in ("sign", "name") and now.word in words:
            self._at += 1
            return now
        return None

    def _expect(self, sign: str) -> None:
        if self._take(sign) is None:
            now = self._now
            found = "the condition ends" if now.kind == "end" else f"{now.word[:40]!r} stands"
            raise refuse(f"{found} where {sign!r} belongs", now.column, f"write {sign} there")

    def end(self) -> None:
        now = self._now
        if now.kind == "end":
            return
        if now.word in _NO_NAMES:
            raise refuse(_NO_NAMES[now.word], now.column, _COMPARE_VALUES)
        raise refuse(
            f"the condition ends before {now.word[:40]!r}",
            now.column,
            "remove the rest, or write 'and' or 'or' between two conditions",
        )

    def expression(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise refuse(
                f"it is nested deeper than {MAX_DEPTH}", self._now.column, "make it flatter"
            )
        start = self._now.column
        node = self._any(depth)
        if self._take("?") is None:
            return node
        self._must_judge(node, start)
        yes = self.expression(depth + 1)
        self._expect(":")
        return Choice(node, yes, self.expression(depth + 1))

    def _any(self, depth: int) -> Node:
        return self._joined(depth, "or", "||")

    def _joined(self, depth: int, word: str, sign: str) -> Node:
        below = self._all if word == "or" else self._not
        start = self._now.column
        nodes = [below(depth)]
        while self._take(word, sign):
            if len(nodes) == 1:
                self._must_judge(nodes[0], start)
            start = self._now.column
            nodes.append(below(depth))
            self._must_judge(nodes[-1], start)
        return _balanced(word, nodes)

    def _all(self, depth: int) -> Node:
        return self._joined(depth, "and", "&&")

    def _not(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise refuse(
                f"it is nested deeper than {MAX_DEPTH}", self._now.column, "make it flatter"
            )
        start = self._now.column
        if self._take("not"):
            inner = self._not(depth + 1)
            self._must_judge(inner, start)
            return Unary("not", inner)
        return self._compared(depth)

    def _compared(self, depth: int) -> Node:
        left, found = self._sum(depth), list[Node]()
        while True:
            sign = self._comparison()
            if sign is None:
                break
            right = self._sum(depth)
            if found and (sign.word == "in" or "in" in sign.word.split()):
                raise refuse(
                    "'in' cannot be chained with other comparisons",
                    sign.column,
                    "write two comparisons with 'and' between them",
                )
            node: Node = Binary("in" if sign.word == "not in" else sign.word, left, right)
            found.append(Unary("not", node) if sign.word == "not in" else node)
            left = right
        return _balanced("and", found) if found else left

    def _comparison(self) -> Token | None:
        if self._now.word == "not" and self._tokens[self._at + 1].word == "in":
            column = self._now.column
            self._at += 2
            return Token("name", "not in", column)
        return self._take(*_COMPARE, "in")

    def _sum(self, depth: int) -> Node:
        node = self._product(depth)
        while sign := self._take("+", "-"):
            node = Binary(sign.word, node, self._product(depth))
        return node

    def _product(self, depth: int) -> Node:
        node = self._unary(depth)
        while sign := self._take("*", "%", "/", "**"):
            if sign.word in _NO_NAMES:
                raise refuse(_NO_NAMES[sign.word], sign.column, _COMPARE_VALUES)
            node = Binary(sign.word, node, self._unary(depth))
        return node

    def _unary(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise refuse(
                f"it is nested deeper than {MAX_DEPTH}", self._now.column, "make it flatter"
            )
        start = self._now.column
        if self._take("!"):
            inner = self._unary(depth + 1)
            self._must_judge(inner, start)
            return Unary("not", inner)
        if self._take("-"):
            inner = self._unary(depth + 1)
            if isinstance(inner, Literal) and type(inner.value) in (int, float):
                return Literal(-inner.value)
            return Unary("-", inner)
        return self._postfix(self._primary(depth), depth)

    def _postfix(self, node: Node, depth: int) -> Node:
        while True:
            if self._take("."):
                field = self._now
                if field.kind != "name":
                    raise refuse(
                        f"{field.word!r} is not a key", field.column, "write a name after the dot"
                    )
                self._at += 1
                if self._take("("):
                    arguments = self._arguments(depth)
                    node = self._call(field, (node, *arguments))
                else:
                    node = _further(node, Literal(_field(field)))
            elif self._take("["):
                key = self.expression(depth + 1)
                self._expect("]")
                node = _further(node, key)
            else:
                return node

    def _primary(self, depth: int) -> Node:
        token = self._now
        self._at += token.kind != "end"
        if token.kind in ("number", "text"):
            return Literal(token.value)
        if token.word == "(":
            node = self.expression(depth + 1)
            self._expect(")")
            return node
        if token.word == "[":
            return Items(self._listed(depth, "]"))
        if token.kind == "name" and token.word not in _WORDS:
            return self._named(token, depth)
        found = "the condition ends" if token.kind == "end" else f"{token.word[:40]!r} stands"
        what = f"{found} where a value belongs"
        raise refuse(what, token.column, "write a value there, such as inputs.x, 5 or 'text'")

    def _named(self, token: Token, depth: int) -> Node:
        if token.word in CONSTANTS:
            return Literal(CONSTANTS[token.word])
        if self._take("("):
            return self._call(token, self._arguments(depth))
        if token.word not in ROOTS and not NUMBERED.match(token.word):
            near = difflib.get_close_matches(token.word, [*ROOTS, *FUNCTIONS], 1)
            hint = (
                f"did you mean {near[0]}?" if near else "if it is meant as text, put it in quotes"
            )
            raise refuse(f"there is no {token.word[:40]!r}", token.column, hint)
        return Name((token.word,))

    def _arguments(self, depth: int) -> tuple[Node, ...]:
        return self._listed(depth, ")")

    def _listed(self, depth: int, closes: str) -> tuple[Node, ...]:
        found = list[Node]()
        if self._take(closes):
            return ()
        while True:
            found.append(self.expression(depth + 1))
            if self._take(closes):
                return tuple(found)
            self._expect(",")

    def _call(self, name: Token, arguments: tuple[Node, ...]) -> Node:
        if name.word not in FUNCTIONS:
            near = {known.lower(): known for known in FUNCTIONS}
            match = difflib.get_close_matches(name.word.lower().replace("_", ""), near, 1)
            hint = (
                f"did you mean {near[match[0]]}?" if match else f"there is {', '.join(FUNCTIONS)}"
            )
            raise refuse(f"there is no function {name.word[:40]!r}", name.column, hint)
        wants = FUNCTIONS[name.word].arguments
        if len(arguments) != wants:
            values = "one value" if wants == 1 else f"{wants} values"
            raise refuse(f"{name.word}() takes {values}, and has {len(arguments)}", name.column)
        if name.word == "has" and not (
            isinstance(arguments[0], Name) and len(arguments[0].path) > 1
        ):
            raise refuse("has() takes a reference", name.column, "write has(inputs.x)")
        return Call(name.word, arguments)

    def _must_judge(self, node: Node, column: int) -> None:
        """A text or a number beside ``and`` or ``or`` is never what was meant."""
        if is_value(node):
            words = repr(node.value) if isinstance(node, Literal) else "this"
            raise refuse(
                f"{words} is a value and no condition: it would always count as true",
                column,
                "write the whole comparison again: x == 'a' or x == 'b', or x in ['a', 'b']",
            )


def _field(token: Token) -> str:
    if token.word.startswith("__"):
        raise refuse(
            f"there is no key {token.word[:40]!r}: values have no attributes",
            token.column,
            "name a key that does not begin with __",
        )
    return token.word


def _further(node: Node, key: Node) -> Node:
    """A name grows while its keys are known; then it becomes an index."""
    if isinstance(node, Name) and isinstance(key, Literal) and type(key.value) in (str, int):
        path = (*node.path, key.value)
        return Name(canonical(path) if len(node.path) == 1 else path)
    return Index(node, key)


def _balanced(word: str, nodes: list[Node]) -> Node:
    """``a and b and c`` as a tree that is as flat as can be."""
    while len(nodes) > 1:
        pairs = [nodes[at : at + 2] for at in range(0, len(nodes), 2)]
        nodes = [Binary(word, *pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return nodes[0]
