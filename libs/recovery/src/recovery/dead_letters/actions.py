"""What operators do with dead letters. Each action and its audit are one transaction."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from kit.postgres import Database, Transaction
from recovery.dead_letters.book import Place, Selection, find, places, readable

__all__ = ["IN_A_REPLAY", "MOST", "Asker", "CannotDo", "Outcome", "audit", "chosen", "drop", "edit", "restore", "retry"]

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
# What the worker is just trying can take effect at any moment: it is left alone.
_CHANGE = {
    "retry": """
UPDATE dead_letter SET state = 'retry', job = NULL
WHERE id = ANY ($1::uuid[]) AND state = 'waiting' AND trying_since IS NULL RETURNING id
""",
    "drop": """
UPDATE dead_letter SET state = 'dropped', job = NULL
WHERE id = ANY ($1::uuid[]) AND state <> 'dropped' AND trying_since IS NULL RETURNING id
""",
}
_EDIT = """
UPDATE dead_letter SET edited_value = $2 WHERE id = $1 AND state = 'waiting' AND trying_since IS NULL RETURNING true
"""


IN_A_REPLAY = "these failed in a replay: mend the handler, then `trunkline replay resume` tries them, or drop them"


class CannotDo(Exception):
    """The action is refused; the message says why and what to do instead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asker:
    """Who asks, and why; both are audited."""

    who: str
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How many letters an action took, and how many it left because they were just being tried or had changed."""

    done: int
    left: int


async def audit(tx: Transaction, ids: Sequence[UUID], action: str, asker: Asker, **detail: object) -> None:
    await tx.execute(_AUDIT, list(ids), action, asker.who, asker.why, json.dumps(detail, default=str))


async def retry(database: Database, selection: Selection, asker: Asker) -> Outcome:
    """Ask for letters to be tried again, each key in its order. The service's worker does it."""
    found = [each for each in await chosen(database, selection) if each.state == "waiting"]
    if any("@" in each.consumer for each in found):
        raise CannotDo(IN_A_REPLAY)
    ids = [each.id for each in found if not each.parked_behind or selection.ids]
    async with database.system() as tx:
        if selection.ids and len(ids) == 1 and await tx.fetchval(_EARLIER, ids[0]):
            raise CannotDo("an earlier letter of this key failed as well; retry the whole key: --key-of")
        return await _change(tx, ids, "retry", asker)


async def chosen(database: Database, selection: Selection) -> list[Place]:
    """The letters of a selection; those of a replay only when its consumer or they themselves are named."""
    found = await places(database, selection, MOST)
    if selection.consumer is not None or selection.ids is not None:
        return found
    live = [each for each in found if "@" not in each.consumer]
    if found and not live:
        raise CannotDo(f"these failed in a replay; to drop them, name its consumer: --consumer {found[0].consumer}")
    return live


async def _change(tx: Transaction, ids: Sequence[UUID], action: str, asker: Asker) -> Outcome:
    changed = [row["id"] for row in await tx.fetch(_CHANGE[action], list(ids))]
    await audit(tx, changed, action, asker)
    return Outcome(done=len(changed), left=len(ids) - len(changed))


async def edit(database: Database, id_: UUID, value: bytes | None, asker: Asker) -> str:
    """Have another value tried in place of the original, which is kept; return the difference from what was tried.

    Without a value the original is tried again.
    """
    found = await find(database, id_)
    if found is None:
        raise CannotDo("there is no such letter; it may have been worked off")
    letter, _ = found
    if not asker.why:
        raise CannotDo("say why it is edited")
    # Back to the original is no other value, so that nothing is left that calls it edited.
    new = None if value == letter.value else value
    detail = {"sha256": hashlib.sha256(new).hexdigest(), "length": len(new)} if new is not None else {"original": True}
    async with database.system() as tx:
        if not await tx.fetchval(_EDIT, id_, new):
            state = "being tried" if letter.state == "waiting" else f"in state {letter.state}"
            raise CannotDo(f"the letter is {state}; only waiting ones are edited")
        await audit(tx, [id_], "edit", asker, **detail)
    present = letter.edited if letter.edited is not None else letter.value
    return difference(present, letter.value if new is None else new)


def difference(before: bytes | None, after: bytes | None) -> str:
    """A unified diff of two values, as a person reads them."""
    lines = difflib.unified_diff(
        readable(before).splitlines(), readable(after).splitlines(), "before", "after", lineterm=""
    )
    return "\n".join(lines)


async def drop(database: Database, selection: Selection, asker: Asker) -> Outcome:
    """Give letters up; those behind them go on. They can be restored for thirty days."""
    if not asker.why:
        raise CannotDo("say why they are dropped")
    found = [each.id for each in await chosen(database, selection) if each.state != "dropped"]
    async with database.system() as tx:
        return await _change(tx, found, "drop", asker)


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
