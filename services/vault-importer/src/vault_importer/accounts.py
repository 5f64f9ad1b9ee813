"""Accounts: one WhatsApp number whose backups arrive here, and the sealing of its backup key.

The key is stored sealed under a key of the service (AES-256-GCM, bound to tenant and account): a database dump
alone opens no backup.
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass
from uuid import UUID

from vault_importer.backup_key import ROOT_KEY_BYTES

__all__ = ["Account", "SealingError", "open_key", "parse_sealing_key", "seal_key"]

VERSION = b"\x01"
NONCE_BYTES = 12


class SealingError(Exception):
    """A stored key cannot be sealed or opened; the message says what to set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    tenant_id: UUID
    id: UUID
    name: str
    number: str | None
    sealed_key: bytes | None


def parse_sealing_key(text: str) -> bytes:
    """The service's own key from its setting. Raises :class:`SealingError`."""
    if not text:
        raise SealingError(
            "Storing a backup key needs TRUNKLINE_VAULT_IMPORTER_KEY_ENCRYPTION_KEY: 32 random bytes in base64, for"
            " instance from `openssl rand -base64 32`."
        )
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != ROOT_KEY_BYTES:
        raise SealingError("TRUNKLINE_VAULT_IMPORTER_KEY_ENCRYPTION_KEY must be exactly 32 bytes in base64.")
    return key


def seal_key(backup_key: bytes, *, sealing_key: bytes, tenant_id: UUID, account_id: UUID) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    return VERSION + nonce + AESGCM(sealing_key).encrypt(nonce, backup_key, tenant_id.bytes + account_id.bytes)


def open_key(sealed: bytes, *, sealing_key: bytes, tenant_id: UUID, account_id: UUID) -> bytes:
    """The backup key of an account. Raises :class:`SealingError` under another sealing key or for another account."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    try:
        return AESGCM(sealing_key).decrypt(nonce, body, tenant_id.bytes + account_id.bytes)
    except (InvalidTag, ValueError):
        raise SealingError(
            "The stored backup key does not open with this TRUNKLINE_VAULT_IMPORTER_KEY_ENCRYPTION_KEY; set the one it"
            " was sealed with, or store the key again with `trunkline vault account add`."
        ) from None
