"""Rupee amounts in Indian messages: ``₹1.25 Cr``, ``Rs 5 lakh``, ``1,25,000/-``, ``7-9 lakh``, ``45k``.

A number is money only when something says so: a currency mark or a multiplier. Amounts are whole paise; a number
that is not a whole number of paise is left alone rather than rounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Literal

from identifiers.fold import fold
from identifiers.span import Found

__all__ = ["FoundAmount", "Money", "find_amounts"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Money:
    """An exact amount in the currency's smallest unit."""

    paise: int
    currency: Literal["INR"] = "INR"


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundAmount(Found):
    """An amount in a text; ``value`` is ``str(paise)``."""

    paise: int
    currency: Literal["INR"] = "INR"

    @property
    def money(self) -> Money:
        return Money(paise=self.paise, currency=self.currency)


_MULTIPLIERS: dict[str, int] = {
    **dict.fromkeys(("k", "thousand", "thousands", "hazaar", "hazar", "hajaar", "hajar", "ayiram", "aayiram"), 10**3),
    **dict.fromkeys(("ആയിരം", "हज़ार", "हज़ार", "हजार"), 10**3),
    **dict.fromkeys(("l", "lakh", "lakhs", "lac", "lacs", "laksham"), 10**5),
    **dict.fromkeys(("ലക്ഷം", "ലക്ഷ", "लाख"), 10**5),
    **dict.fromkeys(("cr", "crs", "crore", "crores", "kodi", "karod"), 10**7),
    **dict.fromkeys(("കോടി", "करोड़", "करोड़"), 10**7),
}
_LATIN = "|".join(sorted((word for word in _MULTIPLIERS if word.isascii()), key=len, reverse=True))
# Malayalam and Hindi add endings to the word ("ലക്ഷത്തിന്"), so theirs need no boundary.
_NATIVE = "|".join(sorted((word for word in _MULTIPLIERS if not word.isascii()), key=len, reverse=True))
_WINDOW = 24
"""Characters around a number in which its marks are looked for: what bounds the time on hostile text."""

_FLAGS = re.ASCII | re.IGNORECASE
_NUMBER = re.compile(r"[0-9]++(?:,[0-9]++)*+(?:\.[0-9]++)?+")
_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{2,3}){0,6},[0-9]{3}|[0-9]{1,15}")
_PREFIX = re.compile(r"(?:₹|₨|(?<![A-Za-z])(?:Rs|INR|Rupees?)|രൂപ|रुपये|रुपए|रु)\s{0,2}[.:]{0,2}\s{0,2}$", _FLAGS)
_MULTIPLIER = re.compile(rf"\s{{0,2}}(?:({_LATIN})\.?(?![A-Za-z0-9])|({_NATIVE}))", _FLAGS)
# A mark after the number that a further number follows is that one's prefix: "2 Rs 500".
_SUFFIX = re.compile(
    r"\s{0,2}(?:/\s?[-=](?![0-9])"
    r"|(?:₹|₨|(?:Rs|INR)(?![A-Za-z0-9])\.?|(?:Rupees?|Rupaye|Rupaya|Roopa)(?![A-Za-z0-9])|രൂപ|रुपये|रुपए|रु)"
    r"(?!\s{0,2}[.:]{0,2}\s{0,2}[0-9]))",
    _FLAGS,
)
_SLASH_DASH = re.compile(r"\s?/[-=](?![0-9])")
_RANGE = re.compile(r"\s{0,2}(?:-|(?<=\s)to(?=\s)|(?<=\s)se(?=\s))\s{0,2}(?=[0-9])", _FLAGS)
_AND = re.compile(r"\s{1,2}(?:and\s{1,2})?(?=[0-9])", _FLAGS)
_FOREIGN_BEFORE = re.compile(
    r"(?:[$€£¥]|(?<![A-Za-z])(?:USD|US\$|AED|SAR|QAR|OMR|KWD|BHD|EUR|GBP|SGD|Dhs?|Dirhams?|Riyals?))\.?\s{0,2}$", _FLAGS
)
_FOREIGN_AFTER = re.compile(
    r"\s{0,2}(?:[$€£¥]|(?:USD|AED|SAR|QAR|OMR|KWD|BHD|EUR|GBP|SGD|Dhs?|Dirhams?|Riyals?|Dollars?|Euros?)(?![A-Za-z]))",
    _FLAGS,
)
# What is counted in thousands without being money, and the litres and screens that share our letters.
_COUNTED = re.compile(
    r"\s{0,2}(?:pcs|pieces?|nos|units?|people|persons?|kms?|kgs?|sq\.?\s?ft|sqft|steps|followers|views|litres?|liters?|ltrs?"
    r"|tons?|tonnes?|bricks|customers|members|subscribers|tv|video|display|monitor|resolution|camera|uhd|run|can|cans"
    r"|tank|jar|bottles?|water|oil|milk|km/h|rpm|mah|watts?)(?![A-Za-z])",
    _FLAGS,
)


@dataclass(slots=True)
class _Reading:
    """A number with the marks found around it."""

    start: int
    end: int
    number: Decimal
    worth: Decimal
    multiplier: int
    prefixed: bool
    suffixed: bool
    foreign: bool
    counted: bool
    number_start: int
    number_end: int

    @property
    def is_money(self) -> bool:
        if self.foreign:
            return False
        return self.prefixed or self.suffixed or (self.multiplier > 1 and not self.counted)


