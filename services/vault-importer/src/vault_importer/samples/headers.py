"""What each container begins with, written as the app writes it, and an invented key that opens it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from vault_importer.backup_key import JAVA_BYTE_ARRAY
from vault_importer.protobuf import encode_field, encode_varint

__all__ = ["WRITERS", "HeaderWriter", "phone_key"]

FLAG_FIELDS = range(5, 38)
KEY_VERSION = 1


def phone_key(seed: bytes) -> bytes:
    """The 131 bytes of an invented phone's file ``key``, the same for the same seed."""
    material = hashlib.shake_256(b"phone key" + seed).digest(80)
    salt = material[32:48]
    return (
        b"\x00\x01" + bytes([KEY_VERSION]) + material[:48] + hashlib.sha256(salt).digest() + bytes(16) + material[48:]
    )


def _root_key(seed: bytes) -> bytes:
    return hashlib.sha256(b"root key" + seed).digest()


def _digits(key: bytes) -> bytes:
    return key.hex().encode() + b"\n"


def _java(key: bytes) -> bytes:
    return JAVA_BYTE_ARRAY + len(key).to_bytes(4, "big") + key


def _crypt12(key: bytes, iv: bytes, *, long: bool) -> bytes:
    return key[:51] + iv


def _crypt14(key: bytes, iv: bytes, *, long: bool) -> bytes:
    cipher = (
        encode_field(1, b"\x00\x01")
        + encode_field(2, str(KEY_VERSION).encode())
        + encode_field(3, key[3:35])
        + encode_field(4, key[35:51])
        + encode_field(5, iv)
    )
    return _with_length(encode_field(1, 0) + encode_field(2, cipher) + encode_field(4, _metadata(long=long)))


def _crypt15(key: bytes, iv: bytes, *, long: bool) -> bytes:
    cipher = encode_field(3, encode_field(1, iv))
    return _with_length(cipher + encode_field(4, _metadata(long=long)) + encode_field(6, 3))


def _metadata(*, long: bool) -> bytes:
    metadata = encode_field(1, b"2.25.1.1") + encode_field(3, b"00") + encode_field(4, 1)
    if long:
        # Message stores list the migrations that the app has gone through, which takes the header over 255 bytes.
        metadata += b"".join(encode_field(number, 1) for number in FLAG_FIELDS) + encode_field(38, b"0" * 160)
    return metadata


def _with_length(header: bytes) -> bytes:
    return encode_varint(len(header)) + header


@dataclass(frozen=True, kw_only=True)
class HeaderWriter:
    header: Callable[..., bytes]
    """From key, iv and ``long``: everything before the body."""
    invent_key: Callable[[bytes], bytes]
    """From a seed."""
    key_file: Callable[[bytes], bytes]
    """What the key looks like when it is handed over."""
    key_file_name: str
    suffix: bytes = b""
    """What follows the MD5."""


WRITERS: dict[str, HeaderWriter] = {
    "crypt12": HeaderWriter(header=_crypt12, invent_key=phone_key, key_file=_java, key_file_name="key", suffix=b"--00"),
    "crypt14": HeaderWriter(header=_crypt14, invent_key=phone_key, key_file=_java, key_file_name="key"),
    "crypt15": HeaderWriter(header=_crypt15, invent_key=_root_key, key_file=_digits, key_file_name="backup.key"),
}
