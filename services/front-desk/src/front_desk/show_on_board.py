"""Show on the console's board what the other services say happened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from contracts.anomalies import AnomalyFiredV1
from contracts.calls import CallInboundV1, CallStateV1, RecordingStoredV1
from contracts.event import Event
from contracts.facts import FactExtractedV1
from contracts.notifications import NotificationStateV1
from contracts.vault import MessageImportedV1, VaultStateV1
from front_desk import board_store
from front_desk.forget import without_erased_digits
from kit.consume import Received
from kit.postgres import Transaction
from recovery.erasure import erased, without_erased

__all__ = [
    "show_anomaly",
    "show_call_states",
    "show_facts",
    "show_import",
    "show_inbound_calls",
    "show_mail",
    "show_messages",
    "show_recordings",
]

E = TypeVar("E", bound=Event)


def _events(received: Sequence[Received[E]]) -> list[E]:
    return [each.event for each in received]


async def show_inbound_calls(received: Sequence[Received[CallInboundV1]], tx: Transaction) -> None:
    calls = await without_erased(_events(received), tx, _names_in_call)
    await board_store.keep_inbound(tx, calls)
    await board_store.ring(tx)


async def show_call_states(received: Sequence[Received[CallStateV1]], tx: Transaction) -> None:
    states = await without_erased(_events(received), tx, lambda state: ([state.caller], state.at))
    await board_store.keep_call_states(tx, states)
    await board_store.keep_missed(tx, states)
    await board_store.ring(tx)


async def show_recordings(received: Sequence[Received[RecordingStoredV1]], tx: Transaction) -> None:
    await board_store.keep_recordings(tx, _events(received))
    await board_store.ring(tx)


async def show_messages(received: Sequence[Received[MessageImportedV1]], tx: Transaction) -> None:
    messages = await without_erased(_events(received), tx, _names_in_message)
    await board_store.keep_messages(tx, messages)
    await board_store.ring(tx)


async def show_facts(received: Sequence[Received[FactExtractedV1]], tx: Transaction) -> None:
    facts = await without_erased(_events(received), tx, _names_in_fact)
    await board_store.keep_facts(tx, facts)
    await board_store.ring(tx)


def _names_in_call(call: CallInboundV1) -> tuple[list[str | None], datetime]:
    return [call.caller, call.customer_id], call.asked_at


def _names_in_message(message: MessageImportedV1) -> tuple[list[str | None], datetime]:
    return [message.message_id, message.sender_id, message.chat_id], message.sent_at


def _names_in_fact(fact: FactExtractedV1) -> tuple[list[str | None], datetime]:
    return [fact.evidence.source_id, fact.subject.partition(":")[2]], fact.evidence.at


async def show_anomaly(event: AnomalyFiredV1, tx: Transaction) -> None:
    await board_store.keep_anomaly(tx, await without_erased_digits(event, tx))
    await board_store.ring(tx)


async def show_import(event: VaultStateV1, tx: Transaction) -> None:
    await board_store.keep_import(tx, event)
    await board_store.ring(tx)


async def show_mail(event: NotificationStateV1, tx: Transaction) -> None:
    if await erased(tx, {event.recipient.lower(): event.at}):
        return
    await board_store.keep_mail(tx, event)
    await board_store.ring(tx)
