"""Making a plan: what was asked for is resolved to offsets, counted, and checked against what handlers allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from aiokafka import TopicPartition

from contracts.event import rfc3339
from kit.handling import code_version
from recovery.replay.letters import LETTERS, planned_letters
from recovery.replay.plan import Filters, Plan, Refused, Replayable, ShadowTable, Span, Target, new_id
from recovery.replay.rebuild import check_range, reaches_back, rebuilt_tables, with_all_events
from recovery.replay.reemit import count_store, reemitter_of, store_place
from recovery.replay.topics import Bound, Census, LogReader, wanted

__all__ = ["Asked", "check_appliable", "make_plan"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What an operator asks to be replayed."""

    consumer: str
    target: Target
    source: Literal["topics", "dead_letters", "store"] = "topics"
    topics: tuple[str, ...] = ()
    """All that the consumer reads, when empty."""
    start: Bound | None = None
    """The oldest that there is, by default."""
    end: Bound | None = None
    """Where the live consumer is, by default and at most."""
    fingerprint: str = ""
    tenants: tuple[UUID, ...] = ()
    filters: Filters = field(default_factory=Filters)
    rebuild: bool = False
    """Whether projections start empty and are made anew from the events."""
    rate: float = 1000.0
    allow_effects: bool = False
    """Whether a rewound group may have effects on others again."""


async def make_plan(replayable: Replayable, asked: Asked) -> Plan:
    """Resolve, count, and freeze. Changes nothing. Raises :class:`Refused` for what must not be replayed."""
    if asked.rebuild and (asked.target, asked.source) != ("shadow", "topics"):
        raise Refused("a rebuild is for --target shadow and reads topics; neither dead letters nor stores have all")
    if asked.source == "store":
        return await _of_store(replayable, asked)
    if asked.source == "dead_letters" and "@" in asked.consumer:
        # What failed in a replay is handled by the handlers of the consumer that was replayed.
        return await _of_letters(replayable, replace(asked, consumer=asked.consumer.partition("@")[0]), asked.consumer)
    subscriptions = replayable.subscriptions(asked.consumer)
    read = {subscription.topic for subscription in subscriptions}
    if unknown := set(asked.topics) - read:
        raise Refused(
            f"{asked.consumer} does not read {', '.join(sorted(unknown))}; it reads {', '.join(sorted(read))}"
        )
    if asked.target == "shadow" and not replayable.shadow_tables:
        raise Refused(f"{replayable.service} names no tables for a shadow run; use --target live")
    if asked.source == "dead_letters":
        return await _of_letters(replayable, asked, asked.consumer)
    if asked.target == "rewind":
        _check_rewind(asked)
    classes = _classes(replayable, asked, set(asked.topics) or read)
    async with LogReader(replayable.kafka_bootstrap) as reader:
        return await _of_topics(replayable, asked, reader, classes)


def _classes(replayable: Replayable, asked: Asked, topics: set[str]) -> dict[str, str]:
    """The replay class of each topic's handlers. Raises :class:`Refused` for effects that nobody has allowed."""
    classes = replayable.classes(asked.consumer, topics)
    forbidden = sorted(topic for topic, class_ in classes.items() if class_ == "forbidden")
    unsafe = sorted(topic for topic, class_ in classes.items() if class_ != "safe")
    if asked.target != "rewind":
        if asked.allow_effects:
            raise Refused(
                "--allow-effects is for --target rewind; a run under its own id has no effects on the outside world"
            )
        if forbidden:
            raise Refused(
                f"{asked.consumer} forbids replays of {', '.join(forbidden)}: what it does with them reaches the "
                "outside world. Name other topics by --topic"
            )
    elif unsafe and not asked.allow_effects:
        raise Refused(
            f"what {asked.consumer} does with {', '.join(unsafe)} has effects on others, and a rewound group has them "
            "again for all that its inbox does not know. Name other topics by --topic, or allow it by --allow-effects"
        )
    return classes


def _check_rewind(asked: Asked) -> None:
    """A group is moved whole: it handles everything from there on, so nothing can be chosen."""
    given = [f"--{name}" for name in asked.filters.chosen()]
    if asked.end is not None:
        given.append("--to")
    if given:
        raise Refused(f"a rewound group handles everything from there on; it cannot be held to {', '.join(given)}")


