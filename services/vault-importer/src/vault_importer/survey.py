"""One quick pass over a file before anything is done with it: what it is, and its hash for the record."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from vault_importer.refusals import BackupRefused

__all__ = ["MD5_BYTES", "READ_BYTES", "SQLITE_MAGIC", "SUFFIX_BYTES", "Survey", "survey_file"]

MD5_BYTES = 16
#: Behind the MD5 of many crypt12 files: ``--`` and the last two digits of the phone's number.
SUFFIX_BYTES = 4
READ_BYTES = 1024 * 1024
SQLITE_MAGIC = b"SQLite format 3\x00"


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    size: int
    sha256: bytes
    is_sqlite: bool
    after_tag: int
    """How many bytes follow the tag: an MD5 of all before it, with or without a suffix, or nothing.

    Where there is an MD5, the file is a single-file backup that is whole.
    """

    @property
    def ends_with_md5(self) -> bool:
        return self.after_tag > 0


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
                    md5.update(data[: -MD5_BYTES - SUFFIX_BYTES])
                    held = data[-MD5_BYTES - SUFFIX_BYTES :]
    except OSError as error:
        raise BackupRefused("unreadable", f"The file cannot be read: {error.strerror}.") from None
    after_tag = 0 if is_sqlite else _after_tag(md5, held)
    return Survey(size=size, sha256=sha256.digest(), is_sqlite=is_sqlite, after_tag=after_tag)


def _after_tag(md5: hashlib._Hash, held: bytes) -> int:
    """``held`` is the end of a file, ``md5`` has taken what is before it."""
    if re.fullmatch(rb"--[0-9]{2}", held[MD5_BYTES:]) and md5.digest() == held[:MD5_BYTES]:
        return MD5_BYTES + SUFFIX_BYTES
    md5.update(held[:-MD5_BYTES])
    return MD5_BYTES if md5.digest() == held[-MD5_BYTES:] else 0
