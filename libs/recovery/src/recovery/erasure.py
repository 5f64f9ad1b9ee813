"""Forgetting a person: how a service answers ``subject.erased``, and keeps out what still arrives about them.

A service gives :func:`erasing` the one function that erases its own tables, and adds the subscription to a consumer.
In the transaction of that function also the dead letters that name the person and the copies of a shadow run are
destroyed, what could still arrive is noted, and the receipt is written. Handlers of events that can tell of a person
ask :func:`erased` before they write:

::

    async def forget(subject: SubjectErasedV1, tx: Transaction) -> Forgotten:
        return Forgotten({"missed": await store.erase_missed(tx, subject.numbers)})

    SUBSCRIPTIONS = [..., erasing("notifier", forget)]

    async def on_call(call: CallInboundV1, tx: Transaction) -> None:
        if await erased(tx, {call.caller: call.asked_at}):
            return

Handlers of batches leave such events out by :func:`without_erased`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from contracts.erasure import ErasedRows, ErasureReceiptV1, KeptRows, SubjectErasedV1
from kit.consume import Retry, Subscription, on
from kit.outbox import append
from kit.postgres import Transaction
from recovery.marks import national_of

__all__ = [
    "REMEMBERED",
    "Emits",
    "Forget",
    "Forgotten",
    "digits_pattern",
    "erase_letters",
    "erase_shadow",
    "erased",
    "erased_at",
    "erasing",
    "names_of",
    "remember",
    "without_erased",
]

T = TypeVar("T")

REMEMBERED = timedelta(days=32)
"""How long the topics, outboxes and dead letters of any service can bring something back: the longest retention of a
topic that names a person, the day that its newest segment may be open, and a day until it is swept."""

_ERASE_LETTERS = "SELECT erased, busy FROM erase_letters($1, $2, 'erasure', $3)"
_ERASE_SHADOW = "SELECT erase_shadow()"
_REMEMBER = """
INSERT INTO erased_lately (tenant_id, value, effective_at, forget_at)
SELECT $1, v, $3, $4 FROM (SELECT DISTINCT unnest($2::text[])) AS values (v)
ON CONFLICT (tenant_id, value) DO UPDATE
SET effective_at = greatest(erased_lately.effective_at, excluded.effective_at),
    forget_at = greatest(erased_lately.forget_at, excluded.forget_at)
"""
_ERASED_AT = "SELECT value, effective_at FROM erased_lately WHERE tenant_id = $1 AND value = ANY ($2::text[])"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a service erased: rows by table, without the tables that had none of the person; and what it keeps."""

    erased: Mapping[str, int] = field(default_factory=dict)
    kept: Sequence[KeptRows] = ()


Forget = Callable[[SubjectErasedV1, Transaction], Awaitable[Forgotten]]
"""Erases a service's own tables of what is named, in the given transaction. Called again, it finds nothing. It knows
parts that name only messages, and leaves what is from after ``effective_at``."""


Emits = Callable[[SubjectErasedV1, Transaction], Awaitable[Iterable[str]]]
"""The further entities that :data:`Forget` appends events about."""


def erasing(service: str, forget: Forget, *, emits: Emits | None = None) -> Subscription:
    """The subscription by which a service forgets people and says so. Replayed it finds nothing any more."""

    async def entities(subject: SubjectErasedV1, tx: Transaction) -> Iterable[str]:
        return [subject.subject_id, *(await emits(subject, tx) if emits is not None else ())]

    async def on_subject_erased(subject: SubjectErasedV1, tx: Transaction) -> None:
        letters = await erase_letters(tx, subject)
        forgotten = await forget(subject, tx)
        await remember(tx, subject)
        now = datetime.now(UTC)
        counts = {**forgotten.erased, "dead_letter": letters, "shadow run": await erase_shadow(tx)}
        receipt = ErasureReceiptV1(
            erasure_id=subject.erasure_id,
            subject_id=subject.subject_id,
            part=subject.part,
            service=service,
            erased=tuple(ErasedRows(store=store, rows=rows) for store, rows in sorted(counts.items()) if rows),
            kept=tuple(forgotten.kept),
            forgotten_at=now + REMEMBERED,
            at=now,
        )
        await append(tx, receipt)

    return on(SubjectErasedV1, on_subject_erased, emits=entities)


