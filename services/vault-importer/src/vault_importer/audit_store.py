"""The audit log in Postgres: the only way to write a record is to link it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from kit.postgres import Transaction, load_queries
from vault_importer.audit import AuditRecord, chained
from vault_importer.ledger_store import append_audit_leaf

__all__ = ["append_audit", "read_audit"]

Q = load_queries("vault_importer")
PAGE = 1000


async def append_audit(
    tx: Transaction,
    action: str,
    *,
    at: datetime,
    account_id: UUID | None = None,
    import_id: UUID | None = None,
    file_sha256: str = "",
    details: Mapping[str, Any] | None = None,
) -> AuditRecord:
    """Link one record to the tenant's chain. The last thing a transaction does: it holds the chain until it ends."""
    await tx.execute(Q.lock_audit_log, str(tx.tenant))
    newest = await tx.fetchrow(Q.newest_audit_record)
    record = chained(
        AuditRecord(
            tenant_id=tx.tenant,
            sequence=0,
            at=at,
            action=action,
            account_id=account_id,
            import_id=import_id,
            file_sha256=file_sha256,
            details=details or {},
            previous_hash=b"",
            hash=b"",
        ),
        after=(newest["sequence"], newest["hash"]) if newest else None,
    )
    await tx.execute(
        Q.add_audit_record,
        record.tenant_id,
        record.sequence,
        record.at,
        record.action,
        record.account_id,
        record.import_id,
        record.file_sha256,
        json.dumps(dict(record.details)),
        record.previous_hash,
        record.hash,
    )
    await append_audit_leaf(tx, record.sequence, record.hash, at=at)
    return record


async def read_audit(tx: Transaction) -> AsyncIterator[AuditRecord]:
    """The tenant's chain from its beginning, a page at a time."""
    after = 0
    while rows := await tx.fetch(Q.audit_records, after, PAGE):
        for row in rows:
            after = row["sequence"]
            yield AuditRecord(**{**dict(row), "details": json.loads(row["details"])})
