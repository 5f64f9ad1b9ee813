"""How a business's calls are routed, as one value: its groups, calendars and diversions fit each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from front_desk.fields import Check, between, numbers, opening_hours, optional_number, references, slug, text
from front_desk.hours import Stretch, is_clock_time

__all__ = [
    "STRATEGIES",
    "Calendar",
    "Diversion",
    "Emergency",
    "Holiday",
    "MenuChoice",
    "RingGroup",
    "Routing",
    "menu_of",
    "stored_routing",
]

STRATEGIES = ("in_order", "simultaneous", "round_robin", "longest_idle")
GROUPS_MAX = 50
CALENDARS_MAX = 20
HOLIDAYS_MAX = 100
CHOICES_MAX = 20
REASON_MAX = 200
_DIGITS = re.compile(r"[0-9*#]{1,8}")
Fields = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class RingGroup:
    """People who take each other's calls; ``staff`` are references, in order."""

    name: str
    strategy: str
    staff: tuple[str, ...]
    ring_seconds: int | None

    @classmethod
    def of(
        cls, *, name: str, strategy: str = "in_order", staff: Iterable[str] = (), ring_seconds: int | None = None
    ) -> RingGroup:
        check = Check()
        made = cls(
            name=check.field("name", lambda: slug(name), ""),
            strategy=strategy,
            staff=check.field("staff", lambda: references(staff), ()),
            ring_seconds=check.field("ring_seconds", lambda: _optional(ring_seconds, 5, 120), None),
        )
        if strategy not in STRATEGIES:
            check.wrong("strategy", f"is one of {', '.join(STRATEGIES)}")
        check.done()
        return made


def _optional(value: int | None, least: int, most: int) -> int | None:
    return None if value is None else between(value, least, most)


@dataclass(frozen=True, kw_only=True, slots=True)
class Holiday:
    """A day of the tenant's zone with hours of its own; without hours it is closed all day."""

    date: str
    label: str
    start: str
    until: str

    @classmethod
    def of(cls, *, date: str, label: str = "", start: str = "", until: str = "") -> Holiday:
        check = Check()
        made = cls(
            date=check.field("date", lambda: _day(date), ""),
            label=check.field("label", lambda: text(label), ""),
            start=start.strip(),
            until=until.strip(),
        )
        if bool(made.start) != bool(made.until):
            check.wrong("until" if made.start else "start", "is missing; a short day has both, a day off has neither")
        elif made.start and not (is_clock_time(made.start) and is_clock_time(made.until, end_of_day=True)):
            check.wrong("start", "times are written HH:MM, from 00:00 to 24:00")
        elif made.start and made.start >= made.until:
            check.wrong("until", "is not after the start")
        check.done()
        return made


def _day(value: str) -> str:
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value.strip()):
            return date.fromisoformat(value.strip()).isoformat()
    except ValueError:
        pass
    raise ValueError("is not a day; write it like 2026-08-15")


@dataclass(frozen=True, kw_only=True, slots=True)
class Calendar:
    """When a number is open. Without ``hours`` it is always, but for the holidays."""

    name: str
    hours: tuple[Stretch, ...]
    holidays: tuple[Holiday, ...]

    @classmethod
    def of(cls, *, name: str, hours: str | Iterable[Stretch] = (), holidays: Iterable[Fields] = ()) -> Calendar:
        check = Check()
        days = check.parts("holidays", holidays, Holiday.of, most=HOLIDAYS_MAX, key="date")
        made = cls(
            name=check.field("name", lambda: slug(name), ""),
            hours=check.field("hours", lambda: opening_hours(hours), ()),
            holidays=tuple(sorted(days, key=lambda day: day.date)),
        )
        check.done()
        return made

    @property
    def closes(self) -> bool:
        """Whether there is any time at which it is not open."""
        return bool(self.hours or self.holidays)


