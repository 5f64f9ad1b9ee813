"""What still arrives about a person who was forgotten has no effect."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from brain_distiller.readings import Reading
from contracts.vault import MessageImportedV1
from kit.postgres import Transaction
from recovery.erasure import erased
from recovery.marks import person_named

__all__ = ["without_erased", "without_names"]


async def without_erased(messages: Sequence[MessageImportedV1], tx: Transaction) -> list[MessageImportedV1]:
    """Without what was written by, or with, a person who has been forgotten since."""
    told: dict[str, datetime] = {}
    for message in messages:
        for name in _names(message):
            told[name] = min(told.get(name, message.sent_at), message.sent_at)
    suspects = await erased(tx, told)
    if not suspects:
        return list(messages)
    return [
        message
        for message in messages
        if not (named := suspects.intersection(_names(message)))
        or not await erased(tx, dict.fromkeys(named, message.sent_at))
    ]


async def without_names(readings: Sequence[Reading], tx: Transaction) -> list[Reading]:
    """Without mentions of a forgotten person's number or address in what others wrote before."""
    told: dict[str, datetime] = {}
    for reading in readings:
        for mention in reading.mentions:
            if (name := person_named(mention.value_type, mention.value)) is not None:
                told[name] = min(told.get(name, reading.at), reading.at)
    suspects = await erased(tx, told)
    if not suspects:
        return list(readings)
    return [await _without(reading, suspects, tx) for reading in readings]


async def _without(reading: Reading, suspects: Collection[str], tx: Transaction) -> Reading:
    gone = await erased(tx, dict.fromkeys(suspects, reading.at))
    mentions = tuple(m for m in reading.mentions if person_named(m.value_type, m.value) not in gone)
    return replace(reading, mentions=mentions)


def _names(message: MessageImportedV1) -> list[str]:
    people = (message.sender_id, message.sender_number, message.peer_number)
    return [message.message_id, message.chat_id, *(name for name in people if name)]
