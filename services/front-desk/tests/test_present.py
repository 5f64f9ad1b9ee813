"""How values are written for people."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from front_desk.present import (
    clock,
    day_began,
    duration,
    highlight,
    indian_rupees,
    mask_email,
    phone,
    plain_count,
    wording,
)

KOLKATA = ZoneInfo("Asia/Kolkata")


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (999, "999"), (1000, "1,000"), (120000, "1,20,000"), (123456789, "12,34,56,789"), (-1000, "-1,000")],
)
def test_counts_are_grouped_as_in_india(number: int, shown: str) -> None:
    assert plain_count(number) == shown


@pytest.mark.parametrize(
    ("paise", "shown"), [("12000000", "₹1,20,000"), ("150", "₹1.50"), ("-100", "-₹1"), ("5 lakh", "5 lakh"), ("", "")]
)
def test_paise_are_shown_as_rupees(paise: str, shown: str) -> None:
    assert indian_rupees(paise) == shown


def test_numbers_get_the_spaces_people_read() -> None:
    assert phone("+919847000021") == "+91 98470 00021"
    assert phone("+914842000001") == "+91 484 200 0001"
    assert (phone(None), phone("internal-7")) == ("", "internal-7")


def test_the_quote_is_split_around_what_was_read() -> None:
    found = highlight("GST 32AAACK1234A1ZJ please", "32AAACK1234A1ZJ")
    assert (found.before, found.found, found.after) == ("GST ", "32AAACK1234A1ZJ", " please")
    assert highlight("other words", "x1").before == "other words"


def test_times_are_the_tenants() -> None:
    at = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)
    assert clock(at, KOLKATA, date(2026, 11, 21)) == "01:30:00"
    assert clock(at, KOLKATA, date(2026, 11, 22)) == "21 Nov, 01:30"
    assert clock(at, KOLKATA, date(2027, 1, 1)) == "21 Nov 2026, 01:30"
    assert day_began(at, KOLKATA) == datetime(2026, 11, 20, 18, 30, tzinfo=UTC)


def test_durations_and_addresses_and_codes_are_short() -> None:
    assert [duration(s) for s in (None, 0, 61, 3700)] == ["", "0 s", "1 min 01 s", "1 h 01 min"]
    assert [mask_email(a) for a in ("owner@malabar.example", "x", "")] == ["o•••@malabar.example", "•••", "•••"]
    assert (wording("on_leave"), wording("brand_new"), wording(None)) == ("on leave", "brand new", "")
