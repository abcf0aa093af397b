"""Finds definitions of the product that nothing in the product reaches, by reading its sources.

Reaching is transitive: what only dead code uses is dead, and so are two functions that only call
each other.  A name of a module is resolved through imports and local scopes.  A member of a class
cannot be resolved without types: it is reached where living code reads an attribute of that name, a
private one (``_x``) in its own module only.  Writing an attribute does not reach it.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

# A module or a definition named in text: in a table of modules, in the programs' entry, in a unit
# of systemd.
NAMED = re.compile(r"\b(?:from )?((?:akiosd|akiosctl|native)(?:\.\w+)+)(?: import (\w+)|:(\w+))?")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Definition:
    """A module, function, class, constant or member, and what its own source uses."""

    name: str
    module: str
    owner: str = ""
    """The class it is a member of; "" for what stands in a module."""
    kept: bool = False
    """Reached with its owner, by a decorator that registers it or by the language."""
    bases: list[str] = field(default_factory=list)
    uses: set[str] = field(default_factory=set)
    """Full names: ``akiosd.errors.AkiosError``."""
    reads: set[str] = field(default_factory=set)
    """Names of attributes of values whose class is not known."""
    calls: set[str] = field(default_factory=set)
    """Full names of what is called; of classes: of what is made."""

    @property
    def last(self) -> str:
        return self.name.rpartition(".")[2]


@dataclass(frozen=True)
class Scope:
    here: Definition
    owner: Definition | None = None
    local: frozenset[str] | None = None
    """The names of the functions around; None outside of any."""


class Reader:
    """Reads one module into ``found``: full name → definition."""

    def __init__(self, module: str, source: str, modules: Collection[str]) -> None:
        tree = ast.parse(source)
        self.module = module
        self.modules = modules
        self.imported = dict(pair for node in ast.walk(tree) for pair in imported(node))
        self.bound = {name: f"{module}.{name}" for name in stored(tree.body)} | self.imported
        root = Definition(module, module)
        self.found = {module: root}
        self._read(tree.body, Scope(root))

    def _define(self, name: str, owner: Definition | None) -> Definition:
        full = f"{owner.name if owner else self.module}.{name}"
        kept = name.startswith("__")
        made = Definition(full, self.module, owner.name if owner else "", kept)
        return self.found.setdefault(full, made)

    def _read(self, nodes: Iterable[ast.AST], scope: Scope) -> None:
        for node in nodes:
            inner = self._enter(node, scope)
            self._note(node, inner)
            outside = [*outside_of(node)]
            self._read(outside, replace(inner, local=scope.local))
            self._read(ast.iter_child_nodes(node), inner)

    def _enter(self, node: ast.AST, scope: Scope) -> Scope:
        if isinstance(node, Function | ast.Lambda):
            here = scope.here
            if scope.local is None and isinstance(node, Function):
                here = self._define(node.name, scope.owner)
                here.kept |= any(map(registers, node.decorator_list))
            outer = {
                n for part in ast.walk(node) if isinstance(part, ast.Global) for n in part.names
            }
            local = (scope.local or frozenset()) | (set(stored(ast.iter_child_nodes(node))) - outer)
            return replace(scope, here=here, local=local)
        if scope.local is not None:
            return scope
        if isinstance(node, ast.ClassDef):
            here = self._define(node.name, scope.owner)
            here.bases = [self._resolve(base, frozenset()) for base in node.bases]
            return Scope(here, here)
        if isinstance(node, ast.Assign | ast.AnnAssign) and (names := [*stored([node])]):
            first, *others = [self._define(name, scope.owner) for name in names]
            for other in others:
                other.uses.add(first.name)
            return replace(scope, here=first)
        return scope

    def _note(self, node: ast.AST, scope: Scope) -> None:
        here, local = scope.here, scope.local or frozenset()
        match node:
            case ast.Name(ctx=ast.Load()) | ast.Attribute(ctx=ast.Load()):
                if full := self._resolve(node, local):
                    here.uses.add(full)
                elif isinstance(node, ast.Attribute):
                    here.reads.add(node.attr)
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                if scope.owner and scope.local:
                    self._define(name, scope.owner)
            case ast.Import(names=names):
                here.uses.update(alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                inner = {f"{module}.{alias.name}" for alias in names}
                here.uses.update({module}, inner & {*self.modules})
            case ast.Call(func=function, args=arguments):
                here.calls.add(self._resolve(function, local))
                if isinstance(function, ast.Name) and function.id in ("getattr", "hasattr"):
                    texts = (part.value for part in arguments if isinstance(part, ast.Constant))
                    here.reads.update(map(str, texts))
            case ast.MatchClass(kwd_attrs=names):
                here.reads.update(names)
            case ast.Constant(value=str(text)):
                here.uses.update(named_in(text))

    def _resolve(self, node: ast.AST, local: frozenset[str]) -> str:
        """The full name of what an expression names; "" where it names nothing of a module."""
        if isinstance(node, ast.Subscript):
            return self._resolve(node.value, local)
        if isinstance(node, ast.Attribute):
            base = self._resolve(node.value, local)
            return f"{base}.{node.attr}" if base else ""
        return (
            self.bound.get(node.id, "")
            if isinstance(node, ast.Name) and node.id not in local
            else ""
        )


def stored(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names that a scope binds, but for its imports; inner functions and classes are scopes of
    their own.
    """
    for node in nodes:
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                yield name
                continue
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name
            case (
                ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp() | ast.Lambda()
            ):
                continue
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
            ):
                yield name
        yield from stored(ast.iter_child_nodes(node))


