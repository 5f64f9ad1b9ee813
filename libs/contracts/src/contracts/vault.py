"""The WhatsApp vault: messages as they were archived, and the state of each import. Produced by vault-importer."""

from __future__ import annotations

from typing import ClassVar, Literal

from contracts.event import Event, UtcDatetime

__all__ = ["MessageImportedV1", "VaultStateV1"]


class MessageImportedV1(Event):
    type: ClassVar[str] = "message.imported.v1"

    message_id: str
    account_id: str
    chat_id: str
    chat_kind: Literal["direct", "group", "broadcast", "newsletter", "other"]
    chat_name: str = ""
    direction: Literal["in", "out"]
    sender_id: str | None = None
    """The contact who wrote it; absent on our own messages."""
    sender_number: str | None = None
    """E.164"""
    sender_name: str = ""
    peer_number: str | None = None
    """In a direct chat the other side's number (E.164), whoever wrote the message."""
    sent_at: UtcDatetime
    kind: str
    """``text``, ``image``, ``system`` …; ``other`` for codes that nobody has explained yet."""
    raw_kind: int
    text: str = ""
    revision: int = 1
    """Grows when an edit or a revocation changes what the message says."""
    revoked: bool = False

    def entity_id(self) -> str:
        return self.chat_id


class VaultStateV1(Event):
    type: ClassVar[str] = "vault.state.v1"

    account_id: str
    account_name: str = ""
    import_id: str
    state: Literal["started", "unchanged", "completed", "failed"]
    file_sha256: str
    at: UtcDatetime
    messages_new: int = 0
    messages_changed: int = 0
    messages_seen: int = 0
    contacts_seen: int = 0
    chats_seen: int = 0
    newest_message_at: UtcDatetime | None = None
    error: str | None = None
    """A sentence for the operator; never message text."""

    def entity_id(self) -> str:
        return self.account_id
