"""Keeps the search index up to the ledger: every wording has a leaf, in the order in which they were committed.

An import pays nothing for it; what it has written is found a moment later, and a search says how far the index is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from kit.postgres import Database
from vault_importer import search_store
from vault_importer.erasure.suppression_store import keep_in
from vault_importer.manage_accounts import list_accounts
from vault_importer.search_store import Searchable
from vault_importer.words import sound, vector

__all__ = ["index_all", "index_tenant"]

MESSAGES_PER_CHUNK = 2_000
#: A component that is in one run for ten minutes counts as hanging, and a large archive takes longer.
RUN_SECONDS = 60.0


async def index_all(database: Database) -> None:
    """Bring every tenant's index nearer to its ledger, in turns: a large archive does not keep a small one waiting.

    Ends after about a minute; the next call goes on."""
    until = time.monotonic() + RUN_SECONDS
    behind = sorted({account.tenant_id for account in await list_accounts(database)})
    while behind:
        behind = [tenant for tenant in behind if await _step(database, tenant)]
        if time.monotonic() >= until:
            return


async def index_tenant(database: Database, tenant: UUID) -> None:
    while await _step(database, tenant):
        pass


async def _step(database: Database, tenant: UUID) -> bool:
    """One chunk; whether there is more."""
    async with database.transaction(tenant) as tx:
        before = await search_store.progress_of_search(tx)
        if before.next_leaf >= before.size:
            return False
        messages, place = await search_store.to_index(tx, before, MESSAGES_PER_CHUNK)
    rows, sounds = await asyncio.to_thread(_searchable, messages)
    async with database.transaction(tenant) as tx:
        await keep_in(tx)
        if await search_store.gone(tx, [row.message_id for row in rows]):
            return True  # erased since they were read: the next step reads again
        # First: whoever else is at work on the same chunk waits here, and then has nothing to do.
        if await search_store.advance(tx, before.next_leaf, place) and rows:
            await search_store.put_searchable(tx, rows, sounds)
    return place < before.size


def _searchable(messages: Sequence[Any]) -> tuple[list[Searchable], list[tuple[str, str]]]:
    rows: list[Searchable] = []
    seen: set[str] = set()
    for message in messages:
        words, distinct = vector([message["text"], *(message["earlier"] or ())])
        seen |= distinct
        rows.append(
            Searchable(
                message_id=message["id"],
                sent_at=message["sent_at"],
                account_id=message["account_id"],
                chat_id=message["chat_id"],
                contact_id=message["contact_id"],
                from_me=message["from_me"],
                kind=message["kind"],
                words=words,
            )
        )
    return rows, [(word, sound(word)) for word in sorted(seen)]
