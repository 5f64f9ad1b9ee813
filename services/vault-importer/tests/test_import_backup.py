from __future__ import annotations

import asyncio
import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from vault_importer import load_backup, reading_store, store
from vault_importer.formats.base import Alias
from vault_importer.import_backup import ImportJob, import_backup
from vault_importer.load_backup import ImportBusy, Progress
from vault_importer.reading_store import FIRST, LAST
from vault_importer.refusals import BackupRefused
from vault_importer.samples import SampleOptions, encrypt, write_msgstore

pytestmark = pytest.mark.real

ROOT_KEY = bytes(range(32))
TABLES = ("contact", "chat", "message", "message_alias", "message_revision", "jid_alias")
EDIT = (
    "UPDATE message SET key_id = 'EDITED', text_data = 'Changed my mind' WHERE _id = 750",
    "UPDATE message_edit_info SET original_key_id = 'GROUPMSG99999', edited_timestamp = 1661418000000"
    " WHERE message_row_id = 750",
)
REVOKE = (
    "UPDATE message SET key_id = 'REVOKED', text_data = NULL, message_type = 15 WHERE _id = 750",
    "DELETE FROM message_edit_info",
    "INSERT INTO message_revoked VALUES (750, 'EDITED', NULL, 1661419000000)",
)
WRITTEN = ("DELETE FROM message_edit_info",)


async def _counts(vault: Any) -> dict[str, int]:
    return {table: (await vault.rows(f"SELECT count(*) AS n FROM {table}"))[0]["n"] for table in TABLES}


async def _messages(vault: Any) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in await vault.events("message.imported")]


async def test_the_fixture_arrives_whole(vault: Any, stores: Any) -> None:
    run = await vault.import_(stores.encrypted())
    assert (run.state, run.messages_seen, run.messages_new, run.chats_seen) == ("completed", 4, 4, 2)
    events = {event["raw_kind"]: event for event in await _messages(vault)}
    assert events[7]["kind"] == "system"
    assert events[0]["text"] == "Last group message"
    assert (events[0]["chat_kind"], events[0]["chat_name"], events[0]["direction"]) == ("group", "My Group", "out")
    assert events[15]["revoked"] is True
    [place] = await vault.rows("SELECT * FROM message WHERE raw_kind = 16")
    assert json.loads(place["details"])["place_name"] == "New Bahari"
    [forwarded] = await vault.rows("SELECT * FROM message WHERE raw_kind = 0")
    assert forwarded["forward_score"] == 1
    assert (await _counts(vault))["message_alias"] == 2


async def test_what_a_header_says_of_its_app_cannot_fail_an_import(vault: Any, stores: Any) -> None:
    # Nothing authenticates it, and a changed byte there leaves the backup whole.
    path = stores.encrypted(with_md5=False)
    path.write_bytes(path.read_bytes().replace(b"2.25.1.1", b"2.25\x00\xff\n1"))
    assert (await vault.import_(path)).state == "completed"
    [record] = await vault.rows("SELECT details FROM audit_log WHERE action = 'import.completed'")
    assert json.loads(record["details"])["app_version"] == "2.25???1"


async def test_the_same_file_again_is_unchanged_and_not_even_opened(vault: Any, stores: Any) -> None:
    path = stores.encrypted()
    await vault.import_(path)
    before, events = await _counts(vault), await _messages(vault)
    again = await vault.import_(path, backup_key=None)
    assert again.state == "unchanged"
    assert again.newest_message_at is not None
    assert (await _counts(vault), await _messages(vault)) == (before, events)
    states = [json.loads(payload) for payload in await vault.events("vault.state")]
    assert [state["state"] for state in states] == ["started", "completed", "unchanged"]
    assert states[2]["newest_message_at"] == states[1]["newest_message_at"] is not None
    assert (states[1]["messages_new"], states[1]["messages_seen"], states[1]["chats_seen"]) == (4, 4, 2)


