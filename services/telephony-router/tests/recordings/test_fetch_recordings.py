"""From a webhook that tells of a recording to the event that says it is there, on a real Postgres and a real server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import sys
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from kit.testing import eventually
from telephony_router import recording_store, store
from telephony_router.api import admin_app
from telephony_router.blob_store import FileBlobStore, Verified, blob_name
from telephony_router.expire_recordings import expire_recordings
from telephony_router.fetch_recordings import Pace
from telephony_router.recording_api import byte_range
from telephony_router.recording_vendors import agent_channel
from telephony_router.seal import Seal
from telephony_router.signals import Recording

from .conftest import KEY, NAME, SWIFT, Office, an_account

MIGRATION = Path(store.__file__).parent / "migrations/0007_recordings.sql"
ADMIN = {"authorization": "Bearer admin"}
real = pytest.mark.real


@real
async def test_a_stereo_recording_is_stored_taken_apart_and_told_once(
    office: Office, vendor: Any, replies: Any, sounds: Any
) -> None:
    sound = sounds.stereo()
    vendor.replies["/1"] = replies.answer(sound)
    recording = await office.hears(Recording(url=vendor.url("/1")))
    async with office.fetching():
        row = await office.becomes(recording, "stored")
    [event] = await office.events()
    assert (event.recording_id, event.call_id) == (str(recording), str(row["call_id"]))
    assert (event.sha256, event.size_bytes) == (hashlib.sha256(sound).hexdigest(), len(sound))
    assert (event.content_type, event.channels, event.duration_ms, event.speakers) == (
        "audio/wav",
        2,
        4000,
        "by_channel",
    )
    agent = (office.folder / "store" / blob_name(office.account.tenant, event.agent_sha256 or "")).read_bytes()
    customer = (office.folder / "store" / blob_name(office.account.tenant, event.customer_sha256 or "")).read_bytes()
    # Of an inbound call the customer began: the first channel is theirs.
    assert (agent[44:48], customer[44:48]) == (sound[46:48] + sound[50:52], sound[44:46] + sound[48:50])
    assert list((office.folder / "one").iterdir()) == []


@real
async def test_a_mono_recording_and_a_stereo_of_one_voice_are_mixed(
    office: Office, vendor: Any, replies: Any, sounds: Any
) -> None:
    voice = sounds.tone(300, 2)
    vendor.replies |= {"/mono": replies.answer(sounds.wav(voice)), "/same": replies.answer(sounds.wav(voice, voice))}
    found = [await office.hears(Recording(url=vendor.url(path)), call=path) for path in ("/mono", "/same")]
    async with office.fetching():
        rows = [await office.becomes(each, "stored") for each in found]
    assert [(row["speakers"], row["voices"]) for row in rows] == [("mixed", "mono"), ("mixed", "same")]
    assert {(event.speakers, event.agent_sha256) for event in await office.events()} == {("mixed", None)}


@real
async def test_what_is_not_ready_is_asked_for_again_and_again_and_not_for_ever(
    office: Office, vendor: Any, replies: Any, sounds: Any
) -> None:
    vendor.replies["/late"] = replies.answer(b"", status="404 Not Found")
    late = await office.hears(Recording(url=vendor.url("/late")))
    never = await office.hears(Recording(url=vendor.url("/never")), call="c2")
    async with office.fetching(pace=replace(SWIFT, attempts_max=5)):
        gone = await office.becomes(never, "failed")
        await office.becomes(late, "failed")
    assert (gone["reason"], gone["attempts"], gone["next_attempt_at"]) == ("http_404", 5, None)
    assert len([path for path, _ in vendor.asked if path == "/never"]) == 5
    assert await office.events() == []
    vendor.replies["/late"] = replies.answer(sounds.stereo(1))
    async with office.database.transaction(office.account.tenant) as tx:
        assert {each for each, _ in await recording_store.retry(tx, [late, never])} == {late, never}
    async with office.fetching():
        assert (await office.becomes(late, "stored"))["attempts"] == 1


@real
async def test_a_recording_is_not_fetched_before_the_vendor_has_it(
    office: Office, vendor: Any, replies: Any, sounds: Any
) -> None:
    vendor.replies["/1"] = replies.answer(sounds.stereo(1))
    soon = datetime.now(UTC) + timedelta(hours=1)
    later = await office.hears(Recording(url=vendor.url("/1"), state="pending", available_by=soon))
    assert (await office.row(later))["next_attempt_at"] == soon
    assert await office.fetcher().take() == 0
    # Its end is told: now it is there.
    assert await office.hears(Recording(url=vendor.url("/1"))) == later
    async with office.fetching():
        await office.becomes(later, "stored")


@real
async def test_what_the_vendor_says_is_absent_is_over_and_news_begins_it_anew(
    office: Office, vendor: Any, replies: Any, sounds: Any
) -> None:
    vendor.replies["/1"] = replies.answer(sounds.stereo(1))
    recording = await office.hears(Recording(id="RE1", state="absent"))
    row = await office.row(recording)
    assert (row["state"], row["reason"], row["attempts"]) == ("absent", "told_by_vendor", 0)
    assert await office.fetcher().take() == 0
    assert await office.hears(Recording(id="RE1", url=vendor.url("/1"))) == recording
    async with office.fetching():
        await office.becomes(recording, "stored")
    await office.hears(Recording(id="RE1", url=vendor.url("/other")))
    assert (await office.row(recording))["state"] == "stored"
    assert len(await office.events()) == 1


@real
async def test_an_address_that_leads_inside_fails_at_once_with_its_reason(office: Office, names: Any) -> None:
    names.answers["inside.example.com"] = [["169.254.169.254"]]
    inside = await office.hears(Recording(url="https://inside.example.com/latest/meta-data/"))
    disk = await office.hears(Recording(url="/var/spool/1.wav"), call="c2")
    nowhere = await office.hears(Recording(id="1"), call="c3")
    async with office.fetching():
        rows = [await office.becomes(each, "failed") for each in (inside, disk, nowhere)]
    assert [row["reason"] for row in rows] == ["address_not_public", "scheme_not_allowed", "no_address"]
    assert [row["attempts"] for row in rows] == [1, 1, 1]


@real
async def test_who_is_not_proven_chooses_among_the_accounts_hosts_only(
    office: Office, vendor: Any, replies: Any, sounds: Any
) -> None:
    vendor.replies["/1"] = replies.answer(sounds.stereo(1))
    recording = await office.hears(Recording(url=vendor.url("/1")), confirmed=False)
    async with office.fetching():
        assert (await office.becomes(recording, "failed"))["reason"] == "host_not_listed"
    assert vendor.asked == []
    sealed = Seal(KEY).close(office.account.id, "key:secret")
    async with office.database.transaction(office.account.tenant) as tx:
        kept = await recording_store.put_access(tx, office.account.id, hosts=[NAME], sealed=sealed, agent_channel=1)
        assert await recording_store.put_access(tx, uuid4(), hosts=[], sealed=None, agent_channel=None) is None
        await recording_store.retry(tx, [])
    assert kept == {"hosts": [NAME], "has_credential": True, "agent_channel": 1}
    async with office.fetching():
        await office.becomes(recording, "stored")
    assert [headers["authorization"] for _, headers in vendor.asked] == ["Basic a2V5OnNlY3JldA=="]


@real
async def test_twilios_recordings_are_opened_with_the_account_that_their_address_names(
    office: Office, vendor: Any, replies: Any, sounds: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telephony_router.fetch_recordings.HOSTS", {"twilio": (NAME,)})
    path = f"/2010-04-01/Accounts/AC{'0' * 32}/Recordings/RE1"
    vendor.replies[path] = replies.answer(sounds.stereo(1))
    account = await an_account(office.database, office.account.tenant, "twilio", "token")
    recording = await office.hears(Recording(id="RE1", url=vendor.url(path)), account=account)
    async with office.fetching():
        await office.becomes(recording, "stored")
    [(_, headers)] = vendor.asked
    assert httpx.BasicAuth(f"AC{'0' * 32}", "token")._auth_header == headers["authorization"]


@real
async def test_vonages_recordings_are_opened_with_a_token_that_the_application_signs(
    office: Office, vendor: Any, replies: Any, sounds: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telephony_router.fetch_recordings.HOSTS", {"vonage": (NAME,)})
    vendor.replies["/v1/files/1"] = replies.answer(sounds.stereo(1))
    account = await an_account(office.database, office.account.tenant, "vonage")
    key = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    sealed = Seal(KEY).close(account.id, f"an-application:{key}")
    async with office.database.transaction(account.tenant) as tx:
        await recording_store.put_access(tx, account.id, hosts=[], sealed=sealed, agent_channel=None)
    recording = await office.hears(Recording(id="1", url=vendor.url("/v1/files/1")), account=account)
    async with office.fetching():
        await office.becomes(recording, "stored")
    [(_, headers)] = vendor.asked
    claims = headers["authorization"].removeprefix("Bearer ").split(".")[1]
    assert b'"application_id":"an-application"' in urlsafe_b64decode(claims + "=" * (-len(claims) % 4))


@real
async def test_two_fetchers_share_the_work_and_an_account_gets_no_more_than_its_share(
    office: Office, vendor: Any, replies: Any, sounds: Any
) -> None:
    other = await an_account(office.database, office.account.tenant, "generic")
    open_, most = 0, 0
    full = asyncio.Event()

    def held(sound: bytes, busy: bool) -> Any:
        async def reply(writer: asyncio.StreamWriter) -> None:
            nonlocal open_, most
            open_, most = open_ + busy, max(most, open_ + busy)
            if open_ == 2:
                full.set()
            await full.wait()
            await asyncio.sleep(0.05)
            open_ -= busy
            await replies.answer(sound)(writer)

        return reply

    found = []
    for number in range(12):
        mine = number % 3 > 0
        sound = sounds.wav(sounds.tone(200 + number, 0.5))
        vendor.replies[f"/{number}"] = held(sound, mine)
        account = office.account if mine else other
        found.append(await office.hears(Recording(url=vendor.url(f"/{number}")), call=f"c{number}", account=account))
    async with office.fetching("one"), office.fetching("two"):
        for each in found:
            await office.becomes(each, "stored")
    assert most == 2
    assert len(vendor.asked) == len({path for path, _ in vendor.asked}) == 12
    assert len({event.recording_id for event in await office.events()}) == len(await office.events()) == 12


@real
async def test_a_fetcher_that_lost_its_lease_tells_nothing(
    office: Office, vendor: Any, replies: Any, sounds: Any
) -> None:
    reached, go = asyncio.Event(), asyncio.Event()

    async def held(writer: asyncio.StreamWriter) -> None:
        reached.set()
        await go.wait()
        await replies.answer(sounds.stereo(1))(writer)

    vendor.replies["/1"] = held
    recording = await office.hears(Recording(url=vendor.url("/1")))
    slow = office.fetcher("slow")
    (office.folder / "slow").mkdir()
    assert await slow.take() == 1
    await asyncio.wait_for(reached.wait(), 60)
    async with office.database.system() as tx:
        await tx.execute("UPDATE recording_fetch SET leased_until = now() - interval '1 second'")
    vendor.replies["/1"] = replies.answer(sounds.stereo(1))
    async with office.fetching("quick"):
        await office.becomes(recording, "stored")
    go.set()
    await eventually(lambda: slow.status()["fetching"] == 0)
    assert len(await office.events()) == 1
    assert (await office.row(recording))["attempts"] == 2
    await slow.stop()


@real
async def test_who_stops_gives_back_what_it_was_at_and_it_costs_no_attempt(
    office: Office, vendor: Any, replies: Any, sounds: Any
) -> None:
    reached = asyncio.Event()

    async def never(_: asyncio.StreamWriter) -> None:
        reached.set()
        await asyncio.Event().wait()

    vendor.replies["/1"] = never
    recording = await office.hears(Recording(url=vendor.url("/1")))
    async with office.fetching():
        await asyncio.wait_for(reached.wait(), 60)
    row = await office.row(recording)
    assert (row["state"], row["reason"], row["attempts"]) == ("pending", "interrupted", 0)


@real
async def test_a_store_that_is_away_costs_no_attempt(office: Office, vendor: Any, replies: Any, sounds: Any) -> None:
    vendor.replies["/1"] = replies.answer(sounds.stereo(1))
    recording = await office.hears(Recording(url=vendor.url("/1")))
    (office.folder / "full").write_text("a file where a folder should be")
    async with office.fetching(blobs=FileBlobStore(office.folder / "full")):

        async def given_back() -> bool:
            row = await office.row(recording)
            return bool(row["state"] == "pending" and row["reason"] == "store_away" and row["attempts"] == 0)

        await eventually(given_back, within=120)
    assert await office.events() == []


@real
async def test_what_was_told_before_there_was_a_fetcher_is_queued_by_the_migration(
    office: Office, postgres_dsn: str
) -> None:
    recording = await office.hears(Recording(url="https://recordings.example.com/1"))
    absent = await office.hears(Recording(id="2", state="absent"), call="c2")
    async with office.database.transaction(office.account.tenant) as tx:
        name = await tx.fetchval("SELECT current_database()")
        await tx.execute("DELETE FROM recording_fetch")
    parts = urlsplit(postgres_dsn)
    owner = await asyncpg.connect(urlunsplit(parts._replace(path=f"/{name}")))
    text = MIGRATION.read_text()
    await owner.execute("SET ROLE telephony_router_owner; SET search_path TO telephony_router")
    await owner.execute(text[text.index("ALTER TABLE recording NO FORCE") :])
    await owner.close()
    async with office.database.transaction(office.account.tenant) as tx:
        rows = await tx.fetch("SELECT id, state, reason FROM recording_fetch ORDER BY state")
    assert [(row["state"], row["reason"]) for row in rows] == [("absent", "told_by_vendor"), ("pending", "")]
    assert {row["id"] for row in rows}.isdisjoint({recording, absent})
    async with office.database.transaction(uuid4()) as tx:
        assert await tx.fetch("SELECT FROM recording_fetch") == [], "the fence is down"


@asynccontextmanager
async def a_router(
    office: Office, name: str, postgres_dsn: str, database: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    parts = urlsplit(postgres_dsn)
    dsn = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], path=f"/{database}"))
    ours = {
        "HTTP_PORT": str(port), "DATA_DIR": str(office.folder / name), "APP_PASSWORD": "test",
        "SYSTEM_PASSWORD": "test", "SECRET_KEY": KEY,
        "RECORDING_STORE": str(office.folder / "store"), "RECORDING_ALLOW_HTTP": "true",
        "RECORDING_ALLOW_NETWORKS": "127.0.0.0/8", "RECORDING_LEASE_SECONDS": "6",
    }  # fmt: skip
    environment = {f"TRUNKLINE_TELEPHONY_ROUTER_{key}": value for key, value in ours.items()}
    # Neither Kafka nor Redis: what is told waits in the outbox.
    shared = {"TRUNKLINE_KAFKA_BOOTSTRAP": "127.0.0.1:1", "TRUNKLINE_REDIS_URL": "redis://127.0.0.1:1/0"}
    shared |= {"TRUNKLINE_DEMO": "true", "TRUNKLINE_ADMIN_TOKEN": "admin", "TRUNKLINE_POSTGRES_DSN": dsn}
    with (office.folder / f"{name}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "telephony_router", env={**os.environ, **environment, **shared}, stderr=log
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 60)


@real
async def test_what_a_killed_router_was_fetching_another_one_takes_up_and_tells_once(
    office: Office, listen: Any, replies: Any, sounds: Any, postgres_dsn: str
) -> None:
    plain = await listen()
    sound, reached = sounds.stereo(), asyncio.Event()

    async def half(writer: asyncio.StreamWriter) -> None:
        head = f"content-type: audio/wav\r\ncontent-length: {len(sound)}\r\n\r\n"
        writer.write(f"HTTP/1.1 200 OK\r\n{head}".encode())
        writer.write(sound[:1000])
        await writer.drain()
        reached.set()
        await asyncio.Event().wait()

    plain.replies["/1"] = half
    recording = await office.hears(Recording(url=plain.url("/1", "127.0.0.1")))
    async with office.database.transaction(office.account.tenant) as tx:
        name = await tx.fetchval("SELECT current_database()")
    spool = office.folder / "one" / "recordings-incoming"
    async with a_router(office, "one", postgres_dsn, name) as one:
        await asyncio.wait_for(reached.wait(), 180)
        await eventually(lambda: list(spool.iterdir()))
        one.kill()
        await one.wait()
    assert len(list(spool.iterdir())) == 1
    assert (await office.row(recording))["state"] == "fetching"
    plain.replies["/1"] = replies.answer(sound)
    async with a_router(office, "two", postgres_dsn, name), a_router(office, "one", postgres_dsn, name):
        row = await office.becomes(recording, "stored")

        async def swept() -> bool:
            return not list(spool.iterdir())

        await eventually(swept, within=120)
    assert (row["attempts"], row["sha256"]) == (2, hashlib.sha256(sound).hexdigest())
    assert [event.recording_id for event in await office.events()] == [str(recording)]


def test_pauses_double_to_a_longest_one_and_are_spread() -> None:
    pace = Pace(first_pause_seconds=30, longest_pause_seconds=3600)
    assert [pace.pause(attempts, 1.0) for attempts in (1, 2, 3, 8, 50)] == [30, 60, 120, 3600, 3600]
    assert pace.pause(1, 0.0) == 15


def test_the_agent_is_on_the_channel_of_the_leg_that_did_not_begin_the_call() -> None:
    assert [agent_channel(None, "inbound"), agent_channel(None, "outbound")] == [2, 1]
    assert [agent_channel(1, "inbound"), agent_channel(2, "outbound")] == [1, 2]


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", None), ("bytes=0-", (0, 99)), ("bytes=10-19", (10, 19)), ("bytes=90-500", (90, 99)),
        ("bytes=-5", (95, 99)), ("bytes=-500", (0, 99)),
        ("bytes=0-0", (0, 0)), ("bytes=0-1,5-6", None), ("lines=1-2", None),
        ("bytes=-", None), ("bytes=9-2", None), ("bytes=a-b", None),
    ],
)  # fmt: skip
def test_a_range_is_read_as_http_means_it(header: str, wanted: tuple[int, int] | None) -> None:
    assert byte_range(header, 100) == wanted


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=200-300", "bytes=-0"])
def test_a_range_behind_the_end_cannot_be_given(header: str) -> None:
    with pytest.raises(ValueError, match="behind the end"):
        byte_range(header, 100)


@real
async def test_a_recording_is_listened_to_whole_and_in_parts_by_who_says_their_name(
    office: Office, vendor: Any, replies: Any, sounds: Any
) -> None:
    sound = sounds.stereo()
    vendor.replies["/1"] = replies.answer(sound)
    recording = await office.hears(Recording(url=vendor.url("/1")))
    async with office.fetching():
        row = await office.becomes(recording, "stored")
    app = admin_app(office.database, SecretStr("admin"), Verified(office.blobs))
    base, tenant = f"/v1/calls/{row['call_id']}/recordings", {"X-Tenant": str(office.account.tenant)}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as http:
        assert (await http.get(base, headers=tenant)).status_code == 401
        http.headers.update(ADMIN | tenant)
        [listed] = (await http.get(base)).json()
        assert (listed["id"], listed["state"], listed["speakers"]) == (str(recording), "stored", "by_channel")
        assert "url" not in listed
        audio = f"{base}/{recording}/audio"
        assert (await http.get(audio)).status_code == 422
        assert (await http.get(audio, headers={"X-Operator": "%00"})).status_code == 422
        http.headers["X-Operator"] = "Reception%20desk"
        whole = await http.get(audio)
        assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, sound, "audio/wav")
        part = await http.get(audio, headers={"Range": "bytes=44-1043"})
        assert (part.status_code, part.content) == (206, sound[44:1044])
        assert part.headers["content-range"] == f"bytes 44-1043/{len(sound)}"
        head = await http.head(audio, headers={"Range": "bytes=0-9"})
        assert (head.status_code, head.headers["content-length"], head.content) == (206, "10", b"")
        other = {"Range": "bytes=0-9", "If-Range": '"another"'}
        assert (await http.get(audio, headers=other)).status_code == 200
        behind = await http.get(audio, headers={"Range": f"bytes={len(sound)}-"})
        assert (behind.status_code, behind.headers["content-range"]) == (416, f"bytes */{len(sound)}")
        agent = await http.get(audio, params={"voice": "agent"})
        assert len(agent.content) == 44 + (len(sound) - 44) // 2
        stranger = {"X-Tenant": str(uuid4())}
        assert [(await http.get(path, headers=stranger)).status_code for path in (base, audio)] == [404, 404]
        place = office.folder / "store" / blob_name(office.account.tenant, hashlib.sha256(sound).hexdigest())
        place.write_bytes(b"\0" * len(sound))
        assert (await http.get(audio, headers={"Range": "bytes=0-9"})).status_code == 500
        place.unlink()
        assert (await http.get(audio)).status_code == 500
    async with office.database.transaction(office.account.tenant) as tx:
        rows = await tx.fetch("SELECT operator, action, recording_id, detail FROM recording_audit ORDER BY at, id")
    heard = [(each["operator"], each["action"], each["detail"]) for each in rows]
    assert heard == [
        ("Reception desk", "listen", detail) for detail in ("all", "all bytes 44-1043", "all", "agent", "all bytes 0-9")
    ]
    assert {each["recording_id"] for each in rows} == {recording}


@real
async def test_who_stores_bytes_that_are_let_go_at_that_moment_stores_them_anew(
    office: Office, vendor: Any, replies: Any, sounds: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telephony_router.fetch_recordings.AWAY_SECONDS", 0.1)
    sound = sounds.stereo(1)
    vendor.replies |= {"/1": replies.answer(sound), "/2": replies.answer(sound)}
    old = await office.hears(Recording(url=vendor.url("/1")), call="/1")
    async with office.fetching():
        await office.becomes(old, "stored")
    async with office.database.transaction(office.account.tenant) as tx:
        await tx.execute("CREATE TEMPORARY TABLE old ON COMMIT DROP AS TABLE recording_file")
        await tx.execute("UPDATE old SET stored_at = stored_at - interval '100 days'; DELETE FROM recording_file")
        await tx.execute("INSERT INTO recording_file TABLE old")

    class Late(FileBlobStore):
        """Time for the other's to be let go between the bytes and what is told of them."""

        expired = 0

        async def put(self, tenant: UUID, sha256: str, source: Path) -> None:
            await super().put(tenant, sha256, source)
            if sha256 == hashlib.sha256(sound).hexdigest():
                self.expired += await expire_recordings(office.database, office.blobs, keep=timedelta(days=90))

    late = Late(office.folder / "store")
    young = await office.hears(Recording(url=vendor.url("/2")), call="/2")
    async with office.fetching(blobs=late):
        row = await office.becomes(young, "stored")
    assert late.expired == 1
    assert (office.folder / "store" / blob_name(office.account.tenant, row["sha256"])).read_bytes() == sound
