# ruff: noqa: RUF001 - other scripts' digits and signs are what is tested
from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identifiers.dates import Sureness, find_dates, may_be_relative
from identifiers.money import find_amounts
from identifiers.phone import find_phones

SATURDAY = date(2026, 11, 28)


@pytest.mark.parametrize(
    ("text", "raw", "value", "sureness"),
    [
        ("on 2026-11-28.", "2026-11-28", "2026-11-28", "exact"),
        ("2026-11-28T10:30:00Z", "2026-11-28", "2026-11-28", "exact"),
        ("28/11/2026", "28/11/2026", "2026-11-28", "exact"),
        ("(28-11-26)", "28-11-26", "2026-11-28", "exact"),
        ("28.11.2026 noon", "28.11.2026", "2026-11-28", "exact"),
        ("born 28/11/76", "28/11/76", "1976-11-28", "exact"),
        ("5/5/2026", "5/5/2026", "2026-05-05", "exact"),
        ("3/4/2026", "3/4/2026", "2026-04-03", "day_first"),
        ("11/28/2026", "11/28/2026", "2026-11-28", "month_first"),
        ("28 Nov 2026", "28 Nov 2026", "2026-11-28", "exact"),
        ("28-Nov-26", "28-Nov-26", "2026-11-28", "exact"),
        ("28Nov2026", "28Nov2026", "2026-11-28", "exact"),
        ("28 nov ’26", "28 nov ’26", "2026-11-28", "exact"),
        ("28th of November, 2026", "28th of November, 2026", "2026-11-28", "exact"),
        ("November 28th, 2026", "November 28th, 2026", "2026-11-28", "exact"),
        ("5 may 2027", "5 may 2027", "2027-05-05", "exact"),
        ("28th November", "28th November", "2026-11-28", "year_assumed"),
        ("Nov 28", "Nov 28", "2026-11-28", "year_assumed"),
        ("3 Jan 10 am", "3 Jan", "2027-01-03", "year_assumed"),
        ("5th may", "5th may", "2027-05-05", "year_assumed"),
        ("29 Feb", "29 Feb", "2028-02-29", "year_assumed"),
        ("२८/११/२०२६ को", "२८/११/२०२६", "2026-11-28", "exact"),
        ("२८ नवंबर", "२८ नवंबर", "2026-11-28", "year_assumed"),
        ("28 फ़रवरी 2027", "28 फ़रवरी 2027", "2027-02-28", "exact"),
        ("൨൮/൧൧/൨൦൨൬", "൨൮/൧൧/൨൦൨൬", "2026-11-28", "exact"),
        ("നവംബർ 28ന്", "നവംബർ 28", "2026-11-28", "year_assumed"),
        ("നവംബര്\u200d 28, 2026", "നവംബര്\u200d 28, 2026", "2026-11-28", "exact"),
        ("മാർച്ച് 3", "മാർച്ച് 3", "2027-03-03", "year_assumed"),
        ("Tomorrow morning", "Tomorrow", "2026-11-29", "relative"),
        ("day after tomorrow", "day after tomorrow", "2026-11-30", "relative"),
        ("yesterday", "yesterday", "2026-11-27", "relative"),
        ("aaj hi", "aaj", "2026-11-28", "relative"),
        ("nale varam", "nale", "2026-11-29", "relative"),
        ("നാളെ വരാം", "നാളെ", "2026-11-29", "relative"),
        ("ഇന്നലെ പറഞ്ഞു", "ഇന്നലെ", "2026-11-27", "relative"),
        ("kal subah", "kal", "2026-11-29", "either_side"),
        ("कल आना", "कल", "2026-11-29", "either_side"),
    ],
)
def test_a_date_is_found_where_and_as_it_is_written(text: str, raw: str, value: str, sureness: Sureness) -> None:
    (found,) = find_dates(text, said_on=SATURDAY)
    assert (found.raw, found.value, found.sureness) == (raw, value, sureness)
    assert text[found.start : found.end] == raw
    assert found.day.isoformat() == value


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "28",
            "28/11",
            "24/7/365",
            "31/02/2026",
            "2026-13-13",
            "1.2.26",
            "v1.12.2026",
            "28/11/2026/-",
            "10:12:26",
        ),
        *("28/11-2026", "28-11-26-2", "1-28-11-26", "0471-23-12-2026", "file_28-11-2026", "28/11/2026km", "0/0/2026"),
        *(
            "5 may come",
            "May 5 people",
            "march 5",
            "28 novel",
            "32 Nov",
            "0 Nov",
            "kalam",
            "today@example.in",
            "#today",
        ),
        *("कलम", "kal-el@ybl", "अमई 5", "a28 Nov"),
    ],
)
def test_what_is_not_a_date_is_not_found(text: str) -> None:
    assert find_dates(text, said_on=SATURDAY) == []


@pytest.mark.parametrize("text", ["tomorrow", "28 Nov", "നാളെ", "kal", "28th November"])
def test_what_only_the_day_of_speaking_tells_needs_that_day(text: str) -> None:
    assert find_dates(text) == []
    assert find_dates(text, said_on=SATURDAY)
    assert may_be_relative(text) or any(character.isdecimal() for character in text)


def test_a_clock_that_is_far_off_gives_no_relative_date() -> None:
    assert find_dates("tomorrow 5 Dec", said_on=date.max) == []
    assert find_dates("yesterday 5 Dec", said_on=date.min) == []


def test_a_date_is_no_telephone_number_and_no_amount() -> None:
    text = "call 28-11-2026 10 30 11 or +91 98470 00001, Rs 28,112,026"
    (when,) = find_dates(text)
    (phone,) = find_phones(text)
    (amount,) = find_amounts(text)
    assert (when.value, phone.value, amount.raw) == ("2026-11-28", "+919847000001", "Rs 28,112,026")


@given(st.dates(date(1970, 1, 1), date(2068, 12, 31)), st.sampled_from(["-", "/", "."]), st.booleans())
def test_every_day_is_read_back_day_first(day: date, separator: str, short: bool) -> None:
    text = day.strftime(f"%d{separator}%m{separator}%{'y' if short else 'Y'}")
    (found,) = find_dates(text)
    assert found.day == day
    assert found.sureness == ("exact" if day.day > 12 or day.day == day.month else "day_first")


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(-180, 180))
def test_a_day_without_a_year_is_the_nearest_one(said_on: date, distance: int) -> None:
    meant = said_on + timedelta(days=distance)
    (found,) = find_dates(meant.strftime("%dth %B"), said_on=said_on)
    if (meant.month, meant.day) != (2, 29):
        assert found.day == meant


@given(st.text(alphabet="0123456 /-.novNabt'’thകല നാളെ\u200d\u00a0൨", max_size=60))
def test_found_dates_are_in_order_apart_and_true_to_the_text(text: str) -> None:
    end = 0
    for each in find_dates(text, said_on=SATURDAY):
        assert end <= each.start < each.end <= len(text)
        assert text[each.start : each.end] == each.raw
        end = each.end


@given(st.text(alphabet="0123456789 /-.+Rsk₹@ybl", max_size=60))
def test_dates_leave_amounts_and_numbers_alone(text: str) -> None:
    dates = [(each.start, each.end) for each in find_dates(text, said_on=SATURDAY)]
    for other in (*find_amounts(text), *find_phones(text)):
        assert not any(start < other.end and other.start < end for start, end in dates)
