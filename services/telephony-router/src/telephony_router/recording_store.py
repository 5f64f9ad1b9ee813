"""What Postgres knows of recordings: which are to be fetched, by whom, and what is stored of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from kit.ids import uuid7
from kit.postgres import Transaction
from telephony_router.store import Q

__all__ = [
    "Claim",
    "StoredFile",
    "add_file",
    "audit",
    "blobs_of",
    "claim",
    "counts",
    "end",
    "expire",
    "expired_at",
    "find_fetch",
    "find_file",
    "hold_blobs",
    "list_all",
    "of_call",
    "older_than",
    "put_access",
    "renew",
    "retry",
    "show",
    "unnamed",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One recording that is ours to fetch for as long as the lease holds."""

    tenant_id: UUID
    id: UUID
    call_id: UUID
    recording_key: str
    account_id: UUID
    vendor: str
    attempts: int
    """This one counted."""
    lease: UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    sha256: str
    size_bytes: int
    content_type: str
    channels: int
    duration_ms: int
    voices: str
    agent: tuple[str, int] | None
    """Hash and size of the agent's channel, when it is a file of its own."""
    customer: tuple[str, int] | None
    stored_at: datetime

    @property
    def speakers(self) -> str:
        return "by_channel" if self.agent is not None else "mixed"


async def claim(tx: Transaction, *, at_most: int, per_account: int, lease_seconds: float) -> list[Claim]:
    """Take what is due. A system transaction."""
    await tx.execute(Q.lock_recording_claims)
    rows = await tx.fetch(Q.claim_recordings, at_most, per_account, lease_seconds)
    return [Claim(**row) for row in rows]


async def renew(tx: Transaction, leases: Sequence[UUID], lease_seconds: float) -> set[UUID]:
    """Whose leases still hold."""
    rows = await tx.fetch(Q.renew_recording_leases, list(leases), lease_seconds)
    return {row["lease"] for row in rows}


async def counts(tx: Transaction) -> dict[str, tuple[int, datetime | None]]:
    return {row["state"]: (row["count"], row["oldest"]) for row in await tx.fetch(Q.recording_counts)}


async def find_fetch(tx: Transaction, claimed: Claim) -> Any | None:
    return await tx.fetchrow(Q.find_fetch, claimed.id, claimed.lease)


async def end(
    tx: Transaction, claimed: Claim, state: str, reason: str = "", *, again_in: float = 0.0, uncounted: bool = False
) -> bool:
    """Say what became of an attempt; False when the recording is another's by now. ``again_in`` is in seconds."""
    row = (claimed.id, claimed.lease, state, reason, again_in, int(uncounted))
    return bool(await tx.fetchval(Q.end_fetch, *row))


async def add_file(tx: Transaction, claimed: Claim, file: StoredFile) -> None:
    agent, customer = file.agent or (None, None), file.customer or (None, None)
    facts = (file.sha256, file.size_bytes, file.content_type, file.channels, file.duration_ms)
    row = (
        tx.tenant,
        claimed.id,
        claimed.call_id,
        *facts,
        file.speakers,
        file.voices,
        *agent,
        *customer,
        file.stored_at,
    )
    await tx.execute(Q.add_recording_file, *row)


async def of_call(tx: Transaction, call_id: UUID) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.recordings_of_call, call_id)]


async def find_file(tx: Transaction, call_id: UUID, recording_id: UUID) -> Any | None:
    return await tx.fetchrow(Q.find_recording_file, call_id, recording_id)


async def expired_at(tx: Transaction, call_id: UUID, recording_id: UUID) -> datetime | None:
    """When a recording was let go because its time was over; None for any other."""
    found: datetime | None = await tx.fetchval(Q.find_expired_recording, call_id, recording_id)
    return found


async def older_than(tx: Transaction, keep: timedelta, limit: int) -> list[tuple[UUID, UUID]]:
    """(tenant, recording) of what was stored longer ago. A system transaction."""
    return [(row["tenant_id"], row["recording_id"]) for row in await tx.fetch(Q.recordings_older_than, keep, limit)]


async def blobs_of(tx: Transaction, recording_id: UUID) -> list[str]:
    return [row["b"] for row in await tx.fetch(Q.blobs_of_recording, recording_id)]


async def hold_blobs(tx: Transaction, blobs: Sequence[str]) -> None:
    """Until the end of the transaction nobody else stores or forgets these bytes."""
    await tx.execute(Q.hold_blobs, str(tx.tenant), sorted(blobs))


async def expire(tx: Transaction, recording_id: UUID) -> UUID | None:
    """Forget what is stored of a recording; its call, or None when that was done by others."""
    found: UUID | None = await tx.fetchval(Q.expire_recording, recording_id)
    return found


async def unnamed(tx: Transaction, blobs: Sequence[str]) -> list[str]:
    """Those that no recording of the tenant names."""
    return [row["b"] for row in await tx.fetch(Q.unnamed_blobs, list(blobs))]


async def list_all(tx: Transaction, state: str | None, limit: int) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.list_recordings, state, limit)]


async def show(tx: Transaction, recording_id: UUID) -> dict[str, Any] | None:
    row = await tx.fetchrow(Q.show_recording, recording_id)
    return dict(row) if row is not None else None


async def retry(tx: Transaction, ids: Sequence[UUID]) -> list[tuple[UUID, UUID]]:
    """Recordings and their calls that are fetched anew; all that failed when none is named."""
    return [(row["id"], row["call_id"]) for row in await tx.fetch(Q.retry_recordings, list(ids))]


async def put_access(
    tx: Transaction, account: UUID, *, hosts: Sequence[str] | None, sealed: bytes | None, agent_channel: int | None
) -> dict[str, Any] | None:
    """None when the tenant has no such account."""
    named = list(hosts) if hosts is not None else None
    row = await tx.fetchrow(Q.put_recording_access, tx.tenant, account, named, sealed, agent_channel)
    return dict(row) if row is not None else None


async def audit(
    tx: Transaction,
    operator: str,
    action: str,
    *,
    call_id: UUID | None = None,
    recording_id: UUID | None = None,
    detail: str = "",
) -> None:
    await tx.execute(Q.audit_recording, tx.tenant, uuid7(), operator, action, call_id, recording_id, detail)
