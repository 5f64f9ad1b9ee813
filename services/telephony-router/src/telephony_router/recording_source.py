"""Fetch a recording from the address that somebody told us, and from nowhere else.

The address is a stranger's word. A host's name is resolved once per connection; every address it stands for must be a
public one, and the connection goes to the address that was checked, while certificate and Host are those of the name.
Redirects are checked like the first address. What comes is counted, timed, and never decompressed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urljoin, urlsplit

import httpcore

from telephony_router.application_token import application_token
from telephony_router.audio import SNIFF_BYTES, sniff
from telephony_router.peers import Network

__all__ = [
    "Access",
    "Fetched",
    "Limits",
    "RecordingSource",
    "Refused",
    "Resolver",
    "SystemResolver",
    "authorization",
    "is_public",
]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
T = TypeVar("T")
Take = Callable[[httpcore.Response], Awaitable[T]]

# Beyond what Python calls not global: ways to write an IPv4 address inside an IPv6 one, relays, and the one
# metadata service that lives at an address that looks public.
_NOT_OURS = tuple(
    ipaddress.ip_network(text)
    for text in (
        "100.64.0.0/10", "168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "224.0.0.0/4",
        "240.0.0.0/4", "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23",
        "2002::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
REDIRECTS_MAX = 3
URL_CHARACTERS = 2048
HOST = re.compile(r"[A-Za-z0-9_.-]{1,253}|[0-9A-Fa-f:.]{2,45}")
REDIRECTS = frozenset({301, 302, 303, 307, 308})
FOR_GOOD = frozenset({410})
# Besides audio/*: what stores say of files that they know nothing of.
TYPES = frozenset({"", "application/octet-stream", "binary/octet-stream", "application/ogg", "application/x-wav"})
CHUNK_BYTES = 65_536
TEXT_BYTES = 65_536


class Refused(Exception):
    """Nothing was fetched. ``reason`` is a word for operators and metrics; it names nobody."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again
        """Whether another attempt may end otherwise."""


class Resolver(Protocol):
    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """The addresses that a name stands for; raises ``OSError`` when there are none."""


class SystemResolver:
    """The machine's own: its hosts file and its name servers."""

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(each[4][0]) for each in found))


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    bytes_max: int = 256 * 1024 * 1024
    connect_seconds: float = 10.0
    first_byte_seconds: float = 30.0
    total_seconds: float = 900.0
    rate_min: int = 4096
    """Bytes a second below which it is given up, looked at over ``rate_seconds``."""
    rate_seconds: float = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """What an account may do at its vendor's."""

    hosts: Sequence[str] = ()
    """Names; ``*.`` before one stands for all below it."""
    authorization: str = ""
    """Sent to those hosts only, and never after a redirect to another one."""
    listed_only: bool = False
    """Fetch from those hosts alone."""

    def lists(self, host: str) -> bool:
        name = host.lower().rstrip(".")
        return any(
            name.endswith(each[1:].lower()) if each.startswith("*.") else name == each.lower() for each in self.hosts
        )


@dataclass(frozen=True, slots=True)
class Fetched:
    sha256: str
    size_bytes: int


def authorization(credential: str, now: datetime) -> str:
    """``user:password`` as Basic; a text that begins with ``Bearer `` as it is; of an application's id and its private
    key (``ID:-----BEGIN …``) a token of this moment. Raises :class:`NotAKey`."""
    if credential.lower().startswith("bearer "):
        return credential
    name, _, secret = credential.partition(":")
    if secret.lstrip().startswith("-----BEGIN "):
        return f"Bearer {application_token(name, secret.lstrip(), now)}"
    return "Basic " + base64.b64encode(credential.encode()).decode() if credential else ""


def is_public(address: Address) -> bool:
    """Whether an address is somebody's on the Internet, rather than ours or no single machine's."""
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        return False
    inside = any(address.version == each.version and address in each for each in _NOT_OURS)
    return address.is_global and not address.is_multicast and not inside


