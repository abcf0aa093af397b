"""An expression as the sentence that somebody reads, with what only a run knows in braces."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tests.unit.reaching_texts import (
    Function,
    Names,
    Text,
    called,
    calls_for_words,
    is_text,
    parameters,
    returned,
)

_CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]+")


class Spoken(NamedTuple):
    """A function that puts something into words."""

    parameters: list[str]
    texts: list[Text]
    beside: dict[str, Spoken]
    """All such functions of its module, itself among them: its words may be those of another."""


def spoken(tree: ast.Module, names: Names) -> dict[str, Spoken]:
    """Those functions and methods of a module whose name stands in it once."""
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    count = Counter(node.name for node in functions)
    found: dict[str, Spoken] = {}
    for node in functions:
        if count[node.name] != 1 or not (texts := returned(node, names)):
            continue
        if any(has_words(text) for text in texts):
            found[node.name] = Spoken(parameters(node), texts, found)
    return found


def has_words(text: Text) -> bool:
    """Whether letters stand in it: what only puts values together, such as a path, says less than
    the name that it is given.
    """
    choices, more = Choices(), True
    while more:
        if re.search(
            "[A-Za-z]", re.sub(r"\{[^{}]*\}", "", text_of(text.node, text.names, choices))
        ):
            return True
        more = choices.advance()
    return False


class Choices:
    """Which part of each ``a if b else c`` is taken, and which text a function gives back; one
    condition has one answer everywhere.
    """

    def __init__(
        self,
        functions: dict[str, Spoken] | None = None,
        value: Callable[[str], object] | None = None,
        afar: dict[str, Spoken] | None = None,
    ) -> None:
        self.functions, self.afar = functions or {}, afar or {}
        """Those of the module itself; and those of others, whose words a name can hold."""
        self.value = value or (lambda name: None)
        """What a name in capitals stands for in the module; None where nothing is known."""
        self._taken: dict[str, tuple[int, int]] = {}

    def take(self, condition: str, count: int) -> int:
        return self._taken.setdefault(condition, (0, count))[0]

    def advance(self) -> bool:
        """Go to the next combination; False after the last."""
        while self._taken:
            condition, (index, count) = self._taken.popitem()
            if index + 1 < count:
                self._taken[condition] = (index + 1, count)
                return True
        return False


def text_of(node: ast.expr | None, names: Names, choices: Choices) -> str:
    """A text as it is written, with what is computed in braces."""
    match node:
        case None:
            return ""
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(text_of(value, names, choices) for value in values)
        case ast.FormattedValue(value=value, format_spec=form):
            given = value_of(value, choices)
            if isinstance(given, int | float) and form is not None:
                return format(given, text_of(form, names, choices))
            return text_of(value, names, choices) if given is None else said(given)
        case ast.Name(id=name) if name in names and not isinstance(names[name].node, ast.Dict):
            return words_of(names[name].node, names[name].names, choices)
        case ast.Attribute(value=ast.Name(id=name), attr="NEXT") if f"{name}.NEXT" in names:
            own = names[f"{name}.NEXT"]
            return text_of(own.node, own.names, choices)
        case ast.Subscript(value=ast.Name(id=name)) if is_text(node, names):
            table = names[name]
            assert isinstance(table.node, ast.Dict)
            wanted = ast.dump(node.slice)
            for key, part in zip(table.node.keys, table.node.values, strict=True):
                if key is not None and ast.dump(key) == wanted:
                    return text_of(part, table.names, choices)
            part = table.node.values[choices.take(ast.dump(node), len(table.node.values))]
            return text_of(part, table.names, choices)
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id=name), attr="get"), args=[_, default]
        ) if is_text(node, names):
            table = names[name]
            assert isinstance(table.node, ast.Dict)
            parts = [*((part, table.names) for part in table.node.values), (default, names)]
            chosen, known = parts[choices.take(ast.dump(node), len(parts))]
            return text_of(chosen, known, choices)
        case ast.BinOp(left=left, op=ast.Add(), right=right) if is_text(node, names):
            return text_of(left, names, choices) + text_of(right, names, choices)
        case ast.IfExp(test=test, body=body, orelse=orelse) if is_text(node, names):
            known = answer(test, names)
            part = (body, orelse)[choices.take(ast.dump(test), 2) if known is None else not known]
            return text_of(part, names, choices)
        case ast.Call(func=ast.Attribute(value=inner, attr="rstrip" | "strip")) if is_text(
            inner, names
        ):
            return text_of(inner, names, choices)
        case ast.BoolOp(op=ast.Or(), values=values) if is_text(node, names):
            part = values[choices.take(ast.dump(node), len(values))]
            return text_of(part, names, choices)
        case ast.BoolOp(op=ast.And(), values=values) if is_text(node, names):
            first = choices.take(ast.dump(values[0]), 2) == 0
            return text_of(values[-1], names, choices) if first else ""
        case ast.Call(
            func=ast.Name(id=name) | ast.Attribute(value=ast.Name("self"), attr=name)
        ) if name in choices.functions:
            return text_of_call(node, choices.functions[name], names, choices)
        case _:
            given = value_of(node, choices) if not isinstance(node, ast.Constant) else None
            return "{" + name_of(node) + "}" if given is None else said(given)


def value_of(node: ast.expr, choices: Choices) -> object:
    """What a name in capitals stands for, alone, joined or divided; None for what a run knows."""
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name) if _CONSTANT.fullmatch(name):
            return choices.value(name)
        case ast.BinOp(left=left, op=ast.FloorDiv() | ast.RShift() | ast.Sub() as op, right=right):
            one, other = value_of(left, choices), value_of(right, choices)
            if not isinstance(one, int) or not isinstance(other, int):
                return None
            match op:
                case ast.FloorDiv():
                    return one // other
                case ast.RShift():
                    return one >> other
                case _:
                    return one - other
        case ast.Call(func=ast.Name(id="len" | "sorted" as name), args=[inner]):
            found = value_of(inner, choices)
            if not isinstance(found, Iterable):
                return None
            return len(list(found)) if name == "len" else sorted(found)
        case ast.Call(func=ast.Name(id="int"), args=[inner]):
            return value_of(inner, choices)
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str()), attr="join"), args=[one]):
            return value_of(one, choices)
        case _:
            return None


def said(value: object) -> str:
    """A value as a person is told it: a whole number without a point, names in a row."""
    match value:
        case float() if value.is_integer():
            return str(int(value))
        case str():
            return value
        case _ if isinstance(value, Iterable):
            return ", ".join(sorted(str(one) for one in value))
        case _:
            return str(value)


def answer(test: ast.expr, names: Names) -> bool | None:
    """The answer to ``name == "text"`` where the name stands for one text; None if it is open."""
    match test:
        case ast.Compare(left=ast.Name(id=name), ops=[ast.Eq()], comparators=[ast.Constant(value)]):
            given = names[name].node if name in names else None
            return given.value == value if isinstance(given, ast.Constant) else None
        case _:
            return None


def words_of(node: ast.expr | None, names: Names, choices: Choices) -> str:
    """What a function gives that is called for a whole text, be it of another module."""
    call = calls_for_words(node)
    known = choices.functions | choices.afar
    if call is None or called(call) not in known:
        return text_of(node, names, choices)
    function, own = known[called(call)], choices.functions
    texts = [text for text in function.texts if not _is_empty(text.node)]
    choices.functions = function.beside
    try:
        return text_of_call(call, function._replace(texts=texts), names, choices)
    finally:
        choices.functions = own


def _is_empty(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == ""


def text_of_call(call: ast.Call, function: Spoken, names: Names, choices: Choices) -> str:
    """What a function gives back, with what it is given in its place."""
    chosen = function.texts[choices.take(ast.dump(call), len(function.texts))]
    given = {k: Text(v, names) for k, v in zip(function.parameters, call.args, strict=False)}
    return text_of(chosen.node, {**chosen.names, **given}, choices)


def name_of(node: ast.AST) -> str:
    """The word for what is computed: ``error.strerror`` is strerror, ``type(x).__name__`` is x."""
    match node:
        case ast.Attribute(attr="__name__", value=value):
            return name_of(value)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name.strip("_")
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(name)), *_]):
            return name
        case ast.Call(func=ast.Name(id="len"), args=[counted]):
            return f"number of {name_of(counted)}"
        case ast.Call(func=ast.Attribute(attr="strerror")):
            return "strerror"
        case ast.Call(func=func, args=args):
            given = [word for each in args if (word := name_of(each)) not in ("…", "self")]
            return given[0] if given else name_of(func.value if _is_method(func) else func)
        case ast.Subscript(value=value, slice=ast.Constant(value=str(name))):
            return name if name_of(value) else ""
        case ast.Constant() | ast.Slice():
            return "…"
        case _:
            inner = (name_of(part) for part in ast.iter_child_nodes(node))
            return next((word for word in inner if word != "…"), "…")


def _is_method(func: ast.expr) -> bool:
    """Of something else than the object itself, whose name would say nothing."""
    match func:
        case ast.Attribute(value=ast.Name(id="self")):
            return False
        case _:
            return isinstance(func, ast.Attribute)
