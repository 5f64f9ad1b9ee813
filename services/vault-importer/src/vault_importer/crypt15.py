"""Opens ``.crypt15``: AES-256-GCM over zlib, behind a protobuf header.

The file is read once, in constant memory. The plain text goes to a private file that gets its name only after
the authentication tag was verified; on any refusal nothing is left.

Layout: varint length, header, body, tag (16), and, unless the backup is one of several files, the MD5 (16) of
everything before it. Whether the MD5 is there is decided by computing it.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from vault_importer import protobuf
from vault_importer.backup_key import derive_file_key
from vault_importer.refusals import BackupRefused
from vault_importer.survey import MD5_BYTES, READ_BYTES, Survey

__all__ = ["Header", "Limits", "decrypt", "read_header"]

IV_BYTES = 16
TAG_BYTES = 16
#: Real headers are 100 to 400 bytes; flags are added every year.
MAX_HEADER_BYTES = 64 * 1024
INFLATE_BYTES = 1024 * 1024
#: Below this the ratio says nothing: a nearly empty database is mostly zeros.
RATIO_APPLIES_FROM_BYTES = 16 * 1024 * 1024

CIPHER14_FIELD, CIPHER15_FIELD, METADATA_FIELD, LAST_FIELD = 2, 3, 4, 6
KEY_TYPE_FIELDS = (6, 1)
KEY_TYPES_WITHOUT_DIGITS = {2: "a password", 4: "a passkey"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How large a backup may become."""

    plain_bytes: int = 16 * 1024**3
    ratio: int = 250


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    iv: bytes
    app_version: str
    key_type: int | None
    body_at: int


def read_header(stream: BinaryIO) -> Header:
    """Read the header and leave the stream at the body. Raises :class:`BackupRefused`."""
    start = stream.read(protobuf.MAX_VARINT_BYTES)
    try:
        length, at = protobuf.read_varint(start, 0)
    except protobuf.Malformed:
        if len(start) < protobuf.MAX_VARINT_BYTES:
            raise BackupRefused("truncated", "The file is truncated: it ends before its header.") from None
        raise _not_crypt15() from None
    if not IV_BYTES < length <= MAX_HEADER_BYTES:
        raise _not_crypt15()
    stream.seek(at)
    raw = stream.read(length)
    if raw and not 1 <= raw[0] >> 3 <= LAST_FIELD:
        raise _not_crypt15()
    if len(raw) < length:
        raise BackupRefused("truncated", "The file is truncated: it ends inside its header.")
    try:
        return _parse_header(raw, at + length)
    except protobuf.Malformed:
        raise _not_crypt15() from None


def _parse_header(raw: bytes, body_at: int) -> Header:
    cipher = protobuf.first(raw, CIPHER15_FIELD)
    if not isinstance(cipher, bytes):
        if isinstance(protobuf.first(raw, CIPHER14_FIELD), bytes):
            raise BackupRefused(
                "not_crypt15",
                "This is a crypt14 backup, which is encrypted with the phone's own key file; switch on end-to-end"
                " encrypted backup with a 64-digit key in the app and send the crypt15 file that it makes.",
            )
        raise _not_crypt15()
    iv = protobuf.first(cipher, 1)
    if not isinstance(iv, bytes) or len(iv) != IV_BYTES:
        raise _not_crypt15()
    metadata = protobuf.first(raw, METADATA_FIELD)
    version = protobuf.first(metadata, 1) if isinstance(metadata, bytes) else None
    kinds = [kind for number in KEY_TYPE_FIELDS if isinstance(kind := protobuf.first(raw, number), int)]
    return Header(
        iv=iv,
        app_version=version[:32].decode("ascii", "replace") if isinstance(version, bytes) else "",
        key_type=kinds[0] if kinds else None,
        body_at=body_at,
    )


