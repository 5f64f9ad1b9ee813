# ruff: noqa: RUF001 - other scripts' digits and signs are what is tested
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identifiers.email import find_emails
from identifiers.ifsc import BANKS, find_ifscs, is_ifsc
from identifiers.phone import find_phones
from identifiers.upi import HANDLES, find_upis


@pytest.mark.parametrize(
    ("text", "raw", "value", "known"),
    [
        ("pay 9847000001@okaxis", "9847000001@okaxis", "9847000001@okaxis", True),
        ("Desk.Kochi@YBL.", "Desk.Kochi@YBL", "desk.kochi@ybl", True),
        ("(desk_1@paytm)", "desk_1@paytm", "desk_1@paytm", True),
        ("..desk@ybl", "desk@ybl", "desk@ybl", True),
        ("ഇതിൽ desk@ybl അയക്കൂ", "desk@ybl", "desk@ybl", True),
        ("desk＠ybl", "desk＠ybl", "desk@ybl", True),
        ("upi://pay?pa=desk@ybl&pn=Desk", "desk@ybl", "desk@ybl", True),
        ("desk@newapp", "desk@newapp", "desk@newapp", False),
        (
            "1234567890@FDRL0001001.ifsc.npci",
            "1234567890@FDRL0001001.ifsc.npci",
            "1234567890@fdrl0001001.ifsc.npci",
            True,
        ),
    ],
)
def test_a_upi_id_is_found_where_and_as_it_is_written(text: str, raw: str, value: str, known: bool) -> None:
    (found,) = find_upis(text)
    assert (found.raw, found.value, found.known) == (raw, value, known)
    assert text[found.start : found.end] == raw


@pytest.mark.parametrize(
    "text",
    [
        *("", "@", "a@ybl", "@ybl", "desk@", "desk@example.in", "desk@ybl.in", "desk@gmail", "a@b@ybl", "desk@ybl@x"),
        *("desk.@ybl", "de..sk@ybl", "desk@1ybl", "sip:100@pbx", "ssh://root@host", "desk@y", "a" * 257 + "@ybl"),
    ],
)
def test_what_is_not_a_upi_id_is_not_found(text: str) -> None:
    assert find_upis(text) == []


def test_an_account_addressed_for_payments_is_no_mail_and_no_number() -> None:
    for text in ("1234567890@FDRL0001001.ifsc.npci", "9847000001.shop@okaxis"):
        assert find_emails(text) == []
        assert find_phones(text) == []
        assert find_ifscs(text) == []


def test_handles_are_spelt_as_they_are_compared() -> None:
    assert all(handle.islower() and handle.isalnum() for handle in HANDLES)
    assert all(len(bank) == 4 and bank.isupper() and bank.isalpha() for bank in BANKS)


@given(st.text(alphabet="aZ1.@-_ ybl/:ആ\u00a0＠", max_size=60))
def test_found_ids_are_in_order_apart_and_no_addresses(text: str) -> None:
    end = 0
    addresses = [(each.start, each.end) for each in find_emails(text)]
    for each in find_upis(text):
        assert end <= each.start < each.end <= len(text)
        assert text[each.start : each.end] == each.raw
        assert not any(start < each.end and each.start < stop for start, stop in addresses)
        end = each.end


@pytest.mark.parametrize(
    ("text", "raw", "value", "known"),
    [
        ("IFSC: FDRL0001001", "FDRL0001001", "FDRL0001001", True),
        ("ifsc sbin0001234.", "sbin0001234", "SBIN0001234", True),
        ("IFSCHDFC0000123", "HDFC0000123", "HDFC0000123", True),
        ("BOTM0NEEMRA", "BOTM0NEEMRA", "BOTM0NEEMRA", True),
        ("QQQQ0123456", "QQQQ0123456", "QQQQ0123456", False),
        ("ＦＤＲＬ０００１００１", "ＦＤＲＬ０００１００１", "FDRL0001001", True),
        ("കോഡ് FDRL0001001ആണ്", "FDRL0001001", "FDRL0001001", True),
    ],
)
def test_a_branchs_code_is_found_where_and_as_it_is_written(text: str, raw: str, value: str, known: bool) -> None:
    (found,) = find_ifscs(text)
    assert (found.raw, found.value, found.known) == (raw, value, known)
    assert text[found.start : found.end] == raw
    assert is_ifsc(found.value)


@pytest.mark.parametrize(
    "text",
    ["", "FDRL1001001", "FDRL000100", "FDRL00010011", "xFDRL0001001", "Fdrl0001001", "FD1L0001001", "x_FDRL0001001"],
)
def test_what_is_not_a_branchs_code_is_not_found(text: str) -> None:
    assert find_ifscs(text) == []


@given(st.text(alphabet="FDRL01@.a ", max_size=60))
def test_found_codes_are_in_order_apart_and_in_no_upi_id(text: str) -> None:
    end = 0
    ids = [(each.start, each.end) for each in find_upis(text)]
    for each in find_ifscs(text):
        assert end <= each.start < each.end <= len(text)
        assert text[each.start : each.end] == each.raw
        assert not any(start < each.end and each.start < stop for start, stop in ids)
        end = each.end
