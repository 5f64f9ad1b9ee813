"""Who may come in over REST, and how much they may send."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from front_desk import access_store
from front_desk.credentials import public_id, same_secret, sha256
from front_desk.problems import ApiProblem, problem_response
from kit.postgres import Database

__all__ = ["Caller", "SecurityHeaders", "admin_guard", "caller_guard", "tenant_guard", "too_long"]

Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(HTTPBearer(auto_error=False, description="An API key of a tenant, or the admin token.")),
]
_REFUSED = "Send a valid key as 'Authorization: Bearer …'. A key that was revoked stays refused."


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who sent a request: of which tenant, and under which name it goes into a history."""

    tenant: UUID
    who: str


def caller_guard(database: Database) -> Callable[[Bearer], Awaitable[Caller]]:
    """A dependency: the tenant whose API key the request carries, and the key's label."""

    async def caller(bearer: Bearer) -> Caller:
        key_id = public_id(bearer.credentials) if bearer else None
        if bearer is None or key_id is None:
            raise ApiProblem(401, "unauthorized", _REFUSED)
        found = await access_store.find_api_key(database, key_id)
        if found is None or not same_secret(found.secret_sha256, sha256(bearer.credentials)) or not found.valid:
            raise ApiProblem(401, "unauthorized", _REFUSED)
        if found.stale:
            await access_store.touch_api_key(database, key_id)
        return Caller(tenant=found.tenant, who=f"key of {found.label}")

    return caller


def tenant_guard(database: Database) -> Callable[[Bearer], Awaitable[UUID]]:
    """A dependency: the tenant whose API key the request carries."""
    who = caller_guard(database)

    async def tenant(bearer: Bearer) -> UUID:
        return (await who(bearer)).tenant

    return tenant


def admin_guard(admin_token: str) -> Callable[[Bearer], Awaitable[None]]:
    """A dependency: lets the operator in. Without a configured token it lets nobody in."""

    async def admin(bearer: Bearer) -> None:
        if not admin_token:
            raise ApiProblem(403, "no-admin", "Set TRUNKLINE_ADMIN_TOKEN and restart to use the admin interface.")
        if bearer is None or not same_secret(bearer.credentials, admin_token):
            raise ApiProblem(401, "unauthorized", "Send the admin token as 'Authorization: Bearer …'.")

    return admin


def too_long(longest: int) -> Response:
    """What is answered to a body that is longer."""
    detail = f"The body is longer than {longest} bytes. Send less at a time, or import a file."
    return problem_response(413, "too-long", detail)


class SecurityHeaders:
    """What browsers are told on every answer: nothing from elsewhere, no frames, no guessing of types."""

    def __init__(self, app: ASGIApp, *, https_only: bool) -> None:
        self._app = app
        self._headers: list[tuple[bytes, bytes]] = [
            (
                b"content-security-policy",
                b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
                b"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            ),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
        ]
        if https_only:
            self._headers.append((b"strict-transport-security", b"max-age=31536000"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", []))
                if not any(name.lower() == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers + self._headers}
            await send(message)

        await self._app(scope, receive, with_headers)
