"""Postgres, as far as calls that we place are concerned. Its SQL is in ``outbound.sql``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from kit.ids import uuid7
from kit.postgres import Transaction, load_queries
from telephony_router.breaker import Breaker
from telephony_router.vendors.dialling.base import Order

__all__ = ["Claimed", "Q", "StoredDialling", "Stuck"]

Q = load_queries("telephony_router", "outbound.sql")
_Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredDialling:
    """How an account's calls are placed, its secrets still sealed."""

    tenant: UUID
    account_id: UUID
    vendor: str
    sealed: bytes
    options: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """A call that is ours to place."""

    tenant: UUID
    id: UUID
    account_id: UUID
    vendor: str
    order: Order


@dataclass(frozen=True, kw_only=True, slots=True)
class Stuck:
    id: UUID
    account_id: UUID
    vendor: str
    vendor_call_id: str
    ref: str
    """Ours; empty for a call that we did not place."""


async def put_dialling(tx: Transaction, account_id: UUID, sealed: bytes, options: Mapping[str, str]) -> None:
    await tx.execute(Q.put_dialling, tx.tenant, account_id, sealed, json.dumps(dict(options)))


async def find_dialling(tx: Transaction, account_id: UUID) -> StoredDialling | None:
    row = await tx.fetchrow(Q.find_dialling, account_id)
    if row is None:
        return None
    return StoredDialling(
        tenant=row["tenant_id"],
        account_id=row["account_id"],
        vendor=row["vendor"],
        sealed=row["sealed"],
        options=json.loads(row["options"]),
    )


async def find_account_of(tx: Transaction, account_id: UUID) -> _Json | None:
    row = await tx.fetchrow(Q.find_account_of, account_id)
    return dict(row) if row is not None else None


async def account_to_dial(tx: Transaction, call_id: UUID | None) -> UUID | None:
    """One that can dial, the account of the call before any other."""
    found: UUID | None = await tx.fetchval(Q.account_to_dial, call_id)
    return found


async def people_with_telephones(tx: Transaction) -> list[tuple[str, str]]:
    return [(row["staff_id"], row["name"]) for row in await tx.fetch(Q.people_with_telephones)]


async def dialling_tenants(tx: Transaction) -> list[UUID]:
    return list(dict.fromkeys(row["tenant_id"] for row in await tx.fetch(Q.dialling_accounts)))


async def tenants_of_accounts(tx: Transaction) -> list[UUID]:
    return [row["tenant_id"] for row in await tx.fetch(Q.tenants_of_accounts)]


async def staff_number(tx: Transaction, staff_id: str) -> str | None:
    number: str | None = await tx.fetchval(Q.staff_number, staff_id)
    return number


async def hold_key(tx: Transaction, key: str) -> bool:
    return bool(await tx.fetchval(Q.hold_idempotency_key, str(tx.tenant), key))


async def find_key(tx: Transaction, key: str) -> tuple[bytes, str] | None:
    row = await tx.fetchrow(Q.find_idempotency_key, key)
    return (row["body_sha256"], row["answer"]) if row is not None else None


async def put_key(tx: Transaction, key: str, body_sha256: bytes, answer: str) -> None:
    await tx.execute(Q.put_idempotency_key, tx.tenant, key, body_sha256, answer)


async def prune_keys(tx: Transaction) -> None:
    await tx.execute(Q.prune_idempotency_keys)


async def add_call(
    tx: Transaction, call: Claimed, staff_id: str | None, missed: tuple[UUID, datetime] | None = None
) -> None:
    """``missed`` is the claim that the call is for: the item's id, and since when it was claimed."""
    order = call.order
    mine = (call.id, call.account_id, call.vendor, order.ref, staff_id, order.agent, order.customer)
    await tx.execute(
        Q.add_outbound_call, tx.tenant, *mine, order.did or None, order.reference, *(missed or (None, None))
    )


async def find_outbound(tx: Transaction, ids: Iterable[UUID]) -> dict[UUID, _Json]:
    return {row["id"]: dict(row) for row in await tx.fetch(Q.find_outbound_calls, list(ids))}


async def claim(tx: Transaction, limit: int, fresh: timedelta) -> list[Claimed]:
    return [
        Claimed(
            tenant=row["tenant_id"],
            id=row["id"],
            account_id=row["account_id"],
            vendor=row["vendor"],
            order=Order(
                ref=row["ref"],
                agent=row["from_number"],
                customer=row["to_number"],
                did=row["did"] or "",
                reference=row["reference"],
            ),
        )
        for row in await tx.fetch(Q.claim_outbound_calls, limit, fresh)
    ]


