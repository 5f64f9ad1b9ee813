"""What people decide of contacts and chats: noted, audited, and in force at once and from then on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from kit.postgres import Database, Transaction
from vault_importer.audit_store import append_audit
from vault_importer.erasure.suppression_store import keep_in
from vault_importer.links import store
from vault_importer.links.decide import Action, Party
from vault_importer.links.follow import decide_contacts
from vault_importer.links.roles import ROLES, role_of
from vault_importer.links.store import BEGINNING

__all__ = ["CannotDecide", "Judgement", "NoSuchOne", "judge_chat", "judge_contact"]

STATES = ("linked", "ambiguous", "proposed", "none")


class CannotDecide(Exception):
    """The decision makes no sense; the message says why."""


class NoSuchOne(Exception):
    """There is no such contact or chat, or none of this tenant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """Who decided, when and why."""

    by: str
    why: str
    at: datetime


async def judge_contact(
    database: Database, tenant: UUID, contact: UUID, action: Action, parties: Sequence[Party], judgement: Judgement
) -> dict[str, Any]:
    """``accept`` links to the one that is named; ``refuse`` rules out those that are named, or all that are candidates
    or linked now; ``again`` takes back what people decided before. How the contact stands then."""
    _by_somebody(judgement)
    async with database.transaction(tenant) as tx:
        await keep_in(tx)
        place = await store.lock(tx)
        if await store.contact(tx, contact) is None:
            raise NoSuchOne("There is no such contact.")
        named = await _named(tx, contact, action, parties)
        note = (contact, action, named, judgement.why)
        await store.add_decisions(tx, [note], by=judgement.by, at=judgement.at)
        await decide_contacts(tx, [contact], at=judgement.at)
        await store.move(tx, replace(place, roles_after=BEGINNING))
        links = await store.list_links(tx, STATES, limit=1, contact_id=contact)
        await append_audit(
            tx, "link_decided", at=judgement.at,
            details={"contact": str(contact), "action": action, "by": judgement.by, "count": len(named)},
        )  # fmt: skip
    return links[0] if links else {"contact_id": contact, "state": "none", "evidence": []}


async def _named(tx: Transaction, contact: UUID, action: Action, parties: Sequence[Party]) -> list[Party]:
    if action == "accept":
        if len(parties) != 1:
            raise CannotDecide("Accept exactly one customer or lead.")
        if not await store.existing(tx, parties):
            raise CannotDecide(f"There is no {parties[0]} in the directory.")
        return list(parties)
    if action == "again":
        return []
    if parties:
        return list(parties)
    now = (await store.links_now(tx, [contact])).get(contact)
    found = {Party(kind=each["kind"], id=each["id"]) for each in now["evidence"]} if now else set()
    if now and now["party_id"]:
        found.add(Party(kind=now["kind"], id=now["party_id"]))
    if not found:
        raise CannotDecide("Nobody is proposed for this contact, so there is nobody to refuse.")
    return sorted(found)


async def judge_chat(
    database: Database, tenant: UUID, chat: UUID, role: str | None, judgement: Judgement
) -> dict[str, Any]:
    """Give a chat a role that stands, or take it back with none. What part the chat plays then."""
    _by_somebody(judgement)
    if role is not None and role not in ROLES:
        raise CannotDecide(f"A role is one of {', '.join(ROLES)}.")
    async with database.transaction(tenant) as tx:
        await keep_in(tx)
        place = await store.lock(tx)
        if not await store.has_chat(tx, chat):
            raise NoSuchOne("There is no such chat.")
        await store.add_role_decision(tx, chat, role, by=judgement.by, why=judgement.why, at=judgement.at)
        facts = await store.role_facts(tx, most=1, chats=[chat])
        await store.put_roles(tx, {id_: role_of(each) for id_, each in facts.items()}, at=judgement.at)
        # Groups with the same people follow.
        await store.move(tx, replace(place, roles_after=BEGINNING))
        told = await store.role_of_chat(tx, chat)
        await append_audit(
            tx, "role_decided", at=judgement.at,
            details={"chat": str(chat), "role": role or "as the rules say", "by": judgement.by},
        )  # fmt: skip
    return told


def _by_somebody(judgement: Judgement) -> None:
    if not judgement.by.strip():
        raise CannotDecide("Say who decides.")
