"""One statement on a PostgreSQL server, through the gateway's raw connection to its name.

The statement goes by the extended protocol, which takes one and no more (postgresql.org/docs,
"Extended Query"), in a transaction that only reads unless the step may write.  A setting of a
session can be undone by whoever may set it, and functions that read files or start programs are no
writes: so a role that could do that is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from akiosd.errors import AkiosError
from akiosd.workflow.steps.documents import missing
from akiosd.workflow.steps.statements import Rows

if TYPE_CHECKING:
    import psycopg

_POWERS = """
SELECT rolsuper OR rolreplication OR rolcreaterole OR rolbypassrls OR EXISTS (
  SELECT FROM pg_roles AS power WHERE power.rolname IN
    ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
  AND pg_has_role(current_user, power.oid, 'MEMBER'))
FROM pg_roles WHERE rolname = current_user
"""
_CHUNK = 100
"""Rows fetched at a time."""


class Database:
    """A connection.  Use as a context manager; a change is kept when the block ends well."""

    def __init__(self, url: str, seconds: float, writes: bool) -> None:
        """Raises :class:`AkiosError`: no library, no connection, a role with more rights than a
        step needs.
        """
        try:
            import psycopg
        except ImportError:
            raise missing("psycopg", "PostgreSQL") from None
        self._psycopg = psycopg
        self._where = f"postgresql://{urlsplit(url).hostname or ''}"
        self._writes = writes
        try:
            self._connection = psycopg.connect(
                url,
                connect_timeout=max(int(seconds), 2),
                options=f"-c statement_timeout={int(seconds * 1000)}",
                application_name="akios",
            )
            self._connection.read_only = not writes
            powers = self._connection.execute(_POWERS).fetchone()
        except psycopg.Error as error:
            raise self._explain(error) from None
        if powers is None or powers[0]:
            self._connection.close()
            raise AkiosError(
                "this role may read files of the server or start programs there, which reading"
                " rows does not need",
                self._where,
                "CREATE ROLE reader LOGIN; GRANT SELECT ON … TO reader; and use that role",
            )

    def __enter__(self) -> Database:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and self._writes:
                self._connection.commit()
        except self._psycopg.Error as error:
            raise self._explain(error) from None
        finally:
            self._connection.close()

    def run(self, sql: str, params: Sequence[Any] | dict[str, Any], rows: Rows) -> None:
        """Do one statement.  Raises :class:`AkiosError`.

        A list is bound to ``$1``, ``$2``; keys to ``%(name)s``.
        """
        kind: type[psycopg.Cursor[Any]] = (
            self._psycopg.Cursor if isinstance(params, dict) else self._psycopg.RawCursor
        )
        cursor = kind(self._connection)
        try:
            if self._writes:
                # By the extended protocol with and without values: prepare asks for it.
                cursor.execute(sql, params, prepare=True)
                found: Iterable[Any] = cursor if cursor.description else ()
            else:
                found = cursor.stream(sql, params, size=_CHUNK)
            for row in found:
                if not rows.names:
                    rows.name([column.name for column in cursor.description or ()])
                if not rows.add(row):
                    break
            rows.changed = max(cursor.rowcount, 0)
        except self._psycopg.Error as error:
            raise self._explain(error) from None

    def _explain(self, error: Exception) -> AkiosError:
        words = str(error).strip().replace("\n", "; ")[:500]
        if isinstance(error, self._psycopg.OperationalError) and not hasattr(self, "_connection"):
            hint = "name the server in allowed_domains, as host:5432, and check the role"
            return AkiosError(f"there is no connection: {words}", self._where, hint)
        return AkiosError(f"PostgreSQL answers: {words}", self._where, "correct the statement")
