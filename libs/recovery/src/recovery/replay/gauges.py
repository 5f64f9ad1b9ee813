"""What dashboards see of replays. A replay runs in a process of its own for a while; its service tells of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import get_args

from kit.metrics import gauge
from kit.postgres import Database
from recovery.replay.book import State

__all__ = ["replay_gauges"]

REPLAYS = gauge("trunkline_replays", "1", "Replays in the service's book, by state", ["service", "state"])
HANDLED = gauge("trunkline_replay_handled_records", "1", "Records that the running replays have handled", ["service"])
REMAINING = gauge(
    "trunkline_replay_remaining_records", "1", "Records that the running replays have before them", ["service"]
)
FAILED = gauge("trunkline_replay_failed_records", "1", "Records that the running replays could not handle", ["service"])
THROTTLED = gauge("trunkline_replays_throttled", "1", "Running replays that give way to live traffic", ["service"])
SILENT = gauge(
    "trunkline_replay_silent_seconds", "seconds", "Longest time since a running replay gave a sign of life", ["service"]
)

_ALL = """
SELECT state, total, waiting_for, (counts ->> 'seen')::bigint AS seen,
    coalesce((counts ->> 'parked')::bigint, 0) + coalesce((counts ->> 'parked_behind')::bigint, 0) AS failed,
    extract(epoch FROM now() - heartbeat_at)::float AS silent
FROM replay
"""


def replay_gauges(database: Database) -> Callable[[], Awaitable[None]]:
    """Reads the service's book of replays into gauges; to be called every few seconds."""
    service = database.service

    async def tell() -> None:
        async with database.system() as tx:
            rows = await tx.fetch(_ALL)
        states = Counter(row["state"] for row in rows)
        for state in get_args(State):
            REPLAYS.labels(service, state).set(states[state])
        running = [row for row in rows if row["state"] == "running"]
        HANDLED.labels(service).set(sum(row["seen"] or 0 for row in running))
        REMAINING.labels(service).set(sum(max(0, row["total"] - (row["seen"] or 0)) for row in running))
        FAILED.labels(service).set(sum(row["failed"] for row in running))
        THROTTLED.labels(service).set(sum(bool(row["waiting_for"]) for row in running))
        SILENT.labels(service).set(max((row["silent"] for row in running), default=0.0))

    return tell
