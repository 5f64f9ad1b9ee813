"""Send what is due: lease, attempt, outcome. A message leaves at most once unless an operator says otherwise.

Before the first byte of a message leaves, that is on record. So whoever finds a lease that ran out knows whether the
message may be out (then nobody sends it again) or certainly is not (then it is tried again).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
from opentelemetry.trace import Span, SpanKind, StatusCode

from kit import outbox
from kit.ids import uuid7
from kit.metrics import counter
from kit.postgres import Database
from kit.telemetry import get_logger, get_tracer, parent_of
from notifier import store
from notifier.channels.base import Channel, Message, OutcomeUnknown, Refused, TryLater
from notifier.sends import RetryPolicy, Send, SendState, event_of, message_id

__all__ = ["Deliverer", "recover"]

log = get_logger(__name__)
tracer = get_tracer(__name__)
outcomes = counter("trunkline_send_attempts", "1", "Attempts to send by what became of them", ["channel", "outcome"])

SAID = ("sent", "try_later", "refused", "unknown", "broke_off")
SETTLE_ATTEMPTS = 6
SETTLE_PAUSE_SECONDS = 0.2
DATABASE_GONE = (
    OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError
)  # fmt: skip


class LeaseLost(Exception):
    """Somebody else has settled this message; nothing may be sent under this lease."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one attempt. ``pending`` means that certainly nothing has left."""

    state: SendState
    said: str
    reason: str | None = None
    code: int | None = None


@dataclass(frozen=True, kw_only=True)
class Deliverer:
    database: Database
    channels: Mapping[str, Channel]
    sender: str
    """The address that messages come from; their ids are of its domain."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    lease: timedelta = timedelta(minutes=2)
    """How long an attempt may take. A message whose sender died waits so long."""

    def __post_init__(self) -> None:
        # A series that begins at one hides its first increase from every rate.
        for channel in self.channels:
            for said in SAID:
                outcomes.labels(channel, said)

    async def deliver(self, tenant: UUID, send_id: UUID, *, at_once: bool = False) -> Send | None:
        """One attempt at a message; nothing when it is not due or somebody else has it.

        ``at_once`` does not wait for the pause after an earlier attempt.
        """
        lease = uuid7()
        async with self.database.transaction(tenant) as tx:
            send = await store.lease_send(tx, send_id, lease=lease, length=self.lease, at_once=at_once)
        if send is None:
            return None
        with _span(send) as span:
            outcome = await self._attempt(send, lease)
            outcomes.labels(send.channel, outcome.said).inc()
            span.set_attribute("trunkline.outcome", outcome.said)
            if outcome.state is not SendState.SENT:
                span.set_status(StatusCode.ERROR, outcome.said)
            return await self._settle(send, lease, outcome)

    async def _attempt(self, send: Send, lease: UUID) -> Outcome:
        left = False

        async def entering() -> None:
            nonlocal left
            async with self.database.transaction(send.tenant) as tx:
                if not await store.enter_data(tx, send.id, lease):
                    raise LeaseLost
            left = True

        try:
            # Ends before the lease does, so that the outcome is ours to tell.
            async with asyncio.timeout(self.lease.total_seconds() * 0.75):
                receipt = await self.channels[send.channel].send(self._message(send), send.recipient, entering=entering)
        except TryLater as later:
            return Outcome(state=SendState.PENDING, said="try_later", reason=later.reason, code=later.code)
        except Refused as refused:
            return Outcome(state=SendState.FAILED, said="refused", reason=refused.reason, code=refused.code)
        except OutcomeUnknown as unknown:
            return Outcome(state=SendState.UNKNOWN, said="unknown", reason=unknown.reason, code=unknown.code)
        except Exception as error:
            log.warning("attempt_broke_off", send_id=str(send.id), error=type(error).__name__, left=left)
            state = SendState.UNKNOWN if left else SendState.PENDING
            return Outcome(state=state, said="broke_off", reason=f"the attempt broke off ({type(error).__name__})")
        return Outcome(state=SendState.SENT, said="sent", code=receipt.code)

    def _message(self, send: Send) -> Message:
        return Message(
            id=message_id(send.id, self.sender),
            subject=send.subject_line,
            text=send.text_body,
            html=send.html_body,
            at=send.created_at,
        )

    async def _settle(self, send: Send, lease: UUID, outcome: Outcome) -> Send | None:
        """Put the outcome on record. While the database is away it is tried again: what is known must not be lost."""
        for number in range(1, SETTLE_ATTEMPTS + 1):
            try:
                return await self._settle_once(send, lease, outcome)
            except DATABASE_GONE as error:
                if number == SETTLE_ATTEMPTS:
                    # The lease will run out and the message be settled by what is on record.
                    raise
                log.warning("outcome_waits", send_id=str(send.id), error=type(error).__name__)
                await asyncio.sleep(SETTLE_PAUSE_SECONDS * 2**number)
        return None

    async def _settle_once(self, send: Send, lease: UUID, outcome: Outcome) -> Send | None:
        now = datetime.now(UTC)
        state, reason, wait = outcome.state, outcome.reason, timedelta(0)
        if state is SendState.PENDING:
            pause = self.retry.wait(send.attempts, waited=now - send.created_at)
            if pause is None:
                state, reason = SendState.FAILED, f"given up after {send.attempts} attempts; the last: {reason}"
            else:
                wait = pause
        async with self.database.transaction(send.tenant, emits=[str(send.id)]) as tx:
            settled = await store.settle_send(tx, send.id, lease=lease, state=state, reason=reason, wait=wait)
            if settled is None:
                log.warning("lease_was_lost", send_id=str(send.id), outcome=outcome.said)
                return None
            await store.end_attempt(
                tx, send.id, lease=lease, outcome=outcome.said, code=outcome.code, detail=outcome.reason
            )
            if state is not SendState.PENDING:
                await outbox.append(tx, event_of(settled, at=now), time=now)
        log.info("send_settled", send_id=str(send.id), state=state.value, attempts=send.attempts, code=outcome.code)
        return settled


def _span(send: Send) -> AbstractContextManager[Span]:
    """One attempt, in the trace in which the message was composed. Who it goes to is not told."""
    return tracer.start_as_current_span(
        f"{send.channel} send",
        context=parent_of({"traceparent": send.traceparent}),
        kind=SpanKind.CLIENT,
        attributes={"trunkline.send_id": str(send.id), "trunkline.attempt": send.attempts},
    )


async def recover(database: Database, *, now: datetime) -> int:
    """Settle messages whose sender died in the middle of an attempt; return how many."""
    settled = 0
    for tenant, send_id in await store.expired_leases(database):
        async with database.transaction(tenant, emits=[str(send_id)]) as tx:
            send = await store.recover_send(tx, send_id)
            if send is None:
                continue
            if send.state is SendState.UNKNOWN:
                await outbox.append(tx, event_of(send, at=now), time=now)
        settled += 1
        log.warning("lease_ran_out", send_id=str(send_id), state=send.state.value)
    return settled
