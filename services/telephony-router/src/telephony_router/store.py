"""Postgres, as the router sees it. The only module with SQL, which is in ``queries.sql``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import asyncpg

from kit.postgres import Transaction, load_queries
from telephony_router.entries import caller_row, did_row, load_row, tenant_row
from telephony_router.peers import networks
from telephony_router.seal import Seal, hash_of_secret
from telephony_router.vendors.base import Account

__all__ = ["Change", "Intake", "IntakeRow", "StoredAccount", "add_account", "find_account", "server_process", "take_in"]

Q = load_queries("telephony_router")
_Json = dict[str, Any]
Change = tuple[UUID, str, str]
"""The tenant, the kind and the key of an entry of the routing view that is another now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Intake:
    """One webhook on its way to the disk."""

    tenant: UUID
    identity: str
    kind: str
    account_id: UUID
    call_id: UUID
    received_at: datetime
    signal: str
    answer: str | None
    body: bytes
    traceparent: str = ""
    """The trace of the request that brought it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakeRow:
    seq: int
    identity: str
    kind: str
    account_id: UUID
    call_id: UUID
    received_at: datetime
    signal: str
    answer: str | None
    traceparent: str = ""
    ordered: bool = False
    """Whether we placed the call, and the vendor tells of it under its own id."""
    known: bool = False
    """Whether anything was heard of the call before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredAccount:
    """An account with its tokens still sealed: how it is kept on disk and in the snapshot."""

    tenant: UUID
    id: UUID
    vendor: str
    label: str
    secret_sha256: bytes
    sealed_tokens: tuple[bytes, ...]
    allow_sources: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    def opened(self, seal: Seal) -> Account:
        tokens = tuple(seal.open(self.id, token) for token in self.sealed_tokens)
        return Account(
            id=self.id,
            tenant=self.tenant,
            vendor=self.vendor,
            label=self.label,
            auth_tokens=tokens,
            allow_sources=networks(self.allow_sources),
            options=self.options,
        )


class Fetches(Protocol):
    """A transaction, or a bare connection on which each statement is one."""

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]: ...


async def take_in(tx: Fetches, rows: Sequence[Intake]) -> dict[tuple[UUID, str], tuple[str | None, int]]:
    """Store webhooks in one statement; identities must differ. Gives each its stored answer and its repeats.

    Sorted, so that two routers that store the same calls at once cannot deadlock.
    """
    ordered = sorted(rows, key=lambda row: (row.tenant, row.identity))
    stored = await tx.fetch(
        Q.take_in,
        [row.tenant for row in ordered],
        [row.identity for row in ordered],
        [row.kind for row in ordered],
        [row.account_id for row in ordered],
        [row.call_id for row in ordered],
        [row.received_at for row in ordered],
        [row.signal for row in ordered],
        [row.answer for row in ordered],
        [row.body for row in ordered],
        [row.traceparent for row in ordered],
    )
    return {(row["tenant_id"], row["identity"]): (row["answer"], row["repeats"]) for row in stored}


async def server_process(connection: Fetches) -> tuple[int, int | None]:
    """The id of Postgres' process behind a connection, on its machine, and its client's port; none by a socket."""
    [row] = await connection.fetch(Q.server_process)
    return row["process"], row["port"]


async def add_account(
    tx: Transaction,
    *,
    account_id: UUID,
    vendor: str,
    label: str,
    secret: str,
    sealed_tokens: Sequence[bytes],
    allow_sources: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
) -> None:
    digest, sealed, sources = hash_of_secret(secret), list(sealed_tokens), list(allow_sources)
    row = (tx.tenant, account_id, vendor, label, digest, sealed, sources, jsonb(dict(options or {})))
    await tx.execute(Q.add_account, *row)


async def list_accounts(tx: Transaction) -> list[_Json]:
    return [{**row, "options": json.loads(row["options"])} for row in await tx.fetch(Q.list_accounts)]


def _account(row: Any) -> StoredAccount:
    return StoredAccount(
        tenant=row["tenant_id"],
        id=row["id"],
        vendor=row["vendor"],
        label=row["label"],
        secret_sha256=row["secret_sha256"],
        sealed_tokens=tuple(row["sealed_tokens"]),
        allow_sources=tuple(row["allow_sources"]),
        options=json.loads(row["options"]),
    )


