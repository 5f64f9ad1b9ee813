"""Accounts, imports and the archive in Postgres."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from kit.postgres import Database, Transaction, load_queries
from vault_importer.accounts import Account
from vault_importer.archive import Chat, Person, Staged
from vault_importer.formats.base import Alias, ChatKind, LeftOut, SourceChat

__all__ = ["Advance", "ImportRun", "Lane", "Merged", "alone_with_account", "import_run", "newest_of"]

Q = load_queries("vault_importer")

STAGED_COLUMNS = list(Staged._fields[: Staged._fields.index("chat")])


@asynccontextmanager
async def alone_with_account(database: Database, account_id: UUID) -> AsyncIterator[bool]:
    """Whether no other process is at work on this account's backups; none begins until the block, or we, have ended."""
    connection = await database.dedicated("import")
    try:
        yield bool(await connection.fetchval(Q.try_to_be_alone, str(account_id)))
    finally:
        await connection.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportRun:
    id: UUID
    account_id: UUID
    file_name: str
    file_sha256: str
    file_bytes: int
    format: str
    state: str
    started_at: datetime
    finished_at: datetime | None
    messages_seen: int
    messages_new: int
    messages_changed: int
    contacts_seen: int
    chats_seen: int
    newest_message_at: datetime | None
    manifest: dict[str, Any]
    error: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    new: int
    changed: int
    written: Mapping[str, bool] = field(default_factory=dict)
    """Of people and chats: the addresses that were written, and whether they are new."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """How far one part of an import has come."""

    lane: int
    rows_done: int = 0
    messages_seen: int = 0
    messages_new: int = 0
    messages_changed: int = 0
    messages_repeated: int = 0
    skipped: Mapping[str, int]
    newest_message_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Advance:
    """One chunk of messages, done."""

    rows: int
    seen: int
    new: int
    changed: int
    repeated: int
    skipped: Mapping[str, int]
    """Of the whole lane."""
    newest_message_at: datetime | None


def _account(row: Any) -> Account:
    return Account(**dict(row))


def import_run(row: Any) -> ImportRun:
    values = {name: row[name] for name in ImportRun.__dataclass_fields__}
    return ImportRun(**{**values, "manifest": json.loads(row["manifest"])})


async def find_account(tx: Transaction, account_id: UUID) -> Account | None:
    """By id alone: needs a system transaction."""
    row = await tx.fetchrow(Q.find_account, account_id)
    return _account(row) if row else None


async def all_accounts(tx: Transaction) -> list[Account]:
    """Needs a system transaction."""
    return [_account(row) for row in await tx.fetch(Q.all_accounts)]


async def account_id_by_name(tx: Transaction, name: str) -> UUID | None:
    found: UUID | None = await tx.fetchval(Q.account_id_by_name, name)
    return found


async def put_account(tx: Transaction, account: Account) -> None:
    await tx.fetchval(Q.put_account, account.tenant_id, account.id, account.name, account.number, account.sealed_key)


async def put_tenant_profile(tx: Transaction, *, version: int, name: str, timezone: str) -> None:
    await tx.execute(Q.put_tenant_profile, tx.tenant, version, name, timezone)


async def tenant_zone(tx: Transaction) -> str | None:
    """As the directory told it; nothing when it has not yet."""
    found: str | None = await tx.fetchval(Q.tenant_zone, tx.tenant)
    return found


async def forget_tenant_profile(tx: Transaction) -> None:
    await tx.execute(Q.forget_tenant_profile, tx.tenant)


async def last_import_of_file(tx: Transaction, account_id: UUID, file_sha256: str) -> ImportRun | None:
    row = await tx.fetchrow(Q.last_import_of_file, account_id, file_sha256)
    return import_run(row) if row else None


async def add_import(tx: Transaction, run: ImportRun) -> None:
    await tx.execute(
        Q.add_import,
        tx.tenant,
        run.id,
        run.account_id,
        run.file_name,
        run.file_sha256,
        run.file_bytes,
        run.state,
        run.started_at,
        run.finished_at,
        run.newest_message_at,
        run.format,
        json.dumps(run.manifest),
    )


async def add_lanes(tx: Transaction, import_id: UUID, lanes: int) -> None:
    await tx.execute(Q.add_lanes, tx.tenant, import_id, lanes)


async def lanes_of(tx: Transaction, import_id: UUID) -> list[Lane]:
    return [Lane(**{**dict(row), "skipped": json.loads(row["skipped"])}) for row in await tx.fetch(Q.lanes, import_id)]


async def advance_lane(tx: Transaction, import_id: UUID, lane: int, rows_before: int, step: Advance) -> bool:
    """Whether the lane was where we left it; if not, another process works on it."""
    moved = await tx.fetchval(
        Q.advance_lane,
        import_id,
        lane,
        rows_before,
        rows_before + step.rows,
        step.seen,
        step.new,
        step.changed,
        step.repeated,
        json.dumps(step.skipped),
        step.newest_message_at,
    )
    return moved is not None


async def note_step(
    tx: Transaction, import_id: UUID, *, contacts: int, chats: int, manifest: Mapping[str, Any], format_name: str
) -> None:
    await tx.execute(Q.note_step, import_id, contacts, chats, json.dumps(manifest), format_name)


async def finish_import(
    tx: Transaction,
    import_id: UUID,
    *,
    state: str,
    at: datetime,
    error: str | None,
    manifest: Mapping[str, Any],
    left_out: LeftOut | None = None,
) -> ImportRun | None:
    """Sum up the lanes, and what they had not to read, and end the import; nothing when it has ended before."""
    lanes = await lanes_of(tx, import_id)
    skipped: Counter[str] = Counter()
    for lane in lanes:
        skipped.update(lane.skipped)
    figures = {"skipped": dict(skipped), "repeated": sum(lane.messages_repeated for lane in lanes)}
    row = await tx.fetchrow(
        Q.finish_import,
        import_id,
        state,
        at,
        error,
        json.dumps({**manifest, "messages": figures}),
        sum(lane.messages_seen for lane in lanes) + (left_out.rows.get("message", 0) if left_out else 0),
        sum(lane.messages_new for lane in lanes),
        sum(lane.messages_changed for lane in lanes),
        newest_of(lanes, left_out),
    )
    return import_run(row) if row else None


def newest_of(lanes: Sequence[Lane], left_out: LeftOut | None) -> datetime | None:
    """When the newest message of a backup was sent, whether it was read or not."""
    times = [lane.newest_message_at for lane in lanes if lane.newest_message_at]
    if left_out and left_out.newest_ms:
        times.append(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=left_out.newest_ms))
    return max(times, default=None)


async def note_newest_message(tx: Transaction, account_id: UUID, newest: datetime | None) -> datetime | None:
    found: datetime | None = await tx.fetchval(Q.note_newest_message, account_id, newest)
    return found


async def list_imports(tx: Transaction, limit: int) -> list[ImportRun]:
    return [import_run(row) for row in await tx.fetch(Q.list_imports, limit)]


async def known_aliases(tx: Transaction) -> dict[str, str]:
    return {row["lid"]: row["jid"] for row in await tx.fetch(Q.known_aliases)}


async def identities(tx: Transaction, address: str | None, limit: int) -> list[dict[str, Any]]:
    """Pairs of a hidden identity and a numbered one, all or those of one address, with the source of each and how far
    it is trusted, from 0 to 100."""
    return [dict(row) for row in await tx.fetch(Q.identities, address, limit)]


async def add_aliases(
    tx: Transaction,
    aliases: Sequence[Alias],
    numbers: Mapping[str, str | None],
    *,
    account_id: UUID,
    import_id: UUID,
    at: datetime,
) -> list[Any]:
    """Keep pairs of identities, and let people and chats that were known by the hidden one have the other; the pairs
    that are new, as they stand in the archive."""
    lids, jids = [a.lid for a in aliases], [a.jid for a in aliases]
    added: list[Any] = await tx.fetch(Q.add_aliases, tx.tenant, lids, jids, [a.source for a in aliases], import_id, at)
    # Of two hidden identities with one number the first takes it; the other stays a person of its own.
    first = {alias.jid: alias.lid for alias in reversed(aliases)}
    await tx.execute(Q.rename_contacts, list(first.values()), list(first), [numbers.get(jid) for jid in first])
    await tx.execute(Q.number_twins, lids, jids, [numbers.get(jid) for jid in jids])
    await tx.execute(Q.rename_chats, account_id, list(first.values()), list(first))
    return added


async def merge_contacts(
    tx: Transaction, people: Sequence[tuple[UUID, str, str | None, str, int]], *, import_id: UUID
) -> Merged:
    """``people`` are id if new, address, number, name and the name's rank; an address once only."""
    await tx.execute(Q.probe_by_index)
    columns = [list(column) for column in zip(*people, strict=True)]
    return _merged(await tx.fetch(Q.merge_contacts, tx.tenant, *columns, import_id))


