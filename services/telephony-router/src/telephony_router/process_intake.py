"""Make of the webhooks taken in what they mean: calls, their states, their events, and who talked to whom last."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from pydantic_core import from_json

from contracts.event import Event
from kit import outbox
from kit.postgres import Database, Transaction
from kit.telemetry import get_logger, trace_id_of
from runtime.background import Background
from telephony_router import store
from telephony_router.answer_ring import answer_from_json, number_of
from telephony_router.bind_orders import bind_orders
from telephony_router.call_record import CallRecord, inbound_event, state_event, with_ring, with_status
from telephony_router.claims import concern
from telephony_router.metrics import METRICS
from telephony_router.note_load import OnSettled, heard_of, note_load, nothing, settled
from telephony_router.record import DATABASE_FAILURES, about_data
from telephony_router.routing import offered_first
from telephony_router.signals import CallSignal, signal_from_json
from telephony_router.store import IntakeRow

__all__ = ["IntakeProcessor", "process_some"]

log = get_logger(__name__)

# While callers ring, webhooks are processed in small portions with a rest after each, in multiples of its time.
BUSY_LIMIT = 50
BUSY_REST = 2.0
FEW = 10
"""So many webhooks take longer to plan for than to process; for more, the plan is made for what there is."""
RECORDING_STATES: tuple[object, ...] = ("pending", "failed", "absent", "available")


class Unprocessable(Exception):
    """A webhook that can have no effect. The message is kept with it."""


@dataclass(slots=True)
class _Batch:
    """What one transaction is going to write."""

    calls: dict[UUID, CallRecord]
    staff: dict[str, str]
    touched: dict[UUID, CallRecord] = field(default_factory=dict)
    answered: dict[int, UUID] = field(default_factory=dict)
    """The rings whose answers are kept, each with its call."""
    events: list[Event] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    """Of each event, the trace of the webhook that it was made of."""
    talks: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    recordings: dict[tuple[UUID, str], tuple[object, ...]] = field(default_factory=dict)
    parked: dict[int, tuple[str, IntakeRow]] = field(default_factory=dict)
    offers: dict[str, datetime] = field(default_factory=dict)
    """Whose turn it was, and when."""
    due: set[UUID] = field(default_factory=set)
    """Calls whose end may concern a missed call."""

    def tell(self, event: Event, row: IntakeRow) -> None:
        self.events.append(event)
        self.traces.append(row.traceparent)


async def process_some(database: Database, *, limit: int = 500, on_settled: OnSettled = nothing) -> int:
    """Process the oldest webhooks, a transaction per tenant; return how many there were.

    ``on_settled`` hears after the commit of each call that is over or that somebody took, and who.

    A tenant's transaction that fails is tried again call by call, so that only the guilty webhook is parked.
    """
    async with database.system() as tx:
        waiting = await store.waiting_intake(tx, limit)
    by_tenant: dict[UUID, list[tuple[int, UUID]]] = defaultdict(list)
    for seq, tenant, call_id in waiting:
        by_tenant[tenant].append((seq, call_id))
    for tenant, rows in by_tenant.items():
        try:
            await _process(database, tenant, rows, on_settled)
        except DATABASE_FAILURES as error:
            if not about_data(error):
                raise
            await _one_by_one(database, tenant, rows, on_settled)
        except Exception:
            log.exception("intake_group_failed", tenant=str(tenant), webhooks=len(rows))
            await _one_by_one(database, tenant, rows, on_settled)
    return len(waiting)


async def _one_by_one(
    database: Database, tenant: UUID, rows: Sequence[tuple[int, UUID]], on_settled: OnSettled
) -> None:
    for seq, call_id in rows:
        try:
            await _process(database, tenant, [(seq, call_id)], on_settled)
        except DATABASE_FAILURES as error:
            if not about_data(error):
                raise
            await _park(database, tenant, seq, type(error).__name__)
        except Exception as error:
            log.exception("intake_failed", tenant=str(tenant), call_id=str(call_id))
            await _park(database, tenant, seq, type(error).__name__)


async def _park(database: Database, tenant: UUID, seq: int, reason: str) -> None:
    async with database.transaction(tenant) as tx:
        vendor = await store.park_intake(tx, seq, reason)
    METRICS.intake_processed.labels(vendor, "parked").inc()


async def _process(database: Database, tenant: UUID, rows: Sequence[tuple[int, UUID]], on_settled: OnSettled) -> None:
    seqs, call_ids = [seq for seq, _ in rows], {call_id for _, call_id in rows}
    async with database.transaction(tenant, emits=map(str, call_ids), plan_once=len(rows) <= FEW) as tx:
        # Another router may have been at it while we waited for the calls' locks. What it has bound to an order is that
        # order's call now, whose lock is not held: it comes again.
        claimed = [row for row in await store.claim_intake(tx, seqs) if row.call_id in call_ids]
        signals = await bind_orders(tx, claimed, {row.seq: _signal(row) for row in claimed})
        found = await _known_calls(tx, claimed)
        batch = _Batch(calls=found, staff=await _staff(tx, signals.values(), found.values()))
        new = await _new_statuses(tx, claimed, signals)
        for row in claimed:
            try:
                _apply(batch, row, signals[row.seq], new)
            except Unprocessable as error:
                batch.parked[row.seq] = (str(error), row)
        await _write(tx, batch, [row.seq for row in claimed if row.seq not in batch.parked], heard_of(claimed))
    for call_id, taken_by in settled(batch.touched.values()):
        on_settled(tenant, str(call_id), taken_by)
    for row in claimed:
        outcome = "parked" if row.seq in batch.parked else "done"
        METRICS.intake_processed.labels(signals[row.seq].vendor, outcome).inc()


async def _known_calls(tx: Transaction, rows: Sequence[IntakeRow]) -> dict[UUID, CallRecord]:
    known = {row.call_id for row in rows if row.known}
    return {row["id"]: CallRecord.from_row(row) for row in await store.find_calls(tx, known)} if known else {}


async def _staff(tx: Transaction, signals: Collection[CallSignal], calls: Collection[CallRecord]) -> dict[str, str]:
    """Who works here, by every number that may be somebody's: an agent's, or a caller's."""
    if not calls and all(signal.kind == "ring" for signal in signals):
        # Of calls that only rang nobody is asked for who took them.
        return {}
    raw = {each for signal in signals for each in (signal.agent_raw, signal.caller_raw) if each}
    known = {each for call in calls for each in (call.agent_number, call.caller) if each}
    numbers = known | {number for each in raw if (number := number_of(each))}
    return await store.staff_by_number(tx, numbers) if numbers else {}


