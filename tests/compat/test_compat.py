"""Programs, agents and SDKs in a cage, one row each: the same output as outside, or a refusal in
words.
"""

from __future__ import annotations

import pytest

from tests.compat import rows_agents, rows_languages, rows_node, rows_python, rows_system
from tests.compat.installs import MissingError
from tests.compat.row import Row
from tests.compat.runs import Outcome, try_row
from tests.e2e.daemon import Daemon
from tests.e2e.models import Models

ROWS = (
    *(rows_system.ROWS + rows_languages.ROWS),
    *(rows_python.ROWS + rows_node.ROWS + rows_agents.ROWS),
)
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
