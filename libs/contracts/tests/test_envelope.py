from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.envelope import Envelope, MalformedEnvelope, partition_key

TENANT = UUID("01976f2e-5c00-7000-8000-0000000000a1")


def an_envelope(**changes: object) -> Envelope:
    values: dict[str, object] = {
        "id": "01976f2e-5c00-7000-8000-000000000501",
        "type": "call.state.v1",
        "source": "/telephony-router",
        "time": datetime(2026, 6, 15, 4, 30, tzinfo=UTC),
        "tenant": TENANT,
        "subject": "call-1",
        "partitionkey": partition_key(TENANT, "call-1"),
    }
    return Envelope(**(values | changes))  # type: ignore[arg-type]


def headers(**changes: bytes | None) -> list[tuple[str, bytes]]:
    got: dict[str, bytes | None] = dict(an_envelope().to_headers())
    got.update(changes)
    return [(name, value) for name, value in got.items() if value is not None]


texts = st.text(max_size=20)


@given(
    subject=texts, correlationid=texts, causationid=texts, replayid=texts, traceparent=texts, dataschema=texts,
    time=st.datetimes(timezones=st.just(UTC)),
)  # fmt: skip
def test_an_envelope_survives_its_headers(**values: object) -> None:
    envelope = an_envelope(**values)

    assert Envelope.from_headers(envelope.to_headers()) == envelope


def test_times_travel_in_utc_whatever_their_zone() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    sent = an_envelope(time=datetime(2026, 6, 15, 10, 0, tzinfo=india)).to_headers()

    assert dict(sent)["ce_time"] == b"2026-06-15T04:30:00.000000Z"


def test_a_time_without_a_zone_is_never_written() -> None:
    with pytest.raises(ValueError, match="zone"):
        an_envelope(time=datetime(2026, 6, 15)).to_headers()  # noqa: DTZ001


def test_optional_headers_are_left_out_when_empty() -> None:
    names = {name for name, _ in an_envelope().to_headers()}

    assert "ce_replayid" not in names
    assert "traceparent" not in names
    assert {"ce_specversion", "content-type", "ce_partitionkey"} <= names


def test_headers_of_others_are_ignored() -> None:
    assert Envelope.from_headers([*headers(), ("x-proxy", b"1"), ("x-blob", b"\xff\xfe")]) == an_envelope()


@pytest.mark.parametrize("name", ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "ce_tenant"])
def test_a_missing_or_empty_header_is_named(name: str) -> None:
    for absent in (None, b""):
        with pytest.raises(MalformedEnvelope, match=f"missing: {name}$"):
            Envelope.from_headers(headers(**{name: absent}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce_specversion", b"0.3"),
        ("ce_tenant", b"kochi-traders"),
        ("ce_time", b"yesterday"),
        ("ce_time", b"2026-06-15T04:30:00"),
        ("ce_time", b"0001-01-01T00:00:00+05:30"),
        ("ce_subject", b"\xff\xfe"),
    ],
)
def test_a_wrong_header_is_named_and_its_value_is_not_repeated(name: str, value: bytes) -> None:
    with pytest.raises(MalformedEnvelope, match=name) as caught:
        Envelope.from_headers(headers(**{name: value}))

    assert value.decode(errors="replace") not in str(caught.value)


def test_records_without_any_headers_are_refused() -> None:
    with pytest.raises(MalformedEnvelope, match="ce_id"):
        Envelope.from_headers([])
