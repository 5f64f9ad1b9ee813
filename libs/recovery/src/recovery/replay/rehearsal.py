"""A dry run: handlers run for real, each transaction is looked at and then rolled back."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from contracts.envelope import Envelope
from contracts.registry import REGISTRY, Registry
from kit.dead_letters import DeadLetterLimits, Failure
from kit.handling import Handling
from kit.postgres import Database, Transaction
from recovery.replay.letters import read_letters
from recovery.replay.pace import Progress
from recovery.replay.plan import Plan, Replayable
from recovery.replay.run import chunk_of, pressure_on
from recovery.replay.throttle import Limits, Throttle
from recovery.replay.topics import LogReader, wanted

__all__ = ["Findings", "RehearsalDatabase", "rehearse"]

# What this connection has written and not told the collector yet, by table.
_WRITTEN = """
SELECT relname, n_tup_ins AS inserted, n_tup_upd AS updated, n_tup_del AS deleted FROM pg_stat_xact_user_tables
WHERE schemaname = current_schema() AND n_tup_ins + n_tup_upd + n_tup_del > 0
"""


class _TakenBack(Exception):
    pass


class Findings:
    """What a dry run would have changed, and what it could not handle. Stands in for a consumer's dead letters."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def named(self, _: str) -> Findings:
        return self

    async def parked_keys(self, _: Sequence[str]) -> set[str]:
        return set()

    async def park(self, _: Any, __: Envelope | None, failure: Failure, *, behind: bool = False) -> None:
        if not behind:
            self.failures[failure.reason] += 1
            self.examples.setdefault(failure.reason, failure.message)


class RehearsalDatabase(Database):
    """A service's database in which nothing stays. Later events do not see what earlier ones would have written."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        # Keys are locked apart from live traffic's: nothing is told, so nobody need wait.
        self.service = f"{self.service} dry run"
        self.findings = Findings()

    @asynccontextmanager
    async def transaction(
        self, tenant: UUID, *, emits: Iterable[str] = (), cause: Envelope | None = None, plan_once: bool = False
    ) -> AsyncIterator[Transaction]:
        try:
            async with super().transaction(tenant, emits=emits, cause=cause, plan_once=plan_once) as tx:
                # The server reports a connection's earlier, rolled-back work as well until it has told its collector.
                before = await _written(tx)
                yield tx
                self.findings.rows.update(await _written(tx) - before)
                tx.emitted = False
                raise _TakenBack  # noqa: TRY301 - this is how a context manager rolls back
        except _TakenBack:
            pass


async def _written(tx: Transaction) -> Counter[str]:
    """Rows by table and change. The inbox says nothing that the number of events does not."""
    counts: Counter[str] = Counter()
    for row in await tx.fetch(_WRITTEN):
        name = "outbox" if row["relname"].startswith("outbox") else row["relname"]
        if name != "inbox":
            for change in ("inserted", "updated", "deleted"):
                counts[f"{name} {change}"] += row[change]
    return counts


async def rehearse(
    replayable: Replayable,
    plan: Plan,
    database: RehearsalDatabase,
    *,
    registry: Registry = REGISTRY,
    limits: Limits | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> Findings:
    """Handle everything in the plan, giving way to live traffic as a run would, and leave nothing.

    Raises ``Halted`` when too much cannot be handled.
    """
    handling = Handling(
        database=database,
        consumer=plan.consumer,
        subscriptions=replayable.subscriptions(plan.consumer),
        registry=registry,
        replayid=plan.id,
        limits=DeadLetterLimits(consecutive=1000, ratio=1.0),
    )
    handling.dead_letters = database.findings
    live, seen = replayable.database(), 0
    try:
        async with LogReader(replayable.kafka_bootstrap) as reader:
            throttle = Throttle(plan.rate, limits=limits or Limits(), look=pressure_on(replayable, reader, live))

            async def tell() -> bool:
                report(
                    Progress(
                        state="running", seen=seen, total=plan.records, counts=dict(handling.counts),
                        waiting_for=throttle.why, allowed=throttle.rate * throttle.share, per_second=0.0,
                    )
                )  # fmt: skip
                return True

            chunk = chunk_of(plan.rate)
            async for records in _records(reader, plan, database, chunk):
                await throttle.take(len(records), listen=tell)
                handling.begin()
                await handling.handle(records)
                seen += len(records)
                await tell()
    finally:
        await live.close()
    database.findings.outcomes.update(handling.counts)
    return database.findings


async def _records(reader: LogReader, plan: Plan, database: Database, chunk: int) -> AsyncIterator[Sequence[Any]]:
    if plan.source == "dead_letters":
        async for letters in read_letters(database, plan.letters, start=0, chunk=chunk):
            yield letters
        return
    async for records in reader.read(plan.spans, chunk=chunk):
        yield [record for record in records if wanted(record, plan.filters)]
