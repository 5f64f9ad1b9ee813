"""A relay with 20,000 events before it, after a short and after a long history: the ratio should be one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from datetime import timedelta

import uvloop

from bench.relay import SERVICE, as_superuser, drain, fill, make_topic
from bench.results import Addresses, Result
from kit.testing import fresh_database

WAITING = 20_000
SHORT = 20_000
LONG = int(os.environ.get("TRUNKLINE_BENCH_HISTORY", "2000000"))
DAYS = 8
ROUNDS = 3
PARTITION = "CREATE TABLE outbox_{0:%Y%m%d} PARTITION OF outbox FOR VALUES FROM ('{0:%Y-%m-%d}') TO ('{1:%Y-%m-%d}')"


def run(addresses: Addresses) -> Sequence[Result]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(addresses))


async def _run(addresses: Addresses) -> list[Result]:
    short = await _after(addresses, SHORT)
    long = await _after(addresses, LONG)
    return [
        Result(
            name="outbox_history", value=long, unit="events/s", limit_name=f"after {SHORT:,} events", limit=short,
            ratio=long / short, note=f"{WAITING:,} waiting behind {LONG:,} of {DAYS} days, best of {ROUNDS}",
        )
    ]  # fmt: skip


async def _after(addresses: Addresses, history: int) -> float:
    """Events a second of a relay that begins behind ``history`` published events, spread over days."""
    topic = await asyncio.to_thread(make_topic, addresses.kafka_bootstrap)
    async with fresh_database(addresses.postgres_dsn, service=SERVICE, package="kit") as database:
        owner = await as_superuser(addresses.postgres_dsn, database)
        today = await owner.fetchval("SELECT date_trunc('day', now())")
        for back in range(DAYS, 0, -1):
            day = today - timedelta(days=back)
            await owner.execute(PARTITION.format(day, day + timedelta(days=1)))
            await fill(owner, topic, history // DAYS, at=day + timedelta(hours=12))
        last = await owner.fetchval("SELECT max(seq) FROM outbox")
        await fill(owner, topic, WAITING)
        rates = [await drain(addresses, owner, database, after=last) for _ in range(ROUNDS)]
        await owner.close()
    return max(rates)
