"""Opens an encrypted backup of any container: AES-256-GCM over zlib, between a header and a trailer.

The file is read once, in constant memory. The plain text goes to a private file that gets its name only after
the authentication tag was verified; on any refusal nothing is left.

The tag (16) follows the body; behind it comes, unless the backup is one of several files, the MD5 (16) of everything
before. Whether the MD5 is there is decided by computing it.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from vault_importer.apart.backup import Allowance
from vault_importer.containers import identify
from vault_importer.containers.base import START_BYTES, TAG_BYTES, Container, Header
from vault_importer.refusals import BackupRefused
from vault_importer.survey import READ_BYTES, Survey

__all__ = ["Limits", "decrypt"]

INFLATE_BYTES = 1024 * 1024
#: Below this the ratio says nothing: a nearly empty database is mostly zeros.
RATIO_APPLIES_FROM_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How large a backup may become, and what reading it may take."""

    plain_bytes: int = 16 * 1024**3
    ratio: int = 250
    reading: Allowance = field(default_factory=Allowance)


def decrypt(
    source: Path, *, backup_key: bytes | None, survey: Survey, into: Path, limits: Limits
) -> tuple[Path, Header]:
    """Authenticate and decompress a file into ``<into>/plain``. Raises :class:`BackupRefused` and leaves nothing.

    ``survey`` is what was read of this file before; a file that has changed since is refused.
    """
    part, plain = into / "plain.part", into / "plain"
    with source.open("rb") as stream:
        container, header = identify(stream.read(START_BYTES))
        if backup_key is None:
            raise _no_key(container)
        file_key = container.file_key(header, backup_key)
        trailer = TAG_BYTES + (survey.after_tag if survey.after_tag in container.trailers else 0)
        if survey.size - header.body_at - trailer <= 0:
            raise BackupRefused("truncated", "The file is truncated: nothing follows its header.")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                body = _Body(container=container, header=header, file_key=file_key, trailer_bytes=trailer)
                _decrypt_body(stream, out, body=body, survey=survey, limits=limits)
            part.rename(plain)
        finally:
            part.unlink(missing_ok=True)
    return plain, header


@dataclass(frozen=True, kw_only=True, slots=True)
class _Body:
    container: Container
    header: Header
    file_key: bytes
    trailer_bytes: int


def _decrypt_body(stream: BinaryIO, out: BinaryIO, *, body: _Body, survey: Survey, limits: Limits) -> None:
    digest = hashlib.sha256()
    stream.seek(0)
    digest.update(stream.read(body.header.body_at))
    left = survey.size - body.header.body_at - body.trailer_bytes
    decryptor = Cipher(AES(body.file_key), GCM(body.header.iv, None, TAG_BYTES)).decryptor()
    inflater = _Inflater(limits)
    while left > 0:
        data = stream.read(min(READ_BYTES, left))
        if not data:
            break
        left -= len(data)
        digest.update(data)
        for piece in inflater.feed(decryptor.update(data)):
            out.write(piece)
    trailer = stream.read(body.trailer_bytes + 1)
    digest.update(trailer)
    if digest.digest() != survey.sha256:
        raise BackupRefused("changed_while_read", "The file changed while it was being read; send it again when whole.")
    try:
        decryptor.finalize_with_tag(trailer[:TAG_BYTES])
    except InvalidTag:
        raise _not_authentic(body.container, body.header, survey) from None
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


def _no_key(container: Container) -> BackupRefused:
    return BackupRefused(
        "bad_key",
        f"This is a {container.name} backup and the account has no key: give {container.key_hint} with --key-file, or"
        " store it with `trunkline vault account add --key-file`.",
    )


def _not_authentic(container: Container, header: Header, survey: Survey) -> BackupRefused:
    if container.names_its_key:
        sentence = (
            "Authentication failed although the key file is the one that the backup names: the file is truncated or"
            " was tampered with, or the key file is damaged; these cannot be told apart."
        )
    elif survey.ends_with_md5:
        sentence = (
            "Authentication failed although the file's own checksum is right: most likely the key belongs to another"
            " backup; a wrong key and tampering cannot be told apart."
        )
    else:
        sentence = (
            "Authentication failed: the file is truncated, was tampered with, or the key belongs to another backup;"
            " these cannot be told apart."
        )
    if header.protected_by:
        sentence += f" The backup says that it is protected by {header.protected_by}, not by a 64-digit key."
    return BackupRefused("not_authentic", sentence)
