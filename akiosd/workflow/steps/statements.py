"""What kind of SQL statement a text is, by its first word: comments and blanks before it are passed
over.

This gives early and plain words.  What a statement may do is held by the database: one statement by
the protocol, a transaction that only reads, SQLite's authorizer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from akiosd.errors import AkiosError

# Comments of SQL nest in PostgreSQL and do not in SQLite; one that nests is refused by its rest.
_BLANK = re.compile(r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*", re.DOTALL)
_WORD = re.compile(r"[A-Za-z]+")
READS = ("SELECT", "WITH", "VALUES")
WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE")
MAX_SQL = 100_000
"""Characters of a statement."""


def check_statement(sql: str, *, writes: bool) -> None:
    """Raises :class:`AkiosError` unless it begins as one that reads or, with ``writes``, changes
    rows.
    """
    if len(sql) > MAX_SQL or "\0" in sql:
        raise AkiosError(
            f"the statement has more than {MAX_SQL} characters, or a NUL byte in it",
            "database: parameters.query",
            "bind values as params",
        )
    begin = _BLANK.match(sql)
    found = _WORD.match(sql, begin.end() if begin else 0)
    begins = (
        f"write one statement that begins with {' or '.join(READS + (WRITES if writes else ()))}"
    )
    if found is None:
        raise AkiosError(
            "the statement does not begin with a word", "database: parameters.query", begins
        )
    word = found[0].upper()
    if word in READS or (writes and word in WRITES):
        return
    if word in WRITES:
        raise AkiosError(
            f"{word} changes rows, and this action only reads",
            "database: parameters.query",
            "use the action execute, with allow_write: true in the step's config",
        )
    raise AkiosError(
        f"a step cannot execute a statement that begins with {word}",
        "database: parameters.query",
        begins,
    )


class Rows:
    """The rows of an answer, as they come, up to a number and to a size."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self.names: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.size = self.changed = 0
        self.is_cut = False

    def name(self, columns: Sequence[str]) -> None:
        """The names of the columns; one that stands twice gets a number."""
        for column in columns:
            number, name = 2, column
            while name in self.names:
                number, name = number + 1, f"{column}_{number}"
            self.names.append(name)

    def add(self, row: Sequence[Any]) -> bool:
        """False when there is no room for another.  Raises :class:`AkiosError` when their size goes
        beyond what they may have.
        """
        if len(self.rows) == self._most:
            self.is_cut = True
            return False
        self.size += sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
        if self.size > self._most_bytes:
            raise AkiosError(
                f"the answer has more than {self._most_bytes} bytes",
                "database",
                "ask for fewer columns or rows, or set max_bytes in the step's config",
            )
        self.rows.append(dict(zip(self.names, row, strict=True)))
        return True
