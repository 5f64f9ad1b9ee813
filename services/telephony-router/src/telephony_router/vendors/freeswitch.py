"""FreeSWITCH: asked by httapi or xml_curl, told by its JSON records of calls. We write XML and never read any."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus
from xml.sax.saxutils import quoteattr

from pydantic_core import from_json

from telephony_router.routing import Decision
from telephony_router.signals import CallSignal, Recording
from telephony_router.vendors.base import (
    RECORD,
    Account,
    BadRequest,
    Purpose,
    RawRequest,
    Response,
    hops_of,
    kinds,
    moment,
    whole_number,
)
from telephony_router.vendors.proofs import shared_secret
from telephony_router.vendors.reading import call_id_of, fields_of, first, given

__all__ = ["FreeSwitch"]

CALL_IDS = ("Unique-ID", "session_id", "Channel-Call-UUID", "variable_uuid", "uuid")
CALLERS = ("Caller-Caller-ID-Number", "variable_sip_from_user", "Hunt-Caller-ID-Number")
# sip_req_user is the name a gateway signs in with: the number that was dialled is in sip_to_user.
DIALLED = ("variable_sip_to_user", "Caller-Destination-Number", "Hunt-Destination-Number", "destination_number")
CAUSES = {
    "USER_BUSY": "busy",
    "ORIGINATOR_CANCEL": "cancelled",
    "NO_ANSWER": "missed",
    "NO_USER_RESPONSE": "missed",
    "CALL_REJECTED": "missed",
    "ALLOTTED_TIMEOUT": "missed",
    "NORMAL_CLEARING": "ended",
    "LOSE_RACE": "cancelled",
}


class FreeSwitch:
    name = "freeswitch"
    hooks: Mapping[str, Purpose] = {"httapi": "ring", "dialplan": "ring", "cdr": "status"}
    methods = frozenset({"GET", "POST"})
    needs_token = False
    proof = "optional: user:password, as gateway-credentials of the module or cred of json_cdr"
    options: Mapping[str, str] = {
        "record": RECORD,
        "dial": "how a number is dialled, with {number} in it; sofia/gateway/pstn/{number} by default",
        "recordings": "where recordings go; $${recordings_dir}/${uuid}.wav by default",
        "did_field": "the field with the number that was dialled, if it is another one",
    }
    known: Mapping[str, str] = kinds(
        "s",
        "session_id hostname exiting section tag_name key_name key_value digits cdr core-uuid switchname"
        " sip_h_X-Trunkline-Hops destination_number uuid channel_data.* variables.* callflow[].* hold-record app_log.*",
    )
    known_prefixes: tuple[str, ...] = (
        *("Answer-", "Call-", "Caller-", "Channel-", "Core-", "Event-", "FreeSWITCH-", "Hunt-", "Other-", "Presence-"),
        *("Unique-", "variable_"),
    )

    def authenticate(self, request: RawRequest, account: Account, now: datetime) -> str:
        return shared_secret(request, account)

    def parse(self, request: RawRequest, purpose: Purpose) -> CallSignal:
        fields = fields_of(request)
        if purpose != "ring":
            return _record(_cdr(fields))
        if request.hook == "dialplan" and given(fields.get("section")) not in ("", "dialplan"):
            # Answered at once with an error, so that FreeSWITCH goes on with what is on its disk.
            raise BadRequest("only the section dialplan is answered")
        call_id = call_id_of(fields, *CALL_IDS)
        if not call_id:
            raise BadRequest("Unique-ID and session_id are missing")
        own = request.options.get("did_field")
        if given(fields.get("exiting")) == "true":
            # httapi says goodbye, also when the caller hung up.
            return CallSignal(
                kind="status",
                vendor=self.name,
                call_id=call_id,
                status="ended",
                status_raw="exiting",
                sequence="httapi",
            )
        return CallSignal(
            kind="ring",
            vendor=self.name,
            call_id=call_id,
            caller_raw=first(fields, *CALLERS),
            did_raw=first(fields, own) if own else first(fields, *DIALLED),
            digits=first(fields, "digits"),
            hops=hops_of(first(fields, "variable_sip_h_X-Trunkline-Hops", "sip_h_X-Trunkline-Hops")),
        )

    def render(self, decision: Decision, signal: CallSignal, request: RawRequest) -> Response:
        actions = _actions(decision, request, signal.hops + 1)
        if request.hook == "dialplan":
            context = quoteattr(first(fields_of(request), "Caller-Context", "Hunt-Context") or "public")
            steps = "".join(f"<action application={quoteattr(app)} data={quoteattr(data)}/>" for app, data in actions)
            extension = f'<extension name="trunkline"><condition>{steps}</condition></extension>'
            return _xml(
                '<document type="freeswitch/xml"><section name="dialplan">'
                f"<context name={context}>{extension}</context></section></document>"
            )
        # A break ends httapi: it would ask again when the bridge is over, and ring the same agents once more.
        steps = "".join(f"<execute application={quoteattr(app)} data={quoteattr(data)}/>" for app, data in actions)
        return _httapi(steps)

    def acknowledge(self, signal: CallSignal, request: RawRequest) -> Response:
        if request.hook == "httapi":
            # Anything but text/xml makes httapi try again for ever.
            return _httapi("")
        return Response(body=b"{}", content_type="application/json")


def _actions(decision: Decision, request: RawRequest, hops: int) -> list[tuple[str, str]]:
    if not decision.destinations:
        return [("hangup", "CALL_REJECTED")]
    template = request.options.get("dial", "sofia/gateway/pstn/{number}")
    # A bar between destinations tries one after the other; a comma rings all of them at once.
    leg = f"[leg_timeout={decision.ring_seconds},sip_h_X-Trunkline-Hops={hops}]"
    bridge = ("," if decision.parallel else "|").join(
        f"{leg}{template.replace('{number}', target.number)}" for target in decision.destinations
    )
    actions = [("set", "hangup_after_bridge=true"), ("set", "continue_on_fail=true")]
    if request.options.get("record") == "true":
        where = request.options.get("recordings", "$${recordings_dir}/${uuid}.wav")
        actions += [("set", "RECORD_STEREO=true"), ("record_session", where)]
    return [*actions, ("bridge", bridge), ("hangup", "NO_ANSWER")]


def _httapi(steps: str) -> Response:
    return _xml(f'<document type="xml/freeswitch-httapi"><params/><variables/><work>{steps}<break/></work></document>')


def _xml(document: str) -> Response:
    body = f'<?xml version="1.0" encoding="UTF-8" standalone="no"?>{document}'
    return Response(body=body.encode(), content_type="text/xml")


def _cdr(fields: dict[str, Any]) -> dict[str, Any]:
    """A record as JSON, or as the field ``cdr`` of a form."""
    inner = fields.get("cdr")
    if isinstance(inner, str):
        try:
            inner = from_json(inner)
        except ValueError:
            raise BadRequest("the field cdr is not JSON") from None
    record = inner if inner is not None else fields
    if not isinstance(record, dict) or not isinstance(record.get("variables"), dict):
        raise BadRequest("variables are missing")
    return record


def _record(record: Mapping[str, Any]) -> CallSignal:
    variables = {
        name: unquote_plus(value) if isinstance(value, str) else value for name, value in record["variables"].items()
    }
    flow = record.get("callflow")
    first_flow = flow[0] if isinstance(flow, list) and flow and isinstance(flow[0], dict) else {}
    profile = first_flow.get("caller_profile")
    caller = profile if isinstance(profile, dict) else {}
    own = call_id_of(variables, "uuid")
    # The leg to an agent names the leg that it was made for.
    parent = call_id_of(variables, "originating_leg_uuid", "originator")
    attempt = bool(parent)
    answered = moment(variables.get("answer_epoch"))
    bridged = first(variables, "last_bridge_to", "bridge_uuid")
    seconds = whole_number(variables.get("billsec"))
    cause = first(variables, "hangup_cause")
    status = CAUSES.get(cause, "failed")
    if attempt and answered is not None:
        status = "completed"
    elif not attempt and bridged:
        status = "completed" if seconds else "ended"
    dialled = first(variables, "sip_to_user", "destination_number") or first(caller, "destination_number")
    outbound = not attempt and first(variables, "direction") == "outbound"
    return CallSignal(
        kind="status",
        vendor=FreeSwitch.name,
        call_id=parent or own,
        leg=own if attempt else "",
        status=status,
        status_raw=cause or "cdr",
        sequence="cdr",
        attempt=attempt,
        direction="outbound" if outbound else "inbound",
        caller_raw=""
        if attempt
        else first(variables, "caller_id_number", "sip_from_user") or first(caller, "caller_id_number"),
        did_raw="" if attempt else dialled,
        agent_raw=first(caller, "destination_number") or dialled if attempt else "",
        at=(answered if attempt and answered else None) or moment(variables.get("end_epoch")),
        duration_seconds=seconds if status in ("completed", "ended") and not attempt else None,
        cause=cause,
        transferred_raw=first(variables, "transfer_destination"),
        recording=_recording(variables),
    )


def _recording(variables: Mapping[str, Any]) -> Recording | None:
    """A path on the PBX's own disk."""
    path = first(variables, "record_path", "recording_file", "last_arg_record")
    seconds = whole_number(variables.get("record_seconds"))
    return Recording(url=path, duration_seconds=seconds) if path else None
