"""Running a plan: read, handle under the replay's id, keep the place, yield to live traffic, obey the operator."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from contracts.registry import REGISTRY, Registry
from kit.handling import Handling
from kit.postgres import SERVER_AWAY, Database
from kit.telemetry import get_logger
from recovery.replay.alone import alone
from recovery.replay.book import ENDED, Book, Entry, State
from recovery.replay.letters import LETTERS, read_letters
from recovery.replay.pace import Pace, Progress, Step
from recovery.replay.plan import Plan, Refused, Replayable
from recovery.replay.reemit import reemit
from recovery.replay.shadow import Shadow
from recovery.replay.throttle import Limits, Pressure, Throttle
from recovery.replay.topics import LogReader, wanted

__all__ = ["Run", "pressure_on"]

log = get_logger(__name__)

CHUNK = 500
LONGEST_WAIT_SECONDS = 300.0

_OUTBOX_AGE = "SELECT oldest_seconds FROM outbox_backlog($1)"


class Run:
    """One replay in this process. Its place is stored, so any process can go on with it."""

    def __init__(
        self,
        replayable: Replayable,
        *,
        registry: Registry = REGISTRY,
        limits: Limits | None = None,
        report: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._replayable = replayable
        self._registry = registry
        self._limits = limits or Limits()
        self._report = report
        self.stop = asyncio.Event()
        """Set by whoever wants the run to pause at its next step; Ctrl-C does."""

    async def run(self, id_: str) -> Entry:
        """Go on with an entered replay until it is done, paused or cancelled. Only one process can at a time.

        Raises :class:`Refused`, and ``Halted`` when too much cannot be handled; such a run can be resumed.
        """
        live = self._replayable.database()
        book = Book(live)
        try:
            async with alone(live, id_):
                entry = await book.find(id_)
                if entry.state in ENDED:
                    raise Refused(f"{id_} is {entry.state}; plan another one by `trunkline replay plan`")
                await self._follow(book, entry, live)
            return await book.find(id_)
        finally:
            await live.close()

    async def _follow(self, book: Book, entry: Entry, live: Database) -> None:
        state: State = "failed"
        counts: Counter[str] = Counter(entry.counts)
        try:
            async with LogReader(self._replayable.kafka_bootstrap) as reader:
                look = pressure_on(self._replayable, reader, live)
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
        target = await self._target(entry)
        try:
            handling = self._handling(plan, target)
            chunk = max(1, min(CHUNK, int(plan.rate / 4)))
            if plan.source == "dead_letters":
                start = entry.positions.get(LETTERS, 0)
                letters = read_letters(live, plan.letters, start=start, chunk=chunk)
                return await self._handle_letters(letters, handling, pace, start=start, chunk=chunk)
            return await self._handle_ranges(
                reader.read(plan.spans, at=entry.positions, chunk=chunk), plan, handling, pace
            )
        finally:
            await target.close()

    async def _target(self, entry: Entry) -> Database:
        if entry.plan.target == "live":
            return self._replayable.database()
        shadow = Shadow(self._replayable)
        await shadow.take(entry.plan, entry.positions)
        return shadow.database()

    def _handling(self, plan: Plan, target: Database) -> Handling:
        handling = Handling(
            database=target,
            consumer=plan.consumer,
            subscriptions=self._replayable.subscriptions(plan.consumer),
            registry=self._registry,
            replayid=plan.id,
        )
        handling.dead_letters = handling.dead_letters.named(f"{plan.consumer}@{plan.id}")
        return handling

    async def _handle_ranges(
        self, chunks: AsyncIterator[Sequence[Any]], plan: Plan, handling: Handling, pace: Pace
    ) -> Step:
        async for records in chunks:
            taken = [record for record in records if wanted(record, plan.filters)]
            await pace.wait(len(taken))
            outcomes = await self._handle(handling, taken)
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
            await pace.wait(len(records))
            outcomes = await self._handle(handling, records)
            place += chunk
            step = await pace.step({LETTERS: place}, seen=len(records), outcomes=outcomes)
            if step != "running":
                return step
        return "done"

    async def _handle(self, handling: Handling, records: Sequence[Any]) -> Mapping[str, int]:
        """Give every record an outcome; return how many had which."""
        handling.begin()
        delay, gives_up = 0.25, time.monotonic() + LONGEST_WAIT_SECONDS
        while True:
            try:
                await handling.handle(records)
            except SERVER_AWAY as error:
                if time.monotonic() > gives_up:
                    raise
                log.warning("replay_waits", error=type(error).__name__)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
            else:
                outcomes = dict(handling.counts)
                handling.counts.clear()
                return outcomes


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


def pressure_on(replayable: Replayable, reader: LogReader, live: Database) -> Callable[[], Awaitable[Pressure]]:
    """How live traffic fares, measured at the service's own groups, database and outbox."""

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
            partitions = await reader.partitions({subscription.topic for subscription in subscriptions})
            newest = await reader.newest(partitions)
            committed = await reader.committed(group, partitions)
            lag += sum(max(0, newest[partition] - offset) for partition, offset in committed.items())
        return Pressure(lag_records=lag, database_ms=milliseconds, outbox_seconds=age)

    return look
