"""Every refusal and failure that somebody can meet, read from the source: what, where, next.

``python -m tests.unit.describe_errors`` writes docs/errors.md from it.  A value that only a run
knows stands as ``{name}``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "errors.md"
PACKAGES = ("akiosctl", "akiosd")
BASE = "AkiosError"
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


def family(trees: dict[str, ast.Module]) -> set[str]:
    """The names of all classes below AkiosError that take what, where and next in this order."""
    bases = {
        node.name: [base.id for base in node.bases if isinstance(base, ast.Name)]
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = {BASE}
    while more := {name for name, above in bases.items() if found & set(above)} - found:
        found |= more
    return found


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


def constants(tree: ast.AST) -> dict[str, ast.expr]:
    """Names that are given one text, in this scope or below."""
    found: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if isinstance(
                value, ast.Constant | ast.JoinedStr | ast.IfExp | ast.BinOp
            ):
                found[name] = value
    return found


def errors() -> Iterator[Told]:
    """Every place that makes one, in the order of the source."""
    trees = sources()
    names = family(trees)
    for module, tree in trees.items():
        functions = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        tops = constants(
            ast.Module([node for node in tree.body if isinstance(node, ast.Assign)], [])
        )
        seen: set[int] = set()
        for scope in (*functions[::-1], tree):
            known = tops | constants(scope)
            for node in ast.walk(scope):
                if id(node) in seen or not isinstance(node, ast.Call):
                    continue
                if isinstance(node.func, ast.Name) and node.func.id in names:
                    seen.add(id(node))
                    told = read_call(module, node, known)
                    if told.what:
                        yield told


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
