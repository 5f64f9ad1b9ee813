"""Where recordings are kept: under the hash of their bytes, each tenant's apart.

The same bytes are stored once per tenant. What is there under a name is whole: it appears at once or not at all. Bytes
that are read are checked against their name before the last of them is given away.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID, uuid4

__all__ = ["BlobStore", "Corrupt", "FileBlobStore", "Stat", "StoreAway", "Verified", "blob_name"]

CHUNK_BYTES = 262_144
SHA256 = re.compile(r"[0-9a-f]{64}")
REMEMBERED = 4096


class Corrupt(Exception):
    """What the store holds, or was given, is not what its name says."""


class StoreAway(Exception):
    """The store cannot be used now: it is not there, full, or refuses us. Nothing is known about the blob."""


@dataclass(frozen=True, slots=True)
class Stat:
    size_bytes: int
    version: str
    """Changes whenever the bytes may have: what was checked of one version holds for it."""


class BlobStore(Protocol):
    """A place for blobs. All raise :class:`StoreAway` when it cannot be used."""

    async def put(self, tenant: UUID, sha256: str, source: Path) -> None:
        """Store a file under its hash; when it returns, the bytes survive a power cut. Twice is once.

        Raises :class:`Corrupt` when the file has another hash.
        """

    async def stat(self, tenant: UUID, sha256: str) -> Stat | None:
        """What is known without reading, or None when there is no such blob."""

    def read(self, tenant: UUID, sha256: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Some of its bytes, unchecked: read through :class:`Verified`. Raises :class:`Corrupt` when it is shorter."""

    async def remove(self, tenant: UUID, sha256: str) -> None:
        """Forget a blob. None to forget is as good."""

    async def close(self) -> None:
        """Nobody uses it any more."""


def blob_name(tenant: UUID, sha256: str) -> str:
    """The blob's place: tenant, two levels of folders, the hash."""
    if not SHA256.fullmatch(sha256):
        raise ValueError("a blob is named by 64 hexadecimal digits")
    return f"{tenant}/{sha256[:2]}/{sha256[2:4]}/{sha256}"


class Verified:
    """Reads of a store, checked. A version that was read whole and is right is not read again for a part of it."""

    def __init__(self, store: BlobStore) -> None:
        self.store = store
        self._known: OrderedDict[tuple[UUID, str, str], None] = OrderedDict()

    async def read(self, tenant: UUID, sha256: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Raises :class:`Corrupt` before the last chunk of a blob that is not what its name says, or is not there."""
        found = await self.store.stat(tenant, sha256)
        if found is None:
            raise Corrupt("there is no such blob")
        end = found.size_bytes if length is None else min(start + length, found.size_bytes)
        key = (tenant, sha256, found.version)
        if key not in self._known and (start, end) != (0, found.size_bytes):
            async for _ in self._whole(key, found.size_bytes):
                pass
        # Named, so that what was opened is closed by whoever stops in the middle.
        chunks = (
            self.store.read(tenant, sha256, start, end - start)
            if key in self._known
            else self._whole(key, found.size_bytes)
        )
        async with aclosing(chunks) as each:  # type: ignore[type-var]
            async for chunk in each:
                yield chunk

    async def _whole(self, key: tuple[UUID, str, str], size: int) -> AsyncIterator[bytes]:
        tenant, sha256, _ = key
        digest, held = hashlib.sha256(), b""
        async for chunk in self.store.read(tenant, sha256, 0, size):
            if held:
                yield held
            held = chunk
            digest.update(chunk)
        if digest.hexdigest() != sha256:
            raise Corrupt("the blob is not what its name says")
        self._known[key] = None
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        if held:
            yield held


class FileBlobStore:
    """A folder. Written beside its place, synced, then renamed into it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, tenant: UUID, sha256: str, source: Path) -> None:
        place = self._place(tenant, sha256)
        try:
            await asyncio.to_thread(self._put, place, sha256, source)
        except OSError as error:
            raise StoreAway(type(error).__name__) from error

    async def stat(self, tenant: UUID, sha256: str) -> Stat | None:
        try:
            found = await asyncio.to_thread(self._place(tenant, sha256).stat)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreAway(type(error).__name__) from error
        return Stat(found.st_size, f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}")

    async def read(self, tenant: UUID, sha256: str, start: int, length: int) -> AsyncIterator[bytes]:
        try:
            file = await asyncio.to_thread(self._place(tenant, sha256).open, "rb")
        except FileNotFoundError:
            raise Corrupt("the blob is gone") from None
        except OSError as error:
            raise StoreAway(type(error).__name__) from error
        with file:
            file.seek(start)
            while length:
                chunk = await asyncio.to_thread(file.read, min(length, CHUNK_BYTES))
                if not chunk:
                    raise Corrupt("the blob is shorter than it was")
                length -= len(chunk)
                yield chunk

    async def remove(self, tenant: UUID, sha256: str) -> None:
        try:
            await asyncio.to_thread(self._place(tenant, sha256).unlink, missing_ok=True)
        except OSError as error:
            raise StoreAway(type(error).__name__) from error

    async def close(self) -> None:
        return

    def _place(self, tenant: UUID, sha256: str) -> Path:
        return self._root / blob_name(tenant, sha256)

    def _put(self, place: Path, sha256: str, source: Path) -> None:
        if place.exists():
            with place.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                    return
        beside = self._root / ".incoming" / uuid4().hex
        beside.parent.mkdir(parents=True, exist_ok=True)
        try:
            _copy(source, beside, sha256)
            _make_folders(self._root, place.parent)
            beside.replace(place)
            _sync(place.parent)
        finally:
            with suppress(FileNotFoundError):
                beside.unlink()


def _copy(source: Path, target: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    # Only ours to read: what people said to each other is in it.
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with source.open("rb") as reader, os.fdopen(descriptor, "wb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            digest.update(chunk)
            writer.write(chunk)
        if digest.hexdigest() != sha256:
            raise Corrupt("the file has another hash than it was to be stored under")
        writer.flush()
        os.fsync(writer.fileno())


def _make_folders(root: Path, folder: Path) -> None:
    """A folder that a power cut does not take away: its entry in the one above is synced."""
    if folder == root or folder.is_dir():
        return
    _make_folders(root, folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
