from __future__ import annotations

import base64
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vault_importer.formats import recognise
from vault_importer.formats.base import HasSides, SideRow, SkippedRow, SourceContact, SourceMessage
from vault_importer.protobuf import encode_field
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

OURS, MEMBER = "919847000001@s.whatsapp.net", "919847000111@s.whatsapp.net"
HASH = bytes(range(32))


def _text(text: str, context: bytes) -> bytes:
    return encode_field(6, encode_field(1, text.encode()) + encode_field(17, context))


def _quoting(key_id: str, author: str, quoted: bytes = b"", chat: str = "") -> bytes:
    parts = encode_field(1, key_id.encode()) + encode_field(2, author.encode()) + encode_field(3, quoted)
    return parts + (encode_field(4, chat.encode()) if chat else b"")


def _beside(path: Path, *conversations: bytes) -> dict[str, list[Any]]:
    opened = recognise(write_increment(path, sync_of(*conversations))).open(
        path, address_book=None, known_aliases={HIDDEN: DESK}
    )
    assert isinstance(opened, HasSides)
    for side in opened.sides():
        assert list(side.rows(1)) == list(side.rows(0))[1:]
    return {side.name: list(side.rows(0)) for side in opened.sides()}


def _of_one(path: Path, message: bytes, chat: str = GROUP, **options: Any) -> dict[str, list[Any]]:
    return _beside(path, conversation_of(chat, info_of(key_of(chat, "A1", **options), message)))


@pytest.mark.parametrize(
    ("chat", "quoting", "author"),
    [
        (GROUP, _quoting("Q1", MEMBER), (GROUP, False, MEMBER)),
        (GROUP, _quoting("Q1", HIDDEN), (GROUP, False, DESK)),
        (GROUP, _quoting("Q1", OURS), (GROUP, True, "")),
        (DESK, _quoting("Q1", DESK), (DESK, False, "")),
        (DESK, _quoting("Q1", OURS), (DESK, True, "")),
        (DESK, _quoting("Q1", "77000009@lid"), (DESK, False, "")),
        (DESK, _quoting("Q1", MEMBER, chat=GROUP), (GROUP, False, MEMBER)),
        # Of what the increment holds itself it knows whose it is, whatever the quote says.
        (GROUP, _quoting("OWN", MEMBER), (GROUP, True, "")),
    ],
)
def test_a_quote_says_whose_message_it_answers(
    tmp_path: Path, chat: str, quoting: bytes, author: tuple[str, bool, str]
) -> None:
    own = conversation_of(GROUP, info_of(key_of(GROUP, "OWN", from_me=True, sender=OURS), words("ours")))
    answer = conversation_of(chat, info_of(key_of(chat, "A1", sender=DESK), _text("yes", quoting)))
    [row] = _beside(tmp_path / "one", own, answer)["message_quoted"]
    assert (row.chat_jid, row.from_me, row.person_jid) == author
    assert row.message_row == 2


def test_a_quote_has_the_text_and_the_kind_of_what_it_answers(tmp_path: Path) -> None:
    photo = encode_field(40, encode_field(1, encode_field(3, encode_field(3, b"The bill"))))
    beside = _of_one(tmp_path / "one", _text("paid", _quoting("Q1", MEMBER, photo)), sender=DESK)
    assert beside == {
        "message_quoted": [
            SideRow(
                {"quoted_key_id": "Q1", "quoted_at": None, "quoted_raw_kind": 1, "of_status": False,
                 "text": "The bill"}, 1, GROUP, False, MEMBER,
            )
        ]
    }  # fmt: skip
    status = _quoting("S1", DESK, encode_field(99, b"x"), chat="status@broadcast")
    [row] = _of_one(tmp_path / "two", _text("nice", status), DESK)["message_quoted"]
    assert (row.values["of_status"], row.values["quoted_raw_kind"], row.values["text"]) == (True, None, "")


