"""Making webhooks durable before they are answered: together in one commit, or in the journal without Postgres."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

import asyncpg
from pydantic_core import from_json, to_json

from kit.postgres import Database
from kit.telemetry import get_logger
from telephony_router import store
from telephony_router.budget import Budget, Unavailable
from telephony_router.journal import Journal
from telephony_router.metrics import METRICS
from telephony_router.store import Intake

__all__ = [
    "DATABASE_FAILURES",
    "Intakes",
    "NotRecorded",
    "PostgresIntakes",
    "Recorded",
    "Recorder",
    "about_data",
    "drain",
]

log = get_logger(__name__)

# A server that is killed in the middle of an answer leaves the client in a state that it calls its own error.
DATABASE_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
GROUP_MAX = 500
_IN_POSTGRES, _IN_JOURNAL = METRICS.recorded.labels("postgres"), METRICS.recorded.labels("journal")
_Stored = dict[tuple[UUID, str], tuple[str | None, int]]


def about_data(error: BaseException) -> bool:
    """Whether Postgres is there and refuses this, rather than not being there. SQLSTATE classes 21 to 23."""
    return str(getattr(error, "sqlstate", ""))[:2] in ("21", "22", "23")


class NotRecorded(Exception):
    """Neither Postgres nor the local disk took the webhook."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    where: Literal["postgres", "journal"]
    answer: str | None
    """The answer that stands: of this webhook, or of the same one that was there first."""
    repeated: bool


class Intakes(Protocol):
    """Stores webhooks in one commit. Raises what its budget calls a failure."""

    async def take_in(self, rows: Sequence[Intake]) -> _Stored: ...


class PostgresIntakes:
    """One statement on a connection of its own, outside any transaction block: one round trip is one commit.

    A pooled transaction would be four. A connection that failed or was abandoned is thrown away. A new one is given to
    ``prepare`` first.
    """

    def __init__(self, database: Database, prepare: Callable[[Any], Awaitable[None]] | None = None) -> None:
        self._database = database
        self._prepare = prepare
        self._idle: list[Any] = []

    async def take_in(self, rows: Sequence[Intake]) -> _Stored:
        new = not self._idle
        connection = await self._database.dedicated("intake") if new else self._idle.pop()
        try:
            if new and self._prepare is not None:
                await self._prepare(connection)
            stored = await store.take_in(connection, rows)
        except BaseException:
            connection.terminate()
            raise
        self._idle.append(connection)
        return stored

    async def close(self) -> None:
        while self._idle:
            self._idle.pop().terminate()


class Recorder:
    """Group commit: whatever waits while one commit is under way is the next one."""

    def __init__(self, intakes: Intakes, budget: Budget, journal: Journal, *, lanes: int = 1) -> None:
        self._intakes = intakes
        self._budget = budget
        self._journal = journal
        self._lanes = lanes
        self._waiting: list[tuple[Intake, asyncio.Future[Recorded]]] = []
        self._running: set[asyncio.Task[None]] = set()
        self.on_journal = asyncio.Event()
        """Set when something went to the journal, for whoever drains it."""

    def record(self, row: Intake) -> asyncio.Future[Recorded]:
        """Done when the webhook is durable; fails with :class:`NotRecorded`. Whoever stops waiting cancels nothing."""
        done: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, done))
        if len(self._running) < self._lanes:
            self._running.add(asyncio.create_task(self._work()))
        return done

    async def close(self) -> None:
        """Finish what waits."""
        while self._running:
            await asyncio.wait(set(self._running))
        await self._budget.close()

    async def _work(self) -> None:
        try:
            # Let the requests of this turn of the loop join before the first commit leaves.
            await asyncio.sleep(0)
            while self._waiting:
                group, self._waiting = self._waiting[:GROUP_MAX], self._waiting[GROUP_MAX:]
                try:
                    await self._store(group)
                except Exception as error:
                    log.error("recording_failed", error=type(error).__name__, exc_info=True)
                    _fail(group)
        finally:
            # In the same step as the last look: a done-callback comes a step later, and whoever records in between
            # would find a worker that no longer looks.
            self._running.discard(asyncio.current_task())

    async def _store(self, group: list[tuple[Intake, asyncio.Future[Recorded]]]) -> None:
        rows = {(row.tenant, row.identity): row for row, _ in reversed(group)}
        try:
            stored = await self._budget.spend(lambda: self._intakes.take_in(list(rows.values())))
        except Unavailable:
            await asyncio.gather(*(self._to_journal(row, done) for row, done in group))
            return
        _IN_POSTGRES.inc(len(group))
        for row, done in group:
            answer, repeats = stored[row.tenant, row.identity]
            first = rows[row.tenant, row.identity]
            if done.done():
                continue
            if repeats:
                done.set_result(Recorded(where="postgres", answer=answer, repeated=True))
            else:
                done.set_result(Recorded(where="postgres", answer=first.answer, repeated=first is not row))

    async def _to_journal(self, row: Intake, done: asyncio.Future[Recorded]) -> None:
        try:
            await self._journal.append(_to_line(row))
        except OSError:
            log.exception("journal_refused")
            if not done.done():
                done.set_exception(NotRecorded("neither Postgres nor the journal took it"))
            return
        _IN_JOURNAL.inc()
        self.on_journal.set()
        if not done.done():
            done.set_result(Recorded(where="journal", answer=row.answer, repeated=False))


def _fail(group: list[tuple[Intake, asyncio.Future[Recorded]]]) -> None:
    for _, done in group:
        if not done.done():
            done.set_exception(NotRecorded("recording failed"))


async def drain(journal: Journal, intakes: Intakes) -> int:
    """Bring the journal's webhooks to Postgres. Raises while Postgres is not there; loses nothing by it."""

    async def put(lines: list[bytes]) -> None:
        rows: dict[tuple[UUID, str], Intake] = {}
        for line in lines:
            row = _from_line(line)
            rows.setdefault((row.tenant, row.identity), row)
        try:
            stored = await intakes.take_in(list(rows.values()))
        except asyncpg.DataError:
            for row in rows.values():
                await _one_by_one(intakes, row)
        else:
            for key, (answer, repeats) in stored.items():
                if repeats and answer != rows[key].answer:
                    METRICS.answer_conflicts.inc()

    return await journal.drain(put)


async def _one_by_one(intakes: Intakes, row: Intake) -> None:
    """One webhook that Postgres cannot hold must not keep the others out."""
    try:
        await intakes.take_in([row])
    except asyncpg.DataError:
        METRICS.journal_corrupt.inc()
        log.exception("journal_record_refused", call_id=str(row.call_id), kind=row.kind)


def _to_line(row: Intake) -> bytes:
    values: dict[str, Any] = {
        "tenant": str(row.tenant),
        "identity": row.identity,
        "kind": row.kind,
        "account_id": str(row.account_id),
        "call_id": str(row.call_id),
        "received_at": row.received_at.isoformat(),
        "signal": row.signal,
        "answer": row.answer,
        "body": base64.b64encode(row.body).decode(),
        "traceparent": row.traceparent,
    }
    return to_json(values)


def _from_line(line: bytes) -> Intake:
    values = from_json(line)
    return Intake(
        tenant=UUID(values["tenant"]),
        identity=values["identity"],
        kind=values["kind"],
        account_id=UUID(values["account_id"]),
        call_id=UUID(values["call_id"]),
        received_at=datetime.fromisoformat(values["received_at"]),
        signal=values["signal"],
        answer=values["answer"],
        body=base64.b64decode(values["body"]),
        traceparent=values.get("traceparent", ""),
    )
