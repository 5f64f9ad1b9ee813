"""Bonvoice's API: autoCallBridging under a token of a day, and the log of an automatic call by our own event id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from telephony_router.signals import CallSignal
from telephony_router.vendors.bonvoice import Bonvoice
from telephony_router.vendors.dialling.base import (
    NUMBERS,
    Access,
    ApiAnswer,
    ApiRequest,
    Login,
    Order,
    Outcome,
    as_status,
    json_of,
    part,
    posted,
    rejected,
    written,
)
from telephony_router.vendors.reading import first, given

__all__ = ["BonvoiceDialler"]

CLICK_TO_CALL = "3"


class _Login:
    seconds = 23 * 3600
    """An hour less than the vendor's day."""

    def sign_in(self, access: Access) -> ApiRequest:
        values = {"username": access.secrets["username"], "password": access.secrets["password"]}
        return posted(f"{access.base}/usermanagement/external-auth/", {}, values)

    def token_of(self, answer: ApiAnswer) -> str | None:
        values = json_of(answer)
        # Its status is the string "1"; another answer is a refusal, also with HTTP 200.
        if answer.status != 200 or given(values.get("status")) != "1":
            return None
        return given(part(values, "data").get("token")) or None


class BonvoiceDialler:
    name = "bonvoice"
    bases: Sequence[str] = ("https://backend.pbx.bonvoice.com",)
    secrets: Mapping[str, str] = {"username": "of the API's user", "password": "of the API's user"}
    options: Mapping[str, str] = {
        "caller_id": "needed: the number that both see, where an order names no line",
        "channel_id": "needed: the channel that both legs use",
        "attempts": "how often each leg is tried; once by default",
        "numbers": NUMBERS,
    }
    login: Login | None = _Login()

    def dial(self, order: Order, access: Access, token: str) -> ApiRequest:
        shown = written(order.did or access.options["caller_id"], access)
        channel, attempts = access.options["channel_id"], access.options.get("attempts", "1")
        values = {
            "autocallType": CLICK_TO_CALL,
            "destination": written(order.agent, access),
            "ringStrategy": "sequence",
            "legACallerID": shown,
            "legAChannelID": channel,
            "legADialAttempts": attempts,
            "legBDestination": written(order.customer, access),
            "legBCallerID": shown,
            "legBChannelID": channel,
            "legBDialAttempts": attempts,
            "eventID": order.ref,
        }
        return posted(f"{access.base}/autoDialManagement/autoCallBridging/", _proof(token), values)

    def dialled(self, answer: ApiAnswer) -> Outcome:
        values = json_of(answer)
        own = given(values.get("responseCode"))
        failed = rejected(answer, own)
        if failed is not None:
            return failed
        if own == "200":
            # The call's own id comes with the first webhook, beside our event id.
            return Outcome(kind="submitted")
        if own.isdigit() and 400 <= int(own) < 500:
            return Outcome(kind="refused", code=own)
        return Outcome(kind="unknown", code=own or "garbled", healthy=bool(own))

    def ask(self, call_id: str, ref: str, access: Access, token: str) -> ApiRequest | None:
        if not ref:
            return None
        url = f"{access.base}/get-autocall-log/{quote(ref, safe='')}/"
        return ApiRequest(method="GET", url=url, headers=_proof(token))

    def ask_more(self, call_id: str, answer: ApiAnswer, access: Access) -> ApiRequest | None:
        return None

    def told(self, call_id: str, ref: str, answers: Sequence[ApiAnswer]) -> CallSignal | None:
        values = json_of(answers[0])
        call = part(values, "data", "outbound")
        if answers[0].status != 200 or given(values.get("status")) != "1" or not call:
            return None
        callbacks = part(values, "data").get("callbacks")
        chain = next((each for each in callbacks if isinstance(each, dict)), {}) if isinstance(callbacks, list) else {}
        fields = {
            "callID": call_id,
            "Direction": "Outbound",
            "callBackParentID": first(chain, "callBackParentID"),
            **call,
            "eventID": ref,
        }
        return as_status(Bonvoice().parse, fields)


def _proof(token: str) -> dict[str, str]:
    return {"authorization": f"Token {token}"}