async def people(tx: Transaction, jids: Iterable[str]) -> dict[str, Person]:
    asked = list(jids)
    twins = _twins(await tx.fetch(Q.twins_of_people, tx.tenant, asked))
    return {
        row["jid"]: Person(id=row["id"], number=row["number"], name=row["name"], twins=tuple(twins.get(row["jid"], ())))
        for row in await tx.fetch(Q.people, tx.tenant, asked)
    }


def _twins(rows: Iterable[Any]) -> Mapping[str, list[UUID]]:
    twins: dict[str, list[UUID]] = {}
    for row in rows:
        twins.setdefault(row["jid"], []).append(row["id"])
    return twins


async def merge_chats(
    tx: Transaction, chats: Sequence[tuple[UUID, SourceChat, Person | None]], *, account_id: UUID, import_id: UUID
) -> Merged:
    """``chats`` are id if new, the chat and the other side of a direct one; an address once only."""
    await tx.execute(Q.probe_by_index)
    rows = [(id_, chat.jid, chat.kind, chat.name, peer.id if peer else None) for id_, chat, peer in chats]
    columns = [list(column) for column in zip(*rows, strict=True)]
    return _merged(await tx.fetch(Q.merge_chats, tx.tenant, account_id, *columns, import_id))


def _merged(rows: Sequence[Any]) -> Merged:
    written = {row["jid"]: row["is_new"] for row in rows}
    new = sum(written.values())
    return Merged(new=new, changed=len(rows) - new, written=written)


