"""What a PBX vendor is to the router: three pure functions between its dialect and ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal, Protocol
from uuid import UUID

from telephony_router.peers import Network
from telephony_router.routing import Decision
from telephony_router.signals import CallSignal

__all__ = [
    "HOPS_HEADER",
    "Account",
    "BadRequest",
    "Forbidden",
    "Purpose",
    "RawRequest",
    "Response",
    "Vendor",
    "check_options",
    "hops_of",
    "is_proven",
    "kinds",
    "moment",
    "whole_number",
]

Purpose = Literal["ring", "status", "recording"]
# Proofs that anybody gives who came to know an address, or that do not cover what is said.
UNPROVEN = frozenset({"path", "jwt_without_payload"})
INDIA = timezone(timedelta(hours=5, minutes=30))
# Vendors write "no end yet" as the epoch or as zeros; nothing rang before this.
FIRST_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
PARAMETERS_MAX = 200
HOPS_HEADER = "x-trunkline-hops"
"""Where a call carries how often it was passed on; SIP headers have the same name."""
HOPS_MAX = 1000
RECORD = "true: ask the PBX to record the calls it puts through"


class BadRequest(Exception):
    """The webhook cannot be understood. The message is sent back: it names fields, never their values."""


class Forbidden(Exception):
    """The webhook is not proven to come from the account."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """One vendor account of one tenant."""

    id: UUID
    tenant: UUID
    vendor: str
    label: str = ""
    auth_tokens: tuple[str, ...] = field(default=(), repr=False)
    """The newest first. Two may live at once, so that one can be replaced without losing a call."""
    allow_sources: tuple[Network, ...] = ()
    """Where its webhooks may come from; empty means anywhere."""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class RawRequest:
    """One HTTP request, with its body and query exactly as they came."""

    method: str
    url_path: str
    """As it came, still percent-encoded."""
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    bases: Sequence[str]
    """Scheme and host under which the sender may have called us, most likely first."""
    hook: str = ""
    """The hook's name, one of the vendor's."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The account's: what differs between customers of one vendor."""

    @property
    def hook_url(self) -> str:
        """The account's address, without the hook's name."""
        return f"{self.bases[0]}{self.url_path.rpartition('/')[0]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    body: bytes
    content_type: str
    status: int = 200


class Vendor(Protocol):
    """One PBX vendor. Pure: no I/O, no clock of its own."""

    name: str
    hooks: Mapping[str, Purpose]
    """Its paths under the account's secret, and what they are mostly for: the signal's own kind decides."""
    methods: frozenset[str]
    needs_token: bool
    """Whether an account cannot do without an auth token."""
    proof: str
    """What the auth token is, for whoever has to find it in the vendor's panel."""
    options: Mapping[str, str]
    """What an account may set, and what it does."""

    known: Mapping[str, str]
    """The fields it sends, flat (``data.from``, ``legs[].id``, ``vars.*``), each with its kinds of values."""
    known_prefixes: tuple[str, ...]
    """How names begin of which there is no end."""

    def authenticate(self, request: RawRequest, account: Account, now: datetime) -> str:
        """Raise :class:`Forbidden` unless the account sent this; return the name of the proof that held."""

    def parse(self, request: RawRequest, purpose: Purpose) -> CallSignal:
        """Raise :class:`BadRequest` when the dialect is not spoken; whatever can be excused is excused.

        ``purpose`` is the hook's; where several kinds of events arrive on one hook, the signal's kind may be another.
        """

    def render(self, decision: Decision, signal: CallSignal, request: RawRequest) -> Response:
        """The decision in the vendor's dialect, or as a status code where that is all the vendor reads."""

    def acknowledge(self, signal: CallSignal, request: RawRequest) -> Response:
        """The answer to a status or a recording that is stored."""


def kinds(of: str, names: str) -> dict[str, str]:
    """Names of fields with what each may hold: ``s`` text, ``n`` a number, ``b`` true or false. Null is always fine."""
    return dict.fromkeys(names.split(), of)


def check_options(vendor: Vendor, options: Mapping[str, str]) -> None:
    """Raise ``ValueError`` for an option that the vendor does not have, or whose value it cannot have."""
    for name, value in options.items():
        if name not in vendor.options:
            known = ", ".join(sorted(vendor.options)) or "none"
            raise ValueError(f"{vendor.name} has no option {name}; there are: {known}")
        if vendor.options[name].startswith("true:") and value not in ("true", "false"):
            raise ValueError(f"{name} is true or false")


def is_proven(proof: str) -> bool:
    """Whether a proof's name says that the sender is the account, and not just somebody who knows the address."""
    return proof not in UNPROVEN


def moment(value: object) -> datetime | None:
    """A vendor's time: ISO 8601 (a naive one is Indian time), epoch seconds or milliseconds; sentinels are no time."""
    found: datetime | None = None
    if isinstance(value, bool) or value in (None, ""):
        return None
    try:
        if isinstance(value, int | float) or (isinstance(value, str) and value.strip().replace(".", "", 1).isdigit()):
            number = float(value)
            found = datetime.fromtimestamp(number / 1000 if number > 1e11 else number, UTC)
        elif isinstance(value, str):
            found = datetime.fromisoformat(value.strip())
    except (ValueError, OverflowError, OSError):
        return None
    if found is None:
        return None
    if found.tzinfo is None:
        found = found.replace(tzinfo=INDIA)
    try:
        found = found.astimezone(UTC)
    except OverflowError:
        return None
    return found if found >= FIRST_MOMENT else None


def hops_of(value: object) -> int:
    """How often a call was passed on, as a sender says; what is no number is none."""
    return min(whole_number(value) or 0, HOPS_MAX)


def whole_number(value: object) -> int | None:
    """A vendor's duration: a number or digits in a string; anything else is not known."""
    if value is None:
        return None
    try:
        number = int(float(str(value)))
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < 10_000_000 else None
