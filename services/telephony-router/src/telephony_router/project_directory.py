"""Keep the directory's people and numbers as events tell them. Only newer versions; every change is noted."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from contracts.directory import CustomerV1, DidV1, LeadV1, RoutingV1, StaffV1, TenantV1
from kit.consume import Deletion
from kit.postgres import Transaction
from kit.telemetry import get_logger
from telephony_router.metrics import METRICS
from telephony_router.store import Q, note_changes

__all__ = [
    "project_customer",
    "project_did",
    "project_lead",
    "project_routing",
    "project_staff",
    "project_tenant",
    "remove_customer",
    "remove_did",
    "remove_lead",
    "remove_routing",
    "remove_staff",
    "remove_tenant",
]

log = get_logger(__name__)
TENANT = [("tenant", "")]
# What of a routing has a column of its own; the rest is kept as the event has it.
COLUMNS = {"routing_id", "version", "last_agent_days", "ring_seconds", "fallback_number", "blocked_numbers"}


async def project_tenant(event: TenantV1, tx: Transaction) -> None:
    if await tx.fetchval(Q.put_tenant, tx.tenant, event.version, event.timezone, event.active):
        await note_changes(tx, TENANT)


async def remove_tenant(deletion: Deletion, tx: Transaction) -> None:
    await tx.execute(Q.delete_tenant)
    await note_changes(tx, TENANT)


async def project_staff(event: StaffV1, tx: Transaction) -> None:
    hours = json.dumps([each.model_dump(mode="json") for each in event.working_hours])
    leave = json.dumps([each.model_dump(mode="json") for each in event.leave])
    newer = await tx.fetchval(
        Q.put_staff,
        tx.tenant,
        event.staff_id,
        event.version,
        event.name,
        list(event.numbers),
        event.active,
        hours,
        leave,
        list(event.skills),
        event.capacity,
        event.wrap_up_seconds,
    )
    if newer:
        await note_changes(tx, TENANT)


async def remove_staff(deletion: Deletion, tx: Transaction) -> None:
    if await tx.fetchval(Q.delete_staff, deletion.entity_id):
        await note_changes(tx, TENANT)


async def project_customer(event: CustomerV1, tx: Transaction) -> None:
    person = (event.customer_id, event.version, event.name, event.owner_staff_id, event.vip, event.language)
    await _project_person(tx, "customer", person, event.numbers)


async def project_lead(event: LeadV1, tx: Transaction) -> None:
    person = (event.lead_id, event.version, event.name, event.owner_staff_id, False, "")
    await _project_person(tx, "lead", person, event.numbers)


async def _project_person(
    tx: Transaction, kind: str, person: tuple[str, int, str, str | None, bool, str], numbers: tuple[str, ...]
) -> None:
    person_id = person[0]
    before = await _numbers(tx, kind, person_id)
    if not await tx.fetchval(Q.put_customer, tx.tenant, kind, *person):
        return
    await tx.execute(Q.clear_customer_numbers, kind, person_id)
    await tx.execute(Q.add_customer_numbers, tx.tenant, kind, person_id, list(numbers))
    await note_changes(tx, [("caller", number) for number in {*before, *numbers}])


async def _numbers(tx: Transaction, kind: str, person_id: str) -> list[str]:
    return [row["number"] for row in await tx.fetch(Q.customer_numbers, kind, person_id)]


def _remove_person(kind: str) -> Callable[[Deletion, Transaction], Awaitable[None]]:
    async def remove(deletion: Deletion, tx: Transaction) -> None:
        before = await _numbers(tx, kind, deletion.entity_id)
        if await tx.fetchval(Q.delete_customer, kind, deletion.entity_id):
            await note_changes(tx, [("caller", number) for number in before])

    return remove


remove_customer = _remove_person("customer")
remove_lead = _remove_person("lead")


async def project_did(event: DidV1, tx: Transaction) -> None:
    """A number rings for the tenant that claimed it first; another's claim is kept, but has no effect."""
    newer = await tx.fetchval(
        Q.put_did,
        tx.tenant,
        event.did,
        event.version,
        event.label,
        list(event.default_staff_ids),
        event.fallback_number,
        event.default_group,
        event.calendar,
        list(event.skills),
        json.dumps([each.model_dump(mode="json") for each in event.menu]),
    )
    if not newer:
        return
    await tx.execute(Q.claim_did, tx.tenant, event.did)
    if await tx.fetchval(Q.holds_did, event.did):
        await note_changes(tx, [("did", event.did), *TENANT])
    else:
        METRICS.did_conflicts.inc()
        log.error("did_claimed_by_another_tenant", tenant=str(tx.tenant))


async def remove_did(deletion: Deletion, tx: Transaction) -> None:
    held = await tx.fetchval(Q.holds_did, deletion.entity_id)
    if await tx.fetchval(Q.delete_did, deletion.entity_id) and held:
        await note_changes(tx, [("did", deletion.entity_id), *TENANT])


async def project_routing(event: RoutingV1, tx: Transaction) -> None:
    newer = await tx.fetchval(
        Q.put_routing,
        tx.tenant,
        event.version,
        event.last_agent_days,
        event.ring_seconds,
        event.fallback_number,
        list(event.blocked_numbers),
        json.dumps(event.model_dump(mode="json", exclude=COLUMNS)),
    )
    if newer:
        await note_changes(tx, TENANT)


async def remove_routing(deletion: Deletion, tx: Transaction) -> None:
    if await tx.fetchval(Q.delete_routing):
        await note_changes(tx, TENANT)
