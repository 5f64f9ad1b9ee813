"""Secrets shown in headers, by vendors that sign nothing."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from uuid import UUID

import pytest

from telephony_router.vendors import VENDORS
from telephony_router.vendors.base import Account, Forbidden, RawRequest, is_proven

NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
UNSIGNED = ["exotel", "bonvoice", "myoperator", "smartflo", "knowlarity", "freeswitch", "kamailio"]


def check(vendor: str, headers: dict[str, str], *tokens: str) -> str:
    account = Account(id=UUID(int=1), tenant=UUID(int=2), vendor=vendor, auth_tokens=tokens)
    request = RawRequest(method="POST", url_path="/", query="", headers=headers, body=b"", bases=("https://x",))
    return VENDORS[vendor].authenticate(request, account, NOW)


def basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def test_these_are_the_vendors_that_sign_nothing() -> None:
    assert {name for name, vendor in VENDORS.items() if not vendor.needs_token} == {*UNSIGNED, "generic"}


@pytest.mark.parametrize("vendor", UNSIGNED)
def test_without_a_token_the_path_is_all_there_is_and_confirms_nothing(vendor: str) -> None:
    assert not is_proven(check(vendor, {}))


@pytest.mark.parametrize("vendor", UNSIGNED)
def test_with_a_token_it_must_be_shown(vendor: str) -> None:
    assert is_proven(check(vendor, basic("user:password"), "other", "user:password"))
    for headers in ({}, basic("user:wrong"), {"authorization": "Basic é"}, {"authorization": "user:password"}):
        with pytest.raises(Forbidden):
            check(vendor, headers, "user:password")


@pytest.mark.parametrize(
    ("vendor", "header"),
    [
        ("myoperator", "x-myop-signature"),
        ("smartflo", "x-api-key"),
        ("knowlarity", "x-api-key"),
        ("kamailio", "x-api-key"),
    ],
)
def test_the_vendors_own_header_will_do(vendor: str, header: str) -> None:
    assert check(vendor, {header: "secret"}, "secret") == "header"
    with pytest.raises(Forbidden):
        check(vendor, {header: "wrong"}, "secret")
    with pytest.raises(Forbidden):
        check(vendor, {"x-other": "secret"}, "secret")
