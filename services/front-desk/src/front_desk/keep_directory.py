"""Keep, remove and republish entities: state and event in one transaction, a version only for a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from front_desk import store
from front_desk.directory import Absence, Problem
from front_desk.kinds import KINDS, ROUTING_ID, Entity, Kind, Stored
from front_desk.lines import problems_of_lines
from front_desk.routing import stored_routing
from kit import outbox
from kit.postgres import Database, Transaction

__all__ = [
    "DidTaken",
    "Kept",
    "NoSuchEntity",
    "StaffInUse",
    "Unfit",
    "UnknownStaff",
    "add_leave",
    "end_leave",
    "keep",
    "keep_many",
    "remove",
    "republish",
]

REPUBLISH_PAGE = 500
_WORDS = {"customers": ("customer", "customers"), "leads": ("lead", "leads"), "dids": ("DID", "DIDs")}


class DidTaken(Exception):
    """Another tenant holds these numbers. Whose they are is not said."""

    def __init__(self, dids: Sequence[str]) -> None:
        super().__init__("the number already belongs to another business here")
        self.dids = tuple(dids)


class UnknownStaff(Exception):
    """An entity names people who are not in the directory."""

    def __init__(self, refs: Sequence[str]) -> None:
        super().__init__("nobody in the directory has this reference; put the person first")
        self.refs = tuple(refs)


class StaffInUse(Exception):
    """A person cannot be deleted while others name them."""


class Unfit(Exception):
    """Entities do not fit what else there is; every problem of each, by reference."""

    def __init__(self, problems: Mapping[str, Sequence[Problem]]) -> None:
        super().__init__("; ".join(f"{p.field} {p.sentence}" for each in problems.values() for p in each))
        self.problems = {ref: tuple(each) for ref, each in problems.items()}


class NoSuchEntity(Exception):
    """Nothing living has this reference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """An entity after it was put, and what putting it did."""

    stored: Stored
    outcome: Literal["created", "changed", "unchanged"]


async def keep(database: Database, tenant: UUID, kind: Kind, entity: Entity) -> Kept:
    """Create or replace one entity. Raises :class:`DidTaken`, :class:`UnknownStaff` or :class:`Unfit`.

    The routing is kept by ``keep_routing``, which keeps its versions as well.
    """
    async with database.transaction(tenant, emits=kind.keys(tenant, [entity])) as tx:
        return (await keep_many(tx, kind, [entity]))[0]


async def keep_many(tx: Transaction, kind: Kind, entities: Sequence[Entity]) -> list[Kept]:
    """Create or replace entities whose keys are held and whose references differ, in a few statements in all."""
    refs = [kind.ref(tx.tenant, entity) for entity in entities]
    wanted = sorted({ref for entity in entities for ref in kind.staff_refs(entity)})
    staff_ids = await store.staff_ids(tx, wanted) if wanted else {}
    if unknown := [ref for ref in wanted if ref not in staff_ids]:
        raise UnknownStaff(unknown)
    if kind.name == "did":
        held = await store.claim_dids(tx, refs)
        if taken := [ref for ref in refs if ref not in held]:
            raise DidTaken(taken)
    changed = await store.write(tx, kind, [kind.record(tx.tenant, entity, staff_ids) for entity in entities])
    if kind.name == "did" and changed:
        await _fit(tx, changed)
    now = {each.ref: each for each in await store.find(tx, kind, refs)}
    await outbox.append_many(tx, [kind.event_of(now[ref]) for ref in refs if ref in changed])
    return [Kept(stored=now[ref], outcome=_outcome(now[ref], changed)) for ref in refs]


async def _fit(tx: Transaction, dids: set[str]) -> None:
    """Written first and looked at then, so that DIDs which come together are seen together."""
    found = await store.find(tx, KINDS["routing"], [ROUTING_ID])
    routing = stored_routing(found[0].body) if found else None
    lines = {line.did: line for line in await store.living_dids(tx)}
    if problems := problems_of_lines(lines, routing, sorted(dids)):
        raise Unfit(problems)


