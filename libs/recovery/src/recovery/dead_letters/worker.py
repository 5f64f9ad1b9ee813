"""The worker: tries dead letters that an operator asked for, in the order of their keys, and lets the keys go.

A key's letters are worked from the first one. One that fails again stops its key; one that only waited behind another
needs nobody to ask. A key is let go when no letter of it is left: until then the live consumer parks what comes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from kit.consume import Consumer
from kit.dead_letters import Failure
from kit.handling import Handling
from kit.metrics import counter, gauge
from kit.postgres import SERVER_AWAY, Database
from kit.telemetry import get_logger
from recovery.dead_letters.actions import Asker, audit
from recovery.dead_letters.bulk import audit_job
from recovery.replay.letters import record_of
from runtime.background import Background

__all__ = ["DeadLetterWorker"]

log = get_logger(__name__)

WORKER = Asker(who="worker")
LOOK_SECONDS = 1.0
DROPPED_DAYS, AUDIT_DAYS = 30, 365

PARKED_KEYS = gauge("trunkline_parked_keys", "1", "Keys whose later events wait", ["consumer"])
WAITING = gauge(
    "trunkline_dead_letters_waiting", "1", "Dead letters that are neither dropped nor worked off", ["consumer"]
)
OLDEST = gauge(
    "trunkline_dead_letters_oldest_age_seconds", "seconds", "Age of the oldest waiting dead letter", ["consumer"]
)
WORKED = counter("trunkline_dead_letters_worked", "1", "What became of dead letters", ["consumer", "action"])

# Keys with something to do: asked for, or waiting with no failure before it, or without any letter left.
_LANES = """
SELECT p.key FROM parked_key p LEFT JOIN LATERAL (
    SELECT state, parked_behind FROM dead_letter d
    WHERE d.consumer = p.consumer AND d.lane = p.key AND d.state <> 'dropped' ORDER BY d.seq LIMIT 1
) first ON true
WHERE p.consumer = $1 AND (first.state IS NULL OR first.state = 'retry' OR first.parked_behind)
LIMIT 1000
"""
_FIRST = """
SELECT * FROM dead_letter WHERE consumer = $1 AND lane = $2 AND state <> 'dropped' ORDER BY seq LIMIT 1
"""
_SINGLES = """
SELECT * FROM dead_letter d WHERE consumer = $1 AND state = 'retry' AND (lane IS NULL OR NOT EXISTS (
    SELECT FROM parked_key p WHERE p.consumer = d.consumer AND p.key = d.lane)) ORDER BY seq LIMIT 500
"""
_FAILED = """
UPDATE dead_letter SET state = 'waiting', parked_behind = false, reason = $2, message = $3, stack_hash = $4,
    attempts = attempts + $5, retries = retries + 1, last_failed_at = now(), fingerprint = $6, code_version = $7,
    trying_since = NULL, job = NULL
WHERE id = $1
"""
# From here on nobody drops or edits it. The row as it is now: it may have been edited since it was chosen.
_CLAIM = """
UPDATE dead_letter SET trying_since = now()
WHERE id = $1 AND (state = 'retry' OR (state = 'waiting' AND parked_behind)) RETURNING *
"""
_FORGET_CLAIMS = """
UPDATE dead_letter SET trying_since = NULL WHERE trying_since IS NOT NULL AND consumer = ANY ($1::text[])
"""
# A job's letters are asked for at its rate; what came of them is known later.
_ASK = """
UPDATE dead_letter SET state = $2, job = $3
WHERE id = ANY ($1::uuid[]) AND state = 'waiting' AND trying_since IS NULL RETURNING id
"""
_STEP = """
UPDATE dead_letter_job SET done = $2, skipped = skipped + $3, state = $4,
    finished_at = CASE WHEN $4 = 'done' THEN now() END WHERE id = $1 RETURNING *
"""
_CAME_OF_IT = """
UPDATE dead_letter_job SET retried = retried + $2::int, failed = failed + (1 - $2::int) WHERE id = $1
"""
_FIGURES = """
SELECT (SELECT count(*) FROM parked_key WHERE consumer = $1) AS keys, count(*) AS waiting,
    coalesce(extract(epoch FROM now() - min(first_failed_at)), 0)::float AS oldest
