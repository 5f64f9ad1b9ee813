"""The use case: messages become facts, a batch of one tenant at a time, by statements over sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from brain_distiller import facts, store
from brain_distiller.distillers import SINGLE_VALUED
from brain_distiller.facts import Changes, Fact, Version, conclude
from brain_distiller.keep_out import without_forgotten, without_names
from brain_distiller.readings import Reading, may_mention, number_of, read, subject_of
from contracts.envelope import partition_key
from contracts.facts import Evidence, FactExtractedV1
from contracts.vault import MessageImportedV1
from kit.consume import Retry
from kit.ids import name_uuid
from kit.outbox import append_many
from kit.postgres import Transaction

__all__ = ["distil_messages", "event_of", "fact_id_of", "subjects_touched"]


def fact_id_of(tenant: UUID, subject: str, key: str, value: str) -> UUID:
    return name_uuid(str(tenant), "fact", subject, key, value)


async def subjects_touched(messages: Sequence[MessageImportedV1], tx: Transaction) -> set[str]:
    """Every subject about which distilling these messages may tell something. Reads only."""
    customers = await _customers(messages, tx)
    says = {subject_of(message, customers) for message in messages if may_mention(message)}
    read_before = await store.revisions_of(tx, [message.message_id for message in messages])
    return says | await store.subjects_of(tx, read_before)


async def distil_messages(messages: Sequence[MessageImportedV1], tx: Transaction) -> list[Version]:
    """Read messages, store what they change, and append its events; return the states that facts entered.

    The keys of all subjects of :func:`subjects_touched` are held. Revisions of one message are taken one after
    the other, so that a batch tells the same story as its messages one by one.
    """
    messages = await without_forgotten(messages, tx)
    customers = await _customers(messages, tx)
    entered: list[Version] = []
    for message_round in _rounds(messages):
        stored = await store.revisions_of(tx, [message.message_id for message in message_round])
        readings = _not_stale([read(message, customers) for message in message_round], stored)
        readings = await without_names(readings, tx)
        entered += await _take(readings, stored, tx)
    return entered


def _rounds(messages: Sequence[MessageImportedV1]) -> list[list[MessageImportedV1]]:
    """The messages in their order, in rounds that hold each message at most once."""
    rounds: list[list[MessageImportedV1]] = []
    seen: Counter[str] = Counter()
    for message in messages:
        turn = seen[message.message_id]
        seen[message.message_id] += 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(message)
    return rounds


async def _customers(messages: Sequence[MessageImportedV1], tx: Transaction) -> dict[str, str]:
    return await store.customers_of(tx, {number for message in messages if (number := number_of(message)) is not None})


def _not_stale(readings: Sequence[Reading], stored: Mapping[str, int]) -> list[Reading]:
    """Without readings of an older revision than was read before, as a replay brings them."""
    return [reading for reading in readings if reading.revision >= stored.get(reading.source_id, 0)]


async def _take(readings: Sequence[Reading], stored: Mapping[str, int], tx: Transaction) -> Sequence[Version]:
    """Store what the readings change. ``stored`` has the revisions of the messages that were ever told of."""

    def identify(subject: str, key: str, value: str) -> UUID:
        return fact_id_of(tx.tenant, subject, key, value)

    known = await store.load_known(
        tx,
        message_ids=stored,
        fact_ids={identify(r.subject, m.key, m.value) for r in readings for m in r.mentions},
        keys={(r.subject, m.key) for r in readings for m in r.mentions if m.key in SINGLE_VALUED},
    )
    changes = conclude(readings, known, identify)
    _require_held({version.fact.subject for version in changes.versions}, tx)
    # What never said anything and was never revised needs no row: most messages.
    telling = {r.source_id: r.revision for r in readings if r.mentions or r.revision > 1}
    await store.save_revisions(
        tx, {each: revision for each, revision in telling.items() if stored.get(each) != revision}
    )
    await store.save_changes(tx, changes)
    await append_many(tx, _events(changes))
    return changes.versions


def _require_held(subjects: Collection[str], tx: Transaction) -> None:
    if any(partition_key(tx.tenant, subject) not in tx.held for subject in subjects):
        raise Retry("a number changed its customer while its messages were read", after=0.1)


def _events(changes: Changes) -> list[FactExtractedV1]:
    return [event_of(version.fact, version.evidence) for version in changes.versions]


def event_of(fact: Fact, evidence: facts.Evidence) -> FactExtractedV1:
    """What the other services learn of a fact in its newest version, with the evidence that tells it."""
    return FactExtractedV1(
        fact_id=str(fact.fact_id),
        version=fact.version,
        subject=fact.subject,
        key=fact.key,
        raw_value=fact.raw_value,
        value=fact.value,
        value_type=fact.value_type,
        unit=fact.unit,
        evidence=_told(evidence),
        confidence=fact.confidence,
        extractor=fact.extractor,
        state=fact.state,
    )


def _told(evidence: facts.Evidence) -> Evidence:
    return Evidence(
        source_type=evidence.source_type,
        source_id=evidence.source_id,
        start=evidence.start,
        end=evidence.end,
        quote=evidence.quote,
        at=evidence.at,
    )
