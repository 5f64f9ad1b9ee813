from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from identifiers.phone import parse_caller
from telephony_router.decide import decide
from telephony_router.explain import sentence
from telephony_router.opening import is_open
from telephony_router.routing import (
    Agent,
    Away,
    CallerEntry,
    DidEntry,
    Hours,
    Request,
    Routing,
    RoutingView,
    TenantEntry,
)

TENANT = UUID(int=7)
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
"""A Wednesday, noon in Kochi."""
DID = "+914842000100"
CALLER = "+919847000001"
DESK = Agent(staff_id="desk", name="Desk", numbers=("+919847000010", "+914842000110"))
RAVI = Agent(staff_id="ravi", name="Ravi", numbers=("+919847000011",))
SALES = Agent(staff_id="sales", name="Sales", numbers=("+919847000012",))


def view(
    *agents: Agent,
    owner: str | None = "desk",
    last: str | None = None,
    last_at: datetime = NOW - timedelta(days=1),
    defaults: tuple[str, ...] = ("sales",),
    did_fallback: str | None = "+914842000190",
    known: bool = True,
    routing: Routing | None = None,
) -> RoutingView:
    tenant = TenantEntry(
        tenant=TENANT,
        agents={agent.staff_id: agent for agent in agents or (DESK, RAVI, SALES)},
        routing=routing or Routing(fallback_number="+914842000199"),
    )
    did = DidEntry(did=DID, tenant=TENANT, default_staff_ids=defaults, fallback_number=did_fallback)
    caller = CallerEntry(
        number=CALLER,
        customer_id="c1",
        owner_staff_id=owner,
        last_agent_id=last,
        last_agent_at=last_at if last else None,
    )
    return RoutingView(tenant=tenant, did=did, caller=caller if known else None, rung="redis")


def ask(raw: str | None = CALLER, did: str | None = DID) -> Request:
    return Request(caller=parse_caller(raw), did=did)


def rang(decision: object) -> list[tuple[str, str | None]]:
    return [(each.reason, each.staff_id) for each in decision.destinations]  # type: ignore[attr-defined]


def left_out(decision: object) -> list[tuple[str, str, str]]:
    return [(each.staff_id, each.rule, each.reason) for each in decision.excluded]  # type: ignore[attr-defined]


def test_a_known_caller_rings_the_owner() -> None:
    decision = decide(view(), ask(), NOW)
    assert (decision.action, decision.rule, decision.customer_id) == ("dial", "owner", "c1")
    assert rang(decision) == [("owner", "desk")]
    assert decision.destinations[0].number == DESK.numbers[0]


def test_the_agent_who_talked_last_goes_before_the_owner() -> None:
    decision = decide(view(last="ravi"), ask(), NOW)
    assert rang(decision) == [("last_agent", "ravi"), ("owner", "desk")]
    assert decision.rule == "last_agent"


def test_the_owner_who_talked_last_is_rung_once() -> None:
    assert rang(decide(view(last="desk"), ask(), NOW)) == [("last_agent", "desk")]


def test_an_agent_on_leave_is_left_out_with_the_reason() -> None:
    away = replace(RAVI, leave=(Away(start=NOW - timedelta(hours=1)),))
    decision = decide(view(DESK, away, SALES, last="ravi"), ask(), NOW)
    assert rang(decision) == [("owner", "desk")]
    assert left_out(decision) == [("ravi", "last_agent", "on_leave")]
    assert "Ravi" in sentence(decision)
    assert "on leave" in sentence(decision)


def test_leave_ends_at_its_exclusive_end() -> None:
    back = replace(DESK, leave=(Away(start=NOW - timedelta(days=1), until=NOW),))
    assert rang(decide(view(back), ask(), NOW)) == [("owner", "desk")]
    assert left_out(decide(view(back, SALES), ask(), NOW - timedelta(seconds=1))) == [("desk", "owner", "on_leave")]


def test_a_talk_longer_ago_than_the_tenant_wants_does_not_count() -> None:
    decision = decide(view(last="ravi", last_at=NOW - timedelta(days=31)), ask(), NOW)
    assert rang(decision) == [("owner", "desk")]
    assert left_out(decision) == [("ravi", "last_agent", "too_long_ago")]


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        (replace(DESK, active=False), "inactive"),
        (replace(DESK, numbers=()), "no_number"),
        (replace(DESK, numbers=(CALLER,)), "is_caller"),
        (replace(DESK, numbers=("+919847000099", CALLER)), "is_caller"),
        (replace(DESK, numbers=(DID,)), "is_did"),
        (replace(DESK, hours=(Hours(weekday=4, start=540, until=1080),)), "outside_hours"),
    ],
)
def test_an_owner_who_cannot_take_the_call_is_left_out(agent: Agent, reason: str) -> None:
    decision = decide(view(agent, SALES), ask(), NOW)
    assert left_out(decision) == [("desk", "owner", reason)]
    assert rang(decision) == [("did_default", "sales")]