def _signal(row: IntakeRow) -> CallSignal:
    return signal_from_json(from_json(row.signal))


async def _new_statuses(
    tx: Transaction, rows: Sequence[IntakeRow], signals: dict[int, CallSignal]
) -> set[tuple[UUID, str]]:
    """Enter statuses into their calls' timelines; what was there already is not applied again."""
    statuses = [
        (
            row.call_id,
            row.identity,
            signal.leg,
            signal.status,
            signal.status_raw,
            signal.sequence,
            signal.attempt,
            signal.agent_raw,
            signal.at,
            row.received_at,
            signal.confirmed,
        )
        for row in rows
        if (signal := signals[row.seq]).kind == "status" and signal.status != "unknown"
    ]
    return {(row["call_id"], row["identity"]) for row in await store.put_rows(tx, "add_statuses", statuses)}


def _apply(batch: _Batch, row: IntakeRow, signal: CallSignal, new: set[tuple[UUID, str]]) -> None:
    if signal.kind == "recording":
        _recording(batch, row, signal)
        return
    known = batch.calls.get(row.call_id)
    call = known or CallRecord(
        id=row.call_id, vendor=signal.vendor, account_id=row.account_id, vendor_call_id=signal.call_id
    )
    if signal.kind == "ring":
        after = _ring(batch, call, row, signal)
    elif signal.status == "unknown":
        raise Unprocessable(f"the status {signal.status_raw!r} is not one we know")
    elif (row.call_id, row.identity) in new:
        after = _status(batch, call, known is None, row, signal)
        _recording(batch, row, signal)
    else:
        return
    batch.calls[row.call_id] = batch.touched[row.call_id] = after
    if concern(after) not in (None, known and concern(known)):
        batch.due.add(row.call_id)
    _learn(batch, after)


def _ring(batch: _Batch, call: CallRecord, row: IntakeRow, signal: CallSignal) -> CallRecord:
    if call.asked_at is not None:
        return call
    if row.answer is None:
        raise Unprocessable("a ring without its answer")
    answer = answer_from_json(row.answer)
    decision = answer.decision
    after = with_ring(call, signal, row.received_at)
    batch.answered[row.seq] = row.call_id
    turn = offered_first(decision)
    if turn is not None:
        batch.offers[turn] = max(row.received_at, batch.offers.get(turn, row.received_at))
    batch.tell(inbound_event(after, decision, answer.ms, signal), row)
    return after


def _status(batch: _Batch, call: CallRecord, unknown: bool, row: IntakeRow, signal: CallSignal) -> CallRecord:
    after = with_status(call, signal, row.received_at, batch.staff)
    confirmed = call.confirmed and signal.confirmed
    if after == call and not unknown:
        return replace(call, confirmed=confirmed)
    after = replace(after, version=call.version + 1, confirmed=confirmed)
    previous = None if unknown else call.facts.state
    batch.tell(state_event(after, previous, signal.leg, signal.at or row.received_at), row)
    return after


def _recording(batch: _Batch, row: IntakeRow, signal: CallSignal) -> None:
    """Keep where a recording is, for whoever fetches it. Of a call's recording the furthest state stands."""
    found = signal.recording
    if found is None:
        return
    key = (row.call_id, found.key)
    values = (
        *key,
        row.account_id,
        signal.vendor,
        signal.leg,
        found.state,
        found.url,
        found.duration_seconds,
        found.channels,
        found.available_by,
        signal.confirmed,
        row.received_at,
    )
    known = batch.recordings.get(key)
    if known is None or _standing(known) < _standing(values):
        batch.recordings[key] = values


