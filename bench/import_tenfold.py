"""Ten times as many messages, beside a tenth of them in the same run: time, and memory, which must not grow with them.

Each is imported into an archive of its own, with the relay beside, until the last event is on Kafka.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.importing import an_archive, relaying, run_import, sample_of, until_published
from bench.results import Addresses, Result

TIMES = 10
MESSAGES = int(os.environ.get("TRUNKLINE_BENCH_MESSAGES", "100000"))
#: What a message takes on disk while this runs: sample, archive, outbox, write-ahead log, Kafka.
BYTES_A_MESSAGE = 6_000


def run(addresses: Addresses) -> Sequence[Result]:
    return asyncio.run(_run(addresses))


async def _run(addresses: Addresses) -> list[Result]:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    times = min(TIMES, free // (BYTES_A_MESSAGE * MESSAGES))
    if times < 2:
        raise SystemExit("The disk is too small for this measurement; set TRUNKLINE_BENCH_MESSAGES lower")
    single, single_mb = await _import(addresses, MESSAGES)
    tenfold, tenfold_mb = await _import(addresses, MESSAGES * times)
    return [
        Result(
            name="import_tenfold",
            # Scaled to ten where the disk had no room for so many.
            value=tenfold / single * TIMES / times,
            unit="times as long",
            limit_name="times as many",
            limit=TIMES,
            ratio=times * single / tenfold,
            rss_mb=tenfold_mb,
            note=f"{MESSAGES * times:,} messages in {tenfold:.1f} s and {tenfold_mb:.0f} MB, {MESSAGES:,} in"
            f" {single:.1f} s and {single_mb:.0f} MB",
        )
    ]


async def _import(addresses: Addresses, messages: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        sample = await asyncio.to_thread(sample_of, Path(folder), messages)
        async with an_archive(addresses) as (database, account, dsn), relaying(addresses, database):
            ran = await asyncio.to_thread(run_import, dsn, sample.backup, sample.key, account)
            visible = ran.seconds + await until_published(database)
    if ran.answer["messages_new"] != messages:
        raise RuntimeError("the import did not do what is measured")
    return visible, ran.rss_mb