async def all_accounts(tx: Transaction) -> list[StoredAccount]:
    return [_account(row) for row in await tx.fetch(Q.all_accounts)]


async def find_account(tx: Transaction, secret_sha256: bytes) -> StoredAccount | None:
    row = await tx.fetchrow(Q.find_account, secret_sha256)
    return _account(row) if row is not None else None


async def waiting_intake(tx: Transaction, limit: int) -> list[tuple[int, UUID, UUID]]:
    """(seq, tenant, call) of what waits, oldest first."""
    return [(row["seq"], row["tenant_id"], row["call_id"]) for row in await tx.fetch(Q.waiting_intake, limit)]


async def intake_backlog(tx: Transaction) -> dict[str, tuple[int, datetime | None, int]]:
    """By vendor: how many webhooks wait, since when the oldest does, and how many are parked."""
    return {row["vendor"]: (row["waiting"], row["oldest"], row["parked"]) for row in await tx.fetch(Q.intake_backlog)}


async def claim_intake(tx: Transaction, seqs: Sequence[int]) -> list[IntakeRow]:
    return [IntakeRow(**row) for row in await tx.fetch(Q.claim_intake, list(seqs))]


async def mark_processed(tx: Transaction, seqs: Sequence[int], answered: Mapping[int, UUID]) -> None:
    """``answered`` are the rings among them whose calls they began, each with its call."""
    await tx.execute(Q.mark_processed, list(seqs), list(answered), list(answered.values()))


async def park_intake(tx: Transaction, seq: int, reason: str) -> str:
    """Returns the vendor whose webhook it is."""
    return await tx.fetchval(Q.park_intake, seq, reason) or "unknown"


async def parked_intake(tx: Transaction, limit: int) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.parked_intake, limit)]


async def unpark_intake(tx: Transaction, seqs: Sequence[int]) -> int:
    """Let parked webhooks be processed once more, all of them when none is named; how many there were."""
    return len(await tx.fetch(Q.unpark_intake, list(seqs)))


async def drop_parked_intake(tx: Transaction, seqs: Sequence[int]) -> int:
    """Parked webhooks that need nobody any more, all of them when none is named; how many there were."""
    return len(await tx.fetch(Q.drop_parked_intake, list(seqs)))


async def prune_intake(tx: Transaction, keep_days: int) -> None:
    await tx.execute(Q.prune_intake, keep_days)


async def find_calls(tx: Transaction, ids: Iterable[UUID]) -> list[Any]:
    return await tx.fetch(Q.find_calls, list(ids))


async def put_rows(tx: Transaction, query: str, rows: Sequence[Sequence[object]]) -> list[Any]:
    """Run a named query that takes the tenant and one array per column."""
    if not rows:
        return []
    return await tx.fetch(getattr(Q, query), tx.tenant, *(list(column) for column in zip(*rows, strict=True)))


async def staff_by_number(tx: Transaction, numbers: Iterable[str]) -> dict[str, str]:
    rows = await tx.fetch(Q.staff_by_number, sorted(set(numbers)))
    return {row["number"]: row["staff_id"] for row in rows}


async def list_drift(tx: Transaction) -> list[_Json]:
    return [dict(row) for row in await tx.fetch(Q.list_drift)]


async def call_recordings(tx: Transaction, call_id: UUID) -> list[Any]:
    return await tx.fetch(Q.call_recordings, call_id)


async def call_story(tx: Transaction, call_id: UUID) -> tuple[Any, Any, list[Any]] | None:
    """A call, its decision (or None), and its timeline."""
    call = await tx.fetchrow(Q.find_call, call_id)
    if call is None:
        return None
    return call, await tx.fetchrow(Q.find_decision, call_id), await tx.fetch(Q.call_timeline, call_id)


async def view_tenants(tx: Transaction, tenants: Sequence[UUID] | None = None) -> list[_Json]:
    return [tenant_row(dict(row)) for row in await tx.fetch(Q.view_tenants, tenants)]


async def view_dids(
    tx: Transaction, tenants: Sequence[UUID] | None = None, dids: Sequence[str] | None = None
) -> list[_Json]:
    return [did_row(dict(row)) for row in await tx.fetch(Q.view_dids, tenants, dids)]


