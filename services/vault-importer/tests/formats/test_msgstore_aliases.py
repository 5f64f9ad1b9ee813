"""Which hidden identity is which number, wherever a store says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vault_importer.formats import recognise

A, B, C = (f"9198470000{each}@s.whatsapp.net" for each in (20, 21, 22))
ONE, TWO = "70000000000901@lid", "70000000000902@lid"
PEOPLE = (
    "INSERT INTO jid (_id, user, server) VALUES (920, '919847000020', 's.whatsapp.net'),"
    " (921, '919847000021', 's.whatsapp.net'), (922, '919847000022', 's.whatsapp.net'),"
    " (901, '70000000000901', 'lid'), (902, '70000000000902', 'lid'), (911, '70000000000901:3', 'lid')",
    "INSERT INTO chat (_id, jid_row_id) VALUES (820, 920), (821, 921)",
    "INSERT INTO message (_id, chat_row_id, from_me, key_id, timestamp, message_type) VALUES"
    " (9001, 820, 1, 'S1', 1700000000000, 0), (9002, 821, 1, 'S2', 1700000000000, 0),"
    " (9003, 820, 0, 'S3', 1700000000000, 0), (9004, 19, 1, 'S4', 1700000000000, 0)",
    "CREATE TABLE jid_map (lid_row_id, jid_row_id)",
    "CREATE TABLE message_system_lid_change (message_row_id INTEGER PRIMARY KEY, old_lid_row_id, new_lid_row_id)",
    "CREATE TABLE receipt_user (_id INTEGER PRIMARY KEY, message_row_id, receipt_user_jid_row_id)",
    "CREATE TABLE message_vcard_jid (_id INTEGER PRIMARY KEY, vcard_jid_row_id, vcard_row_id)",
    "ALTER TABLE chat ADD COLUMN account_jid_row_id",
)
CARD = "BEGIN:VCARD\nVERSION:3.0\nFN:Dispatch desk\nitem1.TEL;type=CELL;waid={}:+91 98470 000\nEND:VCARD"


def _map(lid: int, jid: int) -> str:
    return f"INSERT INTO jid_map VALUES ({lid}, {jid})"


def _account(lid: int, chat: int) -> str:
    return f"UPDATE chat SET account_jid_row_id = {lid} WHERE _id = {chat}"


def _change(old: int, new: int, *, of: str = "number", row: int = 9001) -> str:
    column = "jid" if of == "number" else "lid"
    return (
        f"INSERT INTO message_system_{of}_change (message_row_id, old_{column}_row_id, new_{column}_row_id)"
        f" VALUES ({row}, {old}, {new})"
    )


def _receipt(lid: int, message: int) -> str:
    return f"INSERT INTO receipt_user (message_row_id, receipt_user_jid_row_id) VALUES ({message}, {lid})"


def _card(row: int, card: str, *jids: int) -> list[str]:
    named = [f"INSERT INTO message_vcard_jid (vcard_jid_row_id, vcard_row_id) VALUES ({each}, {row})" for each in jids]
    return [f"INSERT INTO message_vcard (_id, message_row_id, vcard) VALUES ({row}, 9001, '{card}')", *named]


def _pairs(path: Path, **known: str) -> list[tuple[str, str, str]]:
    backup: Any = recognise(path).open(path, address_book=None, known_aliases=known)
    try:
        return [(each.lid, each.jid, each.source) for each in backup.aliases()]
    finally:
        backup.close()


@pytest.mark.parametrize(
    ("changes", "pairs"),
    [
        ([_map(901, 920)], [(ONE, A, "jid_map")]),
        ([_account(901, 820)], [(ONE, A, "chat")]),
        ([_change(920, 901)], [(ONE, A, "number_change")]),
        ([_change(901, 920)], [(ONE, A, "number_change")]),
        ([_change(920, 921)], []),
        ([_map(901, 920), _change(901, 902, of="lid")], [(ONE, A, "jid_map"), (TWO, A, "number_change")]),
        ([_map(902, 920), _change(901, 902, of="lid")], [(TWO, A, "jid_map"), (ONE, A, "number_change")]),
        ([_change(901, 902, of="lid")], []),
        ([_receipt(901, 9001)], [(ONE, A, "receipt")]),
        ([_receipt(901, 9001), _receipt(911, 9001)], [(ONE, A, "receipt")]),
        # What they sent was received by ourselves; in a group anybody receives.
        ([_receipt(901, 9003), _receipt(902, 9004)], []),
        (_card(50, CARD.format("919847000020"), 901), [(ONE, A, "vcard")]),
        (_card(50, CARD.format("91\n 9847000020"), 901), [(ONE, A, "vcard")]),
        (_card(50, CARD.replace("FN:", "FN:;waid=919847000020:"), 901), []),
        (_card(50, CARD.format("919847000020"), 901, 902), []),
        (_card(50, CARD.format("919847000020") + CARD.format("919847000021"), 901), []),
    ],
)
def test_each_place_that_pairs_a_hidden_identity_with_a_number_is_read(
    stores: Any, changes: list[str], pairs: list[tuple[str, str, str]]
) -> None:
    assert _pairs(stores.plain(*PEOPLE, *changes)) == pairs


def test_the_most_trusted_place_counts_and_comes_first(stores: Any) -> None:
    every = [
        *_card(50, CARD.format("919847000022"), 901),
        _receipt(901, 9002),
        _change(922, 901),
        _account(901, 821),
        _map(901, 920),
    ]
    left = list(every)
    for source, number in (("jid_map", A), ("chat", B), ("number_change", C), ("receipt", B), ("vcard", C)):
        assert _pairs(stores.plain(*PEOPLE, *left)) == [(ONE, number, source)]
        left.pop()
    both = [_receipt(901, 9001), _map(902, 921)]
    assert _pairs(stores.plain(*PEOPLE, *both)) == [(TWO, B, "jid_map"), (ONE, A, "receipt")]


@pytest.mark.parametrize(
    "changes",
    [
        [_account(901, 820), _account(911, 821), _receipt(901, 9001)],
        [_change(920, 901), _change(901, 921, row=9002)],
        [_receipt(901, 9001), _receipt(901, 9002), *_card(50, CARD.format("919847000020"), 901)],
        # One of two is the account's own.
        [_receipt(901, 9001), _receipt(902, 9001)],
        [*_card(50, CARD.format("919847000020"), 901), *_card(51, CARD.format("919847000021"), 901)],
        [*_card(50, CARD.format("919847000020"), 901), *_card(51, CARD.format("919847000020"), 902)],
    ],
)
def test_two_numbers_for_one_hidden_identity_make_no_pair(stores: Any, changes: list[str]) -> None:
    path = stores.plain(*PEOPLE, *changes)
    assert _pairs(path) == []
    assert [each for each in _pairs(path, **{ONE: C}) if each[0] == ONE] == []


def test_what_follows_from_messages_does_not_speak_against_what_is_known(stores: Any) -> None:
    for changes in ([_receipt(901, 9001)], [_change(920, 901)], _card(50, CARD.format("919847000020"), 901)):
        path = stores.plain(*PEOPLE, *changes)
        assert _pairs(path, **{ONE: B}) == []
    for changes in ([_receipt(901, 9001)], _card(50, CARD.format("919847000020"), 901)):
        # The number is somebody's already.
        assert _pairs(stores.plain(*PEOPLE, *changes), **{TWO: A}) == []
        assert _pairs(stores.plain(*PEOPLE, *changes, _map(902, 920))) == [(TWO, A, "jid_map")]
    assert _pairs(stores.plain(*PEOPLE, _map(901, 920)), **{ONE: B}) == [(ONE, A, "jid_map")]


@pytest.mark.parametrize(
    "changes",
    [
        ["UPDATE jid SET user = x'fffe' WHERE _id = 901", _receipt(901, 9001)],
        ["UPDATE jid SET user = '' WHERE _id = 901", _map(901, 920), _receipt(901, 9001), _change(901, 920)],
        ["UPDATE jid SET user = '0' WHERE _id = 920", _receipt(901, 9001), _change(901, 920)],
        ["UPDATE jid SET user = 'x' || char(0) WHERE _id = 920", _receipt(901, 9001), _change(901, 920)],
        ["INSERT INTO receipt_user VALUES (1, x'00', 'x'), (2, NULL, 9e999), (3, 9001.5, 901)"],
        ["INSERT INTO message_system_lid_change VALUES (1, 'x', x'00'), (2, NULL, 901)"],
        ["INSERT INTO jid_map VALUES ('x', x'00'), (NULL, 901), (901, 901)"],
        _card(50, CARD.format("00"), 901),
        [*_card(50, "", 901), "UPDATE message_vcard SET vcard = x'ff00' WHERE _id = 50"],
        ["INSERT INTO message_vcard_jid VALUES (1, 'x', 'y'), (2, NULL, NULL), (3, 901, 777)"],
        ["ALTER TABLE message_vcard DROP COLUMN vcard", "ALTER TABLE receipt_user DROP COLUMN message_row_id"],
    ],
)
def test_rows_that_a_stranger_made_pair_nobody(stores: Any, changes: list[str]) -> None:
    path = stores.plain(*PEOPLE, *changes)
    assert [each for each in _pairs(path) if each[1] == A or each[0] == ONE or not each[1]] in (
        [],
        [("\ufffd\ufffd@lid", A, "receipt")],
    )


@pytest.mark.real
async def test_a_person_known_by_receipts_is_known_by_the_number(vault: Any, stores: Any) -> None:
    group = "UPDATE message SET sender_jid_row_id = 901, from_me = 0 WHERE _id = 9004"
    await vault.import_(stores.plain(*PEOPLE, _receipt(901, 9001), group))
    [alias] = await vault.rows("SELECT lid, jid, source FROM jid_alias")
    assert alias == {"lid": ONE, "jid": A, "source": "receipt"}
    [author] = await vault.rows(
        "SELECT c.number FROM message m JOIN contact c ON c.id = m.sender_id WHERE key_id = 'S4'"
    )
    assert author == {"number": "+919847000020"}


@pytest.mark.real
async def test_rows_that_contradict_each_other_are_told_of(vault: Any, stores: Any) -> None:
    run = await vault.import_(stores.plain(*PEOPLE, _map(901, 920), _map(911, 921)))
    assert run.manifest["tables"]["jid_map"]["skipped"] == {"contradicted": 2}
