"""A changed routing as a file: fields of the routing's event, checked before anything is done with them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from contracts.directory import RoutingV1
from identifiers.phone import to_e164
from telephony_router.routing import TenantEntry

__all__ = ["BadRouting", "changed_routing", "file_of"]

STRATEGIES = ("in_order", "simultaneous", "round_robin", "longest_idle")
DIVERSIONS = ("after_hours", "overflow", "vip", "spam", "emergency")
IGNORED = {"version", "routing_id"}
_Json = dict[str, Any]


class BadRouting(Exception):
    """What is wrong with the file: one line each, with the field it is about."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def changed_routing(current: Mapping[str, Any], change: object, tenant: TenantEntry) -> _Json:
    """The tenant's routing entry with the fields of ``change`` in place of its own.

    Raises :class:`BadRouting` with everything that is wrong: names nobody knows, values that are none, groups,
    calendars and people that are not there.
    """
    if not isinstance(change, dict):
        raise BadRouting(["the file is not a JSON object with fields of a routing"])
    problems = list(_unknown(change, RoutingV1, ""))
    wanted = {name: value for name, value in change.items() if name in RoutingV1.model_fields}
    wanted = {name: value for name, value in wanted.items() if name not in IGNORED}
    try:
        event = RoutingV1.model_validate({**wanted, "version": current.get("version") or 0})
    except ValidationError as error:
        problems += [f"{'.'.join(map(str, each['loc']))}: {each['msg'].lower()}" for each in error.errors()]
        raise BadRouting(problems) from None
    fields = _with_numbers(event.model_dump(mode="json", include=set(wanted)), problems)
    if "blocked_numbers" in fields:
        fields["blocked"] = fields.pop("blocked_numbers")
    changed = {**current, **fields}
    problems += _references(changed, fields, tenant)
    if problems:
        raise BadRouting(problems)
    return changed


def file_of(current: Mapping[str, Any]) -> _Json:
    """A tenant's routing entry as such a file."""
    fields = {"blocked_numbers" if name == "blocked" else name: value for name, value in current.items()}
    return {name: fields[name] for name in RoutingV1.model_fields if name in fields and name not in IGNORED}


def _unknown(values: Mapping[str, Any], model: type[BaseModel], path: str) -> list[str]:
    problems = []
    for name, value in values.items():
        if name not in model.model_fields:
            near = difflib.get_close_matches(name, model.model_fields, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(model.model_fields))}"
            problems.append(f"{path}{'.' if path else ''}{name}: there is no such field{hint}")
            continue
        inner = _part(model.model_fields[name].annotation)
        if inner is None:
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                problems += _unknown(each, inner, name)
    return problems


def _part(annotation: Any) -> type[BaseModel] | None:
    """The part that a field is made of, alone, in a list or perhaps absent."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _part(each)) is not None), None)


def _with_numbers(fields: _Json, problems: list[str]) -> _Json:
    """The same with every number as E.164."""

    def number(path: str, value: str) -> str:
        found = to_e164(value)
        if found is None:
            problems.append(f"{path}: is not a telephone number")
        return found or value

    made = dict(fields)
    for name in ("blocked_numbers", "vip_numbers"):
        if name in made:
            made[name] = [number(name, each) for each in made[name]]
    if made.get("fallback_number"):
        made["fallback_number"] = number("fallback_number", made["fallback_number"])
    for name in DIVERSIONS:
        if made.get(name) and made[name].get("number"):
            made[name] = {**made[name], "number": number(f"{name}.number", made[name]["number"])}
    return made


def _references(routing: Mapping[str, Any], given: Collection[str], tenant: TenantEntry) -> list[str]:
    problems = []
    groups = {each["name"] for each in routing.get("groups", ())}
    calendars = {each["name"]: each for each in routing.get("calendars", ())}
    for name in DIVERSIONS:
        way = routing.get(name)
        if way and way.get("group") and way["group"] not in groups:
            problems.append(f"{name}.group: {way['group']} is not among the groups ({_listed(groups)})")
    default = routing.get("default_calendar")
    if default and default not in calendars:
        problems.append(f"default_calendar: {default} is not among the calendars ({_listed(calendars)})")
    for group in routing.get("groups", ()) if "groups" in given else ():
        if group["strategy"] not in STRATEGIES:
            problems.append(f"groups.{group['name']}.strategy: is one of {', '.join(STRATEGIES)}")
        for staff_id in group["staff_ids"]:
            if staff_id not in tenant.agents:
                problems.append(f"groups.{group['name']}.staff_ids: {staff_id} is not in the directory")
    for calendar in calendars.values() if "calendars" in given else ():
        for each in (*calendar["hours"], *(day for day in calendar["holidays"] if day["start"] or day["until"])):
            if not (_is_clock(each["start"]) and _is_clock(each["until"])):
                problems.append(f"calendars.{calendar['name']}: times are written HH:MM, from 00:00 to 24:00")
    return problems


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "there are none"


def _is_clock(text: str) -> bool:
    hours, colon, minutes = text.partition(":")
    whole = bool(colon) and hours.isascii() and hours.isdigit() and minutes.isascii() and minutes.isdigit()
    return whole and int(hours) * 60 + int(minutes) <= 24 * 60 and int(minutes) < 60 and len(minutes) == 2
