"""Leaves out of a backup what the one before it had word for word: of last night's, nearly all of it.

Each import remembers digests of the parts of its store. What has the same digest in the next backup of the account is
in the vault already, as far as it may be there, and is not even read. An import that is interrupted goes on with what
it left out at first, whatever has come between.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING
from uuid import UUID

from kit.postgres import Transaction
from kit.telemetry import get_logger
from vault_importer.apart.backup import Comparing
from vault_importer.erasure.suppression_store import Suppression
from vault_importer.formats.base import Backup, LeftOut
from vault_importer.refusals import BackupRefused, ReaderLost
from vault_importer.store import Q, lanes_of

if TYPE_CHECKING:
    from vault_importer.load_backup import Loading

__all__ = ["NOTHING", "compared", "forget_earlier"]

log = get_logger(__name__)

NOTHING = LeftOut(rows={}, newest_ms=0)
SALT_BYTES = 32
PART_BYTES = 8
DIGEST_BYTES = 16
_ENTRY = PART_BYTES + DIGEST_BYTES


@asynccontextmanager
async def compared(loading: Loading, backup: Backup) -> AsyncIterator[LeftOut]:
    """Around the reading of a backup: what of it is not read. When all is read, what the next one is compared with
    stands in the archive."""
    if not isinstance(backup, Comparing):
        yield NOTHING
        return
    async with loading.database.transaction(loading.account.tenant_id) as tx:
        begun = await tx.fetchrow(Q.memory_of, loading.run.id)
        before = await tx.fetchrow(Q.last_memory, loading.account.id)
        moved = any(lane.rows_done for lane in await lanes_of(tx, loading.run.id))
    # A part can be a single short message, so its digest must not be one that anybody can guess.
    salt = before["salt"] if before else os.urandom(SALT_BYTES)
    under = _under(salt, loading.kept_out.known)
    if begun is not None:
        parts = _unpack_parts(begun["left_out"])
        backup.end_beside()
    elif moved or before is None:
        async with _remembered_beside(loading, backup, salt, under):
            yield NOTHING
        return
    else:
        digests = await loading.in_worker(backup.digests, under)
        backup.end_beside()
        known = _unpack(before["digests"])
        parts = sorted(part for part, digest in digests.items() if known.get(part) == digest)
        await _remember(loading, salt, digests, parts)
    yield await loading.in_worker(backup.leave_out, parts)


@asynccontextmanager
async def _remembered_beside(loading: Loading, backup: Comparing, salt: bytes, under: bytes) -> AsyncIterator[None]:
    """With nothing to compare with, what is to be remembered is found while the backup is read."""
    coming = asyncio.ensure_future(asyncio.to_thread(backup.digests_beside, under))
    try:
        yield
        try:
            digests = await coming
        except (BackupRefused, ReaderLost) as lost:
            # All is in the archive; the next backup is read whole.
            log.warning("backup_not_remembered", import_id=str(loading.run.id), reason=type(lost).__name__)
        else:
            await _remember(loading, salt, digests, [])
    finally:
        backup.end_beside()
        await asyncio.gather(coming, return_exceptions=True)


async def _remember(loading: Loading, salt: bytes, digests: Mapping[int, bytes], parts: Sequence[int]) -> None:
    async with loading.database.transaction(loading.account.tenant_id) as tx:
        await tx.execute(
            Q.remember, tx.tenant, loading.run.id, loading.account.id, salt, _pack(digests), _pack_parts(parts)
        )


def _under(salt: bytes, kept_out: Suppression) -> bytes:
    """Nothing is the same any more once somebody else is kept out of the archive, or let in again."""
    known = sorted((tag, until.isoformat()) for tag, until in kept_out.until.items())
    return blake2b(repr(known).encode(), key=salt, digest_size=SALT_BYTES).digest()


async def forget_earlier(tx: Transaction, account_id: UUID, import_id: UUID) -> None:
    """Once an import is complete, what earlier ones remembered is of no use."""
    await tx.execute(Q.forget_earlier, account_id, import_id)


def _pack(digests: Mapping[int, bytes]) -> bytes:
    return b"".join(part.to_bytes(PART_BYTES, "big") + digest for part, digest in digests.items())


def _unpack(packed: bytes) -> dict[int, bytes]:
    entries = (packed[at : at + _ENTRY] for at in range(0, len(packed), _ENTRY))
    return {int.from_bytes(entry[:PART_BYTES], "big"): entry[PART_BYTES:] for entry in entries}


def _pack_parts(parts: Sequence[int]) -> bytes:
    return b"".join(part.to_bytes(PART_BYTES, "big") for part in parts)


def _unpack_parts(packed: bytes) -> list[int]:
    return [int.from_bytes(packed[at : at + PART_BYTES], "big") for at in range(0, len(packed), PART_BYTES)]
