"""Consumption: a consumer group of a service, its polled batches handled and only then committed.

For a handler this means:

1. its event is of the newest version of its class;
2. its transaction is open, belongs to the event's tenant, and is committed once, after it returned;
3. it has effect once per event id, however often the event is delivered;
4. what it appends to the outbox leaves in commit order per key;
5. ``Retry`` delays, ``Poison`` parks, anything else is retried a few times and then parked, within limits beyond
   which the consumer stops. A lost database pauses it. The offset never moves before the outcome is stored.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

from contracts.registry import REGISTRY, Registry
from kit.broker import MAX_RECORDS, BatchSource
from kit.dead_letters import DeadLetterLimits
from kit.delivery import Deletion, Poison, Received, Retry, Subscription, on, on_batch, on_deleted
from kit.handling import Halted, Handling
from kit.postgres import SERVER_AWAY, Database
from kit.telemetry import METRICS, get_logger

__all__ = ["Consumer", "Deletion", "Poison", "Received", "Retry", "Subscription", "on", "on_batch", "on_deleted"]

log = get_logger(__name__)

STUCK_SECONDS = 240.0
# Kafka says that records wait, nobody works on any, and no position moves.
STALLED_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 120.0
MEND = "look at what failed (trunkline dlq list), mend the handler, restart the service"


class Consumer:
    """One consumer group of a service with its table of subscriptions. A component: start, stop, health."""

    def __init__(
        self,
        *,
        database: Database,
        kafka_bootstrap: str,
        subscriptions: Sequence[Subscription],
        group: str | None = None,
        registry: Registry = REGISTRY,
        limits: DeadLetterLimits | None = None,
        max_records: int = MAX_RECORDS,
        instance_id: str | None = None,
    ) -> None:
        self.group = group or database.service
        self.name = f"consumer {self.group}"
        self.handling = Handling(
            database=database, consumer=self.group, subscriptions=subscriptions, registry=registry, limits=limits
        )
        self._source_arguments: dict[str, Any] = {
            "bootstrap": kafka_bootstrap,
            "group": self.group,
            "topics": sorted({subscription.topic for subscription in subscriptions}),
            "handle": self.handle,
            "max_records": max_records,
            # Static membership (KIP-345): a restart within the session's time-out moves no partition.
            "instance_id": f"{self.group}-{instance_id}" if instance_id else None,
        }
        self._source: BatchSource | None = None
        self._stopping = False
        self._attempt_since: float | None = None
        self._paused: str | None = None
        self._halted: str | None = None
        # A series that begins at one hides its first increase from every rate.
        for metric in (METRICS.commit_failures, METRICS.halted, METRICS.paused, METRICS.retries):
            metric.labels(self.group)
        for topic in self._source_arguments["topics"]:
            METRICS.missed.labels(self.group, topic)

    async def start(self) -> None:
        self._stopping = False
        source = BatchSource(**self._source_arguments)
        try:
            await source.start()
        except BaseException:
            await source.stop()
            raise
        self._source = source

    async def stop(self) -> None:
        self._stopping = True
        if self._source is not None:
            await self._source.stop()
            self._source = None

    def alive(self) -> str | None:
        """Progress, not dependencies: waiting for the database, for Kafka or for an operator is not being stuck."""
        if self._source is None or self._stopping or self._halted is not None or self._source.fenced is not None:
            return None
        if self._attempt_since is not None:
            seconds = time.monotonic() - self._attempt_since
            return f"{self.name} has worked on one batch for {seconds:.0f} s" if seconds > STUCK_SECONDS else None
        if not self._source.running():
            return f"{self.name} has stopped polling"
        progress = self._source.progress
        if self._paused is None and progress.busy_seconds() > STUCK_SECONDS:
            return f"{self.name} has held one batch for {progress.busy_seconds():.0f} s and finishes nothing of it"
        if progress.stuck_seconds() > STALLED_SECONDS:
            return f"{self.name} does not move though {progress.waiting()} records wait"
        return None

    def ready(self) -> str | None:
        if self._halted is not None:
            return f"{self.name} stopped: {self._halted}; {MEND}"
        if self._source is not None and self._source.fenced is not None:
            return f"{self.name} stopped: {self._source.fenced}"
        if self._source is None or not self._source.assignment():
            return f"{self.name} holds no partitions"
        return f"{self.name} waits: {self._paused}" if self._paused is not None else None

    def status(self) -> dict[str, object]:
        source = self._source
        held = {"partitions": len(source.assignment()) if source else 0, "fenced": source.fenced if source else None}
        return {**held, "paused": self._paused, "halted": self._halted, **self.handling.counts}

    async def handle(self, records: Sequence[Any]) -> None:
        """Handle one polled batch; returns when every record has a stored outcome."""
        if self._halted is not None:
            await asyncio.sleep(1.0)
            raise Halted(self._halted)
        delay, gives_up = 0.25, time.monotonic() + LONGEST_PAUSE_SECONDS
        self.handling.begin()
        try:
            while True:
                # Each attempt is timed by itself: a lost database ends one within its own time-outs.
                self._attempt_since = time.monotonic()
                try:
                    await self.handling.handle(records)
                except SERVER_AWAY as error:
                    self._attempt_since = None
                    if self._stopping or time.monotonic() > gives_up:
                        raise
                    self._pause(type(error).__name__)
                    await asyncio.sleep(delay * random.uniform(0.7, 1.3))  # noqa: S311 - jitter, not a secret
                    delay = min(delay * 2, 5.0)
                else:
                    self._pause(None)
                    return
        except Halted as halted:
            self._halt(str(halted))
            raise
        finally:
            self._attempt_since = None

    def _pause(self, why: str | None) -> None:
        if why is not None and self._paused is None:
            log.warning("consumer_paused", consumer=self.group, error=why)
        self._paused = why
        METRICS.paused.labels(self.group).set(0 if why is None else 1)

    def _halt(self, why: str) -> None:
        self._halted = why
        METRICS.halted.labels(self.group).set(1)
        log.error("consumer_halted", consumer=self.group, reason=why, action=MEND)
