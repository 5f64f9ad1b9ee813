"""The archive told again: ``message.imported`` of a period, from the archive itself, without what was erased."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from uuid import UUID

from contracts.event import Event
from contracts.vault import MessageImportedV1
from kit.postgres import Database
from vault_importer import store

__all__ = ["tell_messages"]

PAGE = 500


async def tell_messages(
    database: Database, tenant: UUID, start: datetime, end: datetime
) -> AsyncIterator[Sequence[tuple[Event, datetime]]]:
    """Messages sent in the period, each in its newest revision, the oldest first."""
    after = start, UUID(int=0)
    while True:
        async with database.transaction(tenant) as tx:
            rows = await store.messages_of_period(tx, after=after, before=end, limit=PAGE)
        if not rows:
            return
        yield [(MessageImportedV1.model_validate(row), row["sent_at"]) for row in rows]
        after = rows[-1]["sent_at"], UUID(rows[-1]["message_id"])