async def test_another_file_with_the_same_messages_adds_nothing(vault: Any, stores: Any) -> None:
    await vault.import_(stores.encrypted())
    before, events = await _counts(vault), await _messages(vault)
    # A new iv makes another file of the same store, as every night does.
    again = await vault.import_(stores.encrypted())
    assert (again.state, again.messages_seen, again.messages_new, again.messages_changed) == ("completed", 4, 0, 0)
    assert (await _counts(vault), await _messages(vault)) == (before, events)


async def test_an_edit_between_two_backups_is_one_message_with_a_second_revision(vault: Any, stores: Any) -> None:
    await vault.import_(stores.encrypted(*WRITTEN))
    run = await vault.import_(stores.encrypted(*EDIT))
    assert (run.messages_new, run.messages_changed) == (0, 1)
    [message] = await vault.rows("SELECT * FROM message WHERE raw_kind = 0")
    assert (message["text"], message["revision"]) == ("Changed my mind", 2)
    [earlier] = await vault.rows("SELECT * FROM message_revision")
    assert (earlier["text"], earlier["revision"], earlier["message_id"]) == ("Last group message", 1, message["id"])
    newest = (await _messages(vault))[-1]
    assert (newest["message_id"], newest["revision"]) == (str(message["id"]), 2)


@pytest.mark.parametrize("kept_in_mind", [300_000, 0])
async def test_a_revocation_after_an_edit_is_the_third_revision_of_the_same_message(
    vault: Any, stores: Any, kept_in_mind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_backup, "MOST_ALIASES", kept_in_mind)
    for changes in (WRITTEN, EDIT, REVOKE):
        await vault.import_(stores.encrypted(*changes))
    messages = await vault.rows("SELECT revision, revoked, text FROM message WHERE chat_id IN (SELECT id FROM chat"
                                " WHERE kind = 'group') AND raw_kind <> 7")  # fmt: skip
    assert messages == [{"revision": 3, "revoked": True, "text": ""}]
    texts = [row["text"] for row in await vault.rows("SELECT text FROM message_revision ORDER BY revision")]
    assert texts == ["Last group message", "Changed my mind"]
    assert [event["revoked"] for event in await _messages(vault)][-1] is True


async def test_an_older_backup_that_comes_late_does_not_bring_an_old_wording_back(vault: Any, stores: Any) -> None:
    await vault.import_(stores.encrypted(*EDIT))
    run = await vault.import_(stores.encrypted(*WRITTEN))
    assert (run.messages_new, run.messages_changed) == (0, 0)
    [message] = await vault.rows("SELECT text FROM message WHERE raw_kind = 0")
    assert message["text"] == "Changed my mind"


async def test_a_chat_that_moves_to_a_hidden_identity_stays_one_chat(vault: Any, stores: Any) -> None:
    hidden = (
        "INSERT INTO jid VALUES (900, '7000', 'lid', 0, 0, 18, '7000@lid')",
        "UPDATE chat SET jid_row_id = 900 WHERE _id = 148",
    )
    mapped = (
        *hidden,
        "CREATE TABLE jid_map (lid_row_id INTEGER PRIMARY KEY, jid_row_id INTEGER)",
        "INSERT INTO jid_map VALUES (900, 252)",
    )
    await vault.import_(stores.encrypted())
    before = await _counts(vault)
    assert (await vault.import_(stores.encrypted(*mapped))).messages_new == 0
    # The mapping is remembered when a later backup has lost it.
    assert (await vault.import_(stores.encrypted(*hidden))).messages_new == 0
    assert {**await _counts(vault), "jid_alias": 0} == before


HIDDEN = (
    "INSERT INTO jid VALUES (900, '7000', 'lid', 0, 0, 18, '7000@lid')",
    "UPDATE chat SET jid_row_id = 900 WHERE _id = 148",
)
MAPPED = (
    *HIDDEN,
    "CREATE TABLE jid_map (lid_row_id INTEGER PRIMARY KEY, jid_row_id INTEGER)",
    "INSERT INTO jid_map VALUES (900, 252)",
)


