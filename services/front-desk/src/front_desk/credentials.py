"""Secrets: keys of programs, passwords of people, tokens of sessions. Pure but for randomness."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Literal, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

__all__ = [
    "ROLES",
    "ApiKey",
    "Role",
    "hash_password",
    "is_stale_hash",
    "new_api_key",
    "new_token",
    "password_problem",
    "public_id",
    "same_secret",
    "sha256",
    "verify_password",
]

Role = Literal["owner", "desk", "ops", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
PASSWORD_MIN, PASSWORD_MAX = 10, 200
_KEY = re.compile(r"tlk_([a-z2-7]{12})_([A-Za-z0-9_-]{43})")
# OWASP's first choice for Argon2id with 19 MiB; one attempt costs about 20 ms of one core.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# Verified when there is no such user, so that a wrong address takes as long as a wrong password.
_NOBODY = _HASHER.hash(secrets.token_urlsafe(16))


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """A new key. ``text`` is shown once and never stored."""

    key_id: str
    text: str
    secret_sha256: bytes


def new_api_key() -> ApiKey:
    """``tlk_<public id>_<256 random bits>``."""
    key_id = base64.b32encode(secrets.token_bytes(8)).decode().lower().rstrip("=")[:12]
    text = f"tlk_{key_id}_{secrets.token_urlsafe(32)}"
    return ApiKey(key_id=key_id, text=text, secret_sha256=sha256(text))


def public_id(key: str) -> str | None:
    """The id to look a presented key up by; nothing when it is not spelt like a key."""
    match = _KEY.fullmatch(key)
    return match[1] if match else None


def new_token() -> str:
    """256 random bits, for a cookie or a form."""
    return secrets.token_urlsafe(32)


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def same_secret(one: str | bytes, other: str | bytes) -> bool:
    """Compare without telling by the time taken where they differ."""
    return hmac.compare_digest(*(each.encode() if isinstance(each, str) else each for each in (one, other)))


def password_problem(password: str) -> str | None:
    """Why this cannot be a password, as a sentence."""
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        return f"has {PASSWORD_MIN} to {PASSWORD_MAX} characters"
    return None


def hash_password(password: str) -> str:
    return _HASHER.hash(password)


def verify_password(password_hash: str | None, password: str) -> bool:
    """Whether the password is right. Without a hash (no such user) it takes as long and is wrong."""
    try:
        return _HASHER.verify(password_hash or _NOBODY, password) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False


def is_stale_hash(password_hash: str) -> bool:
    return _HASHER.check_needs_rehash(password_hash)
