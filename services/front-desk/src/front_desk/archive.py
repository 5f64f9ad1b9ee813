"""The archive of messages, asked of the vault over HTTP on behalf of one tenant.

The tenant is in every request, so another tenant's message is as good as none. What people look for and read is never
logged.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from front_desk.other_services import OtherServices

__all__ = ["VAULT", "Archive", "Away", "KeptFile", "NotFound", "NotTaken"]

VAULT = "vault-importer"
#: What the vault says of a file to a browser; everything else is the console's to say.
FILE_HEADERS = (
    "accept-ranges", "cache-control", "content-disposition", "content-length", "content-range",
    "content-security-policy", "content-type", "etag", "last-modified",
)  # fmt: skip


class Away(Exception):
    """The vault does not answer."""


class NotFound(Exception):
    """There is no such chat or message, or none of this tenant."""


class NotTaken(Exception):
    """The vault does not take the question; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptFile:
    """A file on its way: whoever has it closes it."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]
    close: Callable[[], Awaitable[None]]


class Archive(OtherServices):
    """The way to the vault."""

    name = "archive"

    def __init__(self, url: str | None, *, admin_token: str) -> None:
        super().__init__(admin_token)
        self._url = url

    def status(self) -> dict[str, object]:
        return {"vault": self._url}

    async def accounts(self, tenant: UUID) -> list[dict[str, Any]]:
        """The numbers whose messages are in the archive."""
        return list((await self._ask("/v1/accounts", tenant, {}))["accounts"])

    async def search(self, tenant: UUID, asked: Mapping[str, Any]) -> dict[str, Any]:
        """A page of messages by their words. Raises what this module names, as the others do."""
        return await self._ask("/v1/search", tenant, asked)

    async def conversation(self, tenant: UUID, chat: UUID, asked: Mapping[str, str]) -> dict[str, Any]:
        """A page of one chat, the oldest first."""
        return await self._ask(f"/v1/chats/{chat}/messages", tenant, asked)

    async def media(self, tenant: UUID, message: UUID, method: str, wanted: Mapping[str, str]) -> KeptFile:
        """The kept file of a message, not read yet. ``wanted`` says which bytes; :class:`NotTaken` when there are no
        such."""
        if self._url is None:
            raise Away
        # Bytes as they lie there: a range of something that is packed on the way would be another.
        headers = {"X-Tenant": str(tenant), "Accept-Encoding": "identity", **wanted}
        try:
            answer = await self._request(method, f"{self._url}/v1/media/{message}", headers, stream=True)
        except httpx.HTTPError as error:
            raise Away from error
        if answer.status_code in (200, 206):
            told = {name: answer.headers[name] for name in FILE_HEADERS if name in answer.headers}
            return KeptFile(status=answer.status_code, headers=told, pieces=answer.aiter_raw(), close=answer.aclose)
        await answer.aclose()
        if answer.status_code in (404, 410):
            raise NotFound
        if answer.status_code in (400, 416):
            raise NotTaken("There are no such bytes.")
        raise Away

    async def conversations(
        self, tenant: UUID, customer: str, numbers: Sequence[str], before: str | None
    ) -> dict[str, Any]:
        """The chats of whoever is linked to a customer, or has its number and is linked to nobody else, the newest
        activity first."""
        asked = {"customer": customer, "number": list(numbers), **({"before": before} if before else {})}
        return await self._ask("/v1/conversations", tenant, asked)

    async def open_links(self, tenant: UUID, after: str | None) -> dict[str, Any]:
        """A page of contacts that wait for a person, with their candidates."""
        return await self._ask("/v1/links", tenant, {"limit": "30", **({"after": after} if after else {})})

    async def erasures(self, tenant: UUID) -> dict[str, Any]:
        """The newest requests to forget somebody, and how far each is."""
        return await self._ask("/v1/erasures", tenant, {})

    async def decide(self, tenant: UUID, contact: UUID, said: Mapping[str, Any]) -> dict[str, Any]:
        """Who a contact is, as somebody decided; how it stands then."""
        return await self._ask(f"/v1/contacts/{contact}/decisions", tenant, {}, said)

    async def give_role(self, tenant: UUID, chat: UUID, said: Mapping[str, Any]) -> dict[str, Any]:
        """What part a chat plays, as somebody decided."""
        return await self._ask(f"/v1/chats/{chat}/role", tenant, {}, said)

    async def _ask(
        self, path: str, tenant: UUID, params: Mapping[str, Any], said: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        if self._url is None:
            raise Away
        headers, method = {"X-Tenant": str(tenant)}, "GET" if said is None else "POST"
        try:
            answer = await self._request(method, self._url + path, headers, params=dict(params), json=said)
            said = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Away from error
        if answer.is_success:
            return dict(said)
        if answer.status_code == 404:
            raise NotFound
        detail = said.get("detail") if isinstance(said, dict) else None
        if answer.status_code == 400 or (answer.status_code == 503 and isinstance(detail, str)):
            raise NotTaken(detail if isinstance(detail, str) else "The archive does not take this.")
        if answer.status_code == 422:
            raise NotTaken("The archive does not take one of the filters.")
        raise Away
