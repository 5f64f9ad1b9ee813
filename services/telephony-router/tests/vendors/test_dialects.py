"""One decision in every dialect, understood again by a small reader of that dialect: whom, in which order, how long."""

from __future__ import annotations

import dataclasses
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from telephony_router.routing import Decision, Exclusion, Target
from telephony_router.signals import CallSignal
from telephony_router.vendors import VENDORS
from telephony_router.vendors.base import RawRequest, Response

NUMBERS = ("+919847000010", "+919847000012")
OPTIONS = {"record": "true"}


@dataclass(frozen=True)
class Understood:
    numbers: tuple[str, ...]
    ring_seconds: int | None
    """None where the dialect cannot say it."""
    record: bool | None


def decision(*numbers: str, action: Any = "dial") -> Decision:
    targets = tuple(Target(number=number, reason="owner", name='<Desk> & "Sons"') for number in numbers)
    left_out = Exclusion(staff_id="s", rule="owner", reason="on_leave", name="Front desk")
    return Decision(
        action=action, destinations=targets, excluded=(left_out,), rule="owner", rung="redis", ring_seconds=31
    )


def request(hook: str, options: dict[str, str], query: str = "") -> RawRequest:
    return RawRequest(
        method="POST",
        url_path=f"/v1/hooks/x/secret/{hook}",
        query=query,
        headers={},
        body=b"",
        bases=("https://calls.example.com",),
        hook=hook,
        options=options,
    )


def document(response: Response) -> Any:
    assert response.content_type == "application/json"
    return json.loads(response.body)


def xml(response: Response) -> ET.Element:
    assert response.content_type in ("text/xml", "application/xml")
    return ET.fromstring(response.body)  # noqa: S314 - our own answer


Again = Callable[[str], Response]


def own(response: Response, again: Again) -> Understood:
    answer = document(response)
    assert (answer["action"] == "dial") == bool(answer["destinations"])
    numbers = tuple(each["number"] for each in answer["destinations"])
    return Understood(numbers, answer["ring_seconds"], answer.get("record", False))


def exotel(response: Response, again: Again) -> Understood:
    answer = document(response)
    assert answer["fetch_after_attempt"] is False
    assert answer["parallel_ringing"] == {"activate": False}
    return Understood(tuple(answer["destination"]["numbers"]), answer["max_ringing_duration"], answer["record"])


def exotel_ccm(response: Response, again: Again) -> Understood:
    answer = document(response)
    numbers = tuple(each["contact_uri"] for each in answer["destination"])
    return Understood(numbers, answer["max_ringing_duration"], answer["record"])


def twiml(response: Response, again: Again) -> Understood:
    root = xml(response)
    verb = root.find("Dial")
    if verb is None:
        assert root.find("Reject") is not None
        return Understood((), None, None)
    assert verb.get("sequential") == "true"
    record = verb.get("record", "").startswith("record-from-answer") and bool(verb.get("recordingStatusCallback"))
    return Understood(tuple(str(each.text) for each in verb), int(verb.get("timeout", "0")), record)


def plivo(response: Response, again: Again) -> Understood:
    numbers, seconds, record = [], None, False
    for _ in range(5):
        root = xml(response)
        record = record or root.find("Record") is not None
        verb = root.find("Dial")
        if verb is None:
            assert root.find("Hangup") is not None
            break
        numbers += [str(each.text) for each in verb]
        assert len(verb) == 1, "several numbers in one Dial ring at once"
        seconds = int(verb.get("timeout", "0"))
        after = verb.get("action", "").rpartition("/")[2]
        if not after.startswith("next"):
            assert after == "status"
            break
        response = again(after)
    return Understood(tuple(numbers), seconds, record if numbers else None)


def vonage(response: Response, again: Again) -> Understood:
    numbers, seconds, record = [], None, False
    for _ in range(5):
        actions = document(response)
        record = record or any(each["action"] == "record" for each in actions)
        connects = [each for each in actions if each["action"] == "connect"]
        if not connects:
            break
        (connect,) = connects
        assert connect["eventType"] == "synchronous"
        numbers += [f"+{each['number']}" for each in connect["endpoint"]]
        seconds = connect["timeout"]
        response = again(connect["eventUrl"][0].rpartition("/")[2])
    return Understood(tuple(numbers), seconds, record if numbers else None)


def myoperator(response: Response, again: Again) -> Understood:
    answer = document(response)
    assert answer["action"] == "tts"
    if answer["operation"] == "hangup":
        return Understood((), None, None)
    assert answer["operation"] == "dial-numbers"
    return Understood(tuple(answer["operation-data"]["data"]), None, None)


def smartflo(response: Response, again: Again) -> Understood:
    steps = document(response)
    assert all(step["transfer"]["type"] == "number" for step in steps)
    return Understood(tuple(number for step in steps for number in step["transfer"]["data"]), None, None)


def bridged(applications: list[tuple[str, str]]) -> Understood:
    named = dict(applications)
    if "bridge" not in named:
        assert applications[-1][0] == "hangup"
        return Understood((), None, None)
    branches = [
        re.fullmatch(r"\[leg_timeout=(\d+),sip_h_X-Trunkline-Hops=1\]sofia/gateway/pstn/(.+)", each)
        for each in named["bridge"].split("|")
    ]
    assert all(branches)
    seconds = {int(each[1]) for each in branches if each}
    return Understood(tuple(each[2] for each in branches if each), seconds.pop(), "record_session" in named)


