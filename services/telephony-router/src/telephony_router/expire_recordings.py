"""Let go of recordings whose time is over: their bytes, then what is known of them but that they were there."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from kit.postgres import Database
from kit.telemetry import get_logger
from telephony_router import recording_store
from telephony_router.blob_store import BlobStore

__all__ = ["expire_recordings"]

log = get_logger(__name__)
AT_ONCE = 200


async def expire_recordings(database: Database, store: BlobStore, *, keep: timedelta, limit: int = AT_ONCE) -> int:
    """Of all tenants, those stored longer ago than ``keep``, the oldest first; how many there were.

    Raises :class:`StoreAway`; what was let go by then stays so, and the rest is tried again the next time.
    """
    count = 0
    while True:
        async with database.system() as tx:
            over = await recording_store.older_than(tx, keep, limit)
        for tenant, recording in over:
            count += await _expire(database, store, tenant, recording)
        if len(over) < limit:
            break
    if count:
        log.info("recordings_expired", recordings=count)
    return count


async def _expire(database: Database, store: BlobStore, tenant: UUID, recording: UUID) -> bool:
    async with database.transaction(tenant) as tx:
        blobs = await recording_store.blobs_of(tx, recording)
        # Whoever stores the same bytes at this moment has told so by now, or finds them gone and stores them anew.
        await recording_store.hold_blobs(tx, blobs)
        expired = await recording_store.expire(tx, recording)
        if expired is None:
            return False
        await recording_store.audit(tx, "retention", "expire", call_id=expired, recording_id=recording)
        # Before the commit: bytes that nothing names any more would stay for ever.
        for sha256 in await recording_store.unnamed(tx, blobs):
            await store.remove(tenant, sha256)
    return True
