"""Whether a ring waits when a backup is imported beside it: rings at a modest steady rate, open loop, first alone and
then while imports follow each other on the same servers and the same cores.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.importing import an_archive, relaying, run_import, sample_of
from bench.midring import ANSWERS_ONLY, ANYWHERE, BEHIND, directory, free_port, listening, open_loop, pinned, settings
from bench.results import Addresses, Result, percentile
from kit.testing import fresh_database

RATE = 50
SECONDS = 20
MESSAGES = int(os.environ.get("TRUNKLINE_BENCH_MESSAGES", "100000"))
SHARES = (0.5, 0.95, 0.99)


def run(addresses: Addresses) -> Sequence[Result]:
    return asyncio.run(_run(addresses))


async def _run(addresses: Addresses) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="midring-import") as name:
        folder, secret = Path(name), secrets.token_urlsafe(16)
        async with fresh_database(
            addresses.postgres_dsn, service="telephony-router", package="telephony_router"
        ) as database:
            router = await directory(addresses, database, secret)
            alone, beside, imported = await _measure(addresses, router, secret, folder)
    without = [percentile(alone, share) for share in SHARES]
    p50, p95, p99 = (percentile(beside, share) for share in SHARES)
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
            note=f"{len(beside):,} rings at {RATE}/s while {imported:,} messages were imported; without p50"
            f" {without[0]:.1f}, p95 {without[1]:.1f} ms; latest {max(beside):.0f} and {max(alone):.0f} ms",
        )
    ]


async def _measure(
    addresses: Addresses, router: str, secret: str, folder: Path
) -> tuple[list[float], list[float], int]:
    path, port = f"/v1/hooks/generic/{secret}/ring", free_port()
    answering = settings(addresses, router, port, folder / "router") | ANSWERS_ONLY
    behind = settings(addresses, router, free_port(), folder / "behind")
    sample = await asyncio.to_thread(sample_of, folder / "sample", MESSAGES)
    # Nothing is kept to a core: the import is to be in the way of whatever it can be in the way of.
    with (
        pinned(BEHIND, behind, folder / "behind.log", core=ANYWHERE),
        pinned([sys.executable, "-m", "telephony_router"], answering, folder / "router.log", core=ANYWHERE),
    ):
        await listening(port)
        await open_loop(port, path, seconds=2, rate=RATE)
        alone = await open_loop(port, path, seconds=SECONDS, rate=RATE)
        async with an_archive(addresses) as (database, account, dsn), relaying(addresses, database):
            importing = asyncio.create_task(asyncio.to_thread(run_import, dsn, sample.backup, sample.key, account))
            beside: list[float] = []
            while not importing.done() and len(beside) < RATE * SECONDS * 3:
                beside += await open_loop(port, path, seconds=2, rate=RATE)
            ran = await importing
    return alone, beside, int(ran.answer["messages_new"])
