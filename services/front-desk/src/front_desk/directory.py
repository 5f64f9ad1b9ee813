"""The directory's entities, normalised and valid by construction: make one with its ``of`` or learn every problem."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import available_timezones

from front_desk import fields
from front_desk.fields import Check, Invalid, Problem, normal_email
from front_desk.hours import Stretch
from front_desk.routing import MenuChoice, Routing, menu_of

__all__ = ["Absence", "Customer", "Did", "Invalid", "Lead", "Problem", "Routing", "Staff", "Tenant", "normal_email"]

REASON_MAX = 200
CAPACITY_MAX = 50
WRAP_UP_MAX = 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class Tenant:
    """A business."""

    slug: str
    name: str
    timezone: str
    active: bool
    owner_name: str
    owner_email: str
    pulse_at: str

    @classmethod
    def of(
        cls,
        *,
        slug: str,
        name: str,
        timezone: str = "Asia/Kolkata",
        active: bool = True,
        owner_name: str = "",
        owner_email: str = "",
        pulse_at: str = "09:00",
    ) -> Tenant:
        check = Check()
        made = cls(
            slug=check.field("slug", lambda: fields.slug(slug), ""),
            name=check.field("name", lambda: fields.text(name, required=True), ""),
            timezone=check.field("timezone", lambda: _zone(timezone), ""),
            active=active,
            owner_name=check.field("owner_name", lambda: fields.text(owner_name), ""),
            owner_email=check.field(
                "owner_email", lambda: normal_email(owner_email) if owner_email.strip() else "", ""
            ),
            pulse_at=check.field("pulse_at", lambda: fields.clock_time(pulse_at), ""),
        )
        check.done()
        return made


def _zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError("is not an IANA time zone; write it like Asia/Kolkata")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Staff:
    """A person who answers. The first number is where calls ring."""

    external_ref: str
    name: str
    numbers: tuple[str, ...]
    active: bool
    working_hours: tuple[Stretch, ...]
    skills: tuple[str, ...]
    capacity: int
    wrap_up_seconds: int | None

    @classmethod
    def of(
        cls,
        *,
        external_ref: str,
        name: str,
        numbers: Iterable[str] = (),
        active: bool = True,
        working_hours: str | Iterable[Stretch] = (),
        skills: Iterable[str] = (),
        capacity: int = 1,
        wrap_up_seconds: int | None = None,
    ) -> Staff:
        check = Check()
        made = cls(
            external_ref=check.field("external_ref", lambda: fields.reference(external_ref), ""),
            name=check.field("name", lambda: fields.text(name, required=True), ""),
            numbers=check.field("numbers", lambda: fields.numbers(numbers), ()),
            active=active,
            working_hours=check.field("working_hours", lambda: fields.opening_hours(working_hours), ()),
            skills=check.field("skills", lambda: fields.skills(skills), ()),
            capacity=check.field("capacity", lambda: fields.between(capacity, 1, CAPACITY_MAX), 1),
            wrap_up_seconds=check.field("wrap_up_seconds", lambda: _wrap_up(wrap_up_seconds), None),
        )
        check.done()
        return made


def _wrap_up(value: int | None) -> int | None:
    return None if value is None else fields.between(value, 0, WRAP_UP_MAX)


@dataclass(frozen=True, kw_only=True, slots=True)
class Customer:
    """Somebody who buys. ``owner`` is the reference of the person who looks after them."""

    external_ref: str
    name: str
    numbers: tuple[str, ...]
    emails: tuple[str, ...]
    gstin: str | None
    owner: str | None
    vip: bool
    language: str

    @classmethod
    def of(
        cls,
        *,
        external_ref: str,
        name: str,
        numbers: Iterable[str] = (),
        emails: Iterable[str] = (),
        gstin: str | None = None,
        owner: str | None = None,
        vip: bool = False,
        language: str = "",
    ) -> Customer:
        check = Check()
        made = cls(
            external_ref=check.field("external_ref", lambda: fields.reference(external_ref), ""),
            name=check.field("name", lambda: fields.text(name, required=True), ""),
            numbers=check.field("numbers", lambda: fields.numbers(numbers), ()),
            emails=check.field("emails", lambda: fields.one_by_one(emails, normal_email, "addresses"), ()),
            gstin=check.field("gstin", lambda: fields.gstin(gstin), None),
            owner=check.field("owner", lambda: fields.reference(owner) if owner and owner.strip() else None, None),
            vip=vip,
            language=check.field("language", lambda: fields.language(language), ""),
        )
        check.done()
        return made


@dataclass(frozen=True, kw_only=True, slots=True)
class Lead:
    """Somebody who may become a customer."""

    external_ref: str
    name: str
    numbers: tuple[str, ...]
    emails: tuple[str, ...]
    owner: str | None

    @classmethod
    def of(
        cls,
        *,
        external_ref: str,
        name: str,
        numbers: Iterable[str] = (),
        emails: Iterable[str] = (),
        owner: str | None = None,
    ) -> Lead:
        same = Customer.of(external_ref=external_ref, name=name, numbers=numbers, emails=emails, owner=owner)
        return cls(
            external_ref=same.external_ref, name=same.name, numbers=same.numbers, emails=same.emails, owner=same.owner
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Did:
    """A number that rings here. ``default_staff`` are references, rung in this order; groups are the routing's."""

    did: str
    label: str
    default_staff: tuple[str, ...]
    fallback_number: str | None
    default_group: str | None
    calendar: str | None
    skills: tuple[str, ...]
    menu: tuple[MenuChoice, ...]

    @classmethod
    def of(
        cls,
        *,
        did: str,
        label: str = "",
        default_staff: Iterable[str] = (),
        fallback_number: str | None = None,
        default_group: str | None = None,
        calendar: str | None = None,
        skills: Iterable[str] = (),
        menu: Iterable[Mapping[str, Any]] = (),
    ) -> Did:
        check = Check()
        made = cls(
            did=check.field("did", lambda: fields.number(did), ""),
            label=check.field("label", lambda: fields.text(label), ""),
            default_staff=check.field("default_staff", lambda: fields.references(default_staff), ()),
            fallback_number=check.field("fallback_number", lambda: fields.optional_number(fallback_number), None),
            default_group=check.field("default_group", lambda: _name(default_group), None),
            calendar=check.field("calendar", lambda: _name(calendar), None),
            skills=check.field("skills", lambda: fields.skills(skills), ()),
            menu=menu_of(check, menu),
        )
        if made.did and made.did == made.fallback_number:
            check.wrong("fallback_number", "is the DID itself; calls would ring in a circle")
        check.done()
        return made


def _name(value: str | None) -> str | None:
    return fields.slug(value.strip()) if value and value.strip() else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Absence:
    """Leave of one person; without ``until`` its end is not known yet."""

    start: datetime
    until: datetime | None
    reason: str

    @classmethod
    def of(cls, *, start: datetime, until: datetime | None = None, reason: str = "") -> Absence:
        check = Check()
        if start.tzinfo is None or (until is not None and until.tzinfo is None):
            check.problems.append(Problem(field="start", sentence="times need a zone, like 2026-11-20T09:00:00+05:30"))
        elif until is not None and until <= start:
            check.problems.append(Problem(field="until", sentence="is not after the start"))
        text = check.field("reason", lambda: fields.text(reason, longest=REASON_MAX), "")
        check.done()
        return cls(start=start, until=until, reason=text)
