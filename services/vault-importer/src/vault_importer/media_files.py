"""Media files on disk: read from a phone's folder that a stranger filled, kept under the hash of what they hold.

Nothing outside the phone's folder is ever read, whatever a path says and whatever links lie in the folder; nothing is
kept under a name that came from outside.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal
from uuid import UUID, uuid4

__all__ = ["PREFIX", "KeptFile", "MediaFolders", "MediaReason", "keep_file", "path_of"]

MediaReason = Literal["bad_path", "missing", "not_a_file", "too_large", "unreadable"]

READ_BYTES = 1024 * 1024
#: How Android's paths begin: what is below it, is in the folder that is given.
PREFIX = "Media"


@dataclass(frozen=True, kw_only=True)
class MediaFolders:
    """Where an import's media are, and where they are kept."""

    phone: Path
    """The phone's ``Media`` folder, or the one it lies in."""
    store: Path
    largest_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptFile:
    sha256: bytes
    size: int


def path_of(store: Path, tenant: UUID, sha256: bytes) -> Path:
    """Where a tenant's content lies, when it is there."""
    name = sha256.hex()
    return store / str(tenant) / name[:2] / name


def keep_file(folders: MediaFolders, tenant: UUID, file_path: str) -> KeptFile | MediaReason:
    """Copy a file into the store as a stream, unless the same content is there; it appears whole or not at all."""
    parts = _parts(file_path)
    if parts is None:
        return "bad_path"
    try:
        with _opened(folders.phone, parts) as source:
            found = os.fstat(source.fileno())
            if not stat.S_ISREG(found.st_mode):
                return "not_a_file"
            if found.st_size > folders.largest_bytes:
                return "too_large"
            return _copy(source, folders, tenant)
    except _Unreadable as unreadable:
        return unreadable.reason


def _parts(file_path: str) -> list[str] | None:
    """The names of folders and file below the media folder; none for a path that may lead anywhere else."""
    parts = file_path.split("/")
    if parts[0] == PREFIX:
        parts = parts[1:]
    if not parts or "\\" in file_path or "\x00" in file_path or any(part in ("", ".", "..") for part in parts):
        return None
    return parts


class _Unreadable(Exception):
    def __init__(self, error: OSError) -> None:
        super().__init__(type(error).__name__)
        # Else a link where a folder or a file is expected, a folder in the place of a file, or no permission.
        absent = isinstance(error, FileNotFoundError | NotADirectoryError)
        self.reason: MediaReason = "missing" if absent else "unreadable"


@contextmanager
def _opened(folder: Path, parts: list[str]) -> Iterator[IO[bytes]]:
    """A file below a folder. Raises :class:`_Unreadable`."""
    try:
        found = _open_below(folder, parts)
    except OSError as error:
        raise _Unreadable(error) from None
    with os.fdopen(found, "rb") as stream:
        yield stream


def _open_below(folder: Path, parts: list[str]) -> int:
    """Reached name by name and through no link. Does not wait where a pipe stands."""
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # The folder that is given is the media folder, or the one it lies in.
        with suppress(FileNotFoundError):
            at = _into(at, PREFIX)
        for name in parts[:-1]:
            at = _into(at, name)
        found = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)
    if stat.S_ISDIR(os.fstat(found).st_mode):
        os.close(found)
        raise IsADirectoryError
    return found


def _into(folder: int, name: str) -> int:
    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    os.close(folder)
    return inner


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    try:
        while data := source.read(READ_BYTES):
            yield data
    except OSError as error:
        raise _Unreadable(error) from None


def _copy(source: IO[bytes], folders: MediaFolders, tenant: UUID) -> KeptFile | MediaReason:
    (folders.store / str(tenant)).mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = folders.store / str(tenant) / f".{uuid4().hex}.part"
    digest, size = hashlib.sha256(), 0
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
            for data in _chunks(source):
                size += len(data)
                # It may grow while it is read.
                if size > folders.largest_bytes:
                    return "too_large"
                digest.update(data)
                target.write(data)
            target.flush()
            os.fsync(target.fileno())
        final = path_of(folders.store, tenant, digest.digest())
        final.parent.mkdir(mode=0o700, exist_ok=True)
        if not final.exists():
            partial.replace(final)
        return KeptFile(sha256=digest.digest(), size=size)
    finally:
        partial.unlink(missing_ok=True)
