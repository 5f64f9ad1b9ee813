"""The key of a backup: how people hand it over, and what is derived from it.

There are two kinds. Owners of an end-to-end encrypted backup (crypt15) have a 64-digit hexadecimal key (shown once
by the app, often typed in groups), 32 raw bytes, or the phone's ``encrypted_backup.key``, which is a Java-serialised
byte array of the same 32 bytes. The older crypt12 and crypt14 need the phone's file ``key``, 158 bytes, which is a
Java-serialised byte array of 131. A key is kept as those 32 or 131 bytes; the length tells the kind.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from vault_importer.refusals import BackupRefused

__all__ = ["JAVA_BYTE_ARRAY", "ROOT_KEY_BYTES", "parse_backup_key", "phone_file_key", "root_file_key"]

ROOT_KEY_BYTES = 32
PHONE_KEY_BYTES = 131
#: ``byte[]`` as Java's ObjectOutputStream begins it; a big-endian u32 length and the bytes follow.
JAVA_BYTE_ARRAY = bytes.fromhex("aced0005757200025b42acf317f8060854e00200007870")
_SEPARATORS = re.compile(rb"[\s:\-]+")
# Of the phone's key: version 2 + 1, server salt 32, account salt 16, its SHA-256 32, an empty iv 16, AES key 32.
_SERVER_SALT, _GOOGLE_SALT, _GOOGLE_HASH, _AES_KEY = slice(3, 35), slice(35, 51), slice(51, 83), slice(99, 131)


def parse_backup_key(raw: bytes) -> bytes:
    """The key's 32 or 131 bytes in any form it is handed over in. Raises :class:`BackupRefused`."""
    if len(raw) == ROOT_KEY_BYTES:
        return raw
    if raw.startswith(JAVA_BYTE_ARRAY):
        return _java_payload(raw[len(JAVA_BYTE_ARRAY) :])
    digits = _SEPARATORS.sub(b"", raw)
    if re.fullmatch(rb"[0-9a-fA-F]{64}", digits):
        return bytes.fromhex(digits.decode())
    raise BackupRefused(
        "bad_key",
        "The key is not usable: for a crypt15 backup give the 64 hexadecimal digits that the app showed when the"
        " encrypted backup was set up, 32 raw bytes, or the phone's encrypted_backup.key; for crypt12 and crypt14 the"
        " phone's file `key` (158 bytes).",
    )


def _java_payload(rest: bytes) -> bytes:
    length, payload = int.from_bytes(rest[:4], "big"), rest[4:]
    if len(rest) < 4 or len(payload) != length:
        raise BackupRefused("bad_key", "The key file is damaged: it is not as long as it says; copy it again.")
    if length == ROOT_KEY_BYTES:
        return payload
    if length != PHONE_KEY_BYTES:
        raise BackupRefused(
            "bad_key",
            f"The key file holds {length} bytes; encrypted_backup.key holds {ROOT_KEY_BYTES} and the phone's file"
            f" `key` {PHONE_KEY_BYTES}.",
        )
    if hashlib.sha256(payload[_GOOGLE_SALT]).digest() != payload[_GOOGLE_HASH]:
        raise BackupRefused("bad_key", "The key file is damaged: its own checksum does not fit; copy it again.")
    return payload


def root_file_key(backup_key: bytes) -> bytes:
    """The AES-256 key of a crypt15 file: HKDF-SHA256, empty salt, the info string of backups."""
    if len(backup_key) != ROOT_KEY_BYTES:
        raise BackupRefused(
            "bad_key",
            "This is a crypt15 backup and the key file is the one for crypt12 and crypt14; give its 64-digit key or"
            " encrypted_backup.key.",
        )
    pseudo_random = hmac.digest(bytes(hashlib.sha256().digest_size), backup_key, "sha256")
    return hmac.digest(pseudo_random, b"backup encryption\x01", "sha256")


def phone_file_key(backup_key: bytes, *, container: str, server_salt: bytes, google_id_salt: bytes) -> bytes:
    """The AES-256 key of a crypt12 or crypt14 file, once its header is found to name this key."""
    if len(backup_key) != PHONE_KEY_BYTES:
        raise BackupRefused(
            "bad_key",
            f"This is a {container} backup, which a 64-digit key does not open: give the file `key` (158 bytes) of the"
            " phone that made it, or switch on end-to-end encrypted backup with a 64-digit key in the app and send"
            " the crypt15 file that it makes.",
        )
    if (server_salt, google_id_salt) != (backup_key[_SERVER_SALT], backup_key[_GOOGLE_SALT]):
        raise BackupRefused(
            "wrong_key",
            f"The {container} backup names another key than this key file: give the file `key` of the phone and the"
            " time that it was made with. If this is that file, the backup's header is damaged.",
        )
    return backup_key[_AES_KEY]