class RecordingSource:
    """Fetches over HTTP. One may be used by many at once."""

    def __init__(
        self,
        *,
        limits: Limits,
        resolver: Resolver | None = None,
        allow_networks: Iterable[Network] = (),
        allow_http: bool = False,
        ca_file: str = "",
    ) -> None:
        self._limits = limits
        self._backend = _Pinned(resolver or SystemResolver(), tuple(allow_networks))
        self._schemes = {"https": 443, "http": 80} if allow_http else {"https": 443}
        self._tls = ssl.create_default_context()
        if ca_file:
            self._tls.load_verify_locations(ca_file)

    async def fetch(self, url: str, into: Path, access: Access) -> Fetched:
        """Leave what is at ``url`` in ``into``. Raises :class:`Refused`."""
        return await self._guarded(url, access, partial(self._take, into=into))

    async def read(self, url: str, access: Access) -> bytes:
        """The short text at ``url``: what a vendor's API says of a recording. Raises :class:`Refused`."""
        return await self._guarded(url, access, _read)

    async def _guarded(self, url: str, access: Access, take: Take[T]) -> T:
        try:
            async with asyncio.timeout(self._limits.total_seconds):
                return await self._follow(url, access, take)
        except TimeoutError:
            raise Refused("timed_out", again=True) from None
        except httpcore.ConnectError as error:
            raise Refused("tls_failed" if _is_tls(error) else "connect_failed", again=True) from None
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            timed = isinstance(error, httpcore.TimeoutException)
            raise Refused("timed_out" if timed else "broken_off", again=True) from None

    async def _follow(self, url: str, access: Access, take: Take[T]) -> T:
        # A pool for each fetch: no connection outlives the check of the address it goes to.
        async with httpcore.AsyncConnectionPool(
            ssl_context=self._tls, network_backend=self._backend, max_connections=REDIRECTS_MAX + 1, retries=0
        ) as pool:
            secret = access.authorization
            for _ in range(REDIRECTS_MAX + 1):
                target = self._target(url)
                if access.listed_only and not access.lists(target.host):
                    raise Refused("host_not_listed", again=False)
                # In the clear a secret would be everybody's.
                sent = secret if target.scheme == "https" and access.lists(target.host) else ""
                async with self._asked(pool, target, sent) as response:
                    if response.status not in REDIRECTS:
                        return await take(response)
                    onward = self._target(_join(url, _header(response, b"location")))
                if (onward.scheme, onward.host, onward.port) != (target.scheme, target.host, target.port):
                    secret = ""
                url = onward.url
        raise Refused("too_many_redirects", again=False)

    def _target(self, url: str) -> _Target:
        try:
            parts = urlsplit(url)
            port = parts.port
            host = parts.hostname or ""
            host = host if ":" in host else host.encode("idna").decode()
        except ValueError:
            raise Refused("address_malformed", again=False) from None
        if parts.scheme not in self._schemes:
            raise Refused("scheme_not_allowed", again=False)
        bad = len(url) > URL_CHARACTERS or any(each <= " " or each == "\\" or each == "\x7f" for each in url)
        if bad or parts.username is not None or parts.password is not None or not host or not HOST.fullmatch(host):
            raise Refused("address_malformed", again=False)
        usual = self._schemes[parts.scheme]
        if port is not None and port < 1024 and port not in self._schemes.values():
            raise Refused("port_not_allowed", again=False)
        return _Target(url, parts.scheme, host.lower(), port or usual, _path(parts.path, parts.query))

    @contextlib.asynccontextmanager
    async def _asked(
        self, pool: httpcore.AsyncConnectionPool, target: _Target, secret: str
    ) -> AsyncIterator[httpcore.Response]:
        host = f"[{target.host}]" if ":" in target.host else target.host
        shown = host if target.port == self._schemes[target.scheme] else f"{host}:{target.port}"
        headers = [(b"Host", shown.encode()), (b"Accept", b"audio/*, */*;q=0.1"), (b"Accept-Encoding", b"identity")]
        headers += [(b"User-Agent", b"trunkline-telephony-router"), (b"Connection", b"close")]
        if secret:
            headers.append((b"Authorization", secret.encode()))
        url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path.encode())
        limits = self._limits
        waits = {"connect": limits.connect_seconds, "read": limits.first_byte_seconds, "pool": limits.connect_seconds}
        request = httpcore.Request("GET", url, headers=headers, extensions={"timeout": waits})
        # Of a header that drips, each byte is in time: the whole of it must be.
        async with asyncio.timeout(limits.connect_seconds + limits.first_byte_seconds):
            response = await pool.handle_async_request(request)
        try:
            yield response
        finally:
            await response.aclose()

    async def _take(self, response: httpcore.Response, *, into: Path) -> Fetched:
        _check_head(response, self._limits.bytes_max)
        _check_audio(response)
        digest, size, head = hashlib.sha256(), 0, b""
        began, so_far = time.monotonic(), 0
        # A file on a local disk: writing a chunk takes less than handing it to a thread.
        with into.open("wb") as file:
            async for chunk in response.aiter_stream():
                size += len(chunk)
                if size > self._limits.bytes_max:
                    raise Refused("too_large", again=False)
                if len(head) < SNIFF_BYTES:
                    head += chunk[:SNIFF_BYTES]
                    if len(head) >= SNIFF_BYTES and sniff(head) is None:
                        raise Refused("not_audio", again=True)
                file.write(chunk)
                digest.update(chunk)
                if (waited := time.monotonic() - began) > self._limits.rate_seconds:
                    if size - so_far < self._limits.rate_min * waited:
                        raise Refused("too_slow", again=True)
                    began, so_far = time.monotonic(), size
        if sniff(head) is None:
            raise Refused("not_audio", again=True)
        return Fetched(digest.hexdigest(), size)


