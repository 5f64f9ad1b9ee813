"""Bulk actions on dead letters: planned, applied at a rate, cancelled at any time; each step is audited.

The worker carries them out. Whoever speaks for one tenant names it, and then has only that tenant's jobs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kit.ids import uuid7
from kit.postgres import Database, Transaction
from recovery.dead_letters.actions import IN_A_REPLAY, Asker, CannotDo, chosen
from recovery.dead_letters.book import Selection

__all__ = ["Job", "apply_job", "audit_job", "cancel_job", "history", "jobs", "plan_job"]

_PLAN = """
INSERT INTO dead_letter_job (id, tenant_id, consumer, action, letters, plan_hash, rate, planned_by, who, why)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9) RETURNING *
"""
_APPLY = """
UPDATE dead_letter_job SET state = 'running', who = $3
WHERE id = $1 AND plan_hash = $2 AND state = 'planned' AND created_at > now() - interval '1 day'
    AND ($4::uuid IS NULL OR tenant_id = $4) RETURNING *
"""
_CANCEL = """
UPDATE dead_letter_job SET state = 'cancelled', finished_at = now()
WHERE id = $1 AND state IN ('planned', 'running') AND ($2::uuid IS NULL OR tenant_id = $2) RETURNING *
"""
_JOBS = """
SELECT * FROM dead_letter_job WHERE $1::uuid IS NULL OR tenant_id = $1 ORDER BY created_at DESC LIMIT 50
"""
_AUDIT = """
INSERT INTO dead_letter_job_audit (job_id, action, who, why, plan_hash, done) VALUES ($1, $2, $3, $4, $5, $6)
"""
_HISTORY = "SELECT action, who, why, plan_hash, done, at FROM dead_letter_job_audit WHERE job_id = $1 ORDER BY id"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A bulk action and how far it is."""

    id: UUID
    tenant_id: UUID | None
    consumer: str
    action: str
    letters: int
    plan_hash: str
    rate: float
    state: str
    done: int
    """Letters whose turn has come."""
    retried: int
    """Of these, tried and taken effect."""
    failed: int
    """Tried, and failed again."""
    skipped: int
    """Left alone: they no longer waited."""
    planned_by: str
    who: str
    """Under whose name it acts: who applied it, before that who planned it."""
    why: str


async def plan_job(database: Database, selection: Selection, action: str, rate: float, asker: Asker) -> Job:
    """Freeze which letters a bulk action is about. Changes none of them."""
    if selection.consumer is None:
        raise CannotDo("a bulk action is about one consumer's letters; name it")
    if action == "retry" and "@" in selection.consumer:
        raise CannotDo(IN_A_REPLAY)
    if action == "drop" and not asker.why:
        raise CannotDo("say why they are dropped")
    found = [each for each in await chosen(database, selection) if each.state == "waiting"]
    ids = [each.id for each in found if action == "drop" or not each.parked_behind]
    if not ids:
        raise CannotDo("nothing matches: there are no such letters that wait")
    digest = hashlib.sha256("".join(map(str, ids)).encode()).hexdigest()[:16]
    async with database.system() as tx:
        row = await tx.fetchrow(
            _PLAN, uuid7(), selection.tenant, selection.consumer, action, ids, digest, rate, asker.who, asker.why
        )
        await audit_job(tx, row, "plan", asker)
    return _job(row)


async def apply_job(database: Database, id_: UUID, plan_hash: str, asker: Asker, *, tenant: UUID | None = None) -> Job:
    """Begin a planned job; the service's worker goes through it. Refused when the plan is not the one that was read."""
    async with database.system() as tx:
        row = await tx.fetchrow(_APPLY, id_, plan_hash, asker.who, tenant)
        if row is None:
            raise CannotDo("there is no such plan of the last day that waits to be applied; make a new one")
        await audit_job(tx, row, "apply", asker)
    return _job(row)


async def cancel_job(database: Database, id_: UUID, asker: Asker, *, tenant: UUID | None = None) -> Job:
    """End it; what it has done stays done."""
    async with database.system() as tx:
        row = await tx.fetchrow(_CANCEL, id_, tenant)
        if row is None:
            raise CannotDo("there is no such job that could be cancelled")
        await audit_job(tx, row, "cancel", asker)
    return _job(row)


async def audit_job(tx: Transaction, row: Any, action: str, asker: Asker) -> None:
    await tx.execute(_AUDIT, row["id"], action, asker.who, asker.why or row["why"], row["plan_hash"], row["done"])


async def jobs(database: Database, tenant: UUID | None = None) -> list[Job]:
    """The latest ones; of every tenant, and of none in particular, unless one is given."""
    async with database.system() as tx:
        return [_job(row) for row in await tx.fetch(_JOBS, tenant)]


async def history(database: Database, id_: UUID) -> list[dict[str, Any]]:
    """Who did what to a job, the first first."""
    async with database.system() as tx:
        return [dict(row) for row in await tx.fetch(_HISTORY, id_)]


def _job(row: Any) -> Job:
    values = {name: row[name] for name in Job.__dataclass_fields__ if name != "letters"}
    return Job(**values, letters=len(row["letters"]))
