from __future__ import annotations

import struct
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

from .increments import (
    AT,
    DESK,
    GROUP,
    HIDDEN,
    ROOT_KEY,
    conversation_of,
    info_of,
    key_of,
    sync_of,
    words,
    write_increment,
)


def _read(path: Path, **known: str) -> list[SourceMessage | SkippedRow]:
    return list(recognise(path).open(path, address_book=None, known_aliases=known).messages())


def _only(path: Path, message: bytes, chat: str = DESK, **options: Any) -> SourceMessage | SkippedRow:
    [row] = _read(
        write_increment(path / "one", sync_of(conversation_of(chat, info_of(key_of(chat, "A1", **options), message))))
    )
    return row


def test_messages_come_with_times_in_milliseconds_and_the_keys_of_a_whole_backup(tmp_path: Path) -> None:
    group = conversation_of(GROUP, info_of(key_of(GROUP, "G1", sender=DESK), words("to all")), name="Despatch")
    direct = conversation_of(DESK, info_of(key_of(DESK, "D1", from_me=True, sender="x@lid"), words("to one"), AT + 5))
    path = write_increment(tmp_path / "one", sync_of(group, names={DESK: "Reception desk"}) + sync_of(direct))
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
        (encode_field(40, encode_field(1, words("for a while"))), "text", 0, "for a while"),
        (encode_field(37, encode_field(1, _caption(3, 3))), "view_once_image", 42, "said beside it"),
        (encode_field(8, encode_field(1, b"url")), "audio", 2, ""),
        (_caption(64, 2, "Which day?"), "poll", 66, "Which day?"),
        (_caption(66, 7), "other", 81, "said beside it"),
        (_caption(4, 1, "Asha"), "contact", 4, "Asha"),
        (_caption(28, 6), "group_invite", 24, "said beside it"),
        (_caption(29, 2, "Yes"), "template_reply", 32, "Yes"),
        (encode_field(30, _caption(1, 3, "Rice, 5 kg")), "other", 23, "Rice, 5 kg"),
        (_caption(36, 2, "Pick a day"), "interactive", 45, "Pick a day"),
        (_caption(36, 1, "Only a title"), "interactive", 45, "Only a title"),
        (_caption(38, 6, "Two bags"), "order", 44, "Two bags"),
        (_caption(39, 1, "Monday"), "other", 46, "Monday"),
        (_caption(42, 6, "Shall we?"), "interactive", 45, "Shall we?"),
        (_caption(43, 2, "We shall"), "other", 46, "We shall"),
        (encode_field(45, _caption(2, 1, "Pay here")), "interactive", 45, "Pay here"),
        (encode_field(25, _caption(4, 6, "Your order is on its way")), "template", -1, "Your order is on its way"),
        (_caption(111, 2, "Which day?"), "poll", -1, "Which day?"),
        (_caption(75, 3, "Opening"), "event", 92, "Opening"),
        (encode_field(83, encode_field(2, 3)), "album", 99, ""),
        (encode_field(91, encode_field(1, _caption(3, 3))), "image", 1, "said beside it"),
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
    return encode_field(12, encode_field(1, key_of(DESK, original)) + encode_field(2, what) + more)


def test_an_edit_and_a_revocation_name_the_message_that_they_change(tmp_path: Path) -> None:
    edited = _only(tmp_path, _protocol(14, "OLD", encode_field(14, words("better")) + encode_field(15, AT * 1000 + 7)))
    assert isinstance(edited, SourceMessage)
    assert (edited.key_id, edited.earlier_key_ids, edited.text) == ("A1", ("OLD",), "better")
    assert (edited.edited_at_ms, edited.revoked) == (AT * 1000 + 7, False)
    gone = _only(tmp_path, _protocol(0, "OLD"))
    assert isinstance(gone, SourceMessage)
    assert (gone.earlier_key_ids, gone.revoked, gone.kind) == (("OLD",), True, "revoked")
    timeless = _only(tmp_path, _protocol(14, "OLD", encode_field(14, words("x")) + encode_field(15, 2**60)))
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
    row = _only(tmp_path, _revocation(key_of(GROUP, "ORIG", **revoked)), GROUP, **envelope)
    assert isinstance(row, SourceMessage)
    assert (row.from_me, row.sender_jid) == author
    assert (row.earlier_key_ids, row.raw_kind, row.kind, row.revoked) == (("ORIG",), code, "revoked", True)


