"""Dead letters of every service, asked for over HTTP on behalf of one tenant.

The services hold them and do the work; this is how the console speaks to them. The tenant is in every request, so
another tenant's letter is as good as none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx

from front_desk.other_services import OtherServices

__all__ = ["CannotDo", "Found", "Letters", "NoSuchLetter", "Silent"]

PREFIX = "/v1/dead-letters"
PAGE = 50


class CannotDo(Exception):
    """The service refused; the message says why and what to do instead."""


class NoSuchLetter(Exception):
    """There is none, or none of this tenant."""


class Silent(Exception):
    """The service does not answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What the services said, and which of them said nothing."""

    items: list[dict[str, Any]]
    silent: list[str]


class Letters(OtherServices):
    """The services' dead letters."""

    name = "dead letters"

    def __init__(self, urls: Mapping[str, str], *, admin_token: str) -> None:
        super().__init__(admin_token)
        self._urls = dict(urls)

    def status(self) -> dict[str, object]:
        return {"services": len(self._urls)}

    async def groups(self, tenant: UUID) -> Found:
        """What failed for one reason at one place, of every service, the latest first."""
        found = await self._of_all("groups", tenant=str(tenant))
        found.items.sort(key=lambda group: group["last_failed_at"], reverse=True)
        return found

    async def jobs(self, tenant: UUID) -> Found:
        """The bulk actions on this tenant's letters, of every service, the latest first."""
        found = await self._of_all("jobs", tenant=str(tenant))
        return Found(items=sorted(found.items, key=lambda job: job["id"], reverse=True), silent=found.silent)

    async def page(
        self, service: str, tenant: UUID, *, consumer: str, fingerprint: str, after: str
    ) -> list[dict[str, Any]]:
        """Up to 51 letters of one group, in the order in which they were parked: one more than a page shows."""
        params = {"tenant": str(tenant), "consumer": consumer, "fingerprint": fingerprint, "limit": str(PAGE + 1)}
        answer = await self._ask(service, "GET", "/letters", params={**params, "after": after})
        letters: list[dict[str, Any]] = answer["letters"]
        return letters

    async def one(self, service: str, tenant: UUID, id_: str, *, reveal_to: str | None = None) -> dict[str, Any]:
        """One letter with its history; what it says only when somebody is named, who is then audited."""
        params = {"tenant": str(tenant), **({"reveal": "true"} if reveal_to else {})}
        answer: dict[str, Any] = await self._ask(service, "GET", f"/letters/{id_}", params=params, who=reveal_to or "")
        return answer

    async def do(
        self, service: str, method: str, path: str, *, who: str, body: Any = None, tenant: UUID | None = None
    ) -> dict[str, Any]:
        """Change something, as ``who``. ``tenant`` where the body does not name it."""
        params = {"tenant": str(tenant)} if tenant else {}
        answer: dict[str, Any] = await self._ask(service, method, path, params=params, body=body, who=who)
        return answer

    async def _of_all(self, what: str, **params: str) -> Found:
        names = list(self._urls)
        answers = await asyncio.gather(
            *(self._ask(name, "GET", f"/{what}", params=params) for name in names), return_exceptions=True
        )
        items: list[dict[str, Any]] = []
        silent: list[str] = []
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, Silent | CannotDo):
                silent.append(name)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                items.extend({**each, "service": name} for each in answer[what])
        return Found(items=items, silent=silent)

    async def _ask(
        self, service: str, method: str, path: str, *, params: Mapping[str, str], body: Any = None, who: str = ""
    ) -> Any:
        if service not in self._urls:
            raise NoSuchLetter
        url = self._urls[service] + PREFIX + path
        try:
            answer = await self._request(method, url, {"X-Operator": quote(who)}, params=params, json=body)
        except httpx.HTTPError as error:
            raise Silent(service) from error
        if answer.is_success:
            return answer.json()
        if answer.status_code == 404:
            raise NoSuchLetter
        if answer.status_code >= 500:
            raise Silent(service)
        raise CannotDo(_detail(answer))


def _detail(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"The service refused it (HTTP {answer.status_code})."
    return detail if isinstance(detail, str) else "; ".join(str(each.get("msg", each)) for each in detail)
