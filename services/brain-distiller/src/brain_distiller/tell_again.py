"""Facts told again: ``fact.extracted`` of every fact that changed in a period, in its newest version."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from uuid import UUID

from brain_distiller import store
from brain_distiller.distil_messages import event_of
from contracts.event import Event
from kit.postgres import Database
from recovery.replay.plan import StorePlace

__all__ = ["tell_facts"]

PAGE = 500


async def tell_facts(
    database: Database, tenant: UUID, after: StorePlace, end: datetime
) -> AsyncIterator[Sequence[tuple[Event, StorePlace]]]:
    """Facts whose newest version came about after a place and before a time, the earliest first."""
    while True:
        async with database.transaction(tenant) as tx:
            told = await store.facts_of_period(tx, after=after, before=end, limit=PAGE)
        if not told:
            return
        yield [(event_of(each.fact, each.evidence), (each.at, each.fact.fact_id)) for each in told]
        after = told[-1].at, told[-1].fact.fact_id
