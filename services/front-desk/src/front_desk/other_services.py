"""The way to the other services' admin APIs: one client, with the operators' token, for as long as it is needed."""

from __future__ import annotations

from typing import Any

import httpx

__all__ = ["TIMEOUT_SECONDS", "OtherServices"]

TIMEOUT_SECONDS = 5.0


class OtherServices:
    """A component as well: it closes its connections. Nothing is asked before somebody wants to know."""

    optional = True

    def __init__(self, admin_token: str) -> None:
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

    async def _request(
        self, method: str, url: str, headers: dict[str, str], *, stream: bool = False, **given: Any
    ) -> httpx.Response:
        """Raises :class:`httpx.HTTPError` when the service does not answer. What is streamed is read and closed by the
        caller."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)
        proof = {"Authorization": f"Bearer {self._token}"}
        request = self._client.build_request(method, url, headers={**proof, **headers}, **given)
        return await self._client.send(request, stream=stream)
