"""Opens a SQLite file that a stranger made: read-only, immutable, bounded, with whatever columns it happens to have.

Nothing that the file brings along runs: only its plain tables are read, never a view, a trigger or a virtual table,
and a query that would touch one is not even compiled.
"""

from __future__ import annotations

import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vault_importer.refusals import BackupRefused

__all__ = ["SqliteSource", "clean"]

#: No text, blob or row may be larger; a message has at most 65,536 characters.
MAX_VALUE_BYTES = 64 * 1024 * 1024
CACHE_KIB = 32 * 1024
#: Real ones: a table's text has a few thousand characters, a row 150 columns, our queries ten tables.
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: MAX_VALUE_BYTES,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 256 * 1024,
    sqlite3.SQLITE_LIMIT_COLUMN: 1_000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 32,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
LENIENT = partial(str, encoding="utf-8", errors="replace")
#: SQLite's errors can quote what is damaged, and that need not be text.
DAMAGED = (sqlite3.DatabaseError, UnicodeDecodeError)
#: How often the time is looked at: about every 20 ms.
STEPS = 1_000_000
#: Before the process is ended for good.
SECONDS_TO_SAY_SO = 1
#: Of SQLite itself, and what our queries unfold JSON with.
OWN_TABLES = frozenset({"sqlite_master", "json_each"})
ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE})
FORBIDDEN_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer"})


def clean(value: object) -> str:
    """Any SQLite value as text that Postgres accepts: columns have no types there, and Postgres knows no NUL."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = value if isinstance(value, str) else str(value)
    return text.replace("\x00", "") if "\x00" in text else text


class SqliteSource:
    """A connection and what its tables look like."""

    def __init__(self, path: Path) -> None:
        uri = f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1"
        self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        try:
            self._configure()
            self.tables = self._tables()
            # It is made when it is first used, by statements that a query may not have.
            self._connection.execute("SELECT 1 FROM json_each('[]')").fetchall()
            self._connection.set_authorizer(self._authorize)
            self._connection.text_factory = str
        except DAMAGED:
            self.close()
            raise BackupRefused("not_sqlite", "The file is not a SQLite database, or a damaged one.") from None

    def _configure(self) -> None:
        connection = self._connection
        connection.text_factory = LENIENT
        for limit, bound in LIMITS.items():
            connection.setlimit(limit, bound)
        connection.set_progress_handler(_out_of_time, STEPS)
        for pragma in (
            "query_only=1",
            "trusted_schema=0",
            "cell_size_check=1",
            "mmap_size=0",
            "temp_store=FILE",
            f"cache_size=-{CACHE_KIB}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    def _tables(self) -> dict[str, frozenset[str]]:
        # SQLite writes these words itself, whatever was typed; a virtual table begins otherwise.
        names = self._connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND sql GLOB 'CREATE TABLE *'"
        ).fetchall()
        return {
            name: frozenset(row[1] for row in self._connection.execute(f"PRAGMA table_info({_quoted(name)})"))
            for (name,) in names
            if isinstance(name, str)
        }

    def _authorize(self, action: int, first: str | None, second: str | None, _: str | None, inner: str | None) -> int:
        """What a query may do while it is compiled; ``inner`` is the view or trigger that wants it."""
        if inner is None and (
            action in ALLOWED
            or (action == sqlite3.SQLITE_READ and (first in self.tables or first in OWN_TABLES))
            or (action == sqlite3.SQLITE_FUNCTION and second not in FORBIDDEN_FUNCTIONS)
        ):
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    def has(self, table: str, *columns: str) -> bool:
        return table in self.tables and self.tables[table].issuperset(columns)

    def column(self, table: str, name: str, alias: str | None = None) -> str:
        """The column as SQL, or ``NULL`` where this version of the schema does not have it."""
        return f"{alias or table}.{name}" if self.has(table, name) else "NULL"

    def count(self, table: str) -> int:
        if table not in self.tables:
            return 0
        [[count]] = self.select(f"SELECT count(*) FROM {_quoted(table)}")  # noqa: S608 - quoted
        return int(count)

    def select(self, sql: str, *arguments: object) -> Iterator[tuple[Any, ...]]:
        """Rows of a query. Raises :class:`BackupRefused` when the file turns out to be damaged."""
        given = 0
        try:
            for row in self._connection.execute(sql, arguments):
                given += 1
                yield row
        except DAMAGED as error:
            if not self._forgive():
                raise _refusal(error) from None
        else:
            return
        # Nothing writes to the file, so the same query gives the same rows again.
        yield from islice(self.select(sql, *arguments), given, None)

    def _forgive(self) -> bool:
        """Whether broken text was an error until now. It is common in real stores (halves of emoji), and one must not
        end an import; but text that may be broken takes longer to read, so that comes when there is some."""
        strict = self._connection.text_factory is str
        self._connection.text_factory = LENIENT
        return strict

    @contextmanager
    def scratch(self) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
        """Statements of our own that may make temporary tables. One of the name of a table hides that table."""
        connection = self._connection

        def execute(sql: str, *arguments: object) -> list[tuple[Any, ...]]:
            return connection.execute(sql, arguments).fetchall()

        connection.set_authorizer(_authorize_scratch)
        connection.execute("PRAGMA query_only=0")
        try:
            yield execute
            connection.commit()
        except DAMAGED as error:
            raise _refusal(error) from None
        finally:
            connection.execute("PRAGMA query_only=1")
            connection.set_authorizer(self._authorize)

    def close(self) -> None:
        self._connection.close()


def _authorize_scratch(action: int, first: str | None, second: str | None, _: str | None, inner: str | None) -> int:
    """Our own statements may write, but nothing that the file brings along runs in them either."""
    ran = inner is not None or (action == sqlite3.SQLITE_FUNCTION and second in FORBIDDEN_FUNCTIONS)
    return sqlite3.SQLITE_DENY if ran or action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK


def _out_of_time() -> bool:
    """Whether the process has all but used up the computing time that it was given; one that was given none never."""
    bound, _ = resource.getrlimit(resource.RLIMIT_CPU)
    return bound != resource.RLIM_INFINITY and time.process_time() > bound - SECONDS_TO_SAY_SO


def _refusal(error: Exception) -> BackupRefused:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
        return BackupRefused(
            "harmful", "Reading the file takes longer than it may (read_seconds): it is damaged or made to do harm."
        )
    return BackupRefused("not_sqlite", f"The database is damaged: {_kind_of(error)}.")


def _kind_of(error: Exception) -> str:
    # The text of the error can quote the statement or the data; its name cannot.
    return getattr(error, "sqlite_errorname", None) or type(error).__name__


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
