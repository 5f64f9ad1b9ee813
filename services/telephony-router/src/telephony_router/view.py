"""The routing view in Redis: one round trip for all calls that ring at the same moment, versioned writes."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import UUID

from pydantic_core import from_json
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from runtime.tasks import end
from telephony_router.budget import in_time
from telephony_router.entries import (
    caller_from_json,
    did_from_json,
    load_from_json,
    offers_from_json,
    packed,
    tenant_from_json,
    unpacked,
)
from telephony_router.metrics import METRICS
from telephony_router.routing import CallerEntry, DidEntry, LoadEntry, Offer, TenantEntry

__all__ = [
    "REDIS_FAILURES",
    "Entry",
    "Found",
    "RedisView",
    "ViewUnavailable",
    "caller_key",
    "client",
    "did_key",
    "key_parts",
    "load_key",
    "offers_key",
    "tenant_key",
]

PREFIX = "router:"
# Not a part of the view that is swept and rebuilt: what is in it is nowhere else, and lapses by itself.
OFFERS_PREFIX = "router-offers:"
NO_LOAD = LoadEntry()
STRANGER = b"null"
GONE_SECONDS = 24 * 3600
PARSED_MAX = 20_000
Entry = tuple[str, dict[str, Any]]
"""A key and its value, as they are written."""
_VERSION = re.compile(rb'"version":\d+')
GONE = "gone"

# Writes each entry unless a later one is there. A version is the digits before the first space.
_PUT = """
local written = 0
for i = 1, #KEYS do
    local old = redis.call('GET', KEYS[i])
    local known = old and tonumber(string.match(old, '^(%d+) ')) or -1
    if tonumber(ARGV[3 * i - 2]) >= known then
        if ARGV[3 * i] == '0' then
            redis.call('SET', KEYS[i], ARGV[3 * i - 1])
        else
            redis.call('SET', KEYS[i], ARGV[3 * i - 1], 'EX', ARGV[3 * i])
        end
        written = written + 1
    end
end
return written
"""


# The last is how uvloop answers a write to a connection that was just reset.
REDIS_FAILURES = (RedisError, OSError, TimeoutError, RuntimeError)


def did_key(did: str) -> str:
    return f"{PREFIX}did:{did}"


@lru_cache(maxsize=1024)
def tenant_key(tenant: UUID) -> str:
    return f"{PREFIX}tenant:{tenant}"


@lru_cache(maxsize=1024)
def load_key(tenant: UUID) -> str:
    return f"{PREFIX}load:{tenant}"


@lru_cache(maxsize=1024)
def offers_key(tenant: UUID) -> str:
    return f"{OFFERS_PREFIX}{tenant}"


def caller_key(tenant: UUID, number: str) -> str:
    return f"{PREFIX}caller:{tenant}:{number}"


def key_parts(key: str) -> tuple[str, UUID | None, str] | None:
    """The kind of a key, its tenant, and what it is the key of; None for one that is not of the view."""
    kind, _, rest = key.removeprefix(PREFIX).partition(":")
    if kind == "did":
        return kind, None, rest
    tenant, _, number = rest.partition(":")
    try:
        return (kind, UUID(tenant), number) if kind in ("tenant", "load", "caller") else None
    except ValueError:
        return None


class ViewUnavailable(Exception):
    """Redis did not answer within its budget, or not sensibly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What Redis holds for one call; None where it holds nothing."""

    tenant: TenantEntry | None
    did: DidEntry | None
    caller: CallerEntry | None
    caller_text: bytes = STRANGER
    """The caller's JSON, for whoever keeps it."""
    load: LoadEntry = NO_LOAD
    offers: Mapping[str, Offer] = field(default_factory=dict)


