"""Every definition of the product is reached from the product: what only tests reach is dead, and
goes with its tests.

The finders are ``tests/dead_code.py`` (Python) and ``tests/dead_c.py`` (C); what they cannot see is
in the tables here, each with its reason.  An entry that is not needed any more fails, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from akiosd.values.providers import FACTS
from akiosd.values.syscalls import COUNTED
from tests.dead_c import dead_native
from tests.dead_code import Graph, named_in
from tests.test_layers import ROOT, read_sources

PRODUCT = ("akiosd", "akiosctl", "native")
NAMING = ("native", "packaging", "systemd", "pyproject.toml")
"""Besides the product's own Python: what starts a module, or names a function in it."""

KEPT: dict[str, str] = {
    **{
        f"akiosd.kernel.syscalls.{name}._fields_": "ctypes reads it"
        for name in ("_CapData", "_CapHeader", "_FileHandle", "_FilterProgram", "_OpenHow")
    },
    "akiosd.workflow.condition_tokens.Call.function": "a pattern reads it by its place",
    "akiosctl.fence.Fence.writelines": "it stands in the place of sys.stdout: a library may call it, past the fence",
    **{
        f"akiosd.gateway.llm.providers.{name}{part}": "registry.py imports the modules of the table of providers"
        for name in FACTS
        for part in ("", ".PROVIDER")
    },
    **{
        f"akiosd.values.policy.ProjectsMay.{name}": "read by the names of policy/fields.py (Field.may)"
        for name in (
            *("cpu", "cpu_time", "site_requests_per_minute", "usd", "usd_per_minute", "wall_clock"),
        )
    },
    "native.build_shim.BuildExt.force": "setuptools reads it",
    "native.build_shim.BuildScripts.scripts": "setuptools reads it",
    **{
        f"akiosd.policy.compile.limits.Bounds.{name}": "read by the names of values.syscalls.COUNTED"
        for name in COUNTED
    },
}

WRITTEN = (
    *("akiosd.values.records", "akiosd.wire.messages", "akiosd.wire.gateway"),
    *("akiosd.values.step_call", "akiosd.values.approval"),
)
"""What is defined here is read by others: by tools that read logs, by other clients.  It lives
where it is written.
"""
TOLD = ("akiosctl.help.schemas", "akiosctl.api.forms", "akiosctl.api.view_forms")
"""What is defined here describes JSON that others read; tests/e2e/test_examples.py and
tests/e2e/test_api.py hold it true.
"""
OFFERED = tuple(f"akiosctl.library.{name}" for name in ("aio", "cage", "values"))
"""What is defined here is used by programs of others: from akiosctl import Cage."""
BOUND = tuple(f"akiosctl.top.{name}" for name in ("app", "grid", "screens"))
"""Here textual calls ``action_NAME`` for a key that is bound to NAME, and ``on_NAME`` for an event
of that name.
"""
FILLED: dict[str, str] = {
    **{
        f"akiosd.wire.messages.{name}": "the client that imports nothing writes it as a plain map (akiosctl/client.py)"
        for name in (
            *("Attach", "Bind", "Detach", "Program", "Rejoin", "Run", "ShellRefused", "Signal"),
            "Tty",
        )
    },
}

BY_ORDER = "constant AKIOS_COUNTED_"
"""Python names these by their order, values.syscalls.COUNTED."""
NATIVE_KEPT: dict[str, str] = {
    **{
        f"constant AKIOS_FAULT_{name}": "a bit found by shifting AKIOS_FAULT_PATH"
        for name in ("PATH2", "ARGV", "SOCKADDR")
    },
    **{
        f"field {name}": "struct clone_args is the kernel's"
        for name in (
            *(
                "child_tid",
                "exit_signal",
                "parent_tid",
                "set_tid",
                "set_tid_size",
                "stack",
                "stack_size",
                "tls",
            ),
        )
    },
    "field pad": "it fills a gap",
    "function main": "where a program begins",
}


def texts() -> Iterator[str]:
    for name in NAMING:
        for path in [ROOT / name, *(ROOT / name).rglob("*")]:
            if path.is_file() and path.suffix in (
                "",
                ".c",
                ".h",
                ".sh",
                ".py",
                ".toml",
                ".service",
            ):
                yield path.read_text()


@cache
def product() -> tuple[Graph, set[str]]:
    roots = {name for text in texts() for name in named_in(text)}
    graph = Graph(read_sources(PRODUCT))
    bound = {
        name
        for name, found in graph.all.items()
        if found.module in BOUND and name.rpartition(".")[2].startswith(("action_", "on_"))
    }
    return graph, {*roots, *bound, "akiosd", "akiosctl", "native"}


def dead(graph: Graph, roots: set[str], kept: dict[str, str]) -> list[str]:
    alive = graph.reached({*roots, *kept})
    lost = (found for found in graph.all.values() if found.name not in alive)
    # Members of a dead class are not told again.
    return sorted(found.name for found in lost if not found.owner or found.owner in alive)


def unwritten(graph: Graph, alive: set[str], modules: tuple[str, ...]) -> list[str]:
    """Messages and records of which none is made."""
    made = {name for found in graph.all.values() if found.name in alive for name in found.calls}
    based = {base for found in graph.all.values() for base in found.bases}
    return sorted(
        name
        for name, found in graph.all.items()
        if found.module in modules and found.bases and name not in made and name not in based
    )


def test_every_definition_is_reached() -> None:
    graph, roots = product()
    names = dict.fromkeys(
        (n for n, d in graph.all.items() if d.owner and d.module in (*WRITTEN, *TOLD, *OFFERED)), ""
    )
    assert dead(graph, roots, KEPT | names) == []


