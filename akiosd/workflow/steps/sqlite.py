"""One statement on a SQLite file of the workspace.

A connection that only reads can be undone from SQL (``ATTACH`` opens another file for writing,
``PRAGMA query_only=0`` ends another fence), so every action of a statement is asked for
(sqlite.org/c3ref/set_authorizer.html) and all that does more than read or change rows is denied.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from akiosd.errors import AkiosError
from akiosd.workflow.steps.beneath import Place
from akiosd.workflow.steps.statements import Rows

_READING = (
    *(sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION),
    sqlite3.SQLITE_RECURSIVE,
)
_WRITING = (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE)
# Functions that do more than to compute: load_extension runs code, the others are of the shell and
# of extensions, should a library be built with them.
_DENIED = ("load_extension", "readfile", "writefile", "edit", "fts3_tokenizer")
_TABLES = "sqlite_"
_STEPS = 10_000
"""Instructions of SQLite's machine between two looks at the clock."""
_LIMITS = {
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LENGTH: 64 << 20,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 50,
}


class Database:
    """An open file.  Use as a context manager; a change is kept when the block ends well."""

    def __init__(self, path: str, allowed: Sequence[str], seconds: float, writes: bool) -> None:
        """Raises :class:`AkiosError` when there is no such file; none is made."""
        with Place(path, allowed) as place:
            fd = place.open_regular(os.O_RDWR if writes else os.O_RDONLY)
            real = os.readlink(f"/proc/self/fd/{fd}")
            os.close(fd)
        self._path, self._writes = path, writes
        mode = "rw" if writes else "ro"
        try:
            self._connection = sqlite3.connect(
                f"file:{quote(real)}?mode={mode}", uri=True, timeout=5, isolation_level="DEFERRED"
            )
        except sqlite3.Error as error:
            raise self._explain(error) from None
        for limit, most in _LIMITS.items():
            self._connection.setlimit(limit, most)
        deadline = time.monotonic() + seconds
        self._connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)

    def __enter__(self) -> Database:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._connection.set_authorizer(None)
        try:
            if kind is None and self._writes:
                self._connection.commit()
        except sqlite3.Error as error:
            raise self._explain(error) from None
        finally:
            self._connection.close()

    def run(self, sql: str, params: list[Any] | dict[str, Any], rows: Rows) -> None:
        """Do one statement.  Raises :class:`AkiosError`."""
        # Opening a transaction is Python's own statement, and not one of the text.
        if self._writes:
            self._connection.execute("BEGIN IMMEDIATE")
        self._connection.set_authorizer(self._authorize)
        try:
            cursor = self._connection.execute(sql, params)
            rows.name([column[0] for column in cursor.description or ()])
            for row in cursor:
                if not rows.add(row):
                    break
        except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
            raise self._explain(error) from None
        rows.changed = max(cursor.rowcount, 0)

    def _authorize(
        self, action: int, first: str | None, second: str | None, _: str | None, __: str | None
    ) -> int:
        if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _DENIED:
            return sqlite3.SQLITE_DENY
        if action in _READING:
            return sqlite3.SQLITE_OK
        # The schema is rows, too.
        is_schema = (first or "").lower().startswith(_TABLES)
        if self._writes and action in _WRITING and not is_schema:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    def _explain(self, error: Exception) -> AkiosError:
        words = str(error)
        if words == "interrupted":
            return AkiosError(
                "the statement took too long", self._path, "set timeout in the step's config"
            )
        if any(word in words for word in ("not authorized", "prohibited", "authorization denied")):
            return AkiosError(
                f"the statement does more than this step may: {words}",
                self._path,
                "a step reads rows, and with allow_write changes them; nothing else",
            )
        return AkiosError(f"SQLite answers: {words}", self._path, "correct the statement")
