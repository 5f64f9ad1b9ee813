"""What a vendor's API is to whoever places calls: requests to build and answers to read, and nothing that sends."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from urllib.parse import quote, urlsplit

from pydantic_core import from_json, to_json

from telephony_router.signals import CallSignal
from telephony_router.vendors.base import BadRequest, Purpose, RawRequest
from telephony_router.vendors.reading import given

__all__ = [
    "DND_REFUSED",
    "NUMBERS",
    "Access",
    "ApiAnswer",
    "ApiRequest",
    "Dialler",
    "Login",
    "Order",
    "Outcome",
    "as_status",
    "basic",
    "callback",
    "form",
    "json_of",
    "origin",
    "part",
    "posted",
    "rejected",
    "written",
]

DND_REFUSED = "dnd_refused"
"""The number is on the register of those who must not be disturbed (TRAI, Exotel's 10717)."""
NUMBERS = "numbers: e164 (+919847000010, the default), plain (without the plus) or national (09847000010)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A call to place: first the agent's telephone rings, then the customer's."""

    ref: str
    """Ours. The vendor brings it back with everything it tells of this call."""
    agent: str
    customer: str
    did: str = ""
    reference: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """How one account reaches its vendor's API."""

    base: str
    """Scheme and host, of those that may be asked."""
    options: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiRequest:
    method: Literal["GET", "POST"]
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiAnswer:
    status: int
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the vendor made of an order. ``unknown`` is for whatever may have rung all the same."""

    kind: Literal["submitted", "refused", "unknown"]
    vendor_call_id: str = ""
    code: str = ""
    retryable: bool = False
    """Nothing rang, and the same order may go better later."""
    healthy: bool = True
    """Whether it speaks for the vendor and the account. What is wrong with one number does."""


class Login(Protocol):
    """Of vendors whose API takes a token that runs out."""

    seconds: int
    """How long a token is kept."""

    def sign_in(self, access: Access) -> ApiRequest: ...

    def token_of(self, answer: ApiAnswer) -> str | None: ...


class Dialler(Protocol):
    """One vendor's API. Pure: no I/O, no clock of its own."""

    name: str
    bases: Sequence[str]
    """The vendor's own addresses, the first by default. Empty: every account names its own."""
    secrets: Mapping[str, str]
    """What must be known to dial, and where it is found."""
    options: Mapping[str, str]
    """What an account may set. Those that begin with ``needed:`` it must."""
    login: Login | None

    def dial(self, order: Order, access: Access, token: str) -> ApiRequest: ...

    def dialled(self, answer: ApiAnswer) -> Outcome: ...

    def ask(self, call_id: str, ref: str, access: Access, token: str) -> ApiRequest | None:
        """What became of a call, by the vendor's id or ours; None when neither is of use to this vendor."""

    def ask_more(self, call_id: str, answer: ApiAnswer, access: Access) -> ApiRequest | None:
        """Another question that the first answer leaves open: who was talked to."""

    def told(self, call_id: str, ref: str, answers: Sequence[ApiAnswer]) -> CallSignal | None:
        """The answer as a status of the call. None when it says nothing that we know: nothing is made up."""


def json_of(answer: ApiAnswer) -> dict[str, Any]:
    """The answer's object; an empty one when it is anything else."""
    try:
        value = from_json(answer.body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def part(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """An object within an object; an empty one when it is not there."""
    found: Any = values
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def rejected(answer: ApiAnswer, code: object = "") -> Outcome | None:
    """What every vendor means by a status that is no success; None for a success.

    A vendor that broke (5xx) may have dialled before it did, so nobody knows. Everything else was refused outright.
    """
    status = answer.status
    if 200 <= status < 300:
        return None
    own = given(code)[:64]
    if status >= 500:
        return Outcome(kind="unknown", code=f"http_{status}", healthy=False)
    if status == 401 or (status == 403 and not own):
        return Outcome(kind="refused", code="unauthorised", healthy=False)
    if status == 429:
        return Outcome(kind="refused", code="rate_limited", retryable=True, healthy=False)
    return Outcome(kind="refused", code=own or f"http_{status}", healthy=status >= 400)


def as_status(parse: Callable[[RawRequest, Purpose], CallSignal], fields: Mapping[str, Any]) -> CallSignal | None:
    """An answer that has the fields of the vendor's status webhook, read as one; None when it cannot be."""
    kind = {"content-type": "application/json"}
    webhook = RawRequest(
        method="POST", url_path="/", query="", headers=kind, body=to_json(dict(fields)), bases=("",), hook="status"
    )
    try:
        return parse(webhook, "status")
    except BadRequest:
        return None


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def posted(url: str, headers: Mapping[str, str], values: Mapping[str, Any]) -> ApiRequest:
    body = to_json(dict(values))
    return ApiRequest(method="POST", url=url, headers={**headers, "content-type": "application/json"}, body=body)


def form(url: str, headers: Mapping[str, str], pairs: Sequence[tuple[str, str]]) -> ApiRequest:
    body = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs).encode()
    kind = {"content-type": "application/x-www-form-urlencoded"}
    return ApiRequest(method="POST", url=url, headers={**headers, **kind}, body=body)


def written(number: str, access: Access) -> str:
    """A number in E.164 as the account's vendor wants it."""
    how = access.options.get("numbers", "e164")
    if how == "plain":
        return number.removeprefix("+")
    if how == "national" and number.startswith("+91"):
        return "0" + number[3:]
    return number


def callback(access: Access, hook: str, order: Order, **more: str) -> str:
    """Where the vendor tells of this order: the account's webhook, with our name for the call."""
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in {"order": order.ref, **more}.items())
    return f"{access.secrets['webhooks'].rstrip('/')}/{hook}?{query}"


def origin(url: str) -> str:
    """Scheme, host and port of an address, in one spelling; nothing when it has a user or no host."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        return ""
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}"