def test_an_owner_who_left_the_directory_is_left_out() -> None:
    assert left_out(decide(view(SALES), ask(), NOW)) == [("desk", "owner", "unknown_staff")]


def test_a_stranger_rings_the_defaults_in_their_order() -> None:
    decision = decide(view(known=False, defaults=("sales", "ravi")), ask(), NOW)
    assert rang(decision) == [("did_default", "sales"), ("did_default", "ravi")]


def test_an_agent_who_calls_the_office_is_not_put_through_to_themselves() -> None:
    decision = decide(view(known=False, defaults=("sales",)), ask(SALES.numbers[0]), NOW)
    assert rang(decision) == [("did_fallback", None)]
    assert left_out(decision) == [("sales", "did_default", "is_caller")]


@pytest.mark.parametrize("raw", ["anonymous", "Restricted", "", None, "sip:anonymous@anonymous.invalid", "+", "+abc"])
def test_an_anonymous_or_unreadable_caller_is_never_sticky(raw: str | None) -> None:
    decision = decide(view(last="ravi"), ask(raw), NOW)
    assert rang(decision) == [("did_default", "sales")]
    assert decision.customer_id is None


def test_fallbacks_come_last_and_in_order() -> None:
    nobody = view(known=False, defaults=())
    assert rang(decide(nobody, ask(), NOW)) == [("did_fallback", None)]
    without = view(known=False, defaults=(), did_fallback=None)
    assert rang(decide(without, ask(), NOW)) == [("tenant_fallback", None)]


def test_a_fallback_that_is_the_caller_or_the_did_is_passed_over() -> None:
    caller = decide(view(known=False, defaults=(), did_fallback=CALLER), ask(), NOW)
    assert (rang(caller), left_out(caller)) == ([("tenant_fallback", None)], [("", "did_fallback", "is_caller")])
    loop = decide(view(known=False, defaults=(), did_fallback=DID), ask(), NOW)
    assert left_out(loop) == [("", "did_fallback", "is_did")]


def test_with_nothing_left_nobody_is_rung_and_it_is_said_why() -> None:
    decision = decide(view(known=False, defaults=(), did_fallback=None, routing=Routing()), ask(), NOW)
    assert (decision.action, decision.rule, decision.destinations) == ("reject", "nobody", ())
    assert "Nobody was rung" in sentence(decision)


def test_a_blocked_caller_is_rejected() -> None:
    decision = decide(view(routing=Routing(blocked=frozenset({CALLER}))), ask(), NOW)
    assert (decision.action, decision.rule, decision.destinations) == ("reject", "blocked", ())


def test_an_unknown_did_rings_the_tenants_fallback() -> None:
    unknown = replace(view(known=False), did=None)
    assert rang(decide(unknown, ask(did="+912269000100"), NOW)) == [("tenant_fallback", None)]


@pytest.mark.parametrize(
    ("hour", "minute", "weekday", "open_"),
    [(21, 59, 3, False), (22, 0, 3, True), (23, 59, 3, True), (0, 0, 4, True), (5, 59, 4, True), (6, 0, 4, False)],
)
def test_hours_over_midnight_belong_to_the_day_they_begin(hour: int, minute: int, weekday: int, open_: bool) -> None:
    night = (Hours(weekday=3, start=22 * 60, until=6 * 60),)
    day = 4 if weekday == 3 else 5
    local = datetime(2026, 3, day, hour, minute, tzinfo=UTC) - timedelta(hours=5, minutes=30)
    assert is_open(night, local, "Asia/Kolkata") is open_


def test_sunday_night_runs_into_monday() -> None:
    night = (Hours(weekday=7, start=20 * 60, until=2 * 60),)
    assert is_open(night, datetime(2026, 3, 8, 20, 0, tzinfo=UTC), "Asia/Kolkata")


def test_the_day_ends_at_twenty_four_hours() -> None:
    late = (Hours(weekday=3, start=18 * 60, until=24 * 60),)
    assert is_open(late, datetime(2026, 3, 4, 18, 29, tzinfo=UTC), "Asia/Kolkata")
    assert not is_open(late, datetime(2026, 3, 4, 18, 30, tzinfo=UTC), "Asia/Kolkata")


def test_hours_are_by_the_tenants_clock_and_an_unknown_zone_is_indian_time() -> None:
    morning = (Hours(weekday=3, start=9 * 60, until=10 * 60),)
    moment = datetime(2026, 3, 4, 3, 45, tzinfo=UTC)
    assert is_open(morning, moment, "Asia/Kolkata")
    assert not is_open(morning, moment, "Europe/London")
    assert is_open(morning, moment, "Not/AZone")
