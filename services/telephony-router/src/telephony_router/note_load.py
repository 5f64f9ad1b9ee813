"""What calls mean for those to come: who is busy and since when free, who was offered one, who calls like a machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from kit.postgres import Transaction
from telephony_router import store
from telephony_router.call_record import CallRecord
from telephony_router.calls import TERMINAL
from telephony_router.spam import StrangerCalls, score
from telephony_router.store import IntakeRow, Q, put_rows

__all__ = ["OnSettled", "Settled", "heard_of", "note_load", "nothing", "settled"]

Settled = tuple[UUID, str | None]
"""A call that keeps nobody free any more, but for the one who took it."""
OnSettled = Callable[[UUID, str, str | None], None]
"""Hears the tenant, the call, and who took it."""


def nothing(tenant: UUID, call_id: str, taken_by: str | None) -> None:
    """Nobody wants to hear of it."""


def heard_of(rows: Sequence[IntakeRow]) -> dict[UUID, datetime]:
    """When the last webhook of each call came. They are in their order."""
    return {row.call_id: row.received_at for row in rows}


def settled(calls: Iterable[CallRecord]) -> list[Settled]:
    """The calls that somebody took or that are over. One that somebody unknown took keeps everybody until its end."""
    found: list[Settled] = []
    for call in calls:
        if call.facts.state in TERMINAL:
            found.append((call.id, None))
        elif call.facts.state == "answered" and call.staff_id is not None:
            found.append((call.id, call.staff_id))
    return found


async def note_load(
    tx: Transaction, calls: Mapping[UUID, CallRecord], heard: Mapping[UUID, datetime], offers: Mapping[str, datetime]
) -> list[tuple[str, str]]:
    """Keep it, and return what of the view changed. ``heard`` is when each call's last webhook came: our own clock."""
    taken = [
        (call.id, call.staff_id, heard[call.id])
        for call in calls.values()
        if call.facts.state == "answered" and call.staff_id is not None
    ]
    over = {call.id: call for call in calls.values() if call.facts.state in TERMINAL}
    changed = len(await put_rows(tx, "take_agent_calls", taken))
    if over:
        changed += len(await tx.fetch(Q.end_agent_calls, list(over)))
    loads: dict[str, tuple[datetime | None, datetime | None]] = {staff: (None, at) for staff, at in offers.items()}
    for call in over.values():
        if call.staff_id is not None and call.facts.answered:
            # A vendor's clock that runs ahead must not keep anybody from the next call.
            ended = min(call.facts.ended_at or heard[call.id], heard[call.id])
            idle, offered = loads.get(call.staff_id, (None, None))
            loads[call.staff_id] = (max(idle, ended) if idle else ended, offered)
    rows = [(staff_id, idle, offered) for staff_id, (idle, offered) in sorted(loads.items())]
    changed += len(await put_rows(tx, "put_agent_loads", rows))
    scored = await _scores(tx, over.values())
    return [*([("load", "")] if changed else []), *(("caller", number) for number in scored)]


async def _scores(tx: Transaction, over: Iterable[CallRecord]) -> list[str]:
    """Score the strangers among those whose calls are over; return whose score is news."""
    last: dict[str, datetime] = {}
    for call in over:
        if call.direction == "inbound" and call.caller is not None and call.asked_at is not None:
            last[call.caller] = max(call.asked_at, last.get(call.caller, call.asked_at))
    if not last:
        return []
    numbers = sorted(last)
    found = await store.stranger_calls(tx, numbers, [last[each] for each in numbers])
    rows = [(number, score(StrangerCalls(**counts)), last[number]) for number, counts in sorted(found.items())]
    return [row["number"] for row in await put_rows(tx, "put_scores", rows)]