class _Reader:
    """Values by their keys, over one connection of its own: the client's pool, retries and two time-outs for each
    command cost more than the answer. One read at a time. Raises what is in ``REDIS_FAILURES``; whatever ends a read
    before its answer ends the connection, so that no answer is ever taken for another's."""

    def __init__(self, url: str, seconds: float) -> None:
        pool = client(url, None, connect_seconds=seconds).connection_pool
        self._connection: Any = pool.make_connection()  # type: ignore[no-untyped-call]
        self._seconds = seconds

    async def mget(self, keys: Iterable[str]) -> list[bytes | None]:
        async with asyncio.timeout(self._seconds):
            command = self._connection.pack_command("MGET", *keys)
            if self._connection.is_connected:
                # It may have been closed while nobody asked, by a Redis that is there again.
                with contextlib.suppress(RedisConnectionError, RuntimeError):
                    return await self._answer(command)
            return await self._answer(command)

    async def _answer(self, command: list[bytes]) -> list[bytes | None]:
        try:
            await self._connection.send_packed_command(command, check_health=False)
            values: list[bytes | None] = await self._connection.read_response()
        except BaseException:
            await self._connection.disconnect(nowait=True)
            raise
        return values

    async def close(self) -> None:
        with contextlib.suppress(*REDIS_FAILURES):
            await self._connection.disconnect()