def test_an_admin_who_revokes_a_message_of_ours_names_us(tmp_path: Path) -> None:
    ours = "919847000001@s.whatsapp.net"
    said = info_of(key_of(GROUP, "OURS", from_me=True, sender=ours), words("hello"))
    # Of the first the increment has the message; of the second only the address on another one tells whose it was.
    infos = [
        info_of(key_of(GROUP, f"R-{original}", sender=ADMIN), _revocation(key_of(GROUP, original, sender=named)))
        for original, named in (("OURS", ""), ("BEFORE", ours))
    ]
    rows = _read(write_increment(tmp_path / "one", sync_of(conversation_of(GROUP, *infos, said))))
    revoked = [row for row in rows if isinstance(row, SourceMessage) and row.revoked]
    assert [(row.from_me, row.sender_jid, row.raw_kind) for row in revoked] == [(True, "", 64)] * 2


def test_only_in_a_group_can_another_revoke_a_message(tmp_path: Path) -> None:
    row = _only(tmp_path, _revocation(key_of(DESK, "ORIG", sender=MEMBER)))
    assert isinstance(row, SourceMessage)
    assert (row.from_me, row.sender_jid, row.raw_kind) == (False, "", 15)


@pytest.mark.parametrize(("stub", "kind", "code"), [(1, "revoked", 15), (132, "revoked", 64), (2, "waiting", 11)])
def test_what_stands_in_the_place_of_a_message_is_no_notice(tmp_path: Path, stub: int, kind: str, code: int) -> None:
    info = info_of(key_of(GROUP, "GONE", sender=MEMBER), b"", stub=stub)
    [row] = _read(write_increment(tmp_path / "one", sync_of(conversation_of(GROUP, info))))
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
    # A key, and a vote: no store has a message for either.
    assert _only(tmp_path, encode_field(2, encode_field(1, b"g"))) == SkippedRow("message", "empty")
    assert _only(tmp_path, encode_field(50, encode_field(4, 1))) == SkippedRow("message", "add_on")
    infos = [
        info_of(key_of(DESK, ""), words("a")),
        info_of(key_of(DESK, "T"), words("a"), 0),
        info_of(key_of("", "C"), words("a")),
    ]
    rows = _read(write_increment(tmp_path / "two", sync_of(conversation_of(DESK, *infos))))
    assert {row.reason for row in rows if isinstance(row, SkippedRow)} == {"no_key", "no_time", "no_chat"}
    system = _read(
        write_increment(tmp_path / "three", sync_of(conversation_of(GROUP, info_of(key_of(GROUP, "S"), b"", stub=27))))
    )[0]
    assert isinstance(system, SourceMessage)
    assert (system.kind, system.details) == ("system", {"stub_type": 27})


