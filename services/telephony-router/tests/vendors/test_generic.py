from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from telephony_router.routing import Decision, Exclusion, Target
from telephony_router.signals import CallSignal
from telephony_router.vendors import VENDORS
from telephony_router.vendors.base import Account, BadRequest, Forbidden, RawRequest, check_options

GENERIC = VENDORS["generic"]
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
BODY = b'{"call_id":"c1","from":"09847000001","to":"04842000100"}'


def account(*tokens: str) -> Account:
    return Account(id=UUID(int=1), tenant=UUID(int=2), vendor="generic", auth_tokens=tokens)


def request(body: bytes = BODY, **headers: str) -> RawRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return RawRequest(method="POST", url_path="/", query="", headers=named, body=body, bases=("https://x",))


def signed(token: str, stamp: float, body: bytes = BODY) -> str:
    digest = hmac.new(token.encode(), f"{int(stamp)}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={int(stamp)},v1={digest}"


def test_without_a_token_the_path_is_the_proof() -> None:
    assert GENERIC.authenticate(request(), account(), NOW) == "path"


@pytest.mark.parametrize("token", ["new", "old"])
def test_either_of_two_living_tokens_may_sign(token: str) -> None:
    header = signed(token, NOW.timestamp())
    assert GENERIC.authenticate(request(x_trunkline_signature=header), account("new", "old"), NOW) == "hmac"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "v1=00",
        "t=x,v1=00",
        "t=²,v1=00",
        f"t={'9' * 400},v1=00",
        signed("wrong", NOW.timestamp()),
        signed("new", NOW.timestamp() - 301),
        signed("new", NOW.timestamp() + 301),
        signed("new", NOW.timestamp(), BODY + b" "),
        f"t={int(NOW.timestamp())},v1=é",
    ],
)
def test_a_wrong_old_or_missing_signature_is_refused(header: str) -> None:
    with pytest.raises(Forbidden):
        GENERIC.authenticate(request(x_trunkline_signature=header), account("new"), NOW)


@pytest.mark.parametrize("absent", ["", "None", "null", None])
def test_a_call_id_that_is_none_in_words_is_none(absent: str | None) -> None:
    assert GENERIC.parse(request(json.dumps({"call_id": absent}).encode()), "ring").call_id == ""


def test_what_no_store_can_hold_is_taken_out_of_a_field() -> None:
    body = b'{"call_id":"a\\u0000b","from":"\\ud800x","to":"' + b"9" * 500 + b'"}'
    try:
        signal = GENERIC.parse(request(body), "ring")
    except BadRequest:
        return
    assert signal.call_id == "ab"
    assert len(signal.did_raw) == 256
    signal.caller_raw.encode()


def test_an_unknown_status_stays_unknown() -> None:
    signal = GENERIC.parse(request(b'{"call_id":"c1","status":"NO_CHANNEL"}'), "status")
    assert (signal.status, signal.status_raw) == ("unknown", "no-channel")


def test_a_status_must_have_one() -> None:
    with pytest.raises(BadRequest, match="status is missing"):
        GENERIC.parse(request(b'{"call_id":"c1"}'), "status")


def test_the_answer_names_destinations_and_everyone_left_out() -> None:
    decision = Decision(
        action="dial",
        destinations=(Target(number="+919847000010", reason="owner", staff_id="desk", name="Desk"),),
        excluded=(Exclusion(staff_id="ravi", name="Ravi", rule="last_agent", reason="on_leave"),),
        rule="owner",
        rung="redis",
        ring_seconds=20,
    )
    response = GENERIC.render(decision, CallSignal(kind="ring", vendor="generic", call_id="c1"), request())
    assert json.loads(response.body) == {
        "call_id": "c1",
        "action": "dial",
        "destinations": [{"number": "+919847000010", "name": "Desk", "reason": "owner"}],
        "ring_seconds": 20,
        "parallel": False,
        "hops": 1,
        "excluded": [{"staff_id": "ravi", "name": "Ravi", "rule": "last_agent", "reason": "on_leave"}],
    }


def test_the_example_of_the_howto_speaks_as_it_says() -> None:
    page = (Path(__file__).parents[4] / "docs/howto/add-a-vendor.md").read_text()
    options = dict(text.split("=") for text in re.findall(r"--option (\S+)", page) if "=" in text)
    check_options(GENERIC, options)
    body = b'{"call":{"uid":"c1"},"caller":"09847000001","did":"04842000100"}'
    asked = replace(request(body), options=options)
    signal = GENERIC.parse(asked, "ring")
    assert (signal.call_id, signal.caller_raw, signal.did_raw) == ("c1", "09847000001", "04842000100")
    target = Target(number="+919847000010", reason="owner")
    decision = Decision(action="dial", destinations=(target,), excluded=(), rule="owner", rung="redis", ring_seconds=20)
    answer = json.loads(GENERIC.render(decision, signal, asked).body)
    assert answer == {"call_id": "c1", "data": {"agents": ["+919847000010"], "timeout": 20}}
