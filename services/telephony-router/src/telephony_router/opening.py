"""When people and numbers are open, by the clock on the wall of the tenant's zone."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from telephony_router.routing import DEFAULT_ZONE, Calendar, Hours

__all__ = ["is_open", "opens"]

DAY_MINUTES = 24 * 60


def is_open(hours: tuple[Hours, ...], now: datetime, timezone: str) -> bool:
    """Whether a moment lies in one of the stretches."""
    local = _local(now, timezone)
    minute = local.hour * 60 + local.minute
    today = local.isoweekday()
    return _within(_of_day(hours, today), minute) or _within(_of_day(hours, _before(today)), minute + DAY_MINUTES)


def opens(calendar: Calendar, now: datetime, timezone: str) -> bool:
    """Whether a calendar is open. On a holiday only its own hours count, also against a night before it."""
    local = _local(now, timezone)
    minute = local.hour * 60 + local.minute
    today, yesterday = local.date(), local.date() - timedelta(days=1)
    own = _of_holiday(calendar, today)
    if own is not None:
        return _within(own, minute)
    if not calendar.hours:
        return True
    night = _of_holiday(calendar, yesterday)
    if night is None:
        night = _of_day(calendar.hours, yesterday.isoweekday())
    return _within(_of_day(calendar.hours, today.isoweekday()), minute) or _within(night, minute + DAY_MINUTES)


def _of_holiday(calendar: Calendar, day: date) -> list[tuple[int, int]] | None:
    holiday = calendar.holidays.get(day.isoformat())
    if holiday is None:
        return None
    return [] if holiday.start is None else [_stretch(holiday.start, holiday.until or 0)]


def _local(now: datetime, timezone: str) -> datetime:
    try:
        return now.astimezone(ZoneInfo(timezone))
    except (ZoneInfoNotFoundError, ValueError):
        return now.astimezone(ZoneInfo(DEFAULT_ZONE))


def _before(weekday: int) -> int:
    return 7 if weekday == 1 else weekday - 1


def _stretch(start: int, until: int) -> tuple[int, int]:
    return start, until + DAY_MINUTES if until <= start else until


def _of_day(hours: tuple[Hours, ...], weekday: int) -> list[tuple[int, int]]:
    return [_stretch(each.start, each.until) for each in hours if each.weekday == weekday]


def _within(stretches: list[tuple[int, int]], minute: int) -> bool:
    return any(start <= minute < until for start, until in stretches)
