"""The use case: a person is forgotten. Facts go; findings keep their counts and lose the rows that name the person."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from anomaly_engine import store
from anomaly_engine.rules import load_rules
from contracts.erasure import SubjectErasedV1
from contracts.facts import FactExtractedV1
from kit.postgres import Transaction
from recovery.erasure import Forgotten, without_erased
from recovery.marks import ERASED, Marks, fact_subjects, person_named

__all__ = ["forget", "rules_to_hold", "without_forgotten"]


async def rules_to_hold(_: SubjectErasedV1, __: Transaction) -> Iterable[str]:
    """Every rule: an evaluation that has read what goes is entered before it goes, or begins afterwards."""
    return _rule_names()


async def forget(subject: SubjectErasedV1, tx: Transaction) -> Forgotten:
    person = subject.scope == "person"
    values = await store.erase_facts(
        tx,
        sources=subject.message_ids,
        subjects=fact_subjects(subject),
        values=(*subject.numbers, *subject.emails) if person else (),
        until=subject.effective_at,
    )
    counts = {"fact": len(values)}
    marks = Marks(subject, values=await store.said_by_nobody(tx, values))
    if marks:
        for table in ("anomaly", "rule_run"):
            counts[table] = await _mark(tx, table, marks)
    return Forgotten({table: rows for table, rows in counts.items() if rows})


async def without_forgotten(facts: Sequence[FactExtractedV1], tx: Transaction) -> list[FactExtractedV1]:
    """Without what rests on the words of, or is about, a person who has been forgotten since."""
    return await without_erased(facts, tx, lambda fact: (_names(fact), fact.evidence.at))


async def _mark(tx: Transaction, table: str, marks: Marks) -> int:
    """Of how many findings rows were marked."""
    count = 0
    for evidence, ids in await store.findings_with(tx, table, marks.parts):
        rows = json.loads(evidence)
        marked = [_marked(row) if any(_names_person(cell, marks) for cell in row.values()) else row for row in rows]
        if marked != rows:
            await store.put_evidence(tx, table, ids, marked)
            count += len(ids)
    return count


def _names_person(cell: object, marks: Marks) -> bool:
    return isinstance(cell, str) and marks.name(cell)


def _marked(row: Mapping[str, Any]) -> dict[str, Any]:
    """All that the row says in words is about the person; what it counts stays."""
    return {name: ERASED if isinstance(cell, str) else cell for name, cell in row.items()}


def _names(fact: FactExtractedV1) -> list[str | None]:
    return [fact.evidence.source_id, fact.subject.partition(":")[2], person_named(fact.value_type, fact.value)]


@cache
def _rule_names() -> tuple[str, ...]:
    return tuple(load_rules())
