"""The archive told again: ``message.imported`` of a period, from the archive itself: what is not in it is not told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from uuid import UUID

from contracts.event import Event
from contracts.vault import MessageImportedV1
from kit.postgres import Database
from recovery.replay.plan import StorePlace
from vault_importer import store

__all__ = ["tell_messages"]

PAGE = 500


async def tell_messages(
    database: Database, tenant: UUID, after: StorePlace, end: datetime
) -> AsyncIterator[Sequence[tuple[Event, StorePlace]]]:
    """Messages sent after a place and before a time, each in its newest revision, the oldest first."""
    while True:
        async with database.transaction(tenant) as tx:
            rows = await store.messages_of_period(tx, after=after, before=end, limit=PAGE)
        if not rows:
            return
        told = [(MessageImportedV1.model_validate(row), (row["sent_at"], UUID(row["message_id"]))) for row in rows]
        yield told
        after = told[-1][1]
