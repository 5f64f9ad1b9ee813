"""What an evaluation means."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from anomaly_engine.findings import (
    EVIDENCE_ROWS,
    Evaluation,
    RuleState,
    State,
    anomaly_id,
    evidence_of,
    fingerprint,
    local_day,
    next_state,
    row_hash,
)
from anomaly_engine.rules import load_rules

AT = datetime(2026, 3, 2, 10, tzinfo=UTC)
RULE = load_rules()["stuck_initiated_calls"]
RED = Evaluation(rows=({"call_id": "a"},), total=1)
GREEN = Evaluation()
BROKEN = Evaluation(error="the query failed")


@pytest.mark.parametrize(
    ("at", "zone", "day"),
    [
        ("2026-03-01T18:29:59+00:00", "Asia/Kolkata", "2026-03-01"),
        ("2026-03-01T18:30:00+00:00", "Asia/Kolkata", "2026-03-02"),
        ("2026-03-29T00:59:00+00:00", "Europe/Berlin", "2026-03-29"),
        ("2026-10-24T22:30:00+00:00", "Europe/Berlin", "2026-10-25"),
        ("2026-03-01T18:30:00+00:00", "Nowhere/Land", "2026-03-02"),
        ("2026-03-01T18:30:00+00:00", "../etc/passwd", "2026-03-02"),
    ],
)
def test_the_business_day_is_the_tenants(at: str, zone: str, day: str) -> None:
    assert local_day(datetime.fromisoformat(at), zone) == date.fromisoformat(day)


def test_a_failing_query_is_neither_green_nor_red() -> None:
    assert BROKEN.state is State.ERROR


def test_since_moves_only_when_the_state_does() -> None:
    first = next_state(None, RED, at=AT, rule_version="1")
    second = next_state(first, RED, at=AT + timedelta(minutes=1), rule_version="1")
    third = next_state(second, GREEN, at=AT + timedelta(minutes=2), rule_version="1")
    assert (second.since, second.checked_at) == (AT, AT + timedelta(minutes=1))
    assert (third.state, third.since) == (State.OK, AT + timedelta(minutes=2))


def test_failures_are_counted_until_the_query_works_again() -> None:
    state: RuleState | None = None
    for _ in range(3):
        state = next_state(state, BROKEN, at=AT, rule_version="1")
    assert state is not None
    assert (state.failures, state.error) == (3, "the query failed")
    assert next_state(state, GREEN, at=AT, rule_version="1").failures == 0


def test_an_anomaly_has_one_id_per_tenant_rule_and_day() -> None:
    tenant, day = UUID(int=1), date(2026, 3, 2)
    ids = {
        anomaly_id(t, r, d)
        for t in (tenant, UUID(int=2))
        for r in ("a", "b")
        for d in (day, day + timedelta(days=1))
        for _ in range(2)
    }
    assert len(ids) == 8


def test_evidence_is_plain_capped_and_short() -> None:
    rows = [
        {
            "time": AT,
            "whole": Decimal(7),
            "part": Decimal("0.5"),
            "nan": float("inf"),
            "id": uuid4(),
            "long": "x" * 999,
            "none": None,
            "yes": True,
        }
    ] * 30
    evidence = evidence_of(rows)
    first = evidence[0]
    assert len(evidence) == EVIDENCE_ROWS
    assert first["time"] == "2026-03-02T10:00:00.000000Z"
    assert (first["whole"], first["part"], first["nan"], first["none"], first["yes"]) == (7, 0.5, "inf", None, True)
    assert len(str(first["long"])) == 200


def test_the_fingerprint_is_of_the_key_columns_whatever_their_order() -> None:
    rows = [{"call_id": "a", "minutes": 25}, {"call_id": "b", "minutes": 30}]
    later = [{"call_id": "b", "minutes": 31}, {"call_id": "a", "minutes": 26}]
    assert fingerprint(RULE, rows) == fingerprint(RULE, later)
    assert fingerprint(RULE, rows) != fingerprint(RULE, rows[:1])
    assert row_hash(rows, 2) != row_hash(later, 2)
    assert row_hash(rows, 2) != row_hash(rows, 3)
