"""What a backup has as the one before it had it is not read, and nothing else is left out."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from vault_importer import load_backup, store
from vault_importer.accounts import Account
from vault_importer.erasure.case import SuppressionKey
from vault_importer.erasure.suppression_store import lift, suppress
from vault_importer.formats.msgstore import ModernMsgstore
from vault_importer.load_backup import Progress
from vault_importer.samples import SampleOptions, write_msgstore

MESSAGES = 2_100
OLD = 700
"""A message of a part that is left out when nothing is different."""
NEW = (
    "INSERT INTO message (_id, chat_row_id, from_me, key_id, sender_jid_row_id, timestamp, message_type, text_data)"
    " SELECT _id + 5000, chat_row_id, from_me, 'N' || key_id, sender_jid_row_id, timestamp + 9000000000, 0, 'Later'"
    " FROM message WHERE _id BETWEEN 900 AND 999"
)
TOUCHED = "UPDATE message SET text_data = 'Touched' WHERE _id % 10 = 3 AND _id > 520"
OTHERWISE = {
    "message": (NEW,),
    "edit": (
        f"INSERT OR REPLACE INTO message_edit_info SELECT _id, key_id, timestamp + 9, timestamp + 9 FROM message"
        f" WHERE _id = {OLD}",
        f"UPDATE message SET key_id = 'EDITED', text_data = 'Changed my mind' WHERE _id = {OLD}",
    ),
    "revocation": (
        "INSERT OR REPLACE INTO message_revoked SELECT _id, key_id, NULL, timestamp + 9 FROM message"
        f" WHERE _id = {OLD}",
        f"UPDATE message SET key_id = 'REVOKED', text_data = NULL, message_type = 15 WHERE _id = {OLD}",
    ),
    "reaction": (
        "INSERT INTO message_add_on (_id, chat_row_id, from_me, key_id, sender_jid_row_id, parent_message_row_id,"
        f" timestamp, message_add_on_type) SELECT 9000, chat_row_id, 1, 'R', -1, _id, timestamp, 56 FROM message"
        f" WHERE _id = {OLD}",
        "INSERT INTO message_add_on_reaction (message_add_on_row_id, reaction, sender_timestamp)"
        " VALUES (9000, 'ok', 1767600000000)",
    ),
    "receipt": (
        "INSERT INTO receipt_user (message_row_id, receipt_user_jid_row_id, receipt_timestamp)"
        f" VALUES ({OLD}, 1, 1767600000000)",
    ),
    "place": (f"INSERT INTO message_location (message_row_id, place_name) VALUES ({OLD}, 'New Bahari')",),
}


def _store(folder: Path, name: str, changes: Iterable[str] = ()) -> Path:
    path = folder / name
    write_msgstore(path, SampleOptions(messages=MESSAGES))
    with sqlite3.connect(path) as connection:
        for change in (f"CREATE TABLE {name.partition('.')[0]} (x)", *changes):
            connection.execute(change)
    connection.close()
    return path


def _written(run: Any) -> dict[str, int]:
    tables = run.manifest["tables"]
    return {name: each["new"] + each["changed"] for name, each in tables.items() if each["new"] + each["changed"]}


async def _read_whole(vault: Any, folder: Path, changes: Iterable[str]) -> Any:
    """The same once more, by an importer that remembers nothing."""
    async with vault.database.transaction(vault.tenant) as tx:
        await tx.execute("DELETE FROM import_memory")
    run = await vault.import_(_store(folder, "whole.db", changes))
    assert "as_before" not in run.manifest
    return run


@pytest.mark.real
@pytest.mark.parametrize("what", OTHERWISE)
async def test_what_is_different_is_found_wherever_it_is(vault: Any, tmp_path: Path, what: str) -> None:
    changes = OTHERWISE[what]
    first = await vault.import_(_store(tmp_path, "first.db"))
    run = await vault.import_(_store(tmp_path, "second.db", changes))
    assert run.manifest["as_before"]["message"] > 500
    assert _written(run)
    new = 100 if what == "message" else 0
    assert (run.messages_seen, run.messages_new) == (MESSAGES + new, new)
    assert run.newest_message_at >= first.newest_message_at
    assert _written(await _read_whole(vault, tmp_path, changes)) == {}


@pytest.mark.real
async def test_a_backup_with_nothing_different_is_all_but_left_out(vault: Any, tmp_path: Path) -> None:
    first = await vault.import_(_store(tmp_path, "first.db"))
    shown: list[Progress] = []
    run = await vault.import_(_store(tmp_path, "second.db"), progress=shown.append)
    # But for the part with the row that every store begins with and nobody can keep.
    assert run.manifest["as_before"]["message"] > MESSAGES - 520
    assert (run.messages_seen, run.newest_message_at) == (first.messages_seen, first.newest_message_at)
    assert (_written(run), run.manifest["messages"]) == ({}, first.manifest["messages"])
    assert (shown[-1].done, shown[-1].total) == (MESSAGES + 1, MESSAGES + 1)
    seen = [{name: each["seen"] for name, each in each.manifest["tables"].items()} for each in (first, run)]
    assert seen[0] == seen[1]


@pytest.mark.real
async def test_a_message_that_a_new_row_names_is_found_among_those_left_out(vault: Any, tmp_path: Path) -> None:
    table = "CREATE TABLE message_follows (message_row_id INTEGER PRIMARY KEY, earlier_message_row_id INTEGER)"
    await vault.import_(_store(tmp_path, "first.db", [table]))
    follows = (table, NEW, f"INSERT INTO message_follows VALUES (5950, {OLD})")
    run = await vault.import_(_store(tmp_path, "second.db", follows))
    assert run.manifest["as_before"]["message"] > 500
    [row] = await vault.rows("SELECT columns FROM message_detail WHERE source = 'message_follows'")
    [named] = await vault.rows("SELECT id FROM message WHERE id = $1::text::uuid", *json.loads(row["columns"]).values())
    assert named
    assert _written(await _read_whole(vault, tmp_path, follows)) == {}


class _Interrupted(Exception):
    pass


def _interrupt_at(chunk: int) -> Any:
    calls = itertools.count(1)

    def interrupt(_: Progress) -> None:
        if next(calls) == chunk:
            raise _Interrupted

    return interrupt


@pytest.mark.real
@pytest.mark.parametrize("chunk", [1, 3])
async def test_an_interrupted_import_goes_on_with_what_it_left_out(
    vault: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(load_backup, "MESSAGES_PER_CHUNK", 100)
    await vault.import_(_store(tmp_path, "first.db"))
    nightly = _store(tmp_path, "nightly.db", [TOUCHED, NEW])
    with pytest.raises(_Interrupted):
        await vault.import_(nightly, progress=_interrupt_at(chunk))
    # Another one comes between: compared with that, less would be read, and what was done already be taken from it.
    await vault.import_(_store(tmp_path, "meanwhile.db", [TOUCHED]))
    run = await vault.import_(nightly)
    assert (run.messages_seen, run.messages_new) == (MESSAGES + 100, 100)
    events = [json.loads(payload) for payload in await vault.events("message.imported")]
    told = [(event["message_id"], event["revision"]) for event in events]
    assert len(told) == len(set(told)) > MESSAGES + 200
    assert _written(await _read_whole(vault, tmp_path, [TOUCHED, NEW])) == {}


@pytest.mark.real
async def test_what_an_unfinished_import_remembers_is_not_relied_on(
    vault: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_backup, "MESSAGES_PER_CHUNK", 100)
    with pytest.raises(_Interrupted):
        await vault.import_(_store(tmp_path, "first.db"), progress=_interrupt_at(2))
    run = await vault.import_(_store(tmp_path, "second.db"))
    assert "as_before" not in run.manifest
    assert (await vault.rows("SELECT count(*) AS n FROM message")) == [{"n": MESSAGES}]


@pytest.mark.real
async def test_an_import_that_began_without_a_memory_goes_on_without(
    vault: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_backup, "MESSAGES_PER_CHUNK", 100)
    nightly = _store(tmp_path, "nightly.db", [NEW])
    with pytest.raises(_Interrupted):
        await vault.import_(nightly, progress=_interrupt_at(2))
    async with vault.database.transaction(vault.tenant) as tx:
        # As one that was begun by an importer of before there was any.
        await tx.execute("DELETE FROM import_memory")
    await vault.import_(_store(tmp_path, "meanwhile.db"))
    run = await vault.import_(nightly)
    assert "as_before" not in run.manifest
    assert _written(await _read_whole(vault, tmp_path, [NEW])) == {}


@pytest.mark.real
async def test_each_account_has_a_memory_of_its_own(vault: Any, tmp_path: Path) -> None:
    await vault.import_(_store(tmp_path, "first.db"))
    other = Account(tenant_id=vault.tenant, id=uuid4(), name="Thrissur office", number=None, sealed_key=None)
    async with vault.database.transaction(vault.tenant) as tx:
        await store.put_account(tx, other)
    first, vault.account = vault.account, other
    assert (await vault.import_(_store(tmp_path, "second.db"))).messages_new == MESSAGES
    vault.account = first
    await vault.import_(_store(tmp_path, "third.db"))
    memories = await vault.rows("SELECT account_id, salt FROM import_memory")
    # One of each: what earlier ones remembered is forgotten.
    assert {row["account_id"] for row in memories} == {first.id, other.id}
    assert len({row["salt"] for row in memories}) == len(memories) == 2


@pytest.mark.real
async def test_who_is_let_in_again_is_looked_for_in_all_of_the_next_backup(vault: Any, tmp_path: Path) -> None:
    key, person = SuppressionKey(key=bytes(32)), "919847001000@s.whatsapp.net"
    erased_id = uuid4()

    async def imported(name: str) -> Any:
        return await vault.import_(_store(tmp_path, name), suppression_key=key)

    async with vault.database.transaction(vault.tenant) as tx:
        await suppress(tx, key, [person], erasure_id=erased_id, until=datetime(2020, 1, 1, tzinfo=UTC))
    first = await imported("first.db")
    assert first.manifest["messages"]["skipped"]["erased"] > 10
    assert "as_before" in (await imported("second.db")).manifest
    async with vault.database.transaction(vault.tenant) as tx:
        await lift(tx, [key.tag(vault.tenant, person)], by="Head office desk")
    again = await imported("third.db")
    assert "as_before" not in again.manifest
    assert again.messages_new == first.manifest["messages"]["skipped"]["erased"]


def test_a_digest_is_that_of_the_rows_and_of_whom_they_name(tmp_path: Path) -> None:
    path = _store(tmp_path, "first.db")
    salt = bytes(32)

    def digests(salt: bytes = salt, **aliases: str) -> dict[int, bytes]:
        known = {f"{lid}@lid": f"{number}@s.whatsapp.net" for lid, number in aliases.items()}
        backup = ModernMsgstore().open(path, address_book=None, known_aliases=known)
        try:
            return dict(backup.digests(salt))  # type: ignore[attr-defined]
        finally:
            backup.close()

    before = digests()
    assert before == digests()
    assert len(before) >= 4
    assert not set(before.values()) & set(digests(bytes([1] * 32)).values())
    with sqlite3.connect(path) as connection:
        # One who writes is known by a hidden identity alone, until a later backup says whose it is.
        connection.execute("DELETE FROM jid_map")
        [[lid]] = connection.execute(
            "SELECT user FROM jid WHERE server = 'lid' AND _id IN (SELECT sender_jid_row_id FROM message) LIMIT 1"
        )
    unknown, known = digests(), digests(**{lid: "919847099999"})
    assert unknown.keys() == known.keys()
    assert unknown != known