async def test_messages_known_by_both_identities_come_once_when_it_is_known_that_they_are_one(
    vault: Any, stores: Any
) -> None:
    await vault.import_(stores.encrypted())
    # Nobody can know yet whose identity it is: these are other messages, in another chat.
    later = "UPDATE message SET key_id = 'L' || key_id, timestamp = timestamp + 1 WHERE chat_row_id = 148"
    assert (await vault.import_(stores.encrypted(*HIDDEN, later))).messages_new > 0
    before = await _counts(vault)
    assert (await vault.import_(stores.encrypted(*MAPPED, later))).messages_new == 0
    assert (await vault.import_(stores.encrypted(*MAPPED))).messages_new == 0
    assert (await vault.import_(stores.encrypted(*HIDDEN))).messages_new == 0
    assert (await _counts(vault))["message"] == before["message"]
    numbers = await vault.rows("SELECT DISTINCT number FROM contact WHERE jid LIKE '7000@%' OR id IN"
                               " (SELECT contact_id FROM chat WHERE jid NOT LIKE '%@g.us')")  # fmt: skip
    assert len(numbers) == 1
    await _read_as_one(vault)


async def _read_as_one(vault: Any) -> None:
    """From either chat, all messages of both, a page at a time in both directions; listed is one of them."""
    chats = await vault.rows("SELECT id, contact_id FROM chat WHERE jid LIKE '7000@%' OR id IN"
                             " (SELECT same_chats(tenant_id, id) FROM chat WHERE jid LIKE '7000@%')")  # fmt: skip
    assert len(chats) == 2
    every = await vault.rows("SELECT id FROM message WHERE chat_id = ANY ($1) ORDER BY sent_at, id",
                             [chat["id"] for chat in chats])  # fmt: skip
    async with vault.database.transaction(vault.tenant) as tx:
        for chat in chats:
            seen: list[UUID] = []
            at = FIRST
            while rows := await reading_store.page(tx, chat["id"], at, 1, forward=True):
                seen += [row["id"] for row in rows]
                at = (rows[-1]["sent_at"], rows[-1]["id"])
            assert seen == [row["id"] for row in every]
            newest = await reading_store.page(tx, chat["id"], LAST, 1, forward=False)
            assert [row["id"] for row in newest] == seen[-1:]
        listed = await reading_store.conversations_of(tx, [chat["contact_id"] for chat in chats], before=LAST, limit=10)
    direct = [each for each in listed if each["kind"] == "direct"]
    assert [each["last_message_id"] for each in direct] == [every[-1]["id"]]


async def test_one_who_wrote_in_a_group_under_another_identity_is_known_again(vault: Any, stores: Any) -> None:
    hidden = ("INSERT INTO jid VALUES (900, '7000', 'lid', 0, 0, 18, '7000@lid')",
              "UPDATE message SET sender_jid_row_id = 900 WHERE sender_jid_row_id = 252")  # fmt: skip
    mapped = (*hidden, *MAPPED[2:])
    await vault.import_(stores.encrypted(*hidden))
    wrote = "SELECT FROM message m JOIN contact c ON c.id = m.sender_id WHERE c.jid = '7000@lid'"
    assert await vault.rows(wrote)
    # The number has a chat of its own, so it is a person already.
    assert await vault.rows("SELECT FROM contact WHERE jid = '11111@s.whatsapp.net'")
    assert (await vault.import_(stores.encrypted(*mapped))).messages_new == 0


