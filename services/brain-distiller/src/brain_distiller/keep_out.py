"""What still arrives about a person who was forgotten has no effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from brain_distiller.distillers.base import Mention
from brain_distiller.readings import Reading
from contracts.vault import MessageImportedV1
from kit.postgres import Transaction
from recovery.erasure import erased_at, without_erased
from recovery.marks import person_named

__all__ = ["without_forgotten", "without_names"]


async def without_forgotten(messages: Sequence[MessageImportedV1], tx: Transaction) -> list[MessageImportedV1]:
    """Without what was written by, or with, a person who has been forgotten since."""
    return await without_erased(messages, tx, lambda message: (_names(message), message.sent_at))


async def without_names(readings: Sequence[Reading], tx: Transaction) -> list[Reading]:
    """Without mentions of a forgotten person's number or address in what others wrote before."""
    gone = await erased_at(tx, {name for each in readings for mention in each.mentions if (name := _named(mention))})
    return [_without(reading, gone) for reading in readings] if gone else list(readings)


def _without(reading: Reading, gone: Mapping[str, datetime]) -> Reading:
    def stays(mention: Mention) -> bool:
        until = gone.get(_named(mention) or "")
        return until is None or reading.at > until

    mentions = tuple(mention for mention in reading.mentions if stays(mention))
    return replace(reading, mentions=mentions)


def _named(mention: Mention) -> str | None:
    return person_named(mention.value_type, mention.value)


def _names(message: MessageImportedV1) -> list[str | None]:
    return [
        message.message_id, message.chat_id, message.sender_id, message.sender_number, message.peer_number,
    ]  # fmt: skip
