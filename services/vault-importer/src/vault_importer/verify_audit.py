"""Checks a tenant's audit log from its first record."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from kit.postgres import Database
from vault_importer.audit import FIRST_PREVIOUS, Broken, check_link
from vault_importer.audit_store import read_audit

__all__ = ["Verdict", "verify_audit"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    records: int
    """Good records from the beginning."""
    head: bytes
    """The hash of the last of them: note it elsewhere and a later check shows that the end was not cut off."""
    broken: Broken | None


async def verify_audit(
    database: Database, tenant_id: UUID, *, expected_head: tuple[int, bytes] | None = None
) -> Verdict:
    """``expected_head`` is a sequence and hash that were noted after an earlier check."""
    head = (0, FIRST_PREVIOUS)
    async with database.transaction(tenant_id) as tx:
        async for record in read_audit(tx):
            broken = check_link(record, after=head)
            if (
                broken is None
                and expected_head
                and record.sequence == expected_head[0]
                and record.hash != expected_head[1]
            ):
                broken = Broken(sequence=record.sequence, reason="is not the record whose hash was noted")
            if broken:
                return Verdict(records=head[0], head=head[1], broken=broken)
            head = (record.sequence, record.hash)
    if expected_head and head[0] < expected_head[0]:
        cut = Broken(sequence=head[0] + 1, reason=f"missing: the log had {expected_head[0]} records before")
        return Verdict(records=head[0], head=head[1], broken=cut)
    return Verdict(records=head[0], head=head[1], broken=None)
