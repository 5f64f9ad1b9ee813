"""Plivo: the V3 signature, and one number after the other."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlencode
from uuid import UUID

import pytest

from telephony_router.vendors import VENDORS
from telephony_router.vendors.base import Account, Forbidden, RawRequest
from telephony_router.vendors.plivo import signature

PLIVO = VENDORS["plivo"]
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
TOKEN, NONCE = "my_auth_token", "12345"
FORM = {"To": "914842000100", "From": "919847000001", "CallUUID": "pl1"}
# Made with openssl over the text that Plivo's own SDK would put together.
POSTED = "EhRPB3bQgOhwiWiX34xmUhetlPiZ4KZXopxQiOeqfIc="
POSTED_WITH_QUERY = "jS7eZXr9BoSWGziLAjef/wDjQGD+cLwIj4awtmCeR5c="
GOTTEN = "72LIxHJGGW8ukmsfvE17c+JWYHeZQi0nR/oCylOEXRI="
EMPTY = "EmL4+9MMEmxpzTvxx3bXWDo8yzTQ3Sk4FceXfPLJ+R8="


def request(
    header: str, hook: str = "answer", *, form: dict[str, str] | None = None, query: str = "", method: str = "POST"
) -> RawRequest:
    return RawRequest(
        method=method,
        url_path=f"/v1/hooks/plivo/s/{hook}",
        query=query,
        headers={
            "x-plivo-signature-v3": header,
            "x-plivo-signature-v3-nonce": NONCE,
            "content-type": "application/x-www-form-urlencoded",
        },
        body=urlencode(form or {}).encode(),
        bases=("https://calls.example.com",),
        hook=hook,
    )


def check(raw: RawRequest, *tokens: str) -> str:
    account = Account(id=UUID(int=1), tenant=UUID(int=2), vendor="plivo", auth_tokens=tokens or (TOKEN,))
    return PLIVO.authenticate(raw, account, NOW)


def test_the_signatures_of_forms_queries_and_both_hold() -> None:
    assert check(request(POSTED, form=FORM)) == "v3"
    assert check(request(POSTED_WITH_QUERY, "next", form={"DialStatus": "no-answer", "CallUUID": "pl1"}, query="n=1"))
    assert check(request(GOTTEN, query=urlencode(FORM), method="GET"))
    assert check(request(EMPTY, "status"))


def test_one_of_several_signatures_is_enough_and_either_living_token_signs() -> None:
    assert check(request(f"bm90aGluZw==, {POSTED}", form=FORM)) == "v3"
    assert check(request(POSTED, form=FORM), "new", TOKEN) == "v3"
    main = replace(
        request("", form=FORM), headers={"x-plivo-signature-ma-v3": POSTED, "x-plivo-signature-v3-nonce": NONCE}
    )
    assert check(main) == "v3"


def test_the_default_port_is_the_senders_to_name() -> None:
    asked = request(POSTED, form=FORM)
    assert check(replace(asked, bases=("https://calls.example.com:443",))) == "v3"


def test_a_repeated_parameter_is_signed_with_its_values_sorted() -> None:
    pairs = [("a", "2"), ("a", "1"), ("b", "3")]
    address = "https://x/y"
    assert signature(TOKEN, "POST", address, [], pairs, NONCE) == signature(
        TOKEN, "POST", address, [], pairs[::-1], NONCE
    )


@pytest.mark.parametrize(
    "raw",
    [
        request("", form=FORM),
        request("é", form=FORM),
        request(POSTED, form={**FORM, "From": "919847000002"}),
        request(POSTED, "status", form=FORM),
        request(POSTED, form=FORM, query="n=1"),
        request(GOTTEN, query=urlencode({**FORM, "x": "1"}), method="GET"),
        replace(request(POSTED, form=FORM), headers={"x-plivo-signature-v3": POSTED}),
        replace(
            request(POSTED, form=FORM), headers={"x-plivo-signature-v3": POSTED, "x-plivo-signature-v3-nonce": "54321"}
        ),
        request(POSTED, form={f"p{number}": "1" for number in range(500)}),
    ],
)
def test_a_wrong_or_missing_signature_is_refused(raw: RawRequest) -> None:
    with pytest.raises(Forbidden):
        check(raw)


def test_an_agents_leg_that_ended_without_a_talk_was_missed() -> None:
    form = {"CallUUID": "pl1", "DialALegUUID": "pl1", "DialBLegUUID": "pl2", "DialBLegStatus": "hangup"}
    assert PLIVO.parse(request("", "status", form={**form, "DialBLegDuration": "0"}), "status").status == "missed"
    assert PLIVO.parse(request("", "status", form={**form, "DialBLegDuration": "9"}), "status").status == "completed"
