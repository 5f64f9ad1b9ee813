"""Parking: a record that cannot be handled is kept with its original bytes, and its key waits behind it."""

from __future__ import annotations

import hashlib
import traceback
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import dropwhile
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from contracts.envelope import Envelope
from kit.ids import uuid7
from kit.postgres import Database
from kit.telemetry import METRICS, get_logger, told

__all__ = ["DeadLetterLimits", "DeadLetters", "Failure", "Parking"]

log = get_logger(__name__)

NO_TENANT = UUID(int=0)
# What calls a handler is not part of a cause: it differs between the first try and a later one.
_CALLER = str(Path(__file__).with_name("handling.py"))

_PARK = """
INSERT INTO dead_letter (id, tenant_id, consumer, topic, partition, "offset", key, value, header_names, header_values,
                         event_id, event_type, reason, message, stack_hash, attempts, parked_behind, traceparent,
                         lane, fingerprint, code_version, recorded_at, identity)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
ON CONFLICT (consumer, topic, partition, "offset", identity) DO UPDATE
SET occurrences = dead_letter.occurrences + 1, last_failed_at = now()
"""
# The row is locked even when it is there already: whoever unparks the key waits, and then sees this letter.
_PARK_KEY = """
INSERT INTO parked_key (consumer, tenant_id, key) VALUES ($1, $2, $3)
ON CONFLICT (consumer, key) DO UPDATE SET since = parked_key.since
"""
_PARKED = "SELECT key FROM parked_key WHERE consumer = $1 AND key = ANY ($2::text[])"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a record is parked. The message has nothing personal; the stack is only a fingerprint to group by."""

    reason: str
    message: str
    attempts: int = 1
    stack_hash: str = ""

    def fingerprint(self, consumer: str, kind: str) -> str:
        """What failures of the same cause share: whose they are, kind of event, reason, place in the code."""
        return hashlib.sha256(f"{consumer}\n{kind}\n{self.reason}\n{self.stack_hash}".encode()).hexdigest()[:12]

    @classmethod
    def of(cls, reason: str, error: BaseException, attempts: int) -> Failure:
        frames = dropwhile(lambda frame: frame.filename == _CALLER, traceback.extract_tb(error.__traceback__))
        where = "\n".join(f"{frame.name}:{(frame.line or '').strip()}" for frame in frames)
        fingerprint = hashlib.sha256(f"{type(error).__name__}\n{where}".encode()).hexdigest()[:16]
        return cls(reason, told(error)[:1000], attempts, fingerprint)


@dataclass(slots=True)
class DeadLetterLimits:
    """Beyond these a consumer stops instead of draining its topic into the dead letters.

    A bad record is rare; a bad deploy fails on everything. Records parked behind others do not count.
    """

    consecutive: int = 25
    ratio: float = 0.1
    window: int = 500
    _outcomes: deque[bool] | None = None
    _in_a_row: int = 0

    def succeeded(self, count: int = 1) -> None:
        if count:
            self._in_a_row = 0
            self._remember(False, count)

    def would_exceed(self) -> str | None:
        """Why parking one more record now would go beyond the limits, or nothing."""
        if self._in_a_row + 1 > self.consecutive:
            return f"{self.consecutive} records in a row could not be handled"
        outcomes = self._outcomes or deque()
        if len(outcomes) >= self.window and sum(outcomes) + 1 > self.ratio * len(outcomes):
            return f"more than {self.ratio:.0%} of the last {len(outcomes)} records could not be handled"
        return None

    def parked(self) -> None:
        self._in_a_row += 1
        self._remember(True, 1)

    def _remember(self, failed: bool, count: int) -> None:
        if self._outcomes is None:
            self._outcomes = deque(maxlen=self.window)
        self._outcomes.extend([failed] * min(count, self.window))


class Parking(Protocol):
    """Where records go that cannot be handled. Dry runs put something else in the place of the dead letters."""

    def named(self, consumer: str) -> Parking:
        """The same, kept under another consumer's name: a replay's failures are not live traffic's."""

    async def parked_keys(self, keys: Sequence[str]) -> set[str]:
        """Which of the keys wait."""

    async def park(self, record: Any, envelope: Envelope | None, failure: Failure, *, behind: bool = False) -> None:
        """Keep the record; from now on its key is parked."""


class DeadLetters:
    """One consumer's parked records and keys."""

    def __init__(self, database: Database, consumer: str, code_version: str = "") -> None:
        self._database = database
        self._consumer = consumer
        self._code_version = code_version

    def named(self, consumer: str) -> DeadLetters:
        return DeadLetters(self._database, consumer, self._code_version)

    async def parked_keys(self, keys: Sequence[str]) -> set[str]:
        async with self._database.system() as tx:
            return {row["key"] for row in await tx.fetch(_PARKED, self._consumer, keys)}

    async def park(self, record: Any, envelope: Envelope | None, failure: Failure, *, behind: bool = False) -> None:
        """Keep the record; from now on its key is parked. Returns once it is committed."""
        tenant = envelope.tenant if envelope else NO_TENANT
        headers: Iterable[tuple[str, bytes | None]] = record.headers or ()
        names, values = [], []
        for name, value in headers:
            names.append(name)
            values.append(value)
        lane = record.key.decode("utf-8", "backslashreplace") if record.key is not None and envelope else None
        kind = envelope.type if envelope else None
        async with self._database.system() as tx:
            if lane is not None:
                await tx.execute(_PARK_KEY, self._consumer, tenant, lane)
            await tx.execute(
                _PARK, uuid7(), tenant, self._consumer, record.topic, record.partition, record.offset, record.key,
                record.value, names, values, envelope.id if envelope else None, kind,
                failure.reason, failure.message, failure.stack_hash, failure.attempts, behind,
                envelope.traceparent if envelope else "", lane,
                failure.fingerprint(self._consumer, kind or record.topic), self._code_version,
                datetime.fromtimestamp(max(record.timestamp, 0) / 1000, UTC),
                envelope.id if envelope else hashlib.sha256(record.value or b"").hexdigest(),
            )  # fmt: skip
        METRICS.dead_letters.labels(self._consumer, record.topic, failure.reason).inc()
        log.warning(
            "record_parked", consumer=self._consumer, topic=record.topic, partition=record.partition,
            offset=record.offset, event_id=envelope.id if envelope else None, reason=failure.reason,
        )  # fmt: skip