class RedisView:
    def __init__(self, url: str, *, read_budget_seconds: float = 0.03, write_timeout_seconds: float = 2.0) -> None:
        self._reads = _Reader(url, read_budget_seconds)
        self._writes: Redis = client(url, write_timeout_seconds)
        self._budget = read_budget_seconds
        self._waiting: list[tuple[Sequence[str], asyncio.Future[list[bytes | None]]]] = []
        self._reading: asyncio.Task[None] | None = None
        self._parsed: dict[str, tuple[bytes, Any]] = {}
        """What the bytes of a key meant when they were last read: most are read by many calls and change rarely."""

    async def close(self) -> None:
        if self._reading is not None:
            await end(self._reading)
        await self._reads.close()
        await self._writes.aclose()

    async def find(self, tenant: UUID, did: str | None, number: str | None) -> Found:
        """Raises :class:`ViewUnavailable` after the read budget at the latest."""
        keys = [tenant_key(tenant), load_key(tenant), offers_key(tenant)]
        if did is not None:
            keys.append(did_key(did))
        if number is not None:
            keys.append(caller_key(tenant, number))
        done: asyncio.Future[list[bytes | None]] = asyncio.get_running_loop().create_future()
        self._waiting.append((keys, done))
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        try:
            values = await in_time(done, self._budget)
        except TimeoutError:
            raise ViewUnavailable("slow") from None
        found = iter(zip(keys, values, strict=True))
        own = values[-1] if number is not None else None
        try:
            # Callers are many, and parsed for the one call that they make.
            caller = _caller(own) if own is not None else None
            return Found(
                tenant=self._meant(*next(found), _tenant),
                load=self._meant(*next(found), _load) or NO_LOAD,
                offers=self._meant(*next(found), _offers) or {},
                did=self._meant(*next(found), _did) if did is not None else None,
                caller=caller,
                caller_text=own.partition(b" ")[2] if own is not None and caller is not None else STRANGER,
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ViewUnavailable("malformed") from None

    async def _read_all(self) -> None:
        """Everything that waits is one MGET; what arrives meanwhile is the next one."""
        while self._waiting:
            group, self._waiting = self._waiting, []
            keys = list({key: None for wanted, _ in group for key in wanted})
            try:
                values = await self._reads.mget(keys)
                found: dict[str, bytes | None] = dict(zip(keys, values, strict=True))
            except REDIS_FAILURES as error:
                why = "slow" if "imeout" in type(error).__name__ else "down"
                for _, done in group:
                    if not done.done():
                        done.set_exception(ViewUnavailable(why))
            else:
                for wanted, done in group:
                    if not done.done():
                        done.set_result([found[key] for key in wanted])

    def _meant(self, key: str, value: bytes | None, parse: Callable[[bytes], Any]) -> Any:
        if value is None:
            return None
        known = self._parsed.get(key)
        if known is None or known[0] != value:
            if known is None and len(self._parsed) >= PARSED_MAX:
                del self._parsed[next(iter(self._parsed))]
            known = self._parsed[key] = (value, parse(value))
        return known[1]

    async def put(self, entries: Iterable[tuple[str, dict[str, Any]]], *, chunk: int = 500) -> int:
        """Write entries, each unless a later one is there; return how many were written. Raises ``RedisError``."""
        written = 0
        batch = list(entries)
        for start in range(0, len(batch), chunk):
            part = batch[start : start + chunk]
            arguments: list[bytes | int] = []
            for _, entry in part:
                arguments += [entry["version"], packed(entry), GONE_SECONDS if entry.get("gone") else 0]
            done: int = await self._writes.eval(_PUT, len(part), *(key for key, _ in part), *arguments)
            METRICS.view_writes.labels("written").inc(done)
            METRICS.view_writes.labels("refused_older").inc(len(part) - done)
            written += done
        return written

    async def drifted(self, entries: Sequence[tuple[str, dict[str, Any]]], *, chunk: int = 500) -> list[str]:
        """The keys whose value is not this entry. A sweep decides what to do about them."""
        wrong: list[str] = []
        for start in range(0, len(entries), chunk):
            part = entries[start : start + chunk]
            values: list[Any] = await self._writes.mget([key for key, _ in part])
            for (key, entry), value in zip(part, values, strict=True):
                if value is None or not _same(value, packed(entry)):
                    wrong.append(key)
        return wrong

    async def force(self, entries: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Write entries whatever is there: after Postgres was restored its versions are older than Redis's."""
        async with self._writes.pipeline(transaction=False) as pipe:
            for key, entry in entries:
                pipe.set(key, packed(entry), ex=GONE_SECONDS if entry.get("gone") else None)
            await pipe.execute()

    async def key_pages(self, count: int = 500) -> AsyncIterator[list[str]]:
        """Every key of the view, in lists of about so many. One that is there all the while comes once at least."""
        cursor = 0
        while True:
            answer: tuple[int, list[Any]] = await self._writes.scan(cursor, match=f"{PREFIX}*", count=count)
            cursor, keys = answer
            if keys:
                yield [key.decode() for key in keys]
            if not cursor:
                return

    async def living(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that hold something; the marks of what is gone expire by themselves."""
        wanted = sorted(keys)
        values: list[Any] = await self._writes.mget(wanted) if wanted else []
        return [key for key, value in zip(wanted, values, strict=True) if value is not None and _content(value) != GONE]

    async def delete(self, keys: Iterable[str]) -> None:
        gone = list(keys)
        for start in range(0, len(gone), 500):
            await self._writes.delete(*gone[start : start + 500])


def _packed_as(parse: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], Any]:
    def read(value: bytes) -> Any:
        entry = unpacked(value)
        return parse(entry) if entry is not None else None

    return read


_tenant, _load = _packed_as(tenant_from_json), _packed_as(load_from_json)
_did, _caller = _packed_as(did_from_json), _packed_as(caller_from_json)


def _offers(value: bytes) -> dict[str, Offer]:
    return offers_from_json(from_json(value))


def _same(value: bytes, wanted: bytes) -> bool:
    """Whether two entries say the same, whatever their versions. Most do to the byte, which is soon seen."""
    left, right = (each.partition(b" ")[2] for each in (value, wanted))
    return _VERSION.sub(b"", left, 1) == _VERSION.sub(b"", right, 1) or _content(value) == _content(wanted)


def _content(value: bytes) -> Any:
    """An entry without its version: a tenant's count of changes grows without every entry having changed."""
    try:
        entry = unpacked(value)
    except (ValueError, TypeError):
        return None
    return {name: each for name, each in entry.items() if name != "version"} if entry is not None else GONE


def client(url: str, seconds: float | None, *, connect_seconds: float | None = None) -> Redis:
    """Gives up after so many seconds without an answer, when they are given, and tries nothing again."""
    made: Redis = Redis.from_url(
        url, socket_timeout=seconds, socket_connect_timeout=connect_seconds or seconds, retry=Retry(NoBackoff(), 0)
    )
    return made
