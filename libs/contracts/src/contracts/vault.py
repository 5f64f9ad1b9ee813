"""The WhatsApp vault: messages as they were archived, and the state of each import. Produced by vault-importer."""

from __future__ import annotations

from typing import ClassVar, Literal

from contracts.event import Event, UtcDatetime

__all__ = ["MessageImportedV1", "VaultStateV1"]


class MessageImportedV1(Event):
    """A message is in the archive, for the first time or in a newer revision."""

    type: ClassVar[str] = "message.imported.v1"

    message_id: str
    """Our own id, the same through all revisions."""
    account_id: str
    """The WhatsApp account that the backup belongs to."""
    chat_id: str
    """Our own id of the chat."""
    chat_kind: Literal["direct", "group", "broadcast", "newsletter", "other"]
    """What sort of chat it is."""
    chat_name: str = ""
    """Subject of a group, or the contact's name."""
    direction: Literal["in", "out"]
    """Seen from the business."""
    sender_id: str | None = None
    """The contact who wrote it; absent on our own messages."""
    sender_number: str | None = None
    """E.164"""
    sender_name: str = ""
    """As the account knew them."""
    peer_number: str | None = None
    """In a direct chat the other side's number (E.164), whoever wrote the message."""
    sent_at: UtcDatetime
    """The sender's clock, as archived."""
    kind: str
    """``text``, ``image``, ``system`` …; ``other`` for codes that nobody has explained yet."""
    raw_kind: int
    """The store's own code of the kind."""
    text: str = ""
    """Empty when the message has none."""
    revision: int = 1
    """Grows when an edit or a revocation changes what the message says."""
    revoked: bool = False
    """The sender took it back."""

    def entity_id(self) -> str:
        return self.chat_id


class VaultStateV1(Event):
    """An import began, found nothing new, came to its end or failed."""

    type: ClassVar[str] = "vault.state.v1"

    account_id: str
    """The WhatsApp account that the backup belongs to."""
    account_name: str = ""
    """As shown to people."""
    import_id: str
    """Our own id of the import."""
    state: Literal["started", "unchanged", "completed", "failed"]
    """``unchanged`` when the very same file was imported before."""
    file_sha256: str
    """Of the file as it was handed in."""
    at: UtcDatetime
    """When the state began."""
    messages_new: int = 0
    """Never seen before."""
    messages_changed: int = 0
    """Seen before, and now in a newer revision."""
    messages_seen: int = 0
    """All messages in the file."""
    contacts_seen: int = 0
    """All contacts in the file."""
    chats_seen: int = 0
    """All chats in the file."""
    newest_message_at: UtcDatetime | None = None
    """How fresh the archive is."""
    error: str | None = None
    """A sentence for the operator; never message text."""

    def entity_id(self) -> str:
        return self.account_id
