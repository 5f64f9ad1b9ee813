"""Encrypts a database as the app does: zlib, AES-256-GCM, a header before and the tag and MD5 behind."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from vault_importer.containers import identify
from vault_importer.containers.base import IV_BYTES
from vault_importer.samples.headers import WRITERS
from vault_importer.survey import READ_BYTES

__all__ = ["encrypt"]


def encrypt(
    plain: Path,
    target: Path,
    *,
    backup_key: bytes,
    container: str = "crypt15",
    iv: bytes | None = None,
    with_md5: bool = True,
    long_header: bool = True,
    compress: bool = True,
) -> None:
    """Write ``target``. ``iv`` is random unless given; one iv must never serve two contents under one key."""
    iv = iv or os.urandom(IV_BYTES)
    writer = WRITERS[container]
    start = writer.header(backup_key, iv, long=long_header)
    reader, header = identify(start)
    md5 = hashlib.md5(usedforsecurity=False)
    encryptor = Cipher(AES(reader.file_key(header, backup_key)), GCM(iv)).encryptor()
    deflate = zlib.compressobj(1)
    with plain.open("rb") as source, target.open("wb") as out:

        def put(data: bytes) -> None:
            md5.update(data)
            out.write(data)

        put(start)
        while data := source.read(READ_BYTES):
            put(encryptor.update(deflate.compress(data) if compress else data))
        if compress:
            put(encryptor.update(deflate.flush()))
        put(encryptor.finalize() + encryptor.tag)
        if with_md5:
            out.write(md5.digest() + writer.suffix)
