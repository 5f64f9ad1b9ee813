"""One behaviour suite for every vendor: what they all promise, on the samples beside."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from telephony_router.routing import Decision, Target
from telephony_router.signals import STATUSES, CallSignal, signal_from_json, signal_to_json
from telephony_router.vendors import VENDORS
from telephony_router.vendors.base import Account, BadRequest, Forbidden, RawRequest, moment, whole_number

SAMPLES = Path(__file__).parent / "samples"
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
CASES = sorted(SAMPLES.glob("*/*.json"))
HOSTILE = [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{" * 5000, b'{"call_id": {}}', b"=&=&=", b"a" * 70_000]


def raw(sample: dict[str, Any]) -> RawRequest:
    return RawRequest(
        method=sample.get("method", "POST"),
        url_path=sample.get("path", "/v1/hooks/x/y/z"),
        query=sample.get("query", ""),
        headers=sample.get("headers", {}),
        body=(json.dumps(sample["json"]) if "json" in sample else sample.get("body", "")).encode(),
        bases=("https://calls.example.com",),
        hook=sample.get("hook", ""),
        options=sample.get("options", {}),
    )


@pytest.mark.parametrize("path", CASES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_recorded_webhook_means_what_is_written_beside_it(path: Path) -> None:
    sample = json.loads(path.read_text())
    signal = VENDORS[path.parent.name].parse(raw(sample["request"]), sample["purpose"])
    assert signal_to_json(signal) == sample["signal"]
    assert signal.status in STATUSES


@pytest.mark.parametrize("name", VENDORS)
def test_a_vendor_is_named_as_in_the_table_and_has_samples_of_both_kinds(name: str) -> None:
    assert VENDORS[name].name == name
    purposes = {json.loads(path.read_text())["purpose"] for path in CASES if path.parent.name == name}
    assert purposes == set(VENDORS[name].hooks.values()) >= {"ring", "status"}


@pytest.mark.parametrize("path", CASES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_recorded_webhook_is_the_same_when_it_is_read_back_from_the_disk(path: Path) -> None:
    sample = json.loads(path.read_text())
    signal = VENDORS[path.parent.name].parse(raw(sample["request"]), sample["purpose"])
    assert signal_from_json(json.loads(json.dumps(signal_to_json(signal)))) == signal


@pytest.mark.parametrize("name", VENDORS)
@pytest.mark.parametrize("purpose", ["ring", "status", "recording"])
@pytest.mark.parametrize("content_type", ["", "application/json", "application/x-www-form-urlencoded", "text/plain"])
@pytest.mark.parametrize("body", HOSTILE)
def test_nonsense_is_refused_or_excused_but_never_breaks(
    name: str, purpose: Any, content_type: str, body: bytes
) -> None:
    request = dataclasses.replace(raw({"headers": {"content-type": content_type}}), body=body)
    try:
        signal = VENDORS[name].parse(request, purpose)
    except BadRequest:
        return
    assert all("\x00" not in value for value in dataclasses.asdict(signal).values() if isinstance(value, str))


@pytest.mark.parametrize("name", VENDORS)
def test_an_answer_is_the_same_bytes_every_time_and_escapes_what_people_are_called(name: str) -> None:
    target = Target(number="+919847000010", reason="owner", staff_id="s", name='<Desk> & "Sons"')
    decision = Decision(action="dial", destinations=(target,), excluded=(), rule="owner", rung="redis")
    signal = CallSignal(kind="ring", vendor=name, call_id="c1")
    hook = raw({"path": "/v1/hooks/x/s&</ring"})
    first = VENDORS[name].render(decision, signal, hook)
    assert first == VENDORS[name].render(decision, signal, hook)
    # Some write E.164 without its plus.
    assert b"919847000010" in first.body
    assert b"<Desk>" not in first.body or first.content_type == "application/json"


@pytest.mark.parametrize("name", VENDORS)
def test_nobody_to_ring_is_an_answer_as_well(name: str) -> None:
    decision = Decision(action="reject", destinations=(), excluded=(), rule="blocked", rung="redis")
    response = VENDORS[name].render(decision, CallSignal(kind="ring", vendor=name, call_id="c1"), raw({}))
    assert response.status == 200
    assert response.body


@pytest.mark.parametrize("name", [name for name, vendor in VENDORS.items() if vendor.needs_token])
def test_an_account_without_the_vendors_proof_is_refused(name: str) -> None:
    account = Account(id=UUID(int=1), tenant=UUID(int=2), vendor=name, auth_tokens=("secret-token",))
    with pytest.raises(Forbidden):
        VENDORS[name].authenticate(raw({}), account, NOW)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("2026-03-04T12:00:00+05:30", NOW),
        ("2026-03-04 12:00:00", NOW),
        ("2026-03-04T06:30:00Z", NOW),
        (NOW.timestamp(), NOW),
        (str(int(NOW.timestamp())), NOW),
        (NOW.timestamp() * 1000, NOW),
        ("1970-01-01 05:30:00", None),
        ("0000-00-00 00:00:00", None),
        ("None", None),
        ("²", None),
        ("", None),
        (None, None),
        (True, None),
        (float("inf"), None),
        (1e300, None),
        ([], None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
    ],
)
def test_times_are_read_as_vendors_write_them(value: object, wanted: datetime | None) -> None:
    assert moment(value) == wanted


@pytest.mark.parametrize(("value", "wanted"), [("42", 42), (42.9, 42), ("", None), ("-1", None), ("nan", None)])
def test_durations_are_whole_seconds_or_unknown(value: object, wanted: int | None) -> None:
    assert whole_number(value) == wanted
