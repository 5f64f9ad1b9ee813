"""The book of replays: what runs, how far it is, what is wanted of it, and who did what. In the service's schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from kit.postgres import Database
from recovery.replay.plan import Plan, Refused

__all__ = ["Book", "Entry", "State", "Wanted"]

State = Literal["running", "paused", "cancelled", "failed", "done", "promoted"]
Wanted = Literal["run", "pause", "cancel"]
ENDED = ("cancelled", "done", "promoted")

_OPEN = """
INSERT INTO replay (id, consumer, target, plan, plan_hash, state, total, who, why)
VALUES ($1, $2, $3, $4, $5, 'running', $6, $7, $8)
"""
_SAVE = """
UPDATE replay SET counts = $2, heartbeat_at = now(), state = 'running' WHERE id = $1 RETURNING wanted
"""
_PLACE = """
UPDATE replay_position p SET next_offset = n.next_offset
FROM unnest($2::text[], $3::int[], $4::bigint[]) AS n (topic, partition, next_offset)
WHERE p.replay_id = $1 AND p.topic = n.topic AND p.partition = n.partition
"""
_END = """
UPDATE replay SET state = $2, report = coalesce($3, report), counts = coalesce($4, counts), heartbeat_at = now(),
    finished_at = CASE WHEN $2 = 'paused' THEN NULL ELSE now() END
WHERE id = $1
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

    @property
    def seen(self) -> int:
        return self.counts.get("seen", 0)


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
            detail = json.dumps({"plan_hash": plan.hash(), "records": plan.records, "target": plan.target})
            await tx.execute(_AUDIT, plan.id, "apply", who, why, detail)

    async def find(self, id_: str) -> Entry:
        async with self._database.system() as tx:
            row = await tx.fetchrow("SELECT * FROM replay WHERE id = $1", id_)
            if row is None:
                raise Refused(f"there is no replay {id_}; `trunkline replay status` lists them")
            places = await tx.fetch(
                "SELECT topic, partition, next_offset FROM replay_position WHERE replay_id = $1", id_
            )
        return _entry(row, {(p["topic"], p["partition"]): p["next_offset"] for p in places})

    async def all(self) -> list[Entry]:
        async with self._database.system() as tx:
            return [
                _entry(row, {}) for row in await tx.fetch("SELECT * FROM replay ORDER BY started_at DESC LIMIT 100")
            ]

    async def checkpoint(
        self, id_: str, *, counts: Mapping[str, int], positions: Mapping[tuple[str, int], int]
    ) -> Wanted:
        """Store how far the replay is, after its effects are committed; return what an operator wants of it."""
        async with self._database.system() as tx:
            if positions:
                topics, numbers, offsets = zip(*((t, n, o) for (t, n), o in positions.items()), strict=True)
                await tx.execute(_PLACE, id_, list(topics), list(numbers), list(offsets))
            wanted: Wanted = await tx.fetchval(_SAVE, id_, json.dumps(dict(counts)))
        return wanted

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

    async def want(self, id_: str, wanted: Wanted, *, who: str, why: str = "") -> Entry:
        """Ask the running replay to pause, go on or stop; it looks several times a second."""
        entry = await self.find(id_)
        if entry.state in ENDED:
            raise Refused(f"{id_} is {entry.state}; there is nothing to {wanted}")
        async with self._database.system() as tx:
            await tx.execute("UPDATE replay SET wanted = $2 WHERE id = $1", id_, wanted)
            if wanted == "cancel" and entry.state in ("paused", "failed"):
                await tx.execute(_END, id_, "cancelled", None, None)
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


def _entry(row: Any, positions: Mapping[tuple[str, int], int]) -> Entry:
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
        positions=positions,
    )
