"""The daily pulse: what is red, and what to learn from it, in as few words as are true."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["Pulse", "Recipient", "RedRule", "compose", "due_at", "is_due", "local_day", "summary_of"]

DEFAULT_ZONE = "Asia/Kolkata"
DEFAULT_PULSE_AT = time(9)
SEVERITIES = ("critical", "warning", "info")
SUMMARY_CELLS = 4
SUMMARY_CHARACTERS = 160


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipient:
    """Whom a tenant's pulse goes to, and when."""

    tenant: UUID
    name: str
    timezone: str
    owner_name: str
    owner_email: str
    pulse_at: str
    known_since: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class RedRule:
    rule: str
    title: str
    learning: str
    severity: str
    evidence_summary: str
    evidence_total: int
    local_day: date
    traceparent: str = ""
    """The trace that told of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulse:
    """A composed pulse, not sent yet."""

    subject_line: str
    text: str
    html: str
    red: int


def local_day(at: datetime, timezone: str) -> date:
    """The business day: the date at ``at`` where the tenant is."""
    return at.astimezone(_zone(timezone)).date()


def due_at(day: date, *, pulse_at: str, timezone: str) -> datetime:
    """When the pulse of a local day is due. A time that the clocks skip is due when it would have been."""
    try:
        clock = time.fromisoformat(pulse_at)
    except ValueError:
        clock = DEFAULT_PULSE_AT
    return datetime.combine(day, clock.replace(tzinfo=None), tzinfo=_zone(timezone)).astimezone(UTC)


def is_due(recipient: Recipient, *, at: datetime, late: timedelta) -> bool:
    """Whether today's pulse is to be sent now.

    Not before its time; not much after it, since a morning's pulse in the evening is noise; and not on the day on
    which the tenant became known after its time, since that day has not been watched.
    """
    due = due_at(local_day(at, recipient.timezone), pulse_at=recipient.pulse_at, timezone=recipient.timezone)
    return due <= at < due + late and recipient.known_since <= due


def compose(recipient: Recipient, red: Sequence[RedRule], *, day: date) -> Pulse:
    """Write the pulse of a day. The worst comes first; a rule that is red now says nothing of other days."""
    rules = sorted(red, key=lambda rule: (_rank(rule.severity), rule.title, rule.rule))
    name = _plain(recipient.name) or "Your business"
    values = {
        "name": name,
        "owner": _plain(recipient.owner_name),
        "day": f"{day:%A}, {day.day} {day:%B %Y}",
        "count": _count(len(rules)),
        "rules": [_line(rule, day) for rule in rules],
    }
    return Pulse(
        subject_line=f"{name}: {_count(len(rules))}, {day.day} {day:%b}",
        text=_templates(html=False).get_template("pulse.txt.j2").render(values).strip() + "\n",
        html=_templates(html=True).get_template("pulse.html.j2").render(values).strip() + "\n",
        red=len(rules),
    )


def summary_of(evidence: Sequence[Mapping[str, object]], total: int) -> str:
    """The first row of the evidence in one line, and how many more there are."""
    if not evidence:
        return ""
    cells = [(name, value) for name, value in evidence[0].items() if value is not None and value != ""]
    said = ", ".join(f"{name.replace('_', ' ')} {_plain(str(value))}" for name, value in cells[:SUMMARY_CELLS])
    if len(said) > SUMMARY_CHARACTERS:
        said = said[: SUMMARY_CHARACTERS - 1] + "…"
    return f"{said} … and {total - 1} more" if total > 1 else said


def _line(rule: RedRule, day: date) -> dict[str, object]:
    return {
        "title": _plain(rule.title),
        "learning": _plain(rule.learning),
        "severity": rule.severity if rule.severity in SEVERITIES else "info",
        "total": rule.evidence_total,
        "summary": _plain(rule.evidence_summary),
        "earlier": f"{rule.local_day.day} {rule.local_day:%b}" if rule.local_day != day else "",
    }


def _count(red: int) -> str:
    return "nothing red" if red == 0 else "1 red rule" if red == 1 else f"{red} red rules"


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def _plain(text: str) -> str:
    """One line, without characters that nobody sees: they break headers and turn the reading direction round."""
    return re.sub(r"\s+", " ", "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)).strip()


def _zone(timezone: str) -> ZoneInfo:
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo(DEFAULT_ZONE)


@cache
def _templates(*, html: bool) -> Environment:
    return Environment(
        loader=PackageLoader("notifier", "templates"),
        autoescape=html,  # noqa: S701 - a plain text is no markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
