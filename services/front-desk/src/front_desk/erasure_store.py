"""What front-desk holds of a person, in Postgres: where it is and how it goes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kit.postgres import Transaction, load_queries
from recovery.marks import national_of

__all__ = [
    "Found",
    "Named",
    "anomalies_with",
    "blocked",
    "empty_chats",
    "erase_calls",
    "erase_chats",
    "erase_facts",
    "erase_mails",
    "erase_messages",
    "erase_missed",
    "is_vip",
    "named_entities",
    "put_anomaly",
    "said_by_nobody",
    "take_out",
    "take_out_of_routing",
]

Q = load_queries("front_desk", "erasure.sql")


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """A customer or lead that is a person, or carries a number or an address of theirs."""

    kind: str
    ref: str
    id: str
    is_them: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a rule found: its rows, and the sentence about it."""

    anomaly_id: str
    evidence: Sequence[Mapping[str, Any]]
    description: str


async def named_entities(
    tx: Transaction, customers: Sequence[str], leads: Sequence[str], numbers: Sequence[str], emails: Sequence[str]
) -> list[Named]:
    rows = await tx.fetch(
        Q.named_entities, tx.tenant, list(customers), list(leads), list(numbers), list(emails)
    )  # fmt: skip
    return [Named(**dict(row)) for row in rows]


async def take_out(
    tx: Transaction, kind: str, refs: Sequence[str], numbers: Sequence[str], emails: Sequence[str]
) -> dict[str, bool]:
    """By reference, whether nothing is left by which an entity could be known."""
    query = Q.take_out_of_customers if kind == "customer" else Q.take_out_of_leads
    rows = await tx.fetch(query, tx.tenant, list(refs), list(numbers), list(emails))
    return {row["ref"]: row["nothing_left"] for row in rows}


async def is_vip(tx: Transaction, numbers: Sequence[str]) -> bool:
    return bool(await tx.fetchval(Q.is_vip, tx.tenant, list(numbers)))


async def take_out_of_routing(tx: Transaction, numbers: Sequence[str]) -> int:
    return int(await tx.fetchval(Q.take_out_of_routing, tx.tenant, list(numbers)))


async def blocked(tx: Transaction, numbers: Sequence[str]) -> int:
    return int(await tx.fetchval(Q.blocked, tx.tenant, list(numbers)))


async def erase_calls(tx: Transaction, numbers: Sequence[str], customers: Sequence[str], *, until: datetime) -> int:
    return _rows(await tx.execute(Q.erase_calls, tx.tenant, list(numbers), list(customers), until))


async def erase_missed(tx: Transaction, numbers: Sequence[str], *, until: datetime) -> int:
    return _rows(await tx.execute(Q.erase_missed, tx.tenant, list(numbers), until))


async def erase_mails(tx: Transaction, emails: Sequence[str], *, until: datetime) -> int:
    return _rows(await tx.execute(Q.erase_mails, tx.tenant, list(emails), until))


async def anomalies_with(tx: Transaction, parts: Sequence[str]) -> list[Found]:
    rows = await tx.fetch(Q.anomalies_with, tx.tenant, list(parts))
    return [Found(row["anomaly_id"], json.loads(row["evidence"]), row["description"]) for row in rows]


async def put_anomaly(tx: Transaction, found: Found) -> None:
    evidence = json.dumps(found.evidence, ensure_ascii=False)
    await tx.execute(Q.put_anomaly, tx.tenant, found.anomaly_id, evidence, found.description)


async def erase_facts(
    tx: Transaction, *, sources: Sequence[str], subjects: Sequence[str], values: Sequence[str], until: datetime
) -> list[str]:
    """What the facts said that were erased."""
    accounts = [form for value in values for form in national_of(value)]
    named = (list(sources), list(subjects), list(values), until, accounts)
    return [row["value"] for row in await tx.fetch(Q.erase_facts, tx.tenant, *named)]


async def said_by_nobody(tx: Transaction, values: Sequence[str]) -> list[str]:
    """Of these values those that no fact has which is left."""
    return [row["value"] for row in await tx.fetch(Q.said_by_nobody, tx.tenant, list(values))] if values else []


async def erase_messages(tx: Transaction, messages: Sequence[str]) -> int:
    return _rows(await tx.execute(Q.erase_messages, tx.tenant, list(messages)))


async def erase_chats(tx: Transaction, chats: Sequence[str], numbers: Sequence[str]) -> int:
    return _rows(await tx.execute(Q.erase_chats, tx.tenant, list(chats), list(numbers)))


async def empty_chats(tx: Transaction, messages: Sequence[str]) -> int:
    return _rows(await tx.execute(Q.empty_chats, tx.tenant, list(messages)))


def _rows(status: str) -> int:
    return int(status.rpartition(" ")[2])
