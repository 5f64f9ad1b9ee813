"""Reads the tables of a store that a stranger made, and turns its row numbers into what they stand for."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vault_importer.formats.sqlite_source import SqliteSource, clean
from vault_importer.refusals import BackupRefused

__all__ = [
    "LATEST_MS",
    "LOCATION",
    "MAX_KEY_CHARACTERS",
    "Tables",
    "milliseconds",
    "place_of",
    "quoted_name",
    "row_number",
    "unread_tables",
]

#: A longer blob in a table that is read as it is, is kept as its length.
MAX_BLOB_BYTES = 4096
#: Of what is part of a key: an index takes no more than some 2,700 bytes.
MAX_KEY_CHARACTERS = 200
#: 9999-12-31: what Python and Postgres both can tell as a date.
LATEST_MS = 253_402_214_400_000
#: The manifest holds no text of a stranger's, and a table can have any name.
PLAIN_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
LOCATION = ("latitude", "longitude", "place_name", "place_address", "url")


class Tables:
    """One opened store. ``jids`` and ``chats`` say what their row numbers stand for."""

    def __init__(self, store: SqliteSource, jids: Mapping[int, str], chats: Mapping[int, str]) -> None:
        self.store = store
        self._jids = jids
        self._chats = chats

    def select(self, table: str, names: Sequence[str], skip: int) -> Iterator[tuple[Any, ...]]:
        """Some columns of all rows, in the order in which they were written."""
        columns = ", ".join(name if name.startswith('"') else self.store.column(table, name) for name in names)
        return self.store.select(
            f"SELECT {columns} FROM {quoted_name(table)} ORDER BY {self.order(table)} LIMIT -1 OFFSET ?",  # noqa: S608
            skip,
        )

    def order(self, table: str) -> str:
        """What a table can be ordered by so that it is the same every time."""
        try:
            for _ in self.store.select(f"SELECT rowid FROM {quoted_name(table)} LIMIT 0"):  # noqa: S608
                pass
        except BackupRefused:
            return "1"  # A table WITHOUT ROWID.
        return "rowid"

    def several(self, table: str, key: str, own: Sequence[str]) -> Iterator[tuple[int, str, tuple[Any, ...]]]:
        """Rows of a table that can have several for one message or chat: its number, the row's place among them,
        and ``own`` columns."""
        columns = "".join(f", {each}" for each in own)
        order = "t.rowid" if self.order(table) == "rowid" else "1"
        last, place = None, 0
        for row, *values in self.store.select(
            f"SELECT t.{key}{columns} FROM {quoted_name(table)} t ORDER BY t.{key}, {order}"  # noqa: S608
        ):
            place = place + 1 if row == last else 0
            last = row
            yield row_number(row), str(place), tuple(values)

    def names(self, table: str, *but: str) -> list[str]:
        """The columns of a table whose names can be kept."""
        return sorted(name for name in self.store.tables[table] - {*but} if name.isascii() and name.isidentifier())

    def plain(self, raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
        """Columns as they can be kept: without row numbers, which mean nothing outside their store. Those of people
        and chats become addresses; those of messages are returned apart."""
        columns: dict[str, Any] = {}
        links: dict[str, int] = {}
        for name, value in raw.items():
            if value is None:
                continue
            if name.endswith("message_row_id"):
                if row_number(value):
                    links[name.removesuffix("_row_id") + "_id"] = row_number(value)
            elif name.endswith(("jid_row_id", "lid_row_id")):
                if row_number(value):
                    columns[name.removesuffix("_row_id")] = self.jid(value)
            elif name.endswith("chat_row_id"):
                columns[name.removesuffix("_row_id") + "_jid"] = self.chat(value)
            else:
                columns[name] = _kept(value)
        return columns, links

    def jid(self, row: object) -> str:
        return self._jids.get(row, "") if isinstance(row, int) else ""

    def chat(self, row: object) -> str:
        return self._chats.get(row, "") if isinstance(row, int) else ""


def unread_tables(store: SqliteSource, read: set[str]) -> dict[str, int]:
    """All other tables that hold anything, but those of SQLite itself, with how many rows."""
    others = (name for name in store.tables.keys() - read if PLAIN_NAME.fullmatch(name))
    names = sorted(name for name in others if not name.startswith("sqlite_"))
    return {name: count for name in names if (count := store.count(name))}


def milliseconds(value: object) -> int:
    return value if isinstance(value, int) and 0 < value < LATEST_MS else 0


def place_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """What of a place can be kept, by the names in ``LOCATION``."""
    place: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, float) and abs(value) <= 360:
            place[name] = value
        elif isinstance(value, str) and value:
            place[name] = clean(value)
    return place


def row_number(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _kept(value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()} if len(value) <= MAX_BLOB_BYTES else {"bytes": len(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if isinstance(value, int) else clean(value)


def quoted_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
