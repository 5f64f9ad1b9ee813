"""Readings: what one revision of one message says, and about whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Literal

from brain_distiller.distillers import distil, may_say
from brain_distiller.distillers.base import Mention
from contracts.vault import MessageImportedV1

__all__ = ["Reading", "may_mention", "number_of", "read", "subject_of"]

#: Where "today" is said: India has one time, all year round.
INDIA = timezone(timedelta(hours=5, minutes=30))
#: Written by WhatsApp, not by anybody.
UNSAID = frozenset({"system"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """All that one revision of a source mentions. Without mentions it takes back what earlier revisions said."""

    source_type: Literal["message", "transcript"] = "message"
    source_id: str
    revision: int
    revoked: bool = False
    subject: str
    at: datetime
    mentions: tuple[Mention, ...] = ()


def number_of(message: MessageImportedV1) -> str | None:
    """The number of whom the message tells: the other side of a direct chat, the writer in a group."""
    if message.chat_kind == "direct":
        return message.peer_number
    return message.sender_number if message.chat_kind == "group" else None


def subject_of(message: MessageImportedV1, customers: Mapping[str, str]) -> str:
    """Whose fact it would be; ``customers`` gives a number's customer. Known people before numbers before chats."""
    number = number_of(message)
    if number is None:
        return f"chat:{message.chat_id}"
    customer = customers.get(number)
    return f"contact:{number}" if customer is None else f"customer:{customer}"


def may_mention(message: MessageImportedV1) -> bool:
    """A cheap yes for every message that :func:`read` finds something in, and for a few more."""
    return not message.revoked and may_say(message.text)


def read(message: MessageImportedV1, customers: Mapping[str, str]) -> Reading:
    silent = message.revoked or message.kind in UNSAID
    return Reading(
        source_id=message.message_id,
        revision=message.revision,
        revoked=message.revoked,
        subject=subject_of(message, customers),
        at=message.sent_at,
        mentions=() if silent else distil(message.text, message.sent_at.astimezone(INDIA).date()),
    )
