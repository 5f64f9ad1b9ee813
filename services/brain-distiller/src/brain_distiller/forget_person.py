"""The use case: a person is forgotten, and what others said stands without their words."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from brain_distiller import erase_store, store
from brain_distiller.distil_messages import event_of
from brain_distiller.erase_store import Going
from brain_distiller.facts import Changes
from brain_distiller.forgotten import tell_anew
from contracts.envelope import partition_key
from contracts.erasure import SubjectErasedV1
from kit.consume import Retry
from kit.outbox import append_many
from kit.postgres import Transaction
from recovery.erasure import Forgotten
from recovery.marks import fact_subjects

__all__ = ["SERVICE", "forget", "subjects_to_hold"]

SERVICE = "brain-distiller"


async def subjects_to_hold(subject: SubjectErasedV1, tx: Transaction) -> Iterable[str]:
    """The person, and everybody about whom something is told anew."""
    numbers = subject.numbers if subject.scope == "person" else ()
    customers = await erase_store.customers_with(tx, numbers) if numbers else []
    return {
        *fact_subjects(subject),
        *(f"customer:{each}" for each in customers),
        *(each.subject for each in await _going(subject, tx)),
    }


async def forget(subject: SubjectErasedV1, tx: Transaction) -> Forgotten:
    """Erase what rests on the person's messages or is about them, until the erasure took effect.

    Facts that nothing else says go without an event: whoever holds them hears of the person themselves. Nothing that
    was theirs is repeated.
    """
    losing = await _going(subject, tx)
    _require_held({each.subject for each in losing}, tx)
    whole = {each.fact_id for each in losing if each.whole}
    counts, touched = await erase_store.erase(tx, sources=subject.message_ids, facts=whole, until=subject.effective_at)
    standing = await erase_store.standing(tx, touched, {(each.subject, each.key) for each in losing})
    versions = tell_anew(standing)
    await store.save_changes(tx, Changes(versions=tuple(versions)))
    await append_many(tx, [event_of(version.fact, version.evidence) for version in versions])
    if subject.scope == "person":
        counts |= await erase_store.erase_customers(tx, subject.customer_ids, subject.numbers)
    return Forgotten({table: rows for table, rows in counts.items() if rows})


async def _going(subject: SubjectErasedV1, tx: Transaction) -> list[Going]:
    person = subject.scope == "person"
    return await erase_store.going(
        tx,
        sources=subject.message_ids,
        subjects=fact_subjects(subject),
        values=(*subject.numbers, *subject.emails) if person else (),
        until=subject.effective_at,
    )


def _require_held(subjects: Collection[str], tx: Transaction) -> None:
    if any(partition_key(tx.tenant, subject) not in tx.held for subject in subjects):
        raise Retry("more came to be known while the person was about to be forgotten", after=0.1)
