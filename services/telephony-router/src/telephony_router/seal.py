"""Vendors' auth tokens at rest: AES-256-GCM, each bound to the account it belongs to."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["Seal", "SealBroken", "hash_of_secret"]

NONCE_BYTES = 12
KEY_BYTES = 32


class SealBroken(Exception):
    """A sealed value was made with another key, for another account, or has been altered."""


class Seal:
    """``key`` is base64 of at least 32 bytes."""

    def __init__(self, key: str) -> None:
        try:
            material = base64.b64decode(key, validate=True)
        except binascii.Error:
            raise ValueError("secret_key is not base64; make one with: openssl rand -base64 32") from None
        if len(material) < KEY_BYTES:
            raise ValueError("secret_key has fewer than 32 bytes; make one with: openssl rand -base64 32")
        self._cipher = AESGCM(hashlib.sha256(b"telephony-router accounts\x00" + material).digest())

    def close(self, account: UUID, token: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, token.encode(), account.bytes)

    def open(self, account: UUID, sealed: bytes) -> str:
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], account.bytes).decode()
        except (InvalidTag, ValueError):
            raise SealBroken("an auth token cannot be opened: is this the secret_key it was sealed with?") from None


def hash_of_secret(secret: str) -> bytes:
    """What is stored of a path's secret. The secret has 256 random bits, so a plain hash cannot be searched."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
