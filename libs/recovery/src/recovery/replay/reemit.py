"""An owner's store told again: its events of a period, appended to its outbox under the replay's id.

They leave on their topics like every event, and each consumer takes them as its handlers take replays. An event gets an
id that derives from the replay and the event, so going on after a kill repeats ids and no effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from contracts.envelope import Envelope
from contracts.event import Event
from kit.ids import name_uuid
from kit.outbox import append_told
from kit.postgres import Database
from recovery.replay.book import Entry
from recovery.replay.pace import Pace, Step
from recovery.replay.plan import Plan, Reemit, Refused, Replayable, StorePlace

__all__ = ["count_store", "reemit", "reemitter_of", "store_place"]

NOTHING = UUID(int=0)


def reemitter_of(replayable: Replayable, topic: str) -> Reemit:
    for event, tell in replayable.reemitters.items():
        if event.topic() == topic:
            return tell
    known = ", ".join(sorted(event.topic() for event in replayable.reemitters)) or "nothing"
    raise Refused(f"{replayable.service} cannot tell {topic} again from its store; it can tell {known}")


def store_place(number: int) -> tuple[str, int]:
    """The place of the plan's n-th tenant: how many of its events were appended."""
    return "store", number


async def count_store(
    replayable: Replayable, database: Database, topic: str, tenant: UUID, period: tuple[datetime, datetime]
) -> int:
    tell = reemitter_of(replayable, topic)
    count = 0
    async for batch in tell(database, tenant, (period[0], NOTHING), period[1]):
        count += len(batch)
    return count


async def reemit(replayable: Replayable, plan: Plan, entry: Entry, pace: Pace) -> Step:
    """Tell what the plan names, from behind the last row that was told: rows come, change and leave meanwhile."""
    (topic,) = plan.classes
    tell = reemitter_of(replayable, topic)
    start, end = datetime.fromisoformat(plan.asked_from), datetime.fromisoformat(plan.asked_to)
    database = replayable.database()
    try:
        for number, tenant in enumerate(plan.tenants):
            place = store_place(number)
            told = entry.positions.get(place, 0)
            after = _place_of(entry.last_told[place]) if place in entry.last_told else (start, NOTHING)
            async for batch in tell(database, UUID(tenant), after, end):
                step = await pace.wait(len(batch))
                if step != "running":
                    return step
                await pace.patiently(_append, database, plan, UUID(tenant), batch)
                told += len(batch)
                at, id_ = batch[-1][1]
                step = await pace.step(
                    {place: told}, seen=len(batch), outcomes={"emitted": len(batch)},
                    last_told={place: f"{at.isoformat()} {id_}"},
                )  # fmt: skip
                if step != "running":
                    return step
        return "done"
    finally:
        await database.close()


def _place_of(text: str) -> StorePlace:
    at, id_ = text.split()
    return datetime.fromisoformat(at), UUID(id_)


async def _append(database: Database, plan: Plan, tenant: UUID, batch: Sequence[tuple[Event, StorePlace]]) -> None:
    cause = Envelope(
        id=plan.id, type="replay", source=f"/{plan.service}", time=datetime.now(UTC), tenant=tenant, subject=plan.id,
        partitionkey=plan.id, correlationid=plan.id, replayid=plan.id,
    )  # fmt: skip
    told = [(event, at, name_uuid(plan.id, event.type, event.model_dump_json())) for event, (at, _) in batch]
    async with database.transaction(tenant, emits={event.entity_id() for event, _ in batch}, cause=cause) as tx:
        await append_told(tx, told)
