"""Fetching media files and erasing whom they are of, at the same time: whoever comes first, nothing is left."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from vault_importer.erasure import decide
from vault_importer.load_media import load_media
from vault_importer.media_files import MediaFolders, path_of

from .conftest import KEY, OWN_FILE, SHARED_FILE, Forgetting
from .test_carry_out import verified

pytestmark = pytest.mark.real

Steps = Callable[[], Awaitable[None]]


@pytest.fixture
async def waiting(vault: Any, stores: Any, tmp_path: Path) -> Forgetting:
    """The person is in the archive, and no file of any message."""
    made = Forgetting(vault, stores, tmp_path)
    await made.import_(media=None)
    return made


async def fetch(forgetting: Forgetting, *, after_call: int = 0, do: Steps | None = None) -> dict[str, Any]:
    """Fetch what there is to fetch. ``do`` is done meanwhile: 1, once the files are copied; 2, in the transaction that
    links them."""
    calls = 0

    async def in_worker(function: Callable[..., Any], *arguments: object) -> Any:
        nonlocal calls
        calls += 1
        result = await asyncio.to_thread(function, *arguments)
        if calls == after_call and do is not None:
            await do()
        return result

    folders = MediaFolders(
        phone=forgetting.folder / "phone", store=forgetting.folder / "media", largest_bytes=1_000_000
    )
    vault = forgetting.vault
    return await load_media(
        vault.database, vault.account, folders, import_id=uuid4(), now=lambda: datetime.now(UTC), in_worker=in_worker
    )


def stored(forgetting: Forgetting) -> set[bytes]:
    return {path.read_bytes() for path in (forgetting.folder / "media").rglob("*") if path.is_file()}


async def linked(forgetting: Forgetting) -> set[str]:
    """Keys of the messages that have a file; one that is gone has none."""
    rows = await forgetting.vault.rows(
        "SELECT coalesce(m.key_id, 'gone') AS key_id"
        " FROM message_media_file f LEFT JOIN message m ON m.id = f.message_id"
    )
    return {row["key_id"] for row in rows}


async def test_a_file_of_somebody_who_is_erased_meanwhile_is_not_linked(waiting: Forgetting) -> None:
    async def erase() -> None:
        assert OWN_FILE in stored(waiting)
        await waiting.carried_out()

    files = await fetch(waiting, after_call=1, do=erase)
    assert await linked(waiting) == {"G6"}
    assert stored(waiting) == {SHARED_FILE}
    assert files["skipped"]["erased"] == 2
    assert files["seen"] == files["new"] + files["unchanged"] + sum(files["skipped"].values())
    await verified(waiting)


async def test_nobody_begins_to_erase_while_files_are_linked(waiting: Forgetting) -> None:
    case = await waiting.planned()
    begun: list[asyncio.Task[Any]] = []

    async def begin() -> None:
        database, tenant = waiting.vault.database, waiting.vault.tenant
        begun.append(
            asyncio.create_task(decide.begin(database, tenant, case.id, plan=case.plan_hash, by="owner", key=KEY))
        )
        while not await waits_for_a_lock(waiting):
            assert not begun[0].done(), "it did not wait"
            await asyncio.sleep(0.05)

    await fetch(waiting, after_call=2, do=begin)
    assert (await begun[0]).state == "erasing"
    assert await linked(waiting) == {"D3", "D4", "G6"}
    await waiting.carry_out(case.id)
    assert await linked(waiting) == {"G6"}
    assert stored(waiting) == {SHARED_FILE}
    await verified(waiting)


async def waits_for_a_lock(forgetting: Forgetting) -> bool:
    rows = await forgetting.vault.rows(
        "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return bool(rows)


async def test_nothing_is_fetched_for_whom_is_hidden(waiting: Forgetting) -> None:
    await waiting.begun()
    files = await fetch(waiting)
    assert await linked(waiting) == {"G6"}
    assert stored(waiting) == {SHARED_FILE}
    assert (files["seen"], files["new"]) == (files["new"] + sum(files["skipped"].values()), 1)


async def test_content_that_went_with_somebody_is_fetched_again_for_another(forgetting: Forgetting) -> None:
    """Another's message has the same picture: it was in the store when it was looked for, and then it was not."""
    same = [
        "INSERT INTO message (_id, chat_row_id, from_me, key_id, sender_jid_row_id, timestamp, message_type)"
        " VALUES (9012, 19, 0, 'G8', 301, 1700000112000, 1)",
        "INSERT INTO message_media (message_row_id, file_path, file_size, mime_type)"
        " VALUES (9012, 'Media/own.jpg', 1, 'image/jpeg')",
    ]
    await forgetting.import_(*same, name="newer.db", media=None)
    assert await linked(forgetting) == {"D3", "D4", "G6"}

    async def erase() -> None:
        await forgetting.carried_out()
        assert OWN_FILE not in stored(forgetting)

    files = await fetch(forgetting, after_call=1, do=erase)
    assert files["new"] == 1
    assert await linked(forgetting) == {"G6", "G8"}
    assert stored(forgetting) == {OWN_FILE, SHARED_FILE}
    await verified(forgetting)


async def test_what_a_killed_import_has_left_in_the_store_goes_too(forgetting: Forgetting) -> None:
    left = b"fetched, and never linked"
    store, tenant = forgetting.folder / "media", forgetting.vault.tenant
    path = path_of(store, tenant, hashlib.sha256(left).digest())
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(left)
    half, at_work = store / str(tenant) / ".half.part", store / str(tenant) / ".new.part"
    half.write_bytes(left)
    at_work.write_bytes(b"just being copied")
    os.utime(half, (0, 0))
    await forgetting.carried_out()
    assert stored(forgetting) == {SHARED_FILE, b"just being copied"}
