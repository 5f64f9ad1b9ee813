from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from telephony_router.peers import networks
from telephony_router.routing import CallerEntry
from telephony_router.seal import Seal, SealBroken, hash_of_secret
from telephony_router.snapshot import Snapshot, SnapshotBroken, read_snapshot, write_snapshot
from telephony_router.store import StoredAccount

TENANT = UUID(int=7)
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
KEY = base64.b64encode(bytes(32)).decode()
SEAL = Seal(KEY)
ACCOUNT = StoredAccount(
    tenant=TENANT,
    id=UUID(int=1),
    vendor="twilio",
    label="main",
    secret_sha256=hash_of_secret("path-secret"),
    sealed_tokens=(SEAL.close(UUID(int=1), "auth-token"),),
    allow_sources=("203.0.113.0/24",),
    options={"record": "true"},
)


def tenant_entry(version: int = 1, **more: Any) -> dict[str, Any]:
    entry = {"tenant": str(TENANT), "version": version, "timezone": "Asia/Kolkata", "active": True}
    return {**entry, "agents": [], "routing": {}, **more}


def did_entry(did: str = "+914842000100") -> dict[str, Any]:
    entry = {"did": did, "tenant": str(TENANT), "version": 1, "label": ""}
    return {**entry, "default_staff_ids": [], "fallback_number": None}


def caller_entry(version: int = 1, owner: str = "desk") -> dict[str, Any]:
    entry = {"number": "+919847000001", "version": version, "customer_id": "c1", "name": "", "owner": owner}
    return {**entry, "last_agent": None, "last_agent_at": None}


def full() -> Snapshot:
    snapshot = Snapshot(SEAL)
    snapshot.replace(accounts=[ACCOUNT], tenants=[tenant_entry()], dids=[did_entry()], confirmed_at=NOW)
    snapshot.learn_caller(TENANT, "+919847000001", caller_entry())
    snapshot.learn_caller(TENANT, "+919847000002", None)
    return snapshot


def test_a_snapshot_comes_back_from_the_disk_as_it_was(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "snapshot", full().dump())
    again = Snapshot(SEAL)
    dumped = read_snapshot(tmp_path / "snapshot")
    assert dumped is not None
    again.restore(dumped)
    assert again.loaded
    assert again.dump() == full().dump()
    account = again.account(hash_of_secret("path-secret"))
    assert account is not None
    assert account.auth_tokens == ("auth-token",)
    assert (account.allow_sources, account.options) == (networks(["203.0.113.0/24"]), {"record": "true"})
    assert again.caller(TENANT, "+919847000002") == (True, None)
    assert again.caller(TENANT, "+919847000003") == (False, None)
    assert again.age_ms(NOW + timedelta(seconds=2)) == 2000


def test_a_snapshot_of_an_older_router_is_read() -> None:
    dumped = full().dump()
    for account in dumped["accounts"]:
        del account["allow_sources"], account["options"]
    again = Snapshot(SEAL)
    again.restore(dumped)
    account = again.account(hash_of_secret("path-secret"))
    assert account is not None
    assert (account.allow_sources, account.options) == ((), {})


def test_the_file_holds_no_secret_in_the_clear(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "snapshot", full().dump())
    written = (tmp_path / "snapshot").read_bytes()
    assert b"auth-token" not in written
    assert b"path-secret" not in written
    assert (tmp_path / "snapshot").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", [lambda b: b[:-10], lambda b: b.replace(b"Kolkata", b"Kolkatb"), lambda b: b""])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "snapshot"
    write_snapshot(path, full().dump())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SnapshotBroken):
        read_snapshot(path)


def test_another_format_is_refused_and_no_file_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(SnapshotBroken):
        Snapshot(SEAL).restore({**full().dump(), "format": 99})
    assert read_snapshot(tmp_path / "none") is None


def test_the_caller_not_heard_of_longest_is_forgotten() -> None:
    snapshot = Snapshot(SEAL, callers_max=2)
    for number in ("a", "b"):
        snapshot.learn_caller(TENANT, number, None)
    snapshot.caller(TENANT, "a")
    snapshot.learn_caller(TENANT, "c", None)
    assert snapshot.recent_callers() == [(TENANT, "a"), (TENANT, "c")]


def test_an_older_state_of_a_caller_replaces_no_newer_one() -> None:
    snapshot = full()
    snapshot.learn_caller(TENANT, "+919847000001", caller_entry(version=5, owner="ravi"))
    snapshot.learn_caller(TENANT, "+919847000001", caller_entry(version=4))
    snapshot.learn_caller(TENANT, "+919847000001", None, version=3)
    found = snapshot.caller(TENANT, "+919847000001")[1]
    assert isinstance(found, CallerEntry)
    assert found.owner_staff_id == "ravi"
    snapshot.learn_caller(TENANT, "+919847000001", None, version=6)
    assert snapshot.caller(TENANT, "+919847000001") == (True, None)


def test_a_replacement_that_cannot_be_opened_changes_nothing() -> None:
    snapshot = full()
    other = StoredAccount(
        tenant=TENANT,
        id=UUID(int=2),
        vendor="twilio",
        label="",
        secret_sha256=b"other",
        sealed_tokens=(b"not sealed by this key",),
    )
    before = snapshot.dump()
    with pytest.raises(SealBroken):
        snapshot.replace(accounts=[other], tenants=[], dids=[], confirmed_at=NOW)
    assert snapshot.dump() == before


@pytest.mark.parametrize("key", ["", "not base64!", base64.b64encode(bytes(31)).decode()])
def test_a_weak_key_is_refused_with_the_command_that_makes_a_good_one(key: str) -> None:
    with pytest.raises(ValueError, match="openssl rand -base64 32"):
        Seal(key)


def test_a_sealed_token_opens_only_for_its_own_account() -> None:
    sealed = SEAL.close(UUID(int=1), "auth-token")
    assert SEAL.open(UUID(int=1), sealed) == "auth-token"
    for account, value in ((UUID(int=2), sealed), (UUID(int=1), sealed[:-1]), (UUID(int=1), b"")):
        with pytest.raises(SealBroken):
            SEAL.open(account, value)


def test_of_a_caller_that_is_forgotten_not_even_the_number_is_left(tmp_path: Path) -> None:
    snapshot = full()
    snapshot.learn_caller(TENANT, "+919847000001", caller_entry())
    snapshot.learn_caller(TENANT, "+919847000002", None)
    before = snapshot.changes
    snapshot.forget_caller(TENANT, "+919847000001")
    snapshot.forget_caller(TENANT, "+919847000009")
    assert snapshot.changes == before + 1
    assert snapshot.caller(TENANT, "+919847000001") == (False, None)
    assert snapshot.caller(TENANT, "+919847000002") == (True, None)
    write_snapshot(tmp_path / "snapshot", snapshot.dump())
    assert b"9847000001" not in (tmp_path / "snapshot").read_bytes()
