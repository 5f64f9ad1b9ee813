"""What a source of messages must offer, whatever it was: an Android store, an iOS one, an exported text.

A format opens a file that is already plain and authentic, and gives contacts, chats and messages in the vault's
own words. It decides nothing about tenants, ids or what is new. It runs in a worker thread, reads in constant
memory and never writes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

__all__ = [
    "Alias",
    "Backup",
    "ChatKind",
    "Compares",
    "Format",
    "HasSides",
    "LeftOut",
    "LookedUp",
    "MessageRows",
    "NameSource",
    "Side",
    "SideRow",
    "SkippedRow",
    "SourceChat",
    "SourceContact",
    "SourceMessage",
    "of_lane",
]

K = TypeVar("K")

ChatKind = Literal["direct", "group", "broadcast", "newsletter", "other"]

NameSource = Literal["none", "own_profile", "verified", "address_book"]
"""Where a name comes from, in growing order of trust: what people call themselves, what the platform has
verified, what the owner of the phone calls them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alias:
    """Two identities of one person: a hidden one (``…@lid``) and the one with the number."""

    lid: str
    jid: str
    source: str
    """The table that says so, so that a wrong one can be found and undone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceContact:
    jid: str
    """Canonical: without device, and the number's identity where it is known."""
    name: str = ""
    name_source: NameSource = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceChat:
    jid: str
    """Canonical, as of a contact."""
    kind: ChatKind
    name: str = ""


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that cannot be kept, and why; the reason ends in the import's manifest."""

    table: str
    reason: str


class SourceMessage(NamedTuple):
    """One message as its source has it. A tuple, since there are millions."""

    chat_jid: str
    from_me: bool
    key_id: str
    earlier_key_ids: tuple[str, ...]
    """Ids it was known by before an edit or a revocation gave it another, the first one first."""
    sender_jid: str
    """Empty where the source names nobody: our own messages, and both sides of a direct chat."""
    sent_at_ms: int
    kind: str
    raw_kind: int
    text: str
    edited_at_ms: int
    """0 when the message was never edited."""
    revoked: bool
    forward_score: int
    details: Mapping[str, Any] | None
    """What this kind of message carries besides text, for instance a place."""
    row: int = 0
    """By which number the source's other tables name it; 0 where it has no such tables."""


MessageRows = Generator[SourceMessage | SkippedRow, None, None]
"""To be closed before the backup is."""


class SideRow(NamedTuple):
    """A row of a table beside the messages, in the source's own references. Which of them count is up to ``into``."""

    values: Mapping[str, Any]
    """By the vault's column. Times are milliseconds of the epoch, 0 for none; whatever is no number where one is
    expected becomes NULL."""
    message_row: int = 0
    """0 where the row names its message by ``of_key_id`` among the values, perhaps one that another backup has."""
    chat_jid: str = ""
    from_me: bool = False
    """Whether the account itself did it, rather than ``person_jid``."""
    person_jid: str = ""
    """Canonical; empty in a direct chat means its other side."""
    links: Mapping[str, int] = {}
    """Other messages that the row names, by the name under which their ids are kept."""


SideRows = Generator[SideRow | SkippedRow, None, None]


class LookedUp(NamedTuple):
    """A row of a table that says who is who."""

    table: str
    address: str
    """Canonical: of a person or a chat."""
    other: str = ""
    """With ``address`` a pair of identities, as :class:`Alias` has them."""
    reason: str = ""
    """Why nothing can come of the row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One table beside the messages."""

    name: str
    """The table, as the source calls it."""
    into: str
    """What it is, by the name of one of the vault's targets (``sides_store.TARGETS``)."""
    rows: Callable[[int], SideRows]
    """One item for each row, in the same order every time, behind as many as are given. Runs in a worker thread."""


@runtime_checkable
class HasSides(Protocol):
    """A source that holds more than contacts, chats and messages."""

    def sides(self) -> Sequence[Side]:
        """The tables that hold anything, in the order in which they are to be taken. Their messages are known by
        then."""
        ...

    def lookups(self) -> Iterator[LookedUp]:
        """One item for each row of the tables from which people, chats and identities were made."""
        ...

    def unread(self) -> Mapping[str, int]:
        """Tables that are not read, with how many rows they hold."""
        ...


class LeftOut(NamedTuple):
    """What is not read, since it is as it was in a backup that the vault holds."""

    rows: Mapping[str, int]
    """Of each table."""
    newest_ms: int
    """When the newest message among them was sent; 0 for none."""


@runtime_checkable
class Compares(Protocol):
    """A source that can tell what of it is as it was in another backup. Asked before contacts, chats and messages."""

    def digests(self, salt: bytes, share: int = 0, shares: int = 1) -> Mapping[int, bytes]:
        """Of parts of the store: the same digest under the same salt means that nothing in the part is different.

        All shares together give those of all parts, each once; one share is about as much work as another."""
        ...

    def leave_out(self, parts: Sequence[int]) -> LeftOut:
        """Give nothing of these parts from now on, but what the others name."""
        ...


class Backup(Protocol):
    """An opened source. Iterators are consumed in this order: aliases, contacts, chats, messages."""

    def rows(self) -> Mapping[str, int]:
        """How many rows each table that is read holds; ``message`` is always there."""
        ...

    def aliases(self) -> Iterator[Alias]: ...

    def contacts(self) -> Iterator[SourceContact | SkippedRow]: ...

    def chats(self) -> Iterator[SourceChat | SkippedRow]: ...

    def messages(self, *, lane: int = 0, lanes: int = 1, skip: int = 0) -> MessageRows:
        """One item for each source row of one lane: a part of the chats, of about the same size as each other lane.

        Chat by chat, in each chat the oldest first; the same lanes and the same order every time, so that ``skip``
        continues where an interrupted import stopped.
        """
        ...

    def close(self) -> None: ...


class Format(Protocol):
    name: str

    def recognises(self, path: Path) -> bool:
        """Whether this file is of this format. Must not raise on foreign or hostile files."""
        ...

    def open(self, path: Path, *, address_book: Path | None, known_aliases: Mapping[str, str]) -> Backup:
        """Open a file that was recognised. ``known_aliases`` (hidden identity to numbered one) come from earlier
        imports; ``address_book`` is a plain ``wa.db``."""
        ...


def of_lane(sizes: Iterable[tuple[K, int]], lane: int, lanes: int) -> list[K]:
    """Those of one lane, in their order: each goes to the lane that has least so far. Give the largest first, ties in
    an order of their own: an interrupted import must find every lane as it was."""
    loads = [0] * lanes
    chosen = []
    for each, size in sizes:
        least = loads.index(min(loads))
        loads[least] += size
        if least == lane:
            chosen.append(each)
    return chosen