def test_whom_a_message_names_and_how_often_it_was_forwarded(tmp_path: Path) -> None:
    named = [encode_field(15, each.encode()) for each in (MEMBER, HIDDEN, "120363000000000002@g.us")]
    message = _text("see", b"".join(named) + encode_field(21, 127) + encode_field(22, 1))
    path = write_increment(
        tmp_path / "one", sync_of(conversation_of(GROUP, info_of(key_of(GROUP, "A1", sender=DESK), message)))
    )
    opened = recognise(path).open(path, address_book=None, known_aliases={HIDDEN: DESK})
    assert isinstance(opened, HasSides)
    [side] = opened.sides()
    assert (side.name, side.into) == ("message_mentions", "mention")
    assert [(row.values["item"], row.person_jid) for row in side.rows(0) if isinstance(row, SideRow)] == [
        ("0", MEMBER), ("1", DESK), ("2", "120363000000000002@g.us")
    ]  # fmt: skip
    assert {each.jid for each in opened.contacts() if isinstance(each, SourceContact)} == {MEMBER, DESK}
    [said] = opened.messages()
    assert isinstance(said, SourceMessage)
    assert said.forward_score == 127


def _fields(*values: tuple[int, int | bytes]) -> bytes:
    return b"".join(encode_field(number, value) for number, value in values)


IMAGE = _fields((2, b"image/jpeg"), (4, HASH), (5, 1234), (6, 480), (7, 640))
PDF = _fields((2, b"application/pdf"), (4, HASH), (5, 9), (6, 3), (8, b"bill.pdf"), (20, b"The bill"))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            encode_field(3, IMAGE + encode_field(3, b"seen")),
            {"mime_type": "image/jpeg", "bytes": 1234, "height": 480, "width": 640},
        ),
        (encode_field(7, PDF),
         {"mime_type": "application/pdf", "bytes": 9, "pages": 3, "name": "bill.pdf", "caption": "The bill"}),
        (encode_field(8, _fields((2, b"audio/ogg"), (3, HASH), (4, 7), (5, 12))),
         {"mime_type": "audio/ogg", "bytes": 7, "duration_seconds": 12}),
        (encode_field(9, _fields((2, b"video/mp4"), (3, HASH), (4, 7), (5, 12), (9, 1), (10, 2))),
         {"mime_type": "video/mp4", "bytes": 7, "duration_seconds": 12, "height": 1, "width": 2}),
        (encode_field(66, _fields((2, b"video/mp4"), (3, HASH))), {"mime_type": "video/mp4"}),
        (encode_field(26, _fields((2, HASH), (5, b"image/webp"), (6, 1), (7, 2), (9, 3))),
         {"mime_type": "image/webp", "bytes": 3, "height": 1, "width": 2}),
    ],
    ids=["image", "document", "audio", "video", "video note", "sticker"],
)  # fmt: skip
def test_a_file_is_described_as_the_phone_describes_it(tmp_path: Path, message: bytes, told: dict[str, Any]) -> None:
    nothing = {"bytes": None, "duration_seconds": None, "width": None, "height": None, "pages": None, "name": "",
               "caption": "", "original_file_hash": "", "file_path": ""}  # fmt: skip
    beside = _of_one(tmp_path / "one", message, sender=DESK)
    values = {**nothing, "file_hash": base64.b64encode(HASH).decode(), **told}
    assert beside == {"message_media": [SideRow(values, message_row=1)]}


def test_a_hash_that_is_none_is_left_out(tmp_path: Path) -> None:
    [row] = _of_one(tmp_path / "one", encode_field(3, _fields((2, b"image/jpeg"), (4, bytes(9_000)))))["message_media"]
    assert row.values["file_hash"] == ""


def test_what_can_be_chosen_in_a_poll(tmp_path: Path) -> None:
    poll = _fields((2, b"Which day?"), (3, encode_field(1, b"Monday")), (3, encode_field(1, b"Tuesday")))
    assert _of_one(tmp_path / "one", encode_field(64, poll), sender=DESK) == {
        "message_poll_option": [
            SideRow({"item": "0", "name": "Monday", "votes": None}, message_row=1),
            SideRow({"item": "1", "name": "Tuesday", "votes": None}, message_row=1),
        ]
    }


