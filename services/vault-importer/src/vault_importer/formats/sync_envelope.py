"""Whose a message is that came by an increment: the four parts of its key, and of the key by which another names it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from vault_importer.formats.sync_content import bytes_of, int_of, text_of
from vault_importer.identity import canonical, kind_of_chat

__all__ = [
    "Author",
    "Envelope",
    "Known",
    "address",
    "author_of_key",
    "author_of_quoted",
    "author_of_revoked",
    "envelope_of",
]

# WebMessageInfo
KEY, MESSAGE, TIMESTAMP, PARTICIPANT, OWN_ADDRESS = 1, 2, 3, 5, 51
# MessageKey
REMOTE_JID, FROM_ME, ID, KEY_PARTICIPANT = 1, 2, 3, 4


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


def address(jid: str, aliases: Mapping[str, str]) -> str:
    """The canonical form of an address; empty for none."""
    user, _, server = jid.rpartition("@")
    return canonical(user, server, aliases) if user else ""


def envelope_of(raw: bytes, aliases: Mapping[str, str]) -> Envelope:
    """Raises :class:`protobuf.Malformed`."""
    key = bytes_of(raw, KEY)
    chat = address(text_of(key, REMOTE_JID), aliases)
    named = address(text_of(key, KEY_PARTICIPANT) or text_of(raw, PARTICIPANT), aliases)
    author = _author(key, chat, named)
    own: tuple[str, ...] = ()
    if author.from_me and kind_of_chat(chat) != "direct":
        own = tuple(each for each in (named, address(text_of(raw, OWN_ADDRESS), aliases)) if each)
    return Envelope(chat, text_of(key, ID), author, int_of(raw, TIMESTAMP), own)


def author_of_key(key: bytes, chat: str, aliases: Mapping[str, str]) -> Author:
    """Who did what a key stands for, as the account sees it."""
    return _author(key, chat, address(text_of(key, KEY_PARTICIPANT), aliases))


def _author(key: bytes, chat: str, named: str) -> Author:
    from_me = int_of(key, FROM_ME) == 1
    return Author(from_me, "" if from_me or kind_of_chat(chat) == "direct" else named)


def author_of_revoked(key: bytes, chat: str, by: Author, known: Known) -> Author:
    """Whose the message is that somebody revokes: an administrator revokes what others wrote."""
    if kind_of_chat(chat) != "group":
        return by
    found = known.authors.get((chat, text_of(key, ID)))
    if found is not None:
        return found
    # The key is as whoever revokes sees it: "from me" says that they wrote it themselves.
    named = address(text_of(key, KEY_PARTICIPANT), known.aliases)
    if int_of(key, FROM_ME) == 1:
        return Author(True, "") if named and named in known.own else by
    if not named:
        return by
    return Author(True, "") if named in known.own else Author(False, named)


def author_of_quoted(key_id: str, chat: str, named: str, known: Known) -> Author:
    """Whose a quoted message is, of which the quote has the chat, the id and the author's address."""
    found = known.authors.get((chat, key_id))
    if found is not None:
        return found
    if named in known.own:
        return Author(True, "")
    if kind_of_chat(chat) != "direct":
        return Author(False, named)
    # One of the two sides; a hidden identity that nobody knows can be of either.
    ours = named != chat and named.rpartition("@")[2] == chat.rpartition("@")[2]
    return Author(ours, "")
