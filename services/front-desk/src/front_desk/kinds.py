"""The kinds of entities: how each is named, stored and published. One line per kind in ``KINDS``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from contracts.directory import CustomerV1, DidV1, LeadV1, RoutingV1, StaffV1, TenantV1
from contracts.event import Event
from front_desk.directory import Customer, Did, Lead, Routing, Staff, Tenant
from kit.ids import name_uuid

__all__ = ["KINDS", "ROUTING_ID", "Entity", "Kind", "Stored"]

ROUTING_ID = "default"
"""Its key is also what is held by whoever writes a DID: the two are checked against each other."""

Entity = Tenant | Staff | Customer | Lead | Did | Routing


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """An entity as the database has it. ``body`` is what REST shows and what the event carries."""

    ref: str
    id: str
    version: int
    deleted: bool
    body: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What the use cases need to know about one kind of entity."""

    name: str
    plural: str
    event: type[Event]
    id_field: str
    ref: Callable[[UUID, Any], str]
    """The reference callers use: an external one, a number, or the tenant's id."""
    id: Callable[[UUID, str], str]
    """The entity's id, made from its reference, so that the key to hold is known before anything is read."""
    staff_refs: Callable[[Any], tuple[str, ...]]
    """References of the people an entity names."""

    def keys(self, tenant: UUID, entities: Iterable[Any]) -> list[str]:
        """The keys that a transaction holds to write these entities."""
        ids = [self.id(tenant, self.ref(tenant, entity)) for entity in entities]
        return [*ids, ROUTING_ID] if self.name == "did" else ids

    def event_of(self, stored: Stored) -> Event:
        return self.event.model_validate({**stored.body, self.id_field: stored.id, "version": stored.version})

    def record(self, tenant: UUID, entity: Any, staff_ids: Mapping[str, str]) -> dict[str, Any]:
        """The row to write, people by their ids."""
        ref = self.ref(tenant, entity)
        row: dict[str, Any] = {"ref": ref, "id": self.id(tenant, ref), **asdict(entity)}
        if "owner" in row:
            row["owner_staff_id"] = staff_ids[entity.owner] if entity.owner else None
        if "default_staff" in row:
            row["default_staff_ids"] = [staff_ids[each] for each in entity.default_staff]
        for group in row.get("groups", ()):
            group["staff_ids"] = [staff_ids[each] for each in group.pop("staff")]
        return row


def _derived(kind: str) -> Callable[[UUID, str], str]:
    return lambda tenant, ref: str(name_uuid(str(tenant), kind, ref))


def _external(tenant: UUID, entity: Any) -> str:
    return str(entity.external_ref)


def _nobody(entity: Any) -> tuple[str, ...]:
    return ()


def _owner(entity: Any) -> tuple[str, ...]:
    return (entity.owner,) if entity.owner else ()


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="tenant",
            plural="tenants",
            event=TenantV1,
            id_field="tenant_id",
            ref=lambda tenant, entity: str(tenant),
            id=lambda tenant, ref: ref,
            staff_refs=_nobody,
        ),
        Kind(
            name="staff",
            plural="staff",
            event=StaffV1,
            id_field="staff_id",
            ref=_external,
            id=_derived("staff"),
            staff_refs=_nobody,
        ),
        Kind(
            name="customer",
            plural="customers",
            event=CustomerV1,
            id_field="customer_id",
            ref=_external,
            id=_derived("customer"),
            staff_refs=_owner,
        ),
        Kind(
            name="lead",
            plural="leads",
            event=LeadV1,
            id_field="lead_id",
            ref=_external,
            id=_derived("lead"),
            staff_refs=_owner,
        ),
        Kind(
            name="did",
            plural="dids",
            event=DidV1,
            id_field="did",
            ref=lambda tenant, entity: str(entity.did),
            id=lambda tenant, ref: ref,
            staff_refs=lambda entity: tuple(entity.default_staff),
        ),
        Kind(
            name="routing",
            plural="routing",
            event=RoutingV1,
            id_field="routing_id",
            ref=lambda tenant, entity: ROUTING_ID,
            id=lambda tenant, ref: ROUTING_ID,
            staff_refs=lambda entity: tuple(ref for group in entity.groups for ref in group.staff),
        ),
    )
}
