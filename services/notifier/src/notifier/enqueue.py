"""Find out whose pulse is due, compose it, and enter it once per tenant and local day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from opentelemetry.trace import get_current_span

from kit import outbox
from kit.postgres import Database, Transaction
from kit.telemetry import get_logger, get_tracer, parent_of
from notifier import store
from notifier.pulse import Pulse, Recipient, compose, is_due, local_day
from notifier.sends import PULSE, Send, event_of, send_id_of

__all__ = ["CannotSend", "Preview", "PulseRules", "enqueue_due_pulses", "enqueue_pulse", "preview_pulse"]

log = get_logger(__name__)
tracer = get_tracer(__name__)

CHANNEL = "email"
NOTHING_RED = "nothing is red and all-green pulses are muted"


class CannotSend(Exception):
    """There is nobody to send to; the message says what to change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PulseRules:
    late: timedelta = timedelta(hours=6)
    """How long after its time a pulse is still sent."""
    all_green: bool = True
    """Whether a pulse is sent when nothing is red."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    recipient: Recipient
    day: date
    pulse: Pulse
    causes: tuple[str, ...]
    """The traces that told of what is red."""


async def enqueue_due_pulses(database: Database, *, now: datetime, rules: PulseRules) -> int:
    """Enter every pulse that is due and not entered yet; return how many."""
    entered = 0
    for recipient in await store.active_recipients(database):
        if not is_due(recipient, at=now, late=rules.late):
            continue
        day = local_day(now, recipient.timezone)
        async with database.transaction(recipient.tenant) as tx:
            if await store.has_send(tx, send_id_of(recipient.tenant, PULSE, day, CHANNEL)):
                continue
        await enqueue_pulse(database, recipient.tenant, now=now, all_green=rules.all_green)
        entered += 1
    return entered


async def enqueue_pulse(database: Database, tenant: UUID, *, now: datetime, all_green: bool = True) -> Send:
    """Enter today's pulse of a tenant, or find the one that is there. Raises :class:`CannotSend`."""
    async with database.transaction(tenant) as tx:
        day = local_day(now, (await _recipient(tx)).timezone)
    send_id = send_id_of(tenant, PULSE, day, CHANNEL)
    # The key of the send is held: of two that enter it at once, the second finds what the first has entered.
    with tracer.start_as_current_span("compose pulse", attributes={"trunkline.send_id": str(send_id)}) as span:
        async with database.transaction(tenant, emits=[str(send_id)]) as tx:
            known = await store.find_send(tx, send_id)
            if known is not None:
                return known
            preview = await _preview(tx, day)
            for cause in preview.causes:
                span.add_link(get_current_span(parent_of({"traceparent": cause})).get_span_context())
            suppressed = None if all_green or preview.pulse.red else NOTHING_RED
            send = await store.add_send(
                tx,
                send_id,
                kind=PULSE,
                day=day,
                channel=CHANNEL,
                to=preview.recipient.owner_email,
                pulse=preview.pulse,
                suppressed=suppressed,
            )
            if send is None:
                raise RuntimeError("this day's pulse exists under another id")
            await outbox.append(tx, event_of(send, at=now), time=now)
    log.info("pulse_entered", tenant=str(tenant), send_id=str(send.id), red=preview.pulse.red, state=send.state.value)
    return send


async def preview_pulse(database: Database, tenant: UUID, *, now: datetime) -> Preview:
    """What would be sent now. Raises :class:`CannotSend`."""
    async with database.transaction(tenant) as tx:
        return await _preview(tx, local_day(now, (await _recipient(tx)).timezone))


async def _preview(tx: Transaction, day: date) -> Preview:
    recipient = await _recipient(tx)
    red = await store.red_rules(tx, day, PULSE)
    return Preview(
        recipient=recipient,
        day=day,
        pulse=compose(recipient, red, day=day),
        causes=tuple(sorted({rule.traceparent for rule in red if rule.traceparent})),
    )


async def _recipient(tx: Transaction) -> Recipient:
    recipient = await store.find_recipient(tx)
    if recipient is None:
        raise CannotSend("No tenant has this id here; its directory event may not have arrived yet.")
    if not recipient.owner_email:
        raise CannotSend("The tenant has no owner_email; set one in the directory.")
    return recipient
