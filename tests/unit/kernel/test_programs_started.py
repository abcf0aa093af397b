"""Every place that starts a program is known, and a Python of ours is started isolated."""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Iterator

import pytest

from akiosd.kernel.programs import find_program, run_program
from tests.test_layers import read_sources

# Who starts what, with whose environment and directory.  subprocess has its rows in
# tests/test_layers.py.
STARTERS = {
    "akiosctl.pager": "the user's PAGER, as the user",
    "akiosctl.standalone": "akiosd, by sys.executable -I",
    "akiosd.workflow.steps.child": "what a tool or MCP step names, in that step's cage",
    "akiosd.kernel.programs": "the system's programs by their paths, ours by sys.executable -I, told nothing, in /; "
    "helpers, which their own modules name: the launcher with no variable, the zygote with fixed ones",
}
STARTING = {
    "system",
    "popen",
    "startfile",
    "Popen",
    "check_output",
    "check_call",
    "getoutput",
    "getstatusoutput",
}
TRIO = {"open_process", "run_process"}
BY_PREFIX = ("exec", "posix_spawn", "spawn")


def starts(source: str) -> Iterator[ast.Call]:
    if not any(module in source for module in ("subprocess", "os", "trio")):
        return  # to parse all of the product takes seconds
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        module, name = ast.unparse(node.func.value), node.func.attr
        by_os = module == "os" and (name in STARTING or name.startswith(BY_PREFIX))
        if module == "subprocess" or by_os or (module.startswith("trio") and name in TRIO):
            yield node


def names_interpreter(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.executable"


def isolated(tree: ast.AST) -> bool:
    """Whether each ``sys.executable`` in a list of words is followed by ``-I``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple) and any(map(names_interpreter, node.elts)):
            at = next(i for i, word in enumerate(node.elts) if names_interpreter(word))
            after = node.elts[at + 1] if at + 1 < len(node.elts) else None
            if not (isinstance(after, ast.Constant) and after.value == "-I"):
                return False
    return True


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return read_sources(["akiosd", "akiosctl"])


def test_only_these_start_programs(sources: dict[str, str]) -> None:
    assert {module for module, text in sources.items() if any(starts(text))} == set(STARTERS)


def test_interpreters_are_isolated(sources: dict[str, str]) -> None:
    # To parse all of the product takes seconds.
    trees = [ast.parse(text) for text in sources.values() if "executable" in text]
    assert all(map(isolated, trees))
    lists = [
        node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.List | ast.Tuple)
    ]
    assert sum(names_interpreter(word) for node in lists for word in node.elts) >= 3, (
        "this test sees them"
    )
    assert not isolated(next(starts("os.execv(p, [sys.executable, '-m', 'x'])"))), "the control"


def test_programs_know_nothing_of_our_surroundings(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    false = os.path.join(tmp_path, "env")
    with open(false, "w") as file:
        file.write("#!/bin/sh\necho planted\n")
    os.chmod(false, 0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:.")
    monkeypatch.setenv("MKE2FS_CONFIG", "x")
    monkeypatch.chdir(tmp_path)
    assert subprocess.run(["env"], capture_output=True, text=True).stdout == "planted\n", (
        "the control"
    )
    words = run_program("env").stdout.split()
    assert sorted(word.partition("=")[0] for word in words) == ["LC_ALL", "PATH"]
    assert run_program("pwd").stdout == "/\n"
    assert run_program("cat").stdout == ""
    assert find_program("env") != false and find_program("no-such-program") is None
    with pytest.raises(FileNotFoundError):
        run_program("no-such-program")
