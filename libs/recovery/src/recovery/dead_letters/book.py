"""What there is of dead letters: groups of one cause, the letters of a group or a key, one letter whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from kit.postgres import Database

__all__ = ["Group", "Letter", "Place", "Selection", "find", "groups", "letters", "places", "readable"]

_GROUPS = """
SELECT consumer, fingerprint, reason, topic, coalesce(event_type, '') AS event_type, count(*) AS letters,
    count(*) FILTER (WHERE state = 'retry') AS retrying, count(*) FILTER (WHERE state = 'dropped') AS dropped,
    count(DISTINCT lane) AS keys, sum(occurrences) AS occurrences, min(first_failed_at) AS first_failed_at,
    max(last_failed_at) AS last_failed_at, (array_agg(message ORDER BY seq DESC))[1] AS message,
    array_agg(DISTINCT code_version) AS code_versions
FROM dead_letter
WHERE NOT parked_behind AND ($1::text IS NULL OR consumer = $1) AND ($2::uuid IS NULL OR tenant_id = $2)
GROUP BY consumer, fingerprint, reason, topic, event_type ORDER BY max(last_failed_at) DESC
"""
_BEHIND = """
SELECT d.consumer, f.fingerprint, count(*) AS behind FROM dead_letter d
JOIN LATERAL (
    SELECT fingerprint FROM dead_letter f
    WHERE f.consumer = d.consumer AND f.lane = d.lane AND NOT f.parked_behind AND f.state <> 'dropped'
    ORDER BY f.seq LIMIT 1
) f ON true
WHERE d.parked_behind AND d.state <> 'dropped' AND ($1::uuid IS NULL OR d.tenant_id = $1)
GROUP BY d.consumer, f.fingerprint
"""
_MATCHING = """
FROM dead_letter
WHERE ($1::text IS NULL OR consumer = $1) AND ($2::text IS NULL OR fingerprint = $2)
    AND ($3::text IS NULL OR lane = $3) AND ($4::uuid IS NULL OR tenant_id = $4)
    AND ($5::text IS NULL OR state = $5) AND ($6::uuid[] IS NULL OR id = ANY ($6)) AND seq > $7
ORDER BY seq LIMIT $8
"""
_LETTERS = "SELECT * " + _MATCHING
_PLACES = "SELECT id, consumer, state, parked_behind " + _MATCHING
_AUDIT = "SELECT action, who, why, detail, at FROM dead_letter_audit WHERE letter_id = $1 ORDER BY at, id"


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Letters that failed at the same place for the same reason."""

    consumer: str
    fingerprint: str
    reason: str
    topic: str
    event_type: str
    letters: int
    retrying: int
    dropped: int
    keys: int
    occurrences: int
    """Deliveries of these records; more than the letters when a record came again and again."""
    behind: int
    """Later records of their keys, which wait."""
    first_failed_at: datetime
    last_failed_at: datetime
    message: str
    code_versions: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """One parked record. ``value`` is what Kafka had; ``edited`` is what will be tried instead."""

    id: UUID
    seq: int
    """Its place in the order in which letters were parked."""
    tenant_id: UUID
    consumer: str
    topic: str
    partition: int
    offset: int
    lane: str | None
    state: str
    reason: str
    message: str
    fingerprint: str
    stack_hash: str
    attempts: int
    occurrences: int
    retries: int
    parked_behind: bool
    event_id: str | None
    event_type: str | None
    traceparent: str
    code_version: str
    recorded_at: datetime | None
    first_failed_at: datetime
    last_failed_at: datetime
    key: bytes | None
    value: bytes | None
    edited: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A letter without what was parked: enough to say what can be done with it."""

    id: UUID
    consumer: str
    state: str
    parked_behind: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which letters; all that match every part that is given."""

    consumer: str | None = None
    fingerprint: str | None = None
    lane: str | None = None
    tenant: UUID | None = None
    state: str | None = None
    ids: Sequence[UUID] | None = None


async def groups(database: Database, consumer: str | None = None, tenant: UUID | None = None) -> list[Group]:
    """What failed for the same reason at the same place, the latest first; of every tenant unless one is given."""
    async with database.system() as tx:
        rows = await tx.fetch(_GROUPS, consumer, tenant)
        behind = {(row["consumer"], row["fingerprint"]): row["behind"] for row in await tx.fetch(_BEHIND, tenant)}
    return [Group(**dict(row), behind=behind.get((row["consumer"], row["fingerprint"]), 0)) for row in rows]


async def letters(database: Database, selection: Selection, *, after: int = 0, limit: int = 100) -> list[Letter]:
    """A page, in the order in which they were parked; ``after`` is the ``seq`` of the last one of the page before."""
    async with database.system() as tx:
        return [letter_of(row) for row in await tx.fetch(_LETTERS, *_parts(selection), after, limit)]


async def places(database: Database, selection: Selection, limit: int) -> list[Place]:
    """The same without what they hold, of many."""
    async with database.system() as tx:
        return [Place(**dict(row)) for row in await tx.fetch(_PLACES, *_parts(selection), 0, limit)]


def _parts(selection: Selection) -> tuple[object, ...]:
    s = selection
    ids = list(s.ids) if s.ids is not None else None
    return s.consumer, s.fingerprint, s.lane, s.tenant, s.state, ids


async def find(database: Database, id_: UUID) -> tuple[Letter, list[dict[str, Any]]] | None:
    """One letter and what was done with it, or nothing."""
    async with database.system() as tx:
        row = await tx.fetchrow("SELECT * FROM dead_letter WHERE id = $1", id_)
        history = [dict(each) for each in await tx.fetch(_AUDIT, id_)]
    return (letter_of(row), history) if row is not None else None


def letter_of(row: Any) -> Letter:
    values = {name: row[name] for name in Letter.__dataclass_fields__ if name not in ("edited", "headers")}
    headers = list(zip(row["header_names"], row["header_values"], strict=True))
    return Letter(**values, edited=row["edited_value"], headers=headers)


def readable(value: bytes | None) -> str:
    """A value for a person's eyes: JSON on lines of its own, or text, or what of it is text."""
    if value is None:
        return ""
    text = value.decode("utf-8", "backslashreplace")
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
