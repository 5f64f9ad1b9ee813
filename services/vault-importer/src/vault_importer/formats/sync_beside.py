"""What a message that came by an increment says besides its text, as rows of the tables in which an Android store has
it: files, quotes, mentions, what can be voted for, contact cards."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from vault_importer.formats.base import SideRow, SourceMessage
from vault_importer.formats.msgstore_tables import MAX_KEY_CHARACTERS
from vault_importer.formats.sqlite_source import clean
from vault_importer.formats.sync_content import (
    MEDIA,
    POLLS,
    Content,
    all_of,
    bytes_of,
    content_of,
    int_of,
    text_of,
    unwrapped,
)
from vault_importer.formats.sync_envelope import Author, Known, address, author_of_quoted

__all__ = ["INTO", "Row", "forward_score_of", "revocation_beside", "rows_beside"]

MEDIA_TABLE, QUOTED, MENTIONS, OPTIONS = "message_media", "message_quoted", "message_mentions", "message_poll_option"
CARDS, REVOKED = "message_vcard", "message_revoked"
#: The tables by what becomes of their rows, in the order in which they are taken.
INTO: Mapping[str, str] = {
    MEDIA_TABLE: "media",
    QUOTED: "quote",
    MENTIONS: "mention",
    OPTIONS: "poll_option",
    CARDS: "detail",
    REVOKED: "detail",
}
STATUS = "status@broadcast"
#: SHA-256.
HASH_BYTES = 32
# ContextInfo
STANZA_ID, PARTICIPANT, QUOTED_MESSAGE, REMOTE_JID, MENTIONED, FORWARDING_SCORE, IS_FORWARDED = 1, 2, 3, 4, 15, 21, 22
CONTACT, CONTACTS, CARDS_IN_CONTACTS, CARD = 4, 13, 2, 16
POLL_OPTIONS, OPTION_NAME = 3, 1
MOST_SCORE = 2**31

Row = tuple[str, SideRow]


def rows_beside(content: Content, message: SourceMessage, known: Known) -> Iterator[Row]:
    """Each with the name of its table."""
    if content.field in MEDIA:
        yield from _media(content, message.row)
    yield from _quote(content.context, message, known)
    for item, value in enumerate(all_of(content.context, MENTIONED)):
        jid = address(clean(value), known.aliases)
        named = {"item": str(item), "address": jid, "name": "", "raw_kind": None}
        yield MENTIONS, SideRow(named, message_row=message.row, person_jid=jid)
    if content.field in POLLS:
        for item, option in enumerate(all_of(content.raw, POLL_OPTIONS)):
            choice = {"item": str(item), "name": text_of(option, OPTION_NAME), "votes": None}
            yield OPTIONS, SideRow(choice, message_row=message.row)
    for item, card in enumerate(_cards(content)):
        yield CARDS, _detail(CARDS, item, {"vcard": card}, message.row)


def revocation_beside(message: SourceMessage, original: str, by: Author) -> Row:
    """What a store keeps of a message that was revoked: its first id, when, and which administrator did it."""
    columns: dict[str, Any] = {"revoked_key_id": original, "revoke_timestamp": message.sent_at_ms}
    if by.sender and by.sender != message.sender_jid:
        columns["admin_jid"] = by.sender
    return REVOKED, _detail(REVOKED, 0, columns, message.row)


def forward_score_of(content: Content) -> int:
    score = int_of(content.context, FORWARDING_SCORE) or int_of(content.context, IS_FORWARDED)
    return score if score < MOST_SCORE else 0


def _media(content: Content, row: int) -> Iterator[Row]:
    at, raw = MEDIA[content.field], content.raw
    hash_ = bytes_of(raw, at.file_hash)
    if not hash_ and not bytes_of(raw, at.mime_type):
        return  # The edit of a caption says nothing of the file.

    def text(number: int) -> str:
        return text_of(raw, number) if number else ""

    def number(field: int) -> int | None:
        return (int_of(raw, field) or None) if field else None

    values = {
        "mime_type": text(at.mime_type),
        "bytes": number(at.bytes),
        "duration_seconds": number(at.duration_seconds),
        "width": number(at.width),
        "height": number(at.height),
        "pages": number(at.pages),
        "name": text(at.name),
        "caption": text(at.caption),
        "file_hash": base64.b64encode(hash_).decode() if len(hash_) == HASH_BYTES else "",
        "original_file_hash": "",
        "file_path": "",
    }
    yield MEDIA_TABLE, SideRow(values, message_row=row)


def _quote(context: bytes, message: SourceMessage, known: Known) -> Iterator[Row]:
    key_id = text_of(context, STANZA_ID)[:MAX_KEY_CHARACTERS]
    if not key_id:
        return
    chat = address(text_of(context, REMOTE_JID), known.aliases) or message.chat_jid
    author = author_of_quoted(key_id, chat, address(text_of(context, PARTICIPANT), known.aliases), known)
    quoted = content_of(*unwrapped(bytes_of(context, QUOTED_MESSAGE)))
    values = {
        "quoted_key_id": key_id,
        "quoted_at": None,
        "quoted_raw_kind": quoted.code if isinstance(quoted, Content) and quoted.code >= 0 else None,
        "of_status": chat == STATUS,
        "text": quoted.text if isinstance(quoted, Content) else "",
    }
    yield QUOTED, SideRow(values, message.row, chat, *author)


def _cards(content: Content) -> Iterator[str]:
    contacts = all_of(content.raw, CARDS_IN_CONTACTS) if content.field == CONTACTS else iter([content.raw])
    if content.field in (CONTACT, CONTACTS):
        yield from filter(None, (text_of(each, CARD) for each in contacts))


def _detail(table: str, item: int, columns: Mapping[str, Any], row: int) -> SideRow:
    return SideRow({"source": table, "item": str(item), "columns": columns}, message_row=row)
