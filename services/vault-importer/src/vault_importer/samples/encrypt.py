"""Encrypts a database as the app does: zlib, AES-256-GCM, a header before and the tag and MD5 behind."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from vault_importer.backup_key import derive_file_key
from vault_importer.crypt15 import IV_BYTES
from vault_importer.protobuf import encode_field, encode_varint
from vault_importer.survey import READ_BYTES

__all__ = ["encrypt_crypt15"]

FLAG_FIELDS = range(5, 38)


def encrypt_crypt15(
    plain: Path,
    target: Path,
    *,
    root_key: bytes,
    iv: bytes | None = None,
    with_md5: bool = True,
    long_header: bool = True,
    compress: bool = True,
) -> None:
    """Write ``target``. ``iv`` is random unless given; one iv must never serve two contents under one key."""
    iv = iv or os.urandom(IV_BYTES)
    header = _header(iv, long=long_header)
    md5 = hashlib.md5(usedforsecurity=False)
    encryptor = Cipher(AES(derive_file_key(root_key)), GCM(iv)).encryptor()
    deflate = zlib.compressobj(1)
    with plain.open("rb") as source, target.open("wb") as out:

        def put(data: bytes) -> None:
            md5.update(data)
            out.write(data)

        put(encode_varint(len(header)) + header)
        while data := source.read(READ_BYTES):
            put(encryptor.update(deflate.compress(data) if compress else data))
        if compress:
            put(encryptor.update(deflate.flush()))
        put(encryptor.finalize() + encryptor.tag)
        if with_md5:
            out.write(md5.digest())


def _header(iv: bytes, *, long: bool) -> bytes:
    metadata = encode_field(1, b"2.25.1.1") + encode_field(3, b"00") + encode_field(4, 1)
    if long:
        # Message stores list the migrations that the app has gone through, which takes the header over 127 bytes.
        metadata += b"".join(encode_field(number, 1) for number in FLAG_FIELDS) + encode_field(38, b"0" * 24)
    return encode_field(3, encode_field(1, iv)) + encode_field(4, metadata) + encode_field(6, 3)
