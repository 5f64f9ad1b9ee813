"""Carrying out an erasure: message by message until none is left, then what names the person elsewhere, then the files.

In chunks of one short transaction each: openings of leaves are destroyed, rows deleted, the others told, counted and
audited together. Whatever interrupts it, the next run goes on with what is left.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from contracts.erasure import SubjectErasedV1
from kit.outbox import append
from kit.postgres import Database, Transaction
from kit.telemetry import get_logger
from recovery.erasure import erase_letters, erase_shadow, remember
from vault_importer import metrics
from vault_importer.audit_store import append_audit
from vault_importer.erasure import files, hold_store, store, suppression_store
from vault_importer.erasure.case import Case, SuppressionKey
from vault_importer.erasure.media import remove_stray, remove_unreferenced
from vault_importer.erasure.receipts import settle
from vault_importer.leaves_beside import BesideKind
from vault_importer.ledger_beside import leaves_of_rows, rows_of_people
from vault_importer.ledger_store import leaves_about
from vault_importer.load_backup import Progress
from vault_importer.seal import Sealing, seal_quietly

__all__ = ["BESIDE", "MESSAGES_PER_CHUNK", "Erasing", "carry_out", "work_all"]

log = get_logger(__name__)

#: About a third of a second on two cores.
MESSAGES_PER_CHUNK = 500
#: What names the person beside other people's messages, in the order in which it goes; people last.
BESIDE = (
    "message_add_on",
    "message_reaction",
    "message_poll_vote",
    "message_receipt",
    "message_mention",
    "message_quote",
    "message_detail",
    "call_participant",
    "call_log",
    "chat_member",
    "chat_past_member",
    "chat_detail",
    "account_detail",
    "search_word",
    "chat",
    "jid_alias",
    "contact",
)


#: Those of them that the ledger speaks of, by the kind of their leaves.
WITH_LEAVES: Mapping[str, BesideKind] = {
    "message_reaction": "reaction",
    "message_poll_vote": "vote",
    "jid_alias": "identity",
}


@dataclass(frozen=True, kw_only=True)
class Erasing:
    """What an erasure works with."""

    database: Database
    key: SuppressionKey
    media_store: Path | None = None
    backups: Path | None = None
    """The watched folder, where files that were imported lie in ``<account>/done``."""
    sealing: Sealing | None = None
    progress: Callable[[Progress], None] = lambda _: None


async def work_all(erasing: Erasing) -> None:
    """One look at everything that is due, was interrupted, or waits for receipts. What fails of one request holds up
    no other; it is raised in the end, as a group."""
    now = datetime.now(UTC)
    async with erasing.database.system() as tx:
        waiting = await store.open_cases(tx, now)
        since = await store.oldest_unanswered(tx)
    metrics.UNANSWERED.set((now - since).total_seconds() if since is not None else 0)
    failed: list[Exception] = []
    for tenant, id_, _ in waiting:
        try:
            await carry_out(erasing, tenant, id_)
        except Exception as error:
            log.warning("erasure_failed", erasure=str(id_), error=type(error).__name__)
            failed.append(error)
    if failed:
        raise ExceptionGroup("erasures could not be carried out", failed)


async def carry_out(erasing: Erasing, tenant: UUID, id_: UUID) -> Case:
    """Erase what is left to be erased, and end the request once everybody has answered. May be called at any time."""
    async with store.alone_with(erasing.database, id_) as alone:
        if alone:
            case = await _due(erasing, tenant, id_)
            if case.state == "erasing" and not await _held(erasing, tenant, case):
                await _erase(erasing, tenant, case)
            await _remove_media(erasing, tenant)
            await settle(erasing.database, tenant, id_, signer=erasing.sealing.signer if erasing.sealing else None)
    async with erasing.database.transaction(tenant) as tx:
        ended = await store.known_case(tx, id_)
    if ended.state == "done" and erasing.sealing is not None:
        await seal_quietly(erasing.database, tenant, erasing.sealing, now=datetime.now(UTC))
    return ended


async def _due(erasing: Erasing, tenant: UUID, id_: UUID) -> Case:
    """The request; one that has waited for its day begins."""
    now = datetime.now(UTC)
    async with erasing.database.transaction(tenant) as tx:
        await suppression_store.keep_out(tx)
        case = await store.case_of(tx, id_, for_change=True)
        if case is None:
            raise LookupError("there is no such erasure")
        due = case.state == "locked" and case.due_at is not None and case.due_at <= now
        if due and not await hold_store.holds_on_case(tx, case):
            # Whoever called since it was applied has called anew: that is not held for a year yet.
            effective_at = (case.effective_at or now) if case.mode == "after_one_year" and case.calls_go else now
            await store.begin_case(tx, id_, "erasing", effective_at=effective_at)
            await suppression_store.suppress(tx, erasing.key, case.who.addresses, erasure_id=id_, until=now)
            await append_audit(tx, "erasure.due", at=now, details={"erasure": str(id_)})
            case = replace(case, state="erasing", effective_at=effective_at)
    return case


async def _held(erasing: Erasing, tenant: UUID, case: Case) -> bool:
    """Whether a hold that was placed meanwhile stops it; it goes on once that is released."""
    async with erasing.database.transaction(tenant) as tx:
        on = await hold_store.holds_on_case(tx, case)
    if on:
        log.warning("erasure_held", erasure=str(case.id), holds=[str(each.id) for each in on])
    return bool(on)


async def _erase(erasing: Erasing, tenant: UUID, case: Case) -> None:
    if case.parts == 0:
        await _tell_who(erasing, tenant, case)
    while True:
        async with erasing.database.transaction(tenant) as tx:
            ids = await store.chosen(tx, case.id)
            leaves = await leaves_about(tx, ids)
        order = sorted(ids, key=lambda id_: leaves[id_][0] if leaves[id_] else -1)
        for at in range(0, len(order), MESSAGES_PER_CHUNK):
            chunk = order[at : at + MESSAGES_PER_CHUNK]
            await _erase_chunk(erasing, tenant, case, chunk, [leaf for id_ in chunk for leaf in leaves[id_]])
            erasing.progress(Progress(done=at + len(chunk), total=len(order)))
        if await _nothing_left(erasing, tenant, case):
            break
    for target in BESIDE:
        await _erase_beside(erasing, tenant, case, target)
    await _remove_backups(erasing, tenant, case)
    if erasing.media_store is not None:
        await remove_stray(erasing.database, tenant, erasing.media_store)
    async with erasing.database.transaction(tenant) as tx:
        now = datetime.now(UTC)
        await store.note_told(tx, case.id, at=now)
        counts = dict((await store.known_case(tx, case.id)).counts)
        await append_audit(tx, "erasure.told", at=now, details={"erasure": str(case.id), **counts})
    log.info("erased", erasure=str(case.id), messages=counts.get("message", 0))


async def _tell_who(erasing: Erasing, tenant: UUID, case: Case) -> None:
    """The first part: who it is."""
    async with erasing.database.transaction(tenant, emits=[str(case.subject_id)]) as tx:
        who = case.who
        letters = await _tell(
            tx,
            case,
            numbers=who.numbers,
            emails=who.emails,
            addresses=who.addresses,
            customer_ids=who.customer_ids,
            lead_ids=who.lead_ids,
            contact_ids=tuple(map(str, who.contact_ids)),
            chat_ids=tuple(map(str, who.chat_ids)),
        )
        await _count(tx, case.id, {"dead_letter": letters, "shadow run": await erase_shadow(tx)})


async def _tell(tx: Transaction, case: Case, **named: tuple[str, ...]) -> int:
    """Tell the others of one more part, and keep it out of here; how many dead letters named it."""
    told = SubjectErasedV1(
        erasure_id=str(case.id),
        subject_id=str(case.subject_id),
        part=await store.note_part(tx, case.id),
        scope=case.scope,
        effective_at=case.effective_at or datetime.now(UTC),
        **named,
    )
    letters = await erase_letters(tx, told)
    await remember(tx, told)
    await append(tx, told)
    return letters


async def _erase_chunk(erasing: Erasing, tenant: UUID, case: Case, ids: Sequence[UUID], leaves: Sequence[int]) -> None:
    async with erasing.database.transaction(tenant, emits=[str(case.subject_id)]) as tx:
        # Nobody links a file meanwhile that goes with the last message that refers to it.
        await suppression_store.keep_out(tx)
        openings = await store.destroy_openings(tx, case.id, leaves)
        erased = await store.erase_messages(tx, case.id, ids)
        letters = await _tell(tx, case, message_ids=tuple(map(str, ids)))
        counts = {**erased, "ledger_opening": openings, "dead_letter": letters}
        await _count(tx, case.id, counts)
        await append_audit(
            tx,
            "erasure.messages",
            at=datetime.now(UTC),
            details={"erasure": str(case.id), "messages": erased.get("message", 0), "openings": openings},
        )


async def _nothing_left(erasing: Erasing, tenant: UUID, case: Case) -> bool:
    """Whether nothing came meanwhile from an import that had begun before."""
    async with erasing.database.transaction(tenant) as tx:
        await suppression_store.keep_out(tx)
        return await store.choose_messages(tx, case.id) == 0


async def _erase_beside(erasing: Erasing, tenant: UUID, case: Case, target: str) -> None:
    while True:
        async with erasing.database.transaction(tenant) as tx:
            openings = await _destroy_openings_beside(tx, case, target)
            rows = await store.erase_beside(tx, case.id, target)
            name = target if target != "message_quote" else "message_quote of others"
            await _count(tx, case.id, {name: rows, "ledger_opening": openings})
            if target != "search_word" or not await store.words_left(tx, case.id):
                return


async def _destroy_openings_beside(tx: Transaction, case: Case, target: str) -> int:
    """Of what the person made of others' messages, and of which identities were theirs."""
    kind = WITH_LEAVES.get(target)
    if kind is None:
        return 0
    rows = await rows_of_people(tx, kind, case.who.contact_ids, case.who.addresses)
    return await store.destroy_openings(tx, case.id, list((await leaves_of_rows(tx, kind, rows)).values()))