def decrypt(source: Path, *, root_key: bytes, survey: Survey, into: Path, limits: Limits) -> tuple[Path, Header]:
    """Authenticate and decompress a file into ``<into>/plain``. Raises :class:`BackupRefused` and leaves nothing.

    ``survey`` is what was read of this file before; a file that has changed since is refused.
    """
    part, plain = into / "plain.part", into / "plain"
    with source.open("rb") as stream:
        header = read_header(stream)
        trailer = TAG_BYTES + (MD5_BYTES if survey.ends_with_md5 else 0)
        body_bytes = survey.size - header.body_at - trailer
        if body_bytes <= 0:
            raise BackupRefused("truncated", "The file is truncated: nothing follows its header.")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                _decrypt_body(stream, out, header=header, root_key=root_key, survey=survey, limits=limits)
            part.rename(plain)
        finally:
            part.unlink(missing_ok=True)
    return plain, header


def _decrypt_body(
    stream: BinaryIO, out: BinaryIO, *, header: Header, root_key: bytes, survey: Survey, limits: Limits
) -> None:
    digest = hashlib.sha256()
    stream.seek(0)
    digest.update(stream.read(header.body_at))
    trailer_bytes = TAG_BYTES + (MD5_BYTES if survey.ends_with_md5 else 0)
    left = survey.size - header.body_at - trailer_bytes
    decryptor = Cipher(AES(derive_file_key(root_key)), GCM(header.iv, None, TAG_BYTES)).decryptor()
    inflater = _Inflater(limits)
    while left > 0:
        data = stream.read(min(READ_BYTES, left))
        if not data:
            break
        left -= len(data)
        digest.update(data)
        for piece in inflater.feed(decryptor.update(data)):
            out.write(piece)
    trailer = stream.read(trailer_bytes + 1)
    digest.update(trailer)
    if digest.digest() != survey.sha256:
        raise BackupRefused("changed_while_read", "The file changed while it was being read; send it again when whole.")
    try:
        decryptor.finalize_with_tag(trailer[:TAG_BYTES])
    except InvalidTag:
        raise _not_authentic(header, survey) from None
    inflater.finish()


class _Inflater:
    """zlib with bounds. Bad data is remembered, not raised: under a wrong key everything is bad data, and only
    the tag can tell."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._zlib = zlib.decompressobj()
        self._broken = False
        self._taken = 0
        self._given = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._taken += len(data)
        while data and not self._broken and not self._zlib.eof:
            try:
                piece = self._zlib.decompress(data, INFLATE_BYTES)
            except zlib.error:
                self._broken = True
                return
            data = self._zlib.unconsumed_tail
            self._given += len(piece)
            self._check_size()
            if piece:
                yield piece

    def _check_size(self) -> None:
        if self._given > self._limits.plain_bytes:
            raise BackupRefused(
                "bomb",
                f"The backup grows beyond the limit of {self._limits.plain_bytes} bytes when decompressed; raise"
                " max_plain_bytes if it is really that large.",
            )
        if self._given > RATIO_APPLIES_FROM_BYTES and self._given > self._taken * self._limits.ratio:
            raise BackupRefused(
                "bomb", f"The backup grows more than {self._limits.ratio}-fold when decompressed, as no real one does."
            )

    def finish(self) -> None:
        """To be called once the data is known to be authentic."""
        if self._broken or not self._zlib.eof:
            raise BackupRefused(
                "not_sqlite", "The key is right, but what the backup holds is not a compressed database."
            )


def _not_crypt15() -> BackupRefused:
    return BackupRefused("not_crypt15", "This is neither a crypt15 backup nor a WhatsApp database.")


def _not_authentic(header: Header, survey: Survey) -> BackupRefused:
    if survey.ends_with_md5:
        sentence = (
            "Authentication failed although the file's own checksum is right: most likely the key belongs to another"
            " backup; a wrong key and tampering cannot be told apart."
        )
    else:
        sentence = (
            "Authentication failed: the file is truncated, was tampered with, or the key belongs to another backup;"
            " these cannot be told apart."
        )
    without_digits = KEY_TYPES_WITHOUT_DIGITS.get(header.key_type or 0)
    if without_digits:
        sentence += f" The backup says that it is protected by {without_digits}, not by a 64-digit key."
    return BackupRefused("not_authentic", sentence)
