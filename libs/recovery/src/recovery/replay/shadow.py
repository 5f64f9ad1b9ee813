"""A shadow run: handlers write copies of the service's tables, which are compared and then promoted, or thrown away.

Each table has two copies in the service's shadow schema: ``<table>``, which the handlers write, and ``<table>__base``,
how it was when the copy was made (:mod:`recovery.replay.compare`). A projection that is rebuilt starts empty.

Handlers run as the service's read-only role: by the database's own rules they can write nowhere else, and what they
append to the outbox stays in the shadow's until it is promoted (:mod:`recovery.replay.settle`). What they cannot
handle stays in the shadow's dead letters.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from kit.postgres import Database, role_dsn, schema_of
from recovery.replay.compare import Table, TableDiff, diff_of, sum_of, table_of
from recovery.replay.plan import Plan, Refused, Replayable

__all__ = ["Letters", "Shadow", "ShadowDatabase"]

PLUMBING = ("inbox", "outbox", "dead_letter", "parked_key")
EXAMPLES = 1000

_LETTERS = """
SELECT coalesce(event_type, topic) AS kind, coalesce(lane, '') AS key, count(*) AS letters,
    (array_agg(reason ORDER BY parked_behind, seq))[1] AS reason,
    (array_agg(message ORDER BY parked_behind, seq))[1] AS message
FROM {schema}.dead_letter WHERE consumer = $1 AND state <> 'dropped' GROUP BY 1, 2 ORDER BY letters DESC, kind, key
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
class Letters:
    """What a shadow run could not handle of one key: the first reason, and how many records it holds up."""

    kind: str
    """The type of event, or the topic of a record that cannot be read."""
    key: str
    reason: str
    message: str
    letters: int


class Shadow:
    """The shadow schema of one service. At most one replay has it at a time."""

    def __init__(self, replayable: Replayable) -> None:
        self._replayable = replayable
        self._live = schema_of(replayable.service)
        self.schema = f"{self._live}_shadow"

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
        if not await owner.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{self.schema}.run"):
            return None, False
        filled = "coalesce((to_jsonb(r) ->> 'filled')::boolean, false)"
        row = await owner.fetchrow(f"SELECT replay_id, {filled} AS filled FROM {self.schema}.run r")
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
        await self.make(plan)

    async def make(self, plan: Plan) -> int:
        """Make the copies; return how many rows they hold. Raises :class:`Refused` when another replay has it."""
        if not self._replayable.shadow_tables:
            raise Refused(f"{self._replayable.service} names no tables for a shadow run; replay into live instead")
        async with self._as("owner") as owner, owner.transaction():
            await owner.execute("SELECT pg_advisory_xact_lock(hashtext('shadow'), hashtext($1))", self.schema)
            holder, _ = await self._held(owner)
            if holder is not None:
                raise Refused(f"{holder} has the shadow tables; promote it or discard it first: "
                              f"trunkline replay discard {holder}")  # fmt: skip
            for table in self._replayable.shadow_tables:
                await self._copy_shape(owner, table.name, table.name)
                await self._copy_shape(owner, table.name, f"{table.name}__base")
            for name in PLUMBING:
                await self._copy_shape(owner, name, name, plumbing=True)
            await owner.execute(f"CREATE TABLE {self.schema}.run (replay_id text NOT NULL, filled boolean NOT NULL)")
            await owner.execute(f"INSERT INTO {self.schema}.run VALUES ($1, false)", plan.id)
        rows = await self._fill(plan)
        async with self._as("owner") as owner:
            await owner.execute(f"UPDATE {self.schema}.run SET filled = true")
        return rows

    async def _copy_shape(self, owner: Any, source: str, name: str, *, plumbing: bool = False) -> None:
        target = f"{self.schema}.{name}"
        await owner.execute(f"CREATE TABLE {target} (LIKE {self._live}.{source} INCLUDING ALL)")
        await owner.execute(f"ALTER TABLE {target} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        # The replay's own plumbing is read across tenants; it holds nothing but what this replay put there.
        fence = "true" if plumbing else "tenant_id = current_setting('app.tenant')::uuid"
        await owner.execute(f"CREATE POLICY run ON {target} TO {self._live}_ro, {self._live}_app USING ({fence})")
        await owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {target} TO {self._live}_ro")
        await owner.execute(f"GRANT SELECT ON {target} TO {self._live}_app")

    async def _fill(self, plan: Plan) -> int:
        rows = 0
        async with self._as("ro") as reader:
            for tenant in map(UUID, plan.tenants):
                # One snapshot for all tables of a tenant, so that they fit together.
                async with reader.transaction(isolation="repeatable_read"):
                    await reader.execute("SELECT set_config('app.tenant', $1, true)", str(tenant))
                    for table in await self.tables(reader, plan):
                        names, done = ", ".join(table.columns), ""
                        for target in (table.base,) if table.starts_empty else (table.shadow, table.base):
                            done = await reader.execute(
                                f"INSERT INTO {target} ({names}) OVERRIDING SYSTEM VALUE "
                                f"SELECT {names} FROM {table.live} WHERE tenant_id = $1", tenant
                            )  # fmt: skip
                        rows += int(done.split()[-1])
        return rows

    async def tables(self, connection: Any, plan: Plan) -> list[Table]:
        """The tables of a run, in the order in which rows may be inserted."""
        return [
            await table_of(
                connection, table, live=self._live, starts_empty=table.name in plan.starts_empty,
                complete=plan.reaches_back,
            )
            for table in self._replayable.shadow_tables
        ]  # fmt: skip

    async def diff(self, plan: Plan, *, examples: int = EXAMPLES) -> list[TableDiff]:
        """What the replay changed, key by key; compares, changes nothing."""
        async with self._as("app") as connection:
            found = []
            for table in await self.tables(connection, plan):
                parts = []
                for tenant in plan.tenants:
                    async with connection.transaction():
                        await connection.execute("SELECT set_config('app.tenant', $1, true)", tenant)
                        parts.append(await diff_of(connection, table, examples))
                found.append(sum_of(table.name, parts, examples))
        return found

    async def letters(self, plan: Plan) -> list[Letters]:
        """What the run could not handle, key by key; nothing when it has no shadow tables."""
        if await self.holder() != plan.id:
            return []
        async with self._as("app") as connection:
            rows = await connection.fetch(_LETTERS.format(schema=self.schema), f"{plan.consumer}@{plan.id}")
        return [Letters(**dict(row)) for row in rows]

    async def discard(self, replay_id: str) -> bool:
        """Throw the copies away; say whether there were any of this replay."""
        if await self.holder() != replay_id:
            return False
        async with self._as("owner") as owner, owner.transaction():
            names = [t.name for t in self._replayable.shadow_tables]
            for name in (*names, *(f"{n}__base" for n in names), *PLUMBING, "run"):
                await owner.execute(f"DROP TABLE IF EXISTS {self.schema}.{name}")
        return True
