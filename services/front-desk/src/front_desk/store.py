"""The directory and its keys in Postgres: the only place that runs their SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from front_desk.directory import Absence, Tenant
from front_desk.kinds import Kind, Stored
from front_desk.lines import Line
from kit.postgres import Database, Transaction, load_queries

__all__ = [
    "Version",
    "add_leave",
    "claim_dids",
    "customers_with_number",
    "end_leave",
    "find",
    "find_customer",
    "find_tenant",
    "forget_leave",
    "keep_routing_version",
    "list_tenants",
    "living_dids",
    "lock_staff",
    "page",
    "page_for_republishing",
    "release_did",
    "remove",
    "routing_version",
    "routing_versions",
    "staff_ids",
    "staff_named_by",
    "standing_emergency",
    "touch_staff",
    "write",
]

Q = load_queries("front_desk")
_KEEP = {name: getattr(Q, f"keep_{name}") for name in ("tenant", "staff", "customer", "lead", "did", "routing")}
_REMOVE = {name: getattr(Q, f"remove_{name}") for name in ("staff", "customer", "lead", "did")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One version of a routing: who made it, why, and the whole of it where it was asked for."""

    version: int
    changed_at: datetime
    changed_by: str
    why: str
    body: Mapping[str, Any] | None = None


def _stored(row: asyncpg.Record) -> Stored:
    return Stored(
        ref=row["ref"],
        id=row["id"],
        version=row["version"],
        deleted=row["deleted_at"] is not None,
        body=json.loads(row["body"]),
    )


async def find(tx: Transaction, kind: Kind, refs: Sequence[str]) -> list[Stored]:
    """Entities by reference, deleted ones included, in no order."""
    return [_stored(row) for row in await tx.fetch(Q.find_entities, kind.name, list(refs))]


async def page(tx: Transaction, kind: Kind, after: str, limit: int) -> list[Stored]:
    return [_stored(row) for row in await tx.fetch(Q.page_entities, kind.name, after, limit)]


async def page_for_republishing(tx: Transaction, kind: Kind, after: str, limit: int) -> list[Stored]:
    return [_stored(row) for row in await tx.fetch(Q.page_for_republishing, kind.name, after, limit)]


async def write(tx: Transaction, kind: Kind, records: Sequence[Mapping[str, Any]]) -> set[str]:
    """Create or replace; the references of those that changed."""
    rows = await tx.fetch(_KEEP[kind.name], tx.tenant, json.dumps(records))
    return {row["ref"] for row in rows}


async def remove(tx: Transaction, kind: Kind, ref: str) -> bool:
    return await tx.fetchval(_REMOVE[kind.name], ref) is not None


async def staff_ids(tx: Transaction, refs: Sequence[str]) -> dict[str, str]:
    return {row["external_ref"]: row["staff_id"] for row in await tx.fetch(Q.staff_ids, list(refs))}


async def lock_staff(tx: Transaction, ref: str) -> str | None:
    staff_id: str | None = await tx.fetchval(Q.lock_staff, ref)
    return staff_id


async def staff_named_by(tx: Transaction, staff_id: str) -> dict[str, Any]:
    """How many of each kind name a person, and under ``groups`` which ring groups do."""
    row = await tx.fetchrow(Q.staff_named_by, staff_id)
    return dict(row) if row is not None else {}


async def touch_staff(tx: Transaction, staff_id: str) -> None:
    await tx.execute(Q.touch_staff, staff_id)


async def add_leave(tx: Transaction, staff_id: str, absence: Absence) -> bool:
    row = await tx.fetchrow(Q.add_leave, tx.tenant, staff_id, absence.start, absence.until, absence.reason)
    return row is not None


async def end_leave(tx: Transaction, staff_id: str, now: datetime) -> bool:
    ended = await tx.fetch(Q.end_leave, staff_id, now)
    cancelled = await tx.fetch(Q.cancel_leave, staff_id, now)
    return bool(ended or cancelled)


async def forget_leave(tx: Transaction, staff_id: str) -> None:
    await tx.execute(Q.forget_leave, staff_id)


async def living_dids(tx: Transaction) -> list[Line]:
    return [Line(**{**row, "menu_groups": tuple(row["menu_groups"])}) for row in await tx.fetch(Q.living_dids)]


async def keep_routing_version(tx: Transaction, who: str, why: str) -> None:
    await tx.execute(Q.keep_routing_version, who, why)


async def routing_versions(tx: Transaction, before: int, limit: int) -> list[Version]:
    """Versions below one, newest first, without their bodies."""
    return [Version(**row) for row in await tx.fetch(Q.routing_versions, before, limit)]


async def routing_version(tx: Transaction, number: int) -> Version | None:
    row = await tx.fetchrow(Q.routing_version, number)
    return Version(**{**row, "body": json.loads(row["body"])}) if row is not None else None


async def standing_emergency(tx: Transaction) -> dict[str, Any] | None:
    """The emergency that holds at this moment."""
    found = await tx.fetchval(Q.standing_emergency)
    return json.loads(found) if found is not None else None


async def claim_dids(tx: Transaction, dids: Sequence[str]) -> set[str]:
    """Claim numbers; those that this tenant holds afterwards."""
    await tx.execute(Q.claim_dids, tx.tenant, list(dids))
    return {row["did"] for row in await tx.fetch(Q.held_dids, list(dids))}


async def release_did(tx: Transaction, did: str) -> None:
    await tx.execute(Q.release_did, did)


async def find_tenant(database: Database, slug_or_id: str) -> UUID | None:
    async with database.system() as tx:
        tenant_id: UUID | None = await tx.fetchval(Q.tenant_by_slug, slug_or_id)
        return tenant_id


async def list_tenants(database: Database, after: str, limit: int) -> list[tuple[UUID, int, dict[str, Any]]]:
    """Every tenant's id, version and fields, by slug."""
    fields = tuple(Tenant.__dataclass_fields__)
    async with database.system() as tx:
        rows = await tx.fetch(Q.list_tenants, after, limit)
    return [(row["tenant_id"], row["version"], {field: row[field] for field in fields}) for row in rows]


async def find_customer(tx: Transaction, customer_id: str) -> dict[str, Any] | None:
    row = await tx.fetchrow(Q.find_customer, customer_id)
    return dict(row) if row else None


async def customers_with_number(tx: Transaction, number: str) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.customers_with_number, number)]
