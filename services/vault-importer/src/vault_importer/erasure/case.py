"""What an erasure is: who asked for what about whom, how far it is, what it reaches, and when it may be done. Pure."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from vault_importer.leaves import canonical

__all__ = [
    "APPROVALS",
    "Approval",
    "Case",
    "ErasureRefused",
    "Ground",
    "Hold",
    "Mode",
    "Scope",
    "State",
    "SuppressionKey",
    "Who",
    "due_at",
    "holds_on",
    "name_key",
    "plan_hash",
]

State = Literal["asked", "approved", "planned", "locked", "erasing", "told", "done", "cancelled"]
"""``locked`` waits for its day, hidden; ``told`` is gone from here and waits for the others' receipts."""
Scope = Literal["person", "messages"]
"""``messages``: what was written and what was made of it; calls and the directory's entry stay."""
Ground = Literal["request", "consent_withdrawn", "purpose_ended", "court_order"]
Mode = Literal["at_once", "after_one_year"]

APPROVALS = 2
YEAR = timedelta(days=365)


class ErasureRefused(Exception):
    """What was asked cannot be done now; ``str()`` says why and what to do instead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Who:
    """By what a person is known, to the archive and to the other services."""

    numbers: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    customer_ids: tuple[str, ...] = ()
    lead_ids: tuple[str, ...] = ()
    contact_ids: tuple[UUID, ...] = ()
    chat_ids: tuple[UUID, ...] = ()

    def __bool__(self) -> bool:
        return any((self.numbers, self.emails, self.customer_ids, self.lead_ids, self.contact_ids))


@dataclass(frozen=True, kw_only=True, slots=True)
class Approval:
    approver: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """What has to stay: of a number, of a chat, or everything."""

    id: UUID
    number: str | None
    chat_id: UUID | None
    reason: str
    placed_by: str
    placed_at: datetime
    released_by: str | None = None
    released_at: datetime | None = None
    released_why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One erasure, as it is kept."""

    id: UUID
    subject_id: UUID
    state: State
    scope: Scope
    ground: Ground
    asked_by: str
    asked_at: datetime
    why: str
    who: Who
    plan: Mapping[str, Any] | None = None
    plan_hash: str = ""
    mode: Mode | None = None
    due_at: datetime | None = None
    effective_at: datetime | None = None
    counts: Mapping[str, int]
    parts: int = 0
    ended_at: datetime | None = None
    certificate: str | None = None
    approvals: Sequence[Approval] = ()

    @property
    def approvers(self) -> frozenset[str]:
        """Who approved, each person once."""
        return frozenset(name_key(each.approver) for each in self.approvals)

    @property
    def calls_go(self) -> bool:
        """Whether calls go with the person. When the last one was is known to the telephony router only."""
        return self.scope == "person" and bool(self.who.numbers)


@dataclass(frozen=True, kw_only=True, slots=True)
class SuppressionKey:
    """Makes the tags of the suppression list. Derived from the service's own key, which is not in Postgres."""

    key: bytes

    @classmethod
    def of(cls, sealing_key: bytes) -> SuppressionKey:
        return cls(key=hmac.digest(sealing_key, b"trunkline suppression list", "sha256"))

    def tag(self, tenant: UUID, address: str) -> bytes:
        """32 bytes that say nothing about an address to whoever has not the key; the same for the same address."""
        return hmac.digest(self.key, tenant.bytes + address.encode(), "sha256")


def plan_hash(plan: Mapping[str, Any]) -> str:
    """What names a plan: whoever applies it says by this which one they have read."""
    return hashlib.sha256(canonical(plan)).hexdigest()[:16]


def due_at(mode: Mode, *, now: datetime, processed_at: datetime | None, called: bool = False) -> datetime:
    """When a person may be erased. ``after_one_year``: once the newest of it has been held for a year, as rule 8(3) of
    the DPDP Rules wants logs and traffic data to be. Whoever may have ``called`` may have done so just now."""
    if mode == "at_once":
        return now
    if called:
        return now + YEAR
    return now if processed_at is None else max(now, processed_at + YEAR)


def name_key(name: str) -> str:
    """The same for what is one name to people: however it is spaced, composed or capitalised."""
    shown = "".join(each for each in unicodedata.normalize("NFKC", name) if unicodedata.category(each) != "Cf")
    return " ".join(shown.split()).casefold()


def holds_on(holds: Iterable[Hold], *, numbers: Iterable[str], chats: Iterable[UUID]) -> list[Hold]:
    """The holds, not yet released, that are on a person or on a conversation with them."""
    theirs, in_chats = set(numbers), set(chats)
    return [
        hold
        for hold in holds
        if hold.released_at is None
        and ((hold.number is None and hold.chat_id is None) or hold.number in theirs or hold.chat_id in in_chats)
    ]
