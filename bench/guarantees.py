"""What each guarantee costs: the same work with it and without it, in the same run.

Without it means a version of the code that breaks its promise; such a version exists here and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import patch

import uvloop
from confluent_kafka import Producer
from opentelemetry.sdk.trace import TracerProvider

import kit.handling
import runtime.publisher
from bench.consume import Ground, consume, ground, sets, single
from bench.relay import drain, fill
from bench.results import Addresses, Result
from kit import outbox
from kit.delivery import Subscription, on
from kit.handling import TOGETHER
from kit.postgres import Transaction

SINGLE, RELAY = 5_000, 100_000
ROUNDS = 3

Without = Callable[[Ground], Any]
Work = Callable[[Ground], Awaitable[float]]


def run(addresses: Addresses) -> Sequence[Result]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(addresses))


async def _run(addresses: Addresses) -> list[Result]:
    async with ground(addresses, SINGLE) as it:
        results = [await _compare(it, *each) for each in CONSUMING]
        await it.forget()
        await fill(it.owner, it.topic, RELAY)
        results.append(await _compare(it, *PUBLISHING))
    return results


async def _compare(it: Ground, name: str, work: Work, without: Without, note: str) -> Result:
    """The best of some rounds each, in turns, so that a slow minute of the machine is one for both."""
    kept, broken = [], []
    for _ in range(ROUNDS):
        kept.append(await work(it))
        async with without(it):
            broken.append(await work(it))
    rate, limit = max(kept), max(broken)
    return Result(name=f"guarantee_{name}", value=rate, unit="events/s", limit_name="without it", limit=limit,
                  ratio=rate / limit, note=note)  # fmt: skip


async def _single(it: Ground) -> float:
    return await consume(it, single(it), SINGLE)


async def _emitting(it: Ground) -> float:
    return await consume(it, _echo(it), SINGLE)


async def _relay(it: Ground) -> float:
    return await drain(it.addresses, it.owner, it.database)


def _echo(it: Ground) -> Subscription:
    """One row and one event of the same entity for each event."""

    async def emits(event: Any, _: Transaction) -> list[str]:
        return [event.entity]

    async def handle(event: Any, tx: Transaction) -> None:
        await tx.execute("INSERT INTO ledger (tenant_id, entity, number) VALUES ($1, $2, $3)", tx.tenant, event.entity,
                         event.number)  # fmt: skip
        await outbox.append(tx, event)

    return on(it.event, handle, emits=emits)


@asynccontextmanager
async def _no_inbox(_: Ground) -> AsyncIterator[None]:
    async def all_new(tx: Any, consumer: str, envelopes: Any) -> set[str]:
        return {envelope.id for envelope in envelopes}

    with patch.object(kit.handling, "claim_many", all_new):
        yield


@asynccontextmanager
async def _no_fence(it: Ground) -> AsyncIterator[None]:
    for table in ("ledger", "inbox"):
        await it.owner.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    yield
    for table in ("ledger", "inbox"):
        await it.owner.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")


@asynccontextmanager
async def _no_key_locks(_: Ground) -> AsyncIterator[None]:
    async def hold_keys(self: Any, keys: Any) -> None:
        self.held |= set(keys)

    with patch.object(Transaction, "hold_keys", hold_keys):
        yield


def _alone() -> Any:
    return patch.object(kit.handling, "TOGETHER", 1)


async def _one_by_one(it: Ground) -> float:
    with _alone():
        return await consume(it, single(it), SINGLE)


@asynccontextmanager
async def _together(_: Ground) -> AsyncIterator[None]:
    with patch(f"{__name__}._alone", _nothing):
        yield


@asynccontextmanager
async def _in_sets(_: Ground) -> AsyncIterator[None]:
    with patch(f"{__name__}.single", sets):
        yield


@asynccontextmanager
async def _commits_not_awaited(it: Ground) -> AsyncIterator[None]:
    name = await it.owner.fetchval("SELECT current_database()")
    await it.owner.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await it.database.close()
    yield
    await it.owner.execute(f"ALTER DATABASE {name} RESET synchronous_commit")
    await it.database.close()


@asynccontextmanager
async def _leader_only(_: Ground) -> AsyncIterator[None]:
    weaker = {"enable.idempotence": False, "enable.gapless.guarantee": False, "acks": 1}

    def producer(settings: dict[str, Any], **options: Any) -> Producer:
        return Producer({**settings, **weaker}, **options)

    with patch.object(runtime.publisher, "Producer", producer):
        yield


@contextmanager
def _spans() -> Any:
    tracer = TracerProvider().get_tracer("bench")
    with patch.object(kit.handling, "tracer", tracer), patch.object(kit.handling, "spans_are_exported", lambda: True):
        yield


async def _traced(it: Ground) -> float:
    with _spans():
        return await consume(it, single(it), SINGLE)


@asynccontextmanager
async def _no_spans(_: Ground) -> AsyncIterator[None]:
    with patch(f"{__name__}._spans", _nothing):
        yield


@contextmanager
def _nothing() -> Any:
    yield


CONSUMING: tuple[tuple[str, Work, Without, str], ...] = (
    ("inbox", _single, _no_inbox, "once per event id; without: every redelivery takes effect again"),
    ("fence", _single, _no_fence, "row-level security on both tables; without: one bug shows a tenant another's rows"),
    ("key_locks", _emitting, _no_key_locks, "with an event told; without: a key's events can leave in the wrong order"),
    ("commit_each", _one_by_one, _together, f"a transaction per event; without, as it is: up to {TOGETHER} share one"),
    ("call_each", _single, _in_sets, f"a handler's call per event, up to {TOGETHER} in a transaction; without: sets"),
    ("durable", _single, _commits_not_awaited, "synchronous_commit on; without: a crash loses what was acknowledged"),
    ("traces", _traced, _no_spans, "a span per event, as with a collector; without: only its context"),
)
PUBLISHING: tuple[str, Work, Without, str] = (
    "no_gaps", _relay, _leader_only, "relay, idempotent, acks=all; without: acks=1, a retry can repeat or reorder"
)  # fmt: skip
