"""One rule after the other: what each of them does, in the order in which they are asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from identifiers.phone import parse_caller
from telephony_router.decide import decide
from telephony_router.explain import in_full, sentence
from telephony_router.routing import (
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
"""A Wednesday, noon in Kochi."""
NIGHT = datetime(2026, 3, 4, 18, 30, tzinfo=UTC)
"""Midnight there."""
DID, SECOND, THIRD, CALLER = "+914842000100", "+914842000101", "+914842000102", "+919847000001"
OFFICE_HOURS = tuple(Hours(weekday=day, start=540, until=1080) for day in range(1, 7))
PEOPLE = {
    name: Agent(staff_id=name, name=name.title(), numbers=(f"+9198470000{number}",))
    for number, name in enumerate(("anu", "binu", "chitra", "deepa", "elias"), start=10)
}
DAY = Calendar(
    name="day", hours=OFFICE_HOURS, holidays={"2026-03-06": Holiday(), "2026-03-07": Holiday(start=600, until=720)}
)
SALES = Group(name="sales", staff_ids=("anu", "binu"))
NIGHTS = Group(name="nights", staff_ids=("elias",))
ROUTING = Routing(
    version=4,
    groups={"sales": SALES, "nights": NIGHTS, "key": Group(name="key", staff_ids=("chitra",))},
    calendars={"day": DAY},
    fallback_number="+914842000199",
)


def view(
    routing: Routing = ROUTING,
    *,
    people: dict[str, Agent] | None = None,
    load: dict[str, Load] | None = None,
    offers: dict[str, Offer] | None = None,
    caller: CallerEntry | None = None,
    lines: tuple[DidEntry, ...] = (),
    **did: Any,
) -> RoutingView:
    own = DidEntry(did=DID, tenant=TENANT, **({"default_staff_ids": ("deepa",)} | did))
    tenant = TenantEntry(
        tenant=TENANT, agents=PEOPLE | (people or {}), routing=routing, lines={each.did: each for each in (own, *lines)}
    )
    return RoutingView(
        tenant=tenant, did=own, caller=caller, rung="redis", load=LoadEntry(agents=load or {}), offers=offers or {}
    )


def asked(raw: str | None = CALLER, **more: Any) -> Request:
    return Request(caller=parse_caller(raw), did=DID, **more)


def customer(**more: Any) -> CallerEntry:
    return CallerEntry(number=CALLER, **({"kind": "customer", "customer_id": "c1", "owner_staff_id": "chitra"} | more))


def rang(decision: Decision) -> list[str]:
    return [each.staff_id or each.number for each in decision.destinations]


def left_out(decision: Decision) -> list[tuple[str, str, str]]:
    return [(each.staff_id, each.rule, each.reason) for each in decision.excluded]


def steps(decision: Decision) -> list[tuple[str, str]]:
    return [(each.rule, each.outcome) for each in decision.steps]


def person(name: str, **more: Any) -> dict[str, Agent]:
    return {name: replace(PEOPLE[name], **more)}


def test_a_call_that_was_passed_on_too_often_is_refused_before_anything_else() -> None:
    burning = replace(ROUTING, max_hops=2, emergency=Emergency(number="+919847000099"))
    decision = decide(view(burning), asked(hops=3), NOW)
    assert (decision.action, decision.rule, decision.destinations) == ("reject", "loop", ())
    assert "going in a circle" in sentence(decision)
    assert decide(view(burning), asked(hops=2), NOW).rule == "emergency"


@pytest.mark.parametrize("caller", [customer(), customer(vip=True), None])
def test_in_an_emergency_all_calls_go_there_also_blocked_ones_and_at_night(caller: CallerEntry | None) -> None:
    off = person("elias", hours=OFFICE_HOURS)
    burning = replace(ROUTING, blocked=frozenset({CALLER}), emergency=Emergency(group="nights", number="+919847000099"))
    decision = decide(view(burning, people=off, caller=caller), asked(), NIGHT)
    assert (decision.rule, rang(decision)) == ("emergency", ["elias", "+919847000099"])


def test_an_emergency_ends_by_itself() -> None:
    burning = replace(ROUTING, emergency=Emergency(number="+919847000099", until=NOW))
    assert decide(view(burning), asked(), NOW).rule == "did_default"
    assert decide(view(burning), asked(), NOW - timedelta(seconds=1)).rule == "emergency"


def test_an_emergency_rings_nobody_on_leave_and_nobody_else() -> None:
    away = person("elias", leave=(Away(start=NOW - timedelta(days=1)),))
    decision = decide(view(replace(ROUTING, emergency=Emergency(group="nights")), people=away), asked(), NOW)
    assert (decision.rule, left_out(decision)) == ("nobody", [("elias", "emergency", "on_leave")])


SPAM = CallerEntry(number=CALLER, spam_score=80, spam_at=NOW - timedelta(hours=2))


def test_a_stranger_who_calls_like_a_machine_is_refused_or_diverted() -> None:
    limited = replace(ROUTING, spam_limit=80)
    assert decide(view(limited, caller=SPAM), asked(), NOW).rule == "spam"
    diverted = decide(view(replace(limited, spam=Diversion(number="+919847000098")), caller=SPAM), asked(), NOW)
    assert (diverted.rule, rang(diverted)) == ("spam", ["+919847000098"])
    gone = replace(limited, spam=Diversion(group="sales"))
    away = {name: replace(PEOPLE[name], active=False) for name in ("anu", "binu")}
    assert decide(view(gone, people=away, caller=SPAM), asked(), NOW).action == "reject"


@pytest.mark.parametrize(
    ("limit", "caller", "numbers"),
    [
        (None, SPAM, ()),
        (81, SPAM, ()),
        (1, replace(SPAM, kind="customer", customer_id="c1"), ()),
        (1, replace(SPAM, kind="lead"), ()),
        (1, replace(SPAM, spam_at=NOW - timedelta(hours=25)), ()),
        (1, replace(SPAM, spam_at=None), ()),
        (1, SPAM, (CALLER,)),
    ],
)
def test_somebody_known_or_below_the_limit_or_long_quiet_is_never_spam(
    limit: int | None, caller: CallerEntry, numbers: tuple[str, ...]
) -> None:
    routing = replace(ROUTING, spam_limit=limit, vip_numbers=frozenset(numbers))
    assert decide(view(routing, caller=caller), asked(), NOW).action == "dial"


def test_staff_who_ring_the_office_often_are_not_spam() -> None:
    own = PEOPLE["anu"].numbers[0]
    decision = decide(view(replace(ROUTING, spam_limit=1), caller=replace(SPAM, number=own)), asked(own), NOW)
    assert rang(decision) == ["deepa"]


VIP = replace(ROUTING, vip=Diversion(group="key"), default_calendar="day", after_hours=Diversion(group="nights"))


@pytest.mark.parametrize("marked", [True, False])
def test_a_vip_rings_who_takes_vips_when_those_they_know_cannot(marked: bool) -> None:
    caller = customer(vip=marked, owner_staff_id=None)
    routing = VIP if marked else replace(VIP, vip_numbers=frozenset({CALLER}))
    decision = decide(view(routing, caller=caller), asked(), NIGHT)
    assert (decision.rule, rang(decision)) == ("vip", ["chitra"])
    assert decide(view(routing, caller=replace(caller, owner_staff_id="anu")), asked(), NIGHT).rule == "owner"


def test_hours_and_wrap_up_do_not_hold_for_vips_but_leave_and_calls_do() -> None:
    caller = customer(vip=True, owner_staff_id="anu")
    rested = view(
        replace(VIP, wrap_up_seconds=60),
        people=person("anu", hours=OFFICE_HOURS),
        load={"anu": Load(idle_since=NIGHT)},
        caller=caller,
    )
    assert rang(decide(rested, asked(), NIGHT)) == ["anu"]
    on_leave = view(VIP, people=person("anu", leave=(Away(start=NIGHT),)), caller=caller)
    assert left_out(decide(on_leave, asked(), NIGHT)) == [("anu", "owner", "on_leave")]
    talking = view(VIP, load={"anu": Load(calls={"x": NIGHT})}, caller=caller)
    assert left_out(decide(talking, asked(), NIGHT)) == [("anu", "owner", "busy")]
    strict = replace(VIP, vip_any_hour=False)
    assert decide(view(strict, caller=caller), asked(), NIGHT).rule == "vip"
    assert left_out(decide(view(strict, caller=caller), asked(), NIGHT)) == [("anu", "owner", "closed")]


@pytest.mark.parametrize(
    ("digits", "rule"), [("1", "menu"), ("1#", "menu"), ("2", "did_default"), ("", "did_default"), ("3", "did_default")]
)
def test_what_the_caller_pressed_chooses_the_group(digits: str, rule: str) -> None:
    decision = decide(view(menu={"1": "sales", "3": "gone"}), asked(digits=digits), NOW)
    assert decision.rule == rule
    assert rang(decision) == (["anu", "binu"] if rule == "menu" else ["deepa"])
    if digits == "3":
        assert [(each.rule, each.reason, each.name) for each in decision.excluded] == [
            ("menu", "unknown_group", "gone")
        ]


CLOSING = replace(ROUTING, default_calendar="day", after_hours=Diversion(group="nights", number="+919847000097"))


def test_after_hours_calls_go_elsewhere_instead_of_to_the_numbers_people() -> None:
    night = decide(view(CLOSING, caller=customer()), asked(), NIGHT)
    assert (night.rule, rang(night)) == ("after_hours", ["elias", "+919847000097"])
    assert left_out(night) == [("chitra", "owner", "closed")]
    assert ("calendar", "closed") in steps(night)
    day = decide(view(CLOSING, caller=customer()), asked(), NOW)
    assert (day.rule, rang(day)) == ("owner", ["chitra"])
    assert ("calendar", "open") in steps(day)


@pytest.mark.parametrize(
    ("at", "rule"),
    [
        ("2026-03-06T12:00:00+05:30", "after_hours"),
        ("2026-03-07T09:59:00+05:30", "after_hours"),
        ("2026-03-07T10:00:00+05:30", "did_default"),
        ("2026-03-07T12:00:00+05:30", "after_hours"),
        ("2026-03-08T12:00:00+05:30", "after_hours"),
        ("2026-03-09T09:00:00+05:30", "did_default"),
    ],
)
def test_a_holiday_has_hours_of_its_own_by_the_clock_of_the_tenants_zone(at: str, rule: str) -> None:
    assert decide(view(CLOSING), asked(), datetime.fromisoformat(at)).rule == rule


def test_the_dids_own_calendar_goes_before_the_routings_and_a_missing_one_closes_nothing() -> None:
    always = replace(CLOSING, calendars={"day": DAY, "always": Calendar(name="always")})
    assert decide(view(always, calendar="always"), asked(), NIGHT).rule == "did_default"
    assert decide(view(always, calendar="gone"), asked(), NIGHT).rule == "did_default"
    assert decide(view(replace(CLOSING, after_hours=None)), asked(), NIGHT).rule == "did_default"


def test_the_night_before_a_holiday_ends_at_its_midnight() -> None:
    nights = Calendar(name="day", hours=tuple(Hours(weekday=day, start=1320, until=360) for day in range(1, 8)),
                      holidays={"2026-03-06": Holiday()})  # fmt: skip
    routing = replace(CLOSING, calendars={"day": nights})

    def rule(at: str) -> str:
        return decide(view(routing), asked(), datetime.fromisoformat(at)).rule

    assert rule("2026-03-05T23:00:00+05:30") == "did_default"
    assert rule("2026-03-06T05:00:00+05:30") == "after_hours"
    assert rule("2026-03-07T05:00:00+05:30") == "after_hours"
    assert rule("2026-03-08T05:00:00+05:30") == "did_default"


def test_a_numbers_people_go_before_its_group_and_that_before_overflow_and_fallback() -> None:
    flowing = replace(ROUTING, overflow=Diversion(number="+919847000096"))
    both = view(flowing, group="sales", fallback_number="+919847000095")
    assert rang(decide(both, asked(), NOW)) == ["deepa"]
    no_deepa = view(flowing, people=person("deepa", active=False), group="sales")
    assert rang(decide(no_deepa, asked(), NOW)) == ["anu", "binu"]
    nobody = {name: replace(each, active=False) for name, each in PEOPLE.items()}
    assert decide(view(flowing, people=nobody, group="sales"), asked(), NOW).rule == "overflow"
    bare = view(ROUTING, people=nobody, group="sales", fallback_number="+919847000095")
    assert decide(bare, asked(), NOW).rule == "did_fallback"
    assert decide(view(ROUTING, people=nobody), asked(), NOW).rule == "tenant_fallback"


def ago(**names: int) -> dict[str, datetime]:
    return {name: NOW - timedelta(seconds=seconds) for name, seconds in names.items()}


@pytest.mark.parametrize(
    ("strategy", "load", "offers", "order", "parallel"),
    [
        ("in_order", {}, {}, ["anu", "binu", "chitra"], False),
        ("one_of_a_later_version", {}, {}, ["anu", "binu", "chitra"], False),
        ("simultaneous", {}, {}, ["anu", "binu", "chitra"], True),
        ("round_robin", {}, {}, ["anu", "binu", "chitra"], False),
        ("round_robin", {"anu": 5, "binu": 50}, {}, ["chitra", "binu", "anu"], False),
        ("round_robin", {"anu": 500, "binu": 50}, {"anu": 1}, ["chitra", "binu", "anu"], False),
        ("longest_idle", {"anu": 5, "binu": 500, "chitra": 50}, {}, ["binu", "chitra", "anu"], False),
        ("longest_idle", {"anu": 5, "binu": 500}, {}, ["chitra", "binu", "anu"], False),
    ],
)
def test_a_group_rings_as_its_strategy_says(
    strategy: str, load: dict[str, int], offers: dict[str, int], order: list[str], parallel: bool
) -> None:
    group = Group(name="team", strategy=strategy, staff_ids=("anu", "binu", "chitra"), ring_seconds=12)
    idle = strategy == "longest_idle"
    loads = {
        name: Load(idle_since=at if idle else None, offered_at=None if idle else at) for name, at in ago(**load).items()
    }
    decision = decide(
        view(
            replace(ROUTING, groups={"team": group}),
            load=loads,
            offers={name: Offer(offered_at=at) for name, at in ago(**offers).items()},
            default_staff_ids=(),
            group="team",
        ),
        asked(),
        NOW,
    )
    assert (rang(decision), decision.parallel, decision.ring_seconds) == (order, parallel, 12)


def test_a_number_cannot_follow_people_who_ring_at_once() -> None:
    group = Group(name="team", strategy="simultaneous", staff_ids=("anu", "binu"))
    routing = replace(ROUTING, groups={"team": group}, overflow=Diversion(group="team", number="+919847000096"))
    decision = decide(view(routing, default_staff_ids=()), asked(), NOW)
    assert (rang(decision), decision.parallel) == (["anu", "binu"], True)
    gone = {name: replace(PEOPLE[name], active=False) for name in ("anu", "binu")}
    assert rang(decide(view(routing, people=gone, default_staff_ids=()), asked(), NOW)) == ["+919847000096"]


def test_skills_are_asked_of_the_numbers_people_and_groups_but_not_of_whom_the_caller_knows() -> None:
    able = {"binu": replace(PEOPLE["binu"], skills=frozenset({"gst", "ml"}))}
    stranger = decide(view(people=able, skills=frozenset({"gst"}), group="sales"), asked(), NOW)
    assert rang(stranger) == ["binu"]
    assert left_out(stranger) == [("deepa", "did_default", "lacks_skill"), ("anu", "did_group", "lacks_skill")]
    assert rang(decide(view(people=able, skills=frozenset({"gst"}), caller=customer()), asked(), NOW)) == ["chitra"]


@pytest.mark.parametrize("language", ["ml", "ml-IN", "ML"])
def test_those_who_speak_the_customers_language_go_first(language: str) -> None:
    able = {"binu": replace(PEOPLE["binu"], skills=frozenset({"ml"}))}
    known = customer(owner_staff_id=None, language=language)
    assert rang(decide(view(people=able, caller=known, default_staff_ids=(), group="sales"), asked(), NOW)) == [
        "binu",
        "anu",
    ]
    assert rang(decide(view(people=able, default_staff_ids=(), group="sales"), asked(), NOW)) == ["anu", "binu"]


@pytest.mark.parametrize(
    ("load", "offer", "capacity", "reason"),
    [
        (Load(calls={"x": NOW - timedelta(hours=1)}), None, 1, "busy"),
        (Load(calls={"x": NOW - timedelta(hours=1)}), None, 2, None),
        (Load(calls={"x": NOW - timedelta(hours=5)}), None, 1, None),
        (Load(calls={"mine": NOW}), None, 1, None),
        (Load(), Offer(leases={"x": NOW + timedelta(seconds=1)}), 1, "claimed"),
        (Load(), Offer(leases={"x": NOW}), 1, None),
        (Load(), Offer(leases={"mine": NOW + timedelta(hours=1)}), 1, None),
        (Load(calls={"x": NOW}), Offer(leases={"x": NOW + timedelta(hours=1)}), 2, None),
        (Load(calls={"x": NOW}), Offer(leases={"y": NOW + timedelta(hours=1)}), 2, "claimed"),
        (Load(idle_since=NOW - timedelta(seconds=29)), None, 1, "wrap_up"),
        (Load(idle_since=NOW - timedelta(seconds=30)), None, 1, None),
    ],
)
def test_whoever_has_enough_to_do_is_left_alone(
    load: Load, offer: Offer | None, capacity: int, reason: str | None
) -> None:
    seen = view(
        replace(ROUTING, wrap_up_seconds=30),
        people=person("deepa", capacity=capacity),
        load={"deepa": load},
        offers={"deepa": offer} if offer else {},
    )
    decision = decide(seen, asked(call="mine"), NOW)
    assert left_out(decision) == ([("deepa", "did_default", reason)] if reason else [])


def test_somebodys_own_wrap_up_goes_before_the_routings() -> None:
    load = {"deepa": Load(idle_since=NOW - timedelta(seconds=5))}
    ready = view(replace(ROUTING, wrap_up_seconds=30), people=person("deepa", wrap_up_seconds=0), load=load)
    assert rang(decide(ready, asked(), NOW)) == ["deepa"]
    slow = view(people=person("deepa", wrap_up_seconds=60), load=load)
    assert left_out(decide(slow, asked(), NOW)) == [("deepa", "did_default", "wrap_up")]


def line(did: str, **more: Any) -> DidEntry:
    return DidEntry(did=did, tenant=TENANT, **more)


def test_an_agent_whose_number_rings_here_is_left_out() -> None:
    looping = {"deepa": replace(PEOPLE["deepa"], numbers=(SECOND,)), "anu": replace(PEOPLE["anu"], numbers=(DID,))}
    decision = decide(view(people=looping, lines=(line(SECOND),), default_staff_ids=("deepa", "anu")), asked(), NOW)
    assert left_out(decision) == [("deepa", "did_default", "is_line"), ("anu", "did_default", "is_did")]


def test_a_fallback_that_rings_here_is_followed_to_who_takes_its_calls() -> None:
    other = line(SECOND, default_staff_ids=("anu",))
    decision = decide(view(lines=(other,), default_staff_ids=(), fallback_number=SECOND), asked(), NOW)
    assert (decision.rule, rang(decision)) == ("did_fallback", ["anu"])
    further = line(SECOND, fallback_number="+919847000094")
    assert rang(decide(view(lines=(further,), default_staff_ids=(), fallback_number=SECOND), asked(), NOW)) == [
        "+919847000094"
    ]


def test_numbers_that_fall_back_on_each_other_end_at_the_next_fallback_or_are_refused() -> None:
    circle = (line(SECOND, fallback_number=THIRD), line(THIRD, fallback_number=DID))
    decision = decide(view(lines=circle, default_staff_ids=(), fallback_number=SECOND), asked(), NOW)
    assert (decision.rule, left_out(decision)) == ("tenant_fallback", [("", "did_fallback", "loop")])
    alone = view(replace(ROUTING, fallback_number=None), lines=circle, default_staff_ids=(), fallback_number=SECOND)
    refused = decide(alone, asked(), NOW)
    assert (refused.action, refused.rule) == ("reject", "loop")
    assert "going in a circle" in sentence(refused)
    itself = view(replace(ROUTING, fallback_number=None), default_staff_ids=(), fallback_number=DID)
    assert (decide(itself, asked(), NOW).rule, left_out(decide(itself, asked(), NOW))) == (
        "nobody",
        [("", "did_fallback", "is_did")],
    )


def test_a_number_that_is_followed_while_it_is_closed_is_passed_over() -> None:
    closed = line(SECOND, label="Branch", default_staff_ids=("anu",), calendar="day")
    routing = replace(ROUTING, after_hours=Diversion(group="nights"))
    decision = decide(view(routing, lines=(closed,), default_staff_ids=(), fallback_number=SECOND), asked(), NIGHT)
    assert (decision.rule, left_out(decision)) == ("tenant_fallback", [("", "did_fallback", "closed")])
    assert "Branch" in sentence(decision)


def test_two_people_with_one_telephone_ring_it_once() -> None:
    shared = {"binu": replace(PEOPLE["binu"], numbers=PEOPLE["anu"].numbers)}
    decision = decide(view(people=shared, default_staff_ids=(), group="sales"), asked(), NOW)
    assert (rang(decision), left_out(decision)) == (["anu"], [("binu", "did_group", "same_number")])


def test_a_decision_tells_its_way_and_what_it_went_by() -> None:
    caller = customer(last_agent_id="anu", last_agent_at=NOW)
    seen = view(replace(CLOSING, spam_limit=50), load={"anu": Load(calls={"x": NOW})}, caller=caller)
    decision = decide(seen, asked(), NOW)
    assert steps(decision) == [("calendar", "open"), ("last_agent", "nobody"), ("owner", "rang")]
    assert (decision.rule_version, decision.config_version, decision.claimed) == ("2", 4, False)
    assert in_full(decision)[1] == "Who talked to the caller last had nobody who can take it (Anu is on a call)."


def test_an_old_configuration_that_names_what_is_gone_still_answers() -> None:
    gone = Diversion(group="nowhere")
    routing = replace(ROUTING, groups={}, after_hours=gone, overflow=gone, vip=gone, spam=gone, spam_limit=1)
    decision = decide(view(routing, default_staff_ids=("nobody",), group="nowhere"), asked(), NOW)
    assert decision.rule == "tenant_fallback"
    assert {each.reason for each in decision.excluded} == {"unknown_staff", "unknown_group"}


def test_nobody_is_both_rung_and_left_out_by_one_rule() -> None:
    other = line(SECOND, default_staff_ids=("anu",))
    routing = replace(ROUTING, overflow=Diversion(group="sales", number=SECOND))
    decision = decide(view(routing, lines=(other,), default_staff_ids=(), skills=frozenset({"gst"})), asked(), NOW)
    assert (rang(decision), left_out(decision)) == (["anu"], [("binu", "overflow", "lacks_skill")])