async def _of_topics(replayable: Replayable, asked: Asked, reader: LogReader, classes: dict[str, str]) -> Plan:
    partitions = await reader.partitions(classes)
    oldest = await reader.oldest(partitions)
    start = await reader.offsets_of(partitions, asked.start) if asked.start is not None else oldest
    committed = await reader.committed(asked.consumer, partitions)
    newest = await reader.newest(partitions)
    end = await reader.offsets_of(partitions, asked.end) if asked.end is not None else newest
    spans = []
    for p in partitions:
        # Never further than live traffic is: what lies beyond will be handled by it, once.
        last = min(end[p], committed.get(p, 0)) if asked.target != "rewind" else committed.get(p, 0)
        first = max(start[p], oldest[p])
        spans.append(Span(topic=p.topic, partition=p.partition, start=min(first, last), end=last, oldest=oldest[p]))
    rebuilt, filters, complete = [], asked.filters, reaches_back(spans, asked.filters)
    if asked.rebuild:
        rebuilt = rebuilt_tables(replayable, set(classes), filters, to_the_end=asked.end is None)
        check_range(rebuilt, complete=complete)
        filters = with_all_events(filters)
    census = await reader.census(spans, filters, every_hop=asked.target == "rewind")
    return Plan(
        id=new_id(replayable.service),
        service=replayable.service,
        consumer=asked.consumer,
        target=asked.target,
        source="topics",
        asked_from=_said(asked.start, "the oldest"),
        asked_to=_said(asked.end, "where the live consumer is"),
        spans=tuple(spans),
        filters=filters,
        records=census.records,
        size=census.size,
        by_type=dict(sorted(census.by_type.items())),
        tenants=tuple(sorted(census.tenants)),
        keys=len(census.keys),
        unreadable=census.unreadable,
        holes=tuple(await _holes(reader, asked, partitions, oldest)),
        classes=classes,
        suppressed=tuple(_suppressed(classes, asked.target)),
        effects=tuple(_effects(classes, asked.target)),
        starts_empty=tuple(table.name for table in rebuilt),
        starts_as_live=_copied(replayable, asked.target, rebuilt),
        reaches_back=complete,
        rate=asked.rate,
        kafka_cluster=await reader.cluster(),
        code_version=code_version(replayable.service),
        made_at=rfc3339(datetime.now(UTC)),
    )


async def _holes(
    reader: LogReader, asked: Asked, partitions: Sequence[TopicPartition], oldest: dict[TopicPartition, int]
) -> list[str]:
    """What was asked for and retention has taken. A partition that still begins at 0 has lost nothing."""
    lost = [p for p in partitions if oldest[p] > 0]
    if not lost or asked.start is None:
        return [f"{p.topic}/{p.partition}: {oldest[p]} older records are gone" for p in lost]
    holes = []
    for p in lost:
        if not isinstance(asked.start, datetime):
            if isinstance(asked.start, dict) and asked.start.get((p.topic, p.partition), oldest[p]) < oldest[p]:
                holes.append(f"{p.topic}/{p.partition}: begins at {oldest[p]} only")
            continue
        first = await reader.time_at(p, oldest[p])
        if first is None or first > asked.start:
            holes.append(f"{p.topic}/{p.partition}: nothing before {rfc3339(first) if first else 'now'} is left")
    return holes


def _suppressed(classes: dict[str, str], target: Target) -> list[str]:
    if target == "rewind":
        return []
    lines = [f"{topic}: events that its handler appends are dropped" for topic, class_ in sorted(classes.items())
             if class_ == "suppress_effects"]  # fmt: skip
    return [*lines, "everything emitted carries the replay's id; consumers that act on the outside world refuse it"]


def _effects(classes: dict[str, str], target: Target) -> list[str]:
    """A rewound group handles live: what its inbox does not know has every effect."""
    if target != "rewind":
        return []
    return [
        f"{topic}: its handler ({class_}) has its effects on others for every event that the inbox does not know"
        for topic, class_ in sorted(classes.items())
        if class_ != "safe"
    ]


