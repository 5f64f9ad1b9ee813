"""Tokens that an application signs for itself."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from telephony_router.application_token import NotAKey, application_token
from telephony_router.recording_source import authorization

NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
APPLICATION = "00000000-0000-4000-8000-000000000001"
KEY = rsa.generate_private_key(65537, 2048)


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, lock: KeySerializationEncryption | None = None) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock or NoEncryption()).decode()


def part(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_it_names_the_application_ends_soon_and_is_signed() -> None:
    head, claims, signature = application_token(APPLICATION, pem(KEY), NOW).split(".")
    assert json.loads(part(head)) == {"alg": "RS256", "typ": "JWT"}
    said = json.loads(part(claims))
    assert (said["application_id"], said["exp"] - said["iat"], said["iat"]) == (APPLICATION, 900, NOW.timestamp())
    KEY.public_key().verify(part(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), SHA256())
    with pytest.raises(InvalidSignature):
        KEY.public_key().verify(part(signature), f"{head}.{claims}x".encode(), padding.PKCS1v15(), SHA256())


@pytest.mark.parametrize(
    "key",
    ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", pem(ec.generate_private_key(ec.SECP256R1())),
     pem(KEY, BestAvailableEncryption(b"a password"))],
)  # fmt: skip
def test_what_is_no_key_is_refused_without_a_word_of_it(key: str) -> None:
    with pytest.raises(NotAKey, match=r"^the private key is not (PEM, or is locked with a password|an RSA key)$"):
        application_token(APPLICATION, key, NOW)


def test_a_credential_with_a_key_becomes_a_token_of_this_moment() -> None:
    given = authorization(f"{APPLICATION}:{pem(KEY)}", NOW)
    assert given.startswith("Bearer ")
    assert json.loads(part(given.split(".")[1]))["iat"] == NOW.timestamp()
    assert authorization("key:secret", NOW) == "Basic a2V5OnNlY3JldA=="
    assert (authorization("Bearer x", NOW), authorization("", NOW)) == ("Bearer x", "")
