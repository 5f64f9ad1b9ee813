"""The next backup carries an erased person again, and nothing of them comes in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from vault_importer.accounts import SealingError
from vault_importer.erasure import decide
from vault_importer.erasure.case import ErasureRefused
from vault_importer.erasure.keep_out import BETWEEN, Erased, KeptOut, digits_of
from vault_importer.erasure.keep_out import FOREVER as FOREVER_MS
from vault_importer.erasure.suppression_store import Suppression
from vault_importer.formats.base import Alias, SideRow, SourceMessage

from .conftest import ADDRESS, KEY, NUMBER, Forgetting
from .test_carry_out import FOR_A_WHILE, found, verified

TENANT = uuid4()
LID = "70000000000310@lid"
FOREVER = datetime.max.replace(tzinfo=UTC)
THEN = datetime(2026, 6, 15, 10, tzinfo=UTC)


def erased(until: datetime = FOREVER, *aliases: Alias) -> Erased:
    known = Suppression(until={KEY.tag(TENANT, ADDRESS): until}, version="")
    return KeptOut.of(known, KEY, TENANT).among([ADDRESS, LID, "919847000011@s.whatsapp.net"], aliases)


def message(**fields: Any) -> SourceMessage:
    values: dict[str, Any] = {
        "chat_jid": "1@g.us", "from_me": False, "key_id": "K", "earlier_key_ids": (), "sender_jid": "",
        "sent_at_ms": int(THEN.timestamp() * 1000), "kind": "text", "raw_kind": 0, "text": "", "edited_at_ms": 0,
        "revoked": False, "forward_score": 0, "details": None,
    }  # fmt: skip
    return SourceMessage(**{**values, **fields})


def test_nobody_is_kept_out_where_nobody_was_erased() -> None:
    assert not KeptOut.of(Suppression(until={}, version=""), None, TENANT).among([ADDRESS], [])


def test_without_the_key_nothing_is_imported_where_somebody_was() -> None:
    with pytest.raises(SealingError, match="KEY_ENCRYPTION_KEY"):
        KeptOut.of(Suppression(until={bytes(32): FOREVER}, version=""), None, TENANT)


def test_another_identity_of_the_person_is_kept_out_too() -> None:
    alias = Alias(lid=LID, jid=ADDRESS, source="jid_map")
    assert erased(FOREVER, alias).away == {ADDRESS, LID}
    assert erased(FOREVER).away == {ADDRESS}


@pytest.mark.parametrize(
    ("fields", "theirs"),
    [
        ({"sender_jid": ADDRESS}, True),
        ({"chat_jid": ADDRESS, "from_me": True}, True),
        ({"kind": "contact", "text": "waid=919847000010:"}, True),
        ({"kind": "system", "details": {"who": "919847000010@s.whatsapp.net"}}, True),
        ({"kind": "system", "details": {"who": "19198470000105@s.whatsapp.net"}}, False),
        ({"sender_jid": "919847000011@s.whatsapp.net"}, False),
        ({"text": "Call 919847000010"}, False),
        ({"kind": "contact", "text": "TEL;CELL:+91 98470 00010"}, True),
        ({"kind": "contact", "text": "TEL:(98470)-00.010"}, True),
        ({"kind": "contact", "text": "TEL:+91\u202f98470\u00a000010"}, True),
        ({"kind": "contact", "text": "TEL:+91 98470 00010 1"}, True),
        ({"kind": "contact", "text": "TEL:+91 98470 000101"}, False),
        ({"kind": "contact", "text": "TEL:98470, 00010"}, False),
    ],
)
def test_which_messages_are_theirs(fields: dict[str, Any], theirs: bool) -> None:
    assert erased().wrote(message(**fields)) is theirs


def test_who_was_let_in_again_comes_with_what_is_newer() -> None:
    let_in = erased(THEN)
    newer = int((THEN + timedelta(seconds=1)).timestamp() * 1000)
    assert let_in.wrote(message(sender_jid=ADDRESS))
    assert not let_in.wrote(message(sender_jid=ADDRESS, sent_at_ms=newer))
    assert let_in.away == frozenset()


def test_rows_beside_messages_come_without_them() -> None:
    out = erased()
    quote = SideRow({"quoted_key_id": "K", "text": "said"}, message_row=1, chat_jid="1@g.us", person_jid=ADDRESS)
    blank = out.without(quote)
    assert blank is not None
    assert (blank.values, blank.person_jid) == ({"quoted_key_id": "", "text": ""}, "")
    assert out.without(SideRow({"reaction": "x"}, person_jid=ADDRESS)) is None
    assert out.without(SideRow({"columns": {"vcard": "waid=919847000010"}}, message_row=1)) is None
    group = out.without(SideRow({"columns": {"owner": "919847000010@s.whatsapp.net", "size": 3}}))
    assert group is not None
    assert group.values["columns"] == {"owner": "0@s.whatsapp.net", "size": 3}
    assert out.without(SideRow({"call_jid": ADDRESS})) is None
    other = SideRow({"columns": {"vcard": "waid=919847000011"}}, message_row=1)
    assert out.without(other) is other


@pytest.mark.real
@pytest.mark.parametrize(
    "addresses",
    [
        [],
        [ADDRESS, LID],
        ["919847000010@s.whatsapp.net", "9847000010@s.whatsapp.net", "447000000010@s.whatsapp.net"],
        [
            "120363000000000010@g.us",
            "919847000010-1700000000@g.us",
            "919847000010:2@s.whatsapp.net",
            "status@broadcast",
        ],
        ["९८४७०००१२३@s.whatsapp.net", "918470000100@s.whatsapp.net", "91984700001@s.whatsapp.net"],
    ],
)
async def test_a_backup_is_searched_for_the_same_digits_as_the_archive(vault: Any, addresses: list[str]) -> None:
    async with vault.database.transaction(vault.tenant) as tx:
        pattern = await tx.fetchval(
            "SELECT naming_pattern(jsonb_populate_record(NULL::erasure, jsonb_build_object("
            "'numbers', '[]'::jsonb, 'addresses', to_jsonb($1::text[]))))",
            addresses,
        )
    digits = digits_of(addresses)
    assert bool(pattern) is bool(digits)
    pattern = pattern.replace(BETWEEN, "") if pattern else pattern
    assert set(pattern.removeprefix("(^|[^0-9])(").removesuffix(")([^0-9]|$)").split("|") if pattern else ()) == set(
        digits
    )


@pytest.mark.real
@pytest.mark.parametrize("text", ["+91 98470 00010", "(98470)-00.010", "+91\u202f98470\u00a000010", "98470\u201100010"])
async def test_numbers_in_groups_are_found_in_the_archive_as_in_a_backup(vault: Any, text: str) -> None:
    naming = Erased.of({ADDRESS: FOREVER_MS}).naming
    assert naming is not None
    assert naming.search(text)
    async with vault.database.transaction(vault.tenant) as tx:
        found = await tx.fetchval(
            "SELECT regexp_replace($2, naming_pattern(jsonb_populate_record(NULL::erasure, jsonb_build_object("
            "'numbers', '[]'::jsonb, 'addresses', to_jsonb($1::text[])))), '\\10\\3', 'g')",
            [ADDRESS], text,
        )  # fmt: skip
    assert found == naming.sub("0", text)


#: A card that names the person in the card itself only, written in groups; an answer whose quotation has a caption of
#: theirs in a table of its own; and the same of somebody else.
COPIES = (
    "CREATE TABLE message_quoted_media (message_row_id INTEGER PRIMARY KEY, media_caption TEXT)",
    "INSERT INTO message (_id, chat_row_id, from_me, key_id, sender_jid_row_id, timestamp, message_type, text_data)"
    " VALUES (9020, 19, 0, 'G20', 301, 1700000120000, 4, 'Kottakkal Traders'),"
    " (9021, 19, 0, 'G21', 301, 1700000121000, 0, 'What a picture'),"
    " (9022, 19, 0, 'G22', 300, 1700000122000, 0, 'And this one'),"
    " (9023, 19, 0, 'G23', 301, 1700000123000, 0, 'That one'),"
    " (9024, 19, 0, 'G24', 301, 1700000124000, 4, 'Malabar Stores')",
    "INSERT INTO message_vcard VALUES (31, 9020, 'BEGIN:VCARD\nTEL;CELL:+91 98470 00010'),"
    " (32, 9024, 'BEGIN:VCARD\nTEL;CELL:+91 98470 00011')",
    "INSERT INTO message_quoted (message_row_id, chat_row_id, parent_message_chat_row_id, from_me, sender_jid_row_id,"
    " key_id, timestamp, message_type, text_data) VALUES (9021, 19, 19, 0, 300, 'G8', 1700000103000, 1, NULL),"
    " (9023, 19, 19, 0, 301, 'G9', 1700000103000, 1, NULL)",
    "INSERT INTO message_quoted_media VALUES (9021, 'My new house in Kottakkal'), (9023, 'A bag of cement')",
)


async def copies(forgetting: Forgetting) -> tuple[set[str], list[str]]:
    """What cards say, and which captions are quoted."""
    said = {row["text"] for row in await forgetting.vault.rows("SELECT text FROM message WHERE kind = 'contact'")}
    rows = await forgetting.vault.rows(
        "SELECT columns ->> 'media_caption' AS caption FROM message_detail WHERE source = 'message_quoted_media'"
    )
    return said, sorted(row["caption"] for row in rows)


@pytest.mark.real
@pytest.mark.parametrize("before", [True, False], ids=["was there", "comes after"])
async def test_cards_and_what_was_quoted_go_and_stay_out(forgetting: Forgetting, before: bool) -> None:
    if before:
        await forgetting.import_(*COPIES, name="newer.db")
        said, captions = await copies(forgetting)
        assert "Kottakkal Traders" in said
        assert captions == ["A bag of cement", "My new house in Kottakkal"]
    case = await forgetting.carried_out()
    left = await copies(forgetting)
    await forgetting.answer(case)
    await forgetting.carry_out(case.id)
    if before:
        assert left[1] == ["A bag of cement"]
        assert "Kottakkal Traders" not in left[0]
    later = "UPDATE message SET text_data = 'What a picture!' WHERE _id = 9021"
    await forgetting.import_(*COPIES, later, name="newest.db")
    said, captions = await copies(forgetting)
    assert "Malabar Stores" in said
    assert captions == ["A bag of cement"]
    assert [row async for row in _quoting(forgetting)] == [("", None)]
    cards = await forgetting.vault.rows("SELECT FROM message_detail WHERE columns::text ~ '98470 ?00010'")
    assert cards == []
    if before:
        assert "Kottakkal Traders" not in said
    await verified(forgetting)


async def _quoting(forgetting: Forgetting) -> Any:
    for row in await forgetting.vault.rows(
        "SELECT q.text, q.quoted_contact_id FROM message_quote q JOIN message m ON m.id = q.message_id"
        " WHERE m.text LIKE 'What a picture%'"
    ):
        yield row["text"], row["quoted_contact_id"]


@pytest.mark.real
async def test_the_next_backup_does_not_bring_the_person_back(forgetting: Forgetting) -> None:
    case = await forgetting.carried_out()
    await forgetting.answer(case)
    await forgetting.carry_out(case.id)
    change = "UPDATE message SET text_data = 'So do I, and thank you' WHERE _id = 9004"
    run = await forgetting.import_(change, name="newer.db")
    assert run.state == "completed"
    left = await found(forgetting.vault.database, forgetting.vault.tenant) - FOR_A_WHILE
    assert left == {"message", "message_search", "search_word"}
    manifest = run.manifest
    assert manifest["contacts"]["skipped"]["erased"] == 1
    assert manifest["chats"]["skipped"]["erased"] == 1
    assert manifest["tables"]["message"]["skipped"]["erased"] == 10
    for name, table in manifest["tables"].items():
        counted = table["new"] + table["changed"] + table["unchanged"] + sum(table["skipped"].values())
        assert counted == table["seen"], name
    await verified(forgetting)


@pytest.mark.real
async def test_an_import_without_the_key_is_refused(forgetting: Forgetting) -> None:
    await forgetting.carried_out()
    with pytest.raises(SealingError):
        await forgetting.import_(
            "UPDATE message SET text_data = 'x' WHERE _id = 9003", name="n.db", suppression_key=None
        )


@pytest.mark.real
async def test_somebody_who_is_let_in_comes_with_what_is_newer(forgetting: Forgetting) -> None:
    vault = forgetting.vault
    await forgetting.carried_out()
    who = decide.who_of([NUMBER])
    assert await decide.lift(vault.database, vault.tenant, who, by="owner", key=KEY) == 1
    with pytest.raises(ErasureRefused):
        await decide.lift(vault.database, vault.tenant, who, by="owner", key=KEY)
    later = int((datetime.now(UTC) + timedelta(minutes=1)).timestamp() * 1000)
    await forgetting.import_(
        "INSERT INTO message (_id, chat_row_id, from_me, key_id, sender_jid_row_id, timestamp, message_type, text_data)"
        f" VALUES (9100, 160, 0, 'NEW', 0, {later}, 0, 'I am back')",
        name="newer.db",
    )
    said = {row["text"] for row in await vault.rows("SELECT text FROM message")}
    assert "I am back" in said
    assert not any("xylophone" in text or "forty" in text for text in said)


@pytest.mark.real
async def test_an_exported_chat_leaves_no_name_in_the_list_of_imports(forgetting: Forgetting) -> None:
    path = forgetting.folder / "WhatsApp Chat with Reception desk.txt"
    path.write_text("15/06/2026, 10:00 - Reception desk: Good morning\n", encoding="utf-8")
    run = await forgetting.vault.import_(path, backup_key=None, suppression_key=KEY)
    assert run.file_name == "exported chat.txt"
