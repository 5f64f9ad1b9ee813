"""Working hours: stretches of weekdays in the tenant's local time, and how people write them in one line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["DAY_NAMES", "Stretch", "is_clock_time", "parse_hours", "problem_of", "write_hours"]

DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_CLOCK = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_PART = re.compile(
    r"(?P<days>[A-Za-z]{3,9}(?:\s*[-,]\s*[A-Za-z]{3,9})*)\s+(?P<start>\d{1,2}:\d{2})\s*-\s*(?P<until>\d{1,2}:\d{2})"
)


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Stretch:
    """One stretch of one weekday (ISO: 1 is Monday). ``until`` is exclusive; ``24:00`` is the day's end."""

    weekday: int
    start: str
    until: str


def is_clock_time(text: str, *, end_of_day: bool = False) -> bool:
    """``HH:MM`` with two digits each; ``24:00`` only where a day may end."""
    return _CLOCK.fullmatch(text) is not None or (end_of_day and text == "24:00")


def problem_of(hours: Iterable[Stretch]) -> str | None:
    """Why these are not working hours, as a sentence; nothing when they are."""
    last: Stretch | None = None
    for stretch in sorted(hours):
        if not 1 <= stretch.weekday <= 7:
            return "a weekday is a number from 1 (Monday) to 7 (Sunday)"
        if not is_clock_time(stretch.start) or not is_clock_time(stretch.until, end_of_day=True):
            return "times are written HH:MM, from 00:00 to 24:00"
        if stretch.start >= stretch.until:
            return f"{DAY_NAMES[stretch.weekday - 1]} ends before it begins; write a night as two stretches"
        if last is not None and last.weekday == stretch.weekday and stretch.start < last.until:
            return f"two stretches of {DAY_NAMES[stretch.weekday - 1]} overlap"
        last = stretch
    return None


def parse_hours(text: str) -> tuple[Stretch, ...]:
    """``Mon-Fri 09:30-18:00; Sat 09:30-13:00``. Empty means always. Raises ``ValueError`` with a sentence."""
    found: list[Stretch] = []
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError("working hours are written like Mon-Fri 09:30-18:00; Sat 09:30-13:00")
        start, until = match["start"].zfill(5), match["until"].zfill(5)
        found += [Stretch(weekday=day, start=start, until=until) for day in _days(match["days"])]
    problem = problem_of(found)
    if problem is not None:
        raise ValueError(problem)
    return tuple(sorted(found))


def write_hours(hours: Iterable[Stretch]) -> str:
    """The one-line spelling that :func:`parse_hours` reads back."""
    days: dict[int, list[str]] = {}
    for stretch in sorted(hours):
        days.setdefault(stretch.weekday, []).append(f"{stretch.start}-{stretch.until}")
    parts: list[tuple[int, int, list[str]]] = []
    for day, times in days.items():
        if parts and parts[-1][1] == day - 1 and parts[-1][2] == times:
            parts[-1] = (parts[-1][0], day, times)
        else:
            parts.append((day, day, times))
    return "; ".join(
        f"{DAY_NAMES[first - 1]}{'' if first == last else '-' + DAY_NAMES[last - 1]} {time}"
        for first, last, times in parts
        for time in times
    )


def _days(text: str) -> Iterable[int]:
    for piece in text.split(","):
        first, _, last = (part.strip() for part in piece.partition("-"))
        begin = _day(first)
        end = _day(last) if last else begin
        if end < begin:
            raise ValueError("a range of days runs from Monday towards Sunday; write Sat, Sun, Mon as a list")
        yield from range(begin, end + 1)


def _day(name: str) -> int:
    for number, known in enumerate(DAY_NAMES, start=1):
        if name[:3].title() == known:
            return number
    raise ValueError(f"days are {', '.join(DAY_NAMES)}")
