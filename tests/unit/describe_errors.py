"""Every refusal and failure that somebody can meet, read from the source: what, where, next.

``python -m tests.unit.describe_errors`` writes docs/errors.md from it.  A value that only a run
knows stands as ``{name}``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "errors.md"
PACKAGES = ("akiosctl", "akiosd")
BASE = "AkiosError"
VALUES = {"MisdirectedError", "HostLogError"}
"""They carry a refusal or a report that was put into words elsewhere."""
NAMES = ("what", "where", "next")
HEAD = """# Errors

What `akiosctl` and `akiosd` say when something cannot be done: what it is, where, and what to do
next. A value that only a run knows stands in braces. Written by `python -m
tests.unit.describe_errors` from the source; a test keeps it true.
"""


class Told(NamedTuple):
    """One place that makes an error; ``line`` is for who reads the list, and not written."""

    module: str
    line: int
    what: str
    where: str
    next: str


def sources() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text())
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def classes(trees: dict[str, ast.Module]) -> dict[str, ast.ClassDef]:
    """The classes of the modules themselves; an error is not made within a function."""
    return {
        node.name: node
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def bases(node: ast.ClassDef) -> list[str]:
    return [base.id for base in node.bases if isinstance(base, ast.Name)]


def family(known: dict[str, ast.ClassDef]) -> set[str]:
    """The names of all classes below AkiosError."""
    found = {BASE}
    while more := {name for name, node in known.items() if found & set(bases(node))} - found:
        found |= more
    return found - VALUES


def next_of(name: str, known: dict[str, ast.ClassDef]) -> str:
    """What a class says where its place says nothing: ``NEXT``, its own or of what it stands on."""
    if name not in known:
        return ""
    own = constants(known[name].body).get("NEXT")
    if own is not None:
        return text_of(own, {})
    return next((found for base in bases(known[name]) if (found := next_of(base, known))), "")


def takes_where(name: str, known: dict[str, ast.ClassDef]) -> bool:
    """Whether the second thing that a class is made of is the place."""
    if name not in known:
        return True
    for own in known[name].body:
        if isinstance(own, ast.FunctionDef) and own.name == "__init__":
            return [argument.arg for argument in own.args.args[2:3]] in (["where"], ["path"])
    return all(takes_where(base, known) for base in bases(known[name]))


def text_of(node: ast.expr | None, known: dict[str, ast.expr]) -> str:
    """A text as it is written, with what is computed in braces."""
    match node:
        case None:
            return ""
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(text_of(value, known) for value in values)
        case ast.FormattedValue(value=value):
            return "{" + name_of(value) + "}"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return text_of(left, known) + text_of(right, known)
        case ast.IfExp(body=body, orelse=orelse):
            texts = (text_of(part, known) for part in (body, orelse))
            return " / ".join(text or "(nothing)" for text in texts)
        case ast.BoolOp(values=values):
            return " / ".join(text_of(value, known) for value in values)
        case ast.Name(id=name) if name in known:
            return text_of(known[name], {})
        case _:
            return "{" + name_of(node) + "}"


def name_of(node: ast.expr) -> str:
    """The last word of what is computed: ``error.strerror`` is strerror."""
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case ast.Call(args=[first, *_]) if not isinstance(first, ast.Constant):
            return name_of(first)
        case ast.Call(func=func):
            return name_of(func)
        case ast.Subscript(value=value) | ast.Await(value=value):
            return name_of(value)
        case _:
            return "…"


def constants(nodes: Iterable[ast.AST]) -> dict[str, ast.expr]:
    """Names that are given one text by one of these."""
    found: dict[str, ast.expr] = {}
    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if isinstance(
                value, ast.Constant | ast.JoinedStr | ast.IfExp | ast.BinOp
            ):
                found[name] = value
    return found


def errors() -> Iterator[Told]:
    """Every place that makes one, in the order of the source."""
    trees = sources()
    known = classes(trees)
    kinds = {name: (next_of(name, known), takes_where(name, known)) for name in family(known)}
    for module, tree in trees.items():
        yield from read_scope(module, tree, imported(tree, trees) | constants(tree.body), kinds)


def imported(tree: ast.Module, trees: dict[str, ast.Module]) -> dict[str, ast.expr]:
    """Texts that a module takes from another one of ours."""
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            source = trees.get(node.module.replace(".", "/") + ".py")
            texts = constants(source.body) if source is not None else {}
            names = {alias.asname or alias.name: alias.name for alias in node.names}
            found |= {name: texts[of] for name, of in names.items() if of in texts}
    return found


def read_scope(
    module: str,
    scope: ast.AST,
    texts: dict[str, ast.expr],
    kinds: dict[str, tuple[str, bool]],
) -> Iterator[Told]:
    """What is made in a function, with the names that have a text there, and in those inside it."""
    inside: list[ast.AST] = []
    own: list[ast.AST] = []
    waiting = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inside.append(node)
            continue
        own.append(node)
        waiting += ast.iter_child_nodes(node)
    here = texts | constants(own)
    for node in own:
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in kinds:
                told = read_call(module, node, here)
                fallback, has_place = kinds[name]
                told = told._replace(where=told.where if has_place else "")
                if told.what:
                    yield told._replace(next=told.next or fallback)
    for node in inside:
        yield from read_scope(module, node, here, kinds)


def read_call(module: str, call: ast.Call, known: dict[str, ast.expr]) -> Told:
    parts: dict[str, ast.expr] = dict(zip(NAMES, call.args, strict=False))
    parts |= {word.arg: word.value for word in call.keywords if word.arg in NAMES}
    what, where, next_ = (" ".join(text_of(parts.get(name), known).split()) for name in NAMES)
    return Told(module, call.lineno, what, where, next_)


def describe() -> str:
    """The page: by module, sorted, so that lines move little when the source does."""
    lines = [HEAD]
    by_module: dict[str, set[tuple[str, str, str]]] = {}
    for told in errors():
        by_module.setdefault(told.module, set()).add((told.what, told.where, told.next))
    for module, rows in sorted(by_module.items()):
        lines.append(f"\n## {module}\n")
        for what, where, next_ in sorted(rows):
            parts = [f"- {what}", *([f"where: {where}"] if where else [])]
            lines.append("\n  ".join([*parts, *([f"next: {next_}"] if next_ else [])]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(describe())