async def test_a_pair_that_a_better_source_contradicts_joins_nobodys_chats(vault: Any, stores: Any) -> None:
    await vault.import_(stores.encrypted())
    later = "UPDATE message SET key_id = 'L' || key_id, timestamp = timestamp + 1 WHERE chat_row_id = 148"
    run = await vault.import_(stores.encrypted(*HIDDEN, later))
    [chat] = await vault.rows("SELECT id, tenant_id FROM chat WHERE jid = '7000@lid'")
    [other] = await vault.rows("SELECT jid FROM chat WHERE kind = 'direct' AND jid <> '7000@lid' LIMIT 1")
    same = "SELECT same_chats(tenant_id, id) AS id FROM chat WHERE id = $1"
    pairs = ((other["jid"], "vcard", 2), ("919847000099@s.whatsapp.net", "jid_map", 1))
    async with vault.database.transaction(vault.tenant) as tx:
        for jid, source, chats in pairs:
            pair = Alias(lid="7000@lid", jid=jid, source=source)
            at = datetime(2026, 1, 1, tzinfo=UTC)
            await store.add_aliases(tx, [pair], {}, account_id=vault.account.id, import_id=run.id, at=at)
            seen = [] if source == "jid_map" else await tx.fetch(same, chat["id"])
            assert source == "jid_map" or len(seen) == chats
    # The better one gave the chat its number: nothing of it is read with the other's.
    for row in await vault.rows("SELECT id FROM chat WHERE kind = 'direct'"):
        assert len(await vault.rows(same, row["id"])) == 1


async def test_a_number_that_is_known_is_not_forgotten_by_a_file_that_names_nobody(vault: Any, stores: Any) -> None:
    real = "UPDATE jid SET user = '919847001234' WHERE _id = 252"
    await vault.import_(stores.encrypted(real))
    later = "UPDATE message SET key_id = 'L' || key_id, timestamp = timestamp + 1 WHERE chat_row_id = 148"
    await vault.import_(stores.encrypted(real, *HIDDEN, later))
    await vault.import_(stores.encrypted(real, *MAPPED, later))
    numbers = await vault.rows("SELECT jid, number FROM contact ORDER BY jid")
    assert [row["number"] for row in numbers if row["jid"] == "7000@lid"] == ["+919847001234"]
    await vault.import_(stores.encrypted(real, *MAPPED, "DELETE FROM message", "DELETE FROM chat"))
    assert await vault.rows("SELECT jid, number FROM contact ORDER BY jid") == numbers


async def test_keys_that_only_tell_of_twins_are_not_kept(vault: Any, stores: Any) -> None:
    # Of messages that have one key each; what was edited keeps its several ones.
    once = (*WRITTEN, "DELETE FROM message_revoked")
    later = "UPDATE message SET key_id = 'L' || key_id, timestamp = timestamp + 1 WHERE chat_row_id = 148"
    await vault.import_(stores.encrypted(*once))
    await vault.import_(stores.encrypted(*once, *HIDDEN, later))
    before = await _counts(vault)
    assert (await vault.import_(stores.encrypted(*once, *MAPPED, later))).messages_new == 0
    assert (await vault.import_(stores.encrypted(*once, *MAPPED))).messages_new == 0
    after = await _counts(vault)
    assert (after["message"], after["message_alias"]) == (before["message"], 0)


