"""What an evaluation of a rule means: rows become evidence, evidence a state, and a state an anomaly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from anomaly_engine.rules import Rule
from contracts.event import rfc3339
from kit.ids import name_uuid

__all__ = [
    "EVIDENCE_ROWS",
    "Cell",
    "Evaluation",
    "RuleState",
    "State",
    "Tenant",
    "anomaly_id",
    "event_id",
    "evidence_of",
    "fingerprint",
    "local_day",
    "next_state",
    "row_hash",
]

EVIDENCE_ROWS = 20
MAX_CELL_CHARACTERS = 200
DEFAULT_ZONE = "Asia/Kolkata"

Cell = str | int | float | bool | None


class State(StrEnum):
    OK = "ok"
    FIRING = "firing"
    ERROR = "error"
    """The query failed: nobody knows whether all is well, so it is not shown as if it were."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tenant:
    id: UUID
    name: str
    timezone: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What one query gave: some rows of so many, or why it gave none."""

    rows: tuple[Mapping[str, Cell], ...] = ()
    total: int = 0
    duration_ms: float = 0.0
    error: str | None = None

    @property
    def state(self) -> State:
        if self.error is not None:
            return State.ERROR
        return State.FIRING if self.total else State.OK


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleState:
    """What one rule says about one tenant, and since when."""

    state: State
    since: datetime
    checked_at: datetime
    failures: int = 0
    error: str | None = None
    rule_version: str = ""


def next_state(previous: RuleState | None, evaluation: Evaluation, *, at: datetime, rule_version: str) -> RuleState:
    """The state after an evaluation; ``since`` moves only when the state does."""
    state = evaluation.state
    since = previous.since if previous is not None and previous.state is state else at
    failures = (previous.failures if previous else 0) + 1 if state is State.ERROR else 0
    return RuleState(
        state=state, since=since, checked_at=at, failures=failures, error=evaluation.error, rule_version=rule_version
    )


def local_day(at: datetime, timezone: str) -> date:
    """The business day: the date at ``at`` where the tenant is. An unknown zone is read as the default one."""
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        zone = ZoneInfo(DEFAULT_ZONE)
    return at.astimezone(zone).date()


def anomaly_id(tenant: UUID, rule: str, day: date) -> UUID:
    """The same for the same tenant, rule and day, whoever evaluates it how often."""
    return name_uuid("anomaly", str(tenant), rule, day.isoformat())


def event_id(tenant: UUID, rule: str, day: date) -> UUID:
    """The id of the event that tells it: an evaluation that is repeated tells nothing new."""
    return name_uuid("anomaly.fired", str(tenant), rule, day.isoformat())


def evidence_of(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Cell], ...]:
    """Rows as they travel in an event: plain values, texts of bounded length."""
    return tuple({name: _cell(value) for name, value in row.items()} for row in rows[:EVIDENCE_ROWS])


def fingerprint(rule: Rule, rows: Sequence[Mapping[str, Cell]]) -> str:
    """Which things are wrong, whatever else their rows say: a hash over the rule's key columns."""
    keys = sorted(json.dumps([row.get(column) for column in rule.key], ensure_ascii=False) for row in rows)
    return _digest([rule.id, *keys])


def row_hash(rows: Sequence[Mapping[str, Cell]], total: int) -> str:
    """All that an evaluation found, as one hash: two runs with the same hash found the same."""
    return _digest([total, *[dict(sorted(row.items())) for row in rows]])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, sort_keys=True).encode()).hexdigest()[:32]


def _cell(value: Any) -> Cell:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        # JSON has no infinities.
        return value if value - value == 0 else str(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        return rfc3339(value) if value.tzinfo else value.isoformat()
    text = str(value)
    return text if len(text) <= MAX_CELL_CHARACTERS else text[: MAX_CELL_CHARACTERS - 1] + "…"
