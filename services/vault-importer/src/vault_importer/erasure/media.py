"""Files of the media store that nobody refers to: taken off the disk while nobody links any."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from kit.postgres import Database
from vault_importer.erasure import store, suppression_store
from vault_importer.media_files import path_of

__all__ = ["remove_stray", "remove_unreferenced"]

#: Nobody is at work any more on what was begun so long ago.
STALE_SECONDS = 60 * 60
HASH = re.compile(r"[0-9a-f]{64}")


async def remove_unreferenced(database: Database, tenant: UUID, media_store: Path, digests: Sequence[bytes]) -> None:
    """Remove those of some contents to which no message refers. Whoever links a file looks, in the transaction that
    does so, whether it is still there."""
    async with database.transaction(tenant) as tx:
        await suppression_store.keep_out(tx)
        referred = await store.media_referred(tx, digests)
        gone = [path_of(media_store, tenant, each) for each in digests if each not in referred]
        await asyncio.to_thread(_unlink, gone)
        await store.media_gone(tx, digests)


async def remove_stray(database: Database, tenant: UUID, media_store: Path) -> None:
    """Remove what an import that was killed has left in the store: nobody knows whose it is."""
    for folder in await asyncio.to_thread(_folders, media_store / str(tenant)):
        digests = await asyncio.to_thread(_digests, folder)
        async with database.transaction(tenant) as tx:
            referred = await store.media_referred(tx, digests)
        if stray := [each for each in digests if each not in referred]:
            await remove_unreferenced(database, tenant, media_store, stray)


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _folders(folder: Path) -> list[Path]:
    """A tenant's part of the store, by the first letters of hashes; halves of copies are removed on the way."""
    if not folder.is_dir():
        return []
    _unlink(_stale(folder, time.time() - STALE_SECONDS))
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _stale(folder: Path, before: float) -> Iterator[Path]:
    for path in folder.glob(".*.part"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                yield path


def _digests(folder: Path) -> list[bytes]:
    return [bytes.fromhex(path.name) for path in sorted(folder.iterdir()) if HASH.fullmatch(path.name)]
