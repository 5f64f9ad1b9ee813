"""Postgres, as far as forgetting a person goes: what rests on their messages, and what is left to tell."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from brain_distiller.forgotten import Standing
from brain_distiller.store import Q, evidence_of_row, fact_of_row
from kit.postgres import Transaction
from recovery.marks import national_of

__all__ = ["Going", "customers_with", "erase", "erase_customers", "going", "standing"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Going:
    """A fact that loses evidence; ``whole`` when all goes that was said until the erasure took effect."""

    fact_id: UUID
    subject: str
    key: str
    whole: bool


async def going(
    tx: Transaction, *, sources: Collection[str], subjects: Collection[str], values: Collection[str], until: datetime
) -> list[Going]:
    """Facts that rest on these messages, are about these subjects, or name the person by these values."""
    accounts = [form for value in values for form in national_of(value)]
    rows = await tx.fetch(Q.evidence_to_erase, list(sources), list(subjects), until, list(values), accounts)
    return [Going(**{name: row[name] for name in ("fact_id", "subject", "key", "whole")}) for row in rows]


async def erase(
    tx: Transaction, *, sources: Collection[str], facts: Collection[UUID], until: datetime
) -> tuple[dict[str, int], list[UUID]]:
    """How many rows went by table, and the facts that lost evidence."""
    row = await tx.fetchrow(Q.erase_evidence, list(sources), list(facts), until)
    if row is None:
        raise RuntimeError("a function that gives one row gave none")
    counts = {"evidence": "evidence_rows", "fact": "fact_rows", "fact_version": "version_rows", "source": "source_rows"}
    return {table: row[column] for table, column in counts.items()}, row["touched"]


async def standing(tx: Transaction, touched: Sequence[UUID], keys: Collection[tuple[str, str]]) -> list[Standing]:
    """What is left of the facts that were touched, and their rivals that are in conflict."""
    pairs = sorted(keys)
    rows = await tx.fetch(
        Q.facts_to_tell_again, list(touched), [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    )
    return [
        Standing(
            fact=fact_of_row(row),
            evidence=evidence_of_row(
                {**row, "extractor": row["evidence_extractor"], "confidence": row["evidence_confidence"]}
            ),
            live=row["live"],
            told_is_gone=row["told_is_gone"],
        )
        for row in map(dict, rows)
    ]


async def erase_customers(tx: Transaction, customer_ids: Collection[str], numbers: Collection[str]) -> dict[str, int]:
    """By table, how many rows went."""
    erased = await tx.execute(Q.erase_numbers, list(numbers), list(customer_ids))
    customers = await tx.execute(Q.erase_customers, list(customer_ids))
    return {"customer_number": _count(erased), "customer": _count(customers)}


async def customers_with(tx: Transaction, numbers: Collection[str]) -> list[str]:
    return [row["customer_id"] for row in await tx.fetch(Q.customers_with_numbers, list(numbers))]


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])
