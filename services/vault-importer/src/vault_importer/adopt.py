"""Gives leaves to what was archived before there was a ledger.

Such a leaf says that something was there when it was adopted, not since when: an audit record says how much was adopted
and when, and checkpoints say before which time it was.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from kit.postgres import Database, Transaction
from vault_importer.audit_store import append_audit
from vault_importer.leaves import Wording, leaves_of_wordings
from vault_importer.leaves_beside import BESIDE, BesideKind
from vault_importer.ledger_beside import FIRST, append_beside, leaves_of_rows, page_beside
from vault_importer.ledger_store import (
    append_audit_leaf,
    append_import_leaf,
    append_leaves,
    audit_beside,
    imports_beside,
    leaves_of_messages,
    lock_ledger,
    wording_imports,
    wording_keys,
    wordings_of,
)

__all__ = ["Adopted", "adopt"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Adopted:
    wordings: int
    imports: int
    audit_records: int
    media: int = 0
    reactions: int = 0
    votes: int = 0
    identities: int = 0


async def adopt(database: Database, tenant: UUID, *, now: datetime) -> Adopted:
    """Append a leaf for everything that has none, a page at a time. Imports may go on meanwhile."""
    wordings = 0
    after: tuple[UUID, int] | None = (UUID(int=0), 0)
    while after is not None:
        async with database.transaction(tenant) as tx:
            count, after = await _page(tx, after, now)
            wordings += count
    async with database.transaction(tenant) as tx:
        await lock_ledger(tx)
        runs, records = await imports_beside(tx), await audit_beside(tx)
        for run in runs:
            await append_import_leaf(tx, run, at=now)
        for sequence, hash_ in records.items():
            await append_audit_leaf(tx, sequence, hash_, at=now)
    beside = {kind: await _beside(database, tenant, kind, now) for kind in BESIDE}
    adopted = Adopted(
        wordings=wordings,
        imports=len(runs),
        audit_records=len(records),
        media=beside["media"],
        reactions=beside["reaction"],
        votes=beside["vote"],
        identities=beside["identity"],
    )
    if adopted != Adopted(wordings=0, imports=0, audit_records=0):
        async with database.transaction(tenant) as tx:
            await append_audit(tx, "ledger.adopted", at=now, details=asdict(adopted))
    return adopted


async def _beside(database: Database, tenant: UUID, kind: BesideKind, now: datetime) -> int:
    """How much of a kind was adopted."""
    count, after = 0, FIRST
    while True:
        async with database.transaction(tenant) as tx:
            await lock_ledger(tx)
            rows = await page_beside(tx, kind, after)
            if not rows:
                return count
            known = await leaves_of_rows(tx, kind, rows)
            missing = [row for row in rows if row.key not in known]
            await append_beside(tx, kind, missing, at=now)
        count, after = count + len(missing), rows[-1].key


async def _page(tx: Transaction, after: tuple[UUID, int], now: datetime) -> tuple[int, tuple[UUID, int] | None]:
    """How many were adopted, and behind which to go on. With the tree held, what has no leaf gets none from others."""
    await lock_ledger(tx)
    keys = await wording_keys(tx, after)
    if not keys:
        return 0, None
    ids = list(dict.fromkeys(message_id for message_id, _ in keys))
    missing = set(keys) - (await leaves_of_messages(tx, ids)).keys()
    if missing:
        imports = await wording_imports(tx, ids)
        by_import: dict[UUID, list[Wording]] = defaultdict(list)
        for wording in await wordings_of(tx, ids):
            key = (wording.message_id, wording.revision)
            if key in missing:
                by_import[imports[key]].append(wording)
        for import_id, wordings in by_import.items():
            await append_leaves(tx, leaves_of_wordings(wordings, import_id=import_id), at=now)
    return len(missing), keys[-1]
