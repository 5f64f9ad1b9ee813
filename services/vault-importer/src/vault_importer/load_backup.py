"""Loads an opened backup into the archive: contacts, then chats, then messages, in chunks of at most about a second.

Every chunk is one transaction: messages, their events and how far the import has come commit together. Whatever
interrupts an import, the next one continues behind the last chunk, and what is there already is not written again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID

from contracts.vault import MessageImportedV1
from kit.ids import uuid7
from kit.outbox import append_encoded
from kit.postgres import Database, Transaction
from vault_importer import store
from vault_importer.accounts import Account
from vault_importer.archive import Chat, EventTexts, Person, Staged, settle, settled_id, stage
from vault_importer.audit_store import append_audit
from vault_importer.collect import NAME_RANKS, collect_chats, collect_contacts, leave_out, numbers_of, without_erased
from vault_importer.compare_backup import NOTHING, compared
from vault_importer.erasure.keep_out import NOBODY, REASON, Erased, KeptOut
from vault_importer.erasure.suppression_store import still
from vault_importer.formats.base import Backup, HasSides, LeftOut, MessageRows, SkippedRow, SourceMessage
from vault_importer.leaves_beside import row_beside
from vault_importer.ledger_beside import append_beside
from vault_importer.ledger_store import append_wordings
from vault_importer.load_sides import LoadingSides, load_sides
from vault_importer.lookups import Outcomes, accounted
from vault_importer.pace import Pace
from vault_importer.refusals import ErasedMeanwhile, ImportBusy
from vault_importer.row_map import RowMap
from vault_importer.sides import Names
from vault_importer.together import together

__all__ = ["LANES", "ImportBusy", "Loading", "Progress", "load_backup"]

T = TypeVar("T")

#: Parts of the chats that are loaded side by side; more than Postgres has cores for gains nothing.
LANES = 2
CONTACTS_PER_CHUNK = 5_000
#: About a third of a second on two cores; fewer where that takes longer.
MESSAGES_PER_CHUNK = 5_000
#: Of messages with several keys (edited, revoked, from exports), all keys are kept in mind up to so many: some 60 MB.
MOST_ALIASES = 300_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far an import is, in source rows of messages."""

    done: int
    total: int


@dataclass(kw_only=True)
class Loading:
    """One import at work."""

    database: Database
    account: Account
    run: store.ImportRun
    worker: ThreadPoolExecutor
    now: Callable[[], datetime]
    progress: Callable[[Progress], None] = lambda _: None
    people: dict[str, Person] = field(default_factory=dict)
    chats: dict[str, Chat] = field(default_factory=dict)
    outcomes: Outcomes = field(default_factory=Outcomes)
    aliases: dict[UUID, UUID] | None = None
    """Other keys of the account's messages; the chunks add theirs. Nobody else adds any: an account's chats are its
    own, and it is imported by one process at a time."""
    messages: RowMap = field(default_factory=RowMap)
    manifest: dict[str, Any] = field(default_factory=dict)
    kept_out: KeptOut
    erased: Erased = NOBODY
    """Who of the backup's people must not come back."""
    left_out: LeftOut = NOTHING
    """What the backup has as the one before it had it: in the vault already, and not read."""
    events: EventTexts = field(init=False)

    def __post_init__(self) -> None:
        self.events = EventTexts(str(self.account.id))

    async def in_worker(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.worker, function, *arguments)

    @asynccontextmanager
    async def writing(self, emits: Iterable[str] = ()) -> AsyncIterator[Transaction]:
        """A transaction that may write. Raises :class:`ErasedMeanwhile` once anybody more is to be kept out."""
        async with self.database.transaction(self.account.tenant_id, emits=emits) as tx:
            if not await still(tx, self.kept_out.known):
                raise ErasedMeanwhile
            yield tx


