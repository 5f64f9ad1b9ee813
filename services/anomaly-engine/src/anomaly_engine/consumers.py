"""Kafka in: every topic that rules watch, folded into the projections. Set-based; a newer version wins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anomaly_engine import store
from anomaly_engine.forget_person import forget, rules_to_hold, without_forgotten
from contracts.calls import CallInboundV1, CallStateV1
from contracts.directory import TenantV1
from contracts.facts import FactExtractedV1
from contracts.vault import VaultStateV1
from kit.consume import Deletion, Received, Subscription, on_batch, on_deleted
from kit.postgres import Transaction
from recovery.erasure import erasing

__all__ = ["SUBSCRIPTIONS"]

ARCHIVED = ("completed", "unchanged")


async def on_tenants(received: Sequence[Received[TenantV1]], tx: Transaction) -> None:
    newest = max((each.event for each in received), key=lambda event: event.version)
    row = newest.model_dump(include={"version", "name", "timezone", "active"})
    await store.put_tenants(tx, [row])


async def on_tenant_deleted(_: Deletion, tx: Transaction) -> None:
    await store.delete_tenant(tx)


async def on_calls_asked(received: Sequence[Received[CallInboundV1]], tx: Transaction) -> None:
    rows = {
        each.event.call_id: {
            "call_id": each.event.call_id,
            "asked_at": each.event.asked_at,
            "vendor": each.event.vendor,
            "did": each.event.did,
            "chosen_by": each.event.rule,
            "traceparent": each.envelope.traceparent,
        }
        for each in received
    }
    await store.put_asked_calls(tx, list(rows.values()))


async def on_call_states(received: Sequence[Received[CallStateV1]], tx: Transaction) -> None:
    began: dict[str, Any] = {}
    newest: dict[str, Received[CallStateV1]] = {}
    for each in received:
        event = each.event
        start = event.started_at or event.at
        began[event.call_id] = min(began.get(event.call_id, start), start)
        if event.call_id not in newest or event.version > newest[event.call_id].event.version:
            newest[event.call_id] = each
    fields = {
        "call_id", "version", "state", "ended_at", "direction", "vendor", "did", "staff_id", "cause",
        "duration_seconds",
    }  # fmt: skip
    rows = [
        {
            **each.event.model_dump(include=fields),
            "state_at": each.event.at,
            "began_at": began[call_id],
            "traceparent": each.envelope.traceparent,
        }
        for call_id, each in newest.items()
    ]
    await store.put_calls(tx, rows)


async def on_facts(received: Sequence[Received[FactExtractedV1]], tx: Transaction) -> None:
    newest: dict[str, FactExtractedV1] = {}
    for event in await without_forgotten([each.event for each in received], tx):
        if event.fact_id not in newest or event.version > newest[event.fact_id].version:
            newest[event.fact_id] = event
    fields = {"fact_id", "version", "subject", "key", "value", "state", "confidence"}
    rows = [
        {**event.model_dump(include=fields), "seen_at": event.evidence.at, "source_id": event.evidence.source_id}
        for event in newest.values()
    ]
    await store.put_facts(tx, rows)


async def on_imports(received: Sequence[Received[VaultStateV1]], tx: Transaction) -> None:
    accounts: dict[str, list[VaultStateV1]] = {}
    for each in received:
        accounts.setdefault(each.event.account_id, []).append(each.event)
    await store.put_imports(tx, [_account(events) for events in accounts.values()])


def _account(events: list[VaultStateV1]) -> dict[str, Any]:
    """What a few states of one account's imports come to."""
    last = max(events, key=lambda event: event.at)
    return {
        "account_id": last.account_id,
        "account_name": last.account_name,
        "first_at": min(event.at for event in events),
        "last_state": last.state,
        "last_at": last.at,
        "archived_at": max((event.at for event in events if event.state in ARCHIVED), default=None),
        "newest_message_at": max((e.newest_message_at for e in events if e.newest_message_at), default=None),
    }


SUBSCRIPTIONS: tuple[Subscription, ...] = (
    on_batch(TenantV1, on_tenants),
    on_deleted(TenantV1, on_tenant_deleted),
    on_batch(CallInboundV1, on_calls_asked),
    on_batch(CallStateV1, on_call_states),
    on_batch(FactExtractedV1, on_facts),
    on_batch(VaultStateV1, on_imports),
    erasing("anomaly-engine", forget, emits=rules_to_hold),
)
