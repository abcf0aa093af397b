"""Every refusal and failure that somebody can meet, read from the source: what, where, next.

``python -m tests.unit.describe_errors`` writes docs/errors.md from it.  A value that only a run
knows stands as ``{name}``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.unit.reaching_texts import Function, Names, Text, constants, follow, parameters
from tests.unit.written_texts import Choices, spoken, text_of

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
    own = constants(known[name].body, {}).get("NEXT")
    if own is not None:
        return text_of(own.node, own.names, Choices())
    return next((found for base in bases(known[name]) if (found := next_of(base, known))), "")


def nexts(known: dict[str, ast.ClassDef]) -> dict[str, Text]:
    """``Class.NEXT``, as another place may name it, of the classes that say one."""
    found = {name: constants(node.body, {}).get("NEXT") for name, node in known.items()}
    return {f"{name}.NEXT": text for name, text in found.items() if text is not None}


def order_of(name: str, known: dict[str, ast.ClassDef]) -> tuple[str, ...]:
    """The names of the things that a class is made of, in their order; a path is a place."""
    if name not in known:
        return NAMES
    for own in known[name].body:
        if isinstance(own, ast.FunctionDef) and own.name == "__init__":
            words = [argument.arg for argument in own.args.args[1:]]
            return tuple("where" if word == "path" else word for word in words)
    return next((order for base in bases(known[name]) if (order := order_of(base, known))), NAMES)


Kinds = Mapping[str, tuple[str, tuple[str, ...]]]
"""Of each class of errors: what it says where its place says nothing, and what it is made of."""
Sites = dict[tuple[str, str], list[Names]]
"""What the functions of each module that make an error of their parameters are given."""


def errors() -> Iterator[Told]:
    """Every place that makes one, in the order of the source."""
    return read(sources())


def read(trees: dict[str, ast.Module]) -> Iterator[Told]:
    known = classes(trees)
    kinds = {name: (next_of(name, known), order_of(name, known)) for name in family(known)}
    of_classes = nexts(known)
    texts = {
        module: constants(tree.body, imported(tree, trees)) | of_classes
        for module, tree in trees.items()
    }
    sites = find_sites(trees, texts, kinds)
    for module, tree in trees.items():
        here = {name: given for (of, name), given in sites.items() if of == module}
        yield from read_module(module, tree, texts[module], kinds, here)


def find_sites(
    trees: dict[str, ast.Module], texts: dict[str, dict[str, Text]], kinds: Kinds
) -> Sites:
    """The calls of functions that make an error of what they are given."""
    passing = {
        (module, node.name): parameters(node)
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, Function) and makes_error_of_its_own(node, kinds)
    }
    sites: Sites = {}
    for module, tree in trees.items():
        homes = {name: (module, name) for of, name in passing if of == module} | {
            alias.asname or alias.name: (node.module.replace(".", "/") + ".py", alias.name)
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
        for call, names in calls_in(tree, texts[module]):
            home = homes.get(call.func.id if isinstance(call.func, ast.Name) else "")
            if home in passing:
                parts = dict(zip(passing[home], call.args, strict=False))
                parts |= {word.arg: word.value for word in call.keywords if word.arg is not None}
                given = {name: Text(part, names) for name, part in parts.items()}
                sites.setdefault(home, []).append(given)
    return sites


def makes_error_of_its_own(function: Function, kinds: Kinds) -> bool:
    own = set(parameters(function))
    return any(
        isinstance(part, ast.Name) and part.id in own
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds
        for part in [*node.args, *(word.value for word in node.keywords)]
    )


def calls_in(
    tree: ast.Module, texts: Names, sites: Mapping[str, list[Names]] | None = None
) -> list[tuple[ast.Call, Names]]:
    found: list[tuple[ast.Call, Names]] = []

    def look(node: ast.Call | ast.Return, names: Names) -> None:
        if isinstance(node, ast.Call):
            found.append((node, names))

    follow(tree.body, texts, look, sites)
    return found


def imported(tree: ast.Module, trees: dict[str, ast.Module]) -> dict[str, Text]:
    """Texts that a module takes from another one of ours."""
    found: dict[str, Text] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            source = trees.get(node.module.replace(".", "/") + ".py")
            texts = constants(source.body, {}) if source is not None else {}
            names = {alias.asname or alias.name: alias.name for alias in node.names}
            found |= {name: texts[of] for name, of in names.items() if of in texts}
    return found


def read_module(
    module: str,
    tree: ast.Module,
    texts: Names,
    kinds: Kinds,
    sites: Mapping[str, list[Names]],
) -> Iterator[Told]:
    """What is made in a module, each in all the words that it can have."""
    functions = spoken(tree, texts)
    seen: set[Told] = set()
    for call, names in calls_in(tree, texts, sites):
        match call:
            case ast.Call(func=ast.Name(id=name)) if name in kinds:
                fallback, order = kinds[name]
                for told in read_call(module, call, order, names, Choices(functions)):
                    told = told._replace(next=told.next or fallback)
                    if told.what and told not in seen:
                        seen.add(told)
                        yield told


def read_call(
    module: str, call: ast.Call, order: tuple[str, ...], names: Names, choices: Choices
) -> Iterator[Told]:
    parts: dict[str, ast.expr] = dict(zip(order, call.args, strict=False))
    parts |= {word.arg: word.value for word in call.keywords if word.arg in NAMES}
    more = True
    while more:
        texts = (text_of(parts.get(part), names, choices) for part in NAMES)
        what, where, next_ = (" ".join(text.split()) for text in texts)
        yield Told(module, call.lineno, what, where, next_)
        more = choices.advance()


def describe(found: Iterable[Told]) -> str:
    """The page: by module, sorted, so that lines move little when the source does."""
    lines = [HEAD]
    by_module: dict[str, set[tuple[str, str, str]]] = {}
    for told in found:
        by_module.setdefault(told.module, set()).add((told.what, told.where, told.next))
    for module, rows in sorted(by_module.items()):
        lines.append(f"\n## {module}\n")
        for what, where, next_ in sorted(rows):
            parts = [f"- {what}", *([f"where: {where}"] if where else [])]
            lines.append("\n  ".join([*parts, *([f"next: {next_}"] if next_ else [])]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(describe(errors()))
