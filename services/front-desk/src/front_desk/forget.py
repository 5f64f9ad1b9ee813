"""The use case: forget a person in the directory and on the board, and keep out what still arrives about them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from contracts.anomalies import AnomalyFiredV1
from contracts.erasure import KeptRows, SubjectErasedV1
from front_desk import board_store, erasure_store, store
from front_desk.erasure_store import Named
from front_desk.kinds import KINDS, ROUTING_ID
from kit import outbox
from kit.postgres import Transaction
from recovery.erasure import Forgotten, digits_pattern, erased_at
from recovery.marks import fact_subjects

__all__ = ["entities_of", "forget", "without_erased_digits"]

DIGITS = re.compile(r"(?<![0-9])[0-9]{7,15}(?![0-9])")
SHUT_OUT = "Whom the business has shut out stays shut out; the list holds the number and nothing else."


async def entities_of(subject: SubjectErasedV1, tx: Transaction) -> Iterable[str]:
    """The directory's entities that forgetting somebody changes."""
    if subject.scope != "person":
        return []
    ids = [each.id for each in await _named(subject, tx)]
    return [*ids, ROUTING_ID] if await erasure_store.is_vip(tx, subject.numbers) else ids


async def forget(subject: SubjectErasedV1, tx: Transaction) -> Forgotten:
    """Erase what is named. A customer or lead that is the person goes whole; of others only the person's numbers and
    addresses do, and they themselves when nothing is left."""
    counts = Counter(await _forget_written(subject, tx))
    kept: list[KeptRows] = []
    if subject.scope == "person":
        counts.update(await _forget_in_directory(subject, tx))
        until = subject.effective_at
        counts["board_call"] = await erasure_store.erase_calls(tx, subject.numbers, subject.customer_ids, until=until)
        counts["board_missed"] = await erasure_store.erase_missed(tx, subject.numbers, until=until)
        counts["board_mail"] = await erasure_store.erase_mails(tx, subject.emails, until=until)
        if blocked := await erasure_store.blocked(tx, subject.numbers):
            kept.append(KeptRows(store="routing", rows=blocked, reason=SHUT_OUT))
    if (pattern := digits_pattern(subject)) is not None:
        counts["board_anomaly"] = await erasure_store.mask_anomalies(tx, pattern)
    await board_store.ring(tx)
    return Forgotten(dict(counts), kept)


async def _forget_written(subject: SubjectErasedV1, tx: Transaction) -> dict[str, int]:
    """What was written, and what was read in it."""
    about = fact_subjects(subject)
    facts = await erasure_store.erase_facts_of(tx, about, until=subject.effective_at) if about else 0
    chats = await erasure_store.erase_chats(tx, subject.chat_ids, subject.numbers)
    messages = subject.message_ids
    return {
        "board_fact": facts + await erasure_store.erase_facts_from(tx, messages),
        "board_chat": chats + await erasure_store.empty_chats(tx, messages),
        "board_message": await erasure_store.erase_messages(tx, messages),
    }


async def _forget_in_directory(subject: SubjectErasedV1, tx: Transaction) -> Counter[str]:
    counts: Counter[str] = Counter()
    named = await _named(subject, tx)
    for kind in ("customer", "lead"):
        theirs = [each.ref for each in named if each.kind == kind and each.is_them]
        others = [each.ref for each in named if each.kind == kind and not each.is_them]
        if others:
            left = await erasure_store.take_out(tx, kind, others, subject.numbers, subject.emails)
            theirs += [ref for ref, nothing_left in left.items() if nothing_left]
            stay = [ref for ref, nothing_left in left.items() if not nothing_left]
            events = [KINDS[kind].event_of(each) for each in await store.find(tx, KINDS[kind], stay)]
            await outbox.append_many(tx, events)
            counts[kind] += len(stay)
        for ref in theirs:
            await store.remove(tx, KINDS[kind], ref)
            await outbox.append_deletion(tx, KINDS[kind].event, KINDS[kind].id(tx.tenant, ref))
            counts[kind] += 1
    if await erasure_store.is_vip(tx, subject.numbers):
        counts["routing"] = await erasure_store.take_out_of_routing(tx, subject.numbers)
        [routing] = await store.find(tx, KINDS["routing"], [ROUTING_ID])
        await outbox.append(tx, KINDS["routing"].event_of(routing))
    return counts


async def _named(subject: SubjectErasedV1, tx: Transaction) -> list[Named]:
    return await erasure_store.named_entities(
        tx, subject.customer_ids, subject.lead_ids, subject.numbers, subject.emails
    )  # fmt: skip


async def without_erased_digits(event: AnomalyFiredV1, tx: Transaction) -> AnomalyFiredV1:
    """What a rule found, with a zero in the place of the digits of whoever was erased since."""
    names = {name: found for found in DIGITS.findall(event.model_dump_json()) for name in (f"+{found}", f"+91{found}")}
    gone = await erased_at(tx, names)
    digits = {names[name] for name, until in gone.items() if event.as_of <= until}
    if not digits:
        return event

    def masked(value: str) -> str:
        return DIGITS.sub(lambda found: "0" if found[0] in digits else found[0], value)

    evidence = tuple(
        {
            key: masked(value) if isinstance(value, str) else 0 if str(value) in digits else value
            for key, value in row.items()
        }
        for row in event.evidence
    )
    return event.model_copy(update={"evidence": evidence, "description": masked(event.description)})
