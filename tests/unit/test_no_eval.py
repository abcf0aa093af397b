"""No input is ever compiled: not by our code, and not by a library through which input goes.

The first test reads the tree, the second watches Python itself (audit events ``compile`` and
``exec``, docs.python.org/3/library/audit_events.html) while hostile workflows are read.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_layers import ROOT, read_sources

COMPILERS = ("eval", "exec", "compile", "__import__", "execfile")
# Attributes that lead there by another door: module → names.
DOORS = {
    "builtins": COMPILERS,
    "code": ("InteractiveInterpreter", "InteractiveConsole", "compile_command"),
    "codeop": ("compile_command", "Compile"),
    "runpy": ("run_path", "run_module"),
    "pickle": ("loads", "load", "Unpickler"),
    "marshal": ("loads", "load"),
    "types": ("FunctionType", "CodeType"),
}


def compiles(source: str) -> list[str]:
    """``line: name`` of every use of something that makes code of data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and node.id in COMPILERS:
            found.append(f"{node.lineno}: {node.id}")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in DOORS.get(node.value.id, ()):
                found.append(f"{node.lineno}: {node.value.id}.{node.attr}")
        elif isinstance(node, ast.ImportFrom) and node.module in DOORS:
            names = [alias.name for alias in node.names if alias.name in DOORS[node.module]]
            found += [f"{node.lineno}: {node.module}.{name}" for name in names]
    return found


def test_nothing_in_the_product_makes_code_of_data() -> None:
    sources = read_sources(["akiosd", "akiosctl"])
    assert {name: compiles(text) for name, text in sources.items() if compiles(text)} == {}


@pytest.mark.parametrize(
    "source",
    [
        "eval(x)", "exec(x)", "f = compile", "import builtins\nbuiltins.eval(x)",
        "from pickle import loads", "import runpy\nrunpy.run_path(x)", "__import__('os')",
    ],
)  # fmt: skip
def test_a_planted_one_is_found(source: str) -> None:
    assert compiles(source)
    assert not compiles("import re\nre.compile(x)\nself.exec_ = 1"), "the control"


WATCHED = """
import sys
from akiosd.policy.merge import merge_explained
from akiosd.errors import AkiosError
from akiosd.workflow.check import make_plan
from akiosd.workflow.condition import parse_condition
from akiosd.workflow.draw import drawing, mermaid
from akiosd.workflow.evaluate import holds
from akiosd.workflow.explain import explain_lines
from akiosd.workflow.interpolate import fill
from akiosd.workflow.references import Done, Scope
from akiosd.workflow.schema import read_workflow

MARK = "zq" + "marker"
CODE = f"__import__('os').system('{MARK}')"
SCOPE = Scope(inputs={"x": CODE}, steps={"a": Done("success", {"text": CODE})}, variables={"V": CODE})
CONDITIONS = [CODE, f"inputs.x == {CODE!r}", f"eval({CODE!r})", f"matches(inputs.x, {CODE!r})",
              f"size({CODE!r}) > 3", f"inputs.x.{MARK}", "inputs.x.__class__"]
VALUES = [CODE, "{inputs.x}", "${V}", "{steps.a.outputs.text}", "{inputs.x.__class__}", [CODE]]
ROW = "name: x\\ninputs: {x: {default: %s}}\\nsteps:\\n- {name: a, agent: http, action: get, if: %s, " \
      "matrix: {m: [%s]}, parameters: {url: %s}, policy: {limits: {memory: 4M}}}\\n"

def everything():
    for text in (ROW % ((repr(CODE),) * 4), ROW % ("a", "true", "b", '"{inputs.x}"'), CODE,
                 f"!!python/object/apply:os.system ['{MARK}']", f"!!python/name:{MARK} x"):
        attempt(lambda: show(text))
    for condition in CONDITIONS:
        attempt(lambda: holds(parse_condition(condition), SCOPE))
    for value in VALUES:
        attempt(lambda: fill(value, SCOPE))

def show(text):
    plan = make_plan(read_workflow(text.encode(), "w.yml"), merge_explained([]))
    if plan is not None:
        drawing(plan), mermaid(plan), explain_lines(plan)

def attempt(call):
    try:
        call()
    except AkiosError:
        pass

everything()  # what is imported and cached at the first use, such as patterns of re, is there now
seen = []
def hook(event, arguments):
    if event in ("compile", "exec", "os.system", "subprocess.Popen", "import", "code.__new__"):
        seen.append((event, str(arguments)[:200]))
sys.addaudithook(hook)
everything()
if "control" in sys.argv:
    exec(compile(f"'{MARK}'", "control", "exec"))
print(seen)
"""


@pytest.mark.parametrize("control", [False, True])
def test_no_library_compiles_what_a_workflow_says(control: bool, tmp_path: Path) -> None:
    script = tmp_path / "watched.py"
    script.write_text(WATCHED)
    words = [sys.executable, str(script), *(["control"] if control else [])]
    done = subprocess.run(
        words, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert ("zqmarker" in done.stdout and "compile" in done.stdout) is control, done.stdout
    assert (done.stdout.strip() == "[]") is not control
