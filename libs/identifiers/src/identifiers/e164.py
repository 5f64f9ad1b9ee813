"""One telephone number, as India and its switchboards write it, to E.164."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

import phonenumbers

from identifiers.fold import fold

__all__ = ["Caller", "parse_caller", "to_e164"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who is calling: a number, somebody who withholds it, or something that is no number. ``raw`` is as received."""

    kind: Literal["number", "anonymous", "invalid"]
    e164: str | None
    raw: str


#: What platforms put in place of a withheld number, in lower case and without punctuation; the last four are how
#: programs write a value they do not have.
_ANONYMOUS = frozenset(
    {
        *("anonymous", "restricted", "private", "privatenumber", "unavailable", "unknown", "unknowncaller", "hidden"),
        *("unknownnumber", "withheld", "blocked", "notused", "nocallerid", "idunavailable"),
        *("none", "null", "undefined", "nil"),
    }
)
#: The same words as Twilio spells them on a keypad, always behind a plus: ANONYMOUS, RESTRICTED, UNAVAILABLE,
#: BLOCKED, UNKNOWN. Without the plus, 7378742833 is somebody's mobile.
_KEYPAD_WORDS = frozenset({"+266696687", "+7378742833", "+86282452253", "+2562533", "+8656696"})
_ANONYMOUS_HOST = "anonymous.invalid"

_EXTENSION = re.compile(r"\s{0,3}(?:;ext=|,?\s{0,2}(?:extension|extn|ext|x)[.:]?\s{0,2})[0-9]{1,7}$", re.IGNORECASE)
_SPELLING = re.compile(r"\+?[0-9][0-9 .()\-]*")
_LONGEST = 48
"""Characters; no number is written longer."""
_ALL_ZERO = re.compile(r"\+?0+")


def to_e164(raw: str, *, region: str = "IN") -> str | None:
    """The number in E.164 (``+919847000000``), or nothing when ``raw`` is not one dialable number.

    Takes national, trunk (``0…``), international (``00…``, ``+…``) and country-code spellings, mixtures of them
    (``0919…``, ``+910484…``), digits of any script, separators, extensions, and ``sip:`` and ``tel:`` addresses.
    """
    text = _address(fold(raw).strip())[0]
    if len(text) > _LONGEST:
        return None
    text = _EXTENSION.sub("", text).strip(" .-")
    if text.startswith("("):
        text = text.replace("(", "", 1).replace(")", " ", 1).strip()
    if _SPELLING.fullmatch(text) is None:
        return None
    plus = text.startswith("+")
    digits = re.sub(r"[^0-9]", "", text)
    return next((e164 for each in _readings(digits, plus, region) if (e164 := _valid(each, region)) is not None), None)


def _address(text: str) -> tuple[str, str]:
    """User and host of a ``sip:`` or ``tel:`` address, also inside ``<…>``; any other text is its own user."""
    if text.endswith(">") and "<" in text:
        text = text[text.rindex("<") + 1 : -1].strip()
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() not in {"sip", "sips", "tel"}:
        return text, ""
    user, at, host = rest.partition("@")
    if not at and scheme.lower() != "tel":
        user, host = rest, ""
    user = unquote(user).partition(";")[0].partition("?")[0]
    # A password may follow the user of a SIP address.
    return user.partition(":")[0], re.split(r"[;:?>]", host, maxsplit=1)[0].lower()


def _readings(digits: str, plus: bool, region: str) -> Iterator[str]:
    """The ways to read the digits, the most literal first. A plus marks the ones that hold a country code."""
    code = str(phonenumbers.country_code_for_region(region))
    if plus and not digits.startswith("0"):
        yield "+" + digits
        if digits.startswith(code):
            yield digits[len(code) :]
        return
    yield digits
    national = digits.lstrip("0")
    if digits.startswith("00"):
        yield "+" + national
    yield national
    if national.startswith(code):
        yield national[len(code) :].lstrip("0")


def _valid(reading: str, region: str) -> str | None:
    try:
        number = phonenumbers.parse(reading, None if reading.startswith("+") else region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def parse_caller(raw: str | None, *, region: str = "IN") -> Caller:
    """Tell a number from somebody who withholds it and from what is neither. Never raises.

    An absent, empty or all-zero value is an anonymous caller: platforms send all of these.
    """
    given = raw or ""
    text = fold(given).strip()
    user, host = _address(text)
    word = re.sub(r"[^a-z0-9+]", "", user.lower())
    withheld = word in _ANONYMOUS or word in _KEYPAD_WORDS or host == _ANONYMOUS_HOST
    if not text or withheld or _ALL_ZERO.fullmatch(word) is not None:
        return Caller(kind="anonymous", e164=None, raw=given)
    e164 = to_e164(given, region=region)
    return Caller(kind="invalid" if e164 is None else "number", e164=e164, raw=given)
