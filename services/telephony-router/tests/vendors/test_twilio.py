from __future__ import annotations

import dataclasses
import hashlib
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from urllib.parse import urlencode
from uuid import UUID

import pytest

from telephony_router.routing import Decision, Target
from telephony_router.signals import CallSignal
from telephony_router.vendors import VENDORS
from telephony_router.vendors.base import Account, BadRequest, Forbidden, RawRequest
from telephony_router.vendors.twilio import signature

TWILIO = VENDORS["twilio"]
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
TOKEN = "12345"
# The vendor's own reference request; its numbers are fictitious.
PARAMETERS = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
    ("Caller", "+14158675309"),
]
PATH, QUERY = "/myapp.php", "foo=1&bar=2"
URL = f"https://mycompany.com{PATH}?{QUERY}"


def request(
    header: str,
    *,
    base: str = "https://mycompany.com",
    query: str = QUERY,
    parameters: list[tuple[str, str]] | None = None,
    body: bytes | None = None,
    method: str = "POST",
) -> RawRequest:
    form = urlencode(PARAMETERS if parameters is None else parameters).encode()
    return RawRequest(
        method=method,
        url_path=PATH,
        query=query,
        headers={"x-twilio-signature": header, "content-type": "application/x-www-form-urlencoded"},
        body=form if body is None else body,
        bases=(base,),
    )


def check(raw: RawRequest, *tokens: str) -> str:
    account = Account(id=UUID(int=1), tenant=UUID(int=2), vendor="twilio", auth_tokens=tokens or (TOKEN,))
    return TWILIO.authenticate(raw, account, NOW)


@pytest.mark.parametrize(
    ("base", "header"),
    [
        ("https://mycompany.com", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("https://mycompany.com:443", "kvajT1Ptam85bY51eRf/AJRuM3w="),
        ("https://mycompany.com", "kvajT1Ptam85bY51eRf/AJRuM3w="),
        ("http://mycompany.com:1234", "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
        ("http://mycompany.com", "0ZXoZLH/DfblKGATFgpif+LLRf4="),
        ("https://mycompany.com:443", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
    ],
)
def test_the_reference_signatures_hold_with_and_without_the_default_port(base: str, header: str) -> None:
    assert check(request(header, base=base)) == "as_sent"


def test_repeated_parameters_are_signed_once_each_and_sorted() -> None:
    repeated = [*PARAMETERS, ("MediaUrl", "https://example.com/2"), ("MediaUrl", "https://example.com/1")]
    header = signature(TOKEN, URL, repeated)
    assert header == signature(TOKEN, URL, [*reversed(repeated), repeated[-1]])
    assert check(request(header, parameters=[*repeated, repeated[-1]])) == "as_sent"


def test_a_json_body_is_proven_by_its_hash_in_the_query() -> None:
    body = b'{"property": "value", "boolean": true}'
    query = f"{QUERY}&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
    assert hashlib.sha256(body).hexdigest() in query
    header = "a9nBmqA0ju/hNViExpshrM61xv4="
    assert check(request(header, query=query, body=body)) == "as_sent"
    with pytest.raises(Forbidden, match="bodySHA256"):
        check(request(header, query=query, body=body + b" "))


def test_a_get_is_signed_by_its_address_alone() -> None:
    header = signature(TOKEN, URL, [])
    assert check(request(header, method="GET", body=b"")) == "as_sent"


@pytest.mark.parametrize("token", ["new", "old"])
def test_a_token_can_be_replaced_while_the_other_still_lives(token: str) -> None:
    assert check(request(signature(token, URL, PARAMETERS)), "new", "old") == "as_sent"


@pytest.mark.parametrize("late", ["CallToken", "StirVerstat"])
def test_parameters_that_may_be_added_after_signing_are_accepted_either_way(late: str) -> None:
    sent = [*PARAMETERS, (late, "TN-Validation-Passed-A")]
    assert check(request(signature(TOKEN, URL, PARAMETERS), parameters=sent)) == "without_late_parameters"
    assert check(request(signature(TOKEN, URL, sent), parameters=sent)) == "as_sent"


@pytest.mark.parametrize("header", ["", "RSOYDt4T1cUTdK1PDd93/VVr8B9=", "é", "x" * 5000])
def test_a_wrong_signature_is_refused(header: str) -> None:
    with pytest.raises(Forbidden):
        check(request(header))


@pytest.mark.parametrize("changed", [("Digits", "9999"), ("Extra", "1")])
def test_a_changed_parameter_is_refused(changed: tuple[str, str]) -> None:
    with pytest.raises(Forbidden):
        check(request(signature(TOKEN, URL, PARAMETERS), parameters=[*PARAMETERS[2:], changed]))


def test_blank_values_count() -> None:
    sent = [*PARAMETERS, ("CallerName", "")]
    assert check(request(signature(TOKEN, URL, sent), parameters=sent)) == "as_sent"


def test_more_parameters_than_anyone_sends_are_refused() -> None:
    with pytest.raises(Forbidden):
        check(request("x", parameters=[(f"p{i}", "1") for i in range(500)]))
    with pytest.raises(BadRequest):
        TWILIO.parse(request("", parameters=[(f"p{i}", "1") for i in range(500)]), "ring")


def dial(*numbers: str) -> Decision:
    targets = tuple(Target(number=number, reason="owner") for number in numbers)
    return Decision(action="dial", destinations=targets, excluded=(), rule="owner", rung="redis", ring_seconds=20)


def test_the_answer_dials_in_order_and_reports_back_on_every_attempt() -> None:
    asked = dataclasses.replace(
        request(""), url_path="/v1/hooks/twilio/s&<b/voice", bases=("https://calls.example.com",)
    )
    hook = "https://calls.example.com/v1/hooks/twilio/s&<b"
    ring = CallSignal(kind="ring", vendor="twilio", call_id="CA1")
    response = TWILIO.render(dial("+919847000010", "+919847000011"), ring, asked)
    assert response.content_type == "text/xml"
    root = ET.fromstring(response.body)  # noqa: S314 - our own answer
    verb = root.find("Dial")
    assert verb is not None
    assert (verb.get("timeout"), verb.get("sequential"), verb.get("action")) == ("20", "true", f"{hook}/status")
    assert [number.text for number in verb] == ["+919847000010", "+919847000011"]
    assert {number.get("statusCallback") for number in verb} == {f"{hook}/status"}


def test_with_nobody_to_dial_the_call_is_rejected() -> None:
    decision = Decision(action="reject", destinations=(), excluded=(), rule="blocked", rung="redis")
    response = TWILIO.render(decision, CallSignal(kind="ring", vendor="twilio", call_id="CA1"), request(""))
    assert ET.fromstring(response.body).find("Reject") is not None  # noqa: S314 - our own answer


def test_a_stored_status_is_answered_with_nothing_more_to_do() -> None:
    body = TWILIO.acknowledge(CallSignal(kind="status", vendor="twilio", call_id="CA1"), request("")).body
    assert len(ET.fromstring(body)) == 0  # noqa: S314 - our own answer
