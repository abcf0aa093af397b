"""The daemon before the stand-in models, and the table of outcomes, written at the end when
``AKIOS_COMPAT_TABLE`` names a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat.rows import ROWS
from tests.compat.rows_agents import NOT_HAD
from tests.compat.runs import Outcome
from tests.compat.table import render, render_first_runs
from tests.e2e.daemon import Daemon
from tests.e2e.models import Models
from tests.e2e.standing import before_models


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if "tests/compat" in str(item.path):
                item.add_marker(pytest.mark.skip(reason="needs root: the daemon makes cages"))


TRIED: list[Outcome] = []
FIRST_RUNS: list[Outcome] = []


@pytest.fixture(scope="session")
def stand_in() -> Iterator[Models]:
    with Models() as running:
        yield running


@pytest.fixture(scope="session")
def standing(stand_in: Models) -> Iterator[Daemon]:
    """A daemon whose providers are the stand-ins, with a key for each."""
    with before_models(stand_in, "allow_widening: true\n") as daemon:
        yield daemon


@pytest.fixture(scope="session")
def outcomes() -> Iterator[list[Outcome]]:
    yield TRIED
    if TRIED and (path := os.environ.get("AKIOS_COMPAT_TABLE")):
        table = Path(path)
        before = table.read_text() if table.exists() else ""
        table.write_text(render(ROWS, TRIED, NOT_HAD, before))


@pytest.fixture(scope="session")
def first_runs() -> list[Outcome]:
    """What the first runs of agents showed; printed at the end."""
    return FIRST_RUNS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    missing = dict.fromkeys(
        one.words.split()[2]
        for one in (*TRIED, *FIRST_RUNS)
        if one.verdict == "skipped" and one.words.startswith("the package ")
    )
    if missing:
        terminalreporter.section("not tried")
        terminalreporter.write_line(f"for these too: apt-get install {' '.join(missing)}")
    if FIRST_RUNS:
        terminalreporter.section("first runs of agents")
        for line in render_first_runs(FIRST_RUNS):
            terminalreporter.write_line(line)
