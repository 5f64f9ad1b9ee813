"""Recordings of somebody who is erased just when they are fetched, on a real Postgres and a real server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from kit.testing import eventually
from telephony_router import erasure_store
from telephony_router.forget_person import remove_erased_recordings
from telephony_router.signals import Recording

from .conftest import Office

pytestmark = pytest.mark.real


async def test_bytes_of_a_recording_that_is_erased_while_it_is_fetched_do_not_stay(
    office: Office, vendor: Any, replies: Any, sounds: Any
) -> None:
    reached, go = asyncio.Event(), asyncio.Event()

    async def held(writer: asyncio.StreamWriter) -> None:
        reached.set()
        await go.wait()
        await replies.answer(sounds.stereo(1))(writer)

    vendor.replies["/1"] = held
    recording = await office.hears(Recording(url=vendor.url("/1")), caller_raw="+919847000001")
    fetcher = office.fetcher("slow")
    (office.folder / "slow").mkdir()
    assert await fetcher.take() == 1
    await asyncio.wait_for(reached.wait(), 60)
    async with office.database.transaction(office.account.tenant) as tx:
        erased = await erasure_store.erase_calls(tx, ["+919847000001"], until=datetime.now(UTC))
    assert erased["recording_fetch"] == 1, recording
    go.set()
    await eventually(lambda: fetcher.status()["fetching"] == 0, within=120)
    assert [each for each in (office.folder / "store").rglob("*") if each.is_file()] != []
    await remove_erased_recordings(office.database, office.blobs)
    assert [each for each in (office.folder / "store").rglob("*") if each.is_file()] == []
    assert await office.events() == []
    await fetcher.stop()
