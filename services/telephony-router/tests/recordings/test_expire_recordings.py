"""Recordings whose time is over: what goes and what stays, on a real Postgres and a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import SecretStr

from kit.postgres import Database
from telephony_router import recording_store
from telephony_router.api import admin_app
from telephony_router.blob_store import FileBlobStore, StoreAway, Verified
from telephony_router.expire_recordings import expire_recordings

pytestmark = pytest.mark.real
MakeDatabase = Callable[..., Awaitable[Database]]
KEEP = timedelta(days=90)
CALL = uuid4()


@dataclass
class Archive:
    database: Database
    folder: Path
    tenant: UUID = field(default_factory=uuid4)

    @property
    def blobs(self) -> FileBlobStore:
        return FileBlobStore(self.folder)

    @property
    def kept(self) -> set[bytes]:
        return {each.read_bytes() for each in self.folder.rglob("*") if each.is_file()}

    async def stores(self, sound: bytes, *, days: int, agent: bytes | None = None) -> UUID:
        """A recording that was stored so many days ago."""
        recording, hashes = uuid4(), list[str | None]()
        for content in (sound, agent):
            hashes.append(hashlib.sha256(content).hexdigest() if content is not None else None)
            if content is not None:
                source = self.folder.parent / "source"
                source.write_bytes(content)
                await self.blobs.put(self.tenant, str(hashes[-1]), source)
        at = datetime.now(UTC) - timedelta(days=days)
        async with self.database.transaction(self.tenant) as tx:
            await tx.execute(
                "INSERT INTO recording_fetch (tenant_id, id, call_id, recording_key, account_id, vendor, state)"
                " VALUES ($1, $2, $3, $2::uuid::text, $2, 'generic', 'stored')",
                self.tenant, recording, CALL,
            )  # fmt: skip
            await tx.execute(
                "INSERT INTO recording_file (tenant_id, recording_id, call_id, sha256, size_bytes, content_type,"
                " channels, duration_ms, speakers, voices, agent_sha256, stored_at)"
                " VALUES ($1, $2, $3, $4, $5, 'audio/wav', 1, 1000, 'mixed', 'mono', $6, $7)",
                self.tenant, recording, CALL, hashes[0], len(sound), hashes[1], at,
            )  # fmt: skip
        return recording

    async def state(self, recording: UUID) -> tuple[str, str | None]:
        async with self.database.transaction(self.tenant) as tx:
            found = await recording_store.show(tx, recording)
        assert found is not None
        return found["state"], found["sha256"]


@pytest.fixture
async def archive(make_database: MakeDatabase, tmp_path: Path) -> Archive:
    database = await make_database(service="telephony-router", package="telephony_router")
    return Archive(database, tmp_path / "store")


async def test_a_recording_whose_time_is_over_is_gone_for_good(archive: Archive) -> None:
    old = await archive.stores(b"old", days=91, agent=b"old agent")
    young = await archive.stores(b"young", days=89)
    assert await expire_recordings(archive.database, archive.blobs, keep=KEEP) == 1
    assert await expire_recordings(archive.database, archive.blobs, keep=KEEP) == 0
    assert await archive.state(old) == ("expired", None)
    assert archive.kept == {b"young"}
    app = admin_app(archive.database, SecretStr("admin"), Verified(archive.blobs))
    headers = {"authorization": "Bearer admin", "X-Tenant": str(archive.tenant), "X-Operator": "Desk"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router", headers=headers) as http:
        gone, there = [await http.get(f"/v1/calls/{CALL}/recordings/{each}/audio") for each in (old, young)]
    assert (gone.status_code, there.content) == (410, b"young")
    assert gone.json()["detail"].startswith("recordings are kept for a time; this one was let go on ")
    async with archive.database.transaction(archive.tenant) as tx:
        # Asked for again, it is not fetched any more.
        assert await recording_store.retry(tx, [old]) == []
        told = await tx.fetch("SELECT operator, action, recording_id FROM recording_audit WHERE action = 'expire'")
    assert [tuple(each) for each in told] == [("retention", "expire", old)]


async def test_all_that_are_over_go_however_many_are_looked_at_at_once(archive: Archive) -> None:
    for number in range(7):
        await archive.stores(b"%d" % number, days=100)
    assert await expire_recordings(archive.database, archive.blobs, keep=KEEP, limit=3) == 7
    assert archive.kept == set()


async def test_bytes_that_another_recording_has_too_stay(archive: Archive) -> None:
    await archive.stores(b"the same", days=100)
    await archive.stores(b"another", days=10, agent=b"the same")
    assert await expire_recordings(archive.database, archive.blobs, keep=KEEP) == 1
    assert archive.kept == {b"the same", b"another"}
    other = Archive(archive.database, archive.folder)
    await other.stores(b"the same", days=100)
    # Another business's are its own.
    assert await expire_recordings(archive.database, archive.blobs, keep=KEEP) == 1
    assert await expire_recordings(archive.database, archive.blobs, keep=timedelta(days=5)) == 1
    assert archive.kept == set()


async def test_a_store_that_is_away_lets_nothing_go(archive: Archive) -> None:
    recording = await archive.stores(b"old", days=100)

    class Away(FileBlobStore):
        async def remove(self, tenant: UUID, sha256: str) -> None:
            raise StoreAway("gone")

    with pytest.raises(StoreAway):
        await expire_recordings(archive.database, Away(archive.folder), keep=KEEP)
    assert (await archive.state(recording))[0] == "stored"
    assert await expire_recordings(archive.database, archive.blobs, keep=KEEP) == 1
    assert archive.kept == set()