@dataclass(frozen=True, slots=True)
class _Target:
    url: str
    scheme: str
    host: str
    port: int
    path: str


def _path(path: str, query: str) -> str:
    whole = (path or "/") + (f"?{query}" if query else "")
    return "".join(each if each.isascii() else "".join(f"%{byte:02X}" for byte in each.encode()) for each in whole)


def _join(url: str, location: str) -> str:
    if not location:
        raise Refused("redirect_to_nowhere", again=True)
    try:
        return urljoin(url, location)
    except ValueError:
        raise Refused("address_malformed", again=False) from None


def _header(response: httpcore.Response, name: bytes) -> str:
    values = [value for key, value in response.headers if key.lower() == name]
    return values[-1].decode("latin-1").strip() if values else ""


async def _read(response: httpcore.Response) -> bytes:
    _check_head(response, TEXT_BYTES)
    text = b""
    async for chunk in response.aiter_stream():
        text += chunk
        if len(text) > TEXT_BYTES:
            raise Refused("too_large", again=False)
    return text


def _check_head(response: httpcore.Response, bytes_max: int) -> None:
    if response.status != 200:
        raise Refused(f"http_{response.status}", again=response.status not in FOR_GOOD)
    if _header(response, b"content-encoding").lower() not in ("", "identity"):
        raise Refused("compressed", again=False)
    length = _header(response, b"content-length")
    if length.isascii() and length.isdigit() and int(length) > bytes_max:
        raise Refused("too_large", again=False)


def _check_audio(response: httpcore.Response) -> None:
    kind = _header(response, b"content-type").partition(";")[0].strip().lower()
    if not kind.startswith("audio/") and kind not in TYPES:
        raise Refused("not_audio", again=True)


def _is_tls(error: BaseException) -> bool:
    while (cause := error.__cause__ or error.__context__) is not None:
        if isinstance(cause, ssl.SSLError):
            return True
        error = cause
    return False


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, and to none that a name may stand for a moment later."""

    def __init__(self, resolver: Resolver, allowed: Sequence[Network]) -> None:
        self._resolver = resolver
        self._allowed = allowed
        self._beneath = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._checked(host, port)
        except TimeoutError:
            raise Refused("dns_failed", again=True) from None
        failure: Exception | None = None
        for address in addresses:
            try:
                return await self._beneath.connect_tcp(str(address), port, timeout=timeout)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or Refused("dns_failed", again=True)

    async def connect_unix_socket(self, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
        raise Refused("scheme_not_allowed", again=False)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _checked(self, host: str, port: int) -> list[Address]:
        try:
            found = [ipaddress.ip_address(each) for each in await self._resolver.addresses(host, port)]
        except (OSError, ValueError):
            raise Refused("dns_failed", again=True) from None
        # One that is not public among several is how a check is got round.
        if not all(is_public(each) or self._is_allowed(each) for each in found):
            raise Refused("address_not_public", again=False)
        return found

    def _is_allowed(self, address: Address) -> bool:
        return any(address.version == each.version and address in each for each in self._allowed)
