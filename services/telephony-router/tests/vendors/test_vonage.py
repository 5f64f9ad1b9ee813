"""Vonage: a JWT over the hash of the body, and one number after the other."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from telephony_router.vendors import VENDORS
from telephony_router.vendors.base import Account, Forbidden, RawRequest, is_proven

VONAGE = VENDORS["vonage"]
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
SECRET = "signature-secret"
BODY = b'{"conversation_uuid":"CON-1","status":"ringing"}'
# Made with openssl, of these claims.
MADE_ELSEWHERE = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3NzI2MDU4MDAsImp0aSI6ImoxIiwiaXNzIjoiVm9uYWdlIiwicGF"
    "5bG9hZF9oYXNoIjoiOWMxZjRlM2NmY2QyMjlmZmU5NjFkODQ5ZDJhNzk2NWRhNWMyYmFiM2M0NDNmODI2YjU5YWViZmY1Mzc4NzN"
    "kOCIsImFwaV9rZXkiOiJhMWIyYzNkNCIsImFwcGxpY2F0aW9uX2lkIjoiYXBwLTEifQ.O6W0MXspUdsphIBY2iFPpuSo2m-w8RaK"
    "MdOM5Hei3bU"
)
CLAIMS: dict[str, Any] = {
    "iat": int(NOW.timestamp()),
    "jti": "j1",
    "iss": "Vonage",
    "payload_hash": hashlib.sha256(BODY).hexdigest(),
    "api_key": "a1b2c3d4",
    "application_id": "app-1",
}


def part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    given = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    message = f"{part(json.dumps({'alg': algorithm}).encode())}.{part(json.dumps(given).encode())}"
    return f"{message}.{part(hmac.new(secret.encode(), message.encode(), hashlib.sha256).digest())}"


def request(bearer: str, *, body: bytes = BODY, method: str = "POST") -> RawRequest:
    headers = {"authorization": f"Bearer {bearer}"}
    return RawRequest(method=method, url_path="/", query="", headers=headers, body=body, bases=("https://x",))


def check(raw: RawRequest, *secrets: str, **options: str) -> str:
    account = Account(
        id=UUID(int=1), tenant=UUID(int=2), vendor="vonage", auth_tokens=secrets or (SECRET,), options=options
    )
    return VONAGE.authenticate(raw, account, NOW)


def test_a_token_over_the_bodys_hash_is_a_proof() -> None:
    assert check(request(MADE_ELSEWHERE)) == "jwt"
    assert check(request(token())) == "jwt"
    assert check(request(token()), "new", SECRET) == "jwt"
    assert check(request(token()), api_key="a1b2c3d4", application_id="app-1") == "jwt"
    assert is_proven("jwt")


def test_what_a_get_says_is_not_in_its_token_and_so_not_confirmed() -> None:
    proof = check(request(token(payload_hash=None), body=b"", method="GET"))
    assert not is_proven(proof)


@pytest.mark.parametrize(
    "bearer",
    [
        "",
        "a.b.c",
        "é.é.é",
        "x" * 5000,
        token("wrong"),
        token(algorithm="none"),
        token(algorithm="HS512"),
        token()[:-4],
        f"{token().rpartition('.')[0]}.",
        token(iss="Nexmo"),
        token(iat=None),
        token(iat="now"),
        token(iat=True),
        token(iat=int(NOW.timestamp()) - 301),
        token(iat=int(NOW.timestamp()) + 301),
        token(exp=int(NOW.timestamp()) - 1),
        token(exp="never"),
        token(payload_hash=None),
        token(payload_hash=hashlib.sha256(b"other").hexdigest()),
    ],
)
def test_a_wrong_old_or_missing_token_is_refused(bearer: str) -> None:
    with pytest.raises(Forbidden):
        check(request(bearer))


def test_a_token_of_another_account_or_application_is_refused() -> None:
    for option in ("api_key", "application_id"):
        with pytest.raises(Forbidden, match=option):
            check(request(token()), **{option: "other"})


def test_a_token_without_its_signature_part_or_scheme_is_refused() -> None:
    with pytest.raises(Forbidden):
        check(replace(request(""), headers={"authorization": f"Basic {token()}"}))
    with pytest.raises(Forbidden):
        check(replace(request(""), headers={}))
