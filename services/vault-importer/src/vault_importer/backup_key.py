"""The key of an end-to-end encrypted backup: how people hand it over, and what is derived from it.

Owners have a 64-digit hexadecimal key (shown once by the app, often typed in groups), 32 raw bytes, or the
phone's ``encrypted_backup.key``, which is a Java-serialised byte array of the same 32 bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from vault_importer.refusals import BackupRefused

__all__ = ["ROOT_KEY_BYTES", "derive_file_key", "parse_root_key"]

ROOT_KEY_BYTES = 32
#: ``byte[]`` as Java's ObjectOutputStream begins it; a big-endian u32 length and the bytes follow.
JAVA_BYTE_ARRAY = bytes.fromhex("aced0005757200025b42acf317f8060854e00200007870")
_SEPARATORS = re.compile(rb"[\s:\-]+")


def parse_root_key(raw: bytes) -> bytes:
    """The 32 bytes of the root key in any form it is handed over in. Raises :class:`BackupRefused`."""
    if len(raw) == ROOT_KEY_BYTES:
        return raw
    if raw.startswith(JAVA_BYTE_ARRAY):
        payload = raw[len(JAVA_BYTE_ARRAY) + 4 :]
        if len(payload) == ROOT_KEY_BYTES:
            return payload
        raise BackupRefused(
            "bad_key",
            "This key file belongs to the older crypt12 and crypt14 backups; a crypt15 backup needs its 64-digit key"
            " or encrypted_backup.key.",
        )
    digits = _SEPARATORS.sub(b"", raw)
    if re.fullmatch(rb"[0-9a-fA-F]{64}", digits):
        return bytes.fromhex(digits.decode())
    raise BackupRefused(
        "bad_key",
        "The key is not usable: give the 64 hexadecimal digits that the app showed when the encrypted backup was set"
        " up, 32 raw bytes, or the phone's encrypted_backup.key.",
    )


def derive_file_key(root_key: bytes) -> bytes:
    """HKDF-SHA256 with an empty salt and the info string of backups: the AES-256 key of every crypt15 file."""
    pseudo_random = hmac.digest(bytes(hashlib.sha256().digest_size), root_key, "sha256")
    return hmac.digest(pseudo_random, b"backup encryption\x01", "sha256")
