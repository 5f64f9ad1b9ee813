"""The last known good: everything that routes a call, in this process and on its disk."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic_core import from_json, to_json

from telephony_router.entries import caller_from_json, did_from_json, load_from_json, tenant_from_json, text_of
from telephony_router.routing import CallerEntry, DidEntry, LoadEntry, TenantEntry
from telephony_router.seal import Seal
from telephony_router.store import StoredAccount
from telephony_router.vendors.base import Account

__all__ = ["Snapshot", "SnapshotBroken", "read_snapshot", "write_snapshot"]

_Json = dict[str, Any]
FORMAT = 1
PART = 50
"""Entries that are made JSON at once, in well below a millisecond."""
REST_SECONDS = 0.0005


class SnapshotBroken(Exception):
    """The file on disk is not a whole snapshot of this format."""


@dataclass(frozen=True, slots=True)
class _Callers:
    """The callers of a dump, as the snapshot holds them: however many there are, the loop only copies two lists."""

    keys: list[str]
    texts: list[bytes]

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[tuple[str, str, _Json | None]]:
        for key, text in zip(self.keys, self.texts, strict=True):
            tenant, _, number = key.partition(":")
            yield tenant, number, from_json(text)

    def json(self, part: slice) -> bytes:
        """Some of them, as members of a JSON array."""
        members = zip(self.keys[part], self.texts[part], strict=True)
        return b",".join(b"[%s,%s]" % (to_json(key.split(":", 1))[1:-1], text) for key, text in members)


class Snapshot:
    """All accounts, DIDs and tenants, and the callers of recent calls. Changed by one event loop only."""

    def __init__(self, seal: Seal, *, callers_max: int = 20_000) -> None:
        self._seal = seal
        self._callers_max = callers_max
        self.loaded = False
        self.confirmed_at: datetime | None = None
        """When Postgres last said that this is how things are."""
        self.changes = 0
        """Grows whenever there is something new to write to the disk."""
        self._accounts: dict[bytes, Account] = {}
        self._stored: dict[bytes, StoredAccount] = {}
        self._dids: dict[str, _Json] = {}
        self._tenants: dict[UUID, _Json] = {}
        self._loads: dict[UUID, _Json] = {}
        # As text, by text: what the interpreter's collector need not look through while somebody waits.
        self._callers: OrderedDict[str, bytes] = OrderedDict()
        self._parsed: dict[tuple[str, object], tuple[_Json, Any]] = {}

    def age_ms(self, now: datetime) -> int:
        return 0 if self.confirmed_at is None else max(0, int((now - self.confirmed_at).total_seconds() * 1000))

    def account(self, secret_sha256: bytes) -> Account | None:
        return self._accounts.get(secret_sha256)

    def tenant(self, tenant: UUID) -> TenantEntry | None:
        parsed: TenantEntry | None = self._parse("tenant", tenant, self._tenants.get(tenant), tenant_from_json)
        return parsed

    def load(self, tenant: UUID) -> LoadEntry:
        parsed: LoadEntry | None = self._parse("load", tenant, self._loads.get(tenant), load_from_json)
        return parsed or LoadEntry()

    def did(self, did: str) -> DidEntry | None:
        parsed: DidEntry | None = self._parse("did", did, self._dids.get(did), did_from_json)
        return parsed

    def caller(self, tenant: UUID, number: str) -> tuple[bool, CallerEntry | None]:
        """Whether anything is known about a number, and what: a known stranger is (True, None)."""
        key = _caller(tenant, number)
        if key not in self._callers:
            return False, None
        self._callers.move_to_end(key)
        entry = from_json(self._callers[key])
        return True, caller_from_json(entry) if entry is not None else None

    def recent_callers(self) -> list[tuple[UUID, str]]:
        return [(UUID(tenant), number) for tenant, _, number in (key.partition(":") for key in self._callers)]

    def _parse(self, kind: str, key: object, entry: _Json | None, parse: Any) -> Any:
        if entry is None:
            return None
        known = self._parsed.get((kind, key))
        if known is not None and known[0] is entry:
            return known[1]
        parsed = parse(entry)
        self._parsed[kind, key] = (entry, parsed)
        return parsed

    def learn_tenant(self, tenant: UUID, entry: _Json) -> None:
        known = self._tenants.get(tenant)
        if known is None or known["version"] <= entry["version"]:
            self._tenants[tenant] = entry
            self.changes += 1

    def learn_load(self, tenant: UUID, entry: _Json) -> None:
        """Who is on a call. On the disk it comes along with what else changes: it is old news after a moment."""
        known = self._loads.get(tenant)
        if known is None or known["version"] <= entry["version"]:
            self._loads[tenant] = entry

    def replace_loads(self, entries: Iterable[_Json]) -> None:
        self._loads = {UUID(each["tenant"]): each for each in entries}

    def learn_did(self, did: str, entry: _Json | None) -> None:
        if entry is None:
            self._dids.pop(did, None)
        else:
            self._dids[did] = entry
        self.changes += 1

    def learn_caller(self, tenant: UUID, number: str, entry: _Json | None, *, version: int = 0) -> None:
        """Remember a caller of a recent call (None: a stranger); the one not heard of longest is forgotten.

        An older state, by its own version or by the one that a stranger was read at, replaces no newer one.
        """
        self.learn_caller_text(tenant, number, text_of(entry), version=version)

    def learn_caller_text(self, tenant: UUID, number: str, text: bytes, *, version: int = 0) -> None:
        """The same, of an entry's JSON (``null``: a stranger); cheap when it is the one known."""
        key = _caller(tenant, number)
        known = self._callers.get(key)
        if known != text:
            if known is not None and _version(known, 0) > _version(text, version):
                return
            self.changes += 1
            self._callers[key] = text
        self._callers.move_to_end(key)
        if len(self._callers) > self._callers_max:
            self._callers.popitem(last=False)

    def forget_caller(self, tenant: UUID, number: str) -> None:
        """Not even that they called: the next call is looked up."""
        if self._callers.pop(_caller(tenant, number), None) is not None:
            self.changes += 1

    def learn_account(self, stored: StoredAccount) -> Account:
        account = stored.opened(self._seal)
        self._stored[stored.secret_sha256] = stored
        self._accounts[stored.secret_sha256] = account
        self.changes += 1
        return account

    def replace(
        self,
        *,
        accounts: Iterable[StoredAccount],
        tenants: Iterable[_Json],
        dids: Iterable[_Json],
        confirmed_at: datetime | None,
    ) -> list[UUID]:
        """Put everything Postgres knows in place of what was known; return the tenants that changed.

        Everything is made ready before anything is replaced, so a failure changes nothing.
        """
        stored, opened = self._opened(accounts)
        new_tenants = {UUID(each["tenant"]): each for each in tenants}
        new_dids = {each["did"]: each for each in dids}
        changed = [tenant for tenant, entry in new_tenants.items() if self._tenants.get(tenant) != entry]
        if changed or stored != self._stored or new_dids != self._dids or len(new_tenants) != len(self._tenants):
            self.changes += 1
            self._parsed.clear()
        self._stored, self._accounts, self._tenants, self._dids = stored, opened, new_tenants, new_dids
        self.confirmed_at = confirmed_at
        self.loaded = True
        return changed

    def replace_accounts(self, accounts: Iterable[StoredAccount]) -> None:
        stored, opened = self._opened(accounts)
        if stored != self._stored:
            self.changes += 1
        self._stored, self._accounts = stored, opened

    def _opened(self, accounts: Iterable[StoredAccount]) -> tuple[dict[bytes, StoredAccount], dict[bytes, Account]]:
        stored = {each.secret_sha256: each for each in accounts}
        return stored, {key: self._open(key, each) for key, each in stored.items()}

    def _open(self, key: bytes, stored: StoredAccount) -> Account:
        known = self._accounts.get(key)
        return known if known is not None and self._stored.get(key) == stored else stored.opened(self._seal)

    def dump(self) -> _Json:
        """All of it as JSON values; secrets stay sealed."""
        return {
            "format": FORMAT,
            "confirmed_at": self.confirmed_at.isoformat() if self.confirmed_at else None,
            "accounts": [_dump_account(each) for each in self._stored.values()],
            "tenants": list(self._tenants.values()),
            "dids": list(self._dids.values()),
            "loads": list(self._loads.values()),
            "callers": _Callers(list(self._callers), list(self._callers.values())),
        }

    def restore(self, dumped: _Json) -> None:
        """Raises :class:`SnapshotBroken` when this cannot be what :meth:`dump` gave."""
        try:
            if dumped["format"] != FORMAT:
                raise SnapshotBroken("the snapshot is of another format")
            confirmed = dumped["confirmed_at"]
            self.replace(
                accounts=[_load_account(each) for each in dumped["accounts"]],
                tenants=dumped["tenants"],
                dids=dumped["dids"],
                confirmed_at=datetime.fromisoformat(confirmed) if confirmed else None,
            )
            # A snapshot of an older router has none.
            for entry in dumped.get("loads", ()):
                self.learn_load(UUID(entry["tenant"]), entry)
            for tenant, number, entry in dumped["callers"]:
                self.learn_caller(UUID(str(tenant)), number, entry)
        except (KeyError, TypeError, ValueError) as error:
            raise SnapshotBroken("the snapshot misses a part") from error


