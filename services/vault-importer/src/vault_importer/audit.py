"""The audit log's chain: each record is hashed together with the hash of the one before it. Pure.

A record holds opaque ids, hashes and counts, never personal data: it can be shown to anybody and never has to be
erased. Whoever keeps the newest hash elsewhere can tell later whether anything before it was changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

__all__ = ["FIRST_PREVIOUS", "AuditRecord", "Broken", "chained", "check_link", "record_hash"]

FIRST_PREVIOUS = bytes(32)
RECORD_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRecord:
    tenant_id: UUID
    sequence: int
    at: datetime
    action: str
    account_id: UUID | None
    import_id: UUID | None
    file_sha256: str
    details: Mapping[str, Any]
    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """The first record that is not what was written."""

    sequence: int
    reason: str


def record_hash(record: AuditRecord) -> bytes:
    """SHA-256 over the canonical form: JSON with sorted keys and no spaces, times in UTC to the microsecond."""
    canonical = {
        "version": RECORD_VERSION,
        "tenant": str(record.tenant_id),
        "sequence": record.sequence,
        "at": record.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "action": record.action,
        "account": str(record.account_id or ""),
        "import": str(record.import_id or ""),
        "file_sha256": record.file_sha256,
        "details": record.details,
        "previous": record.previous_hash.hex(),
    }
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).digest()


def chained(record: AuditRecord, *, after: tuple[int, bytes] | None) -> AuditRecord:
    """The record as the next link after the newest one (its sequence and hash), with its own hash."""
    sequence, previous = after or (0, FIRST_PREVIOUS)
    placed = replace(record, sequence=sequence + 1, previous_hash=previous)
    return replace(placed, hash=record_hash(placed))


def check_link(record: AuditRecord, *, after: tuple[int, bytes]) -> Broken | None:
    """What is wrong with a record as the next one after a sequence and hash, if anything."""
    expected, previous = after[0] + 1, after[1]
    if record.sequence != expected:
        return Broken(sequence=expected, reason=f"missing: the next record is {record.sequence}")
    if record.previous_hash != previous:
        return Broken(sequence=expected, reason="does not continue the record before it")
    if record_hash(record) != record.hash:
        return Broken(sequence=expected, reason="was changed after it was written")
    return None
