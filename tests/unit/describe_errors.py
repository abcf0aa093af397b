"""Every refusal and failure that somebody can meet, read from the source: what, where, next.

``python -m tests.unit.describe_errors`` writes docs/errors.md from it.  A value that only a run
knows stands as ``{name}``.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from akiosd.cage.state_format import StateError
from akiosd.errors import GatewayFaultError, LedgerStateError, ProtocolError
from tests.unit.error_areas import AREAS, FAULTS, area_of
from tests.unit.reaching_texts import (
    Function,
    Names,
    Text,
    called,
    constants,
    follow,
    is_text,
    parameters,
)
from tests.unit.written_texts import Choices, Spoken, has_words, spoken, text_of, words_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "errors.md"
PACKAGES = ("akiosctl", "akiosd")
BASE = "AkiosError"
VALUES = {"MisdirectedError", "HostLogError"}
"""They carry a refusal or a report that was put into words elsewhere."""
NAMES = ("what", "where", "next")
HEAD = """# Errors

What `akiosctl` and `akiosd` say when something cannot be done, and what to do next. The parts are
by what you were doing; in each, errors are in the order of the alphabet. **With an error in hand**,
search this page for three words of it that are no name, path or number of yours: in their place
stand braces, as in `{path}`. `{reason}` is what the system says, as in "Permission denied". An
error that begins with braces is sorted by the first word after them. An error of nothing but braces
comes first in its part: its words are those of another program, of a server, or of another error of
this page.

Under each error: *where* it can happen, and what is *next*. `(cage)`, `(run)` and the like name a
verb or a section of a file. If akiosd was not started as a service, its log is not in `journalctl
-u akiosd`: with `--detach` it is akiosd.log in its runtime directory. Where an error does not help,
that is a fault: report it to hello@akios.ai, with what you typed and akiosd's log of that time.

Written by `python -m tests.unit.describe_errors` from the source; a test keeps it true.
"""
SAID = {
    "strerror": "reason",
    "filename": "path",
    "st_uid": "uid",
    "st_mode": "mode",
    "st_size": "size",
    "str": "names",
    "chr": "reason",
    "excess": "what is asked for",
    "subject": "setting",
    "may": "setting",
    "quoted": "names",
    "fd": "pid",
    "m": "message",
    "msg": "what is wrong",
    "next": "what helps",
    "first_bad": "record",
    "hosts_path": "path",
    "state_dir": "directory",
    "cages_dir": "directory",
    "max_bytes": "limit",
    "most_bytes": "limit",
    "body_bytes": "limit",
    "head_bytes": "limit",
    "head_fields": "limit",
    "body_seconds": "seconds",
    "longest": "limit",
    "plan": "what is wrong",
    "crowded": "what is full",
    "problem": "what is wrong",
    "hint": "what helps",
    "do": "what helps",
    "stderr": "output",
    "meant": "near",
    "positions": "line",
    "inner": "key",
    "argv": "command",
    "argv0": "command",
    "args": "command",
    "arguments": "value",
    "signo": "signal",
    "verify_message": "reason",
    "at_once": "number",
    "fd_count": "number",
    "max_changes": "number",
    "max_redirects": "number",
    "adoptions": "number",
    "unanswered": "number",
    "waiting": "number",
    "connections": "number",
    "letters": "number",
    "specs": "socket",
    "foreign": "names",
    "lacking": "name",
    "wrong": "name",
    "wants": "number",
    "seq": "number",
    "TYPES": "type",
    "FUNCTIONS": "names",
    "SCHEMAS": "verbs",
    "YAMA": "path",
    "READS": "words",
    "OPTIONAL": "names",
    "bad": "what is wrong",
    "plain": "path",
    "got": "found",
    "kept": "directory",
    "elsewhere": "directory",
    "durable": "number",
    "hole": "byte",
    "holder": "value",
    "passed": "url",
    "runtime": "path",
    "dir": "directory",
    "…": "number",
}
"""What a brace says on the page where its name in the source is a word of programmers."""
ELSEWHERE = {
    "akiosctl/old_words.py": "now: {what took its place}; all of these are in [a table](from-1.4.md)"
}
"""What a page says in the place of a next step that another page lists."""
FAULT_NEXTS = {
    ProtocolError.NEXT,
    GatewayFaultError.NEXT,
    LedgerStateError.NEXT,
    StateError.NEXT,
    "install the same version of akiosd and akiosctl, and restart akiosd",
    "use the akiosctl that was installed with this akiosd",
}
"""Next steps against what nobody's own typing brings about: their errors stand together."""
BRACE = re.compile(r"\{([^{}]*)\}")
ONLY_BRACES = re.compile(r"(?:\{[^{}]*\}[ ,;]*)+|")


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
    functions = {module: spoken(tree, texts[module]) for module, tree in trees.items()}
    afar = {module: imported_functions(tree, functions) for module, tree in trees.items()}
    for module in trees:
        names = functions[module] | afar[module]
        texts[module] |= {f"{name}()": Text(ast.Constant(""), {}) for name in names}
    sites = find_sites(trees, texts, kinds)
    for module, tree in trees.items():
        here = {name: given for (of, name), given in sites.items() if of == module}
        speaking = (functions[module], afar[module])
        yield from read_module(module, tree, texts[module], kinds, here, speaking)


