"""The use case: forget a person in the directory and on the board, and keep out what still arrives about them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from contracts.anomalies import AnomalyFiredV1
from contracts.erasure import KeptRows, SubjectErasedV1
from front_desk import board_store, erasure_store, store
from front_desk.erasure_store import Found, Named
from front_desk.kinds import KINDS, ROUTING_ID
from kit import outbox
from kit.postgres import Transaction
from recovery.erasure import Forgotten, erased_at
from recovery.marks import ERASED, Marks, fact_subjects

__all__ = ["entities_of", "forget", "without_erased_digits"]

Cell = str | int | float | bool | None

_LINE = re.compile(r"[^\n]+")
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}.{0,30}", re.ASCII)
"""A day by itself, or digits that could be one, may be a code or an invoice's."""
_DIGITS = re.compile(r"(?<![0-9])[0-9]{7,15}(?![0-9])")
_NAMED = (
    re.compile(r"[\w.%+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,4}", re.ASCII),
    re.compile(r"(?<=customer:)[^\s,;]{1,200}|(?<=contact:)[^\s,;]{1,200}|(?<=chat:)[^\s,;]{1,200}"),
    re.compile(r"(?<![\w-])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![\w-])"),
)
"""Addresses, ids of which it is said whose they are, and ids by themselves."""
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
    said = await _forget_facts(subject, tx)
    counts = Counter({"board_fact": len(said), **await _forget_written(subject, tx)})
    if marks := Marks(subject, values=await erasure_store.said_by_nobody(tx, said)):
        counts["board_anomaly"] = await _mark_anomalies(tx, marks)
    kept: list[KeptRows] = []
    if subject.scope == "person":
        counts.update(await _forget_in_directory(subject, tx))
        until = subject.effective_at
        counts["board_call"] = await erasure_store.erase_calls(tx, subject.numbers, subject.customer_ids, until=until)
        counts["board_missed"] = await erasure_store.erase_missed(tx, subject.numbers, until=until)
        counts["board_mail"] = await erasure_store.erase_mails(tx, subject.emails, until=until)
        if blocked := await erasure_store.blocked(tx, subject.numbers):
            kept.append(KeptRows(store="routing", rows=blocked, reason=SHUT_OUT))
    await board_store.ring(tx)
    return Forgotten(dict(counts), kept)


async def _forget_facts(subject: SubjectErasedV1, tx: Transaction) -> list[str]:
    """What the facts said that rest on the person's words, are about them, or whose value they are."""
    return await erasure_store.erase_facts(
        tx,
        sources=subject.message_ids,
        subjects=fact_subjects(subject),
        values=(*subject.numbers, *subject.emails) if subject.scope == "person" else (),
        until=subject.effective_at,
    )


async def _forget_written(subject: SubjectErasedV1, tx: Transaction) -> dict[str, int]:
    """What was written."""
    chats = await erasure_store.erase_chats(tx, subject.chat_ids, subject.numbers)
    messages = subject.message_ids
    return {
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


# What rules found -------------------------------------------------------------------------------------------------


async def _mark_anomalies(tx: Transaction, marks: Marks) -> int:
    """Of how many findings something was marked."""
    count = 0
    for found in await erasure_store.anomalies_with(tx, marks.parts):
        evidence = [_marked(row, lambda cell: marks.name(str(cell))) for row in found.evidence]
        description = _LINE.sub(lambda line: ERASED if marks.name(line[0]) else line[0], found.description)
        if evidence != found.evidence or description != found.description:
            await erasure_store.put_anomaly(tx, Found(found.anomaly_id, evidence, description))
            count += 1
    return count


def _marked(row: Mapping[str, Cell], names_person: Callable[[Cell], bool]) -> dict[str, Cell]:
    """A row that names the person is about them in all that it says in words; what it counts stays."""
    named = {name for name, cell in row.items() if names_person(cell)}
    if not named:
        return dict(row)
    return {name: ERASED if isinstance(cell, str) else 0 if name in named else cell for name, cell in row.items()}


async def without_erased_digits(event: AnomalyFiredV1, tx: Transaction) -> AnomalyFiredV1:
    """What a rule found; rows about whoever was erased since are marked, and so are lines that name them."""
    cells = [str(cell) for row in event.evidence for cell in row.values()]
    gone = await erased_at(tx, {name for text in (*cells, event.description) for name in _names(text)})
    if not gone:
        return event

    def marked(row: Mapping[str, Cell]) -> dict[str, Cell]:
        at = _said_at(row, event.as_of)
        return _marked(row, lambda cell: _is_gone(str(cell), gone, at))

    description = _LINE.sub(lambda line: ERASED if _is_gone(line[0], gone, event.as_of) else line[0], event.description)
    return event.model_copy(update={"evidence": tuple(map(marked, event.evidence)), "description": description})


def _is_gone(text: str, gone: Mapping[str, datetime], at: datetime) -> bool:
    return any(name in gone and at <= gone[name] for name in _names(text))


def _names(text: str) -> Iterator[str]:
    """By what a text may name somebody: numbers with and without the country's code, addresses, ids."""
    for digits in _DIGITS.findall(text):
        yield from (f"+{digits}", f"+91{digits}")
    for pattern in _NAMED:
        for name in pattern.findall(text):
            yield from (name, name.lower())


def _said_at(row: Mapping[str, Cell], as_of: datetime) -> datetime:
    """The latest time that the row tells: what was found later may be of long before. Nothing was said after it was
    found: such a time is when something is due."""
    times = [time for cell in row.values() if isinstance(cell, str) and (time := _time(cell)) is not None]
    return max((time for time in times if time <= as_of), default=as_of)


def _time(cell: str) -> datetime | None:
    if not _TIMESTAMP.fullmatch(cell):
        return None
    try:
        time = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
