"""All rows, in the order of the table."""

from __future__ import annotations

from tests.compat import rows_agents, rows_languages, rows_node, rows_python, rows_system

ROWS = (
    *(rows_system.ROWS + rows_languages.ROWS),
    *(rows_python.ROWS + rows_node.ROWS + rows_agents.ROWS),
)
