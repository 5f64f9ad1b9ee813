"""Builders with defaults, and the service's use cases on a real database."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from brain_distiller import store
from brain_distiller.distil_messages import distil_messages, subjects_touched
from brain_distiller.follow_directory import follow_customer
from contracts.directory import CustomerV1
from contracts.facts import FactExtractedV1
from contracts.vault import MessageImportedV1
from kit.postgres import Database
from kit.testing import MakeDatabase

PEER = "+919847000001"
MORNING = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)


def build_message(text: str = "", *, minute: int = 0, **changes: Any) -> MessageImportedV1:
    """A customer's message in a direct chat, unless told otherwise."""
    values: dict[str, Any] = {
        "message_id": "m-1",
        "account_id": "a-1",
        "chat_id": "chat-1",
        "chat_kind": "direct",
        "direction": "in",
        "peer_number": PEER,
        "sent_at": MORNING + timedelta(minutes=minute),
        "kind": "text",
        "raw_kind": 0,
        "text": text,
    }
    return MessageImportedV1(**(values | changes))


@pytest.fixture
def a_message() -> Callable[..., MessageImportedV1]:
    return build_message


class Brain:
    """One tenant's view of the service: one transaction a call, as the consumer makes it."""

    def __init__(self, database: Database, tenant: UUID) -> None:
        self.database = database
        self.tenant = tenant
        self._read = 0

    async def hears(self, *messages: MessageImportedV1) -> list[FactExtractedV1]:
        """Distil a batch; return the events it left in the outbox, in their order."""
        async with self.database.transaction(self.tenant) as tx:
            await tx.hold(*await subjects_touched(messages, tx))
            await distil_messages(messages, tx)
        return await self.new_events()

    async def new_events(self) -> list[FactExtractedV1]:
        """The events that were appended since the last time somebody asked."""
        async with self.database.system() as tx:
            rows = await tx.fetch(
                "SELECT payload FROM outbox WHERE tenant_id = $1 AND type = $3 ORDER BY epoch, xid, seq OFFSET $2",
                self.tenant,
                self._read,
                FactExtractedV1.type,
            )
        self._read += len(rows)
        return [FactExtractedV1(**json.loads(row["payload"])) for row in rows]

    async def follows(self, customer_id: str, version: int, *numbers: str) -> None:
        customer = CustomerV1(customer_id=customer_id, version=version, name="A customer", numbers=numbers)
        async with self.database.transaction(self.tenant) as tx:
            await follow_customer(customer, tx)

    async def states(self, subject: str | None = None) -> dict[str, tuple[str, int]]:
        """State and version of each value."""
        async with self.database.transaction(self.tenant) as tx:
            facts = await store.list_facts(tx, subject=subject, key=None, state=None, limit=500)
        return {fact.value: (fact.state, fact.version) for fact in facts}

    async def count(self, table: str) -> int:
        async with self.database.transaction(self.tenant) as tx:
            count: int = await tx.fetchval(f"SELECT count(*) FROM {table}")
            return count


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return await make_database(service="brain-distiller", package="brain_distiller")


@pytest.fixture
def brain(database: Database, tenant: UUID) -> Brain:
    return Brain(database, tenant)
