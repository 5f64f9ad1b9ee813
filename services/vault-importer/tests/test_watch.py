from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from kit.postgres import Database
from vault_importer.store import alone_with_account
from vault_importer.watch import Watch, WatchOptions

pytestmark = pytest.mark.real
ROOT_KEY = bytes(range(32))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A watched folder whose clock the test moves."""

    def __init__(self, vault: Any, folder: Path, database: Database | None = None) -> None:
        self.clock = Clock()
        self.inbox = folder / "watch" / str(vault.account.id)
        self.inbox.mkdir(parents=True)
        self.watch = Watch(
            database=database or vault.database,
            key_of=lambda _: ROOT_KEY,
            options=WatchOptions(
                folder=folder / "watch",
                settle_seconds=10,
                attempts=2,
                temporary=vault.temporary,
                media_store=folder / "kept",
            ),
            clock=self.clock,
        )

    async def look_after(self, seconds: float) -> None:
        self.clock.now += seconds
        await self.watch.look()

    def names(self, folder: str) -> list[str]:
        found = self.inbox / folder
        return sorted(path.name.partition("-")[2] for path in found.iterdir()) if found.exists() else []


@pytest.fixture
def watched(vault: Any, tmp_path: Path) -> Watched:
    return Watched(vault, tmp_path)


async def test_a_file_is_imported_once_it_has_settled_and_moved_away(watched: Watched, vault: Any, stores: Any) -> None:
    shutil.copy(stores.encrypted(), watched.inbox)
    await watched.look_after(0)
    await watched.look_after(9)
    assert await vault.rows("SELECT * FROM import_run") == []
    await watched.look_after(1)
    assert [row["state"] for row in await vault.rows("SELECT state FROM import_run")] == ["completed"]
    assert watched.names("done") == ["msgstore.db.crypt15"]
    assert watched.watch.status() == {"waiting": 0, "imported": 1, "refused": 0}


async def test_a_file_that_still_grows_is_left_alone(watched: Watched, vault: Any, stores: Any) -> None:
    whole = stores.encrypted().read_bytes()
    target = watched.inbox / "msgstore.db.crypt15"
    target.write_bytes(whole[:1000])
    await watched.look_after(0)
    target.write_bytes(whole)
    await watched.look_after(11)
    assert await vault.rows("SELECT * FROM import_run") == []
    await watched.look_after(11)
    assert [row["state"] for row in await vault.rows("SELECT state FROM import_run")] == ["completed"]


async def test_a_refused_file_is_put_aside_with_its_reason(watched: Watched, stores: Any) -> None:
    path = watched.inbox / "msgstore.db.crypt15"
    path.write_bytes(stores.encrypted().read_bytes()[:-100])
    await watched.look_after(0)
    await watched.look_after(11)
    assert watched.names("refused") == ["msgstore.db.crypt15", "msgstore.db.crypt15.reason.txt"]
    [reason] = (watched.inbox / "refused").glob("*.reason.txt")
    assert "truncated" in reason.read_text(encoding="utf-8")


@pytest.mark.parametrize("ending", ["crypt12", "crypt14", "crypt15"])
async def test_backups_of_every_container_are_taken(watched: Watched, vault: Any, stores: Any, ending: str) -> None:
    shutil.copy(stores.encrypted(name=f"msgstore.db.{ending}"), watched.inbox)
    await watched.look_after(0)
    await watched.look_after(11)
    assert [row["state"] for row in await vault.rows("SELECT state FROM import_run")] == ["completed"]


async def test_an_address_book_goes_with_its_store(watched: Watched, vault: Any, stores: Any) -> None:
    shutil.copy(stores.plain(name="wa.db", script="wa.sql"), watched.inbox)
    await watched.look_after(0)
    await watched.look_after(11)
    assert await vault.rows("SELECT * FROM import_run") == []
    shutil.copy(stores.encrypted(), watched.inbox)
    await watched.look_after(0)
    await watched.look_after(11)
    assert {row["name"] for row in await vault.rows("SELECT name FROM contact")} >= {"Hey look it's me!"}


async def test_what_is_not_the_files_fault_is_tried_again_and_not_for_ever(
    vault: Any, stores: Any, tmp_path: Path
) -> None:
    down = Database(
        service="vault-importer", dsn="postgresql://127.0.0.1:1/none", app_password="x", system_password="x"
    )
    watched = Watched(vault, tmp_path, down)
    shutil.copy(stores.encrypted(), watched.inbox)
    await watched.look_after(0)
    await watched.look_after(11)
    assert watched.names("refused") == []
    await watched.look_after(1)
    assert watched.names("refused") == [], "tried again before the delay was over"
    await watched.look_after(60)
    assert watched.names("refused") == ["msgstore.db.crypt15", "msgstore.db.crypt15.reason.txt"]


async def test_a_folder_of_no_account_is_refused_and_other_folders_are_ignored(watched: Watched, stores: Any) -> None:
    stranger = watched.inbox.parent / str(uuid4())
    stranger.mkdir()
    (watched.inbox.parent / "notes").mkdir()
    shutil.copy(stores.encrypted(), stranger)
    shutil.copy(stores.encrypted(), watched.inbox.parent / "notes")
    await watched.look_after(0)
    await watched.look_after(11)
    assert len(list((stranger / "refused").iterdir())) == 2
    assert [p.name for p in (watched.inbox.parent / "notes").iterdir()] == ["msgstore.db.crypt15"]


async def test_a_file_that_another_process_has_in_hand_is_left_to_it(watched: Watched, vault: Any, stores: Any) -> None:
    shutil.copy(stores.encrypted(), watched.inbox)
    await watched.look_after(0)
    async with alone_with_account(vault.database, vault.account.id) as alone:
        assert alone
        await watched.look_after(11)
        assert await vault.rows("SELECT * FROM import_run") == []
    await watched.look_after(60)
    assert [row["state"] for row in await vault.rows("SELECT state FROM import_run")] == ["completed"]


async def test_two_that_watch_one_folder_import_and_tell_once(
    watched: Watched, vault: Any, stores: Any, tmp_path: Path
) -> None:
    clock = watched.clock
    other = Watch(
        database=vault.database,
        key_of=lambda _: ROOT_KEY,
        options=WatchOptions(folder=tmp_path / "watch", settle_seconds=10, attempts=2, temporary=vault.temporary),
        clock=clock,
    )
    shutil.copy(stores.encrypted(), watched.inbox)
    await asyncio.gather(watched.watch.look(), other.look())
    clock.now += 11
    await asyncio.gather(watched.watch.look(), other.look())
    await asyncio.gather(watched.watch.look(), other.look())
    assert [row["state"] for row in await vault.rows("SELECT state FROM import_run")] == ["completed"]
    assert watched.names("done") == ["msgstore.db.crypt15"]
    assert watched.names("refused") == []


async def test_media_that_lie_beside_a_backup_are_taken_with_it(watched: Any, vault: Any, stores: Any) -> None:
    images = watched.inbox / "Media" / "WhatsApp Images"
    images.mkdir(parents=True)
    (images / "IMG-1.jpg").write_bytes(b"a picture of a bill")
    shutil.copy(stores.beside(), watched.inbox)
    await watched.look_after(0)
    await watched.look_after(11)
    assert watched.names("done") == ["msgstore.db"]
    [file] = await vault.rows(
        "SELECT f.bytes, l.hash_agrees FROM media_file f JOIN message_media_file l USING (sha256)"
    )
    assert file == {"bytes": 19, "hash_agrees": False}