def outside_of(node: ast.AST) -> Iterator[ast.expr]:
    """What of a function is evaluated where it is defined, and so does not see its names."""
    if isinstance(node, Function | ast.Lambda):
        yield from filter(None, (*node.args.defaults, *node.args.kw_defaults))


def imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.partition(".")[0]
            yield (alias.asname, alias.name) if alias.asname else (top, top)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def registers(decorator: ast.expr) -> bool:
    """A decorator of click's makes a function known by its name: ``@group.command("x")``."""
    call = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(call, ast.Attribute) and call.attr in ("command", "group", "setter")


def named_in(text: str) -> Iterator[str]:
    for module, imported_name, attribute in NAMED.findall(text):
        yield module
        yield f"{module}.{imported_name or attribute}"


class Graph:
    def __init__(self, sources: Mapping[str, str]) -> None:
        """Module name → its text."""
        self.all: dict[str, Definition] = {}
        self.aliases: dict[str, str] = {}
        """What a module imported is its attribute, too."""
        for module, source in sources.items():
            reader = Reader(module, source, sources)
            self.all |= reader.found
            self.aliases |= {f"{module}.{name}": full for name, full in reader.imported.items()}

    def reached(self, roots: Iterable[str]) -> set[str]:
        """The full names of all that is reached when these names are."""
        alive: set[str] = set()
        reads: set[tuple[str, str]] = set()
        waiting = [*roots]
        while waiting:
            while waiting:
                waiting += self._follow(waiting.pop(), alive, reads)
            waiting = [name for name in self.all.keys() - alive if self._is_met(name, alive, reads)]
        return alive

    def _follow(self, name: str, alive: set[str], reads: set[tuple[str, str]]) -> Iterable[str]:
        """Note a name as reached; returns the names that it reaches."""
        if name in alive:
            return ()
        if name not in self.all:
            base, _, last = name.rpartition(".")
            if name.partition(".")[0] not in self.all:
                return ()  # a library's
            # What a module imported, or a member that is inherited or of a value: known by its last
            # name.
            reads.add(("", last))
            return (base, self.aliases[name]) if name in self.aliases else (base,)
        alive.add(name)
        found = self.all[name]
        reads |= {(found.module if read.startswith("_") else "", read) for read in found.reads}
        return (*found.uses, found.module, found.owner, found.module.rpartition(".")[0])

    def _is_met(self, name: str, alive: set[str], reads: set[tuple[str, str]]) -> bool:
        """Whether something is reached because of its name, once its module or its class is."""
        found = self.all[name]
        if (found.owner or found.module) not in alive:
            return False
        place = found.module if found.last.startswith("_") else ""
        named = bool(found.owner) and (place, found.last) in reads
        return (
            found.kept
            or named
            or (bool(found.owner) and self._overrides(found.last, found.owner, alive))
        )

    def _overrides(self, name: str, owner: str, alive: set[str]) -> bool:
        """It stands in the place of a member that is reached, or of one that a library calls."""
        for base in self.all[owner].bases:
            if base in self.all:
                if f"{base}.{name}" in alive or self._overrides(name, base, alive):
                    return True
            elif hasattr(library(base), name):
                return True
        return False


def library(full: str) -> object:
    module, _, name = full.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name) if module else None
    except (ImportError, AttributeError):
        return getattr(library(module), name, None) if module else None
