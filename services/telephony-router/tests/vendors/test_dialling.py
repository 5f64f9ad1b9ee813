"""What vendors' APIs are asked and what their answers mean, without sending anything."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from telephony_router.vendor_api import check_access, may_ask
from telephony_router.vendors import VENDORS
from telephony_router.vendors.base import RawRequest
from telephony_router.vendors.dialling import CANNOT_DIAL, DIALLERS
from telephony_router.vendors.dialling.base import Access, ApiAnswer, Order, origin

REF = "tl" + "0a" * 16
ORDER = Order(ref=REF, agent="+919847000010", customer="+919847000001", did="+914842000100", reference="lead-7")
HOOKS = "https://calls.example.com/v1/hooks/x/secret"
OPTIONS = {
    "generic": {"api_base": "https://pbx.example.com", "status_path": "/calls/{call_id}"},
    "twilio": {"account_sid": "AC1", "caller_id": "+914842000100"},
    "exotel": {"account_sid": "tiles1", "caller_id": "+914842000100"},
    "bonvoice": {"caller_id": "+914842000100", "channel_id": "7"},
    "plivo": {"auth_id": "MA1", "caller_id": "+914842000100"},
}
GARBAGE = [b"", b"<html>", b"[]", b"null", b'"x"', b"{", b"\xff", b"{}", b"[" * 5000]


def access(name: str, **options: str) -> Access:
    dialler = DIALLERS[name]
    secrets = {each: HOOKS if each == "webhooks" else f"{each}-value" for each in dialler.secrets}
    base = dialler.bases[0] if dialler.bases else OPTIONS[name]["api_base"]
    return Access(base=base, options={**OPTIONS[name], **options}, secrets=secrets)


def answer(status: int, value: Any = None) -> ApiAnswer:
    return ApiAnswer(status=status, body=value if isinstance(value, bytes) else json.dumps(value).encode())


def test_every_vendor_can_dial_or_says_why_not() -> None:
    assert DIALLERS.keys() | CANNOT_DIAL.keys() == VENDORS.keys()
    assert not DIALLERS.keys() & CANNOT_DIAL.keys()
    assert all(len(why) > 20 for why in CANNOT_DIAL.values())


@pytest.mark.parametrize("name", DIALLERS)
def test_an_order_goes_to_the_vendors_host_with_our_name_and_no_secret_in_the_address(name: str) -> None:
    dialler = DIALLERS[name]
    assert dialler.name == name
    asked = dialler.dial(ORDER, access(name), "the-token")
    assert origin(asked.url) == origin(access(name).base)
    assert asked.url.startswith("https://")
    body = asked.body.decode()
    for text in (REF, "9847000010", "9847000001", "4842000100"):
        assert text in body
    for secret in (*access(name).secrets.values(), "the-token"):
        assert secret not in asked.url
        assert secret not in repr(asked)
        assert secret not in repr(access(name))


@pytest.mark.parametrize("name", DIALLERS)
def test_what_a_status_means_is_the_same_for_every_vendor(name: str) -> None:
    dialled = DIALLERS[name].dialled
    for status in (500, 502, 503, 504):
        found = dialled(answer(status, {}))
        assert (found.kind, found.healthy) == ("unknown", False)
    limited = dialled(answer(429, {}))
    assert (limited.kind, limited.retryable, limited.healthy) == ("refused", True, False)
    assert (dialled(answer(401, {})).kind, dialled(answer(401, {})).healthy) == ("refused", False)
    assert dialled(answer(401, {"code": 20003, "RestException": {"Code": 34000}})).code == "unauthorised"
    wrong = dialled(answer(400, {}))
    assert (wrong.kind, wrong.retryable, wrong.healthy) == ("refused", False, True)


@pytest.mark.parametrize("name", DIALLERS)
@pytest.mark.parametrize("body", GARBAGE)
def test_an_answer_that_nobody_can_read_is_an_unknown_outcome_and_no_status(name: str, body: bytes) -> None:
    dialler = DIALLERS[name]
    assert dialler.dialled(answer(200, body)).kind == "unknown"
    for other in (body, b"{}"):
        assert dialler.told("c1", REF, [answer(200, body), answer(200, other)]) is None
        assert dialler.told("c1", REF, [answer(404, body), answer(404, other)]) is None


@pytest.mark.parametrize("name", DIALLERS)
def test_the_answer_about_another_call_says_nothing(name: str) -> None:
    others = {
        "exotel": {"Call": {"Sid": "other", "Status": "completed"}},
        "twilio": {"sid": "other", "status": "busy"},
        "plivo": {"call_uuid": "other", "end_time": "2026-03-04 12:00:00+05:30", "objects": []},
        "generic": {"call_id": "other", "status": "completed"},
        "bonvoice": {"status": "0", "data": {"outbound": {"Status": "ANSWERED"}}},
    }
    answers = [answer(200, others[name]), answer(200, {"objects": [], "calls": []})]
    assert DIALLERS[name].told("c1", REF, answers) is None


TOLD: list[tuple[str, list[ApiAnswer], str, int | None]] = [
    ("exotel", [answer(200, {"Call": {"Sid": "c1", "Status": "completed", "Direction": "outbound-api",
                                      "EndTime": "2026-03-04 12:01:00", "Details": {"ConversationDuration": 42}}})],
     "completed", 42),
    ("exotel", [answer(200, {"Call": {"Sid": "c1", "Status": "completed", "Details": {"ConversationDuration": 0}}})],
     "ended", 0),
    ("exotel", [answer(200, {"Call": {"Sid": "c1", "Status": "completed"}})], "ended", None),
    ("exotel", [answer(200, {"Call": {"Sid": "c1", "Status": "in-progress"}})], "answered", None),
    ("exotel", [answer(200, {"Call": {"Sid": "c1", "Status": "teleported"}})], "unknown", None),
    ("twilio", [answer(200, {"sid": "c1", "status": "completed", "direction": "inbound", "duration": "60",
                             "end_time": "Wed, 04 Mar 2026 06:31:00 +0000"}),
                answer(200, {"calls": [
                    {"sid": "c2", "status": "no-answer", "duration": "0"},
                    {"sid": "c3", "status": "completed", "duration": "42", "to": "+919847000010"}]})],
     "completed", 42),
    ("twilio", [answer(200, {"sid": "c1", "status": "completed", "direction": "inbound", "duration": "60"}),
                answer(200, {"calls": []})], "ended", None),
    ("twilio", [answer(200, {"sid": "c1", "status": "in-progress", "direction": "inbound"})], "ringing", None),
    ("twilio", [answer(200, {"sid": "c1", "status": "no-answer", "direction": "outbound-api"})], "missed", None),
    ("plivo", [answer(200, {"call_uuid": "c1", "end_time": "2026-03-04 12:01:00+05:30", "call_direction": "inbound"}),
               answer(200, {"objects": [{"call_duration": 42, "to_number": "919847000010"}]})], "completed", 42),
    ("plivo", [answer(200, {"call_uuid": "c1", "end_time": "2026-03-04 12:01:00+05:30"}),
               answer(200, {"objects": []})], "ended", None),
    ("plivo", [answer(404, {}), answer(200, {"call_uuid": "c1", "call_status": "in-progress"})], "ringing", None),
    ("bonvoice", [answer(200, {"status": "1", "data": {
        "outbound": {"callID": "c1", "Leg": "B", "Status": "ANSWERED", "CallDuration": "42",
                     "EndTime": "2026-03-04 12:01:00", "DestinationNumber": "09847000001"},
        "callbacks": [{"callBackParentID": "p1"}]}})], "completed", 42),
    ("generic", [answer(200, {"call_id": "c1", "status": "busy"})], "busy", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answers", "status", "seconds"), TOLD)
def test_what_a_vendor_says_of_a_call_is_read_and_nothing_is_made_up(
    name: str, answers: list[ApiAnswer], status: str, seconds: int | None
) -> None:
    signal = DIALLERS[name].told("c1", "", answers)
    assert signal is not None
    assert (signal.kind, signal.call_id, signal.status, signal.duration_seconds) == ("status", "c1", status, seconds)


@pytest.mark.parametrize("name", ["twilio", "plivo"])
def test_a_call_that_ran_to_its_end_is_not_told_without_knowing_who_talked(name: str) -> None:
    done = {"twilio": {"sid": "c1", "status": "completed"}, "plivo": {"call_uuid": "c1", "end_time": "2026-03-04"}}
    more = DIALLERS[name].ask_more("c1", answer(200, done[name]), access(name))
    assert more is not None
    assert "arent" in more.url
    for second in ([], [answer(500, {})], [answer(200, b"x")]):
        assert DIALLERS[name].told("c1", "", [answer(200, done[name]), *second]) is None


@pytest.mark.parametrize("name", DIALLERS)
def test_a_call_is_asked_for_by_what_the_vendor_knows_it_by(name: str) -> None:
    by_id = DIALLERS[name].ask("c/1", "", access(name), "t")
    by_ref = DIALLERS[name].ask(
        "", REF, access(name, **({"status_path": "/o/{order}"} if name == "generic" else {})), "t"
    )
    if name == "bonvoice":
        assert by_id is None
    else:
        assert by_id is not None
        assert "c%2F1" in by_id.url
    assert (by_ref is not None) == (name in ("bonvoice", "generic"))


@pytest.mark.parametrize(
    ("form", "wanted"), [("e164", "+919847000001"), ("plain", "919847000001"), ("national", "09847000001")]
)
def test_numbers_are_written_as_the_account_wants_them(form: str, wanted: str) -> None:
    asked = DIALLERS["exotel"].dial(ORDER, access("exotel", numbers=form), "")
    assert dict(parse_qsl(asked.body.decode()))["To"] == wanted


def test_exotels_10717_is_whom_not_to_disturb() -> None:
    refused = answer(400, {"RestException": {"Status": 400, "Code": "10717", "Message": "DND"}})
    found = DIALLERS["exotel"].dialled(refused)
    assert (found.kind, found.code, found.retryable, found.healthy) == ("refused", "dnd_refused", False, True)


def hook(name: str, url: str, body: str) -> RawRequest:
    parts = urlsplit(url)
    return RawRequest(
        method="POST", url_path=parts.path, query=parts.query, body=body.encode(),
        headers={"content-type": "application/x-www-form-urlencoded"},
        bases=("https://calls.example.com",), hook=parts.path.rpartition("/")[2],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("form", "status", "attempt"),
    [
        ("CallSid=CA1&CallStatus=in-progress&Direction=outbound-api&To=%2B919847000010", "ringing", False),
        ("CallSid=CA2&ParentCallSid=CA1&CallStatus=in-progress&To=%2B919847000001", "answered", True),
        ("CallSid=CA1&CallStatus=completed&Direction=outbound-api", "ended", False),
        ("CallSid=CA1&CallStatus=no-answer&Direction=outbound-api", "missed", False),
        ("CallSid=CA1&DialCallStatus=completed&DialCallDuration=42", "completed", False),
    ],
)
def test_twilio_tells_of_our_calls_that_somebody_talked_only_when_the_customer_did(
    form: str, status: str, attempt: bool
) -> None:
    asked = DIALLERS["twilio"].dial(ORDER, access("twilio"), "")
    url = dict(parse_qsl(asked.body.decode()))["StatusCallback"]
    signal = VENDORS["twilio"].parse(hook("twilio", url, form), "status")
    assert (signal.status, signal.attempt, signal.correlation) == (status, attempt, REF)
    assert (signal.call_id, signal.direction, signal.agent_raw) == ("CA1", "outbound", "")


def test_twilios_bridge_dials_the_customer_from_our_line_and_escapes_what_it_holds() -> None:
    asked = DIALLERS["twilio"].dial(ORDER, access("twilio"), "")
    bridge = parse_qs(asked.body.decode())["Twiml"][0]
    assert ">+919847000001</Number>" in bridge
    assert 'callerId="+914842000100"' in bridge
    assert re.search(rf'action="[^"]*\?order={REF}"', bridge)


def test_plivo_puts_the_agent_through_to_whom_the_signed_address_names() -> None:
    url = json.loads(DIALLERS["plivo"].dial(ORDER, access("plivo"), "").body)["answer_url"]
    request = hook("plivo", url, "CallUUID=c1&CallStatus=in-progress&Direction=outbound&To=919847000010")
    signal = VENDORS["plivo"].parse(request, "status")
    assert (signal.status, signal.correlation, signal.direction) == ("ringing", REF, "outbound")
    answered = VENDORS["plivo"].acknowledge(signal, request).body.decode()
    assert "<Number>+919847000001</Number>" in answered
    assert 'callerId="+914842000100"' in answered
    nobody = hook("plivo", url.replace("%2B919847000001", "rm%20-rf"), "CallUUID=c1&CallStatus=in-progress")
    assert b"<Hangup/>" in VENDORS["plivo"].acknowledge(signal, nobody).body


@pytest.mark.parametrize(("leg", "status"), [("A", "ringing"), ("B", "answered")])
def test_of_a_call_that_we_asked_for_bonvoices_first_leg_is_the_agents(leg: str, status: str) -> None:
    values = {"callID": "b1", "eventID": REF, "Status": "ANSWERED", "Leg": leg, "Direction": "Outbound"}
    request = RawRequest(
        method="POST", url_path="/x", query="", headers={"content-type": "application/json"},
        body=json.dumps(values).encode(), bases=("",), hook="status",
    )  # fmt: skip
    signal = VENDORS["bonvoice"].parse(request, "status")
    assert (signal.status, signal.correlation) == (status, REF)


@pytest.mark.parametrize("value", ["", "tl", REF[:-1], REF.upper(), "x" + REF, REF + "0", "customer 7"])
def test_a_field_that_is_somebody_elses_names_no_order_of_ours(value: str) -> None:
    form = f"CallSid=ex1&Status=completed&CustomField={value}"
    assert VENDORS["exotel"].parse(hook("exotel", "/v1/hooks/exotel/s/status", form), "status").correlation == ""


@pytest.mark.parametrize(
    ("name", "options", "secrets", "said"),
    [
        ("exotel", {"account_sid": "x"}, {}, "caller_id"),
        ("exotel", {"nonsense": "x"}, {}, "has no option nonsense"),
        ("exotel", OPTIONS["exotel"], {"api_key": "x"}, "api_token"),
        ("generic", {"api_base": "http://pbx.example.com"}, {"token": "x"}, "https"),
        ("generic", {"api_base": "https://user@pbx.example.com"}, {"token": "x"}, "api_base"),
        ("bonvoice", {**OPTIONS["bonvoice"], "attempts": "²"}, {}, "attempts is a number"),
        ("bonvoice", {**OPTIONS["bonvoice"], "api_base": "https://evil.example.com"},
         {"username": "u", "password": "p"}, "api_base"),
    ],
)  # fmt: skip
def test_an_account_that_could_not_dial_is_refused_when_it_is_set_up(
    name: str, options: dict[str, str], secrets: dict[str, str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        check_access(DIALLERS[name], options, secrets, [])


@pytest.mark.parametrize(
    ("base", "allowed"),
    [
        ("https://api.in.exotel.com", True),
        ("https://API.exotel.com:443", True),
        ("http://api.exotel.com", False),
        ("https://api.exotel.com.evil.example", False),
        ("https://api.exotel.com:8443", False),
        ("http://127.0.0.1:9", True),
        ("http://127.0.0.1:10", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_only_known_hosts_are_asked(base: str, allowed: bool) -> None:
    assert may_ask(DIALLERS["exotel"], base, {origin("http://127.0.0.1:9")}) is allowed
