# ruff: noqa: RUF001 - other scripts' digits and signs are what is tested
from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identifiers.money import Money, find_amounts

RUPEE, LAKH, CRORE = 100, 100 * 10**5, 100 * 10**7


def found(text: str) -> list[tuple[str, int]]:
    amounts = find_amounts(text)
    for each in amounts:
        assert text[each.start : each.end] == each.raw
        assert each.value == str(each.paise)
        assert each.currency == "INR"
    return [(each.raw, each.paise) for each in amounts]


@pytest.mark.parametrize(
    ("text", "raw", "paise"),
    [
        ("₹500", "₹500", 500 * RUPEE),
        ("total ₹ 1,25,000 only", "₹ 1,25,000", 125_000 * RUPEE),
        ("Rs. 1,25,000/- paid", "Rs. 1,25,000/-", 125_000 * RUPEE),
        ("1,25,000/-", "1,25,000/-", 125_000 * RUPEE),
        ("Rs500only", "Rs500", 500 * RUPEE),
        ("rs.500.", "rs.500", 500 * RUPEE),
        ("Rs: 500", "Rs: 500", 500 * RUPEE),
        ("INR 1,250.50", "INR 1,250.50", 125_050),
        ("₹0.75", "₹0.75", 75),
        ("500 rupees", "500 rupees", 500 * RUPEE),
        ("500rs", "500rs", 500 * RUPEE),
        ("₹1.25 Cr", "₹1.25 Cr", 125 * CRORE // 100),
        ("Rs 5 lakh", "Rs 5 lakh", 5 * LAKH),
        ("Rs.5 Lakhs.", "Rs.5 Lakhs", 5 * LAKH),
        ("5 lac", "5 lac", 5 * LAKH),
        ("5.5 lacs", "5.5 lacs", 55 * LAKH // 10),
        ("5 L", "5 L", 5 * LAKH),
        ("₹5l", "₹5l", 5 * LAKH),
        ("1.5 crore", "1.5 crore", 15 * CRORE // 10),
        ("2cr", "2cr", 2 * CRORE),
        ("45k", "45k", 45_000 * RUPEE),
        ("45 thousand", "45 thousand", 45_000 * RUPEE),
        ("1 crore 25 lakh", "1 crore 25 lakh", CRORE + 25 * LAKH),
        ("1 cr and 5 lakhs rupees", "1 cr and 5 lakhs rupees", CRORE + 5 * LAKH),
        ("₹ 5 lakh/-", "₹ 5 lakh/-", 5 * LAKH),
        ("വില 500 രൂപ", "500 രൂപ", 500 * RUPEE),
        ("5 ലക്ഷത്തിന് തരാം", "5 ലക്ഷ", 5 * LAKH),
        ("कीमत ५ लाख है", "५ लाख", 5 * LAKH),
        ("₹\u00a0५००", "₹\u00a0५००", 500 * RUPEE),
        ("₹1,250,000", "₹1,250,000", 1_250_000 * RUPEE),
        ("2 Rs 500", "Rs 500", 500 * RUPEE),
    ],
)
def test_an_amount_is_read_exactly_as_written(text: str, raw: str, paise: int) -> None:
    assert found(text) == [(raw, paise)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7-9 lakh", [("7", 7 * LAKH), ("9 lakh", 9 * LAKH)]),
        ("10 to 12 lakhs", [("10", 10 * LAKH), ("12 lakhs", 12 * LAKH)]),
        ("₹ 2.5-3 Cr", [("₹ 2.5", 25 * CRORE // 10), ("3 Cr", 3 * CRORE)]),
        ("Rs 500-600", [("Rs 500", 500 * RUPEE), ("600", 600 * RUPEE)]),
        ("500-600/-", [("500", 500 * RUPEE), ("600/-", 600 * RUPEE)]),
        ("5–10k", [("5", 5_000 * RUPEE), ("10k", 10_000 * RUPEE)]),
        ("20k-25k", [("20k", 20_000 * RUPEE), ("25k", 25_000 * RUPEE)]),
        ("₹50,000-1 lakh", [("₹50,000", 50_000 * RUPEE), ("1 lakh", LAKH)]),
        ("Rs 5000 to Rs 6000", [("Rs 5000", 5_000 * RUPEE), ("Rs 6000", 6_000 * RUPEE)]),
    ],
)
def test_a_range_is_two_amounts(text: str, expected: list[tuple[str, int]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "500", "1,25,000", "9847000001", "12.05.2025", "10:30", "v1.2.3", "cars 5", "hours 5", "A500"),
        *("5l milk", "20L can", "4K TV", "5k followers", "5 thousand pieces", "50k km", "500x", "10/500k"),
        *("$5k", "AED 500", "5k USD", "500 dirhams", "€ 2 lakh"),
        *("₹1.255", "Rs 1,25", "1,2,3 lakh", "Rs 12345678901234567", "₹", "lakh", "5 lakhinu"),
    ],
)
def test_nothing_is_money_without_a_mark_or_when_it_is_something_else(text: str) -> None:
    assert found(text) == []


def test_a_currency_mark_makes_money_of_what_is_also_counted() -> None:
    assert found("Rs 5k followers") == [("Rs 5k", 5_000 * RUPEE)]


@given(st.integers(0, 10**13), st.sampled_from([("", 1), (" lakh", 10**5), (" Cr", 10**7), ("k", 10**3)]))
def test_paise_are_exact_at_any_size(paise: int, mark: tuple[str, int]) -> None:
    word, worth = mark
    assert found(f"₹{Decimal(paise) / 100}{word}") == [(f"₹{Decimal(paise) / 100}{word}", paise * worth)]


def _grouped(rupees: int) -> str:
    text = str(rupees)
    head, tail = text[:-3], text[-3:]
    pairs = []
    while head:
        pairs.append(head[-2:])
        head = head[:-2]
    return ",".join([*reversed(pairs), tail])


@given(st.integers(1, 10**13))
def test_indian_grouping_does_not_change_an_amount(rupees: int) -> None:
    assert found(f"Rs {_grouped(rupees)}/-") == [(f"Rs {_grouped(rupees)}/-", rupees * 100)]


@given(st.text(alphabet="0123456789 .,-/₹RskLcrlath\u00a0രൂപलाख", max_size=80))
def test_found_amounts_are_in_order_apart_and_true_to_the_text(text: str) -> None:
    end = 0
    for each in find_amounts(text):
        assert end <= each.start < each.end <= len(text)
        assert text[each.start : each.end] == each.raw
        assert each.money == Money(paise=each.paise)
        end = each.end
