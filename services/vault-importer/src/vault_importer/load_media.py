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
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from kit.postgres import Database
from vault_importer import media_store
from vault_importer.accounts import Account
from vault_importer.erasure.keep_out import REASON
from vault_importer.erasure.media import remove_unreferenced
from vault_importer.media_files import KeptFile, MediaFolders, keep_file, path_of

__all__ = ["load_media"]

FILES_PER_CHUNK = 100


class _Linked(NamedTuple):
    messages: set[UUID]
    erased: int
    """Messages that must not get a file any more."""
    lost: int
    """Files that were gone from the store when they were to be linked."""


@dataclass(frozen=True, kw_only=True)
class _Loading:
    database: Database
    account: Account
    folders: MediaFolders
    import_id: UUID
    now: Callable[[], datetime]
    in_worker: Callable[..., Any]
    counts: Counter[str]

    async def link(self, kept: list[media_store.Link]) -> _Linked:
        tenant, store = self.account.tenant_id, self.folders.store
        async with self.database.transaction(tenant) as tx:
            staying = await media_store.messages_that_stay(tx, [each.message_id for each in kept])
            mine = [each for each in kept if each.message_id in staying]
            # An erasure may have taken the same content of another message away since.
            whole = await self.in_worker(_in_store, self.folders, tenant, mine)
            await media_store.link_files(tx, whole, import_id=self.import_id, at=self.now())
        refused = [each.sha256 for each in kept if each.message_id not in staying]
        if refused:
            await remove_unreferenced(self.database, tenant, store, refused)
        self.counts["new"] += len(whole)
        self.counts["hash_differs"] += sum(not each.hash_agrees for each in whole)
        return _Linked({each.message_id for each in whole}, erased=len(refused), lost=len(mine) - len(whole))


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
    loading = _Loading(
        database=database, account=account, folders=folders, import_id=import_id, now=now, in_worker=in_worker,
        counts=counts,
    )  # fmt: skip
    await _take_from_the_phone(loading)
    await _find_by_hash(loading)
    differs, new = counts.pop("hash_differs", 0), counts.pop("new", 0)
    # The phone has no path for what it never fetched.
    counts["not_downloaded"] = seen - linked - new - counts.total()
    skipped = {reason: count for reason, count in sorted(counts.items()) if count}
    return {"seen": seen, "new": new, "changed": 0, "unchanged": linked, "skipped": skipped, "hash_differs": differs}


async def _take_from_the_phone(loading: _Loading) -> None:
    """What lies where the phone says it is."""
    account = loading.account
    last = UUID(int=0)
    while True:
        async with loading.database.transaction(account.tenant_id) as tx:
            waiting = await media_store.media_without_file(tx, account.id, after=last, limit=FILES_PER_CHUNK)
        if not waiting:
            return
        kept, reasons = await loading.in_worker(_keep_all, loading.folders, account.tenant_id, waiting)
        linked = await loading.link(kept)
        loading.counts[REASON] += linked.erased
        if not linked.lost:
            loading.counts.update(reasons)
            last = waiting[-1].message_id


async def _find_by_hash(loading: _Loading) -> None:
    """What is not there any more, or never was, but came with another message: a picture that was forwarded, the same
    message on another phone."""
    account = loading.account
    last = UUID(int=0)
    while True:
        async with loading.database.transaction(account.tenant_id) as tx:
            found = await media_store.media_kept_elsewhere(tx, account.id, after=last, limit=FILES_PER_CHUNK)
        if not found:
            return
        linked = await loading.link([link for _, link in found])
        tried = [each for each, _ in found if each.file_path and each.message_id in linked.messages]
        # They were counted among those that could not be taken from the phone; asked again, it says why once more.
        _, reasons = await loading.in_worker(_keep_all, loading.folders, account.tenant_id, tried)
        loading.counts.subtract(reasons)
        last = found[-1][0].message_id


def _keep_all(
    folders: MediaFolders, tenant: UUID, waiting: list[media_store.Waiting]
) -> tuple[list[media_store.Link], Counter[str]]:
    """Files that are in the store now; how many are not, by why."""
    links = []
    reasons: Counter[str] = Counter()
    for each in waiting:
        kept = keep_file(folders, tenant, each.file_path)
        if not isinstance(kept, KeptFile):
            reasons[kept] += 1
            continue
        links.append(
            media_store.Link(
                message_id=each.message_id,
                sha256=kept.sha256,
                size=kept.size,
                file_hash=each.file_hash,
                hash_agrees=_digest(each.file_hash) == kept.sha256,
            )
        )
    return links, reasons


def _in_store(folders: MediaFolders, tenant: UUID, links: list[media_store.Link]) -> list[media_store.Link]:
    return [each for each in links if path_of(folders.store, tenant, each.sha256).exists()]


def _digest(file_hash: str) -> bytes | None:
    try:
        return b64decode(file_hash, validate=True) if file_hash else None
    except (Error, ValueError):
        return None
