"""Any PBX with an API of JSON: one address to post an order to, and one to ask what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from telephony_router.signals import CallSignal
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
    json_of,
    posted,
    rejected,
    written,
)
from telephony_router.vendors.generic import Generic
from telephony_router.vendors.reading import call_id_of, given

__all__ = ["GenericDialler"]


class GenericDialler:
    """Posts ``{order, from, to, did, reference}``; reads ``{call_id}``, or ``{code}`` with a 4xx."""

    name = "generic"
    bases: Sequence[str] = ()
    secrets: Mapping[str, str] = {"token": "shown as a bearer token"}
    options: Mapping[str, str] = {
        "api_base": "needed: scheme and host of the API",
        "path": "where orders are posted; /calls by default",
        "status_path": "where a call is asked for, with {call_id} or {order} in it; cannot be asked without",
        "numbers": NUMBERS,
    }
    login: Login | None = None

    def dial(self, order: Order, access: Access, token: str) -> ApiRequest:
        values = {
            "order": order.ref,
            "from": written(order.agent, access),
            "to": written(order.customer, access),
            "did": written(order.did, access) or None,
            "reference": order.reference or None,
        }
        headers = {**_proof(access), "idempotency-key": order.ref}
        return posted(access.base + access.options.get("path", "/calls"), headers, values)

    def dialled(self, answer: ApiAnswer) -> Outcome:
        values = json_of(answer)
        code = given(values.get("code"))
        failed = rejected(answer, DND_REFUSED if code == DND_REFUSED else code)
        if failed is not None:
            return failed
        if not values:
            return Outcome(kind="unknown", code="garbled")
        return Outcome(kind="submitted", vendor_call_id=given(values.get("call_id"))[:128])

    def ask(self, call_id: str, ref: str, access: Access, token: str) -> ApiRequest | None:
        path = access.options.get("status_path", "")
        names = {"{call_id}": call_id, "{order}": ref}
        if not path or any(name in path and not value for name, value in names.items()):
            return None
        for name, value in names.items():
            path = path.replace(name, quote(value, safe=""))
        return ApiRequest(method="GET", url=access.base + path, headers=_proof(access))

    def ask_more(self, call_id: str, answer: ApiAnswer, access: Access) -> ApiRequest | None:
        return None

    def told(self, call_id: str, ref: str, answers: Sequence[ApiAnswer]) -> CallSignal | None:
        values = json_of(answers[0])
        if answers[0].status != 200 or not values:
            return None
        if call_id and call_id_of(values, "call_id") not in ("", call_id):
            return None
        fields = {**values, "call_id": given(values.get("call_id")) or call_id, "order": ref}
        return as_status(Generic().parse, fields)


def _proof(access: Access) -> dict[str, str]:
    return {"authorization": f"Bearer {access.secrets['token']}"}