def _outcome(stored: Stored, changed: set[str]) -> Literal["created", "changed", "unchanged"]:
    if stored.ref not in changed:
        return "unchanged"
    return "created" if stored.version == 1 else "changed"


async def remove(database: Database, tenant: UUID, kind: Kind, ref: str) -> None:
    """Delete an entity for everybody. Raises :class:`NoSuchEntity`, and :class:`StaffInUse` for one still named."""
    entity_id = kind.id(tenant, ref)
    async with database.transaction(tenant, emits=[entity_id]) as tx:
        if kind.name == "staff":
            await _let_go_of(tx, ref)
        if kind.name == "did":
            await store.release_did(tx, ref)
        if not await store.remove(tx, kind, ref):
            raise NoSuchEntity
        await outbox.append_deletion(tx, kind.event, entity_id)


async def _let_go_of(tx: Transaction, ref: str) -> None:
    staff_id = await store.lock_staff(tx, ref)
    if staff_id is None:
        raise NoSuchEntity
    named = await store.staff_named_by(tx, staff_id)
    groups = named.pop("groups")
    if any(named.values()) or groups:
        by = [f"{count} {_WORDS[what][count > 1]}" for what, count in named.items() if count]
        if groups:
            by.append(f"the routing's group{'s' if len(groups) > 1 else ''} {' and '.join(groups)}")
        holders = ", ".join(by)
        raise StaffInUse(
            f"Still named by {holders}. Give them somebody else first, or put the person with active: false."
        )
    await store.forget_leave(tx, staff_id)


async def add_leave(database: Database, tenant: UUID, ref: str, absence: Absence) -> Stored:
    """Record leave; the same leave again changes nothing. Raises :class:`NoSuchEntity`."""
    kind = KINDS["staff"]
    async with database.transaction(tenant, emits=[kind.id(tenant, ref)]) as tx:
        staff_id = await store.lock_staff(tx, ref)
        if staff_id is None:
            raise NoSuchEntity
        return await _published(tx, kind, ref, staff_id, changed=await store.add_leave(tx, staff_id, absence))


async def end_leave(database: Database, tenant: UUID, ref: str, *, now: datetime) -> Stored:
    """End the leave that is going on and cancel what is planned. Raises :class:`NoSuchEntity`."""
    kind = KINDS["staff"]
    async with database.transaction(tenant, emits=[kind.id(tenant, ref)]) as tx:
        staff_id = await store.lock_staff(tx, ref)
        if staff_id is None:
            raise NoSuchEntity
        return await _published(tx, kind, ref, staff_id, changed=await store.end_leave(tx, staff_id, now))


async def _published(tx: Transaction, kind: Kind, ref: str, staff_id: str, *, changed: bool) -> Stored:
    if changed:
        await store.touch_staff(tx, staff_id)
    [stored] = await store.find(tx, kind, [ref])
    if changed:
        await outbox.append(tx, kind.event_of(stored))
    return stored


async def republish(database: Database, tenant: UUID, kind: Kind) -> int:
    """Emit every entity's current state again, deletions included, with its version; return how many.

    In pages of one transaction each. A page is read once its keys are held, so nothing older than what is
    committed can leave after it.
    """
    after, count = "", 0
    while True:
        async with database.transaction(tenant) as tx:
            page = await store.page_for_republishing(tx, kind, after, REPUBLISH_PAGE)
        if not page:
            return count
        async with database.transaction(tenant, emits=[each.id for each in page]) as tx:
            for stored in await store.find(tx, kind, [each.ref for each in page]):
                if stored.deleted:
                    await outbox.append_deletion(tx, kind.event, stored.id)
                else:
                    await outbox.append(tx, kind.event_of(stored))
                count += 1
        after = page[-1].ref
