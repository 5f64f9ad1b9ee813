"""Recordings in a bucket that speaks S3. Requests are signed by us (Signature Version 4): four kinds need no SDK."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit
from uuid import UUID

import httpx

from telephony_router.blob_store import CHUNK_BYTES, Corrupt, Stat, StoreAway, blob_name

__all__ = ["Credentials", "S3BlobStore", "signed_headers"]

NOTHING = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    access_key: str
    secret_key: str
    region: str


def signed_headers(
    method: str, url: str, headers: Mapping[str, str], payload_sha256: str, credentials: Credentials, now: datetime
) -> dict[str, str]:
    """``headers`` with the three that AWS Signature Version 4 adds. ``url`` is escaped already and has no query."""
    parts = urlsplit(url)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    sent = {
        **{name.lower(): value.strip() for name, value in headers.items()},
        "host": parts.netloc,
        "x-amz-content-sha256": payload_sha256,
        "x-amz-date": stamp,
    }
    names = ";".join(sorted(sent))
    lines = "".join(f"{name}:{sent[name]}\n" for name in sorted(sent))
    request = "\n".join((method, parts.path or "/", "", lines, names, payload_sha256))
    scope = f"{day}/{credentials.region}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (day, credentials.region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    proof = f"Credential={credentials.access_key}/{scope},SignedHeaders={names},Signature={signature}"
    return {**sent, "authorization": f"AWS4-HMAC-SHA256 {proof}"}


class S3BlobStore:
    """A bucket, addressed by path (``endpoint/bucket/prefix/…``), which every S3 speaks."""

    def __init__(
        self,
        *,
        endpoint: str,
        bucket: str,
        prefix: str,
        credentials: Credentials,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._base = "/".join(part for part in (endpoint.rstrip("/"), quote(bucket), quote(prefix.strip("/"))) if part)
        self._credentials = credentials
        self._clock = clock
        self._http = httpx.AsyncClient(timeout=httpx.Timeout(60, connect=10), trust_env=False)

    async def close(self) -> None:
        await self._http.aclose()

    async def put(self, tenant: UUID, sha256: str, source: Path) -> None:
        url = self._url(tenant, sha256)
        size, digest = await asyncio.to_thread(_measured, source)
        if digest != sha256:
            raise Corrupt("the file has another hash than it was to be stored under")
        found = await self.stat(tenant, sha256)
        if found is not None and found.size_bytes == size:
            return
        # The server checks the hash that is signed, so what it took is what its name says.
        headers = {"content-length": str(size), "content-type": "application/octet-stream"}
        await self._ask("PUT", url, headers, sha256, content=_chunks(source))

    async def stat(self, tenant: UUID, sha256: str) -> Stat | None:
        response = await self._ask("HEAD", self._url(tenant, sha256), {}, NOTHING, missing=True)
        if response is None:
            return None
        size = int(response.headers.get("content-length", "0"))
        return Stat(size, f"{response.headers.get('etag', '')}-{response.headers.get('last-modified', '')}")

    async def read(self, tenant: UUID, sha256: str, start: int, length: int) -> AsyncIterator[bytes]:
        if not length:
            return
        url, last = self._url(tenant, sha256), start + length - 1
        headers = self._signed("GET", url, {"range": f"bytes={start}-{last}", "accept-encoding": "identity"}, NOTHING)
        try:
            async with self._http.stream("GET", url, headers=headers) as response:
                if response.status_code in (404, 416):
                    raise Corrupt("the blob is gone, or shorter than it was")
                if response.status_code != 206 and (response.status_code != 200 or start):
                    raise StoreAway(f"http_{response.status_code}")
                async for chunk in response.aiter_raw(CHUNK_BYTES):
                    length -= len(chunk)
                    yield chunk
        except httpx.HTTPError as error:
            raise StoreAway(type(error).__name__) from error
        if length:
            raise Corrupt("the blob is shorter than it was")

    async def remove(self, tenant: UUID, sha256: str) -> None:
        await self._ask("DELETE", self._url(tenant, sha256), {}, NOTHING, missing=True)

    def _url(self, tenant: UUID, sha256: str) -> str:
        return f"{self._base}/{blob_name(tenant, sha256)}"

    def _signed(self, method: str, url: str, headers: Mapping[str, str], payload: str) -> dict[str, str]:
        return signed_headers(method, url, headers, payload, self._credentials, self._clock())

    async def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        payload: str,
        *,
        missing: bool = False,
        content: AsyncIterator[bytes] | None = None,
    ) -> httpx.Response | None:
        try:
            response = await self._http.request(
                method, url, headers=self._signed(method, url, headers, payload), content=content
            )
        except (httpx.HTTPError, OSError) as error:
            raise StoreAway(type(error).__name__) from error
        if missing and response.status_code == 404:
            return None
        if not response.is_success:
            raise StoreAway(f"http_{response.status_code}")
        return response


def _measured(source: Path) -> tuple[int, str]:
    with source.open("rb") as file:
        return source.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


async def _chunks(source: Path) -> AsyncIterator[bytes]:
    with source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
