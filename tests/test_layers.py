"""The layers of the tree: arrows point down only.  Read from the sources, lazy and typing-only
imports included.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What stands on which floor.  A package may import what is on a lower floor, and itself.
FLOORS: dict[str, int] = {
    "akiosd": 0,  # the version
    "akiosd.errors": 0,
    "akiosd.values": 0,
    "akiosd.wire": 1,
    "akiosd.ledger": 1,
    "akiosd.redact": 1,
    "akiosd.meter": 1,
    "akiosd.policy": 2,
    "akiosd.cage": 2,
    "akiosd.kernel": 3,
    "akiosd.store": 3,
    "akiosd.gateway": 4,
    "akiosd.workflow": 4,
    "akiosd.daemon": 5,
    "akiosctl": 6,
}
# The order inside a package that has wings: each may import what stands before it here, and itself.
INSIDE: dict[str, tuple[str, ...]] = {
    "akiosd.gateway": (
        *(
            "net",
            "daemon_link",
            "upstream",
            "redaction",
            "context",
            "http",
            "llm",
            "sites",
            "serve",
            "process",
        ),
    ),
    "akiosd.daemon": (
        *(
            "base",
            "ledger",
            "sockets",
            "host",
            "gateways",
            "cages",
            "policy_mode",
            "requests",
            "main",
        ),
    ),
}
# Siblings do not import each other, except that everything may raise the errors of the house.
EVERYBODY = ("akiosd", "akiosd.errors")
PURE = 2
"""Up to this floor there are functions over values: time, randomness and the host are arguments."""
IMPURE = {
    *(
        "os",
        "socket",
        "time",
        "random",
        "subprocess",
        "threading",
        "trio",
        "asyncio",
        "multiprocessing",
        "secrets",
    ),
    *("select", "signal", "fcntl", "ctypes", "pathlib", "shutil", "tempfile"),
}
# Mechanisms of the kernel's floor that the store beside it and the client above it use too.  Each
# asks the kernel and nobody else: it imports nothing of ours and needs no compiled part, so that
# whoever reads a ledger on another machine has it.  They are shared because a mechanism is to have
# one door: written a second time, openat2 would have a second idea of what "beneath" means.
SHARED = ("akiosd.kernel.syscalls", "akiosd.kernel.scm_rights")
# Pure parts of a package that has others: what a workflow file says, before anything is run.
PURE_PARTS = tuple(
    f"akiosd.workflow.{name}"
    for name in (
        *("check", "check_step", "condition", "condition_tokens", "draw", "evaluate", "explain"),
        *("forms", "inputs", "interpolate", "journal", "old_form", "plan", "publish", "references"),
        *("repeats", "runner", "schema", "shell_traps", "undecided"),
    )
)
# Packages that see less than their floor allows: (highest floor, modules besides).
NARROW: dict[str, tuple[int, tuple[str, ...]]] = {
    # A step opens files beneath the directories it names, by the kernel's own door.
    "akiosd.workflow": (PURE, ("akiosd.kernel.syscalls",)),
    # The verifier reads files without the daemon, and hashes natively where that is built (it asks
    # the kernel for nothing); a standalone run finds its log; a commit is made with the kernel's
    # own doors.
    "akiosctl": (
        PURE,
        (
            *(
                "akiosd.store.fsck",
                "akiosd.store.archive_log",
                "akiosd.store.proofs_and_tiles",
                "akiosd.store.log_dir",
            ),
            "akiosd.kernel.hashing",
            # What lies in a user's directory is wiped by that user.
            "akiosd.store.survey",
            "akiosd.store.wipe",
            # Pure: hints are tried against the rules of the gateway itself.
            "akiosd.gateway.net.remedies",
            # Workflow files are read by the client, as the user.
            *PURE_PARTS,
            # What a prompt is made of, as the step makes it; nothing of a step is done.
            *("akiosd.workflow.steps.kind", "akiosd.workflow.steps.kinds"),
            "akiosd.workflow.steps.llm",
            *SHARED,
        ),
    ),
}
# Modules that only these may import.
ONLY: dict[str, tuple[str, ...]] = {
    "pyroute2": ("akiosd.kernel.netns",),
    "prctl": ("akiosd.daemon.main",),
    "akiosd.kernel._shim": ("akiosd.kernel",),
    # The C library, and the one other library that is loaded by name.
    "ctypes": ("akiosd.kernel.syscalls",),
    "cffi": ("akiosd.kernel.seccomp",),
    # One rule for aliases and keys that stand twice.
    "yaml": ("akiosd.policy.yaml_lines",),
    # Loading the prices takes 0.15 s and what they need; akiosd and the client only count what the
    # gateway says, but for the one verb that tells a price before anything is sent.
    "genai_prices": ("akiosd.meter.prices",),
    "akiosd.meter.prices": ("akiosd.gateway", "akiosctl.preview"),
    # A framework is loaded by the server alone: no other verb waits for it.
    **dict.fromkeys(
        ("fastapi", "hypercorn", "prometheus_client"),
        ("akiosctl.api",),
    ),
    # Spans and metrics for a collector.
    **dict.fromkeys(("opentelemetry", "requests"), ("akiosctl.otlp",)),
    # It draws the one live view.
    **dict.fromkeys(("textual", "rich"), ("akiosctl.top", "akiosctl.verbs.top")),
    # One of them is a type of the application that the guard stands before.
    "starlette": ("akiosctl.api", "akiosctl.mcp_http"),
    "pydantic": ("akiosctl.api", "akiosctl.mcp_server"),
    # Threads for async programs: who uses cages without them needs it not.
    "anyio": (
        *("akiosctl.api", "akiosctl.library.aio"),
        *("akiosctl.mcp_server", "akiosctl.mcp_http"),
    ),
    **dict.fromkeys(("mcp", "mcp_types"), ("akiosctl.mcp_server", "akiosctl.mcp_http")),
    # It hides what it imports from this test.  The verbs of the command line and the providers are
    # tables of names.
    "importlib": ("akiosctl.commands", "akiosd.gateway.llm.providers.registry"),
    # Programs are started with an environment and a directory of their own, in one place for the
    # client, for akiosd and for steps.
    "subprocess": (
        *("akiosd.kernel.programs", "akiosd.workflow.steps.child"),
        *("akiosctl.standalone", "akiosctl.pager"),
    ),
    "tests": (),
}

LAZY = ("akiosctl",)
"""Packages that find what they re-export when it is asked for, for those who do not ask."""

# Mechanisms that the standard library gives to everybody, and their one door: attribute → the module that uses it.
DOORS = {
    **dict.fromkeys(("SCM_RIGHTS", "send_fds", "recv_fds"), "akiosd.kernel.scm_rights"),
    **dict.fromkeys(("posix_spawn", "open_process"), "akiosd.kernel.programs"),
    **dict.fromkeys(("CDLL", "PyDLL"), "akiosd.kernel.syscalls"),
    "dlopen": "akiosd.kernel.seccomp",
}


def is_in(module: str, parent: str) -> bool:
    return module == parent or module.startswith(parent + ".")


def owner(module: str) -> str:
    """The package of the table a module belongs to; "" for what is not ours."""
    if is_in(module, "akiosctl"):
        return "akiosctl"
    parts = module.split(".")
    if parts[0] != "akiosd":
        return ""
    return ".".join(parts[:2])


def imports(source: str, module: str, known: frozenset[str]) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, at whatever depth; ``from package import x`` is the module x
    if there is one.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".")[: -node.level]
                base = ".".join([*package, base] if base else package)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield node.lineno, inner if inner in known else base
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "__import__"
        ):
            yield node.lineno, "importlib"


def climbs(module: str, target: str, package: str) -> str:
    """Why ``module`` may not import ``target`` of its own package; "" when it may."""
    order = INSIDE.get(package)
    here, there = (name.removeprefix(package).split(".")[1:2] for name in (module, target))
    if order is None or not there or here == there:
        return ""
    for wing in (*here, *there):
        if wing not in order:
            return f"{package}.{wing} has no place in the order of {package}"
    if not here or order.index(there[0]) > order.index(here[0]):
        return f"{there[0]} comes after {here[0] if here else 'the package itself'} in {package}"
    return ""


def complaint(module: str, target: str) -> str:
    """Why ``module`` may not import ``target``; "" when it may."""
    for restricted, allowed in ONLY.items():
        if is_in(target, restricted) and not any(is_in(module, place) for place in allowed):
            return f"only {', '.join(allowed) or 'nobody'} may import {restricted}"
    here, there = owner(module), owner(target)
    if here not in FLOORS:
        return f"{here} has no floor in the table"
    if not there:
        top = target.partition(".")[0]
        is_pure = FLOORS[here] <= PURE or module in PURE_PARTS
        return f"{here} is pure and knows no {top}" if is_pure and top in IMPURE else ""
    if there not in FLOORS:
        return f"{there} has no floor in the table"
    if module in SHARED:
        return f"{module} is shared, so it knows nothing of ours"
    if here == there:
        return climbs(module, target, here)
    if there in EVERYBODY:
        return ""
    if FLOORS[there] > FLOORS[here]:
        return f"{there} is above {here}"
    if FLOORS[there] == FLOORS[here] and target not in SHARED:
        return f"{there} is a sibling of {here}: what two need belongs in values"
    if here in NARROW:
        highest, besides = NARROW[here]
        if FLOORS[there] > highest and not any(is_in(target, place) for place in besides):
            return f"{here} sees floors 0 to {highest} only"
    return ""


def check(sources: dict[str, str]) -> list[str]:
    """Module name → text; returns ``module:line: import target: why`` for each violation."""
    known = frozenset(sources) | {"akiosd.kernel._shim"}
    found = []
    for module, source in sorted(sources.items()):
        for line, target in imports(source, module, known):
            why = complaint(module, target)
            if why:
                found.append(f"{module}:{line}: import {target}: {why}")
    return found


def find_back_doors(sources: dict[str, str]) -> list[str]:
    """Uses of what stands in ``DOORS`` by other modules than the one that stands there."""
    return [
        f"{module}:{node.lineno}: {node.attr} belongs to {DOORS[node.attr]}"
        for module, source in sources.items()
        if any(name in source for name in DOORS)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and DOORS.get(node.attr, module) != module
    ]


def read_sources(directories: Iterable[str]) -> dict[str, str]:
    found = {}
    for directory in directories:
        for path in (ROOT / directory).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return found


def test_every_import_points_down() -> None:
    sources = read_sources(["akiosd", "akiosctl"])
    assert "akiosd.daemon.main" in sources and "akiosctl.cli" in sources
    violations = check(sources)
    assert not violations, "\n" + "\n".join(violations)


def test_a_mechanism_has_one_door() -> None:
    assert not find_back_doors(read_sources(["akiosd", "akiosctl"]))
    planted = {"akiosctl.client": "import socket\nsocket.send_fds(s, [b'x'], [0])"}
    assert find_back_doors(planted) == [
        "akiosctl.client:2: send_fds belongs to akiosd.kernel.scm_rights"
    ]


def test_packages_re_export_and_do_nothing_else() -> None:
    for name, text in read_sources(["akiosd", "akiosctl"]).items():
        if not (ROOT / Path(*name.split(".")) / "__init__.py").exists():
            continue
        for node in ast.parse(text).body:
            plain = isinstance(node, ast.Import | ast.ImportFrom)
            if name in LAZY:  # names for type checkers, and the function that finds them (PEP 562)
                plain |= isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
                plain |= isinstance(node, ast.FunctionDef) and node.name == "__getattr__"
            value = node.value if isinstance(node, ast.Expr | ast.Assign) else None
            assert plain or isinstance(value, ast.Constant | ast.List | ast.Tuple), (
                f"{name}, line {node.lineno}"
            )


def test_the_build_and_the_scripts_do_not_import_tests() -> None:
    for path in (ROOT / "native").rglob("*.py"):
        assert not [
            t for _, t in imports(path.read_text(), "native", frozenset()) if is_in(t, "tests")
        ], path


PLANTED = [
    ("akiosd.wire.frame", "import os", "pure"),
    ("akiosd.policy.merge", "def f():\n    import time", "pure"),
    ("akiosd.values.ids", "from os.path import join", "pure"),
    ("akiosd.cage.machine", "import trio.lowlevel", "pure"),
    ("akiosd.workflow.plan", "import os", "pure"),
    ("akiosd.wire.messages", "from akiosd.ledger import note", "sibling"),
    ("akiosd.cage.posture", "from akiosd.policy.compile.identity import Lines", "sibling"),
    ("akiosd.kernel.disk", "from akiosd.store.durable import Disk", "sibling"),
    ("akiosd.ledger.note", "from akiosd.policy.merge import merge", "above"),
    ("akiosd.policy.merge", "if TYPE_CHECKING:\n    from akiosd.daemon.host import Host", "above"),
    ("akiosd.store.wal", "from akiosd import daemon", "above"),
    ("akiosd.policy.compile.mounts", "from ...kernel import disk", "above"),
    ("akiosd.errors", "from akiosd.values import units", "sibling"),
    ("akiosd.workflow.runner", "from akiosd.kernel import disk", "floors 0 to 2"),
    ("akiosctl.verbs.run", "from akiosd.kernel import mounts", "floors 0 to 2"),
    ("akiosctl.verbs.run", "from akiosd.store.wal import Wal", "floors 0 to 2"),
    ("akiosctl.client", "from akiosd.daemon.base.config import Config", "floors 0 to 2"),
    ("akiosctl.verbs.serve", "from fastapi import FastAPI", "akiosctl.api"),
    ("akiosd.kernel.probe", "import pyroute2", "akiosd.kernel.netns"),
    ("akiosd.kernel.netns", "import prctl", "akiosd.daemon.main"),
    ("akiosd.store.wal", "import ctypes", "akiosd.kernel.syscalls"),
    ("akiosd.kernel.landlock", "from cffi import FFI", "akiosd.kernel.seccomp"),
    ("akiosd.kernel.syscalls", "from akiosd.errors import KernelError", "knows nothing of ours"),
    ("akiosd.policy.merge", "from akiosd.kernel import syscalls", "above"),
    ("akiosd.workflow.runner", "from akiosd.kernel import scm_rights", "floors 0 to 2"),
    ("akiosd.daemon.host", "from akiosd.kernel import _shim", "akiosd.kernel"),
    ("akiosd.daemon.host", "from akiosd.kernel._shim import lib", "akiosd.kernel"),
    ("akiosd.policy.schema", "import yaml", "akiosd.policy.yaml_lines"),
    ("akiosctl.policy_files", "import yaml", "akiosd.policy.yaml_lines"),
    ("akiosd.daemon.gateways.spend", "import genai_prices", "akiosd.meter.prices"),
    ("akiosd.daemon.gateways.spend", "from akiosd.meter.prices import quote", "akiosd.gateway"),
    ("akiosd.meter.budget", "from akiosd.meter.prices import quote", "akiosd.gateway"),
    ("akiosd.daemon.host", "import importlib", "akiosctl.commands"),
    ("akiosd.daemon.host", "x = __import__('os')", "akiosctl.commands"),
    ("akiosctl.cli", "from tests.e2e import daemon", "nobody"),
    ("akiosd.gateway.net.tls", "from akiosd.gateway.llm import call", "llm comes after net"),
    ("akiosd.gateway.context", "import akiosd.gateway.sites.sites", "sites comes after context"),
    ("akiosd.gateway", "from akiosd.gateway.net import tls", "after the package itself"),
    (
        "akiosd.daemon.host",
        "from akiosd.daemon.cages.run_cage import Cage",
        "cages comes after host",
    ),
    ("akiosd.daemon.odd", "from akiosd.daemon.base import log", "akiosd.daemon.odd has no place"),
    ("akiosd.unheard.of", "import os", "no floor"),
    ("akiosd.daemon.host", "from akiosd.unheard import of", "no floor"),
]


@pytest.mark.parametrize(("module", "source", "why"), PLANTED)
def test_a_planted_violation_is_found(module: str, source: str, why: str) -> None:
    known = (
        "akiosd.daemon",
        "akiosd.kernel.disk",
        "akiosd.kernel.syscalls",
        "akiosd.ledger.note",
        "akiosd.unheard.of",
    )
    found = check({**dict.fromkeys(known, ""), module: source})
    assert len(found) == 1 and why in found[0], found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "akiosd.wire.frame",
            "import struct\nfrom akiosd.errors import ProtocolError\nfrom akiosd import __version__",
        ),
        (
            "akiosd.kernel.disk",
            "import os\nfrom akiosd.kernel import _shim\nfrom akiosd.policy import schema",
        ),
        (
            "akiosd.daemon.base.config",
            "from akiosd.policy import schema\nfrom akiosd.store import fsck",
        ),
        ("akiosd.policy.yaml_lines", "import yaml\nfrom akiosd.policy import schema"),
        (
            "akiosctl.verbs.ledger",
            "import os, click\nfrom akiosd.store.fsck import fsck\nfrom akiosctl import client",
        ),
        ("akiosd.store.wal", "from akiosd.kernel.syscalls import openat2"),
        ("akiosctl.client", "from akiosd.kernel.syscalls import openat2"),
    ],
)
def test_what_points_down_is_left_alone(module: str, source: str) -> None:
    assert check({module: source, "akiosd.store.fsck": "", "akiosctl.client": ""}) == []
