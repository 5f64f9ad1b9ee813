"""Tokens that an application signs for itself: how Vonage lets its customers in (JWT, RFC 7519, signed with RS256).

https://developer.vonage.com/en/getting-started/concepts/authentication
"""

from __future__ import annotations

import base64
from datetime import datetime
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic_core import to_json

__all__ = ["NotAKey", "application_token"]

SECONDS = 15 * 60
"""It opens every recording of the application, and is shown to the vendor only."""


class NotAKey(ValueError):
    """What should be an application's private key is none. The message holds nothing of it."""


def application_token(application: str, key: str, now: datetime) -> str:
    """A token for one application, which lives a quarter of an hour. ``key`` is an RSA key as PEM, not locked.

    Raises :class:`NotAKey`.
    """
    try:
        private = load_pem_private_key(key.encode(), None)
    except (ValueError, TypeError) as error:
        raise NotAKey("the private key is not PEM, or is locked with a password") from error
    if not isinstance(private, RSAPrivateKey):
        raise NotAKey("the private key is not an RSA key")
    issued = int(now.timestamp())
    claims = {"application_id": application, "iat": issued, "exp": issued + SECONDS, "jti": str(uuid4())}
    signed = _part(to_json({"alg": "RS256", "typ": "JWT"})) + b"." + _part(to_json(claims))
    return (signed + b"." + _part(private.sign(signed, PKCS1v15(), SHA256()))).decode()


def _part(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")