@dataclass(frozen=True, kw_only=True, slots=True)
class Diversion:
    """Where calls go instead: a group, after it a number."""

    group: str | None
    number: str | None

    @classmethod
    def of(cls, *, group: str | None = None, number: str | None = None) -> Diversion:
        check = Check()
        made = cls(group=group or None, number=check.field("number", lambda: optional_number(number), None))
        if not check.problems and made.group is None and made.number is None:
            check.wrong("group", "is missing: name a group, a number or both, or leave the whole diversion out")
        check.done()
        return made


@dataclass(frozen=True, kw_only=True, slots=True)
class Emergency:
    """All calls go here and nowhere else, until it ends by itself or somebody ends it."""

    group: str | None
    number: str | None
    until: str | None
    """In UTC, as ISO 8601."""
    reason: str

    @classmethod
    def of(
        cls, *, group: str | None = None, number: str | None = None, until: datetime | None = None, reason: str = ""
    ) -> Emergency:
        check = Check()
        made = cls(
            group=group or None,
            number=check.field("number", lambda: optional_number(number), None),
            until=check.field("until", lambda: _instant(until), None),
            reason=check.field("reason", lambda: text(reason, longest=REASON_MAX), ""),
        )
        if not check.problems and made.group is None and made.number is None:
            check.wrong("number", "is missing: say by a number or a group who takes the calls")
        check.done()
        return made

    def holds(self, now: datetime) -> bool:
        return self.until is None or now < datetime.fromisoformat(self.until)


def _instant(value: datetime | None) -> str | None:
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError("needs a zone, like 2026-11-20T18:00:00+05:30")
    try:
        return value.astimezone(UTC).isoformat(timespec="seconds")
    except OverflowError:
        raise ValueError("is before the first year or after the last") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class MenuChoice:
    """What a caller pressed, and the group that takes such calls."""

    digits: str
    group: str

    @classmethod
    def of(cls, *, digits: str, group: str) -> MenuChoice:
        check = Check()
        if _DIGITS.fullmatch(digits.strip()) is None:
            check.wrong("digits", "are 1 to 8 of the keys 0 to 9, * and #")
        made = cls(digits=digits.strip(), group=check.field("group", lambda: slug(group.strip()), ""))
        check.done()
        return made


def menu_of(check: Check, choices: Iterable[Fields]) -> tuple[MenuChoice, ...]:
    """What callers can press, no key twice."""
    return check.parts("menu", choices, MenuChoice.of, most=CHOICES_MAX, key="digits")


