"""Programs, agents and SDKs in a cage, one row each: the same output as outside, or a refusal in
words.
"""

from __future__ import annotations

import pytest

from tests.compat.installs import MissingError
from tests.compat.row import Row
from tests.compat.rows import ROWS
from tests.compat.rows_agents import NOT_HAD
from tests.compat.runs import Outcome, try_row
from tests.compat.table import read_lines, render
from tests.e2e.daemon import Daemon
from tests.e2e.models import Models

CORE = [row for row in ROWS if row.core]
each = pytest.mark.parametrize("row", ROWS, ids=[f"{row.kind}:{row.name}" for row in ROWS])


@pytest.mark.parametrize("row", CORE, ids=[row.name for row in CORE])
def test_core(row: Row, standing: Daemon, stand_in: Models) -> None:
    try:
        try_row(row, standing, stand_in)
    except MissingError as error:
        pytest.skip(str(error))


@pytest.mark.named_set("compat")
@pytest.mark.timeout(900)
@each
def test_program(row: Row, standing: Daemon, stand_in: Models, outcomes: list[Outcome]) -> None:
    try:
        outcomes.append(try_row(row, standing, stand_in))
    except MissingError as error:
        outcomes.append(Outcome(row, "", "skipped", str(error)))
        pytest.skip(str(error))


def test_the_table_names_each_once() -> None:
    names = [(row.kind, row.name) for row in ROWS]
    assert len(names) == len(set(names)) >= 100 and len(CORE) >= 35
    for row in ROWS:
        assert row.source.partition(":")[0] in ("debian", "pypi", "npm", "host"), row.name
        assert row.control == "" or row.shows or row.refused, row.name


def test_a_run_of_some_rows_renews_their_lines_alone() -> None:
    first, second = ROWS[0], next(row for row in ROWS if row.kind == "SDKs")
    outcomes = [Outcome(first, "1", "works"), Outcome(second, "2", "refused", "no words")]
    text = render(ROWS, outcomes, NOT_HAD)
    assert len(read_lines(text)) == 2 and "1 work, 1 are refused, 0 were not there" in text
    assert render(ROWS, [], NOT_HAD, text) == text
    renewed = render(ROWS, [Outcome(first, "3", "works")], NOT_HAD, text)
    lines, before = read_lines(renewed), read_lines(text)
    assert "| 3 |" in lines.pop((first.kind, first.name))
    assert lines == {("SDKs", second.name): before["SDKs", second.name]}
    gone = [Outcome(second, "", "skipped", "the package is not installed")]
    assert render(ROWS, gone, NOT_HAD, text) == text, "a program that is not there keeps its line"
