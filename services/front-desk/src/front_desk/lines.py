"""The tenant's numbers and its routing taken together: what one names the other has, and no call rings in a circle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from front_desk.fields import Problem
from front_desk.routing import Routing

__all__ = ["Line", "problems_of_lines", "problems_of_routing", "still_named"]

SHOWN = 3
_CIRCLE = "calls would ring in a circle"
_ALSO = {"after_hours": ("calendars", "default_calendar")}
"""What else of the routing decides whether a diversion takes place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A DID, as far as the routing has to do with it."""

    did: str
    label: str
    fallback_number: str | None
    default_group: str | None
    calendar: str | None
    menu_groups: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.label} ({self.did})" if self.label else self.did

    def groups(self) -> Iterable[tuple[str, str]]:
        """The groups that it names, by the field that names them."""
        if self.default_group is not None:
            yield "default_group", self.default_group
        yield from (("menu", group) for group in self.menu_groups)


def problems_of_lines(
    lines: Mapping[str, Line], routing: Routing | None, changed: Iterable[str]
) -> dict[str, list[Problem]]:
    """What is wrong with the DIDs that were changed, by number; nothing about the others."""
    groups = routing.group_names() if routing else set[str]()
    calendars = routing.calendar_names() if routing else set[str]()
    found: dict[str, list[Problem]] = {}
    for did in changed:
        line, problems = lines[did], list[Problem]()
        for field, group in line.groups():
            if group not in groups:
                sentence = f"names the group {group}, which the routing does not have; add it to the routing first"
                problems.append(Problem(field=field, sentence=sentence))
        if line.calendar is not None and line.calendar not in calendars:
            sentence = f"names {line.calendar}, which the routing does not have; add the calendar to the routing first"
            problems.append(Problem(field="calendar", sentence=sentence))
        way = _way_round(did, lines, routing)
        if way is not None:
            problems.append(_circle(way, lines))
        if problems:
            found[did] = problems
    return found


def _circle(way: Sequence[tuple[str, str]], lines: Mapping[str, Line]) -> Problem:
    by = way[0][0]
    through = " → ".join(lines[number].name for _, number in way)
    if by == "fallback_number":
        return Problem(field=by, sentence=f"leads back to this number: {through}; {_CIRCLE}")
    sentence = f"is where the routing's {by} sends its own calls: {through}; {_CIRCLE}. Change the routing first"
    return Problem(field="did", sentence=sentence)


def problems_of_routing(routing: Routing, lines: Mapping[str, Line], changed: set[str]) -> list[Problem]:
    """Numbers that calls would come back to, of the fields that changed or decide differently now."""
    problems = []
    for field, number in _numbers(routing):
        name = field.partition(".")[0]
        if number not in lines or not changed & {name, *_ALSO.get(name, ())}:
            continue
        way = _way_round(number, lines, routing)
        if way is not None:
            through = " → ".join(lines[each].name for _, each in (("", number), *way))
            sentence = f"is a number of yours whose calls come back to it: {through}; {_CIRCLE}. Name one outside"
            problems.append(Problem(field=field, sentence=sentence))
    return problems


def still_named(routing: Routing, lines: Iterable[Line]) -> list[str]:
    """Sentences about groups and calendars that DIDs name and the routing has not."""
    groups: dict[str, list[str]] = {}
    calendars: dict[str, list[str]] = {}
    for line in lines:
        for group in dict.fromkeys(group for _, group in line.groups()):
            if group not in routing.group_names():
                groups.setdefault(group, []).append(line.name)
        if line.calendar is not None and line.calendar not in routing.calendar_names():
            calendars.setdefault(line.calendar, []).append(line.name)
    return [
        f"The {what} {name} is still named by {_some(by)}. Give them another {what} first, or keep this one."
        for what, names in (("group", groups), ("calendar", calendars))
        for name, by in names.items()
    ]


def _some(names: Sequence[str]) -> str:
    shown = list(names[:SHOWN])
    if len(names) > SHOWN:
        shown.append(f"{len(names) - SHOWN} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _numbers(routing: Routing) -> list[tuple[str, str]]:
    found = [(f"{name}.number", each.number) for name, each in routing.diversions if each.number is not None]
    if routing.fallback_number is not None:
        found.append(("fallback_number", routing.fallback_number))
    return found


def _leads_to(line: Line, routing: Routing | None) -> Iterable[tuple[str, str]]:
    """The numbers that a DID's calls can be sent to, each by the field that sends them there."""
    if line.fallback_number is not None:
        yield "fallback_number", line.fallback_number
    for field, number in _numbers(routing) if routing else ():
        if field == "after_hours.number" and not _closes(line, routing):
            continue
        if field == "fallback_number":
            # The tenant's last resort is for numbers without one of their own.
            if line.fallback_number is None:
                yield "last resort", number
            continue
        yield field, number


def _closes(line: Line, routing: Routing | None) -> bool:
    name = line.calendar or (routing.default_calendar if routing else None)
    calendars = routing.calendars if routing else ()
    return any(calendar.name == name and calendar.closes for calendar in calendars)


def _way_round(start: str, lines: Mapping[str, Line], routing: Routing | None) -> list[tuple[str, str]] | None:
    """How a call to ``start`` can come back to it, as fields and the numbers they lead to; nothing when it cannot."""
    ways: list[list[tuple[str, str]]] = [[]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for field, number in _leads_to(lines[way[-1][1] if way else start], routing):
            if number == start:
                return [*way, (field, number)]
            if number in lines and number not in seen:
                seen.add(number)
                ways.append([*way, (field, number)])
    return None