async def erase_letters(tx: Transaction, subject: SubjectErasedV1) -> int:
    """Destroy the dead letters of this service that name the person; what waits behind them goes on."""
    ids = [*subject.contact_ids, *subject.chat_ids, *subject.message_ids, *subject.customer_ids, *subject.lead_ids]
    row = await tx.fetchrow(_ERASE_LETTERS, _parts(subject), ids, f"erasure {subject.erasure_id}")
    if row is None or row["busy"]:
        # It may be having its effect just now, which would come after ours.
        raise Retry("a letter that names the person is just being tried", after=2.0)
    return int(row["erased"])


async def erase_shadow(tx: Transaction) -> int:
    """Throw the copies of an open shadow run away: they hold everybody. Its replay ends with a sentence, and is planned
    again. How many there were."""
    return int(await tx.fetchval(_ERASE_SHADOW))


async def remember(tx: Transaction, subject: SubjectErasedV1) -> None:
    """Note what could still arrive, until nothing can bring it any more."""
    forget_at = datetime.now(UTC) + REMEMBERED
    await tx.execute(_REMEMBER, tx.tenant, names_of(subject), subject.effective_at, forget_at)


async def erased(tx: Transaction, told: Mapping[str, datetime]) -> set[str]:
    """Of the names in ``told`` (numbers, addresses, ids; each with when it was said) those erased since."""
    gone = await erased_at(tx, told)
    return {name for name, at in told.items() if name in gone and at <= gone[name]}


async def erased_at(tx: Transaction, names: Iterable[str]) -> dict[str, datetime]:
    """The same where a name stands at several times: what is at most so old is erased."""
    wanted = [name for name in set(names) if name]
    if not wanted:
        return {}
    return {row["value"]: row["effective_at"] for row in await tx.fetch(_ERASED_AT, tx.tenant, wanted)}


async def without_erased(
    items: Sequence[T], tx: Transaction, named: Callable[[T], tuple[Iterable[str | None], datetime]]
) -> list[T]:
    """For handlers of batches: without what names somebody who was erased since. ``named`` says of an item whom it
    names, and when that was said; all are asked for at once."""
    told = [(item, {name for name in names if name}, at) for item in items for names, at in (named(item),)]
    gone = await erased_at(tx, {name for _, names, _ in told for name in names})
    return [item for item, names, at in told if not any(name in gone and at <= gone[name] for name in names)]


def digits_pattern(subject: SubjectErasedV1) -> str | None:
    """A regular expression of Postgres for the person's numbers in texts and JSON: between the groups ``\\1`` and
    ``\\3`` stand the digits. Nothing when the part names no number."""
    digits = sorted({each for each in _parts(subject) if each.isdecimal()})
    return f"(^|[^0-9])({'|'.join(digits)})([^0-9]|$)" if digits else None


def names_of(subject: SubjectErasedV1) -> list[str]:
    """By what an event can name the person or what they wrote."""
    calls_too = (*subject.numbers, *subject.emails, *subject.customer_ids, *subject.lead_ids)
    return [
        *(calls_too if subject.scope == "person" else ()),
        *subject.addresses,
        *subject.contact_ids,
        *subject.chat_ids,
        *subject.message_ids,
    ]


def _parts(subject: SubjectErasedV1) -> list[str]:
    """What names the person wherever it stands: a number without its plus also in an address or an encoded form."""
    if subject.scope == "messages":
        return list(subject.addresses)
    # PBXs send Indian numbers without the country's code.
    digits = [form for number in subject.numbers for form in national_of(number)]
    return [*digits, *subject.emails, *subject.addresses]