@pytest.mark.parametrize("most", [0, 1])
async def test_more_keys_than_are_kept_in_mind_are_looked_for_in_the_archive(
    vault: Any, stores: Any, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(load_backup, "MOST_ALIASES", most)
    monkeypatch.setattr(load_backup, "MESSAGES_PER_CHUNK", 1)
    await vault.import_(stores.encrypted(*EDIT))
    before = await _counts(vault)
    assert (await vault.import_(stores.encrypted(*REVOKE))).messages_new == 0
    assert (await _counts(vault))["message"] == before["message"]


async def test_of_two_pairs_the_more_trusted_source_counts(vault: Any, stores: Any) -> None:
    run = await vault.import_(stores.encrypted())
    at = datetime(2026, 1, 1, tzinfo=UTC)
    async with vault.database.transaction(vault.tenant) as tx:
        for jid, source, seen in (
            ("919847000001@s.whatsapp.net", "vcard", at),
            ("919847000002@s.whatsapp.net", "jid_map", at + timedelta(days=1)),
            ("919847000003@s.whatsapp.net", "jid_map", at + timedelta(days=2)),
        ):
            pair = Alias(lid="7000@lid", jid=jid, source=source)
            await store.add_aliases(tx, [pair], {}, account_id=vault.account.id, import_id=run.id, at=seen)
        assert await store.known_aliases(tx) == {"7000@lid": "919847000002@s.whatsapp.net"}


async def test_an_identity_whose_number_becomes_known_keeps_its_messages(vault: Any, stores: Any) -> None:
    hidden = (
        "INSERT INTO jid VALUES (900, '919847001234', 'lid', 0, 0, 18, '')",
        "INSERT INTO jid VALUES (901, '919847001234', 's.whatsapp.net', 0, 0, 0, '')",
        "UPDATE chat SET jid_row_id = 900 WHERE _id = 148",
    )
    await vault.import_(stores.encrypted(*hidden))
    known = (*hidden, "CREATE TABLE jid_map (lid_row_id INTEGER PRIMARY KEY, jid_row_id INTEGER)",
             "INSERT INTO jid_map VALUES (900, 901)")  # fmt: skip
    assert (await vault.import_(stores.encrypted(*known))).messages_new == 0
    assert (await vault.rows("SELECT number FROM contact WHERE jid LIKE '9198%'")) == [{"number": "+919847001234"}]


async def test_a_restored_phone_that_holds_a_message_twice_gives_one_message(vault: Any, stores: Any) -> None:
    again = (
        "CREATE TEMPORARY TABLE twice AS SELECT * FROM message WHERE _id = 4863",
        "UPDATE twice SET _id = 9999",
        "INSERT INTO message SELECT * FROM twice",
    )
    run = await vault.import_(stores.encrypted(*again))
    assert (run.messages_new, run.manifest["messages"]["repeated"]) == (4, 1)


async def test_the_manifest_accounts_for_every_row(vault: Any, stores: Any) -> None:
    run = await vault.import_(stores.encrypted("INSERT INTO message (_id, chat_row_id, from_me, key_id) VALUES"
                                               " (1, -1, 0, '-1'), (2, 888, 0, 'LOST')"))  # fmt: skip
    skipped = run.manifest["messages"]["skipped"]
    assert skipped == {"sentinel": 1, "no_chat": 1}
    assert run.messages_seen + sum(skipped.values()) == run.manifest["source_rows"]["message"]


async def test_a_plain_store_needs_no_key(vault: Any, stores: Any) -> None:
    assert (await vault.import_(stores.plain(), backup_key=None)).messages_new == 4


@pytest.mark.parametrize("encrypted", [True, False])
async def test_names_come_from_an_address_book_that_is_given(vault: Any, stores: Any, encrypted: bool) -> None:
    book = stores.plain(
        "UPDATE wa_contacts SET jid = '11111@s.whatsapp.net', display_name = 'Anil' WHERE _id = 181",
        name="wa.db",
        script="wa.sql",
    )
    if encrypted:
        encrypt(book, book.with_name("wa.db.crypt15"), backup_key=ROOT_KEY, long_header=False)
        book = book.with_name("wa.db.crypt15")
    await vault.import_(stores.encrypted(), address_book=book)
    place = next(event for event in await _messages(vault) if event["kind"] == "live_location")
    assert (place["sender_name"], place["chat_name"]) == ("Anil", "Anil")


def _tampered(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


@pytest.mark.parametrize(("harm", "word"), [(_tampered, "tampered"), (_truncated, "truncated")])
async def test_a_harmed_file_leaves_a_failed_import_and_nothing_else(
    vault: Any, stores: Any, harm: Any, word: str
) -> None:
    path = stores.encrypted()
    harm(path)
    with pytest.raises(BackupRefused, match=word):
        await vault.import_(path)
    assert set((await _counts(vault)).values()) == {0}
    assert await _messages(vault) == []
    states = [json.loads(payload) for payload in await vault.events("vault.state")]
    assert [state["state"] for state in states] == ["started", "failed"]
    assert word in states[1]["error"]
    actions = [row["action"] for row in await vault.rows("SELECT action FROM audit_log ORDER BY sequence")]
    assert actions == ["import.started", "import.refused"]
    assert list(vault.temporary.iterdir()) == []


async def test_a_key_that_is_missing_is_said_so(vault: Any, stores: Any) -> None:
    with pytest.raises(BackupRefused, match="--key-file"):
        await vault.import_(stores.encrypted(), backup_key=None)


class _Interrupted(Exception):
    pass


async def test_an_interrupted_import_continues_behind_its_last_chunk(
    vault: Any, stores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_backup, "MESSAGES_PER_CHUNK", 100)
    plain, path = stores.folder / "big.db", stores.folder / "big.crypt15"
    write_msgstore(plain, SampleOptions(messages=950))
    encrypt(plain, path, backup_key=bytes(range(32)))
    calls = itertools.count(1)

    def interrupt(_: Progress) -> None:
        if next(calls) == 4:
            raise _Interrupted

    with pytest.raises(_Interrupted):
        await vault.import_(path, progress=interrupt)
    there = (await _counts(vault))["message"]
    assert 300 < there < 600
    shown: list[Progress] = []
    run = await vault.import_(path, progress=shown.append)
    assert shown[0].done > there
    assert (shown[-1].done, shown[-1].total) == (951, 951)
    assert (run.messages_seen, run.messages_new, run.manifest["messages"]["skipped"]) == (950, 950, {"sentinel": 1})
    events = await _messages(vault)
    assert len(events) == len({event["message_id"] for event in events}) == 950
    states = [json.loads(payload)["state"] for payload in await vault.events("vault.state")]
    assert states == ["started", "completed"]


async def test_events_of_a_chat_leave_in_the_order_in_which_it_was_written(vault: Any, stores: Any) -> None:
    plain = stores.folder / "big.db"
    write_msgstore(plain, SampleOptions(messages=500))
    await vault.import_(plain)
    by_chat: dict[str, list[str]] = {}
    for event in await _messages(vault):
        by_chat.setdefault(event["chat_id"], []).append(event["sent_at"])
    assert len(by_chat) > 10
    assert all(times == sorted(times) for times in by_chat.values())


async def test_two_imports_of_one_file_at_once_never_write_a_message_twice(vault: Any, stores: Any) -> None:
    plain = stores.folder / "big.db"
    write_msgstore(plain, SampleOptions(messages=500))
    outcomes = await asyncio.gather(*(vault.import_(plain) for _ in range(3)), return_exceptions=True)
    assert any(getattr(outcome, "state", "") == "completed" for outcome in outcomes)
    assert all(isinstance(outcome, ImportBusy | RuntimeError) or hasattr(outcome, "state") for outcome in outcomes)
    events = await _messages(vault)
    assert len(events) == len({event["message_id"] for event in events}) == 500


async def test_the_event_loop_lives_while_a_backup_is_imported(vault: Any, stores: Any) -> None:
    plain, path = stores.folder / "big.db", stores.folder / "big.crypt15"
    write_msgstore(plain, SampleOptions(messages=5000))
    encrypt(plain, path, backup_key=bytes(range(32)))
    longest = 0.0
    job = ImportJob(database=vault.database, account=vault.account, path=path, backup_key=bytes(range(32)))
    task = asyncio.ensure_future(import_backup(job))
    loop = asyncio.get_running_loop()
    while not task.done():
        began = loop.time()
        await asyncio.sleep(0)
        longest = max(longest, loop.time() - began)
    await task
    assert longest < 1.0
