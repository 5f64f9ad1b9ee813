"""Exotel's API: Calls/connect, and the details of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from telephony_router.signals import CallSignal
from telephony_router.vendors.base import whole_number
from telephony_router.vendors.dialling.base import (
    DND_REFUSED,
    NUMBERS,
    Access,
    ApiAnswer,
    ApiRequest,
    Login,
    Order,
    Outcome,
    as_status,
    basic,
    callback,
    form,
    json_of,
    part,
    rejected,
    written,
)
from telephony_router.vendors.exotel import DND_REFUSED as TRAI_REFUSED
from telephony_router.vendors.exotel import Exotel
from telephony_router.vendors.reading import call_id_of, given

__all__ = ["ExotelDialler"]


class ExotelDialler:
    name = "exotel"
    bases: Sequence[str] = ("https://api.exotel.com", "https://api.in.exotel.com")
    secrets: Mapping[str, str] = {
        "api_key": "API key, from API settings",
        "api_token": "API token, from API settings",
        "webhooks": "the account's webhook address, as account add printed it, with scheme and host",
    }
    options: Mapping[str, str] = {
        "account_sid": "needed: the account's SID, from API settings",
        "caller_id": "needed: the ExoPhone that both see, where an order names no line",
        "numbers": NUMBERS,
        "ring_seconds": "how long to ring; Exotel's choice by default",
    }
    login: Login | None = None

    def dial(self, order: Order, access: Access, token: str) -> ApiRequest:
        pairs = [
            ("From", written(order.agent, access)),
            ("To", written(order.customer, access)),
            ("CallerId", written(order.did or access.options["caller_id"], access)),
            ("CallType", "trans"),
            ("CustomField", order.ref),
            # Of the end only: an answer is told of each leg, and does not say which.
            ("StatusCallback", callback(access, "status", order)),
            ("StatusCallbackEvents[0]", "terminal"),
        ]
        if seconds := access.options.get("ring_seconds"):
            pairs.append(("TimeOut", seconds))
        return form(f"{_account(access)}/connect.json", _proof(access), pairs)

    def dialled(self, answer: ApiAnswer) -> Outcome:
        values = json_of(answer)
        code = given(part(values, "RestException").get("Code"))
        if code == TRAI_REFUSED or (code == "" and answer.status == 403 and b"NDNC" in answer.body):
            return Outcome(kind="refused", code=DND_REFUSED)
        failed = rejected(answer, code)
        if failed is not None:
            return failed
        sid = given(part(values, "Call").get("Sid"))
        return Outcome(kind="submitted", vendor_call_id=sid) if sid else Outcome(kind="unknown", code="garbled")

    def ask(self, call_id: str, ref: str, access: Access, token: str) -> ApiRequest | None:
        if not call_id:
            return None
        url = f"{_account(access)}/{quote(call_id, safe='')}.json?details=true"
        return ApiRequest(method="GET", url=url, headers=_proof(access))

    def ask_more(self, call_id: str, answer: ApiAnswer, access: Access) -> ApiRequest | None:
        return None

    def told(self, call_id: str, ref: str, answers: Sequence[ApiAnswer]) -> CallSignal | None:
        call = part(json_of(answers[0]), "Call")
        # An answer about another call, or about none, says nothing about this one.
        if answers[0].status != 200 or call_id_of(call, "Sid") != call_id:
            return None
        talked = whole_number(part(call, "Details").get("ConversationDuration"))
        fields = {
            "CallSid": call_id,
            "CustomField": ref,
            "Status": call.get("Status"),
            "Direction": call.get("Direction"),
            "From": call.get("From"),
            "To": call.get("To"),
            "EndTime": call.get("EndTime"),
            "RecordingUrl": call.get("RecordingUrl"),
            "ConversationDuration": talked,
        }
        signal = as_status(Exotel().parse, {name: value for name, value in fields.items() if value is not None})
        if signal is not None and signal.status == "completed" and talked is None:
            # The flow ran to its end; whether anybody talked is not said.
            return replace(signal, status="ended")
        return signal


def _account(access: Access) -> str:
    return f"{access.base}/v1/Accounts/{quote(access.options['account_sid'], safe='')}/Calls"


def _proof(access: Access) -> dict[str, str]:
    return basic(access.secrets["api_key"], access.secrets["api_token"])
