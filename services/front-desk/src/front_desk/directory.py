"""The directory's entities, normalised and valid by construction: make one with its ``of`` or learn every problem."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from zoneinfo import available_timezones

from front_desk.hours import Stretch, is_clock_time, problem_of
from identifiers.email import find_emails
from identifiers.gstin import is_gstin
from identifiers.phone import to_e164

__all__ = ["Absence", "Customer", "Did", "Invalid", "Lead", "Problem", "Routing", "Staff", "Tenant", "normal_email"]

NAME_MAX = 200
LIST_MAX = 50
REASON_MAX = 200
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,99}")
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """What is wrong with one field, as a sentence that does not repeat the value."""

    field: str
    sentence: str


class Invalid(ValueError):
    """An entity cannot be made; every problem at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{p.field}: {p.sentence}" for p in problems))
        self.problems = tuple(problems)


class _Check:
    """Collects the problems of one entity while its fields are read."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def field(self, name: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except ValueError as error:
            self.problems.append(Problem(field=name, sentence=str(error)))
            return otherwise

    def done(self) -> None:
        if self.problems:
            raise Invalid(self.problems)


def _text(value: str, *, longest: int = NAME_MAX, required: bool = False) -> str:
    text = " ".join(value.split(" ")).strip()
    if _CONTROL.search(text):
        raise ValueError("holds a control character; type it again as plain text on one line")
    if len(text) > longest:
        raise ValueError(f"is longer than {longest} characters")
    if required and not text:
        raise ValueError("is missing")
    return text


def _ref(value: str) -> str:
    text = value.strip()
    if _REF.fullmatch(text) is None:
        raise ValueError("is 1 to 100 letters, digits or . _ : @ + -, and begins with a letter or digit")
    return text


def _number(value: str) -> str:
    if re.fullmatch(r"\s*\d(?:\.\d+)?[eE]\+?\d+\s*", value):
        raise ValueError("was rewritten by a spreadsheet (like 9.19847E+11); format the column as text and save again")
    found = to_e164(value)
    if found is None:
        raise ValueError("is not a telephone number that can be rung; write it like +91 98470 00001")
    return found


def _numbers(values: Iterable[str]) -> tuple[str, ...]:
    return _list(values, _number, "numbers")


def _list(values: Iterable[str], one: Callable[[str], str], what: str) -> tuple[str, ...]:
    given = [value for value in values if value.strip()]
    if len(given) > LIST_MAX:
        raise ValueError(f"has more than {LIST_MAX} {what}")
    found: dict[str, None] = {}
    for place, value in enumerate(given, start=1):
        try:
            found[one(value)] = None
        except ValueError as error:
            raise ValueError(f"entry {place} {error}" if len(given) > 1 else str(error)) from None
    return tuple(found)


def _optional_number(value: str | None) -> str | None:
    return _number(value) if value is not None and value.strip() else None


def normal_email(value: str) -> str:
    """An address in lower case. Raises ``ValueError`` with a sentence."""
    text = value.strip()
    found = find_emails(text)
    if len(found) != 1 or found[0].raw != text:
        raise ValueError("is not an e-mail address; write it like name@example.com")
    return found[0].value


def _gstin(value: str | None) -> str | None:
    text = re.sub(r"[\s-]", "", value or "").upper()
    if not text:
        return None
    if len(text) != 15:
        raise ValueError(f"a GSTIN has 15 characters, this has {len(text)}")
    if not is_gstin(text):
        raise ValueError("is not a valid GSTIN: state code, PAN or check character is wrong; compare it with the bill")
    return text


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
        check = _Check()
        made = cls(
            slug=check.field("slug", lambda: _slug(slug), ""),
            name=check.field("name", lambda: _text(name, required=True), ""),
            timezone=check.field("timezone", lambda: _zone(timezone), ""),
            active=active,
            owner_name=check.field("owner_name", lambda: _text(owner_name), ""),
            owner_email=check.field(
                "owner_email", lambda: normal_email(owner_email) if owner_email.strip() else "", ""
            ),
            pulse_at=check.field("pulse_at", lambda: _clock(pulse_at), ""),
        )
        check.done()
        return made


def _slug(value: str) -> str:
    if _SLUG.fullmatch(value) is None:
        raise ValueError("is 1 to 63 small letters, digits or hyphens, like malabar-spices")
    return value


def _zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError("is not an IANA time zone; write it like Asia/Kolkata")
    return value


def _clock(value: str) -> str:
    if not is_clock_time(value):
        raise ValueError("is a time of day written HH:MM, like 09:00")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Staff:
    """A person who answers. The first number is where calls ring."""

    external_ref: str
    name: str
    numbers: tuple[str, ...]
    active: bool
    working_hours: tuple[Stretch, ...]

    @classmethod
    def of(
        cls,
        *,
        external_ref: str,
        name: str,
        numbers: Iterable[str] = (),
        active: bool = True,
        working_hours: Iterable[Stretch] = (),
    ) -> Staff:
        check = _Check()
        hours = tuple(sorted(set(working_hours)))
        made = cls(
            external_ref=check.field("external_ref", lambda: _ref(external_ref), ""),
            name=check.field("name", lambda: _text(name, required=True), ""),
            numbers=check.field("numbers", lambda: _numbers(numbers), ()),
            active=active,
            working_hours=check.field("working_hours", lambda: _hours(hours), ()),
        )
        check.done()
        return made


def _hours(hours: tuple[Stretch, ...]) -> tuple[Stretch, ...]:
    problem = problem_of(hours)
    if problem is not None:
        raise ValueError(problem)
    return hours


@dataclass(frozen=True, kw_only=True, slots=True)
class Customer:
    """Somebody who buys. ``owner`` is the reference of the person who looks after them."""

    external_ref: str
    name: str
    numbers: tuple[str, ...]
    emails: tuple[str, ...]
    gstin: str | None
    owner: str | None

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
    ) -> Customer:
        check = _Check()
        made = cls(
            external_ref=check.field("external_ref", lambda: _ref(external_ref), ""),
            name=check.field("name", lambda: _text(name, required=True), ""),
            numbers=check.field("numbers", lambda: _numbers(numbers), ()),
            emails=check.field("emails", lambda: _list(emails, normal_email, "addresses"), ()),
            gstin=check.field("gstin", lambda: _gstin(gstin), None),
            owner=check.field("owner", lambda: _ref(owner) if owner and owner.strip() else None, None),
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
    """A number that rings here. ``default_staff`` are references, rung in this order."""

    did: str
    label: str
    default_staff: tuple[str, ...]
    fallback_number: str | None

    @classmethod
    def of(
        cls, *, did: str, label: str = "", default_staff: Iterable[str] = (), fallback_number: str | None = None
    ) -> Did:
        check = _Check()
        made = cls(
            did=check.field("did", lambda: _number(did), ""),
            label=check.field("label", lambda: _text(label), ""),
            default_staff=check.field("default_staff", lambda: _list(default_staff, _ref, "people"), ()),
            fallback_number=check.field("fallback_number", lambda: _optional_number(fallback_number), None),
        )
        if made.did and made.did == made.fallback_number:
            check.problems.append(
                Problem(field="fallback_number", sentence="is the DID itself; calls would ring in a circle")
            )
        check.done()
        return made


@dataclass(frozen=True, kw_only=True, slots=True)
class Routing:
    """How one tenant's calls are routed."""

    last_agent_days: int
    ring_seconds: int
    fallback_number: str | None
    blocked_numbers: tuple[str, ...]

    @classmethod
    def of(
        cls,
        *,
        last_agent_days: int = 30,
        ring_seconds: int = 25,
        fallback_number: str | None = None,
        blocked_numbers: Iterable[str] = (),
    ) -> Routing:
        check = _Check()
        made = cls(
            last_agent_days=check.field("last_agent_days", lambda: _between(last_agent_days, 0, 3650), 0),
            ring_seconds=check.field("ring_seconds", lambda: _between(ring_seconds, 5, 120), 0),
            fallback_number=check.field("fallback_number", lambda: _optional_number(fallback_number), None),
            blocked_numbers=check.field("blocked_numbers", lambda: _numbers(blocked_numbers), ()),
        )
        check.done()
        return made


def _between(value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise ValueError(f"is a number from {least} to {most}")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Absence:
    """Leave of one person; without ``until`` its end is not known yet."""

    start: datetime
    until: datetime | None
    reason: str

    @classmethod
    def of(cls, *, start: datetime, until: datetime | None = None, reason: str = "") -> Absence:
        check = _Check()
        if start.tzinfo is None or (until is not None and until.tzinfo is None):
            check.problems.append(Problem(field="start", sentence="times need a zone, like 2026-11-20T09:00:00+05:30"))
        elif until is not None and until <= start:
            check.problems.append(Problem(field="until", sentence="is not after the start"))
        text = check.field("reason", lambda: _text(reason, longest=REASON_MAX), "")
        check.done()
        return cls(start=start, until=until, reason=text)