async def chats(
    tx: Transaction, account_id: UUID, people_by_jid: Mapping[str, Person], jids: list[str]
) -> dict[str, Chat]:
    rows = await tx.fetch(Q.chats_by_jid, tx.tenant, account_id, jids)
    twins = _twins(await tx.fetch(Q.twins_of_chats, tx.tenant, account_id, jids))
    found = {}
    for row in rows:
        kind: ChatKind = row["kind"]
        peer = people_by_jid.get(row["jid"]) if kind == "direct" else None
        name = row["name"] or (peer.name if peer else "")
        same = tuple(twins.get(row["jid"], ()))
        found[row["jid"]] = Chat(id=row["id"], kind=kind, name=name, peer=peer, twins=same)
    return found


async def message_aliases(tx: Transaction, most: int) -> dict[UUID, UUID] | None:
    """Every key that is not simply its message's id; nothing when there are more than can be kept in mind."""
    rows = await tx.fetch(Q.message_aliases, tx.tenant, most + 1)
    return {row["key_hash"]: row["message_id"] for row in rows} if len(rows) <= most else None


async def known_keys(
    tx: Transaction, staged: Sequence[Staged], aliases: Mapping[UUID, UUID] | None
) -> dict[UUID, UUID]:
    """Ids of messages in the vault by those keys that are not simply their id. ``aliases`` are all that there are,
    when they are known."""
    several = [key for row in staged if row.other_keys or row.twin_keys for key in row.every_key]
    await tx.execute(Q.probe_by_index)
    if aliases is not None:
        rows = await tx.fetch(Q.known_keys, tx.tenant, [], several) if several else []
        found = {row["key_hash"]: row["message_id"] for row in rows}
        every = (key for row in staged for key in row.every_key)
        return {**found, **{key: aliases[key] for key in every if key in aliases}}
    keys = several + [row.id for row in staged if not (row.other_keys or row.twin_keys)]
    rows = await tx.fetch(Q.known_keys, tx.tenant, keys, several)
    # An alias says more than a key that happens to be an id as well, and comes first.
    return {row["key_hash"]: row["message_id"] for row in reversed(rows)}


async def keys_in_vault(tx: Transaction, keys: Sequence[UUID]) -> dict[UUID, UUID]:
    """Those of some keys under which the vault knows a message, with its id."""
    await tx.execute(Q.probe_by_index)
    rows = await tx.fetch(Q.known_keys, tx.tenant, keys, keys)
    return {row["key_hash"]: row["message_id"] for row in reversed(rows)}


async def merge_messages(
    tx: Transaction, staged: Sequence[Staged], *, import_id: UUID, at: datetime
) -> dict[UUID, int]:
    """Add what is new, change what says something else; the revision of each message that was written."""
    await tx.execute(f"{Q.prepare_staging};\n{Q.probe_by_index}")
    width = len(STAGED_COLUMNS)
    await tx.copy_records_to_table("staged_message", records=[row[:width] for row in staged], columns=STAGED_COLUMNS)
    written = {row["id"]: 1 for row in await tx.fetch(Q.add_messages, tx.tenant, import_id)}
    if len(written) < len(staged):
        changed = await tx.fetch(Q.change_messages, tx.tenant, import_id, at)
        written.update((row["id"], row["revision"]) for row in changed)
    keys = [(key, row.id) for row in staged for key in row.other_keys]
    if keys:
        await tx.execute(Q.add_message_aliases, tx.tenant, *[list(column) for column in zip(*keys, strict=True)])
    return written


async def page_of_messages(
    tx: Transaction, chat_id: UUID, *, before: tuple[datetime, UUID], limit: int
) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.page_of_messages, tx.tenant, chat_id, *before, limit)]


async def list_chats(tx: Transaction, limit: int) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.list_chats, limit)]


async def messages_of_period(
    tx: Transaction, *, after: tuple[datetime, UUID], before: datetime, limit: int
) -> list[dict[str, Any]]:
    """A page of messages as their events tell them, in the order of when they were sent."""
    return [dict(row) for row in await tx.fetch(Q.messages_of_period, tx.tenant, *after, before, limit)]
