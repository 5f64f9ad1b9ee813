"""Erasures in Postgres: requests, receipts, and the functions that alone may delete."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from kit.postgres import Database, Transaction, load_queries
from vault_importer.erasure import hold_store
from vault_importer.erasure.case import Approval, Case, Ground, Mode, Scope, Who

__all__ = [
    "ByReach",
    "Receipt",
    "accounts_of_tenant",
    "add_approval",
    "add_case",
    "add_receipt",
    "alone_with",
    "begin_case",
    "cancel_case",
    "cards",
    "case_of",
    "cases",
    "chats_reached_by",
    "choose_messages",
    "chosen",
    "destroy_openings",
    "end_case",
    "erase_beside",
    "erase_messages",
    "erased_media",
    "known_case",
    "known_parties",
    "media_gone",
    "media_referred",
    "named_by_others",
    "newest_processed",
    "note_counts",
    "note_part",
    "note_told",
    "oldest_unanswered",
    "open_case_about",
    "open_cases",
    "page_of_contacts",
    "page_of_party_numbers",
    "policy",
    "reach",
    "reached_beside",
    "reached_chats",
    "receipts",
    "release_messages",
    "search_again",
    "set_plan",
    "set_policy",
    "set_state",
    "set_who",
    "who_is",
    "words_left",
]

Q = load_queries("vault_importer", "erasure/erasure.sql")


# Who it is ------------------------------------------------------------------------------------------------------


async def who_is(tx: Transaction, asked: Who) -> Who:
    """All by which the archive knows the person that is asked for: a customer or a lead that is the person, by its
    numbers and by whoever is linked to it. Raises ``ValueError`` for the business itself."""
    parties = (list(asked.customer_ids), list(asked.lead_ids))
    known = {row["number"] for row in await tx.fetch(Q.numbers_of_parties, tx.tenant, *parties)}
    linked = {row["contact_id"] for row in await tx.fetch(Q.contacts_of_parties, tx.tenant, *parties)}
    named = sorted({*asked.numbers, *known})
    addresses = [
        row["jid"] for row in await tx.fetch(Q.addresses_of, tx.tenant, named, sorted({*asked.contact_ids, *linked}))
    ]
    contacts = await tx.fetch(Q.contacts_at, tx.tenant, addresses)
    ids = [row["id"] for row in contacts]
    numbers = sorted({*named, *(row["number"] for row in contacts if row["number"])})
    if await tx.fetchval(Q.is_account, tx.tenant, numbers):
        raise ValueError("That is the number of one of your own accounts.")
    chats = [row["id"] for row in await tx.fetch(Q.chats_with, tx.tenant, ids, addresses)]
    return Who(
        numbers=tuple(numbers),
        emails=asked.emails,
        addresses=tuple(addresses),
        customer_ids=asked.customer_ids,
        lead_ids=asked.lead_ids,
        contact_ids=tuple(ids),
        chat_ids=tuple(chats),
    )


async def known_parties(tx: Transaction, kind: str, ids: Sequence[str]) -> set[str]:
    """Of some customers or leads those of which the directory has told."""
    return {row["party_id"] for row in await tx.fetch(Q.known_parties, tx.tenant, kind, list(ids))}


async def page_of_contacts(tx: Transaction, after: UUID, limit: int) -> list[tuple[UUID, str]]:
    """Ids and addresses of everybody, in the order of ids."""
    return [(row["id"], row["jid"]) for row in await tx.fetch(Q.page_of_contacts, tx.tenant, after, limit)]


async def page_of_party_numbers(tx: Transaction, after: str, limit: int) -> list[str]:
    """Numbers of customers and leads, in their order."""
    return [row["number"] for row in await tx.fetch(Q.page_of_party_numbers, tx.tenant, after, limit)]


# Requests -------------------------------------------------------------------------------------------------------


async def add_case(tx: Transaction, case: Case) -> None:
    who = case.who
    await tx.execute(
        Q.add_case, tx.tenant, case.id, case.subject_id, case.scope, case.ground, case.asked_by, case.asked_at,
        case.why, list(who.numbers), list(who.emails), list(who.addresses), list(who.customer_ids), list(who.lead_ids),
        list(who.contact_ids), list(who.chat_ids),
    )  # fmt: skip


async def case_of(tx: Transaction, id_: UUID, *, for_change: bool = False) -> Case | None:
    row = await tx.fetchrow(Q.case_for_change if for_change else Q.case_of, tx.tenant, id_)
    return await _case(tx, row) if row else None


async def open_case_about(tx: Transaction, who: Who) -> Case | None:
    """The newest request about any of these people that has not ended."""
    row = await tx.fetchrow(Q.open_case_about, tx.tenant, list(who.contact_ids), list(who.numbers))
    return await _case(tx, row) if row else None


async def known_case(tx: Transaction, id_: UUID) -> Case:
    """A request that is there. Raises ``LookupError`` when it is not: a mistake of the caller."""
    case = await case_of(tx, id_)
    if case is None:
        raise LookupError(f"there is no erasure {id_}")
    return case


async def cases(tx: Transaction, limit: int) -> list[Case]:
    """The newest first."""
    return [await _case(tx, row) for row in await tx.fetch(Q.cases, tx.tenant, limit)]


async def _case(tx: Transaction, row: Any) -> Case:
    approvals = await tx.fetch(Q.approvals, tx.tenant, row["id"])
    names = ("numbers", "emails", "addresses", "customer_ids", "lead_ids", "contact_ids", "chat_ids")
    return Case(
        id=row["id"],
        subject_id=row["subject_id"],
        state=row["state"],
        scope=cast("Scope", row["scope"]),
        ground=cast("Ground", row["ground"]),
        asked_by=row["asked_by"],
        asked_at=row["asked_at"],
        why=row["why"],
        who=Who(**{name: tuple(row[name]) for name in names}),
        plan=json.loads(row["plan"]) if row["plan"] else None,
        plan_hash=row["plan_hash"],
        mode=cast("Mode | None", row["mode"]),
        due_at=row["due_at"],
        effective_at=row["effective_at"],
        counts=json.loads(row["counts"]),
        parts=row["parts"],
        ended_at=row["ended_at"],
        certificate=row["certificate"],
        approvals=[Approval(approver=each["approver"], at=each["at"]) for each in approvals],
    )


async def open_cases(tx: Transaction, now: datetime) -> list[tuple[UUID, UUID, str]]:
    """What there is to do, over all tenants: tenant, request, state. In a system transaction."""
    return [(row["tenant_id"], row["id"], row["state"]) for row in await tx.fetch(Q.open_cases, now)]


@asynccontextmanager
async def alone_with(database: Database, id_: UUID) -> AsyncIterator[bool]:
    """Whether nobody else carries the same erasure out; if so, nobody begins to before this ends."""
    connection = await database.dedicated("erasure")
    try:
        yield await connection.fetchval(Q.try_to_be_alone, str(id_))
    finally:
        await asyncio.wait_for(connection.close(), 5)


async def add_approval(tx: Transaction, id_: UUID, approver: str, *, at: datetime) -> bool:
    """Whether they had not approved before."""
    return await tx.fetchval(Q.add_approval, tx.tenant, id_, approver, at) is not None


async def set_state(tx: Transaction, id_: UUID, state: str) -> None:
    await tx.execute(Q.set_state, tx.tenant, id_, state)


async def note_told(tx: Transaction, id_: UUID, *, at: datetime) -> None:
    await tx.execute(Q.note_told, tx.tenant, id_, at)


async def oldest_unanswered(tx: Transaction) -> datetime | None:
    """Since when the oldest request of any tenant waits for receipts. In a system transaction."""
    found: datetime | None = await tx.fetchval(Q.oldest_unanswered)
    return found


async def set_who(tx: Transaction, id_: UUID, who: Who) -> None:
    await tx.execute(
        Q.set_who, tx.tenant, id_, list(who.numbers), list(who.addresses), list(who.contact_ids), list(who.chat_ids)
    )


async def set_plan(
    tx: Transaction, id_: UUID, plan: Mapping[str, Any], hash_: str, *, mode: Mode, due_at: datetime
) -> None:
    await tx.execute(Q.set_plan, tx.tenant, id_, json.dumps(plan), hash_, mode, due_at)


async def begin_case(
    tx: Transaction, id_: UUID, state: str, *, effective_at: datetime, due_at: datetime | None = None
) -> None:
    await tx.execute(Q.begin_case, tx.tenant, id_, state, effective_at, due_at)


async def note_part(tx: Transaction, id_: UUID) -> int:
    return int(await tx.fetchval(Q.note_part, tx.tenant, id_))


async def note_counts(tx: Transaction, id_: UUID, counts: Mapping[str, int]) -> None:
    await tx.execute(Q.note_counts, tx.tenant, id_, json.dumps(counts))


async def end_case(tx: Transaction, case: Case, certificate: str, *, at: datetime) -> list[UUID]:
    """Nobody knows any more who it was about: neither from the request itself, nor from older ones about the same
    person, nor from holds that were released. The requests that are about nobody any more and are given up by it."""
    who = case.who
    await hold_store.empty_released(tx, who)
    await tx.execute(
        Q.take_out_of_others, tx.tenant, case.id, case.scope, case.effective_at, list(who.numbers), list(who.emails),
        list(who.addresses), list(who.customer_ids), list(who.lead_ids), list(who.contact_ids),
    )  # fmt: skip
    emptied = [row["id"] for row in await tx.fetch(Q.cancel_emptied, tx.tenant, case.id, at)]
    for other in emptied:
        await release_messages(tx, other)
    await tx.execute(Q.end_case, tx.tenant, case.id, at, certificate)
    return emptied


async def cancel_case(tx: Transaction, id_: UUID, *, at: datetime) -> None:
    await tx.execute(Q.cancel_case, tx.tenant, id_, at)


async def policy(tx: Transaction) -> Mode:
    return cast("Mode", await tx.fetchval(Q.policy, tx.tenant) or "at_once")


async def set_policy(tx: Transaction, mode: Mode, *, by: str) -> None:
    await tx.execute(Q.set_policy, tx.tenant, mode, by)


# What it reaches, and the end of it -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class ByReach:
    """Messages that are reached for one reason."""

    reach: str
    messages: int
    chats: int
    first_at: datetime
    last_at: datetime


async def choose_messages(tx: Transaction, id_: UUID) -> int:
    """Note what the request reaches; how many messages came since the last time."""
    return int(await tx.fetchval(Q.choose_messages, id_))


async def release_messages(tx: Transaction, id_: UUID) -> None:
    await tx.execute(Q.release_messages, id_)


async def search_again(tx: Transaction) -> None:
    """Have the index made anew: what was hidden is in the archive and not in it."""
    await tx.execute(Q.search_again, tx.tenant)


async def chosen(tx: Transaction, id_: UUID) -> list[UUID]:
    return [row["message_id"] for row in await tx.fetch(Q.chosen, tx.tenant, id_)]


async def cards(tx: Transaction, id_: UUID) -> list[tuple[str, datetime]]:
    """Keys and times of the cards and notices of others that a request reaches."""
    return [(row["key_id"], row["sent_at"]) for row in await tx.fetch(Q.cards, tx.tenant, id_)]


async def reach(tx: Transaction, id_: UUID) -> list[ByReach]:
    return [ByReach(**dict(row)) for row in await tx.fetch(Q.reach, tx.tenant, id_)]


async def reached_chats(tx: Transaction, id_: UUID) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.reached_chats, tx.tenant, id_)]


async def chats_reached_by(tx: Transaction, who: Who) -> list[dict[str, Any]]:
    """The same for a person of whom nobody has asked anything."""
    rows = await tx.fetch(Q.chats_reached_by, tx.tenant, list(who.contact_ids), list(who.chat_ids))
    return [dict(row) for row in rows]


async def reached_beside(tx: Transaction, id_: UUID, who: Who) -> dict[str, int]:
    rows = await tx.fetch(
        Q.reached_beside, tx.tenant, id_, list(who.contact_ids), list(who.chat_ids), list(who.addresses)
    )
    return {row["store"]: row["rows"] for row in rows if row["rows"]}


async def named_by_others(tx: Transaction, id_: UUID) -> int:
    return int(await tx.fetchval(Q.named_by_others, tx.tenant, id_))


async def newest_processed(tx: Transaction, id_: UUID) -> datetime | None:
    found: datetime | None = await tx.fetchval(Q.newest_processed, tx.tenant, id_)
    return found


async def destroy_openings(tx: Transaction, id_: UUID, leaves: Sequence[int]) -> int:
    return int(await tx.fetchval(Q.destroy_openings, id_, list(leaves)))


async def erase_messages(tx: Transaction, id_: UUID, ids: Sequence[UUID]) -> dict[str, int]:
    return {row["store"]: row["rows"] for row in await tx.fetch(Q.erase_messages, id_, list(ids))}


async def erase_beside(tx: Transaction, id_: UUID, target: str) -> int:
    return int(await tx.fetchval(Q.erase_beside, id_, target))


async def words_left(tx: Transaction, id_: UUID) -> bool:
    return bool(await tx.fetchval(Q.words_left, tx.tenant, id_))


async def erased_media(tx: Transaction) -> list[bytes]:
    return [row["sha256"] for row in await tx.fetch(Q.erased_media, tx.tenant)]


async def media_referred(tx: Transaction, files: Sequence[bytes]) -> set[bytes]:
    """Of some contents, those that a message refers to."""
    return {row["sha256"] for row in await tx.fetch(Q.media_referred, tx.tenant, list(files))}


async def media_gone(tx: Transaction, files: Sequence[bytes]) -> None:
    await tx.execute(Q.media_gone, tx.tenant, list(files))


async def accounts_of_tenant(tx: Transaction) -> list[UUID]:
    return [row["id"] for row in await tx.fetch(Q.accounts_of_tenant, tx.tenant)]


# Receipts -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    part: int
    service: str
    erased: Mapping[str, int]
    kept: Sequence[Mapping[str, Any]]
    forgotten_at: datetime
    at: datetime


async def add_receipt(tx: Transaction, erasure_id: UUID, receipt: Receipt) -> None:
    """A second one of the same part changes nothing."""
    await tx.execute(
        Q.add_receipt, tx.tenant, erasure_id, receipt.part, receipt.service, json.dumps(receipt.erased),
        json.dumps(receipt.kept), receipt.forgotten_at, receipt.at,
    )  # fmt: skip


async def receipts(tx: Transaction, erasure_id: UUID) -> list[Receipt]:
    rows = await tx.fetch(Q.receipts, tx.tenant, erasure_id)
    return [
        Receipt(**{**dict(row), "erased": json.loads(row["erased"]), "kept": json.loads(row["kept"])}) for row in rows
    ]
