"""Whether a ring waits when a backup is imported beside it: rings at a modest steady rate, open loop, first alone and
then while a backup is imported on the same servers and the same cores. The callers ring from a process of their own
(``bench.ringing``); this one publishes meanwhile what the archive tells, as the service does.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.importing import an_archive, relaying, run_import, sample_of
from bench.midring import (
    ANSWERING,
    ANYWHERE,
    BEHIND,
    ROUTER,
    customers,
    directory,
    free_port,
    listening,
    pinned,
    redis_in_real_time,
    settings,
)
from bench.results import Addresses, Result, percentiles
from bench.ringing import Callers, Rings
from kit.testing import fresh_database
from runtime.priority import giving_way
from trunkline.stack.layout import SERVICES

RATE = 50
SECONDS = 20
[RELAY_YIELDS] = (each.niceness for each in SERVICES if each.name == "vault-importer")
"""As `trunkline up` has the service yield whose relay it is."""
MESSAGES = int(os.environ.get("TRUNKLINE_BENCH_MESSAGES", "100000"))


def run(addresses: Addresses) -> Sequence[Result]:
    return asyncio.run(_run(addresses))


async def _run(addresses: Addresses) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="midring-import") as name:
        folder, secret = Path(name), secrets.token_urlsafe(16)
        async with (
            redis_in_real_time(addresses),
            fresh_database(addresses.postgres_dsn, service="telephony-router", package="telephony_router") as database,
        ):
            router = await directory(addresses, database, secret)
            with customers(secret) as callers:
                alone, beside, imported = await _measure(addresses, router, folder, callers)
    without, (p50, p95, p99) = percentiles(alone.latencies), percentiles(beside.latencies)
    return [
        Result(
            name="midring_import",
            value=p99,
            unit="ms p99",
            limit_name="ms p99, no import beside",
            limit=without[2],
            ratio=without[2] / p99,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            note=f"{len(beside.latencies):,} rings at {RATE}/s while {imported:,} messages were imported,"
            f" {beside.lateness}; without p50 {without[0]:.1f}, p95 {without[1]:.1f} ms, {alone.lateness};"
            f" latest {max(beside.latencies):.0f} and {max(alone.latencies):.0f} ms",
        )
    ]


async def _measure(addresses: Addresses, router: str, folder: Path, callers: Callers) -> tuple[Rings, Rings, int]:
    port = free_port()
    answering = settings(addresses, router, port, folder / "router") | ANSWERING
    behind = settings(addresses, router, free_port(), folder / "behind")
    sample = await asyncio.to_thread(sample_of, folder / "sample", MESSAGES)
    # Nothing is kept to a core: the import is to be in the way of whatever it can be in the way of.
    with (
        pinned(ROUTER, behind | BEHIND, folder / "behind.log", core=ANYWHERE),
        pinned(ROUTER, answering, folder / "router.log", core=ANYWHERE),
    ):
        await listening(port)
        await callers.ring(port, rate=RATE, seconds=2)
        alone = await callers.ring(port, rate=RATE, seconds=SECONDS)
        # After the routers, which would be nice by inheritance.
        with giving_way(RELAY_YIELDS):
            async with an_archive(addresses) as (database, account, dsn), relaying(addresses, database):
                importing = asyncio.create_task(asyncio.to_thread(run_import, dsn, sample.backup, sample.key, account))
                beside = Rings()
                while not importing.done() and len(beside.latencies) < RATE * SECONDS * 3:
                    beside += await callers.ring(port, rate=RATE, seconds=2)
                ran = await importing
    return alone, beside, int(ran.answer["messages_new"])