async def load_backup(loading: Loading, backup: Backup, *, format_name: str) -> None:
    """Bring the archive up to a backup. May be called again after any interruption."""
    rows = await loading.in_worker(backup.rows)
    loading.manifest = {**loading.run.manifest, "source_rows": dict(rows)}
    async with compared(loading, backup) as loading.left_out:
        if loading.left_out.rows:
            loading.manifest["as_before"] = dict(loading.left_out.rows)
        await _load_contacts(loading, backup)
        await _load_chats(loading, backup)
        async with loading.database.transaction(loading.account.tenant_id) as tx:
            await store.note_step(
                tx,
                loading.run.id,
                contacts=loading.manifest["contacts"]["seen"],
                chats=loading.manifest["chats"]["seen"],
                manifest=loading.manifest,
                format_name=format_name,
            )
        await _load_messages(loading, backup, total=rows["message"])
        loading.manifest["tables"] = await _load_beside(loading, backup)


# Contacts -------------------------------------------------------------------------------------------------------


async def _load_contacts(loading: Loading, backup: Backup) -> None:
    aliases, contacts, skipped = await loading.in_worker(collect_contacts, backup)
    loading.erased = await loading.in_worker(loading.kept_out.among, contacts, aliases)
    loading.outcomes.erased = loading.erased.away
    leave_out(contacts, loading.erased, skipped)
    aliases = without_erased(aliases, loading.erased)
    numbers = await loading.in_worker(numbers_of, {*contacts, *(alias.jid for alias in aliases)})
    account, run = loading.account, loading.run
    if aliases:
        async with loading.writing() as tx:
            added = await store.add_aliases(
                tx, aliases, numbers, account_id=account.id, import_id=run.id, at=loading.now()
            )
            await append_beside(tx, "identity", [row_beside("identity", row) for row in added], at=loading.now())
        new = {(row["lid"], row["jid"]) for row in added}
        for pair in [(alias.lid, alias.jid) for alias in aliases]:
            loading.outcomes.pairs[pair] = "new" if pair in new else "unchanged"
    counts: Counter[str] = Counter()
    for chunk in _chunks(list(contacts.values()), CONTACTS_PER_CHUNK):
        rows = [(uuid7(), c.jid, numbers[c.jid], c.name, NAME_RANKS[c.name_source]) for c in chunk]
        async with loading.writing() as tx:
            merged = await store.merge_contacts(tx, rows, import_id=run.id)
            loading.people.update(await store.people(tx, [c.jid for c in chunk]))
        loading.outcomes.note((c.jid for c in chunk), merged.written)
        counts["new"] += merged.new
        counts["changed"] += merged.changed
    await _note_step(loading, "contacts", seen=len(contacts), counts=counts, skipped=skipped)


# Chats ----------------------------------------------------------------------------------------------------------


async def _load_chats(loading: Loading, backup: Backup) -> None:
    chats, skipped = await loading.in_worker(collect_chats, backup)
    leave_out(chats, loading.erased, skipped)
    account = loading.account
    counts: Counter[str] = Counter()
    for chunk in _chunks(list(chats.values()), CONTACTS_PER_CHUNK):
        rows = [(uuid7(), chat, loading.people.get(chat.jid)) for chat in chunk]
        async with loading.writing() as tx:
            merged = await store.merge_chats(tx, rows, account_id=account.id, import_id=loading.run.id)
            loading.chats.update(await store.chats(tx, account.id, loading.people, [c.jid for c in chunk]))
        # Of a direct chat the person counts, who has the same address.
        loading.outcomes.note((c.jid for c in chunk if c.jid not in loading.people), merged.written)
        counts["new"] += merged.new
        counts["changed"] += merged.changed
    await _note_step(loading, "chats", seen=len(chats), counts=counts, skipped=skipped)


async def _note_step(loading: Loading, step: str, *, seen: int, counts: Counter[str], skipped: Counter[str]) -> None:
    figures = {"seen": seen, "new": counts["new"], "changed": counts["changed"], "skipped": dict(skipped)}
    loading.manifest[step] = figures
    async with loading.database.transaction(loading.account.tenant_id) as tx:
        await append_audit(
            tx,
            f"import.{step}",
            at=loading.now(),
            account_id=loading.account.id,
            import_id=loading.run.id,
            file_sha256=loading.run.file_sha256,
            details=figures,
        )


