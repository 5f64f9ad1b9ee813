"""What becomes of a shadow run in the end: promoted or discarded, under its lock, so that nobody goes on meanwhile."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import asyncpg

from kit.postgres import TRY_AGAIN_AT_ONCE, Transaction
from recovery.replay.alone import alone
from recovery.replay.book import Book, Entry
from recovery.replay.compare import CONFLICT, Table
from recovery.replay.plan import Plan, Refused, Replayable
from recovery.replay.shadow import Shadow

__all__ = ["check_done", "discard", "promote"]

NEEDED = {
    "removed": "shadow IS NULL AND live IS NOT NULL",
    "added": "live IS NULL AND shadow IS NOT NULL",
    "changed": "live IS DISTINCT FROM shadow AND live IS NOT NULL AND shadow IS NOT NULL",
}
AGAIN = "Discard this run and make it again, at a quieter time or with the consumer stopped"

_PROMOTED = """
UPDATE replay SET state = 'promoted', heartbeat_at = now(), finished_at = now() WHERE id = $1 AND state = 'done'
RETURNING true
"""
_AUDIT = "INSERT INTO replay_audit (replay_id, action, who, why, detail) VALUES ($1, 'promote', $2, $3, $4)"


def check_done(entry: Entry) -> None:
    """Raises :class:`Refused` unless the entry is a shadow run that has come to its end."""
    if entry.plan.target != "shadow":
        raise Refused(f"{entry.id} went into the {entry.plan.target} tables; only shadow runs are compared")
    if entry.state in ("promoted", "cancelled"):
        raise Refused(f"{entry.id} was {entry.state} before; its shadow is no more")
    if entry.state != "done":
        raise Refused(f"{entry.id} is {entry.state}; go on with it first: trunkline replay resume {entry.id}")


async def discard(replayable: Replayable, id_: str, *, who: str, why: str = "") -> None:
    """End the run for good and throw its copies away.

    It is cancelled before its copies go: killed in between, it can be discarded again and never be gone on with.
    """
    database, shadow = replayable.database(), Shadow(replayable)
    try:
        book = Book(database)
        async with alone(database, id_):
            entry = await book.find(id_)
            if entry.plan.target != "shadow":
                raise Refused(f"{id_} went into the {entry.plan.target} tables; only shadow runs are discarded")
            ended = entry.state in ("cancelled", "promoted")
            if ended and await shadow.holder() != id_:
                raise Refused(f"{id_} is {entry.state} and has no shadow tables")
            if not ended:
                await book.end(id_, "cancelled")
            await book.audit(id_, "discard", who=who, why=why, detail={"state": entry.state})
            await shadow.discard(id_)
    finally:
        await database.close()


async def promote(
    replayable: Replayable, id_: str, *, who: str, why: str, with_failures: bool = False
) -> dict[str, int]:
    """Make the run's changes live, its events the outbox's, and itself promoted, in one transaction.

    Raises :class:`Refused`, with nothing changed: when a row was changed by live traffic as well, and when records
    could not be handled, unless that is wanted ``with_failures``. Returns how many rows changed, and how.
    """
    database, shadow = replayable.database(), Shadow(replayable)
    try:
        async with alone(database, id_):
            entry = await Book(database).find(id_)
            check_done(entry)
            if await shadow.holder() != id_:
                raise Refused(f"the shadow tables are not those of {id_}")
            if not entry.plan.tenants:
                raise Refused(f"the plan of {id_} has no records; there is nothing to promote")
            failed = sum(each.letters for each in await shadow.letters(entry.plan))
            if failed and entry.plan.starts_empty:
                raise Refused(
                    f"{failed} records could not be handled, so the rebuilt rows of their keys are wrong or missing: "
                    f"`trunkline replay status {id_}` lists them. Mend the handler, then: trunkline replay resume {id_}"
                )
            if failed and not with_failures:
                raise Refused(
                    f"{failed} records could not be handled, and what they would have changed is missing: "
                    f"`trunkline replay status {id_}` lists them. Mend the handler, then: trunkline replay resume "
                    f"{id_}; or promote it --with-failures"
                )
            promotion = _Promotion(replayable, entry.plan, shadow)
            counts = await promotion.run(who=who, why=why, failed=failed)
            await shadow.discard(id_)
        return counts
    finally:
        await database.close()


class _Promotion:
    """One transaction, over all tenants of the plan."""

    def __init__(self, replayable: Replayable, plan: Plan, shadow: Shadow) -> None:
        self._replayable = replayable
        self._plan = plan
        self._shadow = shadow

    async def run(self, *, who: str, why: str, failed: int) -> dict[str, int]:
        database = self._replayable.database()
        tenants = [UUID(tenant) for tenant in self._plan.tenants]
        counts: Counter[str] = Counter()
        try:
            async with database.transaction(tenants[0]) as tx:
                tables = await self._shadow.tables(tx, self._plan)
                await tx.hold_keys(await self._keys(tx, tenants))
                if not await tx.fetchval(_PROMOTED, self._plan.id):
                    raise Refused(f"{self._plan.id} was promoted or cancelled before")
                await tx.execute("INSERT INTO replay_promotion (replay_id) VALUES ($1)", self._plan.id)
                for tenant in tenants:
                    await tx.execute("SELECT set_config('app.tenant', $1, true)", str(tenant))
                    counts += await _promote_rows(tx, tables)
                    counts["events"] += await self._promote_events(tx, tenant)
                    if self._replayable.promoted is not None:
                        await self._replayable.promoted(tx, tenant)
                detail = dict(counts) if not failed else {**counts, "not_handled": failed}
                await tx.execute(_AUDIT, self._plan.id, who, why, json.dumps(detail))
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name == "replay_promotion_pkey":
                raise Refused(f"{self._plan.id} was promoted before") from None
            raise Refused(
                f"a row that live traffic wrote meanwhile stands in the way ({error.constraint_name}); nothing was "
                f"promoted. {AGAIN}"
            ) from None
        except TRY_AGAIN_AT_ONCE:
            raise Refused("live traffic was in the way; nothing was promoted. Promote it again") from None
        finally:
            await database.close()
        return dict(counts)

    async def _keys(self, tx: Transaction, tenants: Sequence[UUID]) -> list[str]:
        outbox = f"{self._shadow.schema}.outbox"
        rows = await tx.fetch(f"SELECT DISTINCT aggregateid FROM {outbox} WHERE tenant_id = ANY ($1::uuid[])", tenants)
        return [row["aggregateid"] for row in rows]

    async def _promote_events(self, tx: Transaction, tenant: UUID) -> int:
        columns = ("id, tenant_id, aggregatetype, aggregateid, type, payload, subject, occurred_at, correlationid, "
                   "causationid, traceparent")  # fmt: skip
        done = await tx.execute(
            f"INSERT INTO outbox (epoch, replayid, {columns}) SELECT $1, $2, {columns} "
            f"FROM (SELECT * FROM {self._shadow.schema}.outbox WHERE tenant_id = $3 ORDER BY seq) o",
            tx.epoch, self._plan.id, tenant,
        )  # fmt: skip
        tx.emitted = True
        return int(done.split()[-1])


async def _promote_rows(tx: Transaction, tables: Sequence[Table]) -> Counter[str]:
    """The changes of the tenant that is set: rows leave against the order of the tables, and come in it."""
    counts: Counter[str] = Counter()
    for table in tables:
        await _collect(tx, table)
    for table in reversed(tables):
        counts += await _apply(tx, table, "removed")
    for table in tables:
        counts += await _apply(tx, table, "added")
        counts += await _apply(tx, table, "changed")
        await tx.execute(f"DROP TABLE {_work(table)}")
    return counts


def _work(table: Table) -> str:
    """The temporary table of what a promotion changes."""
    return f"promoting_{table.name}"


async def _collect(tx: Transaction, table: Table) -> None:
    await _lock(tx, table)
    await tx.execute(f"""
        CREATE TEMPORARY TABLE {_work(table)} ON COMMIT DROP AS SELECT * FROM ({table.rows()}) d WHERE {table.changed}
    """)
    conflicts = await tx.fetchval(f"SELECT count(*) FROM {_work(table)} WHERE {CONFLICT}")
    if conflicts:
        raise Refused(
            f"{conflicts} rows of {table.name} were changed by live traffic since the shadow was made; nothing was "
            f"promoted. {AGAIN}"
        )


async def _lock(tx: Transaction, table: Table) -> None:
    """Hold the live rows until the end: what is compared from here on is what is replaced.

    Rows that the role may not change it may not lock either, and nobody changes them.
    """
    if not await tx.fetchval("SELECT has_any_column_privilege($1::text, 'UPDATE')", table.live):
        return
    keys = ", ".join(table.key)
    changed = f"SELECT {keys} FROM ({table.rows()}) d WHERE {table.changed}"
    await tx.execute(f"SELECT FROM {table.live} l JOIN ({changed}) c USING ({keys}) ORDER BY {keys} FOR UPDATE OF l")


async def _apply(tx: Transaction, table: Table, change: str) -> Counter[str]:
    """One kind of change. What has nothing to do is not asked for: the role may lack the right to it."""
    needed: int = await tx.fetchval(f"SELECT count(*) FROM {_work(table)} WHERE {NEEDED[change]}")
    if needed:
        await tx.execute(_statement(table, change))
    return Counter({f"{table.name} {change}": needed})


def _statement(table: Table, change: str) -> str:
    keys, same = ", ".join(table.key), " AND ".join(f"t.{k} = w.{k}" for k in table.key)
    joined = f"FROM {table.shadow} s JOIN {_work(table)} w USING ({keys})"
    if change == "removed":
        return f"DELETE FROM {table.live} t USING {_work(table)} w WHERE {same} AND {NEEDED[change]}"
    if change == "added":
        # What Postgres fills in by itself it fills in now: the row is written by this transaction.
        names = [column for column in table.columns if column not in table.written and column not in table.numbered]
        given = ", ".join(f"s.{column}" for column in names)
        return (
            f"INSERT INTO {table.live} ({', '.join(names)}) OVERRIDING SYSTEM VALUE SELECT {given} {joined} "
            f"WHERE {NEEDED[change]}"
        )
    base = " AND ".join(f"b.{k} = s.{k}" for k in table.key)
    sets = [f"{c} = s.{c}" for c in table.columns if c not in table.key and c not in table.written
            and c not in table.numbered]  # fmt: skip
    # When a row was written, or by which transaction, is now and this one: but only of what the handlers touched.
    # A rebuild touches every row, so of a time it cannot be told whether it is that of the row's first or last writing.
    kept = {c for c, default in table.written.items() if table.starts_empty and default == "now()"}
    sets += [f"{c} = CASE WHEN s.{c} IS DISTINCT FROM b.{c} THEN {default} ELSE t.{c} END"
             for c, default in table.written.items() if c not in kept]  # fmt: skip
    own = " AND ".join(f"t.{k} = s.{k}" for k in table.key)
    return (
        f"UPDATE {table.live} t SET {', '.join(sets)} {joined} LEFT JOIN {table.base} b ON {base} "
        f"WHERE {own} AND {NEEDED[change]}"
    )