def test_hidden_identities_are_resolved_wherever_the_pair_stands(tmp_path: Path) -> None:
    said = conversation_of(GROUP, info_of(key_of(GROUP, "G1", sender=HIDDEN), words("hello")))
    jids = [{"_id": 5, "user": "77000001", "server": "lid"}, {"_id": 6, "user": DESK[:12], "server": "s.whatsapp.net"}]
    tables = {"jid": jids, "jid_map": [{"lid_row_id": 5, "jid_row_id": 6}, {"lid_row_id": [], "jid_row_id": {}}]}
    behind = sync_of(said) + sync_of(same=(DESK, HIDDEN))
    for messages, more in ((behind, {}), (sync_of(said), tables)):
        path = write_increment(tmp_path / "one", messages, **more)
        backup = recognise(path).open(path, address_book=None, known_aliases={})
        assert [(each.lid, each.jid) for each in backup.aliases()] == [(HIDDEN, DESK)]
        assert next(iter(backup.messages())).sender_jid == DESK  # type: ignore[union-attr]
    assert _read(write_increment(tmp_path / "two", sync_of(said)), **{HIDDEN: DESK})[0].sender_jid == DESK  # type: ignore[union-attr]
    assert Alias(lid=HIDDEN, jid=DESK, source="history_sync") in recognise(
        write_increment(tmp_path / "three", behind)
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
    opened = recognise(write_increment(tmp_path / "one", sync_of(), **tables)).open(
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
    path = write_increment(tmp_path / "one", sync_of(same=(DESK, HIDDEN)), **tables)
    opened = recognise(path).open(path, address_book=None, known_aliases={})
    assert list(opened.contacts()) == [SourceContact(jid=DESK, name="Asha", name_source="own_profile")]


def test_lanes_and_skipping_part_the_messages_once_and_in_order(tmp_path: Path) -> None:
    chats = [f"9198470000{n}@s.whatsapp.net" for n in range(20, 25)]
    conversations = [
        conversation_of(chat, *(info_of(key_of(chat, f"{n}-{m}"), words("x"), AT - m) for m in range(n + 1)))
        for n, chat in enumerate(chats)
    ]
    path = write_increment(tmp_path / "one", sync_of(*conversations))
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
    path = write_increment(tmp_path / "bomb", bytes(64 * 1024 * 1024))
    with pytest.raises(BackupRefused, match="grows") as caught:
        _read(path)
    assert caught.value.code == "bomb"


def test_what_an_entry_claims_is_held_against_the_file(tmp_path: Path) -> None:
    path = write_increment(tmp_path / "bomb", sync_of())
    content = path.read_bytes()
    at = content.rindex(b"messages.bin") - 46
    lying = content[: at + 24] + (900 * 1024 * 1024).to_bytes(4, "little") + content[at + 28 :]
    path.write_bytes(lying)
    with pytest.raises(BackupRefused, match="grows") as caught:
        _read(path)
    assert caught.value.code == "bomb"


def test_a_cut_or_damaged_increment_is_refused(tmp_path: Path) -> None:
    whole = sync_of(conversation_of(DESK, info_of(key_of(DESK, "A1"), words("hello"))))
    for messages in (whole[:-1], whole + b"\x80", b"\xff" * 20, encode_varint(10**12)):
        with pytest.raises(BackupRefused):
            _read(write_increment(tmp_path / "one", messages))
    content = write_increment(tmp_path / "one", whole).read_bytes()
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
    nested = _protocol(14, "OLD", encode_field(14, _protocol(14, "OLD", encode_field(14, words("deep")))))
    content = bytearray(sync_of(conversation_of(GROUP, info_of(key_of(GROUP, "A1", sender=HIDDEN), nested), name="G")))
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    values = st.one_of(st.none(), st.integers(), st.text(), st.lists(st.integers()))
    rows = data.draw(st.lists(st.dictionaries(st.sampled_from(["_id", "user", "subject", "jid_row_id"]), values)))
    path = write_increment(tmp_path / "one", bytes(content), jid=rows, chat=rows)
    try:
        backup = recognise(path).open(path, address_book=None, known_aliases={})
    except BackupRefused:
        return
    list(backup.messages())
    backup.close()


def _reaction(to: bytes, text: str, at_ms: int = AT * 1000 + 5) -> bytes:
    return encode_field(46, encode_field(1, to) + encode_field(2, text.encode()) + encode_field(4, at_ms))


def test_reactions_are_told_beside_the_messages(tmp_path: Path) -> None:
    theirs = info_of(key_of(GROUP, "R1", sender=DESK), _reaction(key_of(GROUP, "G1"), "+"))
    ours = info_of(key_of(DESK, "R2", from_me=True), _reaction(key_of(DESK, "D1"), "", 0))
    unclear = info_of(key_of(GROUP, "R3", sender=DESK), _reaction(b"", "+"))
    rows = sync_of(conversation_of(GROUP, theirs, unclear), conversation_of(DESK, ours))
    path = write_increment(tmp_path / "one", rows, call_log=[{"_id": 1}], receipt_user=[{"_id": 1}, {"_id": 2}])
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
        info_of(key_of(group, "R1", from_me=True), _reaction(key_of(group, "PHOTO1", sender=DESK), "+")),
        info_of(key_of(group, "R2", sender=DESK), _reaction(key_of(group, "POLL1"), "!")),
        info_of(key_of(group, "R3", sender=DESK), _reaction(key_of(group, "NOWHERE"), "!")),
    ]
    plain = write_increment(tmp_path / "plain", sync_of(conversation_of(group, *infos)))
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
    said = conversation_of(GROUP, info_of(key_of(GROUP, "G1", sender=HIDDEN), words("hello")))
    plain = write_increment(tmp_path / "plain", sync_of(said), **tables)
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
    again = info_of(key_of(chat, known[0]["key_id"], from_me=known[0]["from_me"]), words("Last group message"))
    edit = encode_field(14, words("Changed my mind")) + encode_field(15, AT * 1000)
    changed = info_of(key_of(chat, "EDITED", from_me=True), _protocol(14, known[0]["key_id"], edit), AT + 1)
    new = info_of(key_of(chat, "NEW1", sender=DESK), words("and another"), AT + 2)
    plain = write_increment(
        tmp_path / "plain", sync_of(conversation_of(chat, again)) + sync_of(conversation_of(chat, changed, new))
    )
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
    revoked = _revocation(key_of(before["jid"], "REPLY1", sender="70000000000301@lid"))
    infos = [
        info_of(key_of(before["jid"], "GONE1", sender=DESK), revoked),
        info_of(key_of(before["jid"], "GONE2", from_me=True), revoked, AT + 1),
    ]
    plain = write_increment(tmp_path / "plain", sync_of(conversation_of(before["jid"], *infos)))
    path = tmp_path / "msgstore-increment-1.db.crypt15"
    encrypt(plain, path, backup_key=ROOT_KEY, with_md5=False)
    run = await vault.import_(path)
    assert (run.messages_new, run.messages_changed) == (0, 1)
    [after] = await vault.rows("SELECT text, revoked, raw_kind FROM message WHERE id = $1", before["id"])
    assert (after["text"], after["revoked"], after["raw_kind"]) == ("", True, 64)
