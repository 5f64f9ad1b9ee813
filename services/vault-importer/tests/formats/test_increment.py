from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vault_importer.formats import recognise
from vault_importer.formats.base import (
    Alias,
    HasSides,
    LookedUp,
    SideRow,
    SkippedRow,
    SourceChat,
    SourceContact,
    SourceMessage,
)
from vault_importer.protobuf import encode_field, encode_varint
from vault_importer.refusals import BackupRefused
from vault_importer.samples import encrypt

ROOT_KEY = bytes(range(32))
DESK, GROUP, HIDDEN = "919847000010@s.whatsapp.net", "120363000000000001@g.us", "77000001@lid"
AT = 1_767_600_000


def _key(chat: str, key_id: str, *, from_me: bool = False, sender: str = "") -> bytes:
    parts = encode_field(1, chat.encode()) + encode_field(2, int(from_me)) + encode_field(3, key_id.encode())
    return parts + (encode_field(4, sender.encode()) if sender else b"")


def _info(key: bytes, message: bytes, at: int = AT, **more: int) -> bytes:
    stub = encode_field(24, more["stub"]) if "stub" in more else b""
    return encode_field(1, key) + encode_field(2, message) + encode_field(3, at) + stub


def _text(text: str) -> bytes:
    return encode_field(1, text.encode())


def _conversation(chat: str, *infos: bytes, name: str = "", lid: str = "", number: str = "") -> bytes:
    raw = encode_field(1, chat.encode()) + b"".join(encode_field(2, encode_field(1, info)) for info in infos)
    for field, value in ((13, name), (39, number), (42, lid)):
        raw += encode_field(field, value.encode()) if value else b""
    return raw


def _sync(*conversations: bytes, names: dict[str, str] | None = None, same: tuple[str, str] | None = None) -> bytes:
    raw = encode_field(1, 3) + b"".join(encode_field(2, each) for each in conversations)
    for jid, name in (names or {}).items():
        raw += encode_field(7, encode_field(1, jid.encode()) + encode_field(2, name.encode()))
    if same:
        raw += encode_field(15, encode_field(1, same[0].encode()) + encode_field(2, same[1].encode()))
    return encode_varint(len(raw)) + raw


