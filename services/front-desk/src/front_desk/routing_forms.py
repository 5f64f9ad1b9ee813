"""The forms of the routing page: from a stored routing to what its fields show, and back. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from front_desk.hours import Stretch, write_hours

__all__ = ["SECTIONS", "coming_holidays", "edited", "shown"]

HOLIDAYS_SHOWN = 5
_HOLIDAY = re.compile(r"(\S+)(?:\s+(\d{1,2}:\d{2})\s*-\s*(\d{1,2}:\d{2}))?(?:\s+(.*))?")
Body = dict[str, Any]
Fields = Mapping[str, str]


def shown(body: Mapping[str, Any]) -> Body:
    """A stored routing as people edit it: hours in a line, people by reference, without the emergency."""
    groups = [{name: value for name, value in each.items() if name != "staff_ids"} for each in body.get("groups", ())]
    calendars = [
        {**each, "hours": write_hours(Stretch(**stretch) for stretch in each["hours"])}
        for each in body.get("calendars", ())
    ]
    rest = {name: value for name, value in body.items() if name != "emergency"}
    return {**rest, "groups": groups, "calendars": calendars}


def edited(body: Body, fields: Fields) -> Body:
    """The routing that a form asks for, made from the present one; what is wrong with it is found later."""
    return {**body, **SECTIONS[fields["section"]](body, fields)}


def coming_holidays(calendar: Mapping[str, Any], today: date) -> list[Mapping[str, Any]]:
    return [day for day in calendar["holidays"] if day["date"] >= today.isoformat()][:HOLIDAYS_SHOWN]


def _several(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"[\n,;]", text) if part.strip()]


def _or_none(text: str) -> str | None:
    return text.strip() or None


def _diversion(fields: Fields, name: str) -> Body | None:
    found = {each: _or_none(fields.get(f"{name}_{each}", "")) for each in ("group", "number")}
    return found if any(found.values()) else None


def _general(body: Body, fields: Fields) -> Body:
    return {
        **{name: fields.get(name, "") for name in ("last_agent_days", "ring_seconds", "wrap_up_seconds", "max_hops")},
        **{name: _or_none(fields.get(name, "")) for name in ("fallback_number", "default_calendar")},
        "claim_agents": "claim_agents" in fields,
        "blocked_numbers": _several(fields.get("blocked_numbers", "")),
    }


def _diversions(body: Body, fields: Fields) -> Body:
    return {name: _diversion(fields, name) for name in ("after_hours", "overflow")}


def _vip(body: Body, fields: Fields) -> Body:
    return {
        "vip": _diversion(fields, "vip"),
        "vip_numbers": _several(fields.get("vip_numbers", "")),
        "vip_any_hour": "vip_any_hour" in fields,
    }


def _spam(body: Body, fields: Fields) -> Body:
    return {"spam_limit": _or_none(fields.get("spam_limit", "")), "spam": _diversion(fields, "spam")}


def _one_of(body: Body, name: str, fields: Fields, made: Body) -> Body:
    """A list with one of its values replaced, added or taken out."""
    which, every = fields.get("which", ""), list(body.get(name, ()))
    if fields.get("do") == "remove":
        return {name: [each for each in every if each["name"] != which]}
    if not which:
        return {name: [*every, made]}
    return {name: [made if each["name"] == which else each for each in every]}


def _group(body: Body, fields: Fields) -> Body:
    made = {
        "name": fields.get("name", "").strip(),
        "strategy": fields.get("strategy", ""),
        "staff": _several(fields.get("staff", "")),
        "ring_seconds": _or_none(fields.get("ring_seconds", "")),
    }
    return _one_of(body, "groups", fields, made)


def _calendar(body: Body, fields: Fields) -> Body:
    lines = [line.strip() for line in fields.get("holidays", "").splitlines() if line.strip()]
    made = {
        "name": fields.get("name", "").strip(),
        "hours": fields.get("hours", ""),
        "holidays": [_holiday(line) for line in lines],
    }
    return _one_of(body, "calendars", fields, made)


def _holiday(line: str) -> Body:
    found = _HOLIDAY.fullmatch(line)
    if found is None:
        return {"date": line}
    start, until = ((found[place] or "").zfill(5) if found[place] else "" for place in (2, 3))
    return {"date": found[1], "start": start, "until": until, "label": found[4] or ""}


SECTIONS: dict[str, Callable[[Body, Fields], Body]] = {
    "general": _general,
    "diversions": _diversions,
    "vip": _vip,
    "spam": _spam,
    "group": _group,
    "calendar": _calendar,
}
