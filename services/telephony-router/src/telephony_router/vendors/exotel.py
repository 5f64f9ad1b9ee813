"""Exotel: the Connect applet's dynamic URL and its contact-centre variant, Passthru by status code, status callbacks.

Nothing is signed: the path's secret and the account's sources are all the proof there is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic_core import from_json, to_json

from telephony_router.routing import Decision
from telephony_router.signals import CallSignal, Recording
from telephony_router.vendors.base import (
    INDIA,
    RECORD,
    Account,
    BadRequest,
    Purpose,
    RawRequest,
    Response,
    kinds,
    moment,
    whole_number,
)
from telephony_router.vendors.proofs import shared_secret
from telephony_router.vendors.reading import call_id_of, fields_of, first, given, order_of, recorded_at, unquoted, word

__all__ = ["DND_REFUSED", "Exotel"]

STATUSES = {
    "queued": "initiated",
    "initiated": "initiated",
    "ringing": "ringing",
    "in-progress": "answered",
    "answered": "answered",
    "completed": "completed",
    "busy": "busy",
    "failed": "failed",
    "no-answer": "missed",
    "canceled": "cancelled",
    "cancelled": "cancelled",
    # CallType. Before 2013 "call" stood for two of them; it says no more than that the call is over.
    "call": "ended",
    "call-attempt": "ended",
    "client-hangup": "cancelled",
    "incomplete": "missed",
    "voicemail": "missed",
    # An agent's popup: free again.
    "free": "ended",
}
EVENTS = {"dial": "initiated", "ringing": "ringing", "answered": "answered"}
RING_SECONDS = (20, 75)
PARALLEL_MAX = 5
"""Integrators name 5 and 10; more than the smaller would be refused where it is the limit."""
DND_REFUSED = "10717"
NESTED = re.compile(r"^(\w+)\[(\w+)\](?:\[(\w+)\])?$")


class Exotel:
    name = "exotel"
    hooks: Mapping[str, Purpose] = {"connect": "ring", "ccm": "ring", "passthru": "ring", "status": "status"}
    methods = frozenset({"GET", "POST"})
    needs_token = False
    proof = "optional: user:password, where the applet's address can carry them"
    options: Mapping[str, str] = {
        "record": RECORD,
        "exophone": "the number that agents see; Exotel's choice by default",
    }
    known: Mapping[str, str] = {
        **kinds(
            "s",
            "CallSid CallFrom Callfrom CallTo From To CallStatus Direction Created StartTime EndTime CallType"
            " DialWhomNumber CurrentTime flow_id tenant_id digits RecordingUrl CustomField ForwardedFrom"
            " DialCallStatus OutgoingPhoneNumber RecordingAvailableBy ProcessStatus EventType Status DateUpdated"
            " DateCreated PhoneNumberSid AgentEmail DialCallSid ErrorCode Cause CauseCode Stream Stream[Status]"
            " Stream[StreamSID] Stream[Duration] Stream[Error] Stream[RecordingUrl] Stream[DisconnectedBy]"
            " Legs[].Id Legs[].Status Legs[].Cause Legs[].CauseCode Legs[][Id] Legs[][Status] Legs[][Cause]"
            " Legs[][CauseCode] Legs[][OnCallDuration] Legs"
            " call_details.call_sid call_details.sid call_details.status call_details.state call_details.direction"
            " call_details.from call_details.to call_details.created_time call_details.updated_time"
            " call_details.start_time call_details.end_time call_details.custom_field"
            " call_details.recordings[].url event_details.event_type",
        ),
        **kinds(
            "sn",
            "DialCallDuration ConversationDuration Legs[].OnCallDuration call_details.total_talk_time"
            " call_details.total_duration",
        ),
    }
    known_prefixes: tuple[str, ...] = ()

    def authenticate(self, request: RawRequest, account: Account, now: datetime) -> str:
        return shared_secret(request, account)

    def parse(self, request: RawRequest, purpose: Purpose) -> CallSignal:
        fields = _flat(fields_of(request))
        call_id = call_id_of(fields, "callsid", "sid")
        if not call_id and purpose == "ring":
            raise BadRequest("CallSid is missing")
        signal = CallSignal(
            kind="ring",
            vendor=self.name,
            call_id=call_id,
            caller_raw=first(fields, "callfrom", "from"),
            did_raw=first(fields, "callto", "to"),
            digits=unquoted(fields.get("digits")),
            at=_time(fields, "currenttime", "created"),
        )
        # A Passthru behind a Connect tells what became of it; before one it asks.
        told = request.hook == "passthru" and first(fields, "dialcallstatus", "eventtype", "processstatus")
        return _status(signal, fields) if purpose != "ring" or told else signal

    def render(self, decision: Decision, signal: CallSignal, request: RawRequest) -> Response:
        numbers = [target.number for target in decision.destinations]
        if request.hook == "passthru":
            # All that Passthru reads: 200 goes one way, 302 the other.
            return Response(
                body=b"dial" if numbers else b"nobody", content_type="text/plain", status=200 if numbers else 302
            )
        record = request.options.get("record") == "true"
        answer: dict[str, Any] = {
            "fetch_after_attempt": False,
            "destination": [{"contact_uri": number} for number in numbers]
            if request.hook == "ccm"
            else {"numbers": numbers},
            "record": record,
            **({"recording_channels": "dual"} if record else {}),
            "max_ringing_duration": min(max(decision.ring_seconds, RING_SECONDS[0]), RING_SECONDS[1]),
            "parallel_ringing": {"activate": True, "max_parallel_attempts": min(len(numbers), PARALLEL_MAX)}
            if decision.parallel
            else {"activate": False},
            "dial_passthru_event_url": f"{request.hook_url}/status",
        }
        if exophone := request.options.get("exophone"):
            answer["outgoing_phone_number"] = exophone
        return Response(body=to_json(answer), content_type="application/json")

    def acknowledge(self, signal: CallSignal, request: RawRequest) -> Response:
        return Response(body=b"{}", content_type="application/json")


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    """All versions' fields under one spelling: ``CallSid``, ``call_details.call_sid`` and ``Stream[Status]`` are plain.

    What is nested goes under what is not: it repeats it, or belongs to a part of the call.
    """
    plain: dict[str, Any] = {}
    inner: dict[str, Any] = {}
    for name, value in fields.items():
        nested = NESTED.match(name)
        if nested:
            part = "".join(each for each in nested.groups() if each)
            inner.setdefault(_key(part), value)
        elif isinstance(value, dict) or (isinstance(value, str) and value.lstrip().startswith("{")):
            own = "" if _key(name) in ("calldetails", "eventdetails") else name
            for key, each in _object(value).items():
                inner.setdefault(_key(f"{own}{key}"), each)
        elif isinstance(value, list):
            for number, each in enumerate(value):
                for key, one in _object(each).items():
                    inner.setdefault(_key(f"{name}{number}{key}"), one)
        else:
            plain[_key(name)] = value
    recordings = inner.get("recordings")
    if isinstance(recordings, list) and recordings:
        inner.setdefault("recordingurl", _object(recordings[0]).get("url"))
    return {**inner, **plain}


def _object(value: object) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = from_json(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _key(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _status(signal: CallSignal, fields: Mapping[str, Any]) -> CallSignal:
    event = word(fields.get("eventtype"))
    agent = first(fields, "dialwhomnumber")
    popup = bool(first(fields, "agentemail")) and word(fields.get("status")) in ("busy", "free")
    raw = _word(fields, event)
    status = STATUSES.get(raw, "unknown")
    if event in EVENTS:
        status = EVENTS[event]
    elif popup:
        status = "ringing" if raw == "busy" else "ended"
    talked = whole_number(first(fields, "conversationduration"))
    if status == "completed" and talked == 0:
        # The flow ran to its end; nobody talked.
        status = "ended"
    outbound = word(fields.get("direction")).startswith("outbound") and not agent
    dialled = bool(first(fields, "dialcallstatus"))
    return replace(
        signal,
        kind="status",
        status=status,
        status_raw=raw or event,
        leg="dial" if dialled else agent if event in EVENTS or popup else "",
        # The same status by another kind of webhook says more, so it is not a repetition.
        sequence="-".join(each for each in (event, "popup" if popup else "", "dial" if dialled else "") if each),
        attempt=popup or event in EVENTS,
        direction="outbound" if outbound else "inbound",
        agent_raw=agent,
        at=_time(fields, "endtime", "dateupdated", "updatedtime", "currenttime", "created"),
        duration_seconds=_seconds(fields),
        cause=_cause(fields),
        recording=_recording(fields),
        correlation=order_of(fields.get("customfield")),
    )


def _word(fields: Mapping[str, Any], event: str) -> str:
    """What a webhook says became of the call: the dialling knows better than the flow."""
    found = first(fields, "dialcallstatus", "status", "callstatus", "state", "calltype", "processstatus")
    return word(found) or ("" if event in EVENTS else event)


def _seconds(fields: Mapping[str, Any]) -> int | None:
    return whole_number(
        first(fields, "conversationduration", "dialcallduration", "totaltalktime", "legs1oncallduration")
    )


def _cause(fields: Mapping[str, Any]) -> str:
    cause = first(fields, "errorcode", "causecode", "legs1causecode", "legs1cause", "cause")
    return "dnd_refused" if cause == DND_REFUSED else cause


def _recording(fields: Mapping[str, Any]) -> Recording | None:
    found = recorded_at(first_url(fields), seconds=fields.get("conversationduration"))
    by = _time(fields, "recordingavailableby")
    return replace(found, state="pending", available_by=by) if found is not None and by is not None else found


def first_url(fields: Mapping[str, Any]) -> object:
    return next((fields[name] for name in ("recordingurl", "streamrecordingurl") if given(fields.get(name))), "")


def _time(fields: Mapping[str, Any], *names: str) -> datetime | None:
    """ISO or RFC 2822; without a zone it is Indian time. ``1970-01-01 05:30:00`` and ``0000-00-00`` are no time."""
    for name in names:
        text = given(fields.get(name))
        found = moment(text)
        if found is None and text[:1].isalpha():
            try:
                rfc = parsedate_to_datetime(text)
            except (ValueError, TypeError, OverflowError):
                continue
            found = (rfc if rfc.tzinfo else rfc.replace(tzinfo=INDIA)).astimezone(UTC)
        if found is not None:
            return found
    return None
