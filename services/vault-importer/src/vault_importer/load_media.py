"""Brings the files of an account's media into the store and links them to their messages.

Done for what is not linked yet, so it may be repeated at any time, with another folder too: what an earlier folder
lacked is found in a later one.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from binascii import Error
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from kit.postgres import Database
from vault_importer import media_store
from vault_importer.accounts import Account
from vault_importer.media_files import KeptFile, MediaFolders, keep_file

__all__ = ["load_media"]

FILES_PER_CHUNK = 100


async def load_media(
    database: Database,
    account: Account,
    folders: MediaFolders,
    *,
    import_id: UUID,
    now: Callable[[], datetime],
    in_worker: Callable[..., Any] = asyncio.to_thread,
) -> dict[str, Any]:
    """How many media the account has, and what became of their files."""
    async with database.transaction(account.tenant_id) as tx:
        seen, linked = await media_store.count_media(tx, account.id)
    counts: Counter[str] = Counter()
    last = UUID(int=0)
    while True:
        async with database.transaction(account.tenant_id) as tx:
            waiting = await media_store.media_without_file(tx, account.id, after=last, limit=FILES_PER_CHUNK)
        if not waiting:
            break
        last = waiting[-1].message_id
        kept = await in_worker(_keep_all, folders, account.tenant_id, waiting, counts)
        async with database.transaction(account.tenant_id) as tx:
            await media_store.link_files(tx, kept, import_id=import_id, at=now())
    differs, new = counts.pop("hash_differs", 0), counts.pop("new", 0)
    # The phone has no path for what it never fetched.
    counts["not_downloaded"] = seen - linked - new - counts.total()
    skipped = {reason: count for reason, count in sorted(counts.items()) if count}
    return {"seen": seen, "new": new, "changed": 0, "unchanged": linked, "skipped": skipped, "hash_differs": differs}


def _keep_all(
    folders: MediaFolders, tenant: UUID, waiting: list[media_store.Waiting], counts: Counter[str]
) -> list[media_store.Link]:
    links = []
    for each in waiting:
        kept = keep_file(folders, tenant, each.file_path)
        if not isinstance(kept, KeptFile):
            counts[kept] += 1
            continue
        agrees = _digest(each.file_hash) == kept.sha256
        counts["new"] += 1
        counts["hash_differs"] += not agrees
        links.append(
            media_store.Link(
                message_id=each.message_id,
                sha256=kept.sha256,
                size=kept.size,
                file_hash=each.file_hash,
                hash_agrees=agrees,
            )
        )
    return links


def _digest(file_hash: str) -> bytes | None:
    try:
        return b64decode(file_hash, validate=True) if file_hash else None
    except (Error, ValueError):
        return None
