"""What a handler is given and how it answers: subscriptions, the two error words, the inbox."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

from contracts.envelope import Envelope
from contracts.event import Event
from kit.postgres import Transaction

__all__ = [
    "Deletion",
    "Poison",
    "Received",
    "ReplayClass",
    "Retry",
    "Subscription",
    "claim_many",
    "on",
    "on_batch",
    "on_deleted",
]

E = TypeVar("E", bound=Event)

ReplayClass = Literal["safe", "suppress_effects", "forbidden"]
"""What a replayed event may do to a handler: everything, since it only upserts newer state and what it emits is
marked as replayed; change state but tell nobody; or nothing at all, since it acts on the outside world."""


class Retry(Exception):
    """Not yet: try this event again after a while. Given up (and parked) after a bounded number of attempts."""

    def __init__(self, reason: str, *, after: float = 1.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Poison(Exception):
    """Never: this event can not work however often it is tried. Parked at once, with a reason code."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.code = code


class Received(NamedTuple, Generic[E]):
    """One event with its envelope, as batch handlers get them."""

    event: E
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Deletion:
    """An entity of a compacted topic was deleted."""

    topic: str
    tenant: UUID
    entity_id: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """One line of a service's table of what it consumes. Made by :func:`on`, :func:`on_batch`, :func:`on_deleted`."""

    topic: str
    kind: str
    handler: Callable[..., Awaitable[None]]
    emits: Callable[..., Awaitable[Iterable[str]]] | None = None
    replay: ReplayClass = "safe"


def on(
    event_class: type[E],
    handler: Callable[[E, Transaction], Awaitable[None]],
    *,
    emits: Callable[[E, Transaction], Awaitable[Iterable[str]]] | None = None,
    replay: ReplayClass = "safe",
) -> Subscription:
    """Handle each event by itself. ``emits`` reads what the handler will append events about.

    Of what arrives together, events of one tenant share a transaction as long as none of them fails; then each is
    handled in one of its own.
    """
    return Subscription(event_class.topic(), "each", handler, emits, replay)


def on_batch(
    event_class: type[E],
    handler: Callable[[Sequence[Received[E]], Transaction], Awaitable[None]],
    *,
    emits: Callable[[Sequence[Received[E]], Transaction], Awaitable[Iterable[str]]] | None = None,
    replay: ReplayClass = "safe",
) -> Subscription:
    """Handle the events of one tenant in a polled batch together: for effects that are statements over sets."""
    return Subscription(event_class.topic(), "batch", handler, emits, replay)


def on_deleted(event_class: type[Event], handler: Callable[[Deletion, Transaction], Awaitable[None]]) -> Subscription:
    """Handle the deletion of an entity of a compacted topic."""
    return Subscription(event_class.topic(), "deleted", handler)


# Which are new need not be sent back when all are, as nearly always.
_CLAIM = """
WITH new AS (INSERT INTO inbox (consumer, tenant_id, replay_id, event_id)
             SELECT $1, $2, $3, e.id FROM unnest($4::text[]) AS e (id) ON CONFLICT DO NOTHING RETURNING event_id)
SELECT coalesce(array_agg(event_id), '{}') FROM new HAVING count(*) < cardinality($4)
"""


async def claim_many(tx: Transaction, consumer: str, envelopes: Sequence[Envelope]) -> set[str]:
    """Enter events, of one replay or of none, into the inbox; return the ids of those that are new."""
    ids = [envelope.id for envelope in envelopes]
    new = await tx.fetchval(_CLAIM, consumer, tx.tenant, envelopes[0].replayid, ids) if ids else ids
    return set(ids if new is None else new)
