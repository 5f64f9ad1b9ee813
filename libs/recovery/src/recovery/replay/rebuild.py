"""Rebuilding projections: tables of a shadow run that start empty and are made anew from the events they are made of.

A handler that takes only newer versions changes nothing in a copy of the live table, whatever was mended in it. A
rebuild has to know at least what its copy of live (the base) knows: it reads to the end, events that replays emitted as
well. What its range does not reach back to, it says nothing of: rows that it has not met stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aiokafka import TopicPartition

from recovery.replay.plan import Filters, Plan, Refused, Replayable, ShadowTable, Span
from recovery.replay.topics import LogReader

__all__ = ["check_range", "reach", "reaches_back", "rebuilt_tables", "with_all_events"]


def rebuilt_tables(
    replayable: Replayable, topics: set[str], filters: Filters, *, to_the_end: bool
) -> list[ShadowTable]:
    """The tables that start empty. Raises :class:`Refused` for what cannot be rebuilt like this."""
    if not to_the_end:
        raise Refused("a rebuild that stops earlier would bring back how things were; leave --to out")
    if filters.types or filters.event_ids or filters.replay:
        raise Refused("a rebuild needs every event of a key; --type, --event and --emitted-by leave some out")
    tables = [table for table in replayable.shadow_tables if topics & set(table.made_from)]
    if not tables:
        known = sorted({topic for table in replayable.shadow_tables for topic in table.made_from})
        raise Refused(
            f"{replayable.service} has no table that can be rebuilt from {', '.join(sorted(topics))}; it rebuilds "
            f"those made from: {', '.join(known) or 'nothing'}"
        )
    for table in tables:
        if missing := sorted(set(table.made_from) - topics):
            raise Refused(f"{table.name} is made from {', '.join(missing)} as well; name it by --topic, too")
    return tables


def with_all_events(filters: Filters) -> Filters:
    """What an earlier replay corrected is part of what live knows."""
    return replace(filters, replayed=True)


def reaches_back(spans: Sequence[Span], filters: Filters) -> bool:
    """Whether the plan reads everything that was ever written, so that a row it does not bring about is wrong."""
    if filters.keys or filters.sample < 1:
        return False
    return all(span.start == 0 and span.oldest == 0 for span in spans)


async def reach(plan: Plan, reader: LogReader) -> Sequence[Span]:
    """The ranges to read; for a rebuild, once its copy of live is made, to the end: live may know what came since the
    plan, and what the rebuild does not know it would take for gone.
    """
    if not plan.starts_empty:
        return plan.spans
    places = {TopicPartition(span.topic, span.partition): span for span in plan.spans}
    newest = await reader.newest(list(places))
    return [replace(span, end=max(span.end, newest[place])) for place, span in places.items()]


def check_range(tables: Sequence[ShadowTable], *, complete: bool) -> None:
    """Raises :class:`Refused` when a row that gathers many events would be made of some of them."""
    gathering = [table.name for table in tables if table.gathers]
    if gathering and not complete:
        raise Refused(
            f"rows of {', '.join(gathering)} gather many events, and the range does not hold all of them: leave "
            "--from, --key and --sample out. If retention has taken the beginning they cannot be rebuilt; "
            "name other topics"
        )
