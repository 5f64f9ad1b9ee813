"""Who may come in over REST, and how much they may send."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from front_desk import access_store
from front_desk.credentials import public_id, same_secret, sha256
from front_desk.problems import ApiProblem, problem_response
from kit.postgres import Database

__all__ = ["BodyLimit", "SecurityHeaders", "admin_guard", "tenant_guard"]

Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(HTTPBearer(auto_error=False, description="An API key of a tenant, or the admin token.")),
]
_REFUSED = "Send a valid key as 'Authorization: Bearer …'. A key that was revoked stays refused."


def tenant_guard(database: Database) -> Callable[[Bearer], Awaitable[UUID]]:
    """A dependency: the tenant whose API key the request carries."""

    async def tenant(bearer: Bearer) -> UUID:
        key_id = public_id(bearer.credentials) if bearer else None
        if bearer is None or key_id is None:
            raise ApiProblem(401, "unauthorized", _REFUSED)
        found = await access_store.find_api_key(database, key_id)
        if found is None or not same_secret(found.secret_sha256, sha256(bearer.credentials)) or not found.valid:
            raise ApiProblem(401, "unauthorized", _REFUSED)
        if found.stale:
            await access_store.touch_api_key(database, key_id)
        return found.tenant

    return tenant


def admin_guard(admin_token: str) -> Callable[[Bearer], Awaitable[None]]:
    """A dependency: lets the operator in. Without a configured token it lets nobody in."""

    async def admin(bearer: Bearer) -> None:
        if not admin_token:
            raise ApiProblem(403, "no-admin", "Set TRUNKLINE_ADMIN_TOKEN and restart to use the admin interface.")
        if bearer is None or not same_secret(bearer.credentials, admin_token):
            raise ApiProblem(401, "unauthorized", "Send the admin token as 'Authorization: Bearer …'.")

    return admin


class BodyLimit:
    """Refuses longer bodies: at once when their length is declared, else when they have grown too long."""

    def __init__(self, app: ASGIApp, *, longest: int) -> None:
        self._app = app
        self._longest = longest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._longest:
            await self._refuse(scope, receive, send)
            return
        seen, begun, too_long = 0, False, False

        async def counted() -> Message:
            nonlocal seen, too_long
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._longest:
                too_long = True
                raise _TooLong
            return message

        async def watched(message: Message) -> None:
            nonlocal begun
            if too_long and not begun:
                return
            begun = True
            await send(message)

        with contextlib.suppress(_TooLong):
            await self._app(scope, counted, watched)
        if too_long and not begun:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"The body is longer than {self._longest} bytes. Send less at a time, or import a file."
        await problem_response(413, "too-long", detail)(scope, receive, send)


class _TooLong(Exception):
    pass


class SecurityHeaders:
    """What browsers are told on every answer: nothing from elsewhere, no frames, no guessing of types."""

    def __init__(self, app: ASGIApp, *, https_only: bool) -> None:
        self._app = app
        self._headers: list[tuple[bytes, bytes]] = [
            (
                b"content-security-policy",
                b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
                b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
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
