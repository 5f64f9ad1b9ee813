"""Missed calls as items of work: what of a call concerns them, what is told of a change. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from contracts.calls import CallStateV1, Claim
from telephony_router.call_record import CallRecord, state_event

__all__ = ["MISSED", "OUTCOMES", "Item", "Taken", "ago", "claim_event", "concern", "missed_at", "numbers_of"]

MISSED = frozenset({"missed", "busy", "failed", "cancelled"})
OUTCOMES = ("called_back", "no_answer", "not_needed", "spam", "other")
Concern = Literal["missed", "talked", "not_reached"]


def concern(call: CallRecord) -> Concern | None:
    """What a call's state means for missed calls: one to call back, somebody talked to, a call back that failed."""
    if call.quarantined:
        # Nobody asked us about it: it may be anybody's.
        return None
    if call.facts.answered:
        return "talked"
    if call.facts.state not in MISSED:
        return None
    return "not_reached" if call.direction == "outbound" else "missed"


def missed_at(call: CallRecord) -> datetime | None:
    """When the caller gave up, as the vendor says."""
    return call.facts.ended_at or call.facts.started_at or call.asked_at


def numbers_of(call: CallRecord) -> set[str]:
    """Numbers that may be the caller's. Vendors name the two ends of an outbound call either way round."""
    ends = (call.caller, call.did) if call.direction == "outbound" else (call.caller,)
    return {each for each in ends if each}


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One item as it stands. ``now`` is the database's time when it was read."""

    id: UUID
    caller: str | None
    did: str | None
    calls: int
    first_at: datetime
    last_at: datetime
    opened_at: datetime
    state: Literal["open", "claimed", "resolved"]
    since: datetime
    user_id: str | None
    user_name: str
    until: datetime | None
    outcome: str | None
    note: str
    now: datetime

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Item:
        return cls(**{name: row[name] for name in cls.__slots__})

    @property
    def seconds(self) -> float:
        """For how long it has been as it is."""
        return max(0.0, (self.now - self.since).total_seconds())


class Taken(Exception):
    """Somebody else was faster. Carries the item as it stands, and says so in a sentence."""

    def __init__(self, item: Item) -> None:
        who = item.user_name or "Somebody"
        done = "took it" if item.state == "claimed" else f"resolved it ({(item.outcome or '').replace('_', ' ')})"
        super().__init__(f"{who} {done} {ago(item.seconds)} ago" if item.state != "open" else "Nobody has it")
        self.item = item


def ago(seconds: float) -> str:
    """``3 s``, ``4 min``, ``2 h``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 3600 else f"{whole // 3600} h"


def claim_event(call: CallRecord, item: Item, reason: str = "") -> CallStateV1:
    """A change of an item: the state of the call that opened it, unchanged, with its next version and the claim."""
    return state_event(
        call,
        call.facts.state,
        "",
        missed_at(call) or item.first_at,
        Claim(
            status=item.state,
            user_id=item.user_id,
            user_name=item.user_name,
            outcome=item.outcome,
            until=item.until,
            since=item.since,
            calls=item.calls,
            first_missed_at=item.first_at,
            last_missed_at=item.last_at,
            reason=reason,
        ),
    )
