"""Links and roles in Postgres."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from kit.postgres import Transaction, load_queries
from vault_importer.links.decide import Candidate, Outcome, Party, PersonSaid
from vault_importer.links.roles import Facts, Told

__all__ = ["BEGINNING", "Identity", "Place", "lock"]

Q = load_queries("vault_importer", "links/links.sql")
BEGINNING = UUID(int=0)

Identity = tuple[Any, str, str, Any]
"""Whose it is, what kind of identity, its value and where it was said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """How far a tenant's links are; ``roles_after`` is the last chat whose role was told, none when all are."""

    next_leaf: int
    contacts_leaf: int
    roles_after: UUID | None
    size: int
    """Leaves of the ledger."""


async def put_party(  # long: a row of the directory
    tx: Transaction, party: Party, *, version: int, name: str, numbers: Sequence[str], emails: Sequence[str],
    gstin: str | None,
) -> None:  # fmt: skip
    await tx.execute(
        Q.put_party, tx.tenant, party.kind, party.id, version, name, list(numbers), list(emails), gstin
    )  # fmt: skip


async def delete_party(tx: Transaction, party: Party) -> None:
    await tx.execute(Q.delete_party, tx.tenant, party.kind, party.id)


async def put_staff(tx: Transaction, staff_id: str, *, version: int, name: str, numbers: Sequence[str]) -> None:
    await tx.execute(Q.put_staff, tx.tenant, staff_id, version, name, list(numbers))


async def delete_staff(tx: Transaction, staff_id: str) -> None:
    await tx.execute(Q.delete_staff, tx.tenant, staff_id)


async def idle(tx: Transaction) -> bool:
    return bool(await tx.fetchval(Q.links_idle, tx.tenant))


async def lock(tx: Transaction) -> Place:
    """Where the tenant's links are. Until the transaction ends nobody else decides of them."""
    await tx.execute(Q.begin_links, tx.tenant)
    [row] = await tx.fetch(Q.lock_links, tx.tenant)
    return Place(**dict(row))


async def move(tx: Transaction, place: Place) -> None:
    await tx.execute(Q.move_links, tx.tenant, place.next_leaf, place.contacts_leaf, place.roles_after)


async def due_parties(tx: Transaction, most: int) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.due_parties, tx.tenant, most)]


async def replace_parties(tx: Transaction, parties: Sequence[Party], identities: Sequence[Identity]) -> None:
    """Make these what customers and leads are known by; whoever it is about is due, by the old and by the new."""
    named = ([each.kind for each in parties], [each.id for each in parties])
    await tx.execute(Q.contacts_of_parties, tx.tenant, *named)
    await tx.execute(Q.forget_identities, tx.tenant, *named)
    owners = [each[0] for each in identities]
    await tx.execute(
        Q.put_identities, tx.tenant, [each.kind for each in owners], [each.id for each in owners],
        [each[1] for each in identities], [each[2] for each in identities],
    )  # fmt: skip
    await tx.execute(Q.contacts_of_parties, tx.tenant, *named)
    await tx.execute(Q.parties_taken, tx.tenant, *named)
    await tx.execute(Q.sweep_parties, tx.tenant)


async def take_staff(tx: Transaction) -> bool:
    """Whether anything about staff has changed."""
    changed = await tx.fetch(Q.staff_taken, tx.tenant)
    await tx.execute(Q.sweep_staff, tx.tenant)
    return bool(changed)


async def clues_to_read(tx: Transaction, ids: Sequence[UUID]) -> list[Any]:
    return list(await tx.fetch(Q.clues_to_read, tx.tenant, list(ids)))


async def put_clues(tx: Transaction, clues: Sequence[Identity]) -> None:
    await tx.execute(Q.put_clues, tx.tenant, *([each[at] for each in clues] for at in range(4)))


async def changed_contacts(tx: Transaction, most: int) -> list[Any]:
    return list(await tx.fetch(Q.changed_contacts, tx.tenant, most))


async def see_contacts(tx: Transaction, contacts: Sequence[Any], identities: Sequence[Identity]) -> None:
    """Note how these contacts look now and what they are known by; they are due."""
    ids = [each["id"] for each in contacts]
    await tx.execute(Q.forget_own_identities, tx.tenant, ids)
    await tx.execute(Q.put_own_identities, tx.tenant, *([each[at] for each in identities] for at in range(3)))
    await tx.execute(
        Q.see_contacts, tx.tenant, ids, [each["number"] for each in contacts], [each["name"] for each in contacts]
    )


async def orphans_due(tx: Transaction) -> None:
    await tx.execute(Q.orphans_due, tx.tenant)


async def take_due(tx: Transaction, most: int) -> list[UUID]:
    return sorted(row["contact_id"] for row in await tx.fetch(Q.take_due, tx.tenant, most))