def find_sites(
    trees: dict[str, ast.Module], texts: dict[str, dict[str, Text]], kinds: Kinds
) -> Sites:
    """The calls of functions that make an error of what they are given."""
    passing = {
        (module, node.name): node
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, Function) and makes_error_of_its_own(node, kinds)
    }
    sites: Sites = {}
    by_name: dict[str, list[tuple[str, str]]] = {}
    for of in passing:
        by_name.setdefault(of[1], []).append(of)
    for module, tree in trees.items():
        homes = {name: (module, name) for of, name in passing if of == module} | {
            alias.asname or alias.name: (node.module.replace(".", "/") + ".py", alias.name)
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
        for call, names in calls_in(tree, texts[module]):
            home = homes.get(called(call))
            for other in by_name.get(name_elsewhere(call), ()):
                sites.setdefault(other, []).append({})
            if home in passing:
                function = passing[home]
                parts = dict(zip(parameters(function), call.args, strict=False))
                parts |= {word.arg: word.value for word in call.keywords if word.arg is not None}
                given = {n: Text(part, texts[home[0]]) for n, part in defaults(function).items()}
                given = {n: text for n, text in given.items() if n not in parts} | {
                    n: text for n, part in parts.items() if (text := passed(n, part, names))
                }
                sites.setdefault(home, []).append(given)
    return sites


def name_elsewhere(call: ast.Call) -> str:
    """The name of a function that is called as part of a module or of another object, where nothing
    is known of what it is given.
    """
    match call.func:
        case ast.Attribute(value=ast.Name(id="self")):
            return ""
        case ast.Attribute(attr=name) if not name.startswith("_"):
            return name
        case _:
            return ""


def passed(name: str, node: ast.expr, names: Names) -> Text | None:
    """What a function is given, where it is in words; else the function's own name for it is better
    than that of each of its callers; a place is called as they call it.
    """
    meant = names[node.id].node if isinstance(node, ast.Name) and node.id in names else node
    if name == "where":
        return Text(node, names)
    if isinstance(meant, ast.BoolOp) or not is_text(node, names):
        return None
    given = Text(node, names)
    return given if has_words(given) else None


def defaults(function: Function) -> dict[str, ast.expr]:
    """What parameters are where a call does not give them."""
    given = function.args.defaults
    return dict(zip(parameters(function)[-len(given) :], given, strict=True)) if given else {}


def makes_error_of_its_own(function: Function, kinds: Kinds) -> bool:
    own = set(parameters(function))
    return any(
        isinstance(part, ast.Name) and part.id in own
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds
        for part in ast.walk(node)
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


def imported_functions(
    tree: ast.Module, functions: dict[str, dict[str, Spoken]]
) -> dict[str, Spoken]:
    """Functions that put something into words, which a module takes from another one of ours."""
    return {
        alias.asname or alias.name: functions[source][alias.name]
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
        if alias.name in functions.get(source := node.module.replace(".", "/") + ".py", {})
    }


def read_module(
    module: str,
    tree: ast.Module,
    texts: Names,
    kinds: Kinds,
    sites: Mapping[str, list[Names]],
    speaking: tuple[dict[str, Spoken], dict[str, Spoken]],
) -> Iterator[Told]:
    """What is made in a module, each in all the words that it can have.  ``speaking``: its
    functions that put something into words, and those of others.
    """
    functions, afar = speaking
    seen: set[Told] = set()
    for call, names in calls_in(tree, texts, sites):
        match call:
            case ast.Call(func=ast.Name(id=name)) if name in kinds:
                fallback, order = kinds[name]
                choices = Choices(functions, value_in(module), afar)
                for told in read_call(module, call, order, names, choices):
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
        texts = (words_of(parts.get(part), names, choices) for part in NAMES)
        what, where, next_ = (" ".join(text.split()) for text in texts)
        yield Told(module, call.lineno, what, where, next_)
        more = choices.advance()


def value_in(module: str) -> Callable[[str], object]:
    """What names in capitals stand for in a module of ours: it is asked, only where one stands."""

    def value(name: str) -> object:
        if not (ROOT / module).is_file():
            return None
        found = getattr(
            importlib.import_module(module.removesuffix(".py").replace("/", ".")), name, None
        )
        return found if isinstance(found, int | float | str | tuple | frozenset | dict) else None

    return value


def brace(match: re.Match[str]) -> str:
    """A value as the page names it: in words, without what only the source means by it."""
    name = match[1]
    if ":" in name or "." in name:
        return match[0]
    name = re.sub(r"^number of .*", "number", SAID.get(name, name))
    return "{" + name.replace("_", " ") + "}"


def alphabetic(what: str) -> str:
    """What an error is sorted by: its words, without values and marks."""
    return " ".join(re.findall(r"\w+", BRACE.sub(" ", what).casefold()))


def entry(what: str, ways: list[tuple[str, str]]) -> str:
    """One error with its places, those with the same next step together."""
    by_next: dict[str, list[str]] = {}
    for where, next_ in sorted(ways):
        by_next.setdefault(next_, []).append(where)
    lines = [f"- **{what}**"]
    for next_, places in by_next.items():
        where = "; ".join(place for place in places if place)
        lines.append(f"  - ({where}) {next_}" if where else f"  - {next_}")
    return "\n".join(lines)


def anchor(title: str) -> str:
    """The name of a heading in a link of Markdown."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def describe(found: Iterable[Told]) -> str:
    """The page: by area and by the alphabet, each error once with all its places.  An error in the
    words of another stands where those are made.
    """
    areas: dict[str, dict[str, set[tuple[str, str]]]] = {area: {} for area in AREAS}
    for told in found:
        if ONLY_BRACES.fullmatch(told.what) and ONLY_BRACES.fullmatch(told.next):
            continue
        what, where, next_ = (BRACE.sub(brace, text) for text in told[2:])
        what = "{what is wrong}" if what == "{what}" else what
        area = FAULTS if told.next in FAULT_NEXTS else area_of(told.module, told.where)
        next_ = ELSEWHERE.get(told.module, next_)
        areas[area].setdefault(what, set()).add((where, next_))
    lines = [HEAD, *(f"* [{area}](#{anchor(area)})" for area in areas)]
    for area, errors_ in areas.items():
        lines.append(f"\n## {area}\n")
        ordered = sorted(errors_, key=lambda what: (alphabetic(what), what))
        lines += [entry(what, list(errors_[what])) for what in ordered]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(describe(errors()))
