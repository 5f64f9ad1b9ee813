"""What became of a call: a state that only moves forward, from statuses in any order and any number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from telephony_router.signals import CallSignal

__all__ = ["STATES", "TERMINAL", "CallState", "apply", "noted"]

STATES = ("initiated", "ringing", "answered", "missed", "cancelled", "failed", "busy", "completed")
"""In one total order. A call's state is the furthest one reported, so the order of reports cannot matter."""
TERMINAL = frozenset(STATES[3:])
_RANK = {state: rank for rank, state in enumerate(STATES)}


@dataclass(frozen=True, kw_only=True, slots=True)
class CallState:
    """All that the statuses of one call add up to. Every field is a maximum or a minimum over the statuses."""

    reported: str = "initiated"
    """The furthest state that a status named outright."""
    answered: bool = False
    ended: bool = False
    """The caller is gone, by a report that does not say whether anybody answered."""
    started_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    duration_seconds: int | None = None
    agent_raw: str = ""
    agent_at: datetime | None = None
    """When the agent answered; of several, the last to answer is the call's agent."""
    agent_final: bool = False
    """The agent was named by the report of the whole call's end, which knows best."""
    cause: str = ""
    cause_rank: int = -1
    parent_call: str = ""
    digits: str = ""
    digits_at: datetime | None = None
    transferred_raw: str = ""
    transferred_at: datetime | None = None

    @property
    def state(self) -> str:
        if self.ended and _RANK[self.reported] < _RANK["completed"]:
            if self.answered:
                return "completed"
            return self.reported if self.reported in TERMINAL else "missed"
        return self.reported


def apply(before: CallState, signal: CallSignal, received_at: datetime) -> CallState:
    """Add one status. Commutative and idempotent: any order and any repetition give the same state.

    ``received_at`` must be the same whenever the same status is applied; it stands in for a missing time.
    Raises ``ValueError`` for a status this function cannot place: it must not pass for a known one.
    """
    at = signal.at or received_at
    status = signal.status
    if status == "unknown":
        raise ValueError("the vendor's status is not one we know")
    after = noted(before, signal, at)
    if status in ("answered", "completed"):
        after = _answered(after, signal, at)
    if status in ("initiated", "ringing"):
        after = replace(after, started_at=_earliest(after.started_at, at))
    if signal.attempt:
        # One agent's leg ended; the caller may still be ringing somewhere else.
        return _advance(after, "answered" if status == "completed" else status) if status in _OPEN else after
    if status == "ended":
        after = replace(after, ended=True, ended_at=_latest(after.ended_at, at))
    elif status in TERMINAL:
        after = replace(after, ended_at=_latest(after.ended_at, at))
    if signal.duration_seconds is not None:
        after = replace(after, duration_seconds=max(after.duration_seconds or 0, signal.duration_seconds))
    rank = _RANK.get(status, -1)
    if signal.cause and (rank, signal.cause) > (after.cause_rank, after.cause):
        after = replace(after, cause=signal.cause, cause_rank=rank)
    return after if status == "ended" else _advance(after, status)


def noted(before: CallState, signal: CallSignal, at: datetime) -> CallState:
    """What a webhook says beside its status: of digits and transfers the latest stands. As commutative as the rest."""
    after = before
    floor = datetime.min.replace(tzinfo=at.tzinfo)
    if signal.parent_call > after.parent_call:
        after = replace(after, parent_call=signal.parent_call)
    if signal.digits and (at, signal.digits) > (after.digits_at or floor, after.digits):
        after = replace(after, digits=signal.digits, digits_at=at)
    if signal.transferred_raw and (at, signal.transferred_raw) > (after.transferred_at or floor, after.transferred_raw):
        after = replace(after, transferred_raw=signal.transferred_raw, transferred_at=at)
    return after


_OPEN = frozenset({"initiated", "ringing", "answered", "completed"})


def _advance(state: CallState, status: str) -> CallState:
    return replace(state, reported=status) if _RANK[status] > _RANK[state.reported] else state


def _answered(state: CallState, signal: CallSignal, at: datetime) -> CallState:
    after = replace(state, answered=True)
    if signal.status == "answered":
        after = replace(after, answered_at=_earliest(after.answered_at, at))
    if not signal.agent_raw:
        return after
    final = signal.status == "completed" and not signal.attempt
    floor = datetime.min.replace(tzinfo=at.tzinfo)
    # Ties are broken by the number itself, so that the outcome never depends on the order of arrival.
    if (final, at, signal.agent_raw) > (state.agent_final, state.agent_at or floor, state.agent_raw):
        after = replace(after, agent_raw=signal.agent_raw, agent_at=at, agent_final=final)
    return after


def _earliest(one: datetime | None, other: datetime) -> datetime:
    return other if one is None or other < one else one


def _latest(one: datetime | None, other: datetime) -> datetime:
    return other if one is None or other > one else one
