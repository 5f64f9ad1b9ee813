"""Opens a ZIP that a stranger made: what it claims to hold is bounded before any of it is unpacked."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from vault_importer.refusals import BackupRefused

__all__ = ["ZipSource", "is_zip"]

MAGIC = b"PK\x03\x04"
MAX_ENTRIES = 20_000
MAX_PLAIN_BYTES = 1024**3
#: A table that is read as a whole.
MAX_TABLE_BYTES = 64 * 1024 * 1024
MAX_RATIO = 250
RATIO_APPLIES_FROM_BYTES = 16 * 1024 * 1024
UNPACKABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 1


def is_zip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


class ZipSource:
    """The entries that are wanted. ``unpacked`` says which of them will be read, so that others may be of any size."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            raise BackupRefused("not_a_backup", "The file begins as a ZIP but is damaged or cut off.") from None
        self._bytes = path.stat().st_size
        self.names: Sequence[str] = self._zip.namelist()

    def check(self, names: Sequence[str]) -> None:
        """That these entries can be unpacked within bounds. Raises :class:`BackupRefused`."""
        if len(self.names) > MAX_ENTRIES:
            raise BackupRefused("bomb", f"The ZIP has more than {MAX_ENTRIES} entries, as no backup or export does.")
        entries = [self._zip.getinfo(name) for name in names]
        if any(each.flag_bits & ENCRYPTED or each.compress_type not in UNPACKABLE for each in entries):
            raise BackupRefused(
                "not_a_backup", "The ZIP is encrypted or packed in an unusual way; unpack it and repack."
            )
        # Entries can lie over one another, so their sum is held against the whole file.
        plain = sum(each.file_size for each in entries)
        if plain > MAX_PLAIN_BYTES or (plain > RATIO_APPLIES_FROM_BYTES and plain > self._bytes * MAX_RATIO):
            raise BackupRefused("bomb", f"The ZIP grows to {plain} bytes when unpacked, as no backup or export does.")

    def open(self, name: str) -> IO[bytes]:
        """One entry, checked before; it gives no more bytes than it claims to have."""
        try:
            return self._zip.open(name)
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            raise damaged() from None

    def read(self, name: str) -> bytes:
        if self._zip.getinfo(name).file_size > MAX_TABLE_BYTES:
            raise BackupRefused("bomb", f"A table in the ZIP has more than {MAX_TABLE_BYTES} bytes.")
        try:
            with self.open(name) as stream:
                return stream.read()
        except (zipfile.BadZipFile, zlib.error, EOFError):
            raise damaged() from None

    def close(self) -> None:
        self._zip.close()


def damaged() -> BackupRefused:
    return BackupRefused("not_a_backup", "An entry of the ZIP is damaged.")
