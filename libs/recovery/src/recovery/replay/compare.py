"""Rows compared by key: what the replay changed (base and shadow), and what live traffic changed meanwhile (base and
live). A row that both changed is a conflict and is promoted by nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recovery.replay.plan import Refused, ShadowTable

__all__ = ["CONFLICT", "Change", "Table", "TableDiff", "diff_of", "sum_of", "table_of"]

CONFLICT = "live IS DISTINCT FROM base AND live IS DISTINCT FROM shadow"

_COLUMNS = """
SELECT a.attname AS name, a.attidentity <> '' AS identity, coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS default
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum
"""
_PRIMARY_KEY = """
SELECT a.attname FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k (attnum, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = to_regclass($1) AND i.indisprimary ORDER BY k.place
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One row that the replay changed. ``before`` and ``after`` hold only the columns that differ."""

    key: Mapping[str, Any]
    kind: str
    """added, removed or changed."""
    conflict: bool
    before: Mapping[str, Any]
    after: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class TableDiff:
    """What the replay changed in one table, over all tenants of the plan."""

    table: str
    added: int
    removed: int
    changed: int
    unchanged: int
    conflicts: int
    unseen: int
    """Rows of an incomplete rebuild that its range says nothing of; they stay as they are."""
    changes: tuple[Change, ...]
    """The first thousand, by key."""

    @property
    def empty(self) -> bool:
        return not (self.added or self.removed or self.changed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One table of a shadow run: the live one, how it was (``__base``), and what the handlers wrote."""

    name: str
    live: str
    shadow: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    compared: tuple[str, ...]
    """Neither of the key nor of those that say when, or by which transaction, a row was written."""
    written: Mapping[str, str]
    """Columns outside the key whose default is asked for at every write, such as ``now()``, with that default."""
    numbered: frozenset[str]
    """Columns outside the key that Postgres numbers by itself."""
    starts_empty: bool
    complete: bool
    """Whether a row that the shadow has not is gone. Of an incomplete rebuild it is one that was not met."""

    @property
    def base(self) -> str:
        return f"{self.shadow}__base"

    @property
    def changed(self) -> str:
        """The condition that the replay changed a row."""
        return "base IS DISTINCT FROM shadow" + ("" if self.complete else " AND shadow IS NOT NULL")

    def row(self, alias: str) -> str:
        """The compared columns of an alias as one value, null when there is no such row."""
        pairs = ", ".join(f"'{c}', {alias}.{c}" for c in self.compared)
        return f"CASE WHEN {alias}.tenant_id IS NULL THEN NULL ELSE jsonb_build_object({pairs}) END"

    def rows(self) -> str:
        """A query of the rows of base and shadow, of the tenant that is set: key, base, shadow, live."""
        keys = ", ".join(self.key)
        joined = ", ".join(f"coalesce(b.{k}, s.{k}) AS {k}" for k in self.key)
        return f"""
            SELECT c.*, {self.row("l")} AS live FROM (
                SELECT {joined}, {self.row("b")} AS base, {self.row("s")} AS shadow
                FROM {self.base} b FULL JOIN {self.shadow} s USING ({keys})
            ) c LEFT JOIN {self.live} l USING ({keys})
        """


async def table_of(
    connection: Any, table: ShadowTable, *, live: str, starts_empty: bool = False, complete: bool = True
) -> Table:
    """Read what the catalogue says of a table in the service's schema ``live``."""
    place = f"{live}.{table.name}"
    columns = await connection.fetch(_COLUMNS, place)
    key = tuple(row["attname"] for row in await connection.fetch(_PRIMARY_KEY, place))
    if not key or "tenant_id" not in {column["name"] for column in columns}:
        raise Refused(f"{place} has no primary key or no tenant; it cannot be compared")
    others = [column for column in columns if column["name"] not in key]
    written = {c["name"]: c["default"] for c in others if c["default"].endswith("()")}
    numbered = frozenset(c["name"] for c in others if c["identity"])
    apart = {*key, *written, *numbered, *table.ignore}
    names = tuple(column["name"] for column in columns)
    return Table(
        name=table.name, live=place, shadow=f"{live}_shadow.{table.name}", columns=names, key=key,
        compared=tuple(name for name in names if name not in apart), written=written, numbered=numbered,
        starts_empty=starts_empty, complete=complete or not starts_empty,
    )  # fmt: skip


async def diff_of(connection: Any, table: Table, examples: int) -> TableDiff:
    """What the replay changed of the tenant that is set."""
    counts = await connection.fetchrow(f"""
        SELECT count(*) FILTER (WHERE base IS NULL) AS added,
            count(*) FILTER (WHERE shadow IS NULL AND {table.complete}) AS removed,
            count(*) FILTER (WHERE shadow IS NULL AND NOT {table.complete}) AS unseen,
            count(*) FILTER (WHERE base <> shadow) AS changed, count(*) FILTER (WHERE base = shadow) AS unchanged,
            count(*) FILTER (WHERE {table.changed} AND {CONFLICT}) AS conflicts
        FROM ({table.rows()}) d
    """)
    rows = await connection.fetch(
        f"SELECT *, ({CONFLICT}) AS conflict FROM ({table.rows()}) d WHERE {table.changed} "
        f"ORDER BY {', '.join(table.key)} LIMIT {examples}"
    )
    return TableDiff(table=table.name, changes=tuple(_change(row, table) for row in rows), **dict(counts))


def _change(row: Any, table: Table) -> Change:
    base = json.loads(row["base"]) if row["base"] else {}
    shadow = json.loads(row["shadow"]) if row["shadow"] else {}
    differ = [c for c in table.compared if base.get(c) != shadow.get(c)]
    kind = "added" if row["base"] is None else "removed" if row["shadow"] is None else "changed"
    return Change(
        key={k: row[k] for k in table.key},
        kind=kind,
        conflict=row["conflict"],
        before={c: base.get(c) for c in differ} if base else {},
        after={c: shadow.get(c) for c in differ} if shadow else {},
    )


def sum_of(table: str, parts: Sequence[TableDiff], examples: int) -> TableDiff:
    """The differences of several tenants as one."""
    counts = {
        name: sum(getattr(part, name) for part in parts)
        for name in ("added", "removed", "changed", "unchanged", "conflicts", "unseen")
    }
    changes = tuple(change for part in parts for change in part.changes)[:examples]
    return TableDiff(table=table, changes=changes, **counts)
