"""An operator ends what nobody knows: the message was sent after all, or it is to be sent again."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from kit import outbox
from kit.postgres import Database
from kit.telemetry import get_logger
from notifier import store
from notifier.sends import Send, SendState, event_of

__all__ = ["CannotResolve", "Decision", "resolve"]

log = get_logger(__name__)

Decision = Literal["sent", "resend"]

_FROM: dict[Decision, frozenset[SendState]] = {
    # Waiting ones too: out of a restored backup may come what had been sent before.
    "sent": frozenset({SendState.UNKNOWN, SendState.FAILED, SendState.PENDING}),
    "resend": frozenset({SendState.UNKNOWN, SendState.FAILED}),
}
_TO: dict[Decision, SendState] = {"sent": SendState.SENT, "resend": SendState.PENDING}


class CannotResolve(Exception):
    """The decision does not fit the send; the message says why."""


async def resolve(
    database: Database, send_id: UUID, *, decision: Decision, reason: str, by: str, now: datetime
) -> Send:
    """Put a decision in force, on record, and tell it. Raises :class:`CannotResolve`."""
    if not reason.strip():
        raise CannotResolve("A decision needs its reason: what was seen in the recipient's mailbox or in the log.")
    tenant = await store.tenant_of_send(database, send_id)
    if tenant is None:
        raise CannotResolve("No send has this id; `trunkline notify sends` shows them.")
    async with database.transaction(tenant, emits=[str(send_id)]) as tx:
        send = await store.lock_send(tx, send_id)
        if send is None:
            raise CannotResolve("No send has this id; `trunkline notify sends` shows them.")
        if send.state not in _FROM[decision]:
            can = ", ".join(sorted(state.value for state in _FROM[decision]))
            raise CannotResolve(f"The send is {send.state.value}; --{decision} is for one that is {can}.")
        resolved = await store.resolve_send(tx, send, state=_TO[decision], reason=reason.strip(), by=by)
        await outbox.append(tx, event_of(resolved, at=now), time=now)
    log.warning("send_resolved", send_id=str(send_id), before=send.state.value, after=resolved.state.value)
    return resolved