async def settle(
    tx: Transaction, call: Claimed, state: str, code: str, retryable: bool, vendor_call_id: str, alias: UUID | None
) -> bool:
    """False when the call's webhooks have told more already; then only the vendor's id is filled in."""
    row = (call.tenant, call.id, state, code, retryable, vendor_call_id, alias)
    done = bool(await tx.fetchval(Q.settle_outbound_call, *row))
    if done and state == "refused":
        await tx.execute(Q.note_refused_order, call.tenant, call.id)
    if not done and vendor_call_id:
        await tx.execute(Q.name_outbound_call, call.tenant, call.id, vendor_call_id, alias)
    return done


async def bind(tx: Transaction, rows: Sequence[tuple[UUID, str, UUID | None]]) -> None:
    if rows:
        ids, names, aliases = zip(*rows, strict=True)
        await tx.execute(Q.bind_outbound_calls, list(ids), list(names), list(aliases))


async def expire(tx: Transaction, fresh: timedelta, patience: timedelta) -> tuple[list[str], list[str]]:
    """The vendors of calls that were not placed in time, and of those of which nobody knows whether they were."""
    late = [row["vendor"] for row in await tx.fetch(Q.expire_requested, fresh)]
    return late, [row["vendor"] for row in await tx.fetch(Q.give_up_submitting, patience)]


async def resolve(tx: Transaction, call_id: UUID, state: str) -> bool:
    return bool(await tx.fetchval(Q.resolve_outbound_call, call_id, state))


async def backlog(tx: Transaction) -> dict[str, tuple[int, int]]:
    return {row["vendor"]: (row["waiting"], row["unknown"]) for row in await tx.fetch(Q.outbound_backlog)}


async def hold_breaker(tx: Transaction, call: Claimed) -> Breaker:
    row = await tx.fetchrow(Q.hold_breaker, call.tenant, call.account_id, call.vendor)
    return Breaker(**dict(row or {}))


async def put_breaker(tx: Transaction, call: Claimed, breaker: Breaker) -> None:
    state: tuple[str, datetime | None] = (breaker.state, breaker.window_at)
    counts = (breaker.good, breaker.bad, breaker.trips, breaker.until)
    await tx.execute(Q.put_breaker, call.tenant, call.account_id, *state, *counts)


async def list_breakers(tx: Transaction) -> list[_Json]:
    return [dict(row) for row in await tx.fetch(Q.list_breakers)]


async def reset_breaker(tx: Transaction, account_id: UUID) -> UUID | None:
    tenant: UUID | None = await tx.fetchval(Q.reset_breaker, account_id)
    return tenant


async def audit(tx: Transaction, tenant: UUID, actor: str, action: str, subject: UUID, reason: str) -> None:
    await tx.execute(Q.add_outbound_audit, tenant, uuid7(), actor, action, subject, reason)


async def stuck_calls(tx: Transaction, after: timedelta, limit: int) -> list[Stuck]:
    names = ("id", "account_id", "vendor", "vendor_call_id", "ref")
    return [Stuck(**{name: row[name] for name in names}) for row in await tx.fetch(Q.stuck_calls, after, limit)]


async def list_stuck(tx: Transaction, after: timedelta, limit: int) -> list[_Json]:
    return [dict(row) for row in await tx.fetch(Q.list_stuck, after, limit)]


async def count_stuck(tx: Transaction, after: timedelta) -> dict[str, int]:
    return {row["vendor"]: row["calls"] for row in await tx.fetch(Q.count_stuck, after)}


async def claim_reconciliation(tx: Transaction, call: Stuck, after: timedelta) -> bool:
    return await tx.fetchval(Q.claim_reconciliation, tx.tenant, call.id, call.vendor, after) is not None


async def end_reconciliation(tx: Transaction, call_id: UUID, outcome: str) -> None:
    await tx.execute(Q.end_reconciliation, call_id, outcome)


async def webhooks_of_a_day(tx: Transaction) -> list[_Json]:
    return [dict(row) for row in await tx.fetch(Q.webhooks_of_a_day)]


__all__ += [
    "account_to_dial",
    "add_call",
    "audit",
    "backlog",
    "bind",
    "claim",
    "claim_reconciliation",
    "count_stuck",
    "dialling_tenants",
    "end_reconciliation",
    "expire",
    "find_account_of",
    "find_dialling",
    "find_key",
    "find_outbound",
    "hold_breaker",
    "hold_key",
    "list_breakers",
    "list_stuck",
    "people_with_telephones",
    "prune_keys",
    "put_breaker",
    "put_dialling",
    "put_key",
    "reset_breaker",
    "resolve",
    "settle",
    "staff_number",
    "stuck_calls",
    "tenants_of_accounts",
    "webhooks_of_a_day",
]  # fmt: skip
