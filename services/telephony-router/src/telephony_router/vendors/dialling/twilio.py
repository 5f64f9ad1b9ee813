"""Twilio's API: Calls.json with the bridge as inline TwiML, and the calls that a call made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from telephony_router.signals import CallSignal
from telephony_router.vendors.base import BadRequest, whole_number
from telephony_router.vendors.dialling.base import (
    Access,
    ApiAnswer,
    ApiRequest,
    Login,
    Order,
    Outcome,
    basic,
    callback,
    form,
    json_of,
    rejected,
)
from telephony_router.vendors.reading import bridged, call_id_of, given
from telephony_router.vendors.twilio import CALLER_STATUSES, told

__all__ = ["TwilioDialler"]


class TwilioDialler:
    name = "twilio"
    bases: Sequence[str] = ("https://api.twilio.com",)
    secrets: Mapping[str, str] = {
        "auth_token": "the account's Auth Token",
        "webhooks": "the account's webhook address, as account add printed it, with scheme and host",
    }
    options: Mapping[str, str] = {
        "account_sid": "needed: the Account SID",
        "caller_id": "needed: the number that both see, where an order names no line",
        "ring_seconds": "how long each telephone rings; 30 by default",
    }
    login: Login | None = None

    def dial(self, order: Order, access: Access, token: str) -> ApiRequest:
        shown, seconds = order.did or access.options["caller_id"], access.options.get("ring_seconds", "30")
        status = callback(access, "status", order)
        number = (
            f'<Number statusCallback={quoteattr(status)} statusCallbackEvent="initiated ringing answered completed">'
            f"{escape(order.customer)}</Number>"
        )
        bridge = (
            f'<Response><Dial callerId={quoteattr(shown)} timeout={quoteattr(seconds)} answerOnBridge="true"'
            f" action={quoteattr(status)}>{number}</Dial></Response>"
        )
        events = [("StatusCallbackEvent", each) for each in ("initiated", "ringing", "answered", "completed")]
        pairs = [
            ("To", order.agent),
            ("From", shown),
            ("Timeout", seconds),
            ("Twiml", bridge),
            ("StatusCallback", status),
            *events,
        ]
        return form(f"{_calls(access)}.json", _proof(access), pairs)

    def dialled(self, answer: ApiAnswer) -> Outcome:
        values = json_of(answer)
        failed = rejected(answer, values.get("code"))
        if failed is not None:
            return failed
        sid = given(values.get("sid"))
        return Outcome(kind="submitted", vendor_call_id=sid) if sid else Outcome(kind="unknown", code="garbled")

    def ask(self, call_id: str, ref: str, access: Access, token: str) -> ApiRequest | None:
        if not call_id:
            return None
        return ApiRequest(method="GET", url=f"{_calls(access)}/{quote(call_id, safe='')}.json", headers=_proof(access))

    def ask_more(self, call_id: str, answer: ApiAnswer, access: Access) -> ApiRequest | None:
        if answer.status != 200 or given(json_of(answer).get("status")) != "completed":
            return None
        url = f"{_calls(access)}.json?ParentCallSid={quote(call_id, safe='')}&PageSize=50"
        return ApiRequest(method="GET", url=url, headers=_proof(access))

    def told(self, call_id: str, ref: str, answers: Sequence[ApiAnswer]) -> CallSignal | None:
        call = json_of(answers[0])
        if answers[0].status != 200 or call_id_of(call, "sid") != call_id:
            return None
        fields = {
            "CallStatus": call.get("status"),
            "Direction": call.get("direction"),
            "From": call.get("from"),
            "To": call.get("to"),
            "Timestamp": call.get("end_time") or call.get("date_updated"),
            "CallDuration": call.get("duration") if call.get("end_time") else None,
        }
        try:
            signal = bridged(told(fields, call_id, self.name), ref, CALLER_STATUSES)
        except BadRequest:
            return None
        if given(call.get("status")) != "completed":
            return signal
        if len(answers) < 2 or answers[1].status != 200 or not isinstance(json_of(answers[1]).get("calls"), list):
            return None
        legs = [each for each in json_of(answers[1])["calls"] if isinstance(each, dict)]
        talks = [each for each in legs if given(each.get("status")) == "completed" and _seconds(each)]
        if not talks:
            # It ran to its end, and nobody was talked to.
            return replace(signal, status="ended", duration_seconds=None)
        talk = max(talks, key=_seconds)
        agent = "" if ref else given(talk.get("to"))
        return replace(signal, status="completed", duration_seconds=_seconds(talk), agent_raw=agent)


def _seconds(leg: dict[str, object]) -> int:
    return whole_number(leg.get("duration")) or 0


def _calls(access: Access) -> str:
    return f"{access.base}/2010-04-01/Accounts/{quote(access.options['account_sid'], safe='')}/Calls"


def _proof(access: Access) -> dict[str, str]:
    return basic(access.options["account_sid"], access.secrets["auth_token"])
