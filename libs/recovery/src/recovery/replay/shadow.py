"""A shadow run: handlers write copies of the service's tables, which are compared and then promoted, or thrown away.

Each table has two copies in the service's shadow schema: ``<table>``, which the handlers write, and ``<table>__base``,
how it was when the copy was made. What the replay changed is the difference of the two; what live traffic changed
meanwhile is the difference of base and live. A row that both changed is a conflict and is promoted by nobody.

Handlers run as the service's read-only role: by the database's own rules they can write nowhere else, and what they
append to the outbox stays in the shadow's until it is promoted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from kit.postgres import Database, role_dsn, schema_of
from recovery.replay.plan import Plan, Refused, Replayable, ShadowTable

__all__ = ["Change", "Shadow", "ShadowDatabase", "TableDiff"]

PLUMBING = ("inbox", "outbox", "dead_letter", "parked_key")
EXAMPLES = 1000
CONFLICT = "live IS DISTINCT FROM base AND live IS DISTINCT FROM shadow"
NEEDED = {
    "removed": "shadow IS NULL AND live IS NOT NULL",
    "added": "live IS NULL AND shadow IS NOT NULL",
    "changed": "live IS DISTINCT FROM shadow AND live IS NOT NULL AND shadow IS NOT NULL",
}

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


class ShadowDatabase(Database):
    """The service's database as a shadow run sees it: the shadow's tables first, everything else to read only."""

    def __init__(self, *, service: str, dsn: str, ro_password: str, app_pool: int = 6) -> None:
        super().__init__(service=service, dsn=dsn, app_password="", system_password="", app_pool=app_pool)
        schema = schema_of(service)
        self._app_dsn = self._system_dsn = role_dsn(dsn, f"{schema}_ro", ro_password)
        # Keys are locked apart from live traffic's: a shadow run tells nobody anything, so it need not wait.
        self.service = f"{service} shadow"
        self._server_settings = {"application_name": self.service, "search_path": f"{schema}_shadow, {schema}"}


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
    changes: tuple[Change, ...]
    """The first thousand, by key."""

    @property
    def empty(self) -> bool:
        return not (self.added or self.removed or self.changed)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    compared: tuple[str, ...]
    """Neither of the key nor of those that say when a row was written."""

    @property
    def work(self) -> str:
        """The temporary table of what a promotion changes."""
        return f"promoting_{self.name}"

    def row(self, alias: str) -> str:
        """The compared columns of an alias as one value, null when there is no such row."""
        pairs = ", ".join(f"'{c}', {alias}.{c}" for c in self.compared)
        return f"CASE WHEN {alias}.tenant_id IS NULL THEN NULL ELSE jsonb_build_object({pairs}) END"


class Shadow:
    """The shadow schema of one service. At most one replay has it at a time."""

    def __init__(self, replayable: Replayable) -> None:
        self._replayable = replayable
        self._live = schema_of(replayable.service)
        self._schema = f"{self._live}_shadow"

    def database(self) -> ShadowDatabase:
        given = self._replayable
        return ShadowDatabase(service=given.service, dsn=given.postgres_dsn, ro_password=given.passwords["ro"])

    @asynccontextmanager
    async def _as(self, role: str) -> AsyncIterator[Any]:
        dsn = role_dsn(self._replayable.postgres_dsn, f"{self._live}_{role}", self._replayable.passwords[role])
        connection = await asyncpg.connect(dsn, server_settings={"application_name": f"{self._live} replay"})
        try:
            yield connection
        finally:
            await connection.close()

    async def holder(self) -> str | None:
        """Which replay has the shadow schema, or nothing."""
        async with self._as("owner") as owner:
            return (await self._held(owner))[0]

    async def _held(self, owner: Any) -> tuple[str | None, bool]:
        """Which replay has the shadow schema, and whether its copies are whole."""
        if not await owner.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{self._schema}.run"):
            return None, False
        filled = "coalesce((to_jsonb(r) ->> 'filled')::boolean, false)"
        row = await owner.fetchrow(f"SELECT replay_id, {filled} AS filled FROM {self._schema}.run r")
        return row["replay_id"], row["filled"]

    async def take(self, plan: Plan, positions: Mapping[tuple[str, int], int]) -> None:
        """Have the copies as the run left them, or make them if it has not begun.

        Raises :class:`Refused` when another replay has the shadow, and when this one had begun and its copies are
        gone: what it would go on with is only the rest of its events.
        """
        async with self._as("owner") as owner:
            holder, filled = await self._held(owner)
        if holder == plan.id and filled:
            return
        if any(positions.get((span.topic, span.partition), span.start) > span.start for span in plan.spans):
            raise Refused(
                f"{plan.id} had begun and its shadow tables are gone; the rest alone would be taken for the whole. "
                f"End it by `trunkline replay discard {plan.id}` and make a new plan"
            )
        if holder == plan.id:
            # The process died while the copies were filled: they are a part, and a part looks like a change.
            await self.discard(plan.id)
        await self.make(plan.id, [UUID(tenant) for tenant in plan.tenants])

    async def make(self, replay_id: str, tenants: Sequence[UUID]) -> int:
        """Make the copies; return how many rows they hold. Raises :class:`Refused` when another replay has it."""
        if not self._replayable.shadow_tables:
            raise Refused(f"{self._replayable.service} names no tables for a shadow run; replay into live instead")
        async with self._as("owner") as owner, owner.transaction():
            await owner.execute("SELECT pg_advisory_xact_lock(hashtext('shadow'), hashtext($1))", self._schema)
            holder, _ = await self._held(owner)
            if holder is not None:
                raise Refused(f"{holder} has the shadow tables; promote it or discard it first: "
                              f"trunkline replay discard {holder}")  # fmt: skip
            for table in self._replayable.shadow_tables:
                await self._copy_shape(owner, table.name, table.name)
                await self._copy_shape(owner, table.name, f"{table.name}__base")
            for name in PLUMBING:
                await self._copy_shape(owner, name, name, plumbing=True)
            await owner.execute(f"CREATE TABLE {self._schema}.run (replay_id text NOT NULL, filled boolean NOT NULL)")
            await owner.execute(f"INSERT INTO {self._schema}.run VALUES ($1, false)", replay_id)
        rows = await self._fill(tenants)
        async with self._as("owner") as owner:
            await owner.execute(f"UPDATE {self._schema}.run SET filled = true")
        return rows

    async def _copy_shape(self, owner: Any, source: str, name: str, *, plumbing: bool = False) -> None:
        target = f"{self._schema}.{name}"
        await owner.execute(f"CREATE TABLE {target} (LIKE {self._live}.{source} INCLUDING ALL)")
        await owner.execute(f"ALTER TABLE {target} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        # The replay's own plumbing is read across tenants; it holds nothing but what this replay put there.
        fence = "true" if plumbing else "tenant_id = current_setting('app.tenant')::uuid"
        await owner.execute(f"CREATE POLICY run ON {target} TO {self._live}_ro, {self._live}_app USING ({fence})")
        await owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {target} TO {self._live}_ro")
        await owner.execute(f"GRANT SELECT ON {target} TO {self._live}_app")

    async def _fill(self, tenants: Sequence[UUID]) -> int:
        rows = 0
        async with self._as("ro") as reader:
            for tenant in tenants:
                # One snapshot for all tables of a tenant, so that they fit together.
                async with reader.transaction(isolation="repeatable_read"):
                    await reader.execute("SELECT set_config('app.tenant', $1, true)", str(tenant))
                    for table in await self._tables(reader):
                        names, done = ", ".join(table.columns), ""
                        for target in (table.name, f"{table.name}__base"):
                            done = await reader.execute(
                                f"INSERT INTO {self._schema}.{target} ({names}) OVERRIDING SYSTEM VALUE "
                                f"SELECT {names} FROM {self._live}.{table.name} WHERE tenant_id = $1", tenant
                            )  # fmt: skip
                        rows += int(done.split()[-1])
        return rows

    async def _tables(self, connection: Any) -> list[_Table]:
        return [await self._table(connection, table) for table in self._replayable.shadow_tables]

    async def _table(self, connection: Any, table: ShadowTable) -> _Table:
        place = f"{self._live}.{table.name}"
        columns = await connection.fetch(_COLUMNS, place)
        key = tuple(row["attname"] for row in await connection.fetch(_PRIMARY_KEY, place))
        if not key or "tenant_id" not in {column["name"] for column in columns}:
            raise Refused(f"{place} has no primary key or no tenant; it cannot be compared")
        written = {c["name"] for c in columns if c["identity"] or c["default"] == "now()"}
        apart = {*key, *written, *table.ignore}
        names = tuple(column["name"] for column in columns)
        return _Table(name=table.name, columns=names, key=key, compared=tuple(n for n in names if n not in apart))

    async def diff(self, tenants: Sequence[UUID], *, examples: int = EXAMPLES) -> list[TableDiff]:
        """What the replay changed, key by key; compares, changes nothing."""
        async with self._as("app") as connection:
            tables = await self._tables(connection)
            found = []
            for table in tables:
                parts = []
                for tenant in tenants:
                    async with connection.transaction():
                        await connection.execute("SELECT set_config('app.tenant', $1, true)", str(tenant))
                        parts.append(await self._diff_table(connection, table, examples))
                found.append(_sum(table.name, parts, examples))
        return found

    def _changes(self, table: _Table) -> str:
        """A query of the rows that the replay changed, of the tenant that is set: key, base, shadow, live."""
        keys = ", ".join(table.key)
        joined = ", ".join(f"coalesce(b.{k}, s.{k}) AS {k}" for k in table.key)
        return f"""
            SELECT c.*, {table.row("l")} AS live FROM (
                SELECT {joined}, {table.row("b")} AS base, {table.row("s")} AS shadow
                FROM {self._schema}.{table.name}__base b FULL JOIN {self._schema}.{table.name} s USING ({keys})
            ) c LEFT JOIN {self._live}.{table.name} l USING ({keys})
        """

    async def _diff_table(self, connection: Any, table: _Table, examples: int) -> TableDiff:
        changes = self._changes(table)
        counts = await connection.fetchrow(f"""
            SELECT count(*) FILTER (WHERE base IS NULL) AS added, count(*) FILTER (WHERE shadow IS NULL) AS removed,
                count(*) FILTER (WHERE base <> shadow) AS changed, count(*) FILTER (WHERE base = shadow) AS unchanged,
                count(*) FILTER (WHERE base IS DISTINCT FROM shadow AND {CONFLICT}) AS conflicts
            FROM ({changes}) d
        """)
        rows = await connection.fetch(
            f"SELECT *, ({CONFLICT}) AS conflict FROM ({changes}) d WHERE base IS DISTINCT FROM shadow "
            f"ORDER BY {', '.join(table.key)} LIMIT {examples}"
        )
        return TableDiff(table=table.name, changes=tuple(_change(row, table) for row in rows), **dict(counts))

    async def promote(self, replay_id: str, tenants: Sequence[UUID]) -> dict[str, int]:
        """Make the replay's changes live, and its events the outbox's, in one transaction.

        Raises :class:`Refused`, with nothing changed, when a row was changed by live traffic as well.
        """
        if await self.holder() != replay_id:
            raise Refused(f"the shadow tables are not those of {replay_id}")
        database = self._replayable.database()
        counts: Counter[str] = Counter()
        try:
            async with database.transaction(tenants[0]) as tx:
                keys = await self._keys_to_hold(tx, tenants)
                await tx.hold_keys(keys)
                await tx.execute("INSERT INTO replay_promotion (replay_id) VALUES ($1)", replay_id)
                tables = await self._tables(tx)
                for tenant in tenants:
                    await tx.execute("SELECT set_config('app.tenant', $1, true)", str(tenant))
                    counts.update(await self._promote_rows(tx, tables))
                    counts["events"] += await self._promote_events(tx, replay_id, tenant)
        except asyncpg.UniqueViolationError:
            raise Refused(f"{replay_id} was promoted before") from None
        finally:
            await database.close()
        return dict(counts)

    async def _keys_to_hold(self, tx: Any, tenants: Sequence[UUID]) -> list[str]:
        rows = await tx.fetch(
            f"SELECT DISTINCT aggregateid FROM {self._schema}.outbox WHERE tenant_id = ANY ($1::uuid[])", list(tenants)
        )
        return [row["aggregateid"] for row in rows]

    async def _promote_rows(self, tx: Any, tables: Sequence[_Table]) -> Counter[str]:
        """The changes of the tenant that is set: rows leave against the order of the tables, and come in it."""
        counts: Counter[str] = Counter()
        for table in tables:
            await self._collect(tx, table)
        for table in reversed(tables):
            counts += await self._apply(tx, table, "removed")
        for table in tables:
            counts += await self._apply(tx, table, "added")
            counts += await self._apply(tx, table, "changed")
            await tx.execute(f"DROP TABLE {table.work}")
        return counts

    async def _collect(self, tx: Any, table: _Table) -> None:
        await tx.execute(f"""
            CREATE TEMPORARY TABLE {table.work} ON COMMIT DROP AS
            SELECT * FROM ({self._changes(table)}) d WHERE base IS DISTINCT FROM shadow
        """)
        conflicts = await tx.fetchval(f"SELECT count(*) FROM {table.work} WHERE {CONFLICT}")
        if conflicts:
            raise Refused(
                f"{conflicts} rows of {table.name} were changed by live traffic since the shadow was made; nothing was "
                "promoted. Discard this run and make it again, at a quieter time or with the consumer stopped"
            )

    async def _apply(self, tx: Any, table: _Table, change: str) -> Counter[str]:
        """One kind of change. What has nothing to do is not asked for: the role may lack the right to it."""
        needed: int = await tx.fetchval(f"SELECT count(*) FROM {table.work} WHERE {NEEDED[change]}")
        if needed:
            await tx.execute(self._statement(table, change))
        return Counter({f"{table.name} {change}": needed})

    def _statement(self, table: _Table, change: str) -> str:
        keys, same = ", ".join(table.key), " AND ".join(f"t.{k} = w.{k}" for k in table.key)
        shadow, live = f"{self._schema}.{table.name}", f"{self._live}.{table.name}"
        joined = f"FROM {shadow} s JOIN {table.work} w USING ({keys})"
        if change == "removed":
            return f"DELETE FROM {live} t USING {table.work} w WHERE {same} AND {NEEDED[change]}"
        if change == "added":
            given = ", ".join(f"s.{column}" for column in table.columns)
            names = ", ".join(table.columns)
            return (
                f"INSERT INTO {live} ({names}) OVERRIDING SYSTEM VALUE SELECT {given} {joined} WHERE {NEEDED[change]}"
            )
        sets = ", ".join(f"{column} = s.{column}" for column in table.columns if column not in table.key)
        own = " AND ".join(f"t.{k} = s.{k}" for k in table.key)
        return f"UPDATE {live} t SET {sets} {joined} WHERE {own} AND {NEEDED[change]}"

    async def _promote_events(self, tx: Any, replay_id: str, tenant: UUID) -> int:
        columns = ("id, tenant_id, aggregatetype, aggregateid, type, payload, subject, occurred_at, correlationid, "
                   "causationid, traceparent")  # fmt: skip
        done = await tx.execute(
            f"INSERT INTO outbox (epoch, replayid, {columns}) SELECT $1, $2, {columns} "
            f"FROM (SELECT * FROM {self._schema}.outbox WHERE tenant_id = $3 ORDER BY seq) o",
            tx.epoch, replay_id, tenant,
        )  # fmt: skip
        tx.emitted = True
        return int(done.split()[-1])

    async def discard(self, replay_id: str) -> bool:
        """Throw the copies away; say whether there were any of this replay."""
        if await self.holder() != replay_id:
            return False
        async with self._as("owner") as owner, owner.transaction():
            names = [t.name for t in self._replayable.shadow_tables]
            for name in (*names, *(f"{n}__base" for n in names), *PLUMBING, "run"):
                await owner.execute(f"DROP TABLE IF EXISTS {self._schema}.{name}")
        return True


def _change(row: Any, table: _Table) -> Change:
    base = json.loads(row["base"]) if row["base"] else {}
    shadow = json.loads(row["shadow"]) if row["shadow"] else {}
    differ = [c for c in table.compared if base.get(c) != shadow.get(c)]
    kind = "added" if row["base"] is None else "removed" if row["shadow"] is None else "changed"
    return Change(
        key={k: str(row[k]) for k in table.key},
        kind=kind,
        conflict=row["conflict"],
        before={c: base.get(c) for c in differ} if base else {},
        after={c: shadow.get(c) for c in differ} if shadow else {},
    )


def _sum(table: str, parts: Sequence[TableDiff], examples: int) -> TableDiff:
    return TableDiff(
        table=table,
        added=sum(part.added for part in parts),
        removed=sum(part.removed for part in parts),
        changed=sum(part.changed for part in parts),
        unchanged=sum(part.unchanged for part in parts),
        conflicts=sum(part.conflicts for part in parts),
        changes=tuple(change for part in parts for change in part.changes)[:examples],
    )
