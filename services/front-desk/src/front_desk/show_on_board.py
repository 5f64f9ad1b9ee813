"""Show on the console's board what the other services say happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from contracts.anomalies import AnomalyFiredV1
from contracts.calls import CallInboundV1, CallStateV1, RecordingStoredV1
from contracts.event import Event
from contracts.facts import FactExtractedV1
from contracts.notifications import NotificationStateV1
from contracts.vault import MessageImportedV1, VaultStateV1
from front_desk import board_store
from kit.consume import Received
from kit.postgres import Transaction

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
    await board_store.keep_inbound(tx, _events(received))
    await board_store.ring(tx)


async def show_call_states(received: Sequence[Received[CallStateV1]], tx: Transaction) -> None:
    await board_store.keep_call_states(tx, _events(received))
    await board_store.keep_missed(tx, _events(received))
    await board_store.ring(tx)


async def show_recordings(received: Sequence[Received[RecordingStoredV1]], tx: Transaction) -> None:
    await board_store.keep_recordings(tx, _events(received))
    await board_store.ring(tx)


async def show_messages(received: Sequence[Received[MessageImportedV1]], tx: Transaction) -> None:
    await board_store.keep_messages(tx, _events(received))
    await board_store.ring(tx)


async def show_facts(received: Sequence[Received[FactExtractedV1]], tx: Transaction) -> None:
    await board_store.keep_facts(tx, _events(received))
    await board_store.ring(tx)


async def show_anomaly(event: AnomalyFiredV1, tx: Transaction) -> None:
    await board_store.keep_anomaly(tx, event)
    await board_store.ring(tx)


async def show_import(event: VaultStateV1, tx: Transaction) -> None:
    await board_store.keep_import(tx, event)
    await board_store.ring(tx)


async def show_mail(event: NotificationStateV1, tx: Transaction) -> None:
    await board_store.keep_mail(tx, event)
    await board_store.ring(tx)