FROM dead_letter WHERE consumer = $1 AND state <> 'dropped'
"""
_FORGET_DROPPED = """
DELETE FROM dead_letter WHERE state = 'dropped' AND last_failed_at < now() - make_interval(days => $1)
"""
_RUNNING = "SELECT * FROM dead_letter_job WHERE state = 'running' AND consumer = ANY ($1::text[]) ORDER BY created_at"


class DeadLetterWorker(Background):
    """Works the dead letters of a service's consumers. Of several replicas one works at a time."""

    name = "dead letters"
    ended = "the dead letters' worker has ended"
    optional = True

    def __init__(self, database: Database, consumers: Sequence[Consumer], *, every: float = LOOK_SECONDS) -> None:
        self._database = database
        self._handlings = {consumer.group: consumer.handling for consumer in consumers}
        self._every = every
        self._worked = 0
        self._last_error: str | None = None
        self._swept = 0.0
        # Of a running job the part of a letter that its rate allows already.
        self._credit: dict[UUID, float] = {}
        for group in self._handlings:
            for metric in (PARKED_KEYS, WAITING, OLDEST):
                metric.labels(group).set(0)
            for action in ("retried", "failed_again", "dropped"):
                WORKED.labels(group, action)

    def status(self) -> dict[str, object]:
        return {"worked": self._worked, "last_error": self._last_error}

    async def _run(self) -> None:
        while True:
            try:
                await self._lead()
            except SERVER_AWAY as error:
                self._last_error = type(error).__name__
            except Exception as error:
                self._last_error = type(error).__name__
                log.warning("dead_letters_interrupted", error=type(error).__name__, exc_info=True)
            await asyncio.sleep(self._every)

    async def _lead(self) -> None:
        """Work for as long as this process has the lead; the others only count."""
        connection = await self._database.dedicated("dead letters")
        try:
            while True:
                await self._count()
                if await connection.fetchval(
                    "SELECT pg_try_advisory_lock(hashtext('dead letters'), hashtext($1))", self._database.service
                ):
                    break
                await asyncio.sleep(5 * self._every)
            async with self._database.system() as tx:
                # Of a leader that ended in the middle of a try.
                await tx.execute(_FORGET_CLAIMS, list(self._handlings))
            while True:
                await self.work_once()
                await self._count()
                await connection.fetchval("SELECT 1")
                self._last_error = None
                await asyncio.sleep(self._every)
        finally:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(connection.close(), 2)

    async def work_once(self) -> None:
        """One look at everything that can be done now."""
        await self._step_jobs()
        for consumer, handling in self._handlings.items():
            async with self._database.system() as tx:
                lanes = [row["key"] for row in await tx.fetch(_LANES, consumer)]
                singles = await tx.fetch(_SINGLES, consumer)
            for row in singles:
                await self._work(handling, row)
            for lane in lanes:
                await self._work_lane(handling, lane)
        await self._sweep()

    async def _work_lane(self, handling: Handling, lane: str) -> None:
        """A key's letters in their order, until one fails, none is left, or nobody has asked for the next."""
        while True:
            async with self._database.system() as tx:
                row = await tx.fetchrow(_FIRST, handling.consumer, lane)
            if row is None:
                if await self._let_go(handling.consumer, lane):
                    return
                continue
            if row["state"] == "waiting" and not row["parked_behind"]:
                return
            if not await self._work(handling, row):
                return

    async def _work(self, handling: Handling, row: Any) -> bool:
        """Try one letter; false when it failed. Its inbox row makes a second try after a crash harmless."""
        async with self._database.system() as tx:
            row = await tx.fetchrow(_CLAIM, row["id"])
        if row is None:
            return True  # dropped meanwhile
        failure = await handling.attempt(record_of(row))
        self._worked += 1
        action = "retried" if failure is None else "failed_again"
        async with self._database.system() as tx:
            await audit(tx, [row["id"]], action, WORKER, **({"reason": failure.reason} if failure else {}))
            if failure is None:
                await tx.execute("DELETE FROM dead_letter WHERE id = $1", row["id"])
            else:
                await self._keep(tx, handling, row, failure)
            if row["job"] is not None:
                await tx.execute(_CAME_OF_IT, row["job"], int(failure is None))
        WORKED.labels(handling.consumer, action).inc()
        return failure is None

    async def _keep(self, tx: Any, handling: Handling, row: Any, failure: Failure) -> None:
        kind = row["event_type"] or row["topic"]
        await tx.execute(
            _FAILED, row["id"], failure.reason, failure.message, failure.stack_hash, failure.attempts,
            failure.fingerprint(handling.consumer, kind), handling.code_version,
        )  # fmt: skip

    async def _let_go(self, consumer: str, lane: str) -> bool:
        """Unpark a key if no letter of it is left; false when one came in meanwhile.

        Two statements, and the lock in the first: whoever parks a letter of this key holds the same row, so the second
        statement, with a snapshot of its own, sees the letter.
        """
        async with self._database.system() as tx:
            await tx.execute("SELECT FROM parked_key WHERE consumer = $1 AND key = $2 FOR UPDATE", consumer, lane)
            await tx.execute(
                "DELETE FROM parked_key p WHERE consumer = $1 AND key = $2 AND NOT EXISTS (SELECT FROM dead_letter d "
                "WHERE d.consumer = p.consumer AND d.lane = p.key AND d.state <> 'dropped')",
                consumer, lane,
            )  # fmt: skip
            left = await tx.fetchval("SELECT true FROM parked_key WHERE consumer = $1 AND key = $2", consumer, lane)
        return not left

    async def _step_jobs(self) -> None:
        async with self._database.system() as tx:
            running = await tx.fetch(_RUNNING, list(self._handlings))
            self._credit = {job["id"]: self._credit.get(job["id"], 0.0) for job in running}
            for job in running:
                await self._step(tx, job)

    async def _step(self, tx: Any, job: Any) -> None:
        """As many letters of a job as its rate allows for one look; of a slow one none in most looks."""
        credit = self._credit[job["id"]] + job["rate"] * self._every
        # The sum of many small steps falls short of a whole number by a hair.
        count = int(credit + 1e-9)
        self._credit[job["id"]] = credit - count
        if not count:
            return
        ids: list[UUID] = job["letters"][job["done"] : job["done"] + count]
        asker = Asker(who=job["who"], why=job["why"])
        state = "retry" if job["action"] == "retry" else "dropped"
        changed = await tx.fetch(_ASK, ids, state, job["id"] if state == "retry" else None)
        await audit(tx, [row["id"] for row in changed], job["action"], asker, job=job["id"])
        if state == "dropped":
            WORKED.labels(job["consumer"], "dropped").inc(len(changed))
        done = job["done"] + len(ids)
        ended = "done" if done >= len(job["letters"]) else "running"
        row = await tx.fetchrow(_STEP, job["id"], done, len(ids) - len(changed), ended)
        if ended == "done":
            await audit_job(tx, row, "done", WORKER)

    async def _count(self) -> None:
        async with self._database.system() as tx:
            for consumer in self._handlings:
                row = await tx.fetchrow(_FIGURES, consumer)
                if row is not None:
                    PARKED_KEYS.labels(consumer).set(row["keys"])
                    WAITING.labels(consumer).set(row["waiting"])
                    OLDEST.labels(consumer).set(row["oldest"])

    async def _sweep(self) -> None:
        """Once an hour: forget what was dropped long ago, and what was done even longer ago."""
        now = asyncio.get_running_loop().time()
        if now - self._swept < 3600:
            return
        self._swept = now
        async with self._database.system() as tx:
            await tx.execute(_FORGET_DROPPED, DROPPED_DAYS)
            for table in ("dead_letter_audit", "dead_letter_job_audit"):
                await tx.execute(f"DELETE FROM {table} WHERE at < now() - make_interval(days => $1)", AUDIT_DAYS)  # noqa: S608
