"""The values that need no server: limits of parking, identifiers."""

from __future__ import annotations

import time
from uuid import UUID, uuid5

from kit.dead_letters import DeadLetterLimits
from kit.ids import name_uuid, uuid7


def test_limits_count_runs_of_failures_and_their_share() -> None:
    limits = DeadLetterLimits(consecutive=3, ratio=0.5, window=10)
    for _ in range(3):
        assert limits.would_exceed() is None
        limits.parked()
    assert "3 records in a row" in str(limits.would_exceed())
    limits.succeeded()
    assert limits.would_exceed() is None
    shared = DeadLetterLimits(consecutive=100, ratio=0.3, window=10)
    shared.succeeded(7)
    for _ in range(3):
        shared.parked()
    assert "more than 30%" in str(shared.would_exceed())


def test_ids_are_ordered_by_time_and_derived_ones_repeat() -> None:
    first = uuid7()
    time.sleep(0.002)
    second = uuid7()
    assert first < second
    assert (first.version, first.variant) == (7, "specified in RFC 4122")
    assert name_uuid("a", "b") == name_uuid("a", "b") != name_uuid("ab", "")
    assert name_uuid("a", "കൊച്ചി") == uuid5(UUID("6f2a4d0e-5f0e-5b52-9d3e-7a3e1c0b9a11"), "a\x1fകൊച്ചി")