def httapi(response: Response, again: Again) -> Understood:
    assert response.content_type == "text/xml", "mod_httapi tries anything else again for ever"
    root = xml(response)
    assert root.get("type") == "xml/freeswitch-httapi"
    work = root.find("work")
    assert work is not None
    assert work[-1].tag == "break"
    return bridged([(str(each.get("application")), str(each.get("data"))) for each in work.findall("execute")])


def dialplan(response: Response, again: Again) -> Understood:
    root = xml(response)
    assert root.get("type") == "freeswitch/xml"
    return bridged([(str(each.get("application")), str(each.get("data"))) for each in root.iter("action")])


def rtjson(response: Response, again: Again) -> Understood:
    answer = document(response)
    if not answer["success"]:
        assert answer["code"] == 480
        return Understood((), None, None)
    plan = answer["rtjson"]
    assert (plan["version"], plan["routing"]) == ("1.0", "serial")
    numbers = tuple(re.fullmatch(r"sip:(.+)@pstn.invalid", route["uri"])[1] for route in plan["routes"])  # type: ignore[index]
    milliseconds = {route["fr_inv_timer"] for route in plan["routes"]}
    return Understood(numbers, milliseconds.pop() // 1000, None)


READERS: dict[tuple[str, str], Callable[[Response, Again], Understood]] = {
    ("generic", "ring"): own,
    ("bonvoice", "ring"): own,
    ("knowlarity", "ring"): own,
    ("twilio", "voice"): twiml,
    ("telnyx", "voice"): twiml,
    ("exotel", "connect"): exotel,
    ("exotel", "ccm"): exotel_ccm,
    ("plivo", "answer"): plivo,
    ("vonage", "answer"): vonage,
    ("myoperator", "node"): myoperator,
    ("smartflo", "ring"): smartflo,
    ("freeswitch", "httapi"): httapi,
    ("freeswitch", "dialplan"): dialplan,
    ("kamailio", "ring"): rtjson,
}
# Asked again within a call, and answered by status code alone: each has a test of its own.
APART = {("plivo", "next"), ("vonage", "next"), ("exotel", "passthru")}
EACH = pytest.mark.parametrize(("vendor", "hook"), READERS)


def understand(vendor: str, hook: str, answer: Decision, options: dict[str, str]) -> Understood:
    signal = CallSignal(kind="ring", vendor=vendor, call_id="c1", caller_raw="+919847000001", did_raw="+914842000100")

    def ask(address: str) -> Response:
        name, _, query = address.partition("?")
        return VENDORS[vendor].render(answer, signal, request(name, options, query))

    return READERS[vendor, hook](ask(hook), ask)


def options_of(vendor: str) -> dict[str, str]:
    return OPTIONS if "record" in VENDORS[vendor].options else {}


def test_every_hook_that_is_asked_is_read_back() -> None:
    asked = {(name, hook) for name, vendor in VENDORS.items() for hook, kind in vendor.hooks.items() if kind == "ring"}
    assert asked == READERS.keys() | APART


@EACH
def test_two_destinations_are_rung_in_their_order(vendor: str, hook: str) -> None:
    for numbers in (NUMBERS, NUMBERS[::-1]):
        assert understand(vendor, hook, decision(*numbers), {}).numbers == numbers


@EACH
def test_each_rings_as_long_as_decided_where_the_dialect_can_say_it(vendor: str, hook: str) -> None:
    seconds = understand(vendor, hook, decision(*NUMBERS), {}).ring_seconds
    assert seconds == (None if vendor in ("myoperator", "smartflo") else 31)


@EACH
def test_calls_are_recorded_when_the_account_says_so_where_the_dialect_can_say_it(vendor: str, hook: str) -> None:
    can = "record" in VENDORS[vendor].options
    assert understand(vendor, hook, decision(*NUMBERS), {}).record == (False if can else None)
    assert understand(vendor, hook, decision(*NUMBERS), options_of(vendor)).record == (True if can else None)


@EACH
@pytest.mark.parametrize("action", ["reject", "dial"])
def test_nobody_to_ring_is_understood_as_nobody(vendor: str, hook: str, action: str) -> None:
    assert understand(vendor, hook, decision(action=action), options_of(vendor)).numbers == ()


@EACH
def test_a_hostile_address_or_call_id_breaks_out_of_nothing(vendor: str, hook: str) -> None:
    evil = '"/><Dial>+911</Dial>\r\nX: y&'
    signal = CallSignal(kind="ring", vendor=vendor, call_id=evil, caller_raw=evil, did_raw=evil)
    asked = dataclasses.replace(request(hook, {}), url_path=f"/v1/hooks/{vendor}/{evil}/{hook}")
    asked = dataclasses.replace(asked, body=b'{"Caller-Context": "\\"/><evil>"}')
    response = VENDORS[vendor].render(decision(*NUMBERS), signal, asked)
    if "xml" in response.content_type:
        assert {each.tag for each in xml(response).iter()} <= {
            *("Response", "Dial", "Number", "document", "params", "variables", "work", "execute", "break"),
            *("section", "context", "extension", "condition", "action"),
        }
    else:
        answer = document(response)
        if vendor == "kamailio":
            assert [route["headers"]["extra"].count("\r\n") for route in answer["rtjson"]["routes"]] == [1, 1]
