"""Running a plan: read, handle under the replay's id, keep the place, yield to live traffic, obey the operator."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from contracts.registry import REGISTRY, Registry
from contracts.topics import TOPICS, Topic
from kit.dead_letters import DeadLetterLimits
from kit.handling import Handling
from kit.postgres import SERVER_AWAY, Database
from recovery.replay.alone import alone
from recovery.replay.book import ENDED, Book, Entry, State
from recovery.replay.leftovers import Leftovers
from recovery.replay.letters import LETTERS, letters_of, read_letters
from recovery.replay.pace import Pace, Progress, Step
from recovery.replay.plan import Plan, Refused, Replayable
from recovery.replay.rebuild import reach
from recovery.replay.reemit import reemit
from recovery.replay.shadow import Shadow
from recovery.replay.throttle import Limits, Pressure, Throttle
from recovery.replay.topics import LogReader, members_of, rewind, wanted

__all__ = ["Run", "chunk_of", "pressure_on"]

CHUNK = 500
GONE: tuple[State, ...] = ("cancelled", "promoted")

_OUTBOX_AGE = "SELECT oldest_seconds FROM outbox_backlog($1)"


class Run:
    """One replay in this process. Its place is stored, so any process can go on with it."""

    def __init__(
        self,
        replayable: Replayable,
        *,
        registry: Registry = REGISTRY,
        limits: Limits | None = None,
        topics: Mapping[str, Topic] = TOPICS,
        sessions_end_in: float = 60.0,
        report: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._replayable = replayable
        self._registry = registry
        self._limits = limits or Limits()
        self._topics = topics
        self._sessions_end_in = sessions_end_in
        self._report = report
        self.stop = asyncio.Event()
        """Set by whoever wants the run to pause at its next step; Ctrl-C does."""

    async def run(self, id_: str) -> Entry:
        """Go through an entered replay until it is done, paused or cancelled. Only one process can at a time.

        Raises :class:`Refused`, and ``Halted`` when too much cannot be handled; such a run can be resumed.
        """
        return await self._take(id_, ENDED)

    async def resume(self, id_: str, *, who: str, why: str = "") -> Entry:
        """Go on with a replay that was paused, killed or stopped: first its dead letters in order, then the rest.

        One that is done is resumed for the sake of what it could not handle.
        """
        return await self._take(id_, GONE, who=who, why=why)

    async def _take(self, id_: str, ended: Sequence[State], *, who: str = "", why: str = "") -> Entry:
        live = self._replayable.database()
        book = Book(live)
        try:
            async with alone(live, id_):
                entry = await book.find(id_)
                if entry.state in ended:
                    raise Refused(f"{id_} is {entry.state}; plan another one by `trunkline replay plan`")
                if entry.state == "done" and not entry.failed:
                    raise Refused(f"{id_} is done, and nothing of it failed; there is nothing to go on with")
                if who:
                    entry = await book.want(id_, "run", who=who, why=why)
                await self._follow(book, entry, live)
            return await book.find(id_)
        finally:
            await live.close()

    async def _follow(self, book: Book, entry: Entry, live: Database) -> None:
        state: State = "failed"
        counts: Counter[str] = Counter(entry.counts)
        try:
            async with LogReader(self._replayable.kafka_bootstrap) as reader:
                look = pressure_on(self._replayable, reader, live, heard=self._heard(entry.plan))
                throttle = Throttle(entry.plan.rate, limits=self._limits, look=look)
                pace = Pace(book, entry, throttle=throttle, report=self._report, stop=self.stop)
                counts = pace.counts
                step = await self._work(entry, reader, live, pace)
            state = "failed" if step == "running" else step
        except asyncio.CancelledError:
            state = "paused"
            raise
        finally:
            await book.end(entry.id, state, counts=counts, report=_summary(entry, state, counts))
        if state == "cancelled" and entry.plan.target == "shadow":
            await Shadow(self._replayable).discard(entry.id)

    async def _work(self, entry: Entry, reader: LogReader, live: Database, pace: Pace) -> Step:
        plan = entry.plan
        if plan.target == "reemit":
            return await reemit(self._replayable, plan, entry, pace)
        if (step := await self._wait_for_quiet(plan, pace)) != "running":
            return step
        if plan.target == "rewind":
            await rewind(self._replayable, plan)
            await pace.step({}, seen=0, outcomes={"moved_back": plan.records})
            return "done"
        target = await self._target(entry)
        limits = DeadLetterLimits()
        try:
            handling = self._handling(plan, target, limits)
            leftovers = Leftovers(target, plan, handling, limits)
            step = await leftovers.retry(pace) if entry.counts else "running"
            try:
                return await self._handle_all(entry, reader, live, handling, pace) if step == "running" else step
            finally:
                with contextlib.suppress(*SERVER_AWAY):
                    await leftovers.recount(pace)
        finally:
            await target.close()

    async def _wait_for_quiet(self, plan: Plan, pace: Pace) -> Step:
        """Until no live consumer is there, where one would be in the way.

        A stopped consumer stays a member for as long as its session lasts, so that a restart costs no rebalance.
        """
        if plan.target not in ("live", "rewind") or (plan.target == "live" and set(plan.classes.values()) <= {"safe"}):
            return "running"

        async def members() -> str:
            count = await members_of(self._replayable.kafka_bootstrap, plan.consumer)
            return f"{plan.consumer} has {count} members; stopped ones leave when their sessions end" if count else ""

        step, why = await pace.wait_while(members, every=1.0, longest=self._sessions_end_in)
        if step == "running" and why:
            raise Refused(
                f"{plan.consumer} still has running members; stop {plan.service} first: trunkline stop {plan.service}, "
                f"then trunkline replay resume {plan.id}"
            )
        return step

    async def _handle_all(
        self, entry: Entry, reader: LogReader, live: Database, handling: Handling, pace: Pace
    ) -> Step:
        plan, chunk = entry.plan, chunk_of(entry.plan.rate)
        if plan.source == "dead_letters":
            start = entry.positions.get(LETTERS, 0)
            letters = read_letters(live, plan.letters, start=start, chunk=chunk)
            return await self._handle_letters(letters, handling, pace, start=start, chunk=chunk)
        spans = await reach(plan, reader)
        return await self._handle_ranges(reader.read(spans, at=entry.positions, chunk=chunk), plan, handling, pace)

    async def _target(self, entry: Entry) -> Database:
        if entry.plan.target == "live":
            return self._replayable.database()
        shadow = Shadow(self._replayable)
        await shadow.take(entry.plan, entry.positions)
        return shadow.database()

    def _handling(self, plan: Plan, target: Database, limits: DeadLetterLimits) -> Handling:
        handling = Handling(
            database=target,
            consumer=plan.consumer,
            subscriptions=self._replayable.subscriptions(plan.consumer),
            registry=self._registry,
            limits=limits,
            replayid=plan.id,
        )
        handling.dead_letters = handling.dead_letters.named(letters_of(plan.consumer, plan.id))
        return handling

    async def _handle_ranges(
        self, chunks: AsyncIterator[Sequence[Any]], plan: Plan, handling: Handling, pace: Pace
    ) -> Step:
        async for records in chunks:
            taken = [record for record in records if wanted(record, plan.filters)]
            step = await pace.wait(len(taken))
            if step != "running":
                return step
            outcomes = await self._handle(handling, taken, pace)
            places: dict[tuple[str, int], int] = {}
            for record in records:
                places[record.topic, record.partition] = record.offset + 1
            step = await pace.step(places, seen=len(taken), outcomes=outcomes)
            if step != "running":
                return step
        return "done"

    async def _handle_letters(
        self, chunks: AsyncIterator[Sequence[Any]], handling: Handling, pace: Pace, *, start: int, chunk: int
    ) -> Step:
        place = start
        async for records in chunks:
            step = await pace.wait(len(records))
            if step != "running":
                return step
            outcomes = await self._handle(handling, records, pace)
            place += chunk
            step = await pace.step({LETTERS: place}, seen=len(records), outcomes=outcomes)
            if step != "running":
                return step
        return "done"

    async def _handle(self, handling: Handling, records: Sequence[Any], pace: Pace) -> Mapping[str, int]:
        """Give every record an outcome; return how many had which."""
        handling.begin()
        await pace.patiently(handling.handle, records)
        outcomes = dict(handling.counts)
        handling.counts.clear()
        return outcomes

    def _heard(self, plan: Plan) -> Sequence[Topic]:
        """The topics that a run makes the service tell: who reads them is live traffic as well."""
        if plan.target == "reemit":
            return [self._topics[name] for name in plan.classes if name in self._topics]
        if plan.target == "live":
            return [topic for topic in self._topics.values() if plan.service in topic.producers]
        return []


def chunk_of(rate: float) -> int:
    """How many records are handled at once: about a quarter of a second's, so that an operator is heard soon."""
    return max(1, min(CHUNK, int(rate / 4)))


