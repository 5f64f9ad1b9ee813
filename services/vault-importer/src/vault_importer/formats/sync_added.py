"""What others did to a message, where it came with the message itself (``WebMessageInfo``): reactions and votes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256

from vault_importer.formats.base import SideRow, SkippedRow, SourceMessage
from vault_importer.formats.msgstore_tables import MAX_KEY_CHARACTERS
from vault_importer.formats.sync_content import POLLS, Content, all_of, bytes_of, content_of, int_of, text_of, unwrapped
from vault_importer.formats.sync_envelope import MESSAGE, Author, author_of_key

__all__ = ["ADDED", "REACTIONS", "VOTES", "rows_added"]

REACTIONS, VOTES = "reaction", "poll_update"
# WebMessageInfo
REACTION, POLL_UPDATE = 41, 45
ADDED = frozenset({REACTION, POLL_UPDATE})
# Reaction and PollUpdate
KEY, TEXT, VOTE, VOTED_AT_MS, REACTED_AT_MS = 1, 2, 2, 3, 4
CHOSEN = 1
POLL_OPTIONS, OPTION_NAME = 3, 1


def rows_added(
    raw: bytes, message: SourceMessage, aliases: Mapping[str, str]
) -> Iterator[tuple[str, SideRow | SkippedRow]]:
    """Each with the name of its table."""
    chat, row = message.chat_jid, message.row
    for each in all_of(raw, REACTION):
        values = {"reaction": text_of(each, TEXT)[:MAX_KEY_CHARACTERS], "reacted_at": int_of(each, REACTED_AT_MS)}
        yield REACTIONS, SideRow(values, row, chat, *author_of_key(bytes_of(each, KEY), chat, aliases))
    updates = list(all_of(raw, POLL_UPDATE))
    options = _options(raw) if updates else {}
    for each in updates:
        by, at = author_of_key(bytes_of(each, KEY), chat, aliases), int_of(each, VOTED_AT_MS)
        for vote in _votes(bytes_of(each, VOTE), options, message, by, at):
            yield VOTES, vote


def _votes(
    vote: bytes, options: Mapping[bytes, int], message: SourceMessage, by: Author, at: int
) -> Iterator[SideRow | SkippedRow]:
    chosen = list(all_of(vote, CHOSEN))
    if not chosen:
        yield SkippedRow(VOTES, "nothing_chosen")
    for digest in chosen:
        item = options.get(digest)
        if item is None:
            yield SkippedRow(VOTES, "no_option")
            continue
        yield SideRow({"item": str(item), "voted_at": at}, message.row, message.chat_jid, *by)


def _options(raw: bytes) -> dict[bytes, int]:
    """The places of a poll's options by the digest of their names, by which a vote has them."""
    content = content_of(*unwrapped(bytes_of(raw, MESSAGE)))
    if not isinstance(content, Content) or content.field not in POLLS:
        return {}
    names = [bytes_of(option, OPTION_NAME) for option in all_of(content.raw, POLL_OPTIONS)]
    return {sha256(name).digest(): item for item, name in reversed(list(enumerate(names)))}