def test_every_record_and_message_is_written_by_somebody() -> None:
    graph, roots = product()
    assert set(unwritten(graph, graph.reached({*roots, *KEPT}), WRITTEN)) == set(FILLED)


def test_every_exception_is_needed() -> None:
    graph, roots = product()
    assert set(dead(graph, roots, {})) >= set(KEPT)


def test_every_native_definition_is_named() -> None:
    sources = [path.read_text() for path in (ROOT / "native").rglob("*.[ch]")]
    python = "\n".join(read_sources(["akiosd/kernel"]).values())
    found = {name for name in dead_native(sources, python) if not name.startswith(BY_ORDER)}
    assert found == set(NATIVE_KEPT)


PLANTED = [
    ("def unused():\n    return 1", "akiosd.planted.unused"),
    ("def one():\n    return two()\ndef two():\n    return one()", "akiosd.planted.one"),
    ("def calls():\n    return helper()\ndef helper():\n    return 1", "akiosd.planted.helper"),
    ("LIMIT = 3", "akiosd.planted.LIMIT"),
    ("FIRST, SECOND = 1, 2\nprint(FIRST)", "akiosd.planted.SECOND"),
    ("class Unused:\n    pass", "akiosd.planted.Unused"),
    ("class A:\n    def method(self): ...\nA()", "akiosd.planted.A.method"),
    ("class A:\n    @property\n    def size(self): ...\nA()", "akiosd.planted.A.size"),
    (
        "class A(Struct):\n    shown: int\n    hidden: int = 0\nprint(A(1).shown)",
        "akiosd.planted.A.hidden",
    ),
    ("class A:\n    def __init__(self):\n        self.kept = 1\nA()", "akiosd.planted.A.kept"),
    (
        "class A:\n    def __init__(self):\n        self.n = 1\n        self.n += 1\nA()",
        "akiosd.planted.A.n",
    ),
    ("class E(Enum):\n    SEEN = 1\n    LOST = 2\nprint(E.SEEN)", "akiosd.planted.E.LOST"),
    ("limit = 1\ndef f():\n    limit = 2\n    return limit\nf()", "akiosd.planted.limit"),
    ("from akiosd.other import shared\ndef f():\n    return shared()", "akiosd.other.shared"),
    ("class A:\n    def _own(self): ...\nA()\nclass B:\n    pass\nB()", "akiosd.planted.A._own"),
    (
        "class A:\n    def run(self): ...\nclass B(A):\n    def run(self): ...\nB()",
        "akiosd.planted.B.run",
    ),
]
ALIVE = [
    "def f():\n    return 1\nf()",
    "from akiosd import other\nother.shared()",
    "from akiosd.other import shared as s\ns()",
    "class A:\n    def go(self): ...\nA().go()",
    "class A:\n    def go(self): ...\nclass B(A):\n    def go(self): ...\nA().go()\nB()",
    "import threading\nclass A(threading.Thread):\n    def run(self): ...\nA()",
    "class A:\n    def go(self): ...\ngetattr(A(), 'go')",
    "class A:\n    x: int\nmatch A():\n    case A(x=3): ...",
    "@group.command()\ndef verb(): ...",
    "count = 0\ndef f():\n    global count\n    count += 1\n    print(count)\nf()",
    "class A:\n    def __enter__(self): ...\nwith A(): ...",
    "import akiosd.other\nakiosd.other.shared()",
    "size = 1\ndef f(size=size):\n    print(size)\nf()",
    "print('python -m akiosd.other')",
]


def planted(source: str) -> Graph:
    return Graph(
        {
            "akiosd": "",
            "akiosd.planted": source,
            "akiosd.other": "def shared(): ...\ndef spare(): ...",
        }
    )


@pytest.mark.parametrize(("source", "name"), PLANTED)
def test_planted_dead_code_is_found(source: str, name: str) -> None:
    assert name in dead(planted(source), {"akiosd.planted", "akiosd.other"}, {})


@pytest.mark.parametrize("source", ALIVE)
def test_what_is_used_is_left_alone(source: str) -> None:
    found = dead(planted(source), {"akiosd.planted"}, {})
    assert [name for name in found if name.startswith("akiosd.planted.")] == []
    assert ("akiosd.other" in found) is ("other" not in source)


def test_a_module_that_nobody_imports_is_dead() -> None:
    assert dead(planted(""), {"akiosd.planted"}, {}) == [
        "akiosd.other",
        "akiosd.other.shared",
        "akiosd.other.spare",
    ]


def test_a_message_that_nobody_makes_is_found() -> None:
    source = "class M(Struct): ...\nclass Sent(M): ...\nclass Lost(M): ...\nprint(Sent(), Lost)"
    graph = planted(source)
    alive = graph.reached({"akiosd.planted"})
    assert unwritten(graph, alive, ("akiosd.planted",)) == ["akiosd.planted.Lost"]


def test_planted_dead_c_is_found() -> None:
    header = "#ifndef A_H\n#define A_H\n#define WIDTH 3\n#define SPARE 4\nint used(void);\nint unused(void);\n#endif"
    source = """enum kind { FIRST = 1, LAST };  /* unused() */
    struct place { int line, column; uint8_t rest[3]; };
int used(void) { return WIDTH; }
int unused(void)
{
    struct place at = {.line = FIRST};
    return at.line;
}
static int main_part(void) { return unsaid(1); }
"""
    found = {
        "macro SPARE",
        "function unused",
        "constant LAST",
        "field column",
        "field rest",
        "function main_part",
    }
    assert set(dead_native([header, source], "lib.used()")) == found
