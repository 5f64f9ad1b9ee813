"""What a store holds beside its messages arrives, once, whole and accounted for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from vault_importer import load_backup, load_sides
from vault_importer.load_backup import Progress

pytestmark = pytest.mark.real

TARGETS = ("message_media", "message_quote", "message_mention", "message_add_on", "message_reaction",
           "message_poll_option", "message_poll_vote", "message_receipt", "message_detail")  # fmt: skip
LATER = "INSERT INTO message (_id, chat_row_id, from_me, key_id, timestamp, message_type, text_data) VALUES" \
    " (9000, 148, 1, 'LATER', 1710000000000, 0, 'Later')"  # fmt: skip


def adds_up(table: dict[str, Any]) -> bool:
    taken = table["new"] + table["changed"] + table["unchanged"]
    return bool(table["seen"] == taken + sum(table["skipped"].values()))


async def _contents(vault: Any) -> dict[str, list[dict[str, Any]]]:
    return {table: await vault.rows(f"SELECT * FROM {table} ORDER BY {table}::text") for table in TARGETS}


async def _of(vault: Any, table: str, key_id: str) -> list[dict[str, Any]]:
    """Rows of a table that belong to the message with this key id, people by their number."""
    rows = await vault.rows(
        f"SELECT t.*, c.number FROM {table} t JOIN message m ON m.id = t.message_id LEFT JOIN contact c"
        f" ON c.id::text = (to_jsonb(t) ->> 'contact_id') WHERE m.key_id = $1 ORDER BY t::text",
        key_id,
    )
    return list(rows)


async def test_media_come_with_their_hash_and_whichever_size_is_there(vault: Any, stores: Any) -> None:
    await vault.import_(stores.beside())
    [media] = await _of(vault, "message_media", "PHOTO1")
    assert (media["mime_type"], media["bytes"], media["width"], media["height"]) == ("image/jpeg", 1234, 640, 480)
    assert (media["caption"], media["name"]) == ("The bill", "IMG-1.jpg")
    assert (media["file_hash"], media["file_path"]) == (
        "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
        "Media/WhatsApp Images/IMG-1.jpg",
    )


async def test_a_quote_names_the_message_that_it_quotes(vault: Any, stores: Any) -> None:
    await vault.import_(stores.beside())
    [photo] = await vault.rows("SELECT id FROM message WHERE key_id = 'PHOTO1'")
    [reply] = await _of(vault, "message_quote", "REPLY1")
    assert (reply["quoted_message_id"], reply["text"], reply["of_status"]) == (photo["id"], "The bill", False)
    [notice] = await vault.rows("SELECT id FROM message WHERE raw_kind = 7")
    [own] = await _of(vault, "message_quote", "GROUPMSG99999")
    assert (own["quoted_message_id"], own["quoted_from_me"], own["quoted_contact_id"]) == (notice["id"], True, None)
    [status] = await _of(vault, "message_quote", "STATUSREPLY1")
    assert (status["quoted_message_id"], status["quoted_key_id"], status["of_status"]) == (None, "GONE", True)


async def test_a_quote_finds_its_message_when_a_later_backup_brings_it(vault: Any, stores: Any) -> None:
    gone = "INSERT INTO message (_id, chat_row_id, from_me, key_id, sender_jid_row_id, timestamp, message_type)" \
        " VALUES (8010, 19, 0, 'GONE', 300, 1700000000500, 1)"  # fmt: skip
    await vault.import_(stores.beside())
    run = await vault.import_(stores.beside(gone, LATER))
    assert run.manifest["tables"]["message_quoted"]["changed"] == 1
    [status] = await _of(vault, "message_quote", "STATUSREPLY1")
    assert [{"id": status["quoted_message_id"]}] == await vault.rows("SELECT id FROM message WHERE key_id = 'GONE'")


async def test_mentions_name_people_and_groups(vault: Any, stores: Any) -> None:
    await vault.import_(stores.beside())
    person, group = sorted(await _of(vault, "message_mention", "REPLY1"), key=lambda each: each["item"])
    assert (person["address"], person["name"]) == ("919847000010@s.whatsapp.net", "Reception desk")
    assert person["mentioned_contact_id"] is not None
    assert (group["address"], group["mentioned_contact_id"]) == ("120363000000000001@g.us", None)


async def test_reactions_are_kept_with_who_reacted_and_what_was_taken_back(vault: Any, stores: Any) -> None:
    await vault.import_(stores.beside())
    [group] = await _of(vault, "message_reaction", "GROUPMSG99999")
    assert (group["reaction"], group["number"]) == ("👍", "+919847000010")
    [ours] = await _of(vault, "message_reaction", "PHOTO1")
    assert (ours["reaction"], ours["contact_id"].int) == ("", 0)
    [peer] = await vault.rows("SELECT id FROM contact WHERE jid = '11111@s.whatsapp.net'")
    [direct] = await _of(vault, "message_reaction", "STATUSREPLY1")
    assert (direct["reaction"], direct["contact_id"]) == ("❤", peer["id"])


async def test_a_reaction_that_is_replaced_stays_in_the_history(vault: Any, stores: Any) -> None:
    await vault.import_(stores.beside())
    again = "UPDATE message_add_on_reaction SET reaction = '😡', sender_timestamp = 1700000099000" \
        " WHERE message_add_on_row_id = 1"  # fmt: skip
    await vault.import_(stores.beside(again))
    kept = sorted(await _of(vault, "message_reaction", "GROUPMSG99999"), key=lambda each: each["reacted_at"])
    assert [each["reaction"] for each in kept] == ["👍", "😡"]


async def test_a_poll_has_its_options_and_who_chose_which(vault: Any, stores: Any) -> None:
    await vault.import_(stores.beside())
    options = sorted(await _of(vault, "message_poll_option", "POLL1"), key=lambda each: each["item"])
    assert [(each["name"], each["votes"]) for each in options] == [("Monday", 0), ("Tuesday", 1)]
    [vote] = await _of(vault, "message_poll_vote", "POLL1")
    assert (vote["item"], vote["number"], vote["voted_at"].timestamp()) == ("1", "+919847000010", 1700000013.5)


async def test_receipts_say_when_each_person_got_and_read_it(vault: Any, stores: Any) -> None:
    run = await vault.import_(stores.beside())
    receipts = {each["number"]: each for each in await _of(vault, "message_receipt", "GROUPMSG99999")}
    assert receipts["+919847000010"]["read_at"].timestamp() == 1700000021
    # Named by the hidden identity, known by the number.
    assert (receipts["+919847000011"]["read_at"], receipts["+919847000011"]["played_at"]) == (None, None)
    skipped = run.manifest["tables"]["receipt_user"]["skipped"]
    assert skipped == {"no_message": 1, "no_jid": 1}


@pytest.mark.parametrize(
    ("key_id", "source", "columns"),
    [
        ("CARD1", "message_vcard", [{"vcard": "BEGIN:VCARD"}, {"vcard": "BEGIN:VCARD 2"}]),
        ("CARD1", "message_product", [{"business_owner_jid": 300, "title": "Cement", "amount_1000": 380000,
                                       "currency_code": "INR", "picture": {"bytes": 9000}}]),
        ("EVENT1", "message_event", [{"name": "Opening", "start_time": 1700900000000, "order": 3}]),
        ("EVENT1", "message_add_on_event_response", [{"response": 1}]),
        ("PHOTO1", "message_add_on_pin_in_chat", [{"type": 1, "duration": 604800}]),
        ("POLL1", "message_poll", [{"enc_key": {"base64": "AP8="}, "selectable_options_count": 1}]),
        ("REPLY1", "message_ephemeral", [{"duration": 86400, "expire_timestamp": 1700086402000}]),
        ("REPLY1", "message_link", [{"link_index": 0}]),
        ("GROUPMSG99999", "message_forwarded", [{"forward_score": 1}]),
        ("GROUPMSG99999", "message_edit_info", [{"original_key_id": "GROUPMSG99999OLD",
                                                 "edited_timestamp": 1661417955000,
                                                 "sender_timestamp": 1661417999999}]),
        ("GROUPMSG00100", "message_system", [{"action_type": 12}]),
        ("GROUPMSG00100", "message_system_chat_participant", [{"user_jid": "00000@s.whatsapp.net"}]),
    ],
)  # fmt: skip
async def test_other_rows_of_a_message_are_kept_with_their_columns(
    vault: Any, stores: Any, key_id: str, source: str, columns: list[dict[str, Any]]
) -> None:
    await vault.import_(stores.beside())
    found = [each for each in await _of(vault, "message_detail", key_id) if each["source"] == source]
    assert [json.loads(each["columns"]) for each in sorted(found, key=lambda each: each["item"])] == columns


async def test_rows_that_name_another_message_name_it_by_the_vaults_id(vault: Any, stores: Any) -> None:
    await vault.import_(stores.beside())
    ids = {each["key_id"]: str(each["id"]) for each in await vault.rows("SELECT key_id, id FROM message")}
    [album] = [each for each in await _of(vault, "message_detail", "PHOTO1") if each["source"] == "message_association"]
    assert json.loads(album["columns"]) == {"association_type": 2, "parent_message_id": ids["REPLY1"]}


async def test_an_add_on_that_nobody_has_explained_keeps_its_code(vault: Any, stores: Any) -> None:
    await vault.import_(stores.beside())
    assert {each["raw_kind"] for each in await _of(vault, "message_add_on", "PHOTO1")} == {56, 79, 250}


async def test_another_backup_of_the_same_rows_changes_nothing(vault: Any, stores: Any) -> None:
    await vault.import_(stores.beside())
    before = await _contents(vault)
    run = await vault.import_(stores.beside(LATER))
    assert await _contents(vault) == before
    beside = {name: each for name, each in run.manifest["tables"].items() if name != "message"}
    assert all((each["new"], each["changed"]) == (0, 0) for each in beside.values())


async def test_an_older_backup_that_comes_late_does_not_undo_a_change(vault: Any, stores: Any) -> None:
    await vault.import_(stores.beside(LATER, "UPDATE message_media SET file_path = 'Media/moved.jpg'"))
    await vault.import_(stores.beside())
    [media] = await _of(vault, "message_media", "PHOTO1")
    assert media["file_path"] == "Media/moved.jpg"


async def test_a_phone_with_a_wrong_clock_does_not_make_later_backups_old(vault: Any, stores: Any) -> None:
    wrong = "UPDATE message SET timestamp = 4000000000000 WHERE _id = 8004"
    await vault.import_(stores.beside(wrong), now=lambda: datetime(2023, 11, 1, tzinfo=UTC))
    run = await vault.import_(stores.beside("UPDATE message_media SET file_path = 'Media/moved.jpg'"))
    assert run.manifest["tables"]["message_media"]["changed"] == 1


async def test_a_store_without_messages_is_taken_and_accounted_for(vault: Any, stores: Any) -> None:
    run = await vault.import_(stores.beside("DELETE FROM message"))
    assert run.manifest["tables"]["call_log"]["new"] == 2
    assert run.manifest["tables"]["receipt_user"]["skipped"] == {"no_message": 3, "no_jid": 1}
    assert run.manifest["unread"]["wa_nobody_knows"] == 2


@pytest.mark.parametrize("changes", [(), ("DELETE FROM message WHERE _id = 8001",), (
    "UPDATE message_media SET file_size = 'big', mime_type = x'ff00'",
    "UPDATE receipt_user SET message_row_id = 'x', read_timestamp = 1.5",
    "UPDATE message_add_on_reaction SET sender_timestamp = 99999999999999999, reaction = char(0) || 'x'",
    "UPDATE message_event SET name = 9e999, start_time = x'00'",
    "UPDATE message_add_on SET timestamp = 'never', key_id = NULL",
)])  # fmt: skip
async def test_every_row_of_every_table_is_accounted_for(vault: Any, stores: Any, changes: tuple[str, ...]) -> None:
    path = stores.beside(*changes)
    run = await vault.import_(path)
    tables = run.manifest["tables"]
    assert [name for name, table in tables.items() if not adds_up(table)] == []
    assert len(tables) > 20
    assert (run.manifest["unread"]["wa_nobody_knows"], run.manifest["unread"]["message_thumbnail"]) == (2, 1)


class _Interrupted(Exception):
    pass


async def test_an_interrupted_import_continues_in_the_table_where_it_stopped(
    vault: Any, stores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_backup, "MESSAGES_PER_CHUNK", 3)
    monkeypatch.setattr(load_sides, "ROWS_PER_CHUNK", 2)
    merge = load_sides.merge_rows
    calls = 0

    async def interrupted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise _Interrupted
        return await merge(*arguments, **named)

    whole = await _whole(vault, stores)
    path = stores.beside(LATER, "UPDATE message_media SET media_caption = 'Another'")
    monkeypatch.setattr(load_sides, "merge_rows", interrupted)
    with pytest.raises(_Interrupted):
        await vault.import_(path)
    shown: list[Progress] = []
    run = await vault.import_(path, progress=shown.append)
    assert all(adds_up(table) for table in run.manifest["tables"].values())
    seen = {name: table["seen"] for name, table in run.manifest["tables"].items() if name != "message"}
    assert seen == {name: table["seen"] for name, table in whole.items() if name != "message"}
    assert run.manifest["tables"]["message_media"]["changed"] == 1


async def _whole(vault: Any, stores: Any) -> dict[str, Any]:
    tables: dict[str, Any] = (await vault.import_(stores.beside())).manifest["tables"]
    return tables