def _write(path: Path, messages: bytes, **tables: list[dict[str, Any]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("header.json", json.dumps({"header": {"app_version": "2.26.1.1"}}))
        out.writestr("messages.bin", messages)
        for table, rows in tables.items():
            out.writestr(f"{table}_modified_1.json", json.dumps({table: rows}))
    return path


def _read(path: Path, **known: str) -> list[SourceMessage | SkippedRow]:
    return list(recognise(path).open(path, address_book=None, known_aliases=known).messages())


def _only(path: Path, message: bytes, chat: str = DESK, **options: Any) -> SourceMessage | SkippedRow:
    [row] = _read(_write(path / "one", _sync(_conversation(chat, _info(_key(chat, "A1", **options), message)))))
    return row


def test_messages_come_with_times_in_milliseconds_and_the_keys_of_a_whole_backup(tmp_path: Path) -> None:
    group = _conversation(GROUP, _info(_key(GROUP, "G1", sender=DESK), _text("to all")), name="Despatch")
    direct = _conversation(DESK, _info(_key(DESK, "D1", from_me=True, sender="x@lid"), _text("to one"), AT + 5))
    path = _write(tmp_path / "one", _sync(group, names={DESK: "Reception desk"}) + _sync(direct))
    backup = recognise(path).open(path, address_book=None, known_aliases={})
    assert recognise(path).name == "android-increment"
    assert list(backup.chats()) == [
        SourceChat(jid=GROUP, kind="group", name="Despatch"), SourceChat(jid=DESK, kind="direct")
    ]  # fmt: skip
    assert SourceContact(jid=DESK, name="Reception desk", name_source="own_profile") in list(backup.contacts())
    by_id = {row.key_id: row for row in backup.messages() if isinstance(row, SourceMessage)}
    assert (by_id["G1"].sent_at_ms, by_id["G1"].sender_jid, by_id["G1"].text) == (AT * 1000, DESK, "to all")
    assert (by_id["D1"].from_me, by_id["D1"].sender_jid, by_id["D1"].kind) == (True, "", "text")


def _caption(field: int, at: int, text: str = "said beside it") -> bytes:
    return encode_field(field, encode_field(at, text.encode()))


@pytest.mark.parametrize(
    ("message", "kind", "code", "text"),
    [
        (encode_field(6, encode_field(1, b"long text")), "text", 0, "long text"),
        (_caption(3, 3), "image", 1, "said beside it"),
        (_caption(9, 7), "video", 3, "said beside it"),
        (encode_field(9, encode_field(7, b"moving") + encode_field(8, 1)), "gif", 13, "moving"),
        (_caption(7, 20), "document", 9, "said beside it"),
        (encode_field(53, encode_field(1, _caption(7, 20))), "document", 9, "said beside it"),
        (encode_field(40, encode_field(1, _text("for a while"))), "text", 0, "for a while"),
        (encode_field(37, encode_field(1, _caption(3, 3))), "view_once_image", 42, "said beside it"),
        (encode_field(8, encode_field(1, b"url")), "audio", 2, ""),
        (_caption(64, 2, "Which day?"), "poll", 66, "Which day?"),
        (encode_field(99, b"what the future brings"), "other", -1, ""),
    ],
)
def test_each_kind_is_called_as_a_whole_backup_calls_it(
    tmp_path: Path, message: bytes, kind: str, code: int, text: str
) -> None:
    row = _only(tmp_path, message)
    assert isinstance(row, SourceMessage)
    assert (row.kind, row.raw_kind, row.text) == (kind, code, text)


def _protocol(what: int, original: str, more: bytes = b"") -> bytes:
    return encode_field(12, encode_field(1, _key(DESK, original)) + encode_field(2, what) + more)


def test_an_edit_and_a_revocation_name_the_message_that_they_change(tmp_path: Path) -> None:
    edited = _only(tmp_path, _protocol(14, "OLD", encode_field(14, _text("better")) + encode_field(15, AT * 1000 + 7)))
    assert isinstance(edited, SourceMessage)
    assert (edited.key_id, edited.earlier_key_ids, edited.text) == ("A1", ("OLD",), "better")
    assert (edited.edited_at_ms, edited.revoked) == (AT * 1000 + 7, False)
    gone = _only(tmp_path, _protocol(0, "OLD"))
    assert isinstance(gone, SourceMessage)
    assert (gone.earlier_key_ids, gone.revoked, gone.kind) == (("OLD",), True, "revoked")
    timeless = _only(tmp_path, _protocol(14, "OLD", encode_field(14, _text("x")) + encode_field(15, 2**60)))
    assert isinstance(timeless, SourceMessage)
    assert timeless.edited_at_ms == AT * 1000


ADMIN, MEMBER = "919847000999@s.whatsapp.net", "919847000111@s.whatsapp.net"


def _revocation(original: bytes) -> bytes:
    return encode_field(12, encode_field(1, original) + encode_field(2, 0))


@pytest.mark.parametrize(
    ("envelope", "revoked", "author", "code"),
    [
        ({"sender": ADMIN}, {"sender": MEMBER}, (False, MEMBER), 64),
        ({"from_me": True}, {"sender": MEMBER}, (False, MEMBER), 64),
        ({"sender": MEMBER}, {"sender": MEMBER}, (False, MEMBER), 15),
        # "From me" is as the one who revokes sees it, whether the key names them or not.
        ({"sender": MEMBER}, {"from_me": True}, (False, MEMBER), 15),
        ({"sender": MEMBER}, {"from_me": True, "sender": MEMBER}, (False, MEMBER), 15),
        ({"from_me": True}, {"from_me": True}, (True, ""), 15),
        ({"sender": MEMBER}, {}, (False, MEMBER), 15),
    ],
)
def test_a_revocation_is_of_whoever_wrote_the_message(
    tmp_path: Path, envelope: dict[str, Any], revoked: dict[str, Any], author: tuple[bool, str], code: int
) -> None:
    row = _only(tmp_path, _revocation(_key(GROUP, "ORIG", **revoked)), GROUP, **envelope)
    assert isinstance(row, SourceMessage)
    assert (row.from_me, row.sender_jid) == author
    assert (row.earlier_key_ids, row.raw_kind, row.kind, row.revoked) == (("ORIG",), code, "revoked", True)


def test_an_admin_who_revokes_a_message_of_ours_names_us(tmp_path: Path) -> None:
    ours = "919847000001@s.whatsapp.net"
    said = _info(_key(GROUP, "OURS", from_me=True, sender=ours), _text("hello"))
    # Of the first the increment has the message; of the second only the address on another one tells whose it was.
    infos = [
        _info(_key(GROUP, f"R-{original}", sender=ADMIN), _revocation(_key(GROUP, original, sender=named)))
        for original, named in (("OURS", ""), ("BEFORE", ours))
    ]
    rows = _read(_write(tmp_path / "one", _sync(_conversation(GROUP, *infos, said))))
    revoked = [row for row in rows if isinstance(row, SourceMessage) and row.revoked]
    assert [(row.from_me, row.sender_jid, row.raw_kind) for row in revoked] == [(True, "", 64)] * 2


def test_only_in_a_group_can_another_revoke_a_message(tmp_path: Path) -> None:
    row = _only(tmp_path, _revocation(_key(DESK, "ORIG", sender=MEMBER)))
    assert isinstance(row, SourceMessage)
    assert (row.from_me, row.sender_jid, row.raw_kind) == (False, "", 15)


@pytest.mark.parametrize(("stub", "kind", "code"), [(1, "revoked", 15), (132, "revoked", 64), (2, "waiting", 11)])
def test_what_stands_in_the_place_of_a_message_is_no_notice(tmp_path: Path, stub: int, kind: str, code: int) -> None:
    info = _info(_key(GROUP, "GONE", sender=MEMBER), b"", stub=stub)
    [row] = _read(_write(tmp_path / "one", _sync(_conversation(GROUP, info))))
    assert isinstance(row, SourceMessage)
    assert (row.kind, row.raw_kind, row.revoked, row.details) == (kind, code, kind == "revoked", None)


def test_a_place_comes_with_where_it_is(tmp_path: Path) -> None:
    # Degrees are doubles, wire type 1.
    place = b"\x09" + struct.pack("<d", 9.9312) + b"\x11" + struct.pack("<d", 76.2673) + encode_field(3, b"Godown")
    row = _only(tmp_path, encode_field(5, place))
    assert isinstance(row, SourceMessage)
    assert row.details == {"latitude": 9.9312, "longitude": 76.2673, "place_name": "Godown"}


def test_rows_that_are_no_messages_say_why(tmp_path: Path) -> None:
    assert _only(tmp_path, encode_field(46, encode_field(2, b"+"))) == SkippedRow("message", "reaction")
    assert _only(tmp_path, _protocol(3, "X")) == SkippedRow("message", "protocol")
    assert _only(tmp_path, b"") == SkippedRow("message", "empty")
    infos = [_info(_key(DESK, ""), _text("a")), _info(_key(DESK, "T"), _text("a"), 0), _info(_key("", "C"), _text("a"))]
    rows = _read(_write(tmp_path / "two", _sync(_conversation(DESK, *infos))))
    assert {row.reason for row in rows if isinstance(row, SkippedRow)} == {"no_key", "no_time", "no_chat"}
    system = _read(_write(tmp_path / "three", _sync(_conversation(GROUP, _info(_key(GROUP, "S"), b"", stub=27)))))[0]
    assert isinstance(system, SourceMessage)
    assert (system.kind, system.details) == ("system", {"stub_type": 27})


def test_hidden_identities_are_resolved_wherever_the_pair_stands(tmp_path: Path) -> None:
    said = _conversation(GROUP, _info(_key(GROUP, "G1", sender=HIDDEN), _text("hello")))
    jids = [{"_id": 5, "user": "77000001", "server": "lid"}, {"_id": 6, "user": DESK[:12], "server": "s.whatsapp.net"}]
    tables = {"jid": jids, "jid_map": [{"lid_row_id": 5, "jid_row_id": 6}, {"lid_row_id": [], "jid_row_id": {}}]}
    behind = _sync(said) + _sync(same=(DESK, HIDDEN))
    for messages, more in ((behind, {}), (_sync(said), tables)):
        path = _write(tmp_path / "one", messages, **more)
        backup = recognise(path).open(path, address_book=None, known_aliases={})
        assert [(each.lid, each.jid) for each in backup.aliases()] == [(HIDDEN, DESK)]
        assert next(iter(backup.messages())).sender_jid == DESK  # type: ignore[union-attr]
    assert _read(_write(tmp_path / "two", _sync(said)), **{HIDDEN: DESK})[0].sender_jid == DESK  # type: ignore[union-attr]
    assert Alias(lid=HIDDEN, jid=DESK, source="history_sync") in recognise(
        _write(tmp_path / "three", behind)
    ).open(tmp_path / "three", address_book=None, known_aliases={}).aliases()  # fmt: skip


def test_rows_of_who_is_who_are_told_of_one_by_one(tmp_path: Path) -> None:
    group = {"_id": 7, "user": "120363000000000001", "server": "g.us"}
    jids = [{"_id": 5, "user": "77000001", "server": "lid"}, {"_id": 6, "user": DESK[:12], "server": "s.whatsapp.net"}]
    tables: dict[str, list[Any]] = {
        "jid": [*jids, group, {"_id": 8}, "no row"],
        "jid_map": [{"lid_row_id": 5, "jid_row_id": 6}, {"lid_row_id": 5, "jid_row_id": 99}],
        "chat": [{"_id": 1, "jid_row_id": 7, "subject": "Despatch"}, {"_id": 2, "jid_row_id": 99}],
        "lid_display_name": [{"lid_row_id": 5, "display_name": "Asha"}, {"lid_row_id": 5, "display_name": " "}, {}],
    }
    opened = recognise(_write(tmp_path / "one", _sync(), **tables)).open(
        tmp_path / "one", address_book=None, known_aliases={}
    )
    assert isinstance(opened, HasSides)
    assert opened.rows() == {"message": 0, "chat": 2, "jid": 5, "jid_map": 2, "lid_display_name": 3}
    assert list(opened.lookups()) == [
        LookedUp("jid", DESK),
        LookedUp("jid", DESK),
        LookedUp("jid", GROUP),
        LookedUp("jid", "", reason="no_jid"),
        LookedUp("jid", "", reason="no_jid"),
        LookedUp("jid_map", HIDDEN, DESK),
        LookedUp("jid_map", "", reason="no_pair"),
        LookedUp("chat", GROUP),
        LookedUp("chat", "", reason="no_jid"),
        LookedUp("lid_display_name", DESK),
        LookedUp("lid_display_name", DESK, reason="no_name"),
        LookedUp("lid_display_name", "", reason="no_jid"),
    ]
    assert SourceContact(jid=DESK, name="Asha", name_source="own_profile") in list(opened.contacts())
    assert list(opened.chats()) == [SourceChat(jid=GROUP, kind="group", name="Despatch")]


def test_names_of_hidden_identities_wait_until_it_is_known_whose_they_are(tmp_path: Path) -> None:
    tables = {
        "jid": [{"_id": 5, "user": "77000001", "server": "lid"}],
        "lid_display_name": [{"lid_row_id": 5, "display_name": "Asha"}],
    }
    path = _write(tmp_path / "one", _sync(same=(DESK, HIDDEN)), **tables)
    opened = recognise(path).open(path, address_book=None, known_aliases={})
    assert list(opened.contacts()) == [SourceContact(jid=DESK, name="Asha", name_source="own_profile")]


def test_lanes_and_skipping_part_the_messages_once_and_in_order(tmp_path: Path) -> None:
    chats = [f"9198470000{n}@s.whatsapp.net" for n in range(20, 25)]
    conversations = [
        _conversation(chat, *(_info(_key(chat, f"{n}-{m}"), _text("x"), AT - m) for m in range(n + 1)))
        for n, chat in enumerate(chats)
    ]
    path = _write(tmp_path / "one", _sync(*conversations))
    backup = recognise(path).open(path, address_book=None, known_aliases={})
    lanes = [list(backup.messages(lane=lane, lanes=2)) for lane in (0, 1)]
    assert sorted(len(lane) for lane in lanes) == [7, 8]
    for number, lane in enumerate(lanes):
        assert [row.sent_at_ms for row in lane if row.chat_jid == lane[0].chat_jid] == sorted(  # type: ignore[union-attr]
            row.sent_at_ms
            for row in lane
            if row.chat_jid == lane[0].chat_jid  # type: ignore[union-attr]
        )
        for skip in range(9):
            assert list(backup.messages(lane=number, lanes=2, skip=skip)) == lane[skip:]


def test_a_zip_that_grows_too_much_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = _write(tmp_path / "bomb", bytes(64 * 1024 * 1024))
    with pytest.raises(BackupRefused, match="grows") as caught:
        _read(path)
    assert caught.value.code == "bomb"


def test_what_an_entry_claims_is_held_against_the_file(tmp_path: Path) -> None:
    path = _write(tmp_path / "bomb", _sync())
    content = path.read_bytes()
    at = content.rindex(b"messages.bin") - 46
    lying = content[: at + 24] + (900 * 1024 * 1024).to_bytes(4, "little") + content[at + 28 :]
    path.write_bytes(lying)
    with pytest.raises(BackupRefused, match="grows") as caught:
        _read(path)
    assert caught.value.code == "bomb"


def test_a_cut_or_damaged_increment_is_refused(tmp_path: Path) -> None:
    whole = _sync(_conversation(DESK, _info(_key(DESK, "A1"), _text("hello"))))
    for messages in (whole[:-1], whole + b"\x80", b"\xff" * 20, encode_varint(10**12)):
        with pytest.raises(BackupRefused):
            _read(_write(tmp_path / "one", messages))
    content = _write(tmp_path / "one", whole).read_bytes()
    (tmp_path / "one").write_bytes(content[:-30])
    with pytest.raises(BackupRefused):
        _read(tmp_path / "one")


@settings(
    max_examples=3 * settings.default.max_examples,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_whatever_stands_in_it_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    nested = _protocol(14, "OLD", encode_field(14, _protocol(14, "OLD", encode_field(14, _text("deep")))))
    content = bytearray(_sync(_conversation(GROUP, _info(_key(GROUP, "A1", sender=HIDDEN), nested), name="G")))
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    values = st.one_of(st.none(), st.integers(), st.text(), st.lists(st.integers()))
    rows = data.draw(st.lists(st.dictionaries(st.sampled_from(["_id", "user", "subject", "jid_row_id"]), values)))
    path = _write(tmp_path / "one", bytes(content), jid=rows, chat=rows)
    try:
        backup = recognise(path).open(path, address_book=None, known_aliases={})
    except BackupRefused:
        return
    list(backup.messages())
    backup.close()


def _reaction(to: bytes, text: str, at_ms: int = AT * 1000 + 5) -> bytes:
    return encode_field(46, encode_field(1, to) + encode_field(2, text.encode()) + encode_field(4, at_ms))


def test_reactions_are_told_beside_the_messages(tmp_path: Path) -> None:
    theirs = _info(_key(GROUP, "R1", sender=DESK), _reaction(_key(GROUP, "G1"), "+"))
    ours = _info(_key(DESK, "R2", from_me=True), _reaction(_key(DESK, "D1"), "", 0))
    unclear = _info(_key(GROUP, "R3", sender=DESK), _reaction(b"", "+"))
    rows = _sync(_conversation(GROUP, theirs, unclear), _conversation(DESK, ours))
    path = _write(tmp_path / "one", rows, call_log=[{"_id": 1}], receipt_user=[{"_id": 1}, {"_id": 2}])
    opened = recognise(path).open(path, address_book=None, known_aliases={})
    assert isinstance(opened, HasSides)
    [side] = opened.sides()
    assert list(side.rows(0)) == [
        SideRow(
            {"reaction": "+", "reacted_at": AT * 1000 + 5, "of_key_id": "G1", "of_sender": ""}, 0, GROUP, False, DESK
        ),
        SkippedRow("reaction", "no_key"),
        SideRow({"reaction": "", "reacted_at": AT * 1000, "of_key_id": "D1", "of_sender": ""}, 0, DESK, True),
    ]  # fmt: skip
    assert list(side.rows(2)) == list(side.rows(0))[2:]
    assert DESK in {each.jid for each in opened.contacts() if isinstance(each, SourceContact)}
    assert opened.unread() == {"call_log": 1, "receipt_user": 2}


@pytest.mark.real
async def test_a_reaction_finds_its_message_in_an_earlier_backup(vault: Any, stores: Any, tmp_path: Path) -> None:
    await vault.import_(stores.beside())
    chat = (await vault.rows("SELECT h.jid FROM chat h JOIN message m ON m.chat_id = h.id WHERE m.key_id = 'PHOTO1'"))[
        0
    ]
    group = chat["jid"]
    # Of what somebody else wrote, of what we wrote though the other calls it not theirs, and of what nobody has.
    infos = [
        _info(_key(group, "R1", from_me=True), _reaction(_key(group, "PHOTO1", sender=DESK), "+")),
        _info(_key(group, "R2", sender=DESK), _reaction(_key(group, "POLL1"), "!")),
        _info(_key(group, "R3", sender=DESK), _reaction(_key(group, "NOWHERE"), "!")),
    ]
    plain = _write(tmp_path / "plain", _sync(_conversation(group, *infos)))
    path = tmp_path / "msgstore-increment-1.db.crypt15"
    encrypt(plain, path, backup_key=ROOT_KEY, with_md5=False)
    run = await vault.import_(path)
    table = run.manifest["tables"]["reaction"]
    assert (table["seen"], table["new"], table["skipped"]) == (3, 2, {"no_message": 1})
    found = await vault.rows(
        "SELECT m.key_id, r.reaction, c.number FROM message_reaction r JOIN message m ON m.id = r.message_id"
        " LEFT JOIN contact c ON c.id = r.contact_id WHERE r.reaction IN ('+', '!') ORDER BY m.key_id"
    )
    assert [(row["key_id"], row["reaction"], row["number"]) for row in found] == [
        ("PHOTO1", "+", None), ("POLL1", "!", "+919847000010")
    ]  # fmt: skip


@pytest.mark.real
async def test_the_manifest_tells_of_every_row_of_who_is_who(vault: Any, tmp_path: Path) -> None:
    tables = {
        "jid": [
            {"_id": 5, "user": "77000001", "server": "lid"},
            {"_id": 6, "user": DESK[:12], "server": "s.whatsapp.net"},
            {"_id": 7, "user": "120363000000000001", "server": "g.us"},
        ],
        "jid_map": [{"lid_row_id": 5, "jid_row_id": 6}],
        "chat": [{"_id": 1, "jid_row_id": 7, "subject": "Despatch"}, {"_id": 2, "jid_row_id": 99}],
        "call_log": [{"_id": 1}],
    }
    said = _conversation(GROUP, _info(_key(GROUP, "G1", sender=HIDDEN), _text("hello")))
    plain = _write(tmp_path / "plain", _sync(said), **tables)
    path = tmp_path / "msgstore-increment-1.db.crypt15"
    encrypt(plain, path, backup_key=ROOT_KEY, with_md5=False)
    run = await vault.import_(path)
    assert run.manifest["source_rows"] == {"message": 1, "jid": 3, "jid_map": 1, "chat": 2}
    told = {name: (table["seen"], table["new"], table["skipped"]) for name, table in run.manifest["tables"].items()}
    assert told == {
        "message": (1, 1, {}),
        "jid": (3, 2, {"same_address": 1}),
        "jid_map": (1, 1, {}),
        "chat": (2, 1, {"no_jid": 1}),
    }
    assert run.manifest["unread"] == {"call_log": 1}


@pytest.mark.real
async def test_an_increment_goes_on_where_its_backup_ended(vault: Any, stores: Any, tmp_path: Path) -> None:
    await vault.import_(stores.encrypted("DELETE FROM message_edit_info"))
    chat = "100000000000000001@g.us"
    known = await vault.rows("SELECT key_id, text, from_me FROM message WHERE text = 'Last group message'")
    again = _info(_key(chat, known[0]["key_id"], from_me=known[0]["from_me"]), _text("Last group message"))
    edit = encode_field(14, _text("Changed my mind")) + encode_field(15, AT * 1000)
    changed = _info(_key(chat, "EDITED", from_me=True), _protocol(14, known[0]["key_id"], edit), AT + 1)
    new = _info(_key(chat, "NEW1", sender=DESK), _text("and another"), AT + 2)
    plain = _write(tmp_path / "plain", _sync(_conversation(chat, again)) + _sync(_conversation(chat, changed, new)))
    path = tmp_path / "msgstore-increment-1.db.crypt15"
    encrypt(plain, path, backup_key=ROOT_KEY, with_md5=False)
    run = await vault.import_(path)
    assert (run.format, run.messages_new, run.messages_changed) == ("android-increment", 1, 1)
    texts = await vault.rows("SELECT text FROM message WHERE chat_id = (SELECT id FROM chat WHERE jid = $1)", chat)
    assert {"Changed my mind", "and another"} <= {row["text"] for row in texts}
    assert [row["text"] for row in await vault.rows("SELECT text FROM message_revision")] == ["Last group message"]
    assert (await vault.import_(path)).state == "unchanged"


@pytest.mark.real
async def test_an_admins_revocation_reaches_the_message_that_it_revokes(
    vault: Any, stores: Any, tmp_path: Path
) -> None:
    await vault.import_(stores.beside())
    [before] = await vault.rows(
        "SELECT m.id, h.jid FROM message m JOIN chat h ON h.id = m.chat_id WHERE m.key_id = 'REPLY1'"
    )
    # Who wrote it is named by their hidden identity, as newer groups do.
    revoked = _revocation(_key(before["jid"], "REPLY1", sender="70000000000301@lid"))
    infos = [
        _info(_key(before["jid"], "GONE1", sender=DESK), revoked),
        _info(_key(before["jid"], "GONE2", from_me=True), revoked, AT + 1),
    ]
    plain = _write(tmp_path / "plain", _sync(_conversation(before["jid"], *infos)))
    path = tmp_path / "msgstore-increment-1.db.crypt15"
    encrypt(plain, path, backup_key=ROOT_KEY, with_md5=False)
    run = await vault.import_(path)
    assert (run.messages_new, run.messages_changed) == (0, 1)
    [after] = await vault.rows("SELECT text, revoked, raw_kind FROM message WHERE id = $1", before["id"])
    assert (after["text"], after["revoked"], after["raw_kind"]) == ("", True, 64)
