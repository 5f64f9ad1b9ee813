"""Dates in running text, day first as India writes them: ``28/11/2026``, ``28th Nov``, ``2026-11-28``, ``നാളെ``.

A date that leaves something open (its year, which number is the month, which day ``kal`` is) is read as most
people mean it and says how sure that is. What only the day of speaking could tell (``28 Nov``, ``tomorrow``) is found
only when that day is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from identifiers.date_words import DOUBLE_MEANING, HINDI_MONTHS, LATIN_MONTHS, MALAYALAM_MONTHS, RELATIVE, UNSURE
from identifiers.email import find_emails
from identifiers.fold import fold
from identifiers.gstin import find_gstins
from identifiers.ifsc import find_ifscs
from identifiers.money import find_amounts
from identifiers.pan import find_pans
from identifiers.span import Found, Mask
from identifiers.upi import find_upis

__all__ = ["FoundDate", "Sureness", "find_dates", "may_be_relative"]

Sureness = Literal["exact", "day_first", "month_first", "year_assumed", "relative", "either_side"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundDate(Found):
    """A date in a text; the value is ISO 8601.

    ``exact``: written out, or no other reading is a date. ``day_first``: the other order would be a date as well, as
    in ``3/4/2026``. ``month_first``: only that order is one. ``year_assumed``: the one that brings it nearest to the
    day of speaking. ``relative``: counted from that day. ``either_side``: ``kal`` and its like.
    """

    day: date
    sureness: Sureness


_FIRST_YEAR, _LAST_YEAR = 1900, 2199
_CENTURY_TURNS = 69
"""Two digits from here on are of the last century, as POSIX has it."""

# Not inside a number, a version, a file's name or a word.
_BEFORE = r"(?<![0-9A-Za-z_#₹$])(?<![0-9][-/.,:])"
_AFTER = r"(?![0-9A-Za-z_%]|[-/.,:][0-9]|\s?/-)"
_ISO = re.compile(
    rf"{_BEFORE}(?P<year>[0-9]{{4}})(?P<sep>[-/.])(?P<month>[0-9]{{1,2}})(?P=sep)(?P<day>[0-9]{{1,2}})"
    rf"(?:(?=T[0-9]{{2}}:?[0-9]{{2}})|{_AFTER})",
    re.ASCII,
)
_NUMERIC = re.compile(
    rf"{_BEFORE}(?P<day>[0-9]{{1,2}})(?P<sep>[-/.])(?P<month>[0-9]{{1,2}})(?P=sep)(?P<year>[0-9]{{4}}|[0-9]{{2}}){_AFTER}",
    re.ASCII,
)


def _any(words: dict[str, int]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_INDIC = r"[\u0900-\u0963\u0970-\u097f\u0d00-\u0d65\u0d70-\u0d7f\u200c\u200d]"
_MONTH = (
    rf"(?:(?P<latin>(?<![A-Za-z])(?:{_any(LATIN_MONTHS)})(?![A-Za-z]))\.?"
    rf"|(?<!{_INDIC})(?P<hindi>{_any(HINDI_MONTHS)})(?!{_INDIC})"
    rf"|(?<!{_INDIC})(?P<malayalam>{_any(MALAYALAM_MONTHS)}){_INDIC}{{0,8}})"
)
_DAY = r"(?P<day>[0-9]{1,2})(?P<ordinal>\s?(?:st|nd|rd|th)(?![A-Za-z]))?"
_YEAR = (
    r"(?:\s{0,2},?\s{0,2}(?P<year>[0-9]{4})(?![0-9A-Za-z_]|[-/.,][0-9])"
    r"|\s{0,2}['’](?P<short>[0-9]{2})(?![0-9A-Za-z]))"  # noqa: RUF001
)
_FLAGS = re.ASCII | re.IGNORECASE
_DAY_MONTH = re.compile(
    rf"{_BEFORE}{_DAY}(?:\s{{0,2}}(?P<sep>[-/.,])?\s{{0,2}}|\s(?:of\s)?){_MONTH}"
    rf"(?:{_YEAR}|(?P<sep2>[-/.])(?P<year2>[0-9]{{4}}|[0-9]{{2}}){_AFTER})?",
    _FLAGS,
)
_MONTH_DAY = re.compile(rf"(?<![0-9A-Za-z_]){_MONTH}[ -]{{1,2}}{_DAY}{_AFTER}{_YEAR}?", _FLAGS)
_RELATIVE = re.compile(
    rf"(?<![A-Za-z0-9_@.#-])(?:{_any({w: n for w, n in RELATIVE.items() if w.isascii()})})(?![A-Za-z0-9_@])"
    rf"|(?<!{_INDIC})(?:{_any({w: n for w, n in RELATIVE.items() if not w.isascii()})})(?!{_INDIC})",
    _FLAGS,
)


def may_be_relative(text: str) -> bool:
    """A cheap look whether a text without a digit can name a date at all."""
    return _RELATIVE.search(fold(text)) is not None


def find_dates(text: str, *, said_on: date | None = None) -> list[FoundDate]:
    """Dates in ``text``; ``said_on`` is the day on which it was said, where the speaker is.

    What is part of an address, an identifier or an amount is no date. Days that no calendar has are none either.
    """
    if said_on is not None and not _FIRST_YEAR < said_on.year < _LAST_YEAR:
        said_on = None  # clocks of phones can say anything
    folded = fold(text)
    numbers = any(character.isdecimal() for character in folded)
    if not numbers and (said_on is None or _RELATIVE.search(folded) is None):
        return []
    candidates = sorted(_candidates(text, folded, said_on), key=lambda each: (each.start, -each.end))
    if not candidates:
        return []
    named = (find_emails(text), find_upis(text), find_gstins(text), find_pans(text), find_ifscs(text))
    taken = Mask(*named, find_amounts(text))
    found: list[FoundDate] = []
    for each in candidates:
        if (not found or each.start >= found[-1].end) and not taken.covers(each.start, each.end):
            found.append(each)
    return found


def _candidates(text: str, folded: str, said_on: date | None) -> Iterator[FoundDate]:
    for match in _ISO.finditer(folded):
        yield from _found(text, match, _day(match["year"], match["month"], match["day"]), "exact")
    for match in _NUMERIC.finditer(folded):
        yield from _numeric(text, match)
    for pattern in (_DAY_MONTH, _MONTH_DAY):
        for match in pattern.finditer(folded):
            yield from _named(text, match, said_on)
    if said_on is not None:
        for match in _RELATIVE.finditer(folded):
            word = match[0].lower()
            sureness: Sureness = "either_side" if word in UNSURE else "relative"
            yield from _found(text, match, said_on + timedelta(days=RELATIVE[word]), sureness)


def _found(text: str, match: re.Match[str], day: date | None, sureness: Sureness) -> Iterator[FoundDate]:
    if day is not None:
        start, end = match.span()
        raw = text[start:end]
        yield FoundDate(start=start, end=end, raw=raw, value=day.isoformat(), day=day, sureness=sureness)


def _numeric(text: str, match: re.Match[str]) -> Iterator[FoundDate]:
    first, second, year = match["day"], match["month"], match["year"]
    # "1.2.26" is a version or a price list's number more often than a day.
    if match["sep"] == "." and len(year) == 2 and not len(first) == len(second) == 2:
        return
    day_first, month_first = _day(year, second, first), _day(year, first, second)
    if day_first is None:
        yield from _found(text, match, month_first, "month_first")
    else:
        yield from _found(text, match, day_first, "exact" if month_first in {None, day_first} else "day_first")


def _named(text: str, match: re.Match[str], said_on: date | None) -> Iterator[FoundDate]:
    groups = match.groupdict()
    if groups.get("sep") != groups.get("sep2") and groups.get("year2") is not None:
        return
    year = match["year"] or match["short"] or groups.get("year2")
    month = _month(match)
    if year is not None:
        yield from _found(text, match, _day(year, str(month), match["day"]), "exact")
    elif said_on is not None and not _rather_a_word(match):
        yield from _found(text, match, _nearest(said_on, month, int(match["day"])), "year_assumed")


def _month(match: re.Match[str]) -> int:
    if match["latin"] is not None:
        return LATIN_MONTHS[match["latin"].lower()]
    return HINDI_MONTHS[match["hindi"]] if match["hindi"] is not None else MALAYALAM_MONTHS[match["malayalam"]]


def _rather_a_word(match: re.Match[str]) -> bool:
    """``5 may come``, ``March 5 people in``: an ordinal makes it a date, as does a capital after the day."""
    name = match["latin"]
    if name is None or name.lower() not in DOUBLE_MEANING or match["ordinal"] is not None:
        return False
    return name.islower() or match.start("latin") < match.start("day")


def _day(year: str, month: str, day: str) -> date | None:
    if len(year) == 2:
        year = ("19" if int(year) >= _CENTURY_TURNS else "20") + year
    if not _FIRST_YEAR <= int(year) <= _LAST_YEAR:
        return None
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def _nearest(said_on: date, month: int, day: int) -> date | None:
    """The day in the year that brings it nearest. Leap days come every fourth year, or every eighth."""
    days = [_day(str(said_on.year + offset), str(month), str(day)) for offset in range(-4, 5)]
    return min((each for each in days if each is not None), key=lambda each: abs(each - said_on), default=None)
