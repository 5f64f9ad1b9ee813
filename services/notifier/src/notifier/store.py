"""Postgres: recipients, what is red, and every send with its attempts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from kit.ids import uuid7
from kit.postgres import Database, Transaction, load_queries
from kit.telemetry import current_traceparent
from notifier.pulse import Pulse, Recipient, RedRule
from notifier.sends import Send, SendState

__all__ = ["TEXTS"]

Q = load_queries("notifier")

LIMIT = 100
TEXTS = {
    "red_rule": ("evidence_summary",),
    "send": ("recipient", "subject_line", "text_body", "html_body", "reason"),
    "send_attempt": ("detail",),
    "send_resolution": ("reason",),
}
"""Every text that can name a person, by table."""
_KEYS = {
    "red_rule": ("local_day", "rule"),
    "send": ("send_id",),
    "send_attempt": ("send_id", "attempt"),
    "send_resolution": ("resolution_id",),
}
LEASE_RAN_OUT = "the sender stopped after the message had begun to leave"


async def put_recipient(tx: Transaction, row: Mapping[str, Any]) -> None:
    names = ("version", "name", "timezone", "active", "owner_name", "owner_email", "pulse_at")
    await tx.execute(Q.put_recipient, tx.tenant, *(row[name] for name in names))


async def delete_recipient(tx: Transaction) -> None:
    await tx.execute(Q.delete_recipient, tx.tenant)


async def find_recipient(tx: Transaction) -> Recipient | None:
    row = await tx.fetchrow(Q.find_recipient, tx.tenant)
    return _recipient(row) if row else None


async def active_recipients(database: Database) -> list[Recipient]:
    async with database.system() as tx:
        return [_recipient(row) for row in await tx.fetch(Q.active_recipients)]


async def put_red_rules(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> None:
    await tx.execute(Q.put_red_rules, tx.tenant, json.dumps(rows, default=lambda value: value.isoformat()))


async def red_rules(tx: Transaction, day: date, kind: str) -> list[RedRule]:
    return [RedRule(**dict(row)) for row in await tx.fetch(Q.red_rules, day, kind)]


async def texts_with(
    tx: Transaction, table: str, parts: Sequence[str]
) -> list[tuple[tuple[Any, ...], dict[str, str | None]]]:
    """Key and texts of the rows of a table of :data:`TEXTS` that have one of these in them."""
    keys, columns = _KEYS[table], TEXTS[table]
    query = Q.texts_with.format(table=table, key=f"ROW({', '.join(keys)})", columns=", ".join(columns))
    rows = await tx.fetch(query, list(parts))
    return [(tuple(row["key"]), {name: row[name] for name in columns}) for row in rows]


async def put_texts(tx: Transaction, table: str, key: tuple[Any, ...], texts: Sequence[str | None]) -> None:
    if table == "send_resolution":
        # Decisions are never changed; the schema lets their words be marked and no more.
        await tx.execute(Q.erase_reasons, list(key))
        return
    keys, columns = _KEYS[table], TEXTS[table]
    changes = ", ".join(f"{name} = ${number}" for number, name in enumerate(columns, start=len(keys) + 1))
    where = " AND ".join(f"{name} = ${number}" for number, name in enumerate(keys, start=1))
    await tx.execute(Q.put_texts.format(table=table, changes=changes, where=where), *key, *texts)


async def add_send(
    tx: Transaction, send_id: UUID, *, kind: str, day: date, channel: str, to: str, pulse: Pulse, suppressed: str | None
) -> Send | None:
    """Enter a message of the current trace; nothing when its cause has one already."""
    state = SendState.PENDING if suppressed is None else SendState.SUPPRESSED
    row = await tx.fetchrow(
        Q.add_send,
        tx.tenant,
        send_id,
        kind,
        day,
        channel,
        to,
        pulse.subject_line,
        pulse.text,
        pulse.html,
        state.value,
        suppressed,
        current_traceparent(),
    )
    return _send(row) if row else None


async def find_send(tx: Transaction, send_id: UUID) -> Send | None:
    row = await tx.fetchrow(Q.find_send, send_id)
    return _send(row) if row else None


async def has_send(tx: Transaction, send_id: UUID) -> bool:
    return bool(await tx.fetchval(Q.has_send, send_id))


async def tenant_of_send(database: Database, send_id: UUID) -> UUID | None:
    async with database.system() as tx:
        tenant: UUID | None = await tx.fetchval(Q.tenant_of_send, send_id)
    return tenant


async def sends(tx: Transaction, limit: int) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.sends, limit)]


async def sends_of_all(database: Database, limit: int) -> list[dict[str, Any]]:
    async with database.system() as tx:
        return [dict(row) for row in await tx.fetch(Q.sends_of_all, limit)]


async def attempts(tx: Transaction, send_id: UUID) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.attempts, send_id)]


async def due_sends(database: Database) -> list[tuple[UUID, UUID]]:
    async with database.system() as tx:
        return [(row["tenant_id"], row["send_id"]) for row in await tx.fetch(Q.due_sends, LIMIT)]


async def expired_leases(database: Database) -> list[tuple[UUID, UUID]]:
    async with database.system() as tx:
        return [(row["tenant_id"], row["send_id"]) for row in await tx.fetch(Q.expired_leases, LIMIT)]


async def lease_send(tx: Transaction, send_id: UUID, *, lease: UUID, length: timedelta, at_once: bool) -> Send | None:
    """Take a message for one attempt; nothing when somebody else has it or it is not due."""
    row = await tx.fetchrow(Q.lease_send, send_id, lease, length.total_seconds(), at_once)
    if row is None:
        return None
    await tx.execute(Q.begin_attempt, tx.tenant, send_id, row["attempts"], lease)
    return _send(row)


async def enter_data(tx: Transaction, send_id: UUID, lease: UUID) -> bool:
    """Note that the message is about to leave; false when the lease is not ours any more."""
    return bool(await tx.fetchval(Q.enter_data, send_id, lease))


async def settle_send(
    tx: Transaction, send_id: UUID, *, lease: UUID, state: SendState, reason: str | None, wait: timedelta = timedelta(0)
) -> Send | None:
    """Say what became of an attempt; nothing when the lease is not ours any more."""
    told = 0 if state is SendState.PENDING else 1
    row = await tx.fetchrow(Q.settle_send, send_id, lease, state.value, reason, told, wait.total_seconds())
    return _send(row) if row else None


async def end_attempt(
    tx: Transaction, send_id: UUID, *, lease: UUID, outcome: str, code: int | None, detail: str | None
) -> None:
    await tx.execute(Q.end_attempt, send_id, lease, outcome, code, detail)


async def recover_send(tx: Transaction, send_id: UUID) -> Send | None:
    """Settle a message whose lease ran out; nothing when somebody has done it."""
    row = await tx.fetchrow(Q.recover_send, send_id, LEASE_RAN_OUT)
    if row is None:
        return None
    await end_attempt(tx, send_id, lease=row["lease"], outcome="abandoned", code=None, detail=row["reason"])
    return _send(row)


async def lock_send(tx: Transaction, send_id: UUID) -> Send | None:
    row = await tx.fetchrow(Q.lock_send, send_id)
    return _send(row) if row else None


async def resolve_send(tx: Transaction, send: Send, *, state: SendState, reason: str, by: str) -> Send:
    """Put an operator's decision in force and on record."""
    await tx.execute(Q.add_resolution, tx.tenant, uuid7(), send.id, send.state.value, state.value, reason, by)
    row = await tx.fetchrow(Q.resolve_send, send.id, state.value, f"resolved by an operator: {reason}")
    if row is None:
        raise RuntimeError("a locked send cannot be gone")
    return _send(row)


def _recipient(row: Any) -> Recipient:
    return Recipient(
        tenant=row["tenant_id"],
        name=row["name"],
        timezone=row["timezone"],
        owner_name=row["owner_name"],
        owner_email=row["owner_email"],
        pulse_at=row["pulse_at"],
        known_since=row["known_since"],
    )


def _send(row: Any) -> Send:
    return Send(
        id=row["send_id"],
        tenant=row["tenant_id"],
        kind=row["kind"],
        local_day=row["local_day"],
        channel=row["channel"],
        recipient=row["recipient"],
        subject_line=row["subject_line"],
        text_body=row["text_body"],
        html_body=row["html_body"],
        state=SendState(row["state"]),
        version=row["version"],
        reason=row["reason"],
        attempts=row["attempts"],
        created_at=row["created_at"],
        traceparent=row["traceparent"],
    )
