"""One quick pass over a file before anything is done with it: what it is, and its hash for the record."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from vault_importer.refusals import BackupRefused

__all__ = ["MD5_BYTES", "READ_BYTES", "SQLITE_MAGIC", "Survey", "survey_file"]

MD5_BYTES = 16
READ_BYTES = 1024 * 1024
SQLITE_MAGIC = b"SQLite format 3\x00"


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    size: int
    sha256: bytes
    is_sqlite: bool
    ends_with_md5: bool
    """The last 16 bytes are the MD5 of all before them: a single-file backup that is whole."""


def survey_file(path: Path) -> Survey:
    """Hash a file in constant memory. Raises :class:`BackupRefused` for one that cannot be read."""
    sha256 = hashlib.sha256()
    md5 = hashlib.md5(usedforsecurity=False)
    size, held, is_sqlite = 0, b"", False
    try:
        with path.open("rb") as stream:
            while data := stream.read(READ_BYTES):
                if size == 0:
                    is_sqlite = data.startswith(SQLITE_MAGIC)
                size += len(data)
                sha256.update(data)
                if not is_sqlite:
                    data = held + data
                    md5.update(data[:-MD5_BYTES])
                    held = data[-MD5_BYTES:]
    except OSError as error:
        raise BackupRefused("unreadable", f"The file cannot be read: {error.strerror}.") from None
    return Survey(
        size=size, sha256=sha256.digest(), is_sqlite=is_sqlite, ends_with_md5=not is_sqlite and md5.digest() == held
    )