def _summary(entry: Entry, state: State, counts: Mapping[str, int]) -> dict[str, Any]:
    """The final report."""
    seconds = (datetime.now(UTC) - entry.started_at).total_seconds()
    return {
        "state": state,
        "planned": entry.total,
        "seen": counts.get("seen", 0),
        "handled": counts.get("handled", 0),
        "emitted": counts.get("emitted", 0),
        "duplicates": counts.get("duplicate", 0),
        "failed": counts.get("parked", 0) + counts.get("parked_behind", 0),
        "ignored": counts.get("ignored", 0) + counts.get("replay_refused", 0),
        "seconds": round(seconds, 1),
        "per_second": round(counts.get("seen", 0) / seconds, 1) if seconds else 0.0,
    }


def _is_of(group: str, service: str) -> bool:
    """A service's groups are named after it: brain-distiller, brain-distiller.directory, front-desk-archive."""
    return group == service or group.startswith((f"{service}.", f"{service}-"))


def pressure_on(
    replayable: Replayable, reader: LogReader, live: Database, *, heard: Sequence[Topic] = ()
) -> Callable[[], Awaitable[Pressure]]:
    """How live traffic fares: the service's own groups, database and outbox, and whoever reads the topics ``heard``."""

    async def lag_of(group: str, topics: Iterable[str]) -> int:
        partitions = await reader.partitions(set(topics))
        newest = await reader.newest(partitions)
        committed = await reader.committed(group, partitions)
        return sum(max(0, newest[partition] - offset) for partition, offset in committed.items())

    async def look() -> Pressure:
        began = time.monotonic()
        try:
            async with live.system() as tx:
                await tx.fetchval("SELECT 1")
                milliseconds = (time.monotonic() - began) * 1000
                age: float = await tx.fetchval(_OUTBOX_AGE, live.service)
        except SERVER_AWAY:
            # Nothing is measured, so nothing is risked: as slow as a database that does not answer.
            return Pressure(database_ms=60_000)
        lag = 0
        for group, subscriptions in replayable.consumers.items():
            lag += await lag_of(group, {subscription.topic for subscription in subscriptions})
        for group in await reader.groups() if heard else ():
            names = {topic.name for topic in heard if any(_is_of(group, service) for service in topic.consumers)}
            if names and group not in replayable.consumers:
                lag += await lag_of(group, names)
        return Pressure(lag_records=lag, database_ms=milliseconds, outbox_seconds=age)

    return look
