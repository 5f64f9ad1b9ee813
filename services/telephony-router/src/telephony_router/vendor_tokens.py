"""Vendors' tokens that run out: one for all routers, sealed in Redis, minted once however many want it at a time."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from kit.ids import name_uuid
from kit.telemetry import get_logger
from telephony_router.metrics import METRICS
from telephony_router.seal import Seal, SealBroken
from telephony_router.view import REDIS_FAILURES, client

__all__ = ["VendorTokens"]

log = get_logger(__name__)

# Not under the routing view's prefix: what stands there and is no part of the view is swept away.
PREFIX = "router-token:"
LOCK_SECONDS = 45.0
"""Longer than minting may take."""
POLL_SECONDS = 0.05
Mint = Callable[[], Awaitable[str]]

_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


@dataclass(frozen=True, slots=True)
class _Own:
    token: str
    until: float


class VendorTokens:
    """Without Redis every router has a token of its own; with it, all have the same."""

    def __init__(self, redis_url: str, seal: Seal, *, timeout_seconds: float = 1.0) -> None:
        self._redis = client(redis_url, timeout_seconds)
        self._seal = seal
        self._own: dict[UUID, _Own] = {}
        self._locks: dict[UUID, asyncio.Lock] = {}

    async def close(self) -> None:
        await self._redis.aclose()

    async def get(self, account: UUID, vendor: str, seconds: int, mint: Mint, *, stale: str = "") -> str:
        """A token; another one than ``stale``, which the vendor takes no more. Raises what ``mint`` raises."""
        async with self._locks.setdefault(account, asyncio.Lock()):
            own = self._own.get(account)
            if own is not None and own.token != stale and own.until > time.monotonic():
                return own.token
            try:
                token, left = await self._shared(account, vendor, seconds, mint, stale)
            except REDIS_FAILURES as error:
                log.warning("vendor_tokens_without_redis", error=type(error).__name__)
                token, left = await _minted(vendor, mint), float(seconds)
            self._own[account] = _Own(token, time.monotonic() + left)
            return token

    async def _shared(self, account: UUID, vendor: str, seconds: int, mint: Mint, stale: str) -> tuple[str, float]:
        key, lock, mine = f"{PREFIX}{account}", f"{PREFIX}{account}:lock", secrets.token_hex(8)
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            found = await self._stored(account, key)
            if found is not None and found[0] != stale:
                return found
            if await self._redis.set(lock, mine, nx=True, px=int(LOCK_SECONDS * 1000)):
                break
            if time.monotonic() > deadline:
                # Whoever holds the lock has been at it for longer than it may; a second token does no harm.
                return await _minted(vendor, mint), float(seconds)
            await asyncio.sleep(POLL_SECONDS)
        try:
            # Another router may have been through between the look and the lock.
            found = await self._stored(account, key)
            if found is not None and found[0] != stale:
                return found
            token = await _minted(vendor, mint)
            await self._keep(account, key, token, seconds)
            return token, float(seconds)
        finally:
            await self._release(lock, mine)

    async def _keep(self, account: UUID, key: str, token: str, seconds: int) -> None:
        try:
            await self._redis.set(key, self._seal.close(_purpose(account), token), ex=seconds)
        except REDIS_FAILURES as error:
            # It was minted, and is good for this router at least.
            log.warning("vendor_token_not_shared", error=type(error).__name__)

    async def _release(self, lock: str, mine: str) -> None:
        try:
            await self._redis.eval(_RELEASE, 1, lock, mine)
        except REDIS_FAILURES as error:
            log.warning("vendor_token_lock_runs_out", error=type(error).__name__)

    async def _stored(self, account: UUID, key: str) -> tuple[str, float] | None:
        pipe = self._redis.pipeline(transaction=True)
        pipe.get(key)
        pipe.pttl(key)
        sealed, left = await pipe.execute()
        if sealed is None or left <= 0:
            return None
        try:
            return self._seal.open(_purpose(account), sealed), left / 1000
        except SealBroken:
            return None


async def _minted(vendor: str, mint: Mint) -> str:
    try:
        token = await mint()
    except BaseException:
        METRICS.token_mints.labels(vendor, "failed").inc()
        raise
    METRICS.token_mints.labels(vendor, "minted").inc()
    return token


def _purpose(account: UUID) -> UUID:
    """What a token is sealed for: it opens nowhere else."""
    return name_uuid(str(account), "vendor-token")
