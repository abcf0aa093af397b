"""Which texts can stand in the words of a call, read from the source: a name that is given several
texts in a function has, at each call, those that can reach it, and two names keep the pairs that
occur together.

The statements of a function are followed as they run, with one set of names for each way to get
there.  A loop is followed twice, a ``try`` may break off after each of its statements, and a
condition is taken to hold or not, both times.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

_MOST_WAYS = 256


class Text(NamedTuple):
    """An expression, and what the names in it stand for where it was written."""

    node: ast.expr
    names: Names


Names = Mapping[str, Text]
Found = Callable[[ast.Call | ast.Return, Names], None]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def follow(
    body: Iterable[ast.stmt],
    names: Names,
    found: Found,
    sites: Mapping[str, list[Names]] | None = None,
) -> None:
    """Call ``found`` for each call and each return in these statements and in the functions within
    them, once for each way to get there.  ``sites`` tells what a function is given at its calls.
    """
    _Follower(found, sites or {}).block(list(body), [names])


def constants(body: Iterable[ast.stmt], names: Names) -> dict[str, Text]:
    """The names that statements of a module give a text, besides those that have one already."""
    known = dict(names)
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                _give(known, name, value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                _give(known, name, value)
    return known


def parameters(function: Function) -> list[str]:
    """Those that a call names by their places, without self."""
    return [a.arg for a in function.args.args if a.arg not in ("self", "cls")]


def returned(function: Function, names: Names) -> list[Text]:
    """The texts that a function gives back; none when it may give back anything else."""
    nested = [inner for inner in ast.walk(function) if isinstance(inner, Function | ast.Lambda)]
    if len(nested) > 1:
        return []
    found: list[Text | None] = []

    def look(node: ast.Call | ast.Return, known: Names) -> None:
        if isinstance(node, ast.Return):
            is_words = node.value is not None and is_text(node.value, known)
            found.append(Text(node.value, known) if node.value and is_words else None)

    follow(function.body, names, look)
    texts = {id(text.node): text for text in found if text is not None}
    return list(texts.values()) if None not in found else []


def is_text(node: ast.expr, names: Names) -> bool:
    """Whether words stand in an expression, there or by the names in it."""
    match node:
        case ast.Constant(value=value):
            return isinstance(value, str)
        case ast.JoinedStr():
            return True
        case ast.Name(id=name):
            return name in names
        case ast.Dict(values=values):
            return bool(values) and all(is_text(value, names) for value in values)
        case ast.Subscript(value=ast.Name(id=name)):
            return name in names and isinstance(names[name].node, ast.Dict)
        case ast.IfExp(body=left, orelse=right) | ast.BinOp(left=left, op=ast.Add(), right=right):
            return is_text(left, names) or is_text(right, names)
        case ast.BoolOp(values=values):
            return any(is_text(value, names) for value in values)
        case ast.Call(func=ast.Attribute(value=inner, attr="rstrip" | "strip")):
            return is_text(inner, names)
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get"), args=[_, default]):
            is_table = name in names and isinstance(names[name].node, ast.Dict)
            return is_table and isinstance(default, ast.Constant | ast.JoinedStr)
        case ast.Call():
            call = calls_for_words(node)
            return call is not None and f"{called(call)}()" in names
        case _:
            return False


def calls_for_words(node: ast.expr | None) -> ast.Call | None:
    """The call in ``f(x)``, ``self.f(x)``, and in what joins several: ``"; ".join(map(f, x))``."""
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Constant(), attr="join"),
            args=[ast.GeneratorExp(elt=ast.Call() as each)],
        ):
            return calls_for_words(each)
        case ast.Call(
            func=ast.Attribute(value=ast.Constant(), attr="join"),
            args=[ast.Call(func=ast.Name(id="map"), args=[ast.Name() as each, *_])],
        ):
            return ast.Call(func=each, args=[], keywords=[])
        case ast.Call() if called(node):
            return node
        case _:
            return None


def called(call: ast.Call) -> str:
    """The name of a function, or of a method of the object itself."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="self"), attr=name):
            return name
        case _:
            return ""


def _give(names: dict[str, Text], name: str, value: ast.expr) -> None:
    """The name stands for that text from now on, or for nothing that is known."""
    if is_text(value, names):
        names[name] = Text(value, dict(names))
    else:
        names.pop(name, None)


