"""Where akiosd's files are is written in one module; every message names those that it has."""

from __future__ import annotations

import ast
from pathlib import Path

import akiosctl
import akiosd
from akiosd.daemon.main import parse_arguments
from akiosd.values import places, trust

WRITTEN_IN = (places, trust)


def test_no_other_module_writes_out_the_names_of_the_settings() -> None:
    """Who is told a name is told that of the akiosd that runs, which may have others."""
    own = {Path(str(module.__file__)) for module in WRITTEN_IN}
    found = []
    for package in (akiosd, akiosctl):
        for file in Path(package.__path__[0]).rglob("*.py"):
            if file in own or "/etc/akios" not in file.read_text():
                continue
            found += [
                f"{file}:{node.lineno}"
                for node in ast.walk(ast.parse(file.read_text()))
                if isinstance(node, ast.Constant) and "/etc/akios/" in str(node.value)
            ]
    assert found == []


def test_a_relative_name_of_the_configuration_stays_true_in_another_directory() -> None:
    assert parse_arguments(["--config", "own.yaml"]).config == Path.cwd() / "own.yaml"
    assert parse_arguments([]).config is None
