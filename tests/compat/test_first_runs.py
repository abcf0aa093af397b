"""The first run of each agent: a home that is fresh, what the README says, and nothing else."""

from __future__ import annotations

import pytest

from tests.compat import rows_agents, rows_python
from tests.compat.installs import MissingError
from tests.compat.row import Row
from tests.compat.runs import Outcome, try_row
from tests.e2e.daemon import Daemon
from tests.e2e.models import Models

FRAMEWORKS = (
    *("OpenAI Agents SDK", "LangChain agent", "LangGraph", "Pydantic AI", "smolagents"),
    *("CrewAI", "AutoGen", "Google ADK", "Strands Agents", "Claude Agent SDK"),
)
FIRST = (
    *rows_agents.ROWS,
    *(row for row in rows_python.SDKS if row.name in FRAMEWORKS),
)


@pytest.mark.named_set("first_runs")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("row", FIRST, ids=[row.name for row in FIRST])
def test_first_run(
    row: Row,
    standing: Daemon,
    stand_in: Models,
    first_runs: list[Outcome],
    outcomes: list[Outcome],
) -> None:
    try:
        first_runs.append(try_row(row, standing, stand_in))
        outcomes.append(first_runs[-1])
    except MissingError as error:
        first_runs.append(Outcome(row, "", "skipped", str(error)))
        pytest.skip(str(error))


def test_at_least_twenty() -> None:
    assert len(FIRST) >= 20 and len({row.name for row in FIRST}) == len(FIRST)
