"""What operators do with dead letters. Each action and its audit are one transaction."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kit.ids import uuid7
from kit.postgres import Database, Transaction
from recovery.dead_letters.book import Selection, find, letters, readable

__all__ = [
    "Asker",
    "CannotDo",
    "Job",
    "apply_job",
    "cancel_job",
    "drop",
    "edit",
    "jobs",
    "plan_job",
    "restore",
    "retry",
]

MOST = 100_000

_AUDIT = """
INSERT INTO dead_letter_audit (id, tenant_id, consumer, letter_id, event_id, action, who, why, detail)
SELECT gen_random_uuid(), tenant_id, consumer, id, event_id, $2, $3, $4, $5::jsonb FROM dead_letter
WHERE id = ANY ($1::uuid[])
"""
# Only what stands first of its key is tried: whatever lies behind an earlier failure keeps waiting.
_EARLIER = """
SELECT count(*) FROM dead_letter d WHERE d.id = $1 AND d.lane IS NOT NULL AND EXISTS (
    SELECT FROM dead_letter e WHERE e.consumer = d.consumer AND e.lane = d.lane AND e.seq < d.seq
        AND e.state = 'waiting' AND NOT e.parked_behind)
"""
_PARK_KEY = """
INSERT INTO parked_key (consumer, tenant_id, key) SELECT consumer, tenant_id, lane FROM dead_letter
WHERE id = $1 AND lane IS NOT NULL ON CONFLICT (consumer, key) DO UPDATE SET since = parked_key.since
"""


class CannotDo(Exception):
    """The action is refused; the message says why and what to do instead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asker:
    """Who asks, and why; both are audited."""

    who: str
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A bulk action: planned, applied at a rate, cancelled at any time."""

    id: UUID
    consumer: str
    action: str
    letters: int
    plan_hash: str
    rate: float
    state: str
    done: int
    failed: int
    who: str
    why: str


async def audit(tx: Transaction, ids: Sequence[UUID], action: str, asker: Asker, **detail: object) -> None:
    await tx.execute(_AUDIT, list(ids), action, asker.who, asker.why, json.dumps(detail, default=str))


async def retry(database: Database, selection: Selection, asker: Asker) -> int:
    """Ask for letters to be tried again, each key in its order; return how many. The service's worker does it."""
    found = [each for each in await letters(database, selection, limit=MOST) if each.state == "waiting"]
    if any("@" in each.consumer for each in found):
        raise CannotDo("these failed in a replay; mend what failed and replay them, or drop them")
    chosen = [each.id for each in found if not each.parked_behind or selection.ids]
    async with database.system() as tx:
        if selection.ids and len(chosen) == 1 and await tx.fetchval(_EARLIER, chosen[0]):
            raise CannotDo("an earlier letter of this key failed as well; retry the whole key: --key")
        await tx.execute("UPDATE dead_letter SET state = 'retry' WHERE id = ANY ($1::uuid[])", chosen)
        await audit(tx, chosen, "retry", asker)
    return len(chosen)


async def edit(database: Database, id_: UUID, value: bytes, asker: Asker) -> str:
    """Have another value tried in place of the original, which is kept; return the difference of the two."""
    found = await find(database, id_)
    if found is None:
        raise CannotDo("there is no such letter; it may have been worked off")
    letter, _ = found
    if letter.state != "waiting":
        raise CannotDo(f"the letter is in state {letter.state}; only waiting ones are edited")
    if not asker.why:
        raise CannotDo("say why it is edited")
    async with database.system() as tx:
        await tx.execute("UPDATE dead_letter SET edited_value = $2 WHERE id = $1", id_, value)
        await audit(tx, [id_], "edit", asker, sha256=hashlib.sha256(value).hexdigest(), length=len(value))
    return difference(letter.value, value)


def difference(before: bytes | None, after: bytes) -> str:
    """A unified diff of two values, as a person reads them."""
    lines = difflib.unified_diff(
        readable(before).splitlines(), readable(after).splitlines(), "original", "edited", lineterm=""
    )
    return "\n".join(lines)


async def drop(database: Database, selection: Selection, asker: Asker) -> int:
    """Give letters up; those behind them go on. They can be restored for thirty days."""
    if not asker.why:
        raise CannotDo("say why they are dropped")
    found = [each.id for each in await letters(database, selection, limit=MOST) if each.state != "dropped"]
    async with database.system() as tx:
        await tx.execute("UPDATE dead_letter SET state = 'dropped' WHERE id = ANY ($1::uuid[])", found)
        await audit(tx, found, "drop", asker)
    return len(found)


async def restore(database: Database, id_: UUID, asker: Asker) -> None:
    """Take a dropped letter back; its key is parked again, so what follows from now on waits behind it."""
    async with database.system() as tx:
        await tx.execute(_PARK_KEY, id_)
        done = await tx.fetchval(
            "UPDATE dead_letter SET state = 'waiting', parked_behind = false WHERE id = $1 AND state = 'dropped' "
            "RETURNING true",
            id_,
        )
        if not done:
            raise CannotDo("there is no such dropped letter")
        await audit(tx, [id_], "restore", asker)


async def plan_job(database: Database, selection: Selection, action: str, rate: float, asker: Asker) -> Job:
    """Freeze which letters a bulk action is about. Changes nothing."""
    if selection.consumer is None:
        raise CannotDo("a bulk action is about one consumer's letters; name it")
    if action == "drop" and not asker.why:
        raise CannotDo("say why they are dropped")
    found = [each for each in await letters(database, selection, limit=MOST) if each.state == "waiting"]
    ids = [each.id for each in found if action == "drop" or not each.parked_behind]
    if not ids:
        raise CannotDo("nothing matches: there are no such letters that wait")
    digest = hashlib.sha256("".join(map(str, ids)).encode()).hexdigest()[:16]
    async with database.system() as tx:
        row = await tx.fetchrow(
            "INSERT INTO dead_letter_job (id, consumer, action, letters, plan_hash, rate, who, why) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING *",
            uuid7(), selection.consumer, action, ids, digest, rate, asker.who, asker.why,
        )  # fmt: skip
    return _job(row)


async def apply_job(database: Database, id_: UUID, plan_hash: str, asker: Asker) -> Job:
    """Begin a planned job; the service's worker goes through it. Refused when the plan is not the one that was read."""
    async with database.system() as tx:
        row = await tx.fetchrow(
            "UPDATE dead_letter_job SET state = 'running', who = $3 WHERE id = $1 AND plan_hash = $2 "
            "AND state = 'planned' AND created_at > now() - interval '1 day' RETURNING *",
            id_, plan_hash, asker.who,
        )  # fmt: skip
    if row is None:
        raise CannotDo("there is no such plan of the last day that waits to be applied; make a new one")
    return _job(row)


async def cancel_job(database: Database, id_: UUID) -> Job:
    async with database.system() as tx:
        row = await tx.fetchrow(
            "UPDATE dead_letter_job SET state = 'cancelled', finished_at = now() WHERE id = $1 "
            "AND state IN ('planned', 'running') RETURNING *",
            id_,
        )
    if row is None:
        raise CannotDo("there is no such job that could be cancelled")
    return _job(row)


async def jobs(database: Database) -> list[Job]:
    async with database.system() as tx:
        return [_job(row) for row in await tx.fetch("SELECT * FROM dead_letter_job ORDER BY created_at DESC LIMIT 50")]


def _job(row: Any) -> Job:
    values = {name: row[name] for name in Job.__dataclass_fields__ if name != "letters"}
    return Job(**values, letters=len(row["letters"]))