async def _count(tx: Transaction, id_: UUID, more: dict[str, int]) -> None:
    case = await store.case_of(tx, id_, for_change=True)
    counts = Counter(case.counts if case else {})
    counts.update({name: rows for name, rows in more.items() if rows})
    await store.note_counts(tx, id_, dict(counts))


# Files ----------------------------------------------------------------------------------------------------------


async def _remove_media(erasing: Erasing, tenant: UUID) -> None:
    """Take media that nobody refers to any more off the disk."""
    while True:
        async with erasing.database.transaction(tenant) as tx:
            gone = await store.erased_media(tx)
        if not gone:
            return
        if erasing.media_store is None:
            log.warning("media_left", files=len(gone), why="no media folder is set here")
            return
        await remove_unreferenced(erasing.database, tenant, erasing.media_store, gone)


async def _remove_backups(erasing: Erasing, tenant: UUID, case: Case) -> None:
    """Backups that were imported hold everybody. Their hashes stay in the ledger."""
    if erasing.backups is None:
        return
    async with erasing.database.transaction(tenant) as tx:
        accounts = await store.accounts_of_tenant(tx)
    inboxes = [erasing.backups / str(account) for account in accounts]
    removed = await asyncio.to_thread(files.remove_backups, inboxes, 0)
    async with erasing.database.transaction(tenant) as tx:
        await _count(tx, case.id, {"backup file": removed})
