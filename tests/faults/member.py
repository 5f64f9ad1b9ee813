"""One member of a consumer group as a process of its own: ``python -m tests.faults.member '<json>'``.

Each event becomes one row of the toy ledger. What it counted goes to a file, again and again, so that it is there also
after a ``kill -9``.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contracts.registry import Registry
from kit import broker
from kit.consume import Consumer, on
from kit.postgres import Database, Transaction
from kit.telemetry import METRICS
from kit.testing import Toy


@dataclass(frozen=True, kw_only=True)
class Member:
    """What one is started with, and what it leaves."""

    dsn: str
    bootstrap: str
    topic: str
    group: str
    name: str
    folder: str
    session_seconds: float = 10.0
    slowest_ms: float = 5.0
    linger_at: int | None = None
    """The number at which it lingers: long enough to be stopped there."""
    linger: str = ""
    """Where: ``before`` its event is claimed, or ``inside`` the transaction that has claimed it."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.faults.member", json.dumps(asdict(self))]

    @property
    def counts_file(self) -> Path:
        return Path(self.folder) / f"{self.name}.json"

    @property
    def lingers_file(self) -> Path:
        return Path(self.folder) / f"{self.name}.lingers"

    def counts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.counts_file.read_text()) if self.counts_file.exists() else {}
        return found


def subscription_of(member: Member, event_class: type[Toy]) -> Any:
    async def linger(event: Toy, where: str) -> None:
        if member.linger == where and event.number == member.linger_at and not member.lingers_file.exists():
            member.lingers_file.touch()
            await asyncio.sleep(1.0)

    async def emits(event: Toy, tx: Transaction) -> Iterable[str]:
        await linger(event, "before")
        return []

    async def note(event: Toy, tx: Transaction) -> None:
        await tx.execute(
            "INSERT INTO ledger (tenant_id, entity, number) VALUES ($1, $2, $3)", tx.tenant, event.entity, event.number
        )
        await linger(event, "inside")
        await asyncio.sleep(random.uniform(0, member.slowest_ms / 1000))

    return on(event_class, note, emits=emits)


async def run(member: Member) -> None:
    broker.SESSION_SECONDS = member.session_seconds
    event_class = type("ToyV1", (Toy,), {"type": f"{member.topic}.v1", "__module__": __name__, "__annotations__": {}})
    database = Database(service="front-desk", dsn=member.dsn, app_password="test", system_password="test", app_pool=4)
    consumer = Consumer(
        group=member.group,
        database=database,
        kafka_bootstrap=member.bootstrap,
        subscriptions=[subscription_of(member, event_class)],
        registry=Registry([event_class]),
        max_records=50,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await consumer.start()
    while not stop.is_set():
        await asyncio.sleep(0.1)
        note_counts(member, consumer)
    await consumer.stop()
    note_counts(member, consumer)
    await database.close()


def note_counts(member: Member, consumer: Consumer) -> None:
    refused = METRICS.commit_failures.labels(member.group)._value.get()
    rebalances = METRICS.rebalances.labels(member.group)._value.get()
    fresh = member.counts_file.with_suffix(".new")
    fresh.write_text(json.dumps({**consumer.status(), "refused_commits": refused, "rebalances": rebalances}))
    fresh.replace(member.counts_file)


if __name__ == "__main__":
    asyncio.run(run(Member(**json.loads(sys.argv[1]))))