# Messages -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chunk:
    rows: int
    staged: Sequence[Staged]
    skipped: Counter[str]


async def _load_messages(loading: Loading, backup: Backup, *, total: int) -> None:
    """All lanes side by side: each has chats of its own, so none waits for another's events."""
    async with loading.database.transaction(loading.account.tenant_id) as tx:
        lanes = await store.lanes_of(tx, loading.run.id)
        loading.aliases = await store.message_aliases(tx, MOST_ALIASES)
    done = Counter({lane.lane: lane.rows_done for lane in lanes})
    known = loading.left_out.rows.get("message", 0)

    def show(lane: int, rows: int) -> None:
        done[lane] += rows
        loading.progress(Progress(done=known + done.total(), total=total))

    await together(_load_lane(loading, backup, lane, len(lanes), show) for lane in lanes)


async def _load_lane(
    loading: Loading, backup: Backup, lane: store.Lane, lanes: int, show: Callable[[int, int], None]
) -> None:
    done, skipped = lane.rows_done, Counter(lane.skipped)
    # What other tables say about a message is found by its row, so those that are done are read again.
    again = done if isinstance(backup, HasSides) else 0
    rows = backup.messages(lane=lane.lane, lanes=lanes, skip=done - again)
    pace = Pace(MESSAGES_PER_CHUNK)
    chunks = _read_chunks(rows, loading, again, pace)
    coming = asyncio.ensure_future(loading.in_worker(next, chunks, None))
    try:
        while (chunk := await coming) is not None:
            # The worker reads the next chunk while Postgres works on this one.
            coming = asyncio.ensure_future(loading.in_worker(next, chunks, None))
            if again:
                again -= chunk.rows
                async with loading.database.transaction(loading.account.tenant_id) as tx:
                    _know(loading, chunk.staged, await store.known_keys(tx, chunk.staged, loading.aliases))
                continue
            skipped.update(chunk.skipped)
            began = monotonic()
            await _load_chunk(loading, chunk, lane=lane.lane, done=done, skipped=skipped)
            pace.took(chunk.rows, monotonic() - began)
            done += chunk.rows
            show(lane.lane, chunk.rows)
    finally:
        await asyncio.gather(coming, return_exceptions=True)
        # Its cursor must be let go before the store is closed.
        await loading.in_worker(chunks.close)


def _read_chunks(rows: MessageRows, loading: Loading, again: int, pace: Pace) -> Generator[_Chunk, None, None]:
    """Chunks none of which holds both rows that are read again, the first ones, and others."""
    with closing(rows):
        while taken := list(islice(rows, min(pace.rows, again or pace.rows))):
            again -= min(again, len(taken))
            yield _chunk(taken, loading)


def _chunk(taken: Sequence[SourceMessage | SkippedRow], loading: Loading) -> _Chunk:
    skipped: Counter[str] = Counter()
    staged: list[Staged] = []
    erased = loading.erased
    for each in taken:
        if erased and isinstance(each, SourceMessage) and erased.wrote(each):
            skipped[REASON] += 1
            continue
        chat = None if isinstance(each, SkippedRow) else loading.chats.get(each.chat_jid)
        if isinstance(each, SourceMessage) and chat is not None:
            staged.append(stage(len(staged), each, chat, loading.people.get(each.sender_jid)))
        else:
            skipped[each.reason if isinstance(each, SkippedRow) else "no_chat"] += 1
    return _Chunk(rows=len(taken), staged=staged, skipped=skipped)