def _caller(tenant: UUID, number: str) -> str:
    return f"{tenant}:{number}"


def _version(text: bytes, otherwise: int) -> int:
    """An entry's, or of a stranger the one given."""
    entry = from_json(text)
    return int(entry["version"]) if entry is not None else otherwise


def _dump_account(stored: StoredAccount) -> _Json:
    return {
        "tenant": str(stored.tenant),
        "id": str(stored.id),
        "vendor": stored.vendor,
        "label": stored.label,
        "secret_sha256": stored.secret_sha256.hex(),
        "sealed_tokens": [base64.b64encode(each).decode() for each in stored.sealed_tokens],
        "allow_sources": list(stored.allow_sources),
        "options": dict(stored.options),
    }


def _load_account(dumped: _Json) -> StoredAccount:
    return StoredAccount(
        tenant=UUID(dumped["tenant"]),
        id=UUID(dumped["id"]),
        vendor=dumped["vendor"],
        label=dumped["label"],
        secret_sha256=bytes.fromhex(dumped["secret_sha256"]),
        sealed_tokens=tuple(base64.b64decode(each) for each in dumped["sealed_tokens"]),
        # A snapshot of an older router has none.
        allow_sources=tuple(dumped.get("allow_sources", ())),
        options=dumped.get("options", {}),
    )