async def caller_numbers(tx: Transaction, tenant: UUID, after: str, limit: int) -> list[str]:
    """The numbers that something is known of, in their order, from after one on."""
    return [row["number"] for row in await tx.fetch(Q.caller_numbers, tenant, after, limit)]


async def view_callers(tx: Transaction, tenant: UUID, numbers: Sequence[str] | None = None) -> list[_Json]:
    return [caller_row(dict(row)) for row in await tx.fetch(Q.view_callers, tenant, numbers)]


async def view_loads(tx: Transaction, tenants: Sequence[UUID] | None = None) -> list[_Json]:
    return [load_row(dict(row)) for row in await tx.fetch(Q.view_loads, tenants)]


async def unknown_keys(tx: Transaction, keys: Mapping[str, tuple[str, UUID | None, str]]) -> list[str]:
    """Those of the view's keys (each with its kind, tenant and what it is the key of) that nothing stands behind."""
    kinds, tenants, values = zip(*keys.values(), strict=True) if keys else ((), (), ())
    rows = await tx.fetch(Q.unknown_keys, list(keys), list(kinds), list(tenants), list(values))
    return [row["name"] for row in rows]


async def note_changes(tx: Transaction, changes: Iterable[tuple[str, str]], *, tenant: UUID | None = None) -> None:
    """Say what a transaction changed of the routing view, as (kind, key). The last write of a transaction."""
    touched = list(changes)
    if touched:
        kinds, keys = zip(*touched, strict=True)
        await tx.execute(Q.note_changes, tenant or tx.tenant, list(kinds), list(keys))


async def view_versions(tx: Transaction) -> dict[UUID, int]:
    return {row["tenant_id"]: row["version"] for row in await tx.fetch(Q.view_versions)}


async def changes_since(tx: Transaction, seen: Mapping[UUID, int]) -> list[Change]:
    """What changed of each tenant after a version of its own."""
    rows = await tx.fetch(Q.changes_since, list(seen), list(seen.values()))
    return [(row["tenant_id"], row["kind"], row["key"]) for row in rows]


async def forget_changes(tx: Transaction) -> None:
    await tx.execute(Q.forget_changes)


async def stranger_calls(tx: Transaction, numbers: Sequence[str], until: Sequence[datetime]) -> dict[str, _Json]:
    """The calls up to a moment of those of the numbers that are nobody's, counted."""
    rows = await tx.fetch(Q.stranger_calls, list(numbers), list(until))
    return {row["number"]: {k: v for k, v in row.items() if k not in ("number", "at")} for row in rows}


async def forget_routed(tx: Transaction) -> None:
    """Forget busy marks whose end was never told, and scores that do not hold any more."""
    stale: dict[UUID, set[tuple[str, str]]] = {}
    for row in await tx.fetch(Q.forget_agent_calls):
        stale.setdefault(row["tenant_id"], set()).add(("load", ""))
    for row in await tx.fetch(Q.forget_scores):
        stale.setdefault(row["tenant_id"], set()).add(("caller", row["number"]))
    for tenant, changes in sorted(stale.items()):
        await note_changes(tx, changes, tenant=tenant)


async def promote_unclaimed(tx: Transaction) -> list[tuple[UUID, str]]:
    """Give numbers that nobody holds any more to whoever has wanted them longest."""
    wanted = [(row["tenant_id"], row["did"]) for row in await tx.fetch(Q.unclaimed_dids)]
    granted = []
    for tenant, did in wanted:
        if await tx.execute(Q.claim_did, tenant, did) == "INSERT 0 1":
            await note_changes(tx, [("did", did), ("tenant", "")], tenant=tenant)
            granted.append((tenant, did))
    return granted


def jsonb(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


__all__ += [
    "Q",
    "all_accounts",
    "call_recordings",
    "call_story",
    "caller_numbers",
    "changes_since",
    "claim_intake",
    "drop_parked_intake",
    "find_calls",
    "forget_changes",
    "forget_routed",
    "intake_backlog",
    "jsonb",
    "list_accounts",
    "list_drift",
    "mark_processed",
    "note_changes",
    "park_intake",
    "parked_intake",
    "promote_unclaimed",
    "prune_intake",
    "put_rows",
    "staff_by_number",
    "stranger_calls",
    "unknown_keys",
    "unpark_intake",
    "view_callers",
    "view_dids",
    "view_loads",
    "view_tenants",
    "view_versions",
    "waiting_intake",
]  # fmt: skip