def test_contact_cards(tmp_path: Path) -> None:
    cards = [_fields((1, b"Asha"), (16, b"BEGIN:VCARD 1")), _fields((1, b"Binu"), (16, b"BEGIN:VCARD 2"))]
    several = _fields((1, b"2 contacts"), *((2, card) for card in cards))
    expected = [
        SideRow({"source": "message_vcard", "item": str(n), "columns": {"vcard": f"BEGIN:VCARD {n + 1}"}}, 1)
        for n in (0, 1)
    ]
    assert _of_one(tmp_path / "one", encode_field(13, several)) == {"message_vcard": expected}
    assert _of_one(tmp_path / "two", encode_field(4, cards[0])) == {"message_vcard": expected[:1]}


def test_who_revoked_a_message_stands_beside_it(tmp_path: Path) -> None:
    revoked = encode_field(12, encode_field(1, key_of(GROUP, "ORIG", sender=MEMBER)) + encode_field(2, 0))
    columns = {"revoked_key_id": "ORIG", "revoke_timestamp": AT * 1000}
    for options, more in (({"sender": DESK}, {"admin_jid": DESK}), ({"sender": MEMBER}, {}), ({"from_me": True}, {})):
        [row] = _of_one(tmp_path / "one", revoked, **options)["message_revoked"]
        assert row.values == {"source": "message_revoked", "item": "0", "columns": {**columns, **more}}


def test_the_last_wording_says_whom_a_message_names(tmp_path: Path) -> None:
    def naming(jid: str) -> bytes:
        return _text("see", encode_field(15, jid.encode()))

    edit = encode_field(
        12, encode_field(1, key_of(GROUP, "A1")) + encode_field(2, 14) + encode_field(14, naming(MEMBER))
    )
    # The newest first, as WhatsApp often writes them.
    infos = [
        info_of(key_of(GROUP, "A2", sender=DESK), edit, AT + 9),
        info_of(key_of(GROUP, "A1", sender=DESK), naming(OURS)),
    ]
    rows = _beside(tmp_path / "one", conversation_of(GROUP, *infos))["message_mentions"]
    assert [row.person_jid for row in rows] == [OURS, MEMBER]


def test_the_edit_of_a_caption_says_nothing_of_the_file(tmp_path: Path) -> None:
    edit = encode_field(14, encode_field(3, encode_field(3, b"better")))
    message = encode_field(12, encode_field(1, key_of(DESK, "OLD")) + encode_field(2, 14) + edit)
    assert _of_one(tmp_path / "one", message, DESK) == {}


def test_reactions_and_votes_that_came_with_a_message(tmp_path: Path) -> None:
    poll = _fields((2, b"Which day?"), (3, encode_field(1, b"Monday")), (3, encode_field(1, b"Tuesday")))
    theirs, ours = key_of(GROUP, "R1", sender=MEMBER), key_of(GROUP, "R2", from_me=True)
    tuesday, nobodys = (encode_field(1, sha256(name).digest()) for name in (b"Tuesday", b"Sunday"))
    info = info_of(key_of(GROUP, "A1", sender=DESK), encode_field(64, poll)) + _fields(
        (41, _fields((1, theirs), (2, b"+"), (4, AT * 1000))),
        (41, _fields((1, ours), (4, AT * 1000 + 1))),
        (45, _fields((1, ours), (2, tuesday + nobodys), (3, AT * 1000 + 2))),
        (45, _fields((1, theirs), (2, b""), (3, AT * 1000 + 3))),
    )
    beside = _beside(tmp_path / "one", conversation_of(GROUP, info))
    assert beside["reaction"] == [
        SideRow({"reaction": "+", "reacted_at": AT * 1000}, 1, GROUP, False, MEMBER),
        SideRow({"reaction": "", "reacted_at": AT * 1000 + 1}, 1, GROUP, True, ""),
    ]
    assert beside["poll_update"] == [
        SideRow({"item": "1", "voted_at": AT * 1000 + 2}, 1, GROUP, True, ""),
        SkippedRow("poll_update", "no_option"),
        SkippedRow("poll_update", "nothing_chosen"),
    ]