async def _of_letters(replayable: Replayable, asked: Asked, parked_by: str) -> Plan:
    """``parked_by`` is whose letters they are: the consumer's, or those of a replay of it."""
    if asked.target != "shadow":
        replay = parked_by.partition("@")[2]
        how = f"trunkline replay resume {replay}" if replay else f"trunkline dlq retry --group {asked.fingerprint}"
        raise Refused(f"dead letters are replayed into a shadow; to work them off for good: {how}")
    if asked.start is not None or asked.end is not None:
        raise Refused("dead letters are chosen by their fingerprint, not by --from and --to")
    if not replayable.shadow_tables:
        raise Refused(f"{replayable.service} names no tables for a shadow run")
    topics = set(asked.topics) or {s.topic for s in replayable.subscriptions(asked.consumer)}
    classes = _classes(replayable, asked, topics) if asked.topics else replayable.classes(asked.consumer, topics)
    database = replayable.database()
    try:
        letters = await planned_letters(database, parked_by, asked.fingerprint)
    finally:
        await database.close()
    if not letters:
        raise Refused(f"{parked_by} has no dead letters of {asked.fingerprint}; `trunkline dlq list` shows them")
    every_hop = not asked.filters.replay
    chosen = [(id_, record) for id_, record in letters
              if record.topic in topics and wanted(record, asked.filters, every_hop=every_hop)]  # fmt: skip
    census = Census()
    for _, record in chosen:
        census.add(record)
    place = Span(topic=LETTERS[0], partition=LETTERS[1], start=0, end=len(chosen), oldest=0)
    return Plan(
        id=new_id(replayable.service), service=replayable.service, consumer=asked.consumer, target=asked.target,
        source="dead_letters", asked_from=f"{asked.fingerprint} of {parked_by}", asked_to="", spans=(place,),
        filters=asked.filters, letters=tuple(str(id_) for id_, _ in chosen), records=census.records, size=census.size,
        by_type=dict(sorted(census.by_type.items())), tenants=tuple(sorted(census.tenants)), keys=len(census.keys),
        unreadable=census.unreadable, classes=classes, suppressed=tuple(_suppressed(classes, asked.target)),
        starts_as_live=_copied(replayable, asked.target, []),
        rate=asked.rate, code_version=code_version(replayable.service), made_at=rfc3339(datetime.now(UTC)),
    )  # fmt: skip


def _copied(replayable: Replayable, target: Target, rebuilt: Sequence[ShadowTable]) -> tuple[str, ...]:
    """The tables that a shadow run begins with as live has them."""
    return tuple(table.name for table in replayable.shadow_tables if target == "shadow" and table not in rebuilt)


async def _of_store(replayable: Replayable, asked: Asked) -> Plan:
    if len(asked.topics) != 1:
        raise Refused("a store is told again one topic at a time; name it by --topic")
    if not isinstance(asked.start, datetime) or not isinstance(asked.end, datetime):
        raise Refused("a store is told again by period; give --from and --to as times")
    if not asked.tenants:
        raise Refused("name the tenants by --tenant: a store is told again for whom it is needed")
    if others := [f"--{name}" for name in asked.filters.chosen() if name != "tenant"]:
        raise Refused(f"a store is told again whole, by tenant and period; it cannot be held to {', '.join(others)}")
    (topic,) = asked.topics
    reemitter_of(replayable, topic)
    database = replayable.database()
    try:
        counts = [await count_store(replayable, database, topic, t, (asked.start, asked.end)) for t in asked.tenants]
    finally:
        await database.close()
    places = [(*store_place(number), count) for number, count in enumerate(counts)]
    return Plan(
        id=new_id(replayable.service), service=replayable.service, consumer=replayable.service, target="reemit",
        source="store", asked_from=rfc3339(asked.start), asked_to=rfc3339(asked.end),
        spans=tuple(Span(topic=topic_, partition=n, start=0, end=end, oldest=0) for topic_, n, end in places),
        filters=asked.filters, records=sum(counts), tenants=tuple(map(str, asked.tenants)), classes={topic: "safe"},
        suppressed=tuple(_suppressed({}, "reemit")), rate=asked.rate,
        code_version=code_version(replayable.service), made_at=rfc3339(datetime.now(UTC)),
    )  # fmt: skip


def _said(bound: Bound | None, otherwise: str) -> str:
    if bound is None:
        return otherwise
    if isinstance(bound, datetime):
        return rfc3339(bound)
    return bound if isinstance(bound, str) else ", ".join(f"{t}/{n}@{o}" for (t, n), o in sorted(bound.items()))


async def check_appliable(replayable: Replayable, plan: Plan) -> None:
    """Raises :class:`Refused` when the world is no longer as the plan found it, or there is nothing to do."""
    if not plan.records:
        raise Refused("the plan holds no records: there is nothing to replay")
    if plan.target == "shadow" and not plan.tenants:
        raise Refused("none of the planned records can be read, so nobody's tables can be copied for a shadow run")
    if plan.source != "topics":
        plan.check_fresh(now=datetime.now(UTC), oldest={}, cluster=plan.kafka_cluster)
        return
    async with LogReader(replayable.kafka_bootstrap) as reader:
        partitions = [TopicPartition(span.topic, span.partition) for span in plan.spans]
        oldest = {(p.topic, p.partition): offset for p, offset in (await reader.oldest(partitions)).items()}
        plan.check_fresh(now=datetime.now(UTC), oldest=oldest, cluster=await reader.cluster())
