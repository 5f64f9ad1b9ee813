"""Telephone numbers in running text, told from the amounts, orders and cards that look like them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from identifiers.dates import find_dates
from identifiers.e164 import to_e164
from identifiers.email import find_emails
from identifiers.fold import fold
from identifiers.gstin import find_gstins
from identifiers.money import find_amounts
from identifiers.pan import find_pans
from identifiers.phone_words import CONNECTING, NAMES_OTHER, NAMES_PHONE
from identifiers.span import Found, Mask
from identifiers.upi import find_upis

__all__ = ["find_phones"]

_DIGITS = re.compile(r"[0-9]++")
_SEPARATOR = re.compile(r"[ ()]{0,2}[ \-.()][ ()]{0,2}")
_OPENING = re.compile(r"(?:\(\s?\+?\s?|\+\s?\(?)$")
_IN_FOURS = re.compile(r"(?<![0-9+])[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}(?:\1[0-9]{4})?(?![0-9])")
_BAD_END = re.compile(r"(?!ext|x[0-9])[A-Za-z_@%]|[.][0-9]|,[0-9]{1,3}(?![0-9])|\s?/[-=]", re.ASCII)
_PHONE_LINK = re.compile(r"(?:wa\.me/|[?&]phone=|tel:)\+?$", re.IGNORECASE)
_CODE_PREFIX = re.compile(r"(?<![A-Za-z])[A-Z]{1,5}[-/]$", re.ASCII)
_INVITATION = re.compile(r"(?:^|[.!?]\s{0,2})\s{0,2}for\s(?:booking|order|ticket)s?\b", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+(?:/[A-Za-z])?|[0-9]+|[^\W\d_]+")
_FEWEST_DIGITS, _FEWEST_NATIONAL, _MOST_DIGITS, _MOST_GROUPS = 8, 10, 17, 8
_CONTEXT, _TOKEN, _NEAR = 40, 64, 3
"""Characters to the left that are looked at, and between numbers of one list."""


def find_phones(text: str, *, region: str = "IN") -> list[Found]:
    """Numbers in running text; the value is E.164.

    What is an amount, a date, a GSTIN, a PAN, part of an e-mail address or UPI id, a card or Aadhaar number, or stands
    behind a word such as PNR, order, account or invoice is not reported. Text holds numbers of every kind, so
    spellings are taken more strictly than :func:`to_e164` takes them.
    """
    folded = fold(text)
    groups = [match.span() for match in _DIGITS.finditer(folded)]
    if sum(end - start for start, end in groups) < _FEWEST_DIGITS:
        return []
    names = (find_gstins(text), find_pans(text), find_amounts(text), find_emails(text), find_upis(text))
    taken = Mask(*names, find_dates(text), _cards(folded))
    found: list[Found] = []
    refused = -_CONTEXT
    at = 0
    while at < len(groups):
        candidate = _longest(folded, groups, at, region)
        if candidate is None:
            at += 1
            continue
        at = candidate.next_group
        start, end = candidate.start, candidate.end
        listed_after_refused = start - refused <= _NEAR and not candidate.international
        if candidate.refused or taken.covers(start, end) or listed_after_refused:
            refused = end
            continue
        found.append(Found(start=start, end=end, raw=text[start:end], value=candidate.e164))
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    start: int
    end: int
    e164: str
    international: bool
    refused: bool
    next_group: int


def _cards(folded: str) -> list[Found]:
    """Card and Aadhaar numbers as they are printed, in fours."""
    return [
        Found(start=match.start(), end=match.end(), raw=match[0], value="")
        for match in _IN_FOURS.finditer(folded)
        if not folded.startswith(("1800", "1860"), match.start())
    ]


def _longest(folded: str, groups: list[tuple[int, int]], first: int, region: str) -> _Candidate | None:
    """The longest stretch of digit groups from ``first`` on that reads as one number."""
    stretch = _stretch(folded, groups, first)
    start = _opening(folded, stretch[0][0], groups[first - 1][1] if first else 0)
    plus = "+" in folded[start : stretch[0][0]]
    if sum(end - begin for begin, end in stretch) < (_FEWEST_DIGITS if plus else _FEWEST_NATIONAL):
        return None
    context = _context(folded, start)
    for count in range(len(stretch), 0, -1):
        parts = [folded[begin:end] for begin, end in stretch[:count]]
        end = stretch[count - 1][1]
        if not _plausible(parts, plus, named=context == "phone") or not _ends_well(folded, end):
            continue
        e164 = to_e164(("+" if plus else "") + "".join(parts), region=region)
        if e164 is None:
            continue
        international = plus or parts[0].startswith("00")
        refused = not _begins_well(folded, start, parts[0], named=context == "phone") or (
            context == "other" and not international
        )
        return _Candidate(
            start=start, end=end, e164=e164, international=international, refused=refused, next_group=first + count
        )
    return None


def _stretch(folded: str, groups: list[tuple[int, int]], first: int) -> list[tuple[int, int]]:
    """The groups from ``first`` on that only separators part, as far as one number can reach."""
    stretch = [groups[first]]
    digits = groups[first][1] - groups[first][0]
    for begin, end in groups[first + 1 : first + _MOST_GROUPS]:
        digits += end - begin
        if digits > _MOST_DIGITS or _SEPARATOR.fullmatch(folded, stretch[-1][1], begin) is None:
            break
        stretch.append((begin, end))
    return stretch


def _opening(folded: str, start: int, floor: int) -> int:
    """Where the number begins when the plus and the bracket before its first digit are counted in."""
    match = _OPENING.search(folded, max(floor, start - 4), start)
    return start if match is None else match.start()


def _plausible(parts: list[str], plus: bool, *, named: bool) -> bool:
    """Whether people group a number's digits like this."""
    digits = "".join(parts)
    if plus:
        return 8 <= len(digits) <= 15 and digits[0] != "0"
    if digits.startswith("00"):
        return 11 <= len(digits) <= _MOST_DIGITS and not digits.startswith("000")
    if parts[0] in {"1800", "1860"} or (len(parts) == 1 and digits.startswith(("1800", "1860"))):
        return 10 <= len(digits) <= 11
    lengths = [len(part) for part in parts]
    if digits[0] == "0":
        if parts[0] in {"0", "091"}:
            lengths = lengths[1:]
        elif lengths[0] < 3:
            return False
        return len(digits) in {11, 13} and len(lengths) <= 5 and min(lengths) >= 2
    if len(digits) == 12 and digits.startswith("91"):
        return parts[0] == "91" or lengths[0] >= 6
    if len(digits) != 10:
        return False
    if named:
        return min(lengths) >= 2
    return digits[0] in "6789" and (min(lengths) >= 3 or (lengths[0] == 2 and min(lengths[1:]) >= 4))


