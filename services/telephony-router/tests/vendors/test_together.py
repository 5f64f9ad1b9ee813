"""People who ring all at once, and calls that were passed on, in each dialect that can say so."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from telephony_router.routing import Decision, Target
from telephony_router.signals import CallSignal
from telephony_router.vendors import VENDORS
from telephony_router.vendors.base import RawRequest, hops_of

NUMBERS = ("+919847000010", "+919847000012", "+919847000013")


def answer(vendor: str, hook: str, *, parallel: bool, hops: int = 0) -> bytes:
    targets = tuple(Target(number=number, reason="did_group") for number in NUMBERS)
    decision = Decision(
        action="dial", destinations=targets, excluded=(), rule="did_group", rung="redis", parallel=parallel
    )
    request = RawRequest(
        method="POST",
        url_path=f"/v1/hooks/{vendor}/secret/{hook}",
        query="",
        headers={},
        body=b"",
        bases=("https://calls.example.com",),
        hook=hook,
    )
    signal = CallSignal(kind="ring", vendor=vendor, call_id="c1", hops=hops)
    return VENDORS[vendor].render(decision, signal, request).body


def dials(body: bytes) -> ET.Element:
    found = ET.fromstring(body).find("Dial")  # noqa: S314 - our own answer
    assert found is not None
    return found


@pytest.mark.parametrize("parallel", [True, False])
def test_all_ring_at_once_where_the_dialect_can_say_it(parallel: bool) -> None:
    def told(vendor: str, hook: str) -> Any:
        return json.loads(answer(vendor, hook, parallel=parallel))

    assert told("generic", "ring")["parallel"] is parallel
    assert told("kamailio", "ring")["rtjson"]["routing"] == ("parallel" if parallel else "serial")
    assert told("exotel", "connect")["parallel_ringing"]["activate"] is parallel
    for vendor in ("twilio", "telnyx"):
        assert dials(answer(vendor, "voice", parallel=parallel)).get("sequential") == (None if parallel else "true")
    assert len(dials(answer("plivo", "answer", parallel=parallel))) == (3 if parallel else 1)
    bridge = answer("freeswitch", "httapi", parallel=parallel).decode()
    assert bridge.count("|") == (0 if parallel else 2)
    assert bridge.count(",[leg_timeout") == (2 if parallel else 0)


def test_after_all_rang_at_once_plivo_is_told_the_end_and_asks_no_more() -> None:
    assert dials(answer("plivo", "answer", parallel=True)).get("action", "").endswith("/status")


def test_a_call_that_is_passed_on_carries_how_often_it_was() -> None:
    assert json.loads(answer("generic", "ring", parallel=False, hops=2))["hops"] == 3
    routes = json.loads(answer("kamailio", "ring", parallel=False, hops=2))["rtjson"]["routes"]
    assert all(each["headers"]["extra"].startswith("X-Route-Decision: ") for each in routes), "which Kamailio counts"
    assert answer("freeswitch", "dialplan", parallel=False, hops=2).count(b"sip_h_X-Trunkline-Hops=3") == 3


@pytest.mark.parametrize(
    ("said", "hops"), [("3", 3), (3, 3), (None, 0), ("", 0), ("-1", 0), ("many", 0), ("9" * 30, 0), ("99999", 1000)]
)
def test_what_a_sender_says_of_hops_is_a_small_number_or_nothing(said: object, hops: int) -> None:
    assert hops_of(said) == hops
