"""Messages come from anybody. No text may keep a finder busy for longer than its length explains."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identifiers.dates import find_dates
from identifiers.email import find_emails
from identifiers.fold import fold
from identifiers.gstin import find_gstins
from identifiers.ifsc import find_ifscs
from identifiers.money import find_amounts
from identifiers.pan import find_pans
from identifiers.phone import find_phones, parse_caller, to_e164
from identifiers.span import Found
from identifiers.upi import find_upis

#: A quarter of it in a quick run, as of the examples of properties.
SIZE = 1000 * settings.default.max_examples
SECONDS = SIZE / 25_000
"""Many times what one of these takes; a quadratic finder needs more, of the whole size by far."""


def find_dates_said_today(text: str) -> Sequence[Found]:
    return find_dates(text, said_on=date(2026, 11, 28))


FINDERS: list[Callable[[str], Sequence[Found]]] = [
    *(find_phones, find_amounts, find_emails, find_gstins, find_pans),
    *(find_upis, find_ifscs, find_dates, find_dates_said_today),
]


def filled(piece: str) -> str:
    return (piece * (SIZE // len(piece) + 1))[:SIZE]


HOSTILE = [
    *map(filled, ["1", "9 ", "1-", "1,", "+1 ", ")-(", "98470 00001 ", "₹", "Rs 1-", "1 cr 1 lakh ", "\u0d66 "]),
    *map(filled, ["a@", "a.", "a@a.a", "AAAAA1111", "32 AABCU ", "A", " ", "/", "://9847000001"]),
    *map(
        filled,
        ["ab@cd ", "ab.", "FDRL0", "1/1/26/", "1/1/26 ", "28 ", "nov ", "nov 1 ", "1 nov", "kal ", "നവംബ", "നാളെ "],
    ),
    "ab@" + filled("cd"),
    filled("ab") + "@ybl",
    "a@" + filled("x-"),
    "₹" + filled("1,00,"),
    "Rs" + " " * SIZE + "5",
]


@pytest.mark.parametrize("find", FINDERS, ids=lambda find: find.__name__)
def test_hostile_text_takes_linear_time(find: Callable[[str], Sequence[Found]]) -> None:
    for text in HOSTILE:
        began = time.process_time()
        find(text)
        assert time.process_time() - began < SECONDS, f"{find.__name__} on {text[:20]!r}…"


def test_a_hostile_caller_is_refused_at_once() -> None:
    for text in HOSTILE:
        began = time.process_time()
        assert to_e164(text) is None
        assert parse_caller(text).e164 is None
        assert time.process_time() - began < SECONDS


@given(st.text())
def test_folding_keeps_every_character_in_its_place(text: str) -> None:
    folded = fold(text)
    assert len(folded) == len(text)
    assert fold(folded) == folded
    assert all(b == a for a, b in zip(text, folded, strict=True) if a.isascii())


@given(st.text())
def test_no_text_breaks_a_finder(text: str) -> None:
    for find in FINDERS:
        for each in find(text):
            assert text[each.start : each.end] == each.raw
