"""Recordings that a vendor only names: its API is asked where they are, on real servers with certificates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from kit.postgres import Database
from kit.testing import eventually
from telephony_router import recording_store, store
from telephony_router.answer_ring import intake_of
from telephony_router.blob_store import FileBlobStore
from telephony_router.fetch_recordings import Pace, RecordingFetcher
from telephony_router.peers import networks
from telephony_router.process_intake import process_some
from telephony_router.recording_links import address_of, named_file
from telephony_router.recording_source import Limits, RecordingSource, Refused
from telephony_router.seal import Seal
from telephony_router.signals import CallSignal, Recording
from telephony_router.vendors.base import Account

OTHER = "elsewhere.example.com"
KEY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
JSON = {"content_type": "application/json"}
MakeDatabase = Callable[..., Awaitable[Database]]


@pytest.fixture
def source(names: Any, certificates: Any) -> RecordingSource:
    allowed = networks(["127.0.0.0/8"])
    return RecordingSource(limits=Limits(), resolver=names, allow_networks=allowed, ca_file=str(certificates.authority))


@dataclass
class Shop:
    """A MyOperator account, whose API is the vendor's server of the test."""

    database: Database
    account: Account
    source: RecordingSource
    folder: Path
    api: str

    async def hears(self, recording: Recording, call: str) -> UUID:
        told = CallSignal(
            kind="status", vendor="myoperator", call_id=call, status="completed", status_raw="answer",
            recording=recording, confirmed=False,
        )  # fmt: skip
        row = intake_of(self.account, told, call.encode(), datetime.now(UTC), None)
        async with self.database.system() as tx:
            await store.take_in(tx, [row])
        await process_some(self.database)
        async with self.database.transaction(self.account.tenant) as tx:
            found: UUID = await tx.fetchval("SELECT id FROM recording_fetch WHERE call_id = $1", row.call_id)
        return found

    async def opens(self, token: str) -> None:
        sealed = Seal(KEY).close(self.account.id, token)
        async with self.database.transaction(self.account.tenant) as tx:
            await recording_store.put_access(tx, self.account.id, hosts=None, sealed=sealed, agent_channel=None)

    @asynccontextmanager
    async def fetching(self) -> Any:
        pace = Pace(first_pause_seconds=0.01, longest_pause_seconds=0.02, poll_seconds=0.02, attempts_max=2)
        blobs, apis = FileBlobStore(self.folder / "store"), {"myoperator": self.api}
        fetcher = RecordingFetcher(
            self.database, self.source, blobs, Seal(KEY), spool=self.folder / "spool", pace=pace, link_apis=apis
        )
        await fetcher.start()
        try:
            yield
        finally:
            await fetcher.stop()

    async def becomes(self, recording: UUID, state: str) -> str:
        async def reason() -> tuple[str] | None:
            async with self.database.transaction(self.account.tenant) as tx:
                row = await recording_store.show(tx, recording)
            return (row["reason"],) if row is not None and row["state"] == state else None

        (found,) = await eventually(reason, within=120)
        return str(found)


@pytest.fixture
async def shop(make_database: MakeDatabase, source: RecordingSource, vendor: Any, tmp_path: Path) -> Shop:
    database = await make_database(service="telephony-router", package="telephony_router")
    account = Account(id=uuid4(), tenant=uuid4(), vendor="myoperator")
    async with database.transaction(account.tenant) as tx:
        await store.add_account(tx, account_id=account.id, vendor="myoperator", label="", secret="s", sealed_tokens=[])
    return Shop(database, account, source, tmp_path, vendor.url("/recordings/link"))


@pytest.mark.real
async def test_a_file_that_is_only_named_is_fetched_from_where_the_api_says(
    shop: Shop, listen: Any, vendor: Any, replies: Any, sounds: Any
) -> None:
    bucket, asked = await listen(tls=OTHER), "/recordings/link?token=t%26k&file=my+1.mp3"
    bucket.replies["/signed?until=tomorrow"] = replies.answer(sounds.stereo(1))
    vendor.replies[asked] = replies.answer(b'{"status": "error", "message": "no voice file"}', **JSON)
    await shop.opens("t&k")
    # Beside the name stands the address of a page for people, and whoever sends both proves nothing.
    recording = await shop.hears(Recording(id="my 1.mp3", url=vendor.url("/page")), "c1")
    async with shop.fetching():
        assert await shop.becomes(recording, "failed") == "no_link"
    link = f'{{"status": "success", "url": "{bucket.url("/signed?until=tomorrow", OTHER)}"}}'
    vendor.replies[asked] = replies.answer(link.encode(), **JSON)
    async with shop.database.transaction(shop.account.tenant) as tx:
        await recording_store.retry(tx, [recording])
    async with shop.fetching():
        await shop.becomes(recording, "stored")
    assert [path for path, _ in vendor.asked] == [asked] * 3
    assert [path for path, _ in bucket.asked] == ["/signed?until=tomorrow"]
    assert not any("authorization" in headers for _, headers in (*vendor.asked, *bucket.asked))


@pytest.mark.real
async def test_without_a_token_nobody_is_asked_and_an_answer_that_leads_inside_is_not_followed(
    shop: Shop, vendor: Any, replies: Any, names: Any
) -> None:
    names.answers["inside.example.com"] = [["169.254.169.254"]]
    inside = b'{"status": "success", "url": "https://inside.example.com/latest/meta-data/"}'
    vendor.replies["/recordings/link?token=t&file=1"] = replies.answer(inside, **JSON)
    recording = await shop.hears(Recording(id="1"), "c1")
    async with shop.fetching():
        assert await shop.becomes(recording, "failed") == "no_credential"
    assert vendor.asked == []
    await shop.opens("t")
    async with shop.database.transaction(shop.account.tenant) as tx:
        await recording_store.retry(tx, [recording])
    async with shop.fetching():
        assert await shop.becomes(recording, "failed") == "address_not_public"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>", "no_link"),
        (b'{"status": "success"}', "no_link"),
        (b'{"status": "error", "url": "https://recordings.example.com/1"}', "no_link"),
        (b'["success"]', "no_link"),
        (b" " * 70_000, "too_large"),
    ],
)
async def test_an_answer_that_is_no_address_is_none(
    body: bytes, reason: str, source: RecordingSource, vendor: Any, replies: Any
) -> None:
    vendor.replies["/link?token=t&file=1"] = replies.answer(body, **JSON)
    with pytest.raises(Refused, match=reason):
        await address_of(source, vendor.url("/link"), "t", "1")


async def test_no_redirect_leads_the_token_to_another_host(
    source: RecordingSource, listen: Any, vendor: Any, replies: Any
) -> None:
    away = await listen(tls=OTHER)
    vendor.replies["/link?token=t&file=1"] = replies.redirect(away.url("/link?token=t&file=1", OTHER))
    with pytest.raises(Refused, match="host_not_listed"):
        await address_of(source, vendor.url("/link"), "t", "1")
    assert away.asked == []


def test_a_recording_that_goes_by_its_address_has_no_name() -> None:
    page = Recording(url="https://recordings.example.com/1")
    assert named_file(page.key, page.url) == ""
    assert named_file("my1.mp3", page.url) == named_file("my1.mp3", "") == "my1.mp3"
