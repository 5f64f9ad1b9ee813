"""Kafka in: who is told, and what is red. A replayed anomaly is refused: it must not find its way into a mail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from contracts.anomalies import AnomalyFiredV1
from contracts.directory import TenantV1
from kit.consume import Deletion, Poison, Received, Subscription, on_batch, on_deleted
from kit.postgres import Transaction
from notifier import store
from notifier.forget_person import evidence_of_the_living, forget
from notifier.pulse import summary_of
from recovery.erasure import erasing

__all__ = ["SUBSCRIPTIONS"]


async def on_tenants(received: Sequence[Received[TenantV1]], tx: Transaction) -> None:
    newest = max((each.event for each in received), key=lambda event: event.version)
    await store.put_recipient(tx, newest.model_dump())


async def on_tenant_deleted(_: Deletion, tx: Transaction) -> None:
    await store.delete_recipient(tx)


async def on_anomalies(received: Sequence[Received[AnomalyFiredV1]], tx: Transaction) -> None:
    newest: dict[tuple[str, str], Received[AnomalyFiredV1]] = {}
    for each in received:
        cause = (each.event.local_day, each.event.rule)
        known = newest.get(cause)
        if known is None or each.event.as_of > known.event.as_of:
            newest[cause] = each
    rows = [_red_rule(each, await evidence_of_the_living(each.event, tx)) for each in newest.values()]
    await store.put_red_rules(tx, rows)


def _red_rule(received: Received[AnomalyFiredV1], evidence: Sequence[Mapping[str, object]]) -> dict[str, object]:
    event = received.event
    try:
        day = date.fromisoformat(event.local_day)
    except ValueError:
        raise Poison("bad_local_day", "local_day is not a date") from None
    return {
        "local_day": day,
        "rule": event.rule,
        "title": event.title,
        "learning": event.learning,
        "severity": event.severity,
        "evidence_summary": summary_of(evidence, event.evidence_total),
        "evidence_total": event.evidence_total,
        "as_of": event.as_of,
        "traceparent": received.envelope.traceparent,
    }


SUBSCRIPTIONS: tuple[Subscription, ...] = (
    on_batch(TenantV1, on_tenants),
    on_deleted(TenantV1, on_tenant_deleted),
    on_batch(AnomalyFiredV1, on_anomalies, replay="forbidden"),
    erasing("notifier", forget),
)
