"""What every container offers: AES-256-GCM over zlib, with a header before and a trailer behind that differ.

Adding one is one file here, one line in the table, and its header in ``samples/headers.py`` for the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vault_importer.refusals import BackupRefused
from vault_importer.survey import MD5_BYTES

__all__ = ["IV_BYTES", "START_BYTES", "TAG_BYTES", "Container", "Header", "not_a_backup", "truncated_header"]

IV_BYTES = 16
TAG_BYTES = 16
#: Real headers are 67 to 400 bytes; flags are added every year.
MAX_HEADER_BYTES = 64 * 1024
#: So much of a file shows its whole header.
START_BYTES = MAX_HEADER_BYTES + 16
#: Behind the tag of a backup in one file is an MD5; parts of one in several files end with the tag.
USUAL_TRAILERS = frozenset({0, MD5_BYTES})


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a container says in clear. None of it is authenticated."""

    iv: bytes
    body_at: int
    app_version: str = ""
    server_salt: bytes = b""
    google_id_salt: bytes = b""
    protected_by: str = ""
    """What protects the backup in place of a key that can be handed over; empty when such a key does."""


class Container(Protocol):
    name: str
    """Also the ending of its files' names."""
    key_hint: str
    """What opens it, as the rest of "give ..."."""
    trailers: frozenset[int]
    """How many bytes may follow the tag."""
    names_its_key: bool
    """The header tells which key belongs to it, so that a wrong one is known before anything is decrypted."""

    def read_header(self, start: bytes) -> Header | None:
        """``None`` when the file is not of this kind. Raises :class:`BackupRefused` when it ends in its header."""
        ...

    def file_key(self, header: Header, backup_key: bytes) -> bytes:
        """The AES-256 key. Raises :class:`BackupRefused` for a key of another kind or of another backup."""
        ...


def not_a_backup() -> BackupRefused:
    return BackupRefused(
        "not_a_backup", "This is neither a crypt12, crypt14 or crypt15 backup nor a WhatsApp database."
    )


def truncated_header(where: str) -> BackupRefused:
    return BackupRefused("truncated", f"The file is truncated: it ends {where} its header.")
