"""The next backup carries an erased person again, and nothing of them comes in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from vault_importer.accounts import SealingError
from vault_importer.erasure import decide
from vault_importer.erasure.case import ErasureRefused
from vault_importer.erasure.keep_out import Erased, KeptOut, digits_of
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
    assert set(pattern.removeprefix("(^|[^0-9])(").removesuffix(")([^0-9]|$)").split("|") if pattern else ()) == set(
        digits
    )


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
    assert manifest["tables"]["message"]["skipped"]["erased"] == 9
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
