"""Opens a SQLite file that a stranger made: read-only, immutable, bounded, with whatever columns it happens to have."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vault_importer.refusals import BackupRefused

__all__ = ["SqliteSource", "clean"]

#: No text, blob or row may be larger; a message has at most 65,536 characters.
MAX_VALUE_BYTES = 64 * 1024 * 1024
CACHE_KIB = 32 * 1024


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
        except sqlite3.DatabaseError:
            self.close()
            raise BackupRefused("not_sqlite", "The file is not a SQLite database, or a damaged one.") from None

    def _configure(self) -> None:
        connection = self._connection
        # Broken emoji halves are common in real stores; one must not end the import.
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
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
        names = self._connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
        ).fetchall()
        return {
            name: frozenset(row[1] for row in self._connection.execute(f"PRAGMA table_info({_quoted(name)})"))
            for (name,) in names
            if isinstance(name, str)
        }

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
        try:
            yield from self._connection.execute(sql, arguments)
        except sqlite3.DatabaseError as error:
            raise BackupRefused("not_sqlite", f"The database is damaged: {_kind_of(error)}.") from None

    def close(self) -> None:
        self._connection.close()


def _kind_of(error: sqlite3.DatabaseError) -> str:
    # The text of the error can quote the statement or the data; its name cannot.
    return getattr(error, "sqlite_errorname", None) or type(error).__name__


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
