"""What holds of every decision, whatever the configuration, the people and the moment. And the words for all of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identifiers.phone import parse_caller
from telephony_router.decide import decide
from telephony_router.entries import decision_from_json, decision_to_json
from telephony_router.explain import (
    OUTCOME_WORDS,
    REASON_WORDS,
    REFUSAL_WORDS,
    RULE_WORDS,
    STEP_WORDS,
    in_full,
    sentence,
)
from telephony_router.inputs import inputs_from_json, inputs_of
from telephony_router.routing import (
    REASONS,
    REFUSALS,
    RULES,
    Agent,
    Away,
    Calendar,
    CallerEntry,
    Decision,
    DidEntry,
    Diversion,
    Emergency,
    Group,
    Holiday,
    Hours,
    Load,
    LoadEntry,
    Offer,
    Request,
    Routing,
    RoutingView,
    TenantEntry,
)

TENANT = UUID(int=7)
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
STAFF = ("anu", "binu", "chitra", "deepa")
DIDS = tuple(f"+91484200010{digit}" for digit in range(3))
MOBILES = tuple(f"+91984700001{digit}" for digit in range(4))
NUMBERS = st.sampled_from((*DIDS, *MOBILES, "+919847000099"))
NAMES = st.sampled_from(("sales", "nights", "gone"))
SKILLS = st.frozensets(st.sampled_from(("ml", "hi", "gst")), max_size=2)
MOMENTS = st.integers(-60 * 24 * 3, 60 * 24 * 3).map(lambda minutes: NOW + timedelta(minutes=minutes))
STAFF_IDS = st.lists(st.sampled_from((*STAFF, "gone")), max_size=4).map(tuple)
HOURS = st.builds(Hours, weekday=st.integers(1, 7), start=st.integers(0, 1439), until=st.integers(0, 1440))
LEAVE = st.builds(Away, start=MOMENTS, until=st.none() | MOMENTS)
AGENTS = {
    name: st.builds(
        Agent,
        staff_id=st.just(name),
        numbers=st.lists(NUMBERS, max_size=2).map(tuple),
        active=st.booleans(),
        hours=st.lists(HOURS, max_size=2).map(tuple),
        leave=st.lists(LEAVE, max_size=1).map(tuple),
        skills=SKILLS,
        capacity=st.integers(0, 2),
        wrap_up_seconds=st.none() | st.integers(0, 600),
    )
    for name in STAFF
}
GROUPS = {
    name: st.builds(
        Group,
        name=st.just(name),
        strategy=st.sampled_from(("in_order", "simultaneous", "round_robin", "longest_idle", "new")),
        staff_ids=STAFF_IDS,
        ring_seconds=st.none() | st.integers(5, 60),
    )
    for name in ("sales", "nights")
}
WAYS = st.none() | st.builds(Diversion, group=st.none() | NAMES, number=st.none() | NUMBERS)
HOLIDAYS = st.dictionaries(
    st.sampled_from(("2026-03-03", "2026-03-04", "2026-03-05")),
    st.just(Holiday()) | st.builds(Holiday, start=st.integers(0, 1439), until=st.integers(0, 1440)),
)
CALENDARS = st.fixed_dictionaries(
    {"day": st.builds(Calendar, name=st.just("day"), hours=st.lists(HOURS, max_size=3).map(tuple), holidays=HOLIDAYS)}
)
EMERGENCIES = st.builds(Emergency, group=st.none() | NAMES, number=st.none() | NUMBERS, until=st.none() | MOMENTS)
ROUTINGS = st.builds(
    Routing,
    groups=st.fixed_dictionaries(GROUPS),
    calendars=CALENDARS,
    default_calendar=st.sampled_from((None, "day", "gone")),
    fallback_number=st.none() | NUMBERS,
    blocked=st.frozensets(NUMBERS, max_size=1),
    after_hours=WAYS,
    overflow=WAYS,
    vip=WAYS,
    vip_numbers=st.frozensets(NUMBERS, max_size=1),
    vip_any_hour=st.booleans(),
    spam_limit=st.none() | st.integers(1, 100),
    spam=WAYS,
    emergency=st.none() | EMERGENCIES,
    wrap_up_seconds=st.integers(0, 300),
    max_hops=st.integers(1, 3),
)
LINES = {
    did: st.builds(
        DidEntry,
        did=st.just(did),
        tenant=st.just(TENANT),
        default_staff_ids=STAFF_IDS,
        fallback_number=st.none() | NUMBERS,
        group=st.none() | NAMES,
        calendar=st.sampled_from((None, "day")),
        skills=SKILLS,
        menu=st.dictionaries(st.sampled_from(("1", "2")), NAMES),
    )
    for did in DIDS
}
CALLERS = st.none() | st.builds(
    CallerEntry,
    number=st.just(""),
    kind=st.sampled_from(("", "lead", "customer")),
    owner_staff_id=st.none() | st.sampled_from((*STAFF, "gone")),
    last_agent_id=st.none() | st.sampled_from(STAFF),
    last_agent_at=st.none() | MOMENTS,
    vip=st.booleans(),
    language=st.sampled_from(("", "ml", "ml-IN")),
    spam_score=st.integers(0, 100),
    spam_at=st.none() | MOMENTS,
)
CALLS = st.dictionaries(st.sampled_from(("c1", "c2", "mine")), MOMENTS, max_size=2)
LOADS = st.dictionaries(
    st.sampled_from(STAFF), st.builds(Load, calls=CALLS, idle_since=st.none() | MOMENTS, offered_at=st.none() | MOMENTS)
)
OFFERS = st.dictionaries(st.sampled_from(STAFF), st.builds(Offer, offered_at=st.none() | MOMENTS, leases=CALLS))
REQUESTS = st.builds(
    Request,
    caller=st.one_of(NUMBERS, st.sampled_from(("anonymous", ""))).map(parse_caller),
    did=st.none() | st.sampled_from((*DIDS, "+912269000100")),
    digits=st.sampled_from(("", "1", "2", "9")),
    hops=st.integers(0, 4),
    call=st.sampled_from(("", "mine")),
)


@st.composite
def questions(draw: st.DrawFn) -> tuple[RoutingView, Request, datetime]:
    request = draw(REQUESTS)
    lines = draw(st.fixed_dictionaries(LINES))
    tenant = TenantEntry(
        tenant=TENANT, agents=draw(st.fixed_dictionaries({}, optional=AGENTS)), routing=draw(ROUTINGS), lines=lines
    )
    view = RoutingView(
        tenant=tenant,
        did=lines.get(request.did or ""),
        caller=draw(CALLERS),
        rung="redis",
        load=LoadEntry(agents=draw(LOADS)),
        offers=draw(OFFERS),
        claimed=draw(st.frozensets(st.sampled_from(STAFF), max_size=2)),
    )
    return view, request, draw(MOMENTS)


@settings(max_examples=12 * settings.default.max_examples)
@given(questions())
def test_every_decision_keeps_the_house_rules(question: tuple[RoutingView, Request, datetime]) -> None:
    view, request, now = question
    decision = decide(view, request, now)
    assert decision == decide(view, request, now), "the same question has the same answer"
    assert (decision.action == "dial") == bool(decision.destinations)
    numbers = [each.number for each in decision.destinations]
    staff = [each.staff_id for each in decision.destinations if each.staff_id]
    assert len(set(numbers)) == len(numbers)
    assert len(set(staff)) == len(staff)
    assert request.caller.e164 not in numbers
    assert not set(numbers) & {request.did, *DIDS}, "what is rung would come back to us"
    for each in staff:
        agent = view.tenant.agents[each]
        assert agent.active
        assert request.caller.e164 not in agent.numbers
        assert not any(away.start <= now and (away.until is None or now < away.until) for away in agent.leave)
        assert each not in view.claimed
    assert decision.rule in (RULES if numbers else REFUSALS)
    assert {each.reason for each in decision.destinations} <= set(RULES)
    assert {each.reason for each in decision.excluded} <= set(REASONS)
    assert not {(each.staff_id, each.reason) for each in decision.destinations if each.staff_id} & {
        (each.staff_id, each.rule) for each in decision.excluded
    }


@given(questions())
def test_an_emergency_wins_over_everything_but_a_circle(question: tuple[RoutingView, Request, datetime]) -> None:
    view, request, now = question
    emergency = view.tenant.routing.emergency
    decision = decide(view, request, now)
    if request.hops > view.tenant.routing.max_hops:
        assert (decision.rule, decision.destinations) == ("loop", ())
    elif emergency is not None and (emergency.until is None or now < emergency.until):
        assert {each.reason for each in decision.destinations} <= {"emergency"}
        assert {each.rule for each in decision.excluded} <= {"emergency"}
    else:
        assert decision.rule != "emergency"


@settings(max_examples=3 * settings.default.max_examples)
@given(questions())
def test_every_candidate_is_rung_or_left_out_with_a_reason_until_the_rule_that_rings(
    question: tuple[RoutingView, Request, datetime],
) -> None:
    view, request, now = question
    decision = decide(view, request, now)
    did, rang = view.did, {each.staff_id for each in decision.destinations}
    left_out = {(each.rule, each.staff_id) for each in decision.excluded}
    entry = view.caller if request.caller.kind == "number" else None

    def accounted(rule: str, staff_ids: Iterable[str | None]) -> None:
        for each in staff_ids:
            assert each in rang or (rule, each) in left_out, (rule, each)

    if decision.rule in ("emergency", "blocked", "spam", "loop") or request.hops > view.tenant.routing.max_hops:
        return
    emergency = view.tenant.routing.emergency
    if emergency is not None and (emergency.until is None or now < emergency.until):
        return
    if entry is not None and entry.owner_staff_id:
        accounted("owner", [entry.owner_staff_id])
    later = RULES.index(decision.rule) if decision.rule in RULES else len(RULES)
    after_hours = any(each.rule == "calendar" and each.outcome == "closed" for each in decision.steps)
    if did is not None and later > RULES.index("did_group") and not after_hours:
        accounted("did_default", did.default_staff_ids)
        group = view.tenant.routing.groups.get(did.group or "")
        accounted("did_group", group.staff_ids if group else ())


@given(questions())
def test_a_decision_and_its_inputs_come_back_from_json_and_decide_the_same_again(
    question: tuple[RoutingView, Request, datetime],
) -> None:
    view, request, now = question
    decision = decide(view, request, now)
    assert decision_from_json(json.loads(decision_to_json(decision))) == decision
    inputs = inputs_from_json(json.loads(json.dumps(inputs_of(view, request, decision))))
    again = replace(view, caller=inputs.caller, load=inputs.load, offers=inputs.offers, claimed=inputs.claimed)
    known = replace(request, digits=inputs.digits, hops=inputs.hops)
    assert decide(again, known, now) == decision


@given(questions())
def test_every_decision_can_be_told(question: tuple[RoutingView, Request, datetime]) -> None:
    decision = decide(*question)
    assert sentence(decision).endswith(".")
    assert all(line.endswith(".") for line in in_full(decision))
    assert not any(number in sentence(decision) for number in (*DIDS, *MOBILES))


def test_there_are_words_for_every_rule_and_every_reason() -> None:
    assert set(RULE_WORDS) == set(RULES)
    assert set(REFUSAL_WORDS) == set(REFUSALS)
    assert set(REASON_WORDS) == set(REASONS)
    assert set(STEP_WORDS) == {*RULES, "hops", "blocked", "calendar"}


@given(questions())
def test_every_step_has_its_words(question: tuple[RoutingView, Request, datetime]) -> None:
    for step in decide(*question).steps:
        assert step.rule in STEP_WORDS
        assert step.outcome in OUTCOME_WORDS


@pytest.mark.parametrize("missing", ["steps", "config_version", "parallel", "claimed"])
def test_a_decision_of_an_older_router_is_read_with_what_it_had(missing: str) -> None:
    nothing = RoutingView(tenant=TenantEntry(tenant=TENANT), did=None, caller=None, rung="static")
    decision = decide(nothing, Request(caller=parse_caller(""), did=None), NOW)
    values = json.loads(decision_to_json(decision))
    del values[missing]
    values["of_a_newer_router"] = 1
    assert isinstance(decision_from_json(values), Decision)
