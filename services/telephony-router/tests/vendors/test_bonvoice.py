"""Bonvoice: what proves its webhooks, what its legs mean, and a mid-ring question under the account's names."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from telephony_router.routing import Decision, Target
from telephony_router.signals import CallSignal
from telephony_router.vendors import VENDORS
from telephony_router.vendors.base import Account, BadRequest, Forbidden, RawRequest, check_options

BONVOICE = VENDORS["bonvoice"]
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
DECISION = Decision(
    action="dial",
    destinations=(
        Target(number="+919847000010", reason="owner", name="Desk"),
        Target(number="+919847000012", reason="did_default", name="Sales"),
    ),
    excluded=(),
    rule="owner",
    rung="redis",
    ring_seconds=20,
)


def account(*tokens: str, **options: str) -> Account:
    return Account(id=UUID(int=1), tenant=UUID(int=2), vendor="bonvoice", auth_tokens=tokens, options=options)


def request(hook: str = "status", options: dict[str, str] | None = None, **fields: Any) -> RawRequest:
    authorization = fields.pop("authorization", "")
    return RawRequest(
        method="POST",
        url_path=f"/v1/hooks/bonvoice/s/{hook}",
        query="",
        headers={"content-type": "application/json", "authorization": authorization},
        body=json.dumps(fields).encode(),
        bases=("https://calls.example.com",),
        hook=hook,
        options=options or {},
    )


def test_the_account_id_keeps_other_customers_out_and_proves_nothing() -> None:
    assert BONVOICE.authenticate(request(AccountID="77"), account(account_id="77"), NOW) == "path"
    assert BONVOICE.authenticate(request("ring"), account(account_id="77"), NOW) == "path"
    for wrong in ("78", None, {}):
        with pytest.raises(Forbidden, match="AccountID"):
            BONVOICE.authenticate(request(AccountID=wrong), account(account_id="77"), NOW)


@pytest.mark.parametrize(
    ("authorization", "proof"), [("Bearer new", "bearer"), ("Token old", "token"), ("bearer new", "bearer")]
)
def test_a_token_in_the_header_is_a_proof(authorization: str, proof: str) -> None:
    assert BONVOICE.authenticate(request(authorization=authorization), account("new", "old"), NOW) == proof


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Bearer ", "new", "Basic !", "Bearer é"])
def test_without_the_token_it_is_refused(authorization: str) -> None:
    with pytest.raises(Forbidden):
        BONVOICE.authenticate(request(authorization=authorization), account("new", "old"), NOW)


def test_the_same_status_with_another_event_id_is_the_same_status() -> None:
    one, two = (
        BONVOICE.parse(request(callID="bv1", Status="ANSWERED", Leg="B", eventID=event), "status")
        for event in ("evt-answered-dup-1", "evt-answered-dup-2")
    )
    assert one.identity(b"1", "r") == two.identity(b"2", "r")


def test_the_two_legs_of_a_call_are_told_apart() -> None:
    a, b = (BONVOICE.parse(request(callID="bv1", Status="ANSWERED", Leg=leg), "status") for leg in "AB")
    assert (a.attempt, b.attempt) == (False, True)
    assert a.identity(b"", "r") != b.identity(b"", "r")


@pytest.mark.parametrize("call_type", ["Support", "2", 2])
def test_what_call_type_says_changes_nothing(call_type: object) -> None:
    assert BONVOICE.parse(request(callID="bv1", Status="ANSWERED", callType=call_type), "status").status == "answered"


def test_a_status_must_have_one() -> None:
    with pytest.raises(BadRequest, match="Status"):
        BONVOICE.parse(request(callID="bv1"), "status")


def answer(**options: str) -> Any:
    named = {name.replace("__", "."): value for name, value in options.items()}
    check_options(BONVOICE, named)
    ring = CallSignal(kind="ring", vendor="bonvoice", call_id="bv1")
    return json.loads(BONVOICE.render(DECISION, ring, request("ring", named)).body)


def test_the_answer_is_in_the_accounts_words() -> None:
    told = answer(
        out__call_id="data.callID",
        out__action="status",
        out__dial="1",
        out__destinations="data.agents",
        out__number="mobile",
        out__name="-",
        out__reason="-",
        out__ring_seconds="data.timeout",
        out__excluded="-",
    )
    assert told == {
        "status": "1",
        "data": {"callID": "bv1", "agents": [{"mobile": "+919847000010"}, {"mobile": "+919847000012"}], "timeout": 20},
    }


def test_destinations_may_be_bare_numbers_or_one_text() -> None:
    assert answer(out__style="numbers")["destinations"] == ["+919847000010", "+919847000012"]
    assert answer(out__style="text")["destinations"] == "+919847000010,+919847000012"


def test_names_that_lead_into_each_other_break_nothing() -> None:
    assert answer(out__call_id="a", out__action="a.b")["a"] == {"b": "dial"}


def test_a_question_in_the_accounts_words_is_read_and_what_is_missing_is_nothing() -> None:
    options = {"in.call_id": "call.id", "in.from": "caller"}
    signal = BONVOICE.parse(request("ring", options, call={"id": 7}, caller="09847000001"), "ring")
    assert (signal.call_id, signal.caller_raw, signal.did_raw) == ("7", "09847000001", "")
    assert BONVOICE.parse(request("ring", options, call="flat"), "ring").call_id == ""
    with pytest.raises(BadRequest):
        BONVOICE.parse(request("ring", options, call={"id": {}}), "ring")