def find_amounts(text: str) -> list[FoundAmount]:
    """Rupee amounts in order. A range gives both its ends; only the last carries the shared mark in its span."""
    folded = fold(text)
    found = []
    for reading in _ranges_resolved(folded, list(_readings(folded))):
        paise = reading.worth * 100
        if not reading.is_money or paise != paise.to_integral_value():
            continue
        start, end = reading.start, reading.end
        found.append(FoundAmount(start=start, end=end, raw=text[start:end], value=str(int(paise)), paise=int(paise)))
    return found


def _readings(folded: str) -> Iterator[_Reading]:
    behind = 0
    for match in _NUMBER.finditer(folded):
        if match.start() < behind or (number := _number(folded, match)) is None:
            continue
        reading = _read(folded, match.start(), match.end(), number, behind)
        if reading is not None:
            _join_smaller_parts(folded, reading)
            behind = reading.end
            yield reading


def _number(folded: str, match: re.Match[str]) -> Decimal | None:
    """The number's value; nothing for dates, versions, addresses and lists that look like numbers."""
    whole, _, fraction = match[0].partition(".")
    if _GROUPED.fullmatch(whole) is None or len(fraction) > 8:
        return None
    start, end = match.span()
    if folded[end : end + 1] == "." and folded[end + 1 : end + 2].isdecimal():
        return None
    before = folded[start - 1 : start]
    if before in {".", ","} and (start < 2 or folded[start - 2].isdecimal() or folded[start - 2] == " "):
        return None
    return Decimal(whole.replace(",", "") + ("." + fraction if fraction else ""))


def _read(folded: str, start: int, end: int, number: Decimal, behind: int) -> _Reading | None:
    left = folded[max(behind, start - _WINDOW) : start]
    prefix = _PREFIX.search(left)
    if prefix is None and left and left[-1].isascii() and (left[-1].isalpha() or left[-1] in "#@_/"):
        return None
    after = end
    multiplier, glued = 1, False
    if (mark := _MULTIPLIER.match(folded, after, after + _WINDOW)) is not None:
        multiplier = _worth(mark, marked=prefix is not None)
        after = mark.end() if multiplier > 1 else after
    elif prefix is None and folded[after : after + 1].isascii() and folded[after : after + 1].isalpha():
        glued = True
    suffix = _SUFFIX.match(folded, after, after + _WINDOW)
    if glued and suffix is None:
        return None  # "500rs" is an amount, "500x" a word
    if suffix is not None and prefix is not None:
        suffix = _SLASH_DASH.match(folded, after)
    return _Reading(
        start=start - len(prefix[0]) if prefix is not None else start,
        end=suffix.end() if suffix is not None else _without_stop(folded, after),
        number=number,
        worth=number * multiplier,
        multiplier=multiplier,
        prefixed=prefix is not None,
        suffixed=suffix is not None,
        foreign=_FOREIGN_BEFORE.search(left) is not None or _FOREIGN_AFTER.match(folded, after) is not None,
        counted=_COUNTED.match(folded, after) is not None,
        number_start=start,
        number_end=after,
    )


def _worth(mark: re.Match[str], *, marked: bool) -> int:
    word = mark[1] or mark[2]
    if word == "l" and not marked:
        return 1  # litres; a lakh without a currency mark is a capital
    return _MULTIPLIERS[word.lower()]


def _without_stop(folded: str, end: int) -> int:
    return end - 1 if folded[end - 1] == "." else end


def _join_smaller_parts(folded: str, reading: _Reading) -> None:
    """``1 crore 25 lakh`` is one amount: parts follow in falling multipliers."""
    smallest = reading.multiplier
    while smallest > 1 and not reading.suffixed:
        gap = _AND.match(folded, reading.number_end, reading.number_end + _WINDOW)
        match = _NUMBER.match(folded, gap.end()) if gap is not None else None
        number = _number(folded, match) if match is not None else None
        if match is None or number is None:
            return
        part = _read(folded, match.start(), match.end(), number, match.start())
        if part is None or not 1 < part.multiplier < smallest or number * part.multiplier >= smallest:
            return
        smallest = part.multiplier
        reading.worth += part.worth
        reading.end, reading.number_end = part.end, part.number_end
        reading.suffixed, reading.foreign = part.suffixed, reading.foreign or part.foreign
        reading.counted = part.counted


def _ranges_resolved(folded: str, readings: list[_Reading]) -> list[_Reading]:
    """Let the two ends of a range share a currency mark, and a multiplier where that keeps low below high."""
    for low, high in pairwise(readings):
        joint = _RANGE.match(folded, low.number_end, low.number_end + _WINDOW)
        if joint is None or joint.end() != high.number_start:
            continue
        if low.multiplier == 1 and high.multiplier > 1 and low.number < high.number:
            low.multiplier = high.multiplier
            low.worth = low.number * high.multiplier
            low.counted = high.counted
        marked = low.is_money and (low.prefixed or low.suffixed)
        low.suffixed = low.suffixed or (high.is_money and (high.prefixed or high.suffixed))
        high.suffixed = high.suffixed or marked
        low.foreign = high.foreign = low.foreign or high.foreign
    return readings