async def candidates_of(tx: Transaction, contacts: Sequence[UUID]) -> dict[UUID, list[Candidate]]:
    values: dict[tuple[UUID, Party], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    messages: dict[tuple[UUID, Party], dict[str, str]] = defaultdict(dict)
    for row in await tx.fetch(Q.candidates, tx.tenant, list(contacts)):
        key = (row["contact_id"], Party(kind=row["kind"], id=row["party_id"]))
        values[key][row["identity"]].append(row["value"])
        if row["message_id"]:
            messages[key][row["value"]] = str(row["message_id"])
    found: dict[UUID, list[Candidate]] = defaultdict(list)
    for key, by in values.items():
        found[key[0]].append(Candidate(party=key[1], values=dict(by), messages=messages[key]))
    return found


async def said_of(tx: Transaction, contacts: Sequence[UUID]) -> dict[UUID, list[PersonSaid]]:
    """What people decided of contacts, the oldest first."""
    said: dict[UUID, list[PersonSaid]] = defaultdict(list)
    for row in await tx.fetch(Q.said_of_contacts, tx.tenant, list(contacts)):
        parties = tuple(Party.parse(each) for each in row["parties"])
        said[row["contact_id"]].append(PersonSaid(action=row["action"], parties=parties))
    return said


async def existing(tx: Transaction, parties: Iterable[Party]) -> frozenset[Party]:
    asked = sorted(set(parties))
    if not asked:
        return frozenset()
    rows = await tx.fetch(Q.existing_parties, tx.tenant, [each.kind for each in asked], [each.id for each in asked])
    return frozenset(Party(kind=row["kind"], id=row["party_id"]) for row in rows)


async def links_now(tx: Transaction, contacts: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    rows = await tx.fetch(Q.links_now, tx.tenant, list(contacts))
    return {row["contact_id"]: {**dict(row), "evidence": json.loads(row["evidence"])} for row in rows}


async def put_links(tx: Transaction, outcomes: Mapping[UUID, Outcome], *, at: datetime) -> None:
    rows = [
        (
            contact, each.state, each.party.kind if each.party else None, each.party.id if each.party else None,
            each.by_person, each.confidence, json.dumps([candidate.told() for candidate in each.candidates]),
        )
        for contact, each in outcomes.items()
    ]  # fmt: skip
    await tx.execute(Q.put_links, tx.tenant, *([row[column] for row in rows] for column in range(7)), at)


async def drop_links(tx: Transaction, contacts: Sequence[UUID]) -> None:
    await tx.execute(Q.drop_links, tx.tenant, list(contacts))


async def add_decisions(
    tx: Transaction, decisions: Sequence[tuple[UUID, str, Sequence[Party], str]], *, by: str | None, at: datetime
) -> None:
    """Contacts, what was done, with whom and why; ``by`` is a person, or nobody."""
    await tx.execute(
        Q.add_decisions, tx.tenant, at, by is not None, by or "autolink",
        [each[0] for each in decisions], [each[1] for each in decisions],
        ["\n".join(map(str, each[2])) for each in decisions], [each[3] for each in decisions],
    )  # fmt: skip


async def role_facts(
    tx: Transaction, *, after: UUID = BEGINNING, most: int, chats: Sequence[UUID] | None = None
) -> dict[UUID, Facts]:
    rows = await tx.fetch(Q.role_facts, tx.tenant, after, most, list(chats) if chats is not None else None)
    return {
        row["id"]: Facts(**{**{k: v for k, v in dict(row).items() if k != "id"}, "said_by": row["said_by"] or ""})
        for row in rows
    }


async def put_roles(tx: Transaction, roles: Mapping[UUID, Told], *, at: datetime) -> None:
    told = list(roles.values())
    await tx.execute(
        Q.put_roles, tx.tenant, list(roles), [each.role for each in told], [each.by_person for each in told],
        [each.reason for each in told], at,
    )  # fmt: skip


async def add_role_decision(tx: Transaction, chat: UUID, role: str | None, *, by: str, why: str, at: datetime) -> None:
    await tx.execute(Q.add_role_decision, tx.tenant, chat, at, by, role, why)


async def contact(tx: Transaction, id_: UUID) -> dict[str, Any] | None:
    row = await tx.fetchrow(Q.find_contact, tx.tenant, id_)
    return dict(row) if row else None


async def has_chat(tx: Transaction, id_: UUID) -> bool:
    return await tx.fetchval(Q.find_chat, tx.tenant, id_) is not None


async def list_links(
    tx: Transaction, states: Sequence[str], *, after: UUID = BEGINNING, limit: int, contact_id: UUID | None = None
) -> list[dict[str, Any]]:
    """Contacts with how they stand, candidates and the names of both."""
    found = [
        {**dict(row), "evidence": json.loads(row["evidence"])}
        for row in await tx.fetch(Q.list_links, tx.tenant, list(states), after, limit, contact_id)
    ]
    named = {(each["kind"], each["id"]) for link in found for each in link["evidence"]}
    named |= {(link["kind"], link["party_id"]) for link in found if link["party_id"]}
    asked = sorted(named)
    rows = await tx.fetch(Q.names_of_parties, tx.tenant, [each[0] for each in asked], [each[1] for each in asked])
    names = {(row["kind"], row["party_id"]): row for row in rows}
    for link in found:
        party = names.get((link["kind"], link["party_id"]))
        link["party_name"] = party["name"] if party else ""
        for each in link["evidence"]:
            party = names.get((each["kind"], each["id"]))
            each["name"], each["numbers"] = (party["name"], party["numbers"]) if party else ("", [])
    return found


async def history_of(tx: Transaction, contact_id: UUID) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.history_of_contact, tx.tenant, contact_id)]


async def contacts_of_customer(tx: Transaction, customer_id: str, numbers: Sequence[str]) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.contacts_of_customer, tx.tenant, customer_id, list(numbers))]


async def role_of_chat(tx: Transaction, chat: UUID) -> dict[str, Any]:
    row = await tx.fetchrow(Q.role_of_chat, tx.tenant, chat)
    return dict(row) if row else {}
