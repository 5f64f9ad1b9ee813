"""The outbox: events are rows of the transaction that caused them, so state and events commit together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from contracts.envelope import partition_key
from contracts.event import Event
from kit.ids import uuid7, uuid7s
from kit.postgres import KeyNotHeld, Transaction
from kit.telemetry import METRICS, current_traceparent

__all__ = ["append", "append_deletion", "append_encoded", "append_many", "append_told"]

# Arrays instead of COPY: Postgres refuses COPY into a table with row-level security.
_INSERT = """
INSERT INTO outbox (epoch, tenant_id, correlationid, causationid, replayid,
                    id, aggregatetype, aggregateid, type, payload, subject, occurred_at, traceparent)
SELECT $1, $2, $3, $4, $5, e.*
FROM unnest($6::uuid[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::text[]) e
"""

# The session's own table for COPY, for thousands of events at once: arrays take several times as long to encode.
_OUTGOING = """
CREATE TEMPORARY TABLE IF NOT EXISTS outgoing_event (
    n integer NOT NULL, id uuid NOT NULL, subject text NOT NULL, payload text NOT NULL
) ON COMMIT DELETE ROWS;
DELETE FROM outgoing_event
"""
_SEND = """
INSERT INTO outbox (epoch, tenant_id, correlationid, causationid, replayid,
                    id, aggregatetype, aggregateid, type, payload, subject, occurred_at, traceparent)
SELECT $1, $2, $3, $4, $5, o.id, $6, $7 || o.subject, $8, o.payload, o.subject, $9, $10
FROM outgoing_event o ORDER BY o.n
"""

_Row = tuple[UUID, str, str, str, str | None, str, datetime]


async def append(tx: Transaction, event: Event, *, time: datetime | None = None, event_id: UUID | None = None) -> str:
    """Append one event to the transaction; return its id. The key of its entity must be held.

    ``time`` is when it happened (now by default); ``event_id`` makes an event whose id derives from its cause.
    """
    row = _row(
        tx, type(event), event.entity_id(), event.model_dump_json(), time or datetime.now(UTC), event_id or uuid7()
    )
    await _insert(tx, [row])
    return str(row[0])


async def append_many(tx: Transaction, events: Sequence[Event], *, traces: Sequence[str] = ()) -> None:
    """Append events in this order, in one statement. Each continues its trace, else all of them the current one."""
    now = datetime.now(UTC)
    await append_told(tx, [(event, now, uuid7()) for event in events], traces=traces)


async def append_told(
    tx: Transaction, events: Sequence[tuple[Event, datetime, UUID]], *, traces: Sequence[str] = ()
) -> None:
    """Append events in this order, in one statement, each with the time it happened at and its id."""
    rows = [_row(tx, type(e), e.entity_id(), e.model_dump_json(), time, id_) for e, time, id_ in events]
    await _insert(tx, rows, traces)


async def append_encoded(tx: Transaction, event_class: type[Event], events: Sequence[tuple[str, str]]) -> None:
    """Append thousands of events of one class in this order, each the entity it is about and its JSON, which must be
    what the class itself would write."""
    if not events:
        return
    for entity_id in {entity_id for entity_id, _ in events}:
        _held_key(tx, event_class, entity_id)
    if tx.silent:
        METRICS.suppressed.labels(tx.service).inc(len(events))
        return
    await tx.execute(_OUTGOING)
    ids = uuid7s(len(events))
    rows = [(n, id_, *event) for n, (id_, event) in enumerate(zip(ids, events, strict=True))]
    await tx.copy_records_to_table("outgoing_event", records=rows, columns=["n", "id", "subject", "payload"])
    await tx.execute(
        _SEND,
        *_cause(tx),
        event_class.topic(),
        partition_key(tx.tenant, ""),
        event_class.type,
        datetime.now(UTC),
        current_traceparent(),
    )
    tx.emitted = True


async def append_deletion(tx: Transaction, event_class: type[Event], entity_id: str) -> str:
    """Append a record without a value: on a compacted topic it deletes the entity for every consumer."""
    row = _row(tx, event_class, entity_id, None, datetime.now(UTC), uuid7())
    await _insert(tx, [row])
    return str(row[0])


def _row(
    tx: Transaction, event_class: type[Event], entity_id: str, payload: str | None, time: datetime, id_: UUID
) -> _Row:
    key = _held_key(tx, event_class, entity_id)
    return id_, event_class.topic(), key, event_class.type, payload, entity_id, time


def _held_key(tx: Transaction, event_class: type[Event], entity_id: str) -> str:
    key = partition_key(tx.tenant, entity_id)
    if key not in tx.held:
        raise KeyNotHeld(
            f"{event_class.type} for an entity whose key is not held; name the entity in emits= or call tx.hold() "
            "before the first write"
        )
    return key


def _cause(tx: Transaction) -> tuple[int, UUID, str, str, str]:
    """What the events of a transaction have in common: epoch, tenant, and what they were caused by."""
    cause = tx.cause
    if cause is None:
        return tx.epoch, tx.tenant, "", "", ""
    return tx.epoch, tx.tenant, cause.correlationid or cause.id, cause.id, cause.replayid or ""


async def _insert(tx: Transaction, rows: Sequence[_Row], traces: Sequence[str] = ()) -> None:
    if not rows:
        return
    if tx.silent:
        METRICS.suppressed.labels(tx.service).inc(len(rows))
        return
    columns = [list(column) for column in zip(*rows, strict=True)]
    await tx.execute(_INSERT, *_cause(tx), *columns, list(traces) or [current_traceparent()] * len(rows))
    tx.emitted = True
