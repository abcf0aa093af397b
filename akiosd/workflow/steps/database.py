"""Steps on a database: query (reads), execute (changes rows, with allow_write), count (rows of a
table).

Values are bound, never put into the text of a statement.
"""

from __future__ import annotations

from typing import Any

from akiosd.errors import AkiosError
from akiosd.workflow.steps import postgres, sqlite
from akiosd.workflow.steps.kind import Action, Actions, Form, Time, Work, seconds
from akiosd.workflow.steps.statements import Rows, check_statement

_MAX_ROWS = 10_000
_SCHEMES = ("postgres://", "postgresql://")


class Config(Form):
    """``database``: a file of the workspace (SQLite), or a postgresql:// URL; AKIOS 1.4 called it
    ``database_url`` and ``connection_string``.

    ``paths``: where a file may lie.  ``max_rows`` is at most 10,000; ``max_bytes`` is of the values
    together.
    """

    database: str = ""
    database_url: str = ""
    connection_string: str = ""
    paths: list[str] = []
    allow_write: bool = False
    max_rows: int = 1_000
    max_bytes: int = 10 << 20
    truncate: bool = False
    timeout: Time = 30


class Query(Form):
    """``params``: a list for ``?`` (SQLite) or ``$1`` (PostgreSQL); keys for ``:name`` or
    ``%(name)s``.
    """

    query: str
    params: list[Any] | dict[str, Any] = []


class Count(Form):
    table: str


def query(work: Work, config: Config, wanted: Query) -> None:
    """One statement that reads."""
    check_statement(wanted.query, writes=False)
    _run(work, config, wanted.query, wanted.params, writes=False)


def execute(work: Work, config: Config, wanted: Query) -> None:
    """One statement that may change rows."""
    if not config.allow_write:
        raise AkiosError(
            "this step may only read",
            "database: config",
            "set allow_write: true, if it is to write",
        )
    check_statement(wanted.query, writes=True)
    _run(work, config, wanted.query, wanted.params, writes=True)


def count(work: Work, config: Config, wanted: Count) -> None:
    """The number of rows of a table; with a schema: ``schema.table``."""
    if "\0" in wanted.table or not wanted.table:
        raise AkiosError("there is no such table", "database: parameters.table", "name a table")
    name = ".".join('"' + part.replace('"', '""') + '"' for part in wanted.table.split("."))
    _run(work, config, f"SELECT count(*) AS count FROM {name}", [], writes=False)
    work.outputs["count"] = work.outputs["rows"][0]["count"]


def _run(work: Work, config: Config, sql: str, params: Any, *, writes: bool) -> None:
    most = min(config.max_rows, _MAX_ROWS)
    work.sent += len(sql)
    rows = Rows(most, config.max_bytes)
    with _open(config, writes) as database:
        database.run(sql, params, rows)
        if rows.is_cut and not config.truncate:
            # Raised here, so that nothing is kept of a statement whose answer cannot be told.
            raise AkiosError(
                f"the answer has more than {most} rows",
                "database",
                f"add a LIMIT, set max_rows (at most {_MAX_ROWS}), or truncate: true",
            )
        work.may_be_done = writes  # what fails from here on is the commit
    work.received += rows.size
    if rows.is_cut:
        work.notes.append(f"the answer was cut after {most} rows")
        work.outputs["truncated"] = True
    work.outputs |= {"columns": rows.names, "rows": rows.rows, "row_count": len(rows.rows)}
    if writes:
        work.outputs["changed"] = rows.changed


def _open(config: Config, writes: bool) -> sqlite.Database | postgres.Database:
    where = config.database or config.database_url or config.connection_string
    if not where:
        raise AkiosError("there is no database", "database: config.database", "name one")
    if where.startswith(_SCHEMES):
        return postgres.Database(where, seconds(config.timeout), writes)
    if "://" in where and not where.startswith("sqlite:///"):
        raise AkiosError(
            "this is neither the path of a file nor a postgresql:// URL",
            "database: config.database",
            "write a path of the workspace, or postgresql://USER@HOST/NAME",
        )
    path = where.removeprefix("sqlite:///")
    return sqlite.Database(path, config.paths or ["."], seconds(config.timeout), writes)


ACTIONS: Actions = {
    "query": Action(Config, Query, query),
    "execute": Action(Config, Query, execute),
    "count": Action(Config, Count, count),
}