async def _load_chunk(loading: Loading, chunk: _Chunk, *, lane: int, done: int, skipped: Mapping[str, int]) -> None:
    """One transaction: messages, their events and how far the lane has come."""
    run = loading.run
    emits = {row.chat.id_text for row in chunk.staged}
    async with loading.writing(emits=emits) as tx:
        known = await store.known_keys(tx, chunk.staged, loading.aliases)
        staged, repeated = settle(chunk.staged, known)
        written = await store.merge_messages(tx, staged, import_id=run.id, at=loading.now()) if staged else {}
        text_of = loading.events.of
        events = [
            (row.chat.id_text, text_of(row, revision))
            for row in staged
            if (revision := written.get(row.id)) is not None
        ]
        await append_encoded(tx, MessageImportedV1, events)
        new = sum(revision == 1 for revision in written.values())
        step = store.Advance(
            rows=chunk.rows,
            seen=len(chunk.staged),
            new=new,
            changed=len(written) - new,
            repeated=repeated,
            skipped=skipped,
            newest_message_at=max((row.sent_at for row in staged), default=None),
        )
        if not await store.advance_lane(tx, run.id, lane, done, step):
            raise ImportBusy("This file is being imported by another process at this moment.")
        await append_wordings(tx, staged, written, import_id=run.id, at=loading.now())
    if loading.aliases is not None:
        for row in staged:
            for key in row.other_keys:
                loading.aliases.setdefault(key, row.id)
        if len(loading.aliases) > MOST_ALIASES:
            # They are in the archive by now, and are looked for there.
            loading.aliases = None
    _know(loading, chunk.staged, known)


def _know(loading: Loading, staged: Sequence[Staged], known: Mapping[UUID, UUID]) -> None:
    loading.messages.add((row.row, settled_id(row, known) if known else row.id) for row in staged)


# Beside the messages --------------------------------------------------------------------------------------------


async def _load_beside(loading: Loading, backup: Backup) -> dict[str, Any]:
    """What the source has in other tables; what became of the rows of each table, that of messages too."""
    async with loading.database.transaction(loading.account.tenant_id) as tx:
        lanes = await store.lanes_of(tx, loading.run.id)
    tables: dict[str, Any] = {"message": _messages_accounted(lanes)}
    tables.update({name: _NO_ROWS for name in loading.left_out.rows if name != "message"})
    if isinstance(backup, HasSides):
        tables.update(await loading.in_worker(_look_up, backup, loading.outcomes))
    else:
        return tables
    newest = store.newest_of(lanes, loading.left_out) or loading.run.started_at
    beside = LoadingSides(
        writing=loading.writing,
        import_id=loading.run.id,
        # A clock that was wrong on one phone must not make all later backups old.
        as_of=min(newest, loading.now()),
        names=Names(
            account_id=loading.account.id, message=loading.messages.get, people=loading.people, chats=loading.chats
        ),
        in_worker=loading.in_worker,
        now=loading.now,
        erased=loading.erased,
    )
    done = await load_sides(beside, await loading.in_worker(backup.sides))
    for name, each in done.items():
        tables[name] = {
            "seen": each.rows_done,
            "new": each.rows_new,
            "changed": each.rows_changed,
            "unchanged": each.rows_unchanged,
            "skipped": each.skipped,
        }
    loading.manifest["unread"] = dict(await loading.in_worker(backup.unread))
    for name, count in loading.left_out.rows.items():
        table = tables[name]
        tables[name] = {**table, "seen": table["seen"] + count, "unchanged": table["unchanged"] + count}
    return tables


_NO_ROWS = {"seen": 0, "new": 0, "changed": 0, "unchanged": 0, "skipped": {}}


def _look_up(backup: HasSides, outcomes: Outcomes) -> dict[str, dict[str, Any]]:
    return accounted(backup.lookups(), outcomes)


def _messages_accounted(lanes: Sequence[store.Lane]) -> dict[str, Any]:
    skipped: Counter[str] = Counter()
    for lane in lanes:
        skipped.update({**lane.skipped, **({"repeated": lane.messages_repeated} if lane.messages_repeated else {})})
    seen = sum(lane.rows_done for lane in lanes)
    new, changed = sum(lane.messages_new for lane in lanes), sum(lane.messages_changed for lane in lanes)
    unchanged = seen - new - changed - skipped.total()
    return {"seen": seen, "new": new, "changed": changed, "unchanged": unchanged, "skipped": dict(skipped)}


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]
