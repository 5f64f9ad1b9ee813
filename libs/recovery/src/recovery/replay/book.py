"""The book of replays: what runs, how far it is, what is wanted of it, and who did what. In the service's schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from kit.postgres import Database, Transaction
from recovery.replay.letters import letters_of
from recovery.replay.plan import Plan, Refused

__all__ = ["Book", "Entry", "State", "Wanted"]

State = Literal["running", "paused", "cancelled", "failed", "done", "promoted"]
Wanted = Literal["run", "pause", "cancel"]
ENDED: tuple[State, ...] = ("cancelled", "done", "promoted")

# Whether a process runs it: that process holds the replay's advisory lock for as long as it lives.
_ALL = """
SELECT r.*, EXISTS (
    SELECT FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.classid = (hashtext('replay')::bigint & 4294967295)::oid
        AND l.objid = (hashtext(r.id)::bigint & 4294967295)::oid
) AS held
FROM replay r
"""
_OPEN = """
INSERT INTO replay (id, consumer, target, plan, plan_hash, state, total, who, why)
VALUES ($1, $2, $3, $4, $5, 'running', $6, $7, $8)
"""
_SAVE = """
UPDATE replay SET counts = $2, waiting_for = $3, per_second = $4, heartbeat_at = now(), state = 'running'
WHERE id = $1 RETURNING wanted
"""
_BEAT = """
UPDATE replay SET waiting_for = $2, per_second = $3, heartbeat_at = now() WHERE id = $1
"""
_PLACE = """
UPDATE replay_position p SET next_offset = n.next_offset, last_told = n.last_told
FROM unnest($2::text[], $3::int[], $4::bigint[], $5::text[]) AS n (topic, partition, next_offset, last_told)
WHERE p.replay_id = $1 AND p.topic = n.topic AND p.partition = n.partition
"""
_END = """
UPDATE replay SET state = $2, report = coalesce($3, report), counts = coalesce($4, counts), heartbeat_at = now(),
    waiting_for = '', per_second = 0, finished_at = CASE WHEN $2 = 'paused' THEN NULL ELSE now() END
WHERE id = $1
"""
_GO_ON = """
UPDATE replay SET wanted = 'run', state = 'running', heartbeat_at = now(), finished_at = NULL WHERE id = $1
"""
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('replay'), hashtext($1))"
# Nobody goes on with a cancelled replay, so nobody can work its letters off: they leave like dropped ones.
_DROP_LETTERS = """
WITH dropped AS (
    UPDATE dead_letter SET state = 'dropped' WHERE consumer = $1 AND state <> 'dropped'
    RETURNING id, tenant_id, consumer, event_id
)
INSERT INTO dead_letter_audit (id, tenant_id, consumer, letter_id, event_id, action, who, why)
SELECT gen_random_uuid(), tenant_id, consumer, id, event_id, 'drop', 'replay', 'the replay was cancelled' FROM dropped
"""
_AUDIT = "INSERT INTO replay_audit (replay_id, action, who, why, detail) VALUES ($1, $2, $3, $4, $5)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A replay in the book."""

    id: str
    plan: Plan
    state: State
    wanted: Wanted
    total: int
    counts: Mapping[str, int]
    report: Mapping[str, Any] | None
    who: str
    why: str
    started_at: datetime
    heartbeat_at: datetime
    finished_at: datetime | None
    positions: Mapping[tuple[str, int], int]
    last_told: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """Of a store that is told again: the last row behind each place."""
    waiting_for: str = ""
    """Why it goes slower than asked, or nothing."""
    per_second: float = 0.0
    """How many records it has handled a second lately."""
    held: bool = False
    """Whether a process has it now."""

    @property
    def seen(self) -> int:
        return self.counts.get("seen", 0)

    @property
    def failed(self) -> int:
        return self.counts.get("parked", 0) + self.counts.get("parked_behind", 0)

    @property
    def stopped(self) -> bool:
        """Whether it should run and no process runs it: it was killed, or its machine was."""
        return self.state == "running" and not self.held

    @property
    def eta_seconds(self) -> float | None:
        """When it will be done if it goes on like this; nothing when that cannot be said."""
        if self.state != "running" or not self.held or self.per_second <= 0:
            return None
        return max(0, self.total - self.seen) / self.per_second


