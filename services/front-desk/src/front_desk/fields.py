"""Reading the fields of an entity: each reader normalises a value or raises ``ValueError`` with a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from front_desk.hours import Stretch, is_clock_time, parse_hours, problem_of
from identifiers.email import find_emails
from identifiers.gstin import is_gstin
from identifiers.phone import to_e164

__all__ = [
    "Check",
    "Invalid",
    "Problem",
    "between",
    "clock_time",
    "gstin",
    "language",
    "normal_email",
    "number",
    "numbers",
    "one_by_one",
    "opening_hours",
    "optional_number",
    "reference",
    "references",
    "skills",
    "slug",
    "text",
]

NAME_MAX = 200
LIST_MAX = 50
STRETCHES_MAX = 100
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,99}")
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PLAIN = re.compile(r"[a-z0-9*#-]{1,63}")
_SKILL = re.compile(r"(?=.{1,35}\Z)[a-z0-9]+(?:-[a-z0-9]+)*")
_LANGUAGE = re.compile(r"(?=.{2,35}\Z)[a-z]{2,3}(?:-[a-z0-9]{2,8})*")
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


class Check:
    """Collects the problems of one entity while its fields are read."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def wrong(self, name: str, sentence: str) -> None:
        self.problems.append(Problem(field=name, sentence=sentence))

    def field(self, name: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except Invalid as invalid:
            # A value with fields of its own: its problems stand under this one's name.
            self.problems += [Problem(field=f"{name}.{p.field}", sentence=p.sentence) for p in invalid.problems]
        except ValueError as error:
            self.wrong(name, str(error))
        return otherwise

    def parts(
        self, name: str, given: Iterable[Mapping[str, Any]], make: Callable[..., T], *, most: int, key: str
    ) -> tuple[T, ...]:
        """Values with fields of their own, each named in problems by its ``key``, which no two may share."""
        found: dict[str, T] = {}
        every = list(given)
        if len(every) > most:
            self.wrong(name, f"are more than {most}")
        for place, each in enumerate(every[:most]):
            try:
                made = make(**each)
            except Invalid as invalid:
                called = str(each.get(key, ""))
                # Only what is safe to repeat: a name that is itself wrong may be anything.
                at = f"{name}.{called if _PLAIN.fullmatch(called) else place}"
                self.problems += [Problem(field=f"{at}.{p.field}", sentence=p.sentence) for p in invalid.problems]
                continue
            unique = str(getattr(made, key))
            if unique in found:
                self.wrong(f"{name}.{unique}", "is there twice; keep one of them")
            found[unique] = made
        return tuple(found.values())

    def done(self) -> None:
        if self.problems:
            raise Invalid(self.problems)


def text(value: str, *, longest: int = NAME_MAX, required: bool = False) -> str:
    found = " ".join(value.split(" ")).strip()
    if _CONTROL.search(found):
        raise ValueError("holds a control character; type it again as plain text on one line")
    if len(found) > longest:
        raise ValueError(f"is longer than {longest} characters")
    if required and not found:
        raise ValueError("is missing")
    return found


def reference(value: str) -> str:
    found = value.strip()
    if _REF.fullmatch(found) is None:
        raise ValueError("is 1 to 100 letters, digits or . _ : @ + -, and begins with a letter or digit")
    return found


def references(values: Iterable[str]) -> tuple[str, ...]:
    return one_by_one(values, reference, "people")


def number(value: str) -> str:
    if re.fullmatch(r"\s*\d(?:\.\d+)?[eE]\+?\d+\s*", value):
        raise ValueError("was rewritten by a spreadsheet (like 9.19847E+11); format the column as text and save again")
    found = to_e164(value)
    if found is None:
        raise ValueError("is not a telephone number that can be rung; write it like +91 98470 00001")
    return found


def numbers(values: Iterable[str]) -> tuple[str, ...]:
    return one_by_one(values, number, "numbers")


def one_by_one(values: Iterable[str], one: Callable[[str], str], what: str) -> tuple[str, ...]:
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


def optional_number(value: str | None) -> str | None:
    return number(value) if value is not None and value.strip() else None


def normal_email(value: str) -> str:
    """An address in lower case."""
    found = find_emails(value.strip())
    if len(found) != 1 or found[0].raw != value.strip():
        raise ValueError("is not an e-mail address; write it like name@example.com")
    return found[0].value


def gstin(value: str | None) -> str | None:
    found = re.sub(r"[\s-]", "", value or "").upper()
    if not found:
        return None
    if len(found) != 15:
        raise ValueError(f"a GSTIN has 15 characters, this has {len(found)}")
    if not is_gstin(found):
        raise ValueError("is not a valid GSTIN: state code, PAN or check character is wrong; compare it with the bill")
    return found


def slug(value: str) -> str:
    if _SLUG.fullmatch(value) is None:
        raise ValueError("is 1 to 63 small letters, digits or hyphens, like malabar-spices")
    return value


def clock_time(value: str) -> str:
    if not is_clock_time(value):
        raise ValueError("is a time of day written HH:MM, like 09:00")
    return value


def opening_hours(hours: str | Iterable[Stretch]) -> tuple[Stretch, ...]:
    """Stretches, or the one line people write them in."""
    found = parse_hours(hours) if isinstance(hours, str) else tuple(sorted(set(hours)))
    problem = problem_of(found)
    if problem is not None:
        raise ValueError(problem)
    if len(found) > STRETCHES_MAX:
        raise ValueError(f"has more than {STRETCHES_MAX} stretches")
    return found


def _skill(value: str) -> str:
    found = value.strip().lower()
    if _SKILL.fullmatch(found) is None:
        raise ValueError("is a short word of letters, digits and hyphens like gst, or a language tag like ml or en-in")
    return found


def skills(values: Iterable[str]) -> tuple[str, ...]:
    return one_by_one(values, _skill, "skills")


def language(value: str) -> str:
    found = value.strip().lower()
    if found and _LANGUAGE.fullmatch(found) is None:
        raise ValueError("is a language tag, like ml for Malayalam, hi for Hindi or en-in")
    return found


def between(value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise ValueError(f"is a number from {least} to {most}")
    return value
