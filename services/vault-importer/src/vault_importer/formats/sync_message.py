"""One message as WhatsApp sends it between its own devices (``WebMessageInfo``), in the words of an Android store.

The kinds are Android's codes, so that a message which came by an increment is not changed by the next whole backup.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from vault_importer import protobuf
from vault_importer.formats.android_kinds import KINDS, REVOKED_KINDS, WAITING
from vault_importer.formats.base import SideRow, SkippedRow, SourceMessage
from vault_importer.formats.msgstore_tables import MAX_KEY_CHARACTERS
from vault_importer.formats.sqlite_source import clean
from vault_importer.identity import canonical, kind_of_chat

__all__ = [
    "REACTIONS",
    "TABLE",
    "Author",
    "Envelope",
    "Known",
    "address",
    "envelope_of",
    "message_of",
    "reaction_of",
    "text_of",
]

TABLE, REACTIONS = "message", "reaction"
# WebMessageInfo
KEY, MESSAGE, TIMESTAMP, PARTICIPANT, STUB_TYPE, OWN_ADDRESS = 1, 2, 3, 5, 24, 51
# MessageKey
REMOTE_JID, FROM_ME, ID, KEY_PARTICIPANT = 1, 2, 3, 4
#: Messages around a message: device-sent, view-once, ephemeral, with caption, edited.
WRAPPERS = {31: 2, 37: 1, 40: 1, 53: 1, 55: 1, 58: 1, 59: 1}
VIEW_ONCE = {37, 55, 59}
DEPTH = 6
#: Field of the message: Android's code, and the path to the text that goes with it.
CONTENTS: dict[int, tuple[int, int]] = {
    1: (0, 0), 6: (0, 1), 3: (1, 3), 8: (2, 0), 9: (3, 7), 4: (4, 0), 5: (5, 0), 7: (9, 20), 13: (14, 0),
    18: (16, 6), 26: (20, 0), 28: (24, 0), 49: (66, 2), 60: (66, 2), 64: (66, 2),
}  # fmt: skip
ONCE_CODES = {1: 42, 3: 43, 2: 82}
GIF_FIELD, GIF, VIDEO = 8, 13, 3
PROTOCOL, REACTION = 12, 46
REACTION_KEY, REACTION_TEXT, REACTED_AT_MS = 1, 2, 4
PROTOCOL_KEY, PROTOCOL_TYPE, EDITED_MESSAGE, EDITED_AT_MS = 1, 2, 14, 15
REVOKE, EDIT = 0, 14
REVOKED, REVOKED_BY_ADMIN, SYSTEM = 15, 64, 7
#: What stands in the place of a message that was revoked, or that had not arrived yet; all others are notices.
STUBS = {1: REVOKED, 2: WAITING, 132: REVOKED_BY_ADMIN}
LOCATION = {1: "latitude", 2: "longitude", 3: "place_name", 4: "place_address", 5: "url"}
LATEST_SECONDS = 253_402_214_400


class Author(NamedTuple):
    """Whose a message is, as its key has it."""

    from_me: bool
    sender: str
    """Empty for our own messages, and for both sides of a direct chat."""


class Envelope(NamedTuple):
    """What is known of a message without opening it."""

    chat: str
    key_id: str
    author: Author
    sent_at: int
    """Seconds."""
    own: tuple[str, ...]
    """Addresses of the account itself that stand on it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What tells whose a message is that another one names."""

    aliases: Mapping[str, str]
    authors: Mapping[tuple[str, str], Author]
    """By chat and key id."""
    own: Container[str]
    """Addresses of the account itself."""


def envelope_of(raw: bytes, aliases: Mapping[str, str]) -> Envelope:
    """Raises :class:`protobuf.Malformed`."""
    key = _bytes(raw, KEY)
    chat = address(text_of(key, REMOTE_JID), aliases)
    named = address(text_of(key, KEY_PARTICIPANT) or text_of(raw, PARTICIPANT), aliases)
    from_me, direct = _int(key, FROM_ME) == 1, kind_of_chat(chat) == "direct"
    own: tuple[str, ...] = ()
    if from_me and not direct:
        own = tuple(each for each in (named, address(text_of(raw, OWN_ADDRESS), aliases)) if each)
    author = Author(from_me, "" if from_me or direct else named)
    return Envelope(chat, text_of(key, ID), author, _int(raw, TIMESTAMP), own)


def message_of(raw: bytes, known: Known) -> SourceMessage | SkippedRow:
    """Raises :class:`protobuf.Malformed`."""
    chat, key_id, author, sent, _ = envelope_of(raw, known.aliases)
    if not chat:
        return SkippedRow(TABLE, "no_chat")
    if not key_id or not 0 < sent < LATEST_SECONDS:
        return SkippedRow(TABLE, "no_time" if key_id else "no_key")
    said = _said(_bytes(raw, MESSAGE), _int(raw, STUB_TYPE), sent * 1000)
    if isinstance(said, str):
        return SkippedRow(TABLE, said)
    earlier, code, text, edited_at_ms, details = said
    if code == REVOKED and earlier:
        # An administrator revokes what somebody else wrote, and a message is known by whoever wrote it.
        revoked_by, author = author, _author_of_revoked(_bytes(raw, MESSAGE), chat, author, known)
        code = REVOKED if author == revoked_by else REVOKED_BY_ADMIN
    return SourceMessage(
        chat, author.from_me, key_id, earlier if earlier != (key_id,) else (), author.sender, sent * 1000,
        KINDS.get(code, "other"), code, text, edited_at_ms, code in REVOKED_KINDS, 0, details,
    )  # fmt: skip


def _author_of_revoked(message: bytes, chat: str, by: Author, known: Known) -> Author:
    if kind_of_chat(chat) != "group":
        return by
    key = _bytes(_bytes(_unwrapped(message)[0], PROTOCOL), PROTOCOL_KEY)
    found = known.authors.get((chat, text_of(key, ID)))
    if found is not None:
        return found
    # The key is as whoever revokes sees it: "from me" says that they wrote it themselves.
    named = address(text_of(key, KEY_PARTICIPANT), known.aliases)
    if _int(key, FROM_ME) == 1:
        return Author(True, "") if named and named in known.own else by
    if not named:
        return by
    return Author(True, "") if named in known.own else Author(False, named)


def reaction_of(raw: bytes, aliases: Mapping[str, str]) -> SideRow | SkippedRow | None:
    """What a message that is a reaction says; nothing for any other. Raises :class:`protobuf.Malformed`."""
    message, _ = _unwrapped(_bytes(raw, MESSAGE))
    reaction = _bytes(message, REACTION)
    if not reaction:
        return None
    key, target = _bytes(raw, KEY), _bytes(reaction, REACTION_KEY)
    chat, from_me = address(text_of(key, REMOTE_JID), aliases), _int(key, FROM_ME) == 1
    if not chat or not text_of(target, ID):
        return SkippedRow(REACTIONS, "no_chat" if not chat else "no_key")
    by = text_of(key, KEY_PARTICIPANT) or text_of(raw, PARTICIPANT)
    at = _int(reaction, REACTED_AT_MS)
    values = {
        "reaction": text_of(reaction, REACTION_TEXT)[:MAX_KEY_CHARACTERS],
        "reacted_at": at if 0 < at < LATEST_SECONDS * 1000 else _int(raw, TIMESTAMP) * 1000,
        "of_key_id": text_of(target, ID)[:MAX_KEY_CHARACTERS],
        "of_sender": address(text_of(target, KEY_PARTICIPANT), aliases),
    }
    direct = kind_of_chat(chat) == "direct"
    return SideRow(values, chat_jid=chat, from_me=from_me, person_jid="" if from_me or direct else address(by, aliases))


def address(jid: str, aliases: Mapping[str, str]) -> str:
    """The canonical form of an address; empty for none."""
    user, _, server = jid.rpartition("@")
    return canonical(user, server, aliases) if user else ""


def text_of(message: bytes, number: int) -> str:
    return clean(_bytes(message, number))


_Said = tuple[tuple[str, ...], int, str, int, Mapping[str, Any] | None]


def _said(message: bytes, stub: int, sent_at_ms: int) -> _Said | str:
    """Earlier ids, code, text, when it was edited, details; or why there is no message."""
    message, once = _unwrapped(message)
    protocol = _bytes(message, PROTOCOL)
    if protocol:
        return _changed(protocol, sent_at_ms)
    return _content(message, once, stub)


def _content(message: bytes, once: bool, stub: int) -> _Said | str:
    if _bytes(message, REACTION):
        return "reaction"
    for number, (code, text_field) in CONTENTS.items():
        content = protobuf.first(message, number)
        if not isinstance(content, bytes):
            continue
        text = clean(content) if number == 1 else text_of(content, text_field) if text_field else ""
        if code == VIDEO and _int(content, GIF_FIELD):
            code = GIF
        details = _place(content) if number in (5, 18) else None
        return (), ONCE_CODES.get(code, code) if once else code, text, 0, details
    if stub:
        code = STUBS.get(stub, SYSTEM)
        return (), code, "", 0, {"stub_type": stub} if code == SYSTEM else None
    return ((), -1, "", 0, None) if message else "empty"


def _unwrapped(message: bytes) -> tuple[bytes, bool]:
    once = False
    for _ in range(DEPTH):
        wrapper = next((number for number, _ in protobuf.fields(message) if number in WRAPPERS), None)
        if wrapper is None:
            break
        once = once or wrapper in VIEW_ONCE
        message = _bytes(_bytes(message, wrapper), WRAPPERS[wrapper])
    return message, once


def _changed(protocol: bytes, sent_at_ms: int) -> _Said | str:
    """A revocation or an edit: it has an id of its own and names the message that it changes."""
    original = text_of(_bytes(protocol, PROTOCOL_KEY), ID)
    what = _int(protocol, PROTOCOL_TYPE)
    if not original or what not in (REVOKE, EDIT):
        return "protocol"
    if what == REVOKE:
        return (original,), REVOKED, "", 0, None
    edited = _content(*_unwrapped(_bytes(protocol, EDITED_MESSAGE)), 0)
    if isinstance(edited, str):
        return "protocol"
    _, code, text, _, details = edited
    at = _int(protocol, EDITED_AT_MS)
    return (original,), code, text, at if 0 < at < LATEST_SECONDS * 1000 else sent_at_ms, details


def _place(content: bytes) -> Mapping[str, Any]:
    details: dict[str, Any] = {}
    for number, value in protobuf.fields(content):
        name = LOCATION.get(number)
        if name is None or not isinstance(value, bytes):
            continue
        if number <= 2 and len(value) == 8:
            [degrees] = struct.unpack("<d", value)
            if abs(degrees) <= 360:
                details[name] = degrees
        elif number > 2 and value:
            details[name] = clean(value)
    return details


def _bytes(message: bytes, number: int) -> bytes:
    value = protobuf.first(message, number)
    return value if isinstance(value, bytes) else b""


def _int(message: bytes, number: int) -> int:
    value = protobuf.first(message, number)
    return value if isinstance(value, int) else 0