def write_snapshot(path: Path, dumped: _Json) -> None:
    """Put it on the disk whole or not at all: a checksum, then the JSON, renamed into place when it is durable.

    Made in small parts with rests between them: in a thread of its own it holds up no caller.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    checksum = hashlib.sha256()
    with os.fdopen(file, "wb") as handle:
        handle.write(b"0" * len(checksum.hexdigest()) + b"\n")
        for part in _parts(dumped):
            handle.write(part)
            checksum.update(part)
            time.sleep(REST_SECONDS)
        handle.seek(0)
        handle.write(checksum.hexdigest().encode())
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _parts(dumped: _Json) -> Iterator[bytes]:
    """The JSON of a dump, a few entries at a time."""
    opening = b"{"
    for name, value in dumped.items():
        yield opening + to_json(name) + b":"
        opening = b","
        if not isinstance(value, list | _Callers):
            yield to_json(value)
            continue
        yield b"["
        for start in range(0, len(value), PART):
            part = slice(start, start + PART)
            some = value.json(part) if isinstance(value, _Callers) else to_json(value[part])[1:-1]
            yield (b"," if start else b"") + some
        yield b"]"
    yield b"}"


def read_snapshot(path: Path) -> _Json | None:
    """What was written last, or None when nothing was. Raises :class:`SnapshotBroken`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    checksum, _, body = data.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        raise SnapshotBroken("the snapshot on disk does not match its checksum")
    dumped: _Json = from_json(body)
    return dumped
