"""What front-desk hears from Kafka: everything that the console shows."""

from __future__ import annotations

from contracts.anomalies import AnomalyFiredV1
from contracts.calls import CallInboundV1, CallStateV1, RecordingStoredV1
from contracts.facts import FactExtractedV1
from contracts.notifications import NotificationStateV1
from contracts.vault import MessageImportedV1, VaultStateV1
from front_desk.forget import entities_of, forget
from front_desk.show_on_board import (
    show_anomaly,
    show_call_states,
    show_facts,
    show_import,
    show_inbound_calls,
    show_mail,
    show_messages,
    show_recordings,
)
from kit.consume import on, on_batch
from recovery.erasure import erasing

__all__ = ["BULK", "LIVE"]

LIVE = (
    on_batch(CallInboundV1, show_inbound_calls),
    on_batch(CallStateV1, show_call_states),
    on_batch(RecordingStoredV1, show_recordings),
    on_batch(FactExtractedV1, show_facts),
    on(AnomalyFiredV1, show_anomaly),
    on(VaultStateV1, show_import),
    on(NotificationStateV1, show_mail),
    erasing("front-desk", forget, emits=entities_of),
)
# A consumer group of its own: an import of a whole archive must not keep a ringing call off the screen.
BULK = (on_batch(MessageImportedV1, show_messages),)
