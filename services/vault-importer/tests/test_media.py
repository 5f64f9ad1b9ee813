"""Media files: nothing but what lies in the phone's folder, whole, once, and linked to its messages."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from vault_importer.media_files import KeptFile, MediaFolders, keep_file

TENANT = uuid4()
CONTENT = b"a picture of a bill" * 1000
HASH = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
IMAGES = "Media/WhatsApp Images"


@pytest.fixture
def folders(tmp_path: Path) -> MediaFolders:
    phone, store = tmp_path / "phone", tmp_path / "store"
    (phone / IMAGES).mkdir(parents=True)
    (phone / IMAGES / "IMG-1.jpg").write_bytes(CONTENT)
    (tmp_path / "secret").write_bytes(b"not yours")
    return MediaFolders(phone=phone, store=store, largest_bytes=100_000)


def _stored(folders: MediaFolders) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folders.store.rglob("*")) if path.is_file()]


def test_a_file_is_kept_under_the_hash_of_its_content(folders: MediaFolders) -> None:
    kept = keep_file(folders, TENANT, f"{IMAGES}/IMG-1.jpg")
    assert kept == KeptFile(sha256=hashlib.sha256(CONTENT).digest(), size=len(CONTENT))
    name = hashlib.sha256(CONTENT).hexdigest()
    path = folders.store / str(TENANT) / name[:2] / name
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_media_folder_itself_may_be_given(folders: MediaFolders) -> None:
    inner = MediaFolders(phone=folders.phone / "Media", store=folders.store, largest_bytes=100_000)
    assert isinstance(keep_file(inner, TENANT, f"{IMAGES}/IMG-1.jpg"), KeptFile)


def test_the_same_content_is_kept_once(folders: MediaFolders) -> None:
    (folders.phone / IMAGES / "IMG-2.jpg").write_bytes(CONTENT)
    first, second = (keep_file(folders, TENANT, f"{IMAGES}/IMG-{at}.jpg") for at in (1, 2))
    assert first == second
    assert _stored(folders) == [CONTENT]


@pytest.mark.parametrize(
    "path",
    ["../secret", "Media/../../secret", f"{IMAGES}/../../../secret", "/etc/passwd", "Media//etc/passwd", "", "Media",
     "Media/", "Media/./IMG-1.jpg", "..\\secret", "Media/a\x00b"],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused(folders: MediaFolders, path: str) -> None:
    assert keep_file(folders, TENANT, path) == "bad_path"
    assert not folders.store.exists()


def test_links_are_not_followed(folders: MediaFolders) -> None:
    outside = folders.phone.parent
    (folders.phone / IMAGES / "link.jpg").symlink_to(outside / "secret")
    (folders.phone / "Media" / "linked").symlink_to(outside)
    assert keep_file(folders, TENANT, f"{IMAGES}/link.jpg") == "unreadable"
    assert keep_file(folders, TENANT, "Media/linked/secret") in ("missing", "unreadable")
    assert not folders.store.exists()


def test_a_media_folder_that_is_a_link_is_not_followed(folders: MediaFolders, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "Media").symlink_to(folders.phone / "Media")
    linked = MediaFolders(phone=other, store=folders.store, largest_bytes=100_000)
    assert keep_file(linked, TENANT, f"{IMAGES}/IMG-1.jpg") in ("missing", "unreadable")


def test_what_is_no_file_is_not_read(folders: MediaFolders) -> None:
    os.mkfifo(folders.phone / IMAGES / "pipe.jpg")
    assert keep_file(folders, TENANT, f"{IMAGES}/pipe.jpg") == "not_a_file"
    assert keep_file(folders, TENANT, IMAGES) == "unreadable"
    assert keep_file(folders, TENANT, f"{IMAGES}/absent.jpg") == "missing"


def test_a_file_that_is_too_large_leaves_nothing(folders: MediaFolders) -> None:
    bounded = MediaFolders(phone=folders.phone, store=folders.store, largest_bytes=len(CONTENT) - 1)
    assert keep_file(bounded, TENANT, f"{IMAGES}/IMG-1.jpg") == "too_large"
    assert not folders.store.exists()


def test_a_store_that_cannot_be_written_is_no_fault_of_the_file(folders: MediaFolders) -> None:
    folders.store.write_bytes(b"a file where the folder should be")
    with pytest.raises(OSError, match="director"):
        keep_file(folders, TENANT, f"{IMAGES}/IMG-1.jpg")


PHOTOS = (
    f"UPDATE message_media SET file_hash = '{HASH}'",
    "INSERT INTO message_media (message_row_id, file_path, file_hash) VALUES"
    f" (8002, '{IMAGES}/IMG-2.jpg', 'bm90IHRoaXM='), (8004, '{IMAGES}/lost.jpg', ''), (8005, '../secret', ''),"
    f" (8006, NULL, ''), (8003, '{IMAGES}/IMG-1.jpg', '{HASH}')",
)


@pytest.mark.real
async def test_an_import_brings_the_files_and_says_what_became_of_each(
    vault: Any, stores: Any, folders: MediaFolders
) -> None:
    (folders.phone / IMAGES / "IMG-2.jpg").write_bytes(b"edited on the phone")
    run = await vault.import_(stores.beside(*PHOTOS), media=folders)
    assert run.manifest["media_files"] == {
        "seen": 6, "new": 3, "changed": 0, "unchanged": 0, "hash_differs": 1,
        "skipped": {"bad_path": 1, "missing": 1, "not_downloaded": 1},
    }  # fmt: skip
    links = await vault.rows(
        "SELECT m.key_id, f.hash_agrees, f.sha256 FROM message_media_file f JOIN message m ON m.id = f.message_id"
        " ORDER BY m.key_id"
    )
    assert [(row["key_id"], row["hash_agrees"]) for row in links] == [
        ("PHOTO1", True),
        ("POLL1", True),
        ("REPLY1", False),
    ]
    assert len(await vault.rows("SELECT * FROM media_file")) == len(_stored(folders)) == 2


@pytest.mark.real
async def test_what_is_not_on_the_phone_any_more_is_found_by_its_hash(
    vault: Any, stores: Any, folders: MediaFolders
) -> None:
    forwarded = (
        f"UPDATE message_media SET file_path = '{IMAGES}/IMG-1.jpg', file_hash = '{HASH}'",
        "INSERT INTO message_media (message_row_id, file_path, file_hash) VALUES"
        f" (8002, NULL, '{HASH}'), (8003, '{IMAGES}/gone.jpg', '{HASH}'), (8004, '{IMAGES}/gone.jpg', 'not base 64'),"
        " (8005, NULL, 'bm90IHRoaXM=')",
    )
    run = await vault.import_(stores.beside(*forwarded), media=folders)
    assert run.manifest["media_files"] == {
        "seen": 5, "new": 3, "changed": 0, "unchanged": 0, "hash_differs": 0,
        "skipped": {"missing": 1, "not_downloaded": 1},
    }  # fmt: skip
    links = await vault.rows("SELECT DISTINCT sha256, hash_agrees FROM message_media_file")
    assert [(row["sha256"], row["hash_agrees"]) for row in links] == [(hashlib.sha256(CONTENT).digest(), True)]
    assert (await vault.import_(stores.beside(*forwarded), media=folders)).manifest["media_files"]["unchanged"] == 3
    assert len(_stored(folders)) == 1


@pytest.mark.real
async def test_a_backup_that_was_imported_without_its_media_takes_them_later(
    vault: Any, stores: Any, folders: MediaFolders
) -> None:
    path = stores.beside(*PHOTOS)
    await vault.import_(path)
    assert await vault.rows("SELECT * FROM message_media_file") == []
    again = await vault.import_(path, media=folders)
    assert (again.state, again.manifest["media_files"]["new"]) == ("unchanged", 2)
    (folders.phone / IMAGES / "lost.jpg").write_bytes(b"found")
    third = await vault.import_(path, media=folders)
    files = third.manifest["media_files"]
    assert (files["new"], files["unchanged"]) == (1, 2)
    assert files["seen"] == files["new"] + files["unchanged"] + sum(files["skipped"].values())
    # And one that is noted, not only told.
    [noted] = await vault.rows("SELECT manifest->'media_files'->>'new' AS new FROM import_run WHERE id = $1", third.id)
    assert noted == {"new": "1"}
