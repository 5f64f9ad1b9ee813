"""The relay: publishes a service's outbox to Kafka, in commit order per key, by one leader at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from kit.postgres import Database
from kit.telemetry import METRICS, get_logger
from runtime.backlog import Backlog
from runtime.publisher import COLUMNS, Held, Place, Publisher
from runtime.tasks import end

__all__ = ["Relay"]

log = get_logger(__name__)

# Rows of a transaction that is still running, or that a running one may still precede, are not read yet:
# below xmin every transaction has ended, so nothing can appear behind the position. Both bounds are conditions on
# the index, asked for once: however much is published or held back, a read touches the rows that it returns.
_FETCH = f"""
SELECT {COLUMNS}
FROM outbox o
WHERE (o.epoch, o.xid, o.seq) > ($1, $2::xid8, $3)
  AND (o.epoch, o.xid) < ((SELECT current_epoch()), (SELECT pg_snapshot_xmin(pg_current_snapshot())))
ORDER BY o.epoch, o.xid, o.seq
LIMIT $4
"""  # noqa: S608
# One plan for ever, by the index: statistics of a partition that was empty a moment ago are no ground for another.
_PLAN = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off"
# Does not wait for the disk: what Postgres may forget of it in a crash is published again, as after any other.
_ADVANCE = """
UPDATE relay_position SET epoch = $2, xid = $3::xid8, seq = $4, kafka_ends = kafka_ends || $6::jsonb, updated_at = now()
WHERE relay = $1 AND generation = $5 RETURNING set_config('synchronous_commit', 'off', true) = 'off'
"""
_TOPICS = "SELECT DISTINCT split_part(jsonb_object_keys(kafka_ends), '/', 1) FROM relay_position WHERE relay = $1"
_BEGIN = "SELECT epoch, xid, seq, generation, halted FROM begin_relay($1, $2, $3::jsonb)"
LOOK_SECONDS = 5.0
WATCH_SECONDS = 5.0
# So many sets of rows wait to be sent: neither reading nor sending waits for what the other happens to wait for.
READ_AHEAD = 2


class Rewound(Exception):
    """The position was moved by an operator; it is read anew."""


class Relay:
    """Publishes the outbox of one service. Several processes may run one: an advisory lock makes one the leader.

    A record is repeated when the leader dies between Kafka's acknowledgement and storing the position, always
    with the same id; consumers' inboxes absorb it.
    """

    def __init__(
        self,
        *,
        database: Database,
        kafka_bootstrap: str,
        service: str,
        batch: int = 4000,
        poll_seconds: float = 0.2,
        keep_days: int = 9,
    ) -> None:
        self.name = "relay"
        self._database = database
        self._bootstrap = kafka_bootstrap
        self._service = service
        self._batch = batch
        self._poll = poll_seconds
        self._keep_days = keep_days
        self._backlog = Backlog(database)
        self._task: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._stopping = False
        self._leader = False
        self._published = 0
        self._generation: int | None = None
        self._held: Held | None = None
        """What Kafka holds and is not stored yet."""
        self._halted = ""
        self._last_error: str | None = None
        for metric in (METRICS.relay_errors, METRICS.relayed, METRICS.suppressed):
            metric.labels(service)

    async def start(self) -> None:
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name=f"relay {self._service}")
        self._watching = asyncio.create_task(self._watch(), name=f"backlog {self._service}")

    async def stop(self) -> None:
        """Publish what is committed, as far as Kafka takes it within a moment, then let go of the lead."""
        self._stopping = True
        self._database.doorbell.set()
        if self._watching is not None:
            await end(self._watching)
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=6)
            await end(self._task)
        self._task = None

    def alive(self) -> str | None:
        return "the relay's task has ended" if self._task is not None and self._task.done() else None

    def ready(self) -> str | None:
        return None

    def status(self) -> dict[str, object]:
        known = {"leader": self._leader, "generation": self._generation, "published": self._published}
        return {**known, "last_error": self._last_error, "halted": self._halted}

    async def _watch(self) -> None:
        while True:
            try:
                await self._backlog.measure()
            except Exception as error:
                # Without a database there is nothing to measure; its absence is told elsewhere.
                log.debug("backlog_not_measured", error=type(error).__name__)
            await asyncio.sleep(WATCH_SECONDS)

    async def _run(self) -> None:
        delay = 0.2
        while not self._stopping:
            try:
                await self._lead()
                delay = 0.2
            except Rewound:
                log.info("relay_rewound")
            except Exception as error:
                # Whatever it is: what is committed must still be published.
                METRICS.relay_errors.labels(self._service).inc()
                self._last_error = type(error).__name__
                log.warning("relay_interrupted", error=type(error).__name__, retry_seconds=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
            finally:
                self._leader, self._halted = False, ""
                METRICS.relay_leader.labels(self._service).set(0)
                METRICS.relay_halted.labels(self._service).set(0)

    async def _lead(self) -> None:
        connection = await self._database.dedicated("relay")
        try:
            while not await connection.fetchval(
                "SELECT pg_try_advisory_lock(hashtext('relay'), hashtext($1))", self._service
            ):
                if self._stopping:
                    return
                await asyncio.sleep(1.0)
            self._leader = True
            METRICS.relay_leader.labels(self._service).set(1)
            await connection.execute(_PLAN)
            await self._maintain(connection)
            await connection.add_listener(f"{self._service}_outbox", lambda *_: self._database.doorbell.set())
            publisher = Publisher(bootstrap=self._bootstrap, service=self._service)
            try:
                await self._publish_all(connection, publisher)
            finally:
                await asyncio.to_thread(publisher.close)
        finally:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(connection.close(), 2)

    async def _maintain(self, connection: Any) -> None:
        """Make coming partitions, drop published old ones, forget what nobody delivers any more."""
        await connection.execute("SELECT maintain_outbox(make_interval(days => $1))", self._keep_days)
        await connection.execute("DELETE FROM inbox WHERE seen_at < now() - make_interval(days => $1)", self._keep_days)
        await connection.execute("DELETE FROM erased_lately WHERE forget_at < now()")

    async def _publish_all(self, connection: Any, publisher: Publisher) -> None:
        clock = asyncio.get_running_loop().time
        looked = maintained = clock()
        self._generation = self._held = None
        position = await self._look(connection, publisher)
        while True:
            self._database.doorbell.clear()
            if not self._halted:
                position = await self._publish_waiting(connection, publisher, position)
            if self._stopping:
                return
            if clock() - maintained > 3600:
                await self._maintain(connection)
                maintained = clock()
            if clock() - looked > LOOK_SECONDS:
                await self._look(connection, publisher)
                looked = clock()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._database.doorbell.wait(), self._poll)

    async def _look(self, connection: Any, publisher: Publisher) -> Place:
        """Where to go on; and whether Kafka still is and holds what it was and held, without which nothing is sent."""
        topics = [row[0] for row in await connection.fetch(_TOPICS, self._service)]
        row = await connection.fetchrow(_BEGIN, self._service, *await asyncio.to_thread(publisher.kafka, topics))
        if self._generation not in (None, row["generation"]):
            raise Rewound
        if row["halted"] and row["halted"] != self._halted:
            log.error("relay_halted", reason=row["halted"], action="trunkline relay rewind --help")
        self._generation, self._halted = row["generation"], row["halted"]
        METRICS.relay_halted.labels(self._service).set(bool(self._halted))
        return row["epoch"], row["xid"], row["seq"]

    async def _publish_waiting(self, connection: Any, publisher: Publisher, position: Place) -> Place:
        """Publish until fewer rows wait than are read at a time; return the place of the last.

        While rows are sent the next are read and the position is stored, up to where Kafka holds everything.
        """
        coming: asyncio.Queue[list[Any]] = asyncio.Queue()
        room = asyncio.Semaphore(READ_AHEAD)
        reading = asyncio.create_task(self._read(connection, position, coming, room))
        settled = True
        try:
            while rows := await coming.get():
                room.release()
                position = tuple(rows[-1][-3:])
                settled = len(rows) < self._batch
                await self._publish(publisher, rows, settle=settled)
            if not settled:
                await self._publish(publisher, [], settle=True)
            await reading
        finally:
            await end(reading)
        await self._store(connection)
        return position

    async def _read(
        self, connection: Any, position: Place, coming: asyncio.Queue[list[Any]], room: asyncio.Semaphore
    ) -> None:
        """Rows in their order, a little ahead of what is sent; nothing comes after an empty list."""
        more = True
        try:
            while more:
                await room.acquire()
                await self._store(connection)
                rows = await connection.fetch(_FETCH, *position, self._batch)
                more = len(rows) == self._batch
                if rows:
                    position = tuple(rows[-1][-3:])
                    coming.put_nowait(rows)
        finally:
            coming.put_nowait([])

    async def _publish(self, publisher: Publisher, rows: list[Any], *, settle: bool) -> None:
        held = await asyncio.to_thread(publisher.send, rows, settle=settle)
        if held is not None:
            self._held = self._held.and_then(held) if self._held else held
        self._published += len(rows)
        METRICS.relayed.labels(self._service).inc(len(rows))

    async def _store(self, connection: Any) -> None:
        """Store what Kafka holds."""
        held, self._held = self._held, None
        if held is None:
            return
        if not await connection.fetchval(_ADVANCE, self._service, *held.place, self._generation, json.dumps(held.ends)):
            raise Rewound
        self._last_error = None