@dataclass(frozen=True, kw_only=True, slots=True)
class Routing:
    """How one tenant's calls are routed."""

    last_agent_days: int
    ring_seconds: int
    fallback_number: str | None
    blocked_numbers: tuple[str, ...]
    groups: tuple[RingGroup, ...]
    calendars: tuple[Calendar, ...]
    default_calendar: str | None
    after_hours: Diversion | None
    overflow: Diversion | None
    vip: Diversion | None
    vip_numbers: tuple[str, ...]
    vip_any_hour: bool
    spam_limit: int | None
    spam: Diversion | None
    emergency: Emergency | None
    claim_agents: bool
    wrap_up_seconds: int
    max_hops: int

    @classmethod
    def of(  # long: the fields of one value
        cls,
        *,
        last_agent_days: int = 30,
        ring_seconds: int = 25,
        fallback_number: str | None = None,
        blocked_numbers: Iterable[str] = (),
        groups: Sequence[Fields] = (),
        calendars: Sequence[Fields] = (),
        default_calendar: str | None = None,
        after_hours: Fields | None = None,
        overflow: Fields | None = None,
        vip: Fields | None = None,
        vip_numbers: Iterable[str] = (),
        vip_any_hour: bool = True,
        spam_limit: int | None = None,
        spam: Fields | None = None,
        emergency: Fields | None = None,
        claim_agents: bool = False,
        wrap_up_seconds: int = 0,
        max_hops: int = 5,
    ) -> Routing:
        """The parts with fields of their own come as mappings of those; every problem of all of them at once."""
        check = Check()

        def diversion(name: str, given: Fields | None) -> Diversion | None:
            return check.field(name, lambda: Diversion.of(**given), None) if given is not None else None

        made = cls(
            last_agent_days=check.field("last_agent_days", lambda: between(last_agent_days, 0, 3650), 0),
            ring_seconds=check.field("ring_seconds", lambda: between(ring_seconds, 5, 120), 0),
            fallback_number=check.field("fallback_number", lambda: optional_number(fallback_number), None),
            blocked_numbers=check.field("blocked_numbers", lambda: numbers(blocked_numbers), ()),
            groups=check.parts("groups", groups, RingGroup.of, most=GROUPS_MAX, key="name"),
            calendars=check.parts("calendars", calendars, Calendar.of, most=CALENDARS_MAX, key="name"),
            default_calendar=default_calendar or None,
            after_hours=diversion("after_hours", after_hours),
            overflow=diversion("overflow", overflow),
            vip=diversion("vip", vip),
            vip_numbers=check.field("vip_numbers", lambda: numbers(vip_numbers), ()),
            vip_any_hour=vip_any_hour,
            spam_limit=check.field("spam_limit", lambda: _optional(spam_limit, 1, 100), None),
            spam=diversion("spam", spam),
            emergency=(
                check.field("emergency", lambda: Emergency.of(**emergency), None) if emergency is not None else None
            ),
            claim_agents=claim_agents,
            wrap_up_seconds=check.field("wrap_up_seconds", lambda: between(wrap_up_seconds, 0, 3600), 0),
            max_hops=check.field("max_hops", lambda: between(max_hops, 1, 20), 0),
        )
        made._fits(check, {str(each.get("name")) for each in groups}, {str(each.get("name")) for each in calendars})
        check.done()
        return made

    def _fits(self, check: Check, groups: set[str], calendars: set[str]) -> None:
        """Whatever is named is there. One that is there with a mistake of its own has been told of already."""
        for name, diversion in self.diversions:
            if diversion.group is not None and diversion.group not in groups:
                check.wrong(f"{name}.group", "is not among the groups; add a group of this name or name another")
        if self.default_calendar is not None and self.default_calendar not in calendars:
            check.wrong("default_calendar", "is not among the calendars; add one of this name or name another")
        caller_lists = set(self.blocked_numbers) & set(self.vip_numbers)
        if caller_lists:
            check.wrong("vip_numbers", "has a number that is blocked as well; take it off one of the lists")

    def with_emergency(self, emergency: Emergency | None) -> Routing:
        """The same with another emergency, or none. Raises ``Invalid`` when its group is not there."""
        made, check = replace(self, emergency=emergency), Check()
        made._fits(check, made.group_names(), made.calendar_names())
        check.done()
        return made

    @property
    def diversions(self) -> tuple[tuple[str, Diversion | Emergency], ...]:
        """Every place that calls are sent to as a whole, by the field's name."""
        every: tuple[tuple[str, Diversion | Emergency | None], ...] = (
            ("after_hours", self.after_hours),
            ("overflow", self.overflow),
            ("vip", self.vip),
            ("spam", self.spam),
            ("emergency", self.emergency),
        )
        return tuple((name, each) for name, each in every if each is not None)

    def group_names(self) -> set[str]:
        return {group.name for group in self.groups}

    def calendar_names(self) -> set[str]:
        return {calendar.name for calendar in self.calendars}


def stored_routing(body: Mapping[str, Any]) -> Routing:
    """The routing that a stored body says. Raises ``Invalid`` for one that today's rules refuse."""
    given = {name: body[name] for name in Routing.__dataclass_fields__ if name in body}
    groups = [{name: value for name, value in each.items() if name != "staff_ids"} for each in given.pop("groups", ())]
    calendars = [
        {**each, "hours": [Stretch(**stretch) for stretch in each["hours"]]} for each in given.pop("calendars", ())
    ]
    emergency = given.pop("emergency", None)
    if emergency is not None and emergency["until"] is not None:
        emergency = {**emergency, "until": datetime.fromisoformat(emergency["until"])}
    return Routing.of(**given, groups=groups, calendars=calendars, emergency=emergency)
