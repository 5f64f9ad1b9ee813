"""How values are written for people. Pure: what a page shows, from what an event said."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache
from zoneinfo import ZoneInfo

import phonenumbers

__all__ = [
    "Highlight",
    "clock",
    "day_began",
    "duration",
    "highlight",
    "indian_rupees",
    "mask_email",
    "phone",
    "plain_count",
    "wording",
]

_WORDS = {
    "last_agent": "talked to them last",
    "owner": "looks after this customer",
    "did_default": "answers this number",
    "did_fallback": "this number's fallback",
    "tenant_fallback": "the last resort",
    "static_fallback": "the last resort",
    "on_leave": "on leave",
    "outside_hours": "outside working hours",
    "inactive": "not active",
    "no_number": "has no number",
    "is_caller": "is the caller",
    "busy": "busy on another call",
    "already_listed": "already being rung",
    "blocked": "caller is blocked",
    "lapsed": "nobody called in time",
    "called_back": "called back",
    "no_answer": "no answer",
    "not_needed": "not needed",
    "gstin": "GSTIN",
    "pan": "PAN",
    "phone": "Phone",
    "email": "E-mail",
    "amount": "Amount",
    "in_order": "one after another",
    "simultaneous": "all at once",
    "round_robin": "in turns",
    "longest_idle": "whoever was free longest",
    "daily_pulse": "Daily pulse",
    "snapshot": "stored view",
    "redis": "live view",
    "postgres": "database",
    "static": "static fallback",
}


def wording(code: str | None) -> str:
    """A code in words; one that nobody has put in words yet stays readable."""
    return "" if not code else _WORDS.get(code, code.replace("_", " "))


def clock(at: datetime | None, zone: ZoneInfo, today: date) -> str:
    """``14:03`` today, ``19 Nov, 14:03`` this year, with the year otherwise."""
    if at is None:
        return ""
    local = at.astimezone(zone)
    if local.date() == today:
        return f"{local:%H:%M:%S}"
    year = "" if local.year == today.year else f" {local.year}"
    return f"{local.day} {local:%b}{year}, {local:%H:%M}"


def day_began(now: datetime, zone: ZoneInfo) -> datetime:
    """The instant at which the local day of ``now`` began."""
    return datetime.combine(now.astimezone(zone).date(), time(), tzinfo=zone).astimezone(UTC)


def duration(seconds: int | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def plain_count(number: int) -> str:
    """Grouped as in India: 1,20,000."""
    digits = str(abs(number))
    head, tail = digits[:-3], digits[-3:]
    groups = []
    while head:
        groups.append(head[-2:])
        head = head[:-2]
    return ("-" if number < 0 else "") + ",".join([*reversed(groups), tail])


def indian_rupees(paise: str) -> str:
    """Paise as rupees, ``₹1,20,000``; text that is no number is shown as it is."""
    if not re.fullmatch(r"-?\d{1,18}", paise):
        return paise
    rupees, rest = divmod(abs(int(paise)), 100)
    sign = "-" if paise.startswith("-") else ""
    return f"{sign}₹{plain_count(rupees)}" + (f".{rest:02}" if rest else "")


def phone(number: str | None) -> str:
    """E.164 with the spaces people read it by; what is no number is shown as it is."""
    return _spaced(number) if number else ""


@lru_cache(maxsize=4096)
def _spaced(number: str) -> str:
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return number
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def mask_email(address: str) -> str:
    """Enough to recognise one's own address, too little to write to it."""
    local, at, domain = address.partition("@")
    if not at:
        return "•••"
    return f"{local[:1]}•••@{domain}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Highlight:
    """A quote around what was read in it."""

    before: str
    found: str
    after: str


def highlight(quote: str, raw: str) -> Highlight:
    """Split a quote around the text a fact was read from; all of it is context when it is not there."""
    at = quote.find(raw) if raw else -1
    if at < 0:
        return Highlight(before=quote, found="", after="")
    return Highlight(before=quote[:at], found=raw, after=quote[at + len(raw) :])