class Book:
    """One service's replays."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, plan: Plan, *, who: str, why: str) -> None:
        """Enter a replay that begins. Raises :class:`Refused` when it was applied before."""
        async with self._database.system() as tx:
            if await tx.fetchval("SELECT true FROM replay WHERE id = $1", plan.id):
                raise Refused(f"{plan.id} was applied before; go on with it by `trunkline replay resume {plan.id}`")
            await tx.execute(
                _OPEN, plan.id, plan.consumer, plan.target, plan.to_json(), plan.hash(), plan.records, who, why
            )
            for span in plan.spans:
                await tx.execute(
                    "INSERT INTO replay_position VALUES ($1, $2, $3, $4, $5)",
                    plan.id, span.topic, span.partition, span.start, span.end,
                )  # fmt: skip
            detail = json.dumps(
                {
                    "plan_hash": plan.hash(),
                    "records": plan.records,
                    "target": plan.target,
                    "effects_allowed": list(plan.effects),
                }
            )
            await tx.execute(_AUDIT, plan.id, "apply", who, why, detail)

    async def find(self, id_: str) -> Entry:
        async with self._database.system() as tx:
            row = await tx.fetchrow(f"{_ALL} WHERE id = $1", id_)
            if row is None:
                raise Refused(f"there is no replay {id_}; `trunkline replay status` lists them")
            places = await tx.fetch("SELECT * FROM replay_position WHERE replay_id = $1", id_)
        return _entry(row, places)

    async def all(self) -> list[Entry]:
        async with self._database.system() as tx:
            return [_entry(row, ()) for row in await tx.fetch(f"{_ALL} ORDER BY started_at DESC LIMIT 100")]

    async def checkpoint(
        self,
        id_: str,
        *,
        counts: Mapping[str, int],
        positions: Mapping[tuple[str, int], int],
        last_told: Mapping[tuple[str, int], str] | None = None,
        waiting_for: str = "",
        per_second: float = 0.0,
    ) -> Wanted:
        """Store how far the replay is, after its effects are committed; return what an operator wants of it."""
        told = last_told or {}
        async with self._database.system() as tx:
            if positions:
                rows = [(topic, number, offset, told.get((topic, number), ""))
                        for (topic, number), offset in positions.items()]  # fmt: skip
                await tx.execute(_PLACE, id_, *(list(column) for column in zip(*rows, strict=True)))
            wanted: Wanted = await tx.fetchval(_SAVE, id_, json.dumps(dict(counts)), waiting_for, per_second)
        return wanted

    async def wanted(self, id_: str) -> Wanted:
        """What an operator wants of it."""
        async with self._database.system() as tx:
            wanted: Wanted = await tx.fetchval("SELECT wanted FROM replay WHERE id = $1", id_)
        return wanted

    async def beat(self, id_: str, *, waiting_for: str, per_second: float) -> None:
        """Say that the replay lives, and how it fares."""
        async with self._database.system() as tx:
            await tx.execute(_BEAT, id_, waiting_for, per_second)

    async def end(
        self,
        id_: str,
        state: State,
        *,
        report: Mapping[str, Any] | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        async with self._database.system() as tx:
            await tx.execute(
                _END, id_, state, json.dumps(report, default=str) if report is not None else None,
                json.dumps(dict(counts)) if counts is not None else None,
            )  # fmt: skip
            if state == "cancelled":
                await _let_letters_go(tx, id_)

    async def want(self, id_: str, wanted: Wanted, *, who: str, why: str = "") -> Entry:
        """Ask a replay to pause, to go on or to stop, and enter who asked.

        A process that runs it looks several times a second; without one it is paused or cancelled at once. ``run`` is
        asked by the process that goes on with it, which has its lock.
        """
        async with self._database.system() as tx:
            state: State | None = await tx.fetchval("SELECT state FROM replay WHERE id = $1 FOR UPDATE", id_)
            if state is None:
                raise Refused(f"there is no replay {id_}; `trunkline replay status` lists them")
            if wanted == "run":
                await tx.execute(_GO_ON, id_)
            elif state in ENDED or (wanted == "pause" and state != "running"):
                raise Refused(f"{id_} is {state}; there is nothing to {wanted}")
            else:
                await tx.execute("UPDATE replay SET wanted = $2 WHERE id = $1", id_, wanted)
                if await tx.fetchval(_LOCK, id_):
                    await tx.execute(_END, id_, {"pause": "paused"}.get(wanted, "cancelled"), None, None)
                    if wanted == "cancel":
                        await _let_letters_go(tx, id_)
            await tx.execute(_AUDIT, id_, {"run": "resume"}.get(wanted, wanted), who, why, "{}")
        return await self.find(id_)

    async def audit(self, id_: str, action: str, *, who: str, why: str = "", detail: Mapping[str, Any]) -> None:
        async with self._database.system() as tx:
            await tx.execute(_AUDIT, id_, action, who, why, json.dumps(detail, default=str))

    async def history(self, id_: str) -> list[dict[str, Any]]:
        async with self._database.system() as tx:
            return [dict(row) for row in await tx.fetch(
                "SELECT action, who, why, detail, at FROM replay_audit WHERE replay_id = $1 ORDER BY id", id_
            )]  # fmt: skip


async def _let_letters_go(tx: Transaction, id_: str) -> None:
    consumer: str = await tx.fetchval("SELECT consumer FROM replay WHERE id = $1", id_)
    await tx.execute(_DROP_LETTERS, letters_of(consumer, id_))
    await tx.execute("DELETE FROM parked_key WHERE consumer = $1", letters_of(consumer, id_))


def _entry(row: Any, places: Sequence[Any]) -> Entry:
    return Entry(
        id=row["id"],
        plan=Plan.from_json(row["plan"]),
        state=row["state"],
        wanted=row["wanted"],
        total=row["total"],
        counts=json.loads(row["counts"]),
        report=json.loads(row["report"]) if row["report"] else None,
        who=row["who"],
        why=row["why"],
        started_at=row["started_at"],
        heartbeat_at=row["heartbeat_at"],
        finished_at=row["finished_at"],
        positions={(p["topic"], p["partition"]): p["next_offset"] for p in places},
        last_told={(p["topic"], p["partition"]): p["last_told"] for p in places if p["last_told"]},
        waiting_for=row["waiting_for"],
        per_second=row["per_second"],
        held=row["held"],
    )
