"""Notice when a vendor starts to send other fields than those we know, or other kinds of values in them.

The ringing path only leaves a webhook here. It is looked at afterwards, and not at all when there are too many.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from kit.postgres import Database
from kit.telemetry import get_logger
from runtime.background import Background
from telephony_router import store
from telephony_router.metrics import METRICS
from telephony_router.record import DATABASE_FAILURES
from telephony_router.vendors.base import Account, BadRequest, RawRequest, Vendor
from telephony_router.vendors.reading import fields_of

__all__ = ["DriftWatch", "Finding", "findings", "redacted"]

log = get_logger(__name__)

WAITING_MAX = 256
AT_ONCE = 50
NAMES_MAX = 50
"""Of one vendor. What comes beyond is counted together."""
OTHER = "other"
DEPTH_MAX = 5
LEAVES_MAX = 400
ITEMS_MAX = 3
SAMPLE_CHARACTERS = 48
INDEX = re.compile(r"\[\d+\]")
LONG_NUMBER = re.compile(r"\d{4,}")
UNPRINTABLE = re.compile(r"[^A-Za-z0-9_.$#\[\]-]")


@dataclass(frozen=True, slots=True)
class Finding:
    field: str
    change: str
    """``unknown``: a field we never heard of. ``type``: one we know, with another kind of value."""
    sample: str


def findings(vendor: Vendor, request: RawRequest) -> list[Finding]:
    """What a webhook holds that the vendor's file does not know."""
    try:
        fields = fields_of(request)
    except BadRequest:
        return []
    ours = {path.partition(".")[0] for name, path in request.options.items() if name.startswith("in.")}
    found: dict[tuple[str, str], Finding] = {}
    for number, (name, value) in enumerate(_leaves(fields, "", 0)):
        if number >= LEAVES_MAX:
            break
        if value is None or name.partition(".")[0] in ours:
            continue
        allowed = _allowed(vendor, name)
        if allowed is None or _kind(value) not in allowed:
            finding = Finding(_field(name), "unknown" if allowed is None else "type", redacted(value))
            found.setdefault((finding.field, finding.change), finding)
    return list(found.values())


def redacted(value: object) -> str:
    """The shape of a value and nothing of what it says: letters are a and A, digits are 9."""
    return "".join(_shape(character) for character in str(value)[:SAMPLE_CHARACTERS])


def _shape(character: str) -> str:
    if character.isdigit():
        return "9"
    if character.isalpha():
        return "A" if character.isupper() else "a"
    return character if character.isascii() else "?"


def _leaves(value: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and depth < DEPTH_MAX:
        for key, each in value.items():
            yield from _leaves(each, f"{name}.{key}" if name else INDEX.sub("[]", str(key)), depth + 1)
    elif isinstance(value, list) and depth < DEPTH_MAX:
        for each in value[:ITEMS_MAX]:
            yield from _leaves(each, f"{name}[]", depth + 1)
    elif not isinstance(value, Mapping | list):
        yield name, value


def _allowed(vendor: Vendor, name: str) -> str | None:
    """The kinds of values that a field may have; None for one we do not know. Below a ``*`` anything goes."""
    own = vendor.known.get(name)
    if own is not None:
        return own
    if name.startswith(vendor.known_prefixes):
        return "snb"
    way = name
    while "." in way:
        way = way.rpartition(".")[0]
        if f"{way}.*" in vendor.known:
            return "snb"
    return None


def _kind(value: object) -> str:
    return "b" if isinstance(value, bool) else "n" if isinstance(value, int | float) else "s"


def _field(name: str) -> str:
    """A name that is safe to show: whoever sends numbers as names does not get them into labels."""
    return LONG_NUMBER.sub("#", UNPRINTABLE.sub("?", name))[:64]


@dataclass(slots=True)
class _Seen:
    hook: str
    sample: str
    first: datetime
    last: datetime
    count: int = 0


class DriftWatch(Background):
    """Looks at webhooks after they were answered, counts what is new, keeps its first sample. A component."""

    name = "drift"
    ended = "webhooks are not compared any more"

    def __init__(self, database: Database, *, clock: Callable[[], datetime], seconds: float = 1.0) -> None:
        self._database = database
        self._clock = clock
        self._seconds = seconds
        self._waiting: deque[tuple[Vendor, Account, RawRequest]] = deque(maxlen=WAITING_MAX)
        self._names: dict[str, set[str]] = {}
        self._seen: dict[tuple[UUID, str, str, str], _Seen] = {}
        self._last_error: str | None = None
        # A counter that nothing was counted by yet is there as well, for whoever asks.
        METRICS.vendor_drift.labels("generic", OTHER, "unknown")

    def note(self, vendor: Vendor, account: Account, request: RawRequest) -> None:
        """Leave a webhook to be looked at. Of too many the oldest are not."""
        self._waiting.append((vendor, account, request))

    def status(self) -> dict[str, object]:
        return {"waiting": len(self._waiting), "last_error": self._last_error}

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self.look()
                self._last_error = None
            except DATABASE_FAILURES as error:
                self._last_error = type(error).__name__
            except Exception as error:
                self._last_error = type(error).__name__
                log.exception("drift_not_looked_at")

    async def look(self) -> None:
        """Compare some of what waits, and store what was found."""
        for _ in range(min(AT_ONCE, len(self._waiting))):
            vendor, account, request = self._waiting.popleft()
            for finding in findings(vendor, request):
                self._count(vendor, account, request.hook, finding)
            # Whoever rings goes first.
            await asyncio.sleep(0)
        await self._store()

    def _count(self, vendor: Vendor, account: Account, hook: str, finding: Finding) -> None:
        names = self._names.setdefault(vendor.name, set())
        if finding.field not in names and len(names) < NAMES_MAX:
            names.add(finding.field)
        field = finding.field if finding.field in names else OTHER
        METRICS.vendor_drift.labels(vendor.name, field, finding.change).inc()
        now = self._clock()
        key = (account.tenant, vendor.name, field, finding.change)
        seen = self._seen.setdefault(key, _Seen(hook, finding.sample, now, now))
        seen.count += 1
        seen.last = now

    async def _store(self) -> None:
        for tenant in {key[0] for key in self._seen}:
            keys = sorted(key for key in self._seen if key[0] == tenant)
            found = [(key, self._seen[key]) for key in keys]
            rows = [(*key[1:], seen.hook, seen.sample, seen.count, seen.first, seen.last) for key, seen in found]
            async with self._database.transaction(tenant) as tx:
                await store.put_rows(tx, "put_drift", rows)
            for key in keys:
                del self._seen[key]
