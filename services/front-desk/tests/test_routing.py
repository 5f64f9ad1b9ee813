"""The routing's values: valid by construction, and no call that rings in a circle."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from front_desk.differences import differences
from front_desk.directory import Customer, Did, Invalid, Staff
from front_desk.lines import Line, problems_of_lines, problems_of_routing, still_named
from front_desk.routing import STRATEGIES, Emergency, Routing, stored_routing
from front_desk.routing_bodies import RoutingBody

GROUP = {"name": "reception", "staff": ["desk"]}


def _problems(**fields: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as error:
        Routing.of(**fields)
    return {problem.field: problem.sentence for problem in error.value.problems}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"groups": [{"name": "A"}]}, {"groups.0.name"}),
        ({"groups": [{"name": "a", "staff": ["-"]}]}, {"groups.a.staff"}),
        ({"groups": [{"name": "a", "strategy": "random"}]}, {"groups.a.strategy"}),
        ({"groups": [{"name": "a", "ring_seconds": 121}]}, {"groups.a.ring_seconds"}),
        ({"groups": [{"name": "a"}, {"name": "a"}]}, {"groups.a"}),
        ({"groups": [{"name": f"g{n}"} for n in range(51)]}, {"groups"}),
        ({"groups": [{"name": "a", "staff": [f"s{n}" for n in range(51)]}]}, {"groups.a.staff"}),
        ({"calendars": [{"name": "a", "hours": "Mon 9-5"}]}, {"calendars.a.hours"}),
        ({"calendars": [{"name": "a"}, {"name": "a"}]}, {"calendars.a"}),
        (
            {"calendars": [{"name": "a", "holidays": [{"date": "2026-02-30"}]}]},
            {"calendars.a.holidays.2026-02-30.date"},
        ),
        ({"calendars": [{"name": "a", "holidays": [{"date": "15 August"}]}]}, {"calendars.a.holidays.0.date"}),
        (
            {"calendars": [{"name": "a", "holidays": [{"date": "2026-08-15"}, {"date": "2026-08-15"}]}]},
            {"calendars.a.holidays.2026-08-15"},
        ),
        (
            {"calendars": [{"name": "a", "holidays": [{"date": "2026-08-15", "start": "09:00"}]}]},
            {"calendars.a.holidays.2026-08-15.until"},
        ),
        (
            {"calendars": [{"name": "a", "holidays": [{"date": "2026-08-15", "start": "13:00", "until": "09:00"}]}]},
            {"calendars.a.holidays.2026-08-15.until"},
        ),
        ({"default_calendar": "office"}, {"default_calendar"}),
        ({"after_hours": {}}, {"after_hours.group"}),
        ({"after_hours": {"number": "12"}}, {"after_hours.number"}),
        ({"vip": {"group": "none"}, "spam": {"group": "none"}}, {"vip.group", "spam.group"}),
        ({"spam_limit": 0}, {"spam_limit"}),
        ({"spam_limit": 101}, {"spam_limit"}),
        ({"max_hops": 0}, {"max_hops"}),
        ({"max_hops": 21}, {"max_hops"}),
        ({"wrap_up_seconds": 3601}, {"wrap_up_seconds"}),
        ({"vip_numbers": ["12"]}, {"vip_numbers"}),
        ({"vip_numbers": ["9847000021"], "blocked_numbers": ["+91 98470 00021"]}, {"vip_numbers"}),
        ({"emergency": {"reason": "flood"}}, {"emergency.number"}),
        ({"emergency": {"group": "none"}}, {"emergency.group"}),
        ({"emergency": {"number": "9847000021", "until": datetime(2026, 1, 1)}}, {"emergency.until"}),  # noqa: DTZ001
        ({"max_hops": 0, "spam_limit": 0, "vip": {}}, {"max_hops", "spam_limit", "vip.group"}),
    ],
)
def test_what_is_wrong_is_named_by_its_field(fields: dict[str, Any], named: set[str]) -> None:
    assert _problems(**fields).keys() == named


def test_a_group_with_a_mistake_of_its_own_is_not_missing_as_well() -> None:
    wrong = {"name": "reception", "strategy": "loudest"}
    assert _problems(groups=[wrong], overflow={"group": "reception"}).keys() == {"groups.reception.strategy"}


def test_a_problem_does_not_repeat_what_may_be_personal() -> None:
    said = str(_problems(groups=[{"name": "Mrs. Somebody +919847000021"}], vip_numbers=["55501"]))
    assert "Somebody" not in said
    assert "55501" not in said


def test_an_emergency_may_have_ended_already() -> None:
    past = Emergency.of(number="9847000021", until=datetime(2020, 1, 1, tzinfo=UTC))
    assert not past.holds(datetime.now(UTC))
    assert Emergency.of(number="9847000021").holds(datetime.now(UTC))
    soon = Emergency.of(number="9847000021", until=datetime.now(UTC) + timedelta(minutes=1))
    assert soon.holds(datetime.now(UTC))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Staff.of(external_ref="a", name="A", skills=["g s t"]), "skills"),
        (lambda: Staff.of(external_ref="a", name="A", skills=["x" * 36]), "skills"),
        (lambda: Staff.of(external_ref="a", name="A", capacity=0), "capacity"),
        (lambda: Staff.of(external_ref="a", name="A", capacity=51), "capacity"),
        (lambda: Staff.of(external_ref="a", name="A", wrap_up_seconds=-1), "wrap_up_seconds"),
        (lambda: Customer.of(external_ref="a", name="A", language="malayalam!"), "language"),
        (lambda: Customer.of(external_ref="a", name="A", language="m"), "language"),
        (lambda: Did.of(did="04842000001", default_group="Big Group"), "default_group"),
        (lambda: Did.of(did="04842000001", menu=[{"digits": "a", "group": "g"}]), "menu.a.digits"),
        (lambda: Did.of(did="04842000001", menu=[{"digits": "1", "group": "g"}] * 2), "menu.1"),
    ],
)
def test_people_customers_and_numbers_stay_within_reason(make: Any, field: str) -> None:
    with pytest.raises(Invalid) as error:
        make()
    assert [problem.field for problem in error.value.problems] == [field]


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
NUMBERS = st.integers(0, 99).map(lambda n: f"+9198470000{n:02}")
DAYS = st.dates(datetime(2026, 1, 1).date(), datetime(2030, 1, 1).date()).map(str)  # noqa: DTZ001


@st.composite
def routings(draw: st.DrawFn) -> dict[str, Any]:
    """Anything that can be put."""
    groups = draw(st.lists(NAMES, unique=True, max_size=4))
    calendars = draw(st.lists(NAMES, unique=True, max_size=3))
    group = st.sampled_from(groups) if groups else st.none()
    diversion = st.none() | st.fixed_dictionaries({"group": st.none() | group, "number": NUMBERS})
    day = st.fixed_dictionaries({"date": DAYS}, optional={"label": NAMES})
    return {
        "groups": [
            {
                "name": name, "strategy": draw(st.sampled_from(STRATEGIES)), "staff": draw(st.lists(NAMES, max_size=3)),
                "ring_seconds": draw(st.none() | st.integers(5, 120)),
            } for name in groups
        ],
        "calendars": [
            {
                "name": name, "hours": draw(st.sampled_from(["", "Mon-Fri 09:30-18:00", "Sat 10:00-24:00"])),
                "holidays": draw(st.lists(day, max_size=3, unique_by=lambda each: each["date"])),
            } for name in calendars
        ],
        "default_calendar": draw(st.sampled_from(calendars)) if calendars else None,
        **{name: draw(diversion) for name in ("after_hours", "overflow", "vip", "spam", "emergency")},
        "vip_numbers": draw(st.lists(NUMBERS, max_size=3)), "spam_limit": draw(st.none() | st.integers(1, 100)),
        "max_hops": draw(st.integers(1, 20)), "claim_agents": draw(st.booleans()),
    }  # fmt: skip


def _body(routing: Routing) -> dict[str, Any]:
    """As the database has it."""
    return asdict(routing)


@settings(deadline=None)
@given(routings())
def test_what_is_put_is_kept_and_what_is_kept_can_be_put(given_: dict[str, Any]) -> None:
    routing = RoutingBody.model_validate(given_).entity()
    assert stored_routing(_body(routing)) == routing
    assert RoutingBody.model_validate(_body(routing)).entity() == routing


@settings(deadline=None)
@given(routings(), routings())
def test_a_difference_is_there_exactly_when_something_differs(one: dict[str, Any], two: dict[str, Any]) -> None:
    old, new = RoutingBody.model_validate(one).entity(), RoutingBody.model_validate(two).entity()
    assert differences(_body(old), _body(old)) == []
    found = differences(_body(old), _body(new))
    # The order of groups and calendars means nothing, and is no difference.
    plain = [{**_body(each), "groups": sorted(map(str, each.groups)), "calendars": sorted(map(str, each.calendars))}
             for each in (old, new)]  # fmt: skip
    assert bool(found) == (plain[0] != plain[1])
    back = differences(_body(new), _body(old))
    assert [(each.field, each.after, each.before) for each in back] == [(e.field, e.before, e.after) for e in found]


def test_differences_are_read_as_people_say_them() -> None:
    calendar = {"name": "office", "hours": "Mon-Fri 09:30-18:00", "holidays": [{"date": "2026-08-15", "label": "Day"}]}
    old = Routing.of(groups=[GROUP], calendars=[{**calendar, "holidays": []}])
    new = Routing.of(
        groups=[{**GROUP, "staff": ["desk", "accounts"]}], calendars=[calendar], spam_limit=80, vip_any_hour=False
    )
    assert [each.sentence for each in differences(_body(old), _body(new))] == [
        "calendars.office.holidays.2026-08-15.label: Day (new)",
        "groups.reception.staff: desk → desk, accounts",
        "spam_limit: 80 (new)",
        "vip_any_hour: yes → no",
    ]


def _line(did: str, **fields: Any) -> Line:
    given_ = {"label": "", "fallback_number": None, "default_group": None, "calendar": None, "menu_groups": ()}
    return Line(did=did, **{**given_, **fields})


DIDS = [f"+9148420000{n:02}" for n in range(5)]


@settings(deadline=None)
@given(
    st.lists(st.none() | st.sampled_from([*DIDS, "+919847000001"]), min_size=5, max_size=5),
    st.none() | st.sampled_from([*DIDS, "+919847000001"]),
    st.none() | st.sampled_from([*DIDS, "+919847000001"]),
)
def test_a_number_is_refused_exactly_when_a_call_to_it_can_come_back(
    fallbacks: list[str | None], last_resort: str | None, overflow: str | None
) -> None:
    lines = {did: _line(did, fallback_number=to) for did, to in zip(DIDS, fallbacks, strict=True)}
    routing = Routing.of(fallback_number=last_resort, overflow={"number": overflow} if overflow else None)
    # Every step a call can take, and then every number it can get to in so many steps.
    steps = {did: {line.fallback_number or last_resort, overflow} for did, line in lines.items()}
    reach = {did: set(to) for did, to in steps.items()}
    for _ in DIDS:
        reach = {did: to.union(*(reach.get(each, set()) for each in to if each)) for did, to in reach.items()}
    circling = {did for did in DIDS if did in reach[did]}
    assert problems_of_lines(lines, routing, DIDS).keys() == circling
    fields = {problem.field for problem in problems_of_routing(routing, lines, {"overflow", "fallback_number"})}
    assert ("overflow.number" in fields) == (overflow in circling)
    assert ("fallback_number" in fields) == (last_resort in circling)


def test_only_what_changed_is_refused() -> None:
    lines = {did: _line(did, fallback_number=DIDS[0]) for did in DIDS[:2]}
    assert problems_of_lines(lines, None, [DIDS[1]]) == {}
    assert problems_of_routing(Routing.of(overflow={"number": DIDS[0]}), lines, {"ring_seconds"}) == []


def test_who_still_names_something_is_said_by_label() -> None:
    lines = [_line(did, label=f"Line {n}", default_group="reception") for n, did in enumerate(DIDS)]
    [sentence] = still_named(Routing.of(), lines)
    assert f"still named by Line 0 ({DIDS[0]}), Line 1 ({DIDS[1]}), Line 2 ({DIDS[2]}) and 2 more." in sentence
    assert still_named(Routing.of(groups=[GROUP]), lines) == []
