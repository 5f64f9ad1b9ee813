"""The use case: forget a person's calls, and keep out what vendors still tell of them.

Webhooks come late, are repeated, and wait in journals: what is from before an erasure is erased again by a sweep for as
long as such things can arrive. Whoever calls afterwards is a stranger who calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from contracts.erasure import KeptRows, SubjectErasedV1
from kit.postgres import Database, Transaction
from kit.telemetry import get_logger
from recovery.erasure import Forgotten
from telephony_router import erasure_store, recording_store
from telephony_router.blob_store import BlobStore
from telephony_router.store import note_changes

__all__ = ["forget", "remove_erased_recordings", "sweep_erased"]

log = get_logger(__name__)

LISTENED = "Who listened to recordings is kept as a log; it names the listener and no caller."
LOG_KEPT = timedelta(days=365)
AT_ONCE = 200


async def forget(subject: SubjectErasedV1, tx: Transaction) -> Forgotten:
    """Erase the calls from and to a person's numbers with all that hangs on them. The directory's entry goes by its own
    event; of messages the router holds nothing."""
    if subject.scope != "person" or not subject.numbers:
        return Forgotten()
    listened = await erasure_store.listened(tx, subject.numbers)
    counts = await _erase(tx, subject.numbers, subject.effective_at)
    await _drop(tx, subject.numbers)
    kept = KeptRows(
        store="recording_audit", rows=listened, reason=LISTENED, until=datetime.now(UTC) + LOG_KEPT
    )  # fmt: skip
    return Forgotten(counts, [kept] if listened else ())


async def _erase(tx: Transaction, numbers: Sequence[str], until: datetime) -> Counter[str]:
    counts = Counter(await erasure_store.erase_calls(tx, numbers, until=until))
    counts["last_agent"] += await erasure_store.erase_last_agents(tx, numbers, until=until)
    counts["caller_score"] = await erasure_store.erase_scores(tx, numbers, until=until)
    return +counts


async def _drop(tx: Transaction, numbers: Sequence[str]) -> None:
    """Every router drops what it knows of the numbers, in Redis and in its snapshot."""
    await note_changes(tx, [("caller", number) for number in numbers])


async def sweep_erased(database: Database) -> None:
    """Erase again what vendors have told since of calls from before."""
    async with database.system() as tx:
        people = await erasure_store.erased_people(tx)
    for tenant, until, numbers in people:
        async with database.transaction(tenant) as tx:
            again = await _erase(tx, numbers, until)
            if again:
                await _drop(tx, numbers)
        if again:
            log.info("erased_again", tenant=str(tenant), calls=again["call"])


async def remove_erased_recordings(database: Database, store: BlobStore) -> None:
    """Take bytes that nothing names any more out of the store. Raises :class:`StoreAway`; the rest is tried again."""
    while True:
        async with database.system() as tx:
            waiting = await erasure_store.erased_blobs(tx, AT_ONCE)
        for tenant, sha256 in waiting:
            async with database.transaction(tenant) as tx:
                # Whoever stores the same bytes at this moment has told so by now, or finds them gone.
                await recording_store.hold_blobs(tx, [sha256])
                if await recording_store.unnamed(tx, [sha256]):
                    await store.remove(tenant, sha256)
                await erasure_store.blob_gone(tx, sha256)
        if len(waiting) < AT_ONCE:
            return