class _Follower:
    """Takes statements with all ways to get there, and gives the ways that lead out of them."""

    def __init__(self, found: Found, sites: Mapping[str, list[Names]]) -> None:
        self._found, self._sites = found, sites
        self._left: list[Names] = []
        """The ways that leave the innermost loop by ``break`` or ``continue``."""

    def block(self, body: list[ast.stmt], ways: list[Names]) -> list[Names]:
        for statement in body:
            ways = _distinct(self._statement(statement, ways))
        return ways

    def _statement(self, node: ast.stmt, ways: list[Names]) -> list[Names]:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self._inner(node, ways)
                return ways
            case ast.If(test=test, body=body, orelse=orelse):
                self._look(test, ways)
                return self.block(body, _where(test, True, ways)) + self.block(
                    orelse, _where(test, False, ways)
                )
            case ast.For(target=head) | ast.AsyncFor(target=head):
                self._look(node.iter, ways)
                return self._loop(node.body, node.orelse, _without(ways, head))
            case ast.While(test=test, body=body, orelse=orelse):
                self._look(test, ways)
                return self._loop(body, orelse, ways)
            case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
                for item in items:
                    self._look(item.context_expr, ways)
                    ways = _without(ways, item.optional_vars)
                return self.block(body, ways)
            case ast.Try() | ast.TryStar():
                return self._try(node, ways)
            case ast.Match(subject=subject, cases=cases):
                self._look(subject, ways)
                after = [] if _takes_all(cases[-1]) else ways
                for case in cases:
                    after = after + self.block(case.body, _without(ways, case.pattern))
                return after
            case _:
                return self._simple(node, ways)

    def _simple(self, node: ast.stmt, ways: list[Names]) -> list[Names]:
        self._look(node, ways)
        match node:
            case ast.Return():
                for names in ways:
                    self._found(node, names)
                return []
            case ast.Raise():
                return []
            case ast.Break() | ast.Continue():
                self._left += ways
                return []
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                return _given(ways, [(name, value)])
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                return _given(ways, [(name, value)])
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)) if len(
                names
            ) == len(values):
                pairs = zip(names, values, strict=True)
                return _given(ways, [(n.id, v) for n, v in pairs if isinstance(n, ast.Name)])
        return _without(ways, node)

    def _loop(self, body: list[ast.stmt], orelse: list[ast.stmt], ways: list[Names]) -> list[Names]:
        outer, self._left = self._left, []
        once = self.block(body, ways)
        again = self.block(body, _distinct(ways + once + self._left))
        left, self._left = self._left, outer
        return left + self.block(orelse, _distinct(ways + once + again))

    def _try(self, node: ast.Try | ast.TryStar, ways: list[Names]) -> list[Names]:
        broken: list[Names] = []
        for statement in node.body:
            given = statement.value if isinstance(statement, ast.Assign) else None
            if not isinstance(given, ast.Constant | ast.JoinedStr):
                broken += ways
            ways = _distinct(self._statement(statement, ways))
        broken = _distinct(broken)
        ends = self.block(node.orelse, ways)
        for handler in node.handlers:
            held = [{k: v for k, v in names.items() if k != handler.name} for names in broken]
            ends += self.block(handler.body, held)
        after = self.block(node.finalbody, _distinct(ends) or broken)
        return after if ends else []

    def _inner(self, node: ast.stmt, ways: list[Names]) -> None:
        """What stands in a function or class, where its parameters have no text."""
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        given: list[Names] = [{}]
        hidden: set[str] = set()
        if not isinstance(node, ast.ClassDef):
            hidden = {inner.arg for inner in ast.walk(node.args) if isinstance(inner, ast.arg)}
            given = self._sites.get(node.name, given)
        inside = [
            {k: v for k, v in names.items() if k not in hidden} | dict(more)
            for names in ways
            for more in given
        ]
        _Follower(self._found, self._sites).block(node.body, _distinct(inside))

    def _look(self, node: ast.AST, ways: list[Names]) -> None:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Call):
                for names in ways:
                    self._found(inner, names)


def _takes_all(case: ast.match_case) -> bool:
    return case.guard is None and isinstance(case.pattern, ast.MatchAs) and not case.pattern.pattern


def _where(test: ast.expr, holds: bool, ways: list[Names]) -> list[Names]:
    """The ways on which a condition can have this answer: a name with a text, or without one."""
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _where(operand, not holds, ways)
        case ast.Name(id=name):
            return [names for names in ways if _can_be(names.get(name), holds)]
        case _:
            return ways


def _can_be(text: Text | None, full: bool) -> bool:
    return not isinstance(node := text and text.node, ast.Constant) or bool(node.value) == full


def _given(ways: list[Names], values: list[tuple[str, ast.expr]]) -> list[Names]:
    after = []
    for names in ways:
        changed = dict(names)
        for name, value in values:
            _give(changed, name, value)
        after.append(changed)
    return after


def _without(ways: list[Names], node: ast.AST | None) -> list[Names]:
    """The names that are bound in here stand for nothing that is known."""
    bound = set(_bound(node)) if node is not None else set()
    return [{k: v for k, v in names.items() if k not in bound} for names in ways] if bound else ways


def _bound(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        match inner:
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name


def _distinct(ways: list[Names]) -> list[Names]:
    """Each way once: two that give every name the same expression are one."""
    by_texts = {frozenset((k, id(v.node)) for k, v in names.items()): names for names in ways}
    assert len(by_texts) <= _MOST_WAYS, "a function gives too many names a text"
    return list(by_texts.values())
