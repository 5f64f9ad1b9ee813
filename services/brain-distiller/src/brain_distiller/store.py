"""Postgres: the only module that speaks SQL. Rows become domain values here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from brain_distiller.facts import Changes, Evidence, Fact, Known, State, Version
from kit.postgres import Transaction, load_queries

__all__ = [
    "HistoryEntry",
    "KnownEvidence",
    "Q",
    "ToldFact",
    "customers_of",
    "delete_customer",
    "evidence_of",
    "evidence_of_row",
    "fact_of_row",
    "facts_of_period",
    "history_of",
    "list_facts",
    "load_known",
    "revisions_of",
    "save_changes",
    "save_customer",
    "save_revisions",
    "subjects_of",
]

Q = load_queries("brain_distiller")
MESSAGE = "message"


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryEntry:
    """One version of a fact: which state, why, because of which source, and which evidence it told."""

    version: int
    state: State
    reason: str
    source_id: str
    evidence_source_id: str
    start: int
    end: int
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownEvidence:
    evidence: Evidence
    withdrawn_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ToldFact:
    """A fact in its newest version, the evidence that tells it, and when it came about."""

    fact: Fact
    evidence: Evidence
    at: datetime


async def save_customer(tx: Transaction, customer_id: str, version: int, numbers: Collection[str]) -> bool:
    """Keep the customer if this version is newer; say whether it was."""
    if await tx.fetchval(Q.upsert_customer, tx.tenant, customer_id, version) is None:
        return False
    await tx.execute(Q.replace_numbers, tx.tenant, customer_id, sorted(set(numbers)))
    return True


async def delete_customer(tx: Transaction, customer_id: str) -> None:
    await tx.execute(Q.delete_customer, customer_id)


async def customers_of(tx: Transaction, numbers: Collection[str]) -> dict[str, str]:
    """The customer of each number that has one."""
    if not numbers:
        return {}
    rows = await tx.fetch(Q.customers_of_numbers, sorted(numbers))
    return {row["number"]: row["customer_id"] for row in rows}


async def subjects_of(tx: Transaction, message_ids: Collection[str]) -> set[str]:
    """The subjects whose facts live on these messages."""
    if not message_ids:
        return set()
    return {row["subject"] for row in await tx.fetch(Q.subjects_of_sources, MESSAGE, list(message_ids))}


async def revisions_of(tx: Transaction, message_ids: Collection[str]) -> dict[str, int]:
    rows = await tx.fetch(Q.revisions_of_sources, MESSAGE, list(message_ids))
    return {row["source_id"]: row["revision"] for row in rows}


async def save_revisions(tx: Transaction, revisions: Mapping[str, int]) -> None:
    if revisions:
        await tx.execute(Q.upsert_sources, tx.tenant, MESSAGE, list(revisions), list(revisions.values()))


async def load_known(
    tx: Transaction, *, message_ids: Collection[str], fact_ids: Iterable[UUID], keys: Collection[tuple[str, str]]
) -> Known:
    """What is stored about these messages, these facts, and all facts of these pairs of subject and key."""
    sources = list(message_ids)
    # Most messages are new: what would find nothing is not asked.
    rows = await tx.fetch(Q.live_evidence_of_sources, MESSAGE, sources) if sources else []
    given = [evidence_of_row(row) for row in rows]
    wanted = {*fact_ids, *(each.fact_id for each in given)}
    rows = await tx.fetch(Q.facts_by_id, list(wanted)) if wanted else []
    facts = {row["fact_id"]: fact_of_row(row) for row in rows}
    # A fact that loses its evidence can settle the conflict it was in, so its rivals count as well.
    pairs = sorted({*keys, *((fact.subject, fact.key) for fact in facts.values() if fact.state == "conflicting")})
    if pairs:
        rows = await tx.fetch(Q.facts_of_keys, [pair[0] for pair in pairs], [pair[1] for pair in pairs])
        facts |= {row["fact_id"]: fact_of_row(row) for row in rows}
    elsewhere = await tx.fetch(Q.earliest_evidence_elsewhere, list(facts), MESSAGE, sources) if facts else []
    return Known(facts=facts, evidence=[*given, *map(evidence_of_row, elsewhere)])


async def save_changes(tx: Transaction, changes: Changes) -> None:
    """Write facts, their history and their evidence, each by one statement."""
    if changes.versions:
        newest = {version.fact.fact_id: version.fact for version in changes.versions}
        await tx.execute(Q.upsert_facts, tx.tenant, *_columns(map(_fact_row, newest.values())))
        await tx.execute(Q.insert_versions, tx.tenant, *_columns(map(_version_row, changes.versions)))
    if changes.withdrawn:
        await tx.execute(Q.withdraw_evidence, *_columns(each.natural_key for each in changes.withdrawn))
    if changes.added:
        await tx.execute(Q.insert_evidence, tx.tenant, *_columns(map(_evidence_row, changes.added)))


async def list_facts(
    tx: Transaction, *, subject: str | None, key: str | None, state: str | None, limit: int
) -> list[Fact]:
    return [fact_of_row(row) for row in await tx.fetch(Q.list_facts, subject, key, state, limit)]


async def evidence_of(tx: Transaction, fact_ids: Sequence[UUID], *, each: int) -> dict[UUID, list[KnownEvidence]]:
    """Evidence of each fact, also withdrawn one, the earliest first, at most ``each`` of one."""
    found: dict[UUID, list[KnownEvidence]] = {fact_id: [] for fact_id in fact_ids}
    for row in await tx.fetch(Q.evidence_of_facts, list(fact_ids), each):
        found[row["fact_id"]].append(KnownEvidence(evidence=evidence_of_row(row), withdrawn_at=row["withdrawn_at"]))
    return found


async def history_of(tx: Transaction, fact_id: UUID) -> tuple[Fact, list[HistoryEntry]] | None:
    """A fact and all its versions, or nothing when this tenant has no such fact."""
    facts = await tx.fetch(Q.facts_by_id, [fact_id])
    if not facts:
        return None
    entries = [
        HistoryEntry(
            version=row["version"],
            state=row["state"],
            reason=row["reason"],
            source_id=row["source_id"],
            evidence_source_id=row["evidence_source_id"],
            start=row["evidence_start_at"],
            end=row["evidence_end_at"],
            at=row["at"],
        )
        for row in await tx.fetch(Q.history_of_fact, fact_id)
    ]
    return fact_of_row(facts[0]), entries


async def facts_of_period(
    tx: Transaction, *, after: tuple[datetime, UUID], before: datetime, limit: int
) -> list[ToldFact]:
    """A page of facts in their newest version, in the order in which the versions came about."""
    return [
        ToldFact(fact=fact_of_row(row), evidence=evidence_of_row({**row, "extractor": row["evidence_extractor"],
                 "confidence": row["evidence_confidence"]}), at=row["at"])
        for row in map(dict, await tx.fetch(Q.facts_of_period, *after, before, limit))
    ]  # fmt: skip


def _columns(rows: Iterable[Sequence[object]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


def fact_of_row(row: Any) -> Fact:
    return Fact(
        fact_id=row["fact_id"],
        subject=row["subject"],
        key=row["key"],
        value=row["value"],
        value_type=row["value_type"],
        unit=row["unit"],
        raw_value=row["raw_value"],
        confidence=row["confidence"],
        extractor=row["extractor"],
        state=row["state"],
        version=row["version"],
    )


def _fact_row(fact: Fact) -> tuple[object, ...]:
    identity = (fact.fact_id, fact.subject, fact.key, fact.value, fact.value_type, fact.unit)
    return (*identity, fact.raw_value, fact.confidence, fact.extractor, fact.state, fact.version)


def _version_row(version: Version) -> tuple[object, ...]:
    fact, told = version.fact, version.evidence
    change = (fact.fact_id, fact.version, fact.state, version.reason, told.source_type, version.source_id)
    return (*change, told.source_id, told.start, told.end)


def evidence_of_row(row: Any) -> Evidence:
    return Evidence(
        fact_id=row["fact_id"],
        source_type=row["source_type"],
        source_id=row["source_id"],
        revision=row["revision"],
        extractor=row["extractor"],
        start=row["start_at"],
        end=row["end_at"],
        quote=row["quote"],
        confidence=row["confidence"],
        at=row["said_at"],
    )


def _evidence_row(evidence: Evidence) -> tuple[object, ...]:
    return (*evidence.natural_key, evidence.quote, evidence.confidence, evidence.at)