def test_what_is_not_read_of_a_message_is_counted(tmp_path: Path) -> None:
    info = info_of(key_of(DESK, "A1"), words("hello")) + _fields((40, b""), (40, b""), (54, b""))
    path = write_increment(tmp_path / "one", sync_of(conversation_of(DESK, info)))
    opened = recognise(path).open(path, address_book=None, known_aliases={})
    assert isinstance(opened, HasSides)
    assert opened.unread() == {"pin_in_chat": 1, "user_receipt": 2}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_stands_beside_a_message_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    context = _quoting("Q1", MEMBER, encode_field(3, IMAGE)) + encode_field(15, HIDDEN.encode()) + encode_field(21, 5)
    poll = _fields((2, b"Which day?"), (3, encode_field(1, b"Monday")), (5, context))
    said = [encode_field(3, IMAGE + encode_field(17, context)), encode_field(64, poll), encode_field(4, b"\x0a\x01a")]
    infos = [info_of(key_of(GROUP, f"A{at}", sender=DESK), each) for at, each in enumerate(said)]
    content = bytearray(sync_of(conversation_of(GROUP, *infos)))
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = write_increment(tmp_path / "one", bytes(content))
    try:
        opened = recognise(path).open(path, address_book=None, known_aliases={})
    except BackupRefused:
        return
    assert isinstance(opened, HasSides)
    rows = {row.row for row in opened.messages() if isinstance(row, SourceMessage)}
    for side in opened.sides():
        assert {row.message_row for row in side.rows(0) if isinstance(row, SideRow)} <= {0, *rows}


@pytest.mark.real
async def test_the_next_whole_backup_changes_nothing_that_an_increment_brought(
    vault: Any, stores: Any, tmp_path: Path
) -> None:
    chat = "100000000000000001@g.us"
    whole = stores.beside()
    photo = encode_field(3, IMAGE + encode_field(3, b"The bill"))
    answering = _quoting("PHOTO1", DESK, photo) + encode_field(15, DESK.encode())
    infos = [
        info_of(key_of(chat, "PHOTO1", sender=DESK), photo, 1_700_000_001),
        info_of(key_of(chat, "REPLY1", sender="70000000000301@lid"), _text("As quoted", answering), 1_700_000_002),
        info_of(key_of(chat, "EVENT1", sender=DESK), encode_field(75, encode_field(3, b"Opening")), 1_700_000_005)
        + encode_field(41, _fields((1, key_of(chat, "R1", sender=DESK)), (2, b"+"), (4, 1_700_000_006_000))),
    ]
    plain = write_increment(
        tmp_path / "plain",
        sync_of(conversation_of(chat, *infos), same=("919847000011@s.whatsapp.net", "70000000000301@lid")),
    )
    path = tmp_path / "msgstore-increment-1.db.crypt15"
    encrypt(plain, path, backup_key=ROOT_KEY, with_md5=False)
    run = await vault.import_(path)
    told = {name: (each["seen"], each["new"]) for name, each in run.manifest["tables"].items()}
    once = ("message_media", "message_quoted", "message_mentions", "reaction")
    assert told == {"message": (3, 3), **dict.fromkeys(once, (1, 1))}
    [quote] = await vault.rows(
        "SELECT q.text, o.key_id FROM message_quote q JOIN message o ON o.id = q.quoted_message_id"
    )
    assert (quote["text"], quote["key_id"]) == ("The bill", "PHOTO1")
    [media] = await vault.rows("SELECT mime_type, bytes, file_hash FROM message_media")
    assert tuple(media.values()) == ("image/jpeg", 1234, base64.b64encode(HASH).decode())
    await vault.import_(whole)
    assert await vault.rows("SELECT 1 FROM message_revision") == []
    kinds = await vault.rows("SELECT kind FROM message WHERE key_id IN ('PHOTO1', 'REPLY1', 'EVENT1') ORDER BY key_id")
    assert [row["kind"] for row in kinds] == ["event", "image", "text"]
    # An increment that has them once more says less of them, and takes nothing away.
    beside = (
        "SELECT m.file_path, m.file_hash, q.quoted_at, q.quoted_raw_kind, n.name, n.raw_kind"
        " FROM message_media m, message_quote q, message_mention n"
    )
    before = await vault.rows(beside)
    assert before[0]["file_path"]
    assert before[0]["quoted_at"]
    again = tmp_path / "msgstore-increment-2.db.crypt15"
    encrypt(plain, again, backup_key=ROOT_KEY, iv=bytes(range(16)), with_md5=False)
    run = await vault.import_(again)
    assert (run.state, run.messages_changed) == ("completed", 0)
    assert await vault.rows(beside) == before