def _begins_well(folded: str, start: int, first: str, *, named: bool) -> bool:
    """Whether what stands directly before does not make the digits part of something longer."""
    if start == 0 or named:
        return True
    before = folded[start - 1]
    left = folded[max(0, start - _TOKEN) : start]
    token = left.rsplit(None, 1)[-1] if not left[-1].isspace() else ""
    if "://" in token or token.lower().startswith("www.") or (before == "/" and "." in token):
        return _PHONE_LINK.search(token) is not None
    if before.isascii() and before.isalpha():
        return folded[start] == "+"
    if before in "-/":
        return _CODE_PREFIX.search(left) is None
    if before in ".,":
        return not left[-2:-1].isdecimal() or len(first) >= 5
    return before not in "_#$€£%*"


def _ends_well(folded: str, end: int) -> bool:
    return _BAD_END.match(folded, end) is None


def _context(folded: str, start: int) -> Literal["phone", "other", "unknown"]:
    """What the nearest telling word to the left on the same line calls the digits."""
    begin = max(0, start - _CONTEXT)
    left = folded[begin:start].rpartition("\n")[2]
    words = _WORD.findall(left)
    if begin and words and len(left) == start - begin:
        words = words[1:]  # perhaps cut in the middle
    telling = [word.lower() for word in words if word.lower() not in CONNECTING]
    if not telling or telling[-1][0].isdecimal():
        return "unknown"
    if telling[-1] in NAMES_PHONE:
        return "phone"
    if telling[-1] in NAMES_OTHER and _INVITATION.search(left) is None:
        return "other"
    return "unknown"
