"""Missed calls, asked of the telephone service over HTTP on behalf of one tenant.

The service owns them; the console shows what its events tell and passes on what people do. The tenant is in every
request, so another tenant's call is as good as none.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx

from front_desk.other_services import TIMEOUT_SECONDS, OtherServices

__all__ = ["ROUTER", "Claims", "NoSuchCall", "NotNow", "Refused", "Taken"]

ROUTER = "telephony-router"
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


class Claims(OtherServices):
    """The way to the service."""

    name = "claims"

    def __init__(self, url: str | None, *, admin_token: str) -> None:
        super().__init__(admin_token)
        self._url = url

    def status(self) -> dict[str, object]:
        return {"router": self._url}

    async def telephones(self, tenant: UUID) -> list[dict[str, str]] | None:
        """Who can be rung to call somebody back; nobody where nothing can be dialled, None while it cannot be asked."""
        try:
            return list((await self._ask("GET", "/missed/telephones", tenant, timeout=LOOK_SECONDS))["people"])
        except (NotNow, Refused):
            return None

    async def do(self, tenant: UUID, call: str, what: str, **said: str | None) -> dict[str, Any]:
        """Claim, renew, release, call back or resolve; how the call stands then. Raises what this module names."""
        return await self._ask("POST", f"/missed/{quote(call, safe='')}/{what}", tenant, body=said)

    async def ordered(self, tenant: UUID, call: UUID) -> tuple[str, str]:
        """What became of a call that was ordered, and why: state and code, as the service names them."""
        order = (await self._ask("GET", f"/calls/{call}", tenant)).get("outbound")
        if order is None:
            raise NoSuchCall
        return order["state"], order["code"]

    async def release_all(self, tenant: UUID, user: str, reason: str) -> None:
        """Give back all that one user has claimed."""
        await self._ask("POST", "/missed/release", tenant, body={"user": user, "reason": reason})

    async def _ask(
        self, method: str, path: str, tenant: UUID, *, body: Any = None, timeout: float = TIMEOUT_SECONDS
    ) -> dict[str, Any]:
        if self._url is None:
            raise NotNow
        url = f"{self._url}/v1{path}"
        try:
            answer = await self._request(method, url, {"X-Tenant": str(tenant)}, json=body, timeout=timeout)
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
        detail = said.get("detail") if isinstance(said, dict) else None
        # A sentence is for people; a list of wrong fields is not.
        raise Refused(detail if isinstance(detail, str) else f"the service refused it (HTTP {answer.status_code})")