def _standing(values: tuple[object, ...]) -> tuple[int, object, object]:
    """What makes one report of a recording replace another; the query that stores them orders likewise."""
    return RECORDING_STATES.index(values[5]), values[10], values[11]


def _learn(batch: _Batch, call: CallRecord) -> None:
    """Who talked to a caller. Not of calls we were never asked about, and never the caller to themselves."""
    if call.quarantined or call.direction != "inbound" or not call.facts.answered:
        return
    if call.caller is None or call.staff_id is None or call.caller == call.agent_number:
        return
    if batch.staff.get(call.caller) == call.staff_id:
        return
    at = call.facts.agent_at or call.facts.answered_at or datetime.now(UTC)
    known = batch.talks.get(call.caller)
    if known is None or known[1] < at:
        batch.talks[call.caller] = (call.staff_id, at)


async def _write(tx: Transaction, batch: _Batch, done: list[int], heard: Mapping[UUID, datetime]) -> None:
    await store.put_rows(tx, "put_calls", [call.to_row() for call in batch.touched.values()])
    news = await store.put_rows(tx, "put_recordings", list(batch.recordings.values()))
    await store.put_rows(tx, "queue_recordings", [(row["call_id"], row["recording_key"]) for row in news])
    if batch.events:
        await outbox.append_many(tx, batch.events, traces=batch.traces)
    for seq, (reason, row) in batch.parked.items():
        log.warning(
            "webhook_parked", seq=seq, reason=reason, call_id=str(row.call_id), trace_id=trace_id_of(row.traceparent)
        )
        await store.park_intake(tx, seq, reason)
    await store.mark_processed(tx, done, batch.answered)
    await store.put_rows(tx, "note_missed_due", [(call_id,) for call_id in batch.due])
    talks = [(number, staff_id, at) for number, (staff_id, at) in sorted(batch.talks.items())]
    learned = await store.put_rows(tx, "put_last_agents", talks)
    changed = await note_load(tx, batch.touched, heard, batch.offers)
    await store.note_changes(tx, [*changed, *(("caller", row["number"]) for row in learned)])


class IntakeProcessor(Background):
    """Processes what is taken in, as it comes. A component; several routers may run one."""

    name = "intake"
    ended = "webhooks are not processed any more"

    def __init__(
        self,
        database: Database,
        *,
        vendors: Iterable[str] = (),
        on_change: Callable[[], None] = lambda: None,
        on_settled: OnSettled = nothing,
        busy: Callable[[], bool] = lambda: False,
        poll_seconds: float = 0.1,
        limit: int = 500,
        keep_days: int = 30,
    ) -> None:
        self._database = database
        self._vendors = {*vendors, "unknown"}
        for vendor in self._vendors:
            for outcome in ("done", "parked"):
                METRICS.intake_processed.labels(vendor, outcome)
        self._on_change = on_change
        self._on_settled = on_settled
        self._busy = busy
        self._poll = poll_seconds
        self._limit = limit
        self._keep_days = keep_days
        self._last_error: str | None = None
        self._processed = 0
        self._looked_at = float("-inf")
        self.doorbell = asyncio.Event()

    def status(self) -> dict[str, object]:
        return {"processed": self._processed, "last_error": self._last_error}

    async def _run(self) -> None:
        delay = self._poll
        while True:
            self.doorbell.clear()
            began, busy = time.monotonic(), self._busy()
            limit = min(self._limit, BUSY_LIMIT) if busy else self._limit
            try:
                count = await process_some(self._database, limit=limit, on_settled=self._on_settled)
                await self._look()
                delay, self._last_error = self._poll, None
            except DATABASE_FAILURES as error:
                if self._last_error is None:
                    log.warning("intake_interrupted", error=type(error).__name__)
                count, delay, self._last_error = 0, min(delay * 2, 5.0), type(error).__name__
            except Exception as error:
                # Whatever it is, webhooks that were acknowledged must still be processed.
                log.exception("intake_failed")
                count, delay, self._last_error = 0, min(delay * 2, 5.0), type(error).__name__
            self._processed += count
            if count:
                self._on_change()
            if count < limit:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.doorbell.wait(), delay)
            elif busy:
                # Callers go first: what they said is safe, and can be understood a moment later.
                await asyncio.sleep(BUSY_REST * (time.monotonic() - began))

    async def _look(self) -> None:
        """Measure the backlog now and then, and forget what is long processed."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at < 10:
            return
        self._looked_at = now
        async with self._database.system() as tx:
            backlog = await store.intake_backlog(tx)
            await store.prune_intake(tx, self._keep_days)
        for vendor in self._vendors | backlog.keys():
            waiting, oldest, parked = backlog.get(vendor, (0, None, 0))
            METRICS.intake_waiting.labels(vendor).set(waiting)
            METRICS.intake_age.labels(vendor).set((datetime.now(UTC) - oldest).total_seconds() if oldest else 0)
            METRICS.intake_parked.labels(vendor).set(parked)
