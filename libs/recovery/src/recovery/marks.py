"""Texts that name a person who is forgotten: found as they stand in evidence, summaries and mails, and marked."""

from __future__ import annotations

import re
from collections.abc import Iterable

from contracts.erasure import SubjectErasedV1

__all__ = ["ERASED", "Marks", "fact_subjects", "national_of", "person_named"]

ERASED = "[erased]"
"""Stands where something of an erased person stood."""

_SHORTEST = 6
"""Characters of a value that is looked for by itself: shorter ones stand in texts about anybody."""


class Marks:
    """What names one person. ``values`` are what else was known of nobody but them."""

    def __init__(self, subject: SubjectErasedV1, *, values: Iterable[str] = ()) -> None:
        person = subject.scope == "person"
        numbers = [form for number in subject.numbers for form in national_of(number)] if person else []
        ids = [
            *fact_subjects(subject),
            *subject.addresses,
            *subject.contact_ids,
            *subject.chat_ids,
            *(each for each in values if len(each) >= _SHORTEST),
        ]
        if person:
            ids += [*subject.lead_ids, *subject.emails]
        self.parts = sorted({each.lower() for each in (*numbers, *ids) if each})
        """In lower case; a text that names the person has one of them in it."""
        forms = [rf"(?<!\d){re.escape(each)}(?!\d)" for each in numbers]
        forms += [rf"(?<![\w-]){re.escape(each)}(?![\w-])" for each in ids if each]
        self._pattern = re.compile("|".join(forms), re.IGNORECASE) if forms else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def name(self, text: str) -> bool:
        """Whether the text names the person."""
        return self._pattern is not None and self._pattern.search(text) is not None


def fact_subjects(subject: SubjectErasedV1) -> list[str]:
    """Under which subjects all facts are the person's. A number's facts, and a conversation's, all come from what was
    written there. A customer's also come from what others wrote, who belong to it: where only messages are erased, of
    those goes what rests on them, and the rest stays like the customer itself."""
    customers = subject.customer_ids if subject.scope == "person" else ()
    return [
        *(f"contact:{each}" for each in subject.numbers),
        *(f"customer:{each}" for each in customers),
        *(f"chat:{each}" for each in subject.chat_ids),
    ]


def person_named(value_type: str, value: str) -> str | None:
    """By what a fact's value names a person, as ``erased`` asks for it: a number, an address, a UPI id of a number."""
    if value_type in {"phone", "email"}:
        return value
    account = value.partition("@")[0] if value_type == "upi" else ""
    if not account.isdecimal() or len(account) not in {10, 12}:
        return None
    return f"+{account}" if len(account) == 12 else f"+91{account}"


def national_of(number: str) -> list[str]:
    """The digits of an E.164 number, with the country's code and, in India, without."""
    digits = number.removeprefix("+")
    return [digits, digits[2:]] if digits.startswith("91") and len(digits) == 12 else [digits]
