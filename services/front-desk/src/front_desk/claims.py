"""Missed calls, asked of the telephone service over HTTP on behalf of one tenant.

The service owns them; the console shows what its events tell and passes on what people do. The tenant is in every
request, so another tenant's call is as good as none.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx

__all__ = ["ROUTER", "Claims", "NoSuchCall", "NotNow", "Refused", "Taken"]

ROUTER = "telephony-router"
TIMEOUT_SECONDS = 5.0
LOOK_SECONDS = 3.0


class Taken(Exception):
    """Somebody else has it, or was faster. ``item`` is how it stands."""

    def __init__(self, sentence: str, item: dict[str, Any]) -> None:
        super().__init__(sentence)
        self.item = item


class NoSuchCall(Exception):
    """There is none, or none of this tenant."""


class NotNow(Exception):
    """The service does not answer."""


class Refused(Exception):
    """The service does not take what was sent."""


class Claims:
    """The way to the service. A component as well: it closes its connections."""

    name = "claims"
    optional = True

    def __init__(self, url: str | None, *, admin_token: str) -> None:
        self._url = url
        self._token = admin_token
        self._client: httpx.AsyncClient | None = None

    async def start(self) -> None: ...

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def alive(self) -> str | None:
        return None

    def ready(self) -> str | None:
        return None

    def status(self) -> dict[str, object]:
        return {"router": self._url}

    async def answers(self, tenant: UUID) -> bool:
        """Whether the service can be asked just now."""
        try:
            await self._ask("GET", "?limit=1", tenant, timeout=LOOK_SECONDS)
        except (NotNow, Refused):
            return False
        return True

    async def do(self, tenant: UUID, call: str, what: str, **said: str | None) -> dict[str, Any]:
        """Claim, renew, release or resolve; how the call stands then. Raises what this module names."""
        return await self._ask("POST", f"/{quote(call, safe='')}/{what}", tenant, body=said)

    async def release_all(self, tenant: UUID, user: str, reason: str) -> None:
        """Give back all that one user has claimed."""
        await self._ask("POST", "/release", tenant, body={"user": user, "reason": reason})

    async def _ask(
        self, method: str, path: str, tenant: UUID, *, body: Any = None, timeout: float = TIMEOUT_SECONDS
    ) -> dict[str, Any]:
        if self._url is None:
            raise NotNow
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)
        headers = {"Authorization": f"Bearer {self._token}", "X-Tenant": str(tenant)}
        try:
            answer = await self._client.request(
                method, f"{self._url}/v1/missed{path}", json=body, headers=headers, timeout=timeout
            )
            said = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise NotNow from error
        if answer.is_success:
            return dict(said)
        if answer.status_code == 404:
            raise NoSuchCall
        if answer.status_code == 409:
            raise Taken(said["detail"], said["item"])
        if answer.status_code >= 500:
            raise NotNow
        raise Refused(f"the service refused it (HTTP {answer.status_code})")
