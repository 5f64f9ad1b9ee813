"""A toy service: a topic, a database with one table that its handler upserts, and what it lets be replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from kit.consume import Consumer, Received
from kit.delivery import ReplayClass, Subscription, on_batch
from kit.outbox import append_many
from kit.postgres import Database, Transaction, role_dsn
from kit.testing import Bench, MakeDatabase, Toy, eventually
from recovery.replay.book import Book, Entry
from recovery.replay.make import Asked, check_appliable, make_plan
from recovery.replay.plan import Plan, Replayable, ShadowTable
from recovery.replay.run import Run

SERVICE = "front-desk"
KEYS = [f"e{n}" for n in range(5)]
TABLE = """
CREATE TABLE sum (
    tenant_id uuid NOT NULL, entity text NOT NULL, number integer NOT NULL, total integer NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (tenant_id, entity, number)
);
SELECT protect('sum')
"""
UPSERT = """
INSERT INTO sum (tenant_id, entity, number, total) SELECT $1, * FROM unnest($2::text[], $3::int[], $4::int[])
ON CONFLICT (tenant_id, entity, number) DO UPDATE SET total = excluded.total, updated_at = now()
"""


@dataclass
class Service:
    """The toy service. ``factor`` is its handler's bug: what it writes is the event's number times it."""

    bench: Bench
    database: Database
    replayable: Replayable
    factor: int = 1
    fails_on: frozenset[int] = frozenset()
    projects: bool = False
    """Whether the handler keeps a projection: it takes only newer versions, and tells nobody."""
    handled: int = 0

    async def handle(self, received: Sequence[Received[Toy]], tx: Transaction) -> None:
        for each in received:
            if each.event.number in self.fails_on:
                raise ValueError("not this one")
        rows = [(e.event.entity, e.event.number, e.event.number * self.factor) for e in received]
        guard = " WHERE sum.number < excluded.number" if self.projects else ""
        await tx.execute(UPSERT + guard, tx.tenant, *(list(column) for column in zip(*rows, strict=True)))
        if not self.projects:
            await append_many(tx, [each.event for each in received])
        self.handled += len(received)

    async def rows(self) -> dict[tuple[str, int], int]:
        async with self.database.transaction(self.bench.tenant) as tx:
            found = await tx.fetch("SELECT entity, number, total FROM sum")
        return {(row["entity"], row["number"]): row["total"] for row in found}

    async def outbox(self) -> list[tuple[str, str]]:
        """Of every event appended so far: its subject and the replay it came from."""
        async with self.database.system() as tx:
            rows = await tx.fetch("SELECT subject, replayid FROM outbox ORDER BY epoch, xid, seq")
        return [(row["subject"], row["replayid"]) for row in rows]

    async def consume(self, records: int) -> None:
        """Let the live consumer handle what is there, until so many have an outcome."""
        consumer = Consumer(
            database=self.database, kafka_bootstrap=self.bench.bootstrap, registry=self.bench.registry,
            subscriptions=self.replayable.consumers[self.group], group=self.group,
        )  # fmt: skip
        await consumer.start()

        async def committed() -> bool:
            return await self.bench.committed(self.group) >= records

        await eventually(committed)
        await consumer.stop()

    @property
    def group(self) -> str:
        return next(iter(self.replayable.consumers))

    async def plan(self, **asked: Any) -> Plan:
        return await make_plan(self.replayable, Asked(**{"consumer": self.group, "target": "live", **asked}))

    async def apply(self, plan: Plan, **run: Any) -> Entry:
        await check_appliable(self.replayable, plan)
        await Book(self.database).open(plan, who="tester", why="to see")
        return await self.run(plan.id, **run)

    async def run(self, id_: str, **run: Any) -> Entry:
        return await Run(self.replayable, registry=self.bench.registry, **run).run(id_)

    async def resume(self, id_: str, **run: Any) -> Entry:
        return await Run(self.replayable, registry=self.bench.registry, **run).resume(id_, who="tester")


@pytest.fixture
async def service(bench: Bench, make_database: MakeDatabase, postgres_dsn: str) -> Service:
    database = await make_database(service=SERVICE, package="kit")
    owner = await asyncpg.connect(role_dsn(database._app_dsn, "front_desk_owner", "test"))
    await owner.execute(TABLE)
    await owner.close()
    made = Service(bench, database, None)  # type: ignore[arg-type]

    async def emits(received: Sequence[Received[Toy]], _: Transaction) -> set[str]:
        return {each.event.entity for each in received}

    def subscriptions(replay: ReplayClass) -> list[Subscription]:
        return [on_batch(bench.event, made.handle, emits=emits, replay=replay)]

    group = f"toy.{bench.topic}"
    made.replayable = Replayable(
        service=SERVICE,
        kafka_bootstrap=bench.bootstrap,
        postgres_dsn=database._app_dsn,
        passwords=dict.fromkeys(("owner", "app", "system", "ro"), "test"),
        database=lambda: copy_of(database),
        consumers={group: subscriptions("safe")},
        shadow_tables=[ShadowTable(name="sum")],
    )
    return made


def copy_of(database: Database) -> Database:
    """Another pool on the same database, as another process would have."""
    return Database(service=database.service, dsn=database._app_dsn, app_password="test", system_password="test")


def with_class(service: Service, replay: ReplayClass) -> None:
    """Let the handler take replays in another way."""
    consumers = {
        name: [replace(each, replay=replay) for each in subscriptions]
        for name, subscriptions in service.replayable.consumers.items()
    }
    service.replayable = replace(service.replayable, consumers=consumers)


def tenant_of(bench: Bench, other: UUID) -> Bench:
    return replace(bench, tenant=other)


async def sent(service: Service, rounds: int = 4) -> int:
    """Numbers 1 to ``rounds`` for each of five keys."""
    for number in range(1, rounds + 1):
        for key in KEYS:
            await service.bench.send(key, number)
    return rounds * len(KEYS)
