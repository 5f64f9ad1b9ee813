"""The pass that keeps links and roles up to the archive and the directory, a bounded chunk at a time.

It follows the ledger, so that an import pays nothing for it and no text is read twice: of the new messages it looks at
those only that may hold an address or a tax number, in direct chats, by the contact. Contacts are decided again when
they, what they wrote or somebody they could be has changed; the roles of chats when a link or staff has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from identifiers.email import find_emails
from identifiers.gstin import find_gstins
from kit.postgres import Database, Transaction
from vault_importer import search_store
from vault_importer.erasure.suppression_store import keep_in
from vault_importer.links import store
from vault_importer.links.decide import Outcome, Party, decide
from vault_importer.links.names import name_key
from vault_importer.links.roles import role_of
from vault_importer.links.store import BEGINNING, Identity, Place
from vault_importer.manage_accounts import list_accounts

__all__ = ["decide_contacts", "link_all", "link_tenant"]

MESSAGES = 2_000
CONTACTS = 500
PARTIES = 200
CHATS = 500
#: A component that is in one run for ten minutes counts as hanging.
RUN_SECONDS = 60.0


def _now() -> datetime:
    return datetime.now(UTC)


async def link_all(database: Database) -> None:
    """Bring every tenant nearer, in turns. Ends after about a minute; the next call goes on."""
    until = time.monotonic() + RUN_SECONDS
    behind = sorted({account.tenant_id for account in await list_accounts(database)})
    while behind and time.monotonic() < until:
        behind = [tenant for tenant in behind if await _step(database, tenant, _now)]


async def link_tenant(database: Database, tenant: UUID, now: Callable[[], datetime] = _now) -> None:
    while await _step(database, tenant, now):
        pass


async def _step(database: Database, tenant: UUID, now: Callable[[], datetime]) -> bool:
    """One chunk, in a transaction of its own; whether there may be more."""
    async with database.transaction(tenant) as tx:
        if await store.idle(tx):
            return False
    async with database.transaction(tenant) as tx:
        await keep_in(tx)
        place = await store.lock(tx)
        if await store.take_staff(tx):
            place = replace(place, roles_after=BEGINNING)
        if parties := await store.due_parties(tx, PARTIES):
            await _take_parties(tx, parties)
        elif place.next_leaf < place.size:
            ids, reached = await search_store.wordings(tx, place.next_leaf, MESSAGES)
            await _read(tx, ids)
            place = replace(place, next_leaf=reached)
        elif place.contacts_leaf < place.next_leaf:
            place = await _look_at_contacts(tx, place)
        elif contacts := await store.take_due(tx, CONTACTS):
            if await decide_contacts(tx, contacts, at=now()):
                place = replace(place, roles_after=BEGINNING)
        elif place.roles_after is not None:
            facts = await store.role_facts(tx, after=place.roles_after, most=CHATS)
            await store.put_roles(tx, {chat: role_of(each) for chat, each in facts.items()}, at=now())
            place = replace(place, roles_after=max(facts) if len(facts) == CHATS else None)
        await store.move(tx, place)
    return True


async def _take_parties(tx: Transaction, rows: Sequence[dict[str, Any]]) -> None:
    parties = [Party(kind=row["kind"], id=row["party_id"]) for row in rows]
    identities = [each for party, row in zip(parties, rows, strict=True) for each in _known_by(party, row)]
    await store.replace_parties(tx, parties, identities)


def _known_by(party: Party, row: dict[str, Any]) -> Iterator[Identity]:
    yield from ((party, "number", number, None) for number in row["numbers"])
    yield from ((party, "email", email.strip().lower(), None) for email in row["emails"])
    if row["gstin"]:
        yield party, "gstin", row["gstin"].strip().upper(), None
    if key := name_key(row["name"]):
        yield party, "name", key, None


async def _read(tx: Transaction, ids: Sequence[UUID]) -> None:
    """Note the addresses and tax numbers that contacts wrote in these messages."""
    clues: dict[tuple[UUID, str, str], UUID] = {}
    for row in await store.clues_to_read(tx, list(set(ids))) if ids else ():
        for found in find_gstins(row["text"]):
            clues.setdefault((row["contact_id"], "gstin", found.value), row["id"])
        for found in find_emails(row["text"]):
            clues.setdefault((row["contact_id"], "email", found.value), row["id"])
    if clues:
        await store.put_clues(tx, [(*key, message) for key, message in sorted(clues.items())])


async def _look_at_contacts(tx: Transaction, place: Place) -> Place:
    contacts = await store.changed_contacts(tx, CONTACTS)
    if contacts:
        own: list[Identity] = []
        for row in contacts:
            if row["number"]:
                own.append((row["id"], "number", row["number"], None))
            if key := name_key(row["name"]):
                own.append((row["id"], "name", key, None))
        await store.see_contacts(tx, contacts, own)
    if len(contacts) == CONTACTS:
        return place
    await store.orphans_due(tx)
    # New chats and members have no role yet, whoever they are.
    return replace(place, contacts_leaf=place.next_leaf, roles_after=BEGINNING)


async def decide_contacts(tx: Transaction, contacts: Sequence[UUID], *, at: datetime) -> bool:
    """Decide these contacts anew, and note what has changed; whether any link has."""
    candidates = await store.candidates_of(tx, contacts)
    said = await store.said_of(tx, contacts)
    existing = await store.existing(tx, (party for each in said.values() for one in each for party in one.parties))
    before = await store.links_now(tx, contacts)
    kept: dict[UUID, Outcome] = {}
    gone: list[UUID] = []
    changes: list[tuple[UUID, str, Sequence[Party], str]] = []
    for contact in contacts:
        outcome = decide(candidates.get(contact, ()), said.get(contact, ()), existing)
        was = before.get(contact)
        if outcome.state == "none" and not outcome.by_person:
            if was:
                gone.append(contact)
        elif was is None or not _same(was, outcome):
            kept[contact] = outcome
        if _stands(was) != _stands(_row(outcome)):
            parties = [outcome.party] if outcome.party else [each.party for each in outcome.candidates]
            changes.append((contact, outcome.state, parties, _why(outcome)))
    if kept:
        await store.put_links(tx, kept, at=at)
    if gone:
        await store.drop_links(tx, gone)
    if changes:
        await store.add_decisions(tx, changes, by=None, at=at)
    return bool(changes)


def _row(outcome: Outcome) -> dict[str, Any]:
    party = outcome.party
    return {"state": outcome.state, "kind": party.kind if party else None, "party_id": party.id if party else None}


def _stands(row: dict[str, Any] | None) -> tuple[Any, ...]:
    return (row["state"], row["kind"], row["party_id"]) if row else ("none", None, None)


def _same(was: dict[str, Any], outcome: Outcome) -> bool:
    told = [each.told() for each in outcome.candidates]
    return _stands(was) == _stands(_row(outcome)) and was["by_person"] == outcome.by_person and was["evidence"] == told


def _why(outcome: Outcome) -> str:
    if outcome.by_person:
        return "as a person decided"
    if not outcome.candidates:
        return "nobody in the directory fits any more"
    identities = ", ".join(outcome.candidates[0].values)
    return {"linked": f"by {identities}", "ambiguous": f"several fit by {identities}", "proposed": "by name alone"}.get(
        outcome.state, "nobody fits"
    )
