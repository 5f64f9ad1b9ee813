# ruff: noqa: RUF001 - other scripts' digits and signs are what is tested
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identifiers.email import find_emails


@pytest.mark.parametrize(
    ("text", "raw", "value"),
    [
        ("mail Accounts.Kochi@Example.COM now", "Accounts.Kochi@Example.COM", "accounts.kochi@example.com"),
        ("a.b+c_d@sub.example.co.in.", "a.b+c_d@sub.example.co.in", "a.b+c_d@sub.example.co.in"),
        ("<sales@example.in>", "sales@example.in", "sales@example.in"),
        ("mailto:sales@example.in", "sales@example.in", "sales@example.in"),
        ("sales@example.in.Please call", "sales@example.in", "sales@example.in"),
        ("ഇമെയിൽ sales@example.in ആണ്", "sales@example.in", "sales@example.in"),
        ("ഇമെയിൽsales@example.inലേക്ക്", "sales@example.in", "sales@example.in"),
        ("..sales@example.in", "sales@example.in", "sales@example.in"),
        ("sales＠example.in", "sales＠example.in", "sales@example.in"),
        ("x@xn--p1b6ci4b4b3a.xn--h2brj9c", "x@xn--p1b6ci4b4b3a.xn--h2brj9c", "x@xn--p1b6ci4b4b3a.xn--h2brj9c"),
    ],
)
def test_an_address_is_found_where_and_as_it_is_written(text: str, raw: str, value: str) -> None:
    (found,) = find_emails(text)
    assert (found.raw, found.value) == (raw, value)
    assert text[found.start : found.end] == raw


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "@",
            "a@",
            "@example.in",
            "a@b@c.com",
            "name@okaxis",
            "a@-x.com",
            "a@x.c",
            "a@x.1",
            "a..b@x.com",
            "a.@x.com",
        ),
        *("a" * 65 + "@x.com", "a@" + "x" * 64 + ".com", "a@" + "x." * 140 + "com"),
    ],
)
def test_what_is_not_an_address_is_not_found(text: str) -> None:
    assert find_emails(text) == []


def test_several_addresses_are_found_in_order() -> None:
    assert [f.value for f in find_emails("a@x.in,b@y.in; c@z.in")] == ["a@x.in", "b@y.in", "c@z.in"]


@given(st.text(alphabet="aZ1.@-_ ആ\u00a0＠", max_size=60))
def test_found_addresses_are_in_order_apart_and_true_to_the_text(text: str) -> None:
    end = 0
    for each in find_emails(text):
        assert end <= each.start < each.end <= len(text)
        assert text[each.start : each.end] == each.raw
        end = each.end
