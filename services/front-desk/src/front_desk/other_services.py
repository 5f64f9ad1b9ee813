"""The way to the other services' admin APIs, with the operators' token: a client for answers and one for what streams,
for as long as they are needed."""

from __future__ import annotations

from typing import Any

import httpx

__all__ = ["MAX_STREAMS", "TIMEOUT_SECONDS", "OtherServices"]

TIMEOUT_SECONDS = 5.0
MAX_STREAMS = 50
"""A film that is paused keeps its connection."""


class OtherServices:
    """A component as well: it closes its connections. Nothing is asked before somebody wants to know."""

    optional = True

    def __init__(self, admin_token: str) -> None:
        self._token = admin_token
        self._client: httpx.AsyncClient | None = None
        self._streaming: httpx.AsyncClient | None = None

    async def start(self) -> None: ...

    async def stop(self) -> None:
        clients, self._client, self._streaming = (self._client, self._streaming), None, None
        for client in clients:
            if client is not None:
                await client.aclose()

    def alive(self) -> str | None:
        return None

    def ready(self) -> str | None:
        return None

    async def _request(
        self, method: str, url: str, headers: dict[str, str], *, stream: bool = False, **given: Any
    ) -> httpx.Response:
        """Raises :class:`httpx.HTTPError` when the service does not answer. What is streamed is read and closed by the
        caller, over connections of its own: no answer waits until somebody has seen a film."""
        client = self._client_of_streams() if stream else self._client_of_answers()
        proof = {"Authorization": f"Bearer {self._token}"}
        request = client.build_request(method, url, headers={**proof, **headers}, **given)
        return await client.send(request, stream=stream)

    def _client_of_answers(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)
        return self._client

    def _client_of_streams(self) -> httpx.AsyncClient:
        if self._streaming is None:
            limits = httpx.Limits(max_connections=MAX_STREAMS, max_keepalive_connections=5)
            self._streaming = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, limits=limits, trust_env=False)
        return self._streaming
