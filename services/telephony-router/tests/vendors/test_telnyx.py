"""Telnyx: Ed25519 over time and body, and events without an order."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from telephony_router.calls import CallState, apply
from telephony_router.vendors import VENDORS
from telephony_router.vendors.base import Account, BadRequest, Forbidden, RawRequest

TELNYX = VENDORS["telnyx"]
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
BODY = b"CallSid=tx1&From=%2B919847000001&To=%2B914842000100"


def key(seed: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def public(private: Ed25519PrivateKey) -> str:
    return base64.b64encode(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def signed(private: Ed25519PrivateKey, body: bytes = BODY, stamp: str = STAMP) -> str:
    return base64.b64encode(private.sign(stamp.encode() + b"|" + body)).decode()


def request(signature: str, *, stamp: str = STAMP, body: bytes = BODY) -> RawRequest:
    headers = {"telnyx-signature-ed25519": signature, "telnyx-timestamp": stamp}
    return RawRequest(method="POST", url_path="/", query="", headers=headers, body=body, bases=("https://x",))


def check(raw: RawRequest, *keys: str) -> str:
    account = Account(id=UUID(int=1), tenant=UUID(int=2), vendor="telnyx", auth_tokens=keys or (public(key(1)),))
    return TELNYX.authenticate(raw, account, NOW)


def test_a_signature_over_time_and_body_holds_with_either_living_key() -> None:
    assert check(request(signed(key(1)))) == "ed25519"
    assert check(request(signed(key(1))), public(key(2)), public(key(1))) == "ed25519"
    assert check(request(signed(key(1))), "not a key", public(key(1))) == "ed25519"


@pytest.mark.parametrize("seconds", [-301, 301])
def test_a_signature_of_another_time_is_refused_although_it_holds(seconds: int) -> None:
    stamp = str(int(STAMP) + seconds)
    with pytest.raises(Forbidden, match="too old or from the future"):
        check(request(signed(key(1), stamp=stamp), stamp=stamp))


@pytest.mark.parametrize(
    "raw",
    [
        request(""),
        request("é"),
        request(signed(key(2))),
        request(signed(key(1)), body=BODY + b"&x=1"),
        request(signed(key(1), stamp=str(int(STAMP) + 1))),
        request(signed(key(1)), stamp=""),
        request(signed(key(1)), stamp="²"),
        request(signed(key(1))[:-8]),
    ],
)
def test_a_wrong_or_missing_signature_is_refused(raw: RawRequest) -> None:
    with pytest.raises(Forbidden):
        check(raw)


def event(kind: str, number: int, **payload: Any) -> RawRequest:
    leg = {"call_session_id": "s1", "call_leg_id": "s1", "direction": "incoming", **payload}
    data = {"event_type": kind, "id": f"e{number}", "occurred_at": f"2026-03-04T06:30:{number:02}Z", "payload": leg}
    return request("", body=json.dumps({"data": data}).encode())


AGENT = {"call_leg_id": "l2", "direction": "outgoing", "to": "+919847000010"}
COURSE = [
    event("call.initiated", 0),
    event("call.answered", 1),
    event("call.initiated", 2, **AGENT),
    event("call.answered", 9, **AGENT),
    event("call.hangup", 50, hangup_cause="normal_clearing", **AGENT),
    event("call.hangup", 51, hangup_cause="normal_clearing"),
]


@pytest.mark.parametrize("order", [COURSE, COURSE[::-1], COURSE[3:] + COURSE[:3]])
def test_events_in_any_order_and_more_than_once_are_one_call(order: list[RawRequest]) -> None:
    state = CallState()
    for raw in [*order, order[0]]:
        state = apply(state, TELNYX.parse(raw, "status"), NOW)
    assert (state.state, state.agent_raw) == ("completed", "+919847000010")


def test_a_caller_whom_only_we_answered_was_missed() -> None:
    state = CallState()
    for raw in (COURSE[0], COURSE[1], event("call.hangup", 20, hangup_cause="originator_cancel", **AGENT), COURSE[5]):
        state = apply(state, TELNYX.parse(raw, "status"), NOW)
    assert state.state == "missed"


def test_a_repeated_event_is_known_by_its_id_and_another_one_is_not() -> None:
    one, again = (TELNYX.parse(event("call.dtmf.received", 3, digit="1"), "status") for _ in range(2))
    other = TELNYX.parse(event("call.dtmf.received", 4, digit="1"), "status")
    assert one.identity(b"a", "r") == again.identity(b"b", "r") != other.identity(b"a", "r")


@pytest.mark.parametrize("body", [b'{"data": {}}', b'{"data": {"event_type": "x"}}', b'{"data": {"payload": {}}}'])
def test_half_an_event_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        TELNYX.parse(request("", body=body), "status")
