"""Exotel: what it asks by status code, how its kinds of webhooks are told apart, what its times and words mean."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from telephony_router.routing import Decision, Target
from telephony_router.signals import CallSignal
from telephony_router.vendors import VENDORS
from telephony_router.vendors.base import BadRequest, RawRequest

EXOTEL = VENDORS["exotel"]
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
RING = CallSignal(kind="ring", vendor="exotel", call_id="ex1")


def request(hook: str = "status", *, method: str = "GET", **fields: str) -> RawRequest:
    return RawRequest(
        method=method,
        url_path=f"/v1/hooks/exotel/s/{hook}",
        query=urlencode(fields),
        headers={},
        body=b"",
        bases=("https://calls.example.com",),
        hook=hook,
    )


def dial(*numbers: str, ring_seconds: int = 25) -> Decision:
    targets = tuple(Target(number=number, reason="owner") for number in numbers)
    action = "dial" if numbers else "reject"
    return Decision(
        action=action,  # type: ignore[arg-type]
        destinations=targets,
        excluded=(),
        rule="owner",
        rung="redis",
        ring_seconds=ring_seconds,
    )


@pytest.mark.parametrize(("numbers", "status"), [(("+919847000010",), 200), ((), 302)])
def test_passthru_is_answered_by_the_status_code_alone(numbers: tuple[str, ...], status: int) -> None:
    assert EXOTEL.render(dial(*numbers), RING, request("passthru")).status == status


def test_nobody_to_ring_is_an_empty_list_for_the_applet_to_end_with() -> None:
    response = EXOTEL.render(dial(), RING, request("connect"))
    assert response.status == 200
    assert json.loads(response.body)["destination"] == {"numbers": []}


@pytest.mark.parametrize(("decided", "sent"), [(5, 20), (31, 31), (120, 75)])
def test_ringing_stays_within_what_exotel_takes(decided: int, sent: int) -> None:
    response = EXOTEL.render(dial("+919847000010", ring_seconds=decided), RING, request("connect"))
    assert json.loads(response.body)["max_ringing_duration"] == sent


def test_the_exophone_is_an_option_of_the_account() -> None:
    asked = replace(request("connect"), options={"exophone": "04842000100", "record": "true"})
    answer = json.loads(EXOTEL.render(dial("+919847000010"), RING, asked).body)
    assert (answer["outgoing_phone_number"], answer["recording_channels"]) == ("04842000100", "dual")
    assert answer["dial_passthru_event_url"] == "https://calls.example.com/v1/hooks/exotel/s/status"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_get_and_post_say_the_same(method: str) -> None:
    assert EXOTEL.parse(request("connect", method=method, CallSid="ex1", From="1"), "ring").call_id == "ex1"


def test_a_ring_must_name_its_call() -> None:
    with pytest.raises(BadRequest, match="CallSid"):
        EXOTEL.parse(request("connect", From="09847000001"), "ring")


@pytest.mark.parametrize(
    ("call_type", "status"),
    [
        ("call-attempt", "ended"),
        ("completed", "completed"),
        ("client-hangup", "cancelled"),
        ("incomplete", "missed"),
        ("voicemail", "missed"),
        ("call", "ended"),
        ("something-new", "unknown"),
    ],
)
def test_call_types_mean_what_they_have_meant_since_2013(call_type: str, status: str) -> None:
    assert EXOTEL.parse(request(CallSid="ex1", CallType=call_type), "status").status == status


def test_the_end_is_told_by_its_facts_without_an_event_type() -> None:
    signal = EXOTEL.parse(
        request(CallSid="ex1", CallStatus="in-progress", DialCallStatus="completed", DialWhomNumber="09847000010"),
        "status",
    )
    assert (signal.status, signal.attempt, signal.agent_raw) == ("completed", False, "09847000010")


def test_who_answered_is_who_the_end_names() -> None:
    signal = EXOTEL.parse(
        request(CallSid="ex1", EventType="Terminal", CallStatus="completed", DialWhomNumber="09847000012"), "status"
    )
    assert (signal.status, signal.attempt, signal.agent_raw) == ("completed", False, "09847000012")


def test_a_status_of_another_kind_of_webhook_is_not_a_repetition() -> None:
    passthru = EXOTEL.parse(request("passthru", CallSid="ex1", DialCallStatus="completed"), "ring")
    callback = EXOTEL.parse(request(CallSid="ex1", Status="completed", EventType="terminal"), "status")
    again = EXOTEL.parse(request(CallSid="ex1", Status="completed", EventType="terminal", Extra="1"), "status")
    assert passthru.identity(b"", "r") != callback.identity(b"", "r") == again.identity(b"", "r")


def test_a_flow_that_ran_to_its_end_without_a_talk_is_not_a_talk() -> None:
    assert (
        EXOTEL.parse(request(CallSid="ex1", Status="completed", ConversationDuration="0"), "status").status == "ended"
    )
    assert (
        EXOTEL.parse(request(CallSid="ex1", Status="completed", ConversationDuration="9"), "status").status
        == "completed"
    )


@pytest.mark.parametrize("end", ["1970-01-01 05:30:00", "0000-00-00 00:00:00", ""])
def test_an_end_that_is_none_is_no_time(end: str) -> None:
    assert EXOTEL.parse(request(CallSid="ex1", Status="completed", EndTime=end), "status").at is None


@pytest.mark.parametrize("stamp", ["2026-03-04 12:00:00", "Wed, 04 Mar 2026 12:00:00", "2026-03-04T12:00:00+05:30"])
def test_times_without_a_zone_are_indian(stamp: str) -> None:
    assert EXOTEL.parse(request(CallSid="ex1", Status="completed", DateUpdated=stamp), "status").at == NOW


def test_a_status_without_a_call_is_taken() -> None:
    assert EXOTEL.parse(request(Status="completed"), "status").call_id == ""
