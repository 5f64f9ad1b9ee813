"""The archive on the console, also in a real browser, with the vault behind on a database of its own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import uvicorn
from playwright.async_api import Page, async_playwright, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from front_desk.archive import Archive
from front_desk.other_services import MAX_STREAMS
from kit.postgres import Database, Transaction
from kit.testing import eventually
from vault_importer import store
from vault_importer.accounts import Account
from vault_importer.api import make_api
from vault_importer.backup_key import parse_backup_key
from vault_importer.erasure import decide
from vault_importer.erasure.case import SuppressionKey
from vault_importer.erasure.receipts import ANSWERING
from vault_importer.erasure.run import Erasing, carry_out
from vault_importer.import_backup import ImportJob, import_backup
from vault_importer.index_messages import index_tenant
from vault_importer.links import store as links_store
from vault_importer.links.decide import Party
from vault_importer.links.follow import link_tenant
from vault_importer.media_files import path_of
from vault_importer.samples import SampleOptions, write_sample

pytestmark = pytest.mark.real
ADMIN = "an admin token for tests"
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
expect.set_options(timeout=60_000)
SignIn = Callable[[str], Awaitable[Page]]
HOSTILE = "<script>alert(1)</script> the price was 95011"


@contextlib.asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


async def reword(tx: Transaction, message: UUID, text: str, *, kind: str | None = None) -> None:
    """Let a message say something else, with what it said put aside."""
    await tx.execute(
        "INSERT INTO message_revision (tenant_id, message_id, revision, key_id, kind, raw_kind, text, revoked,"
        " edited_at, details, import_id, replaced_by_import_id, replaced_at) SELECT tenant_id, id, revision, key_id,"
        " kind, raw_kind, text, revoked, edited_at, details, import_id, import_id, now() FROM message WHERE id = $1",
        message,
    )
    await tx.execute(
        "UPDATE message SET text = $2, kind = coalesce($3, kind), revision = revision + 1 WHERE id = $1",
        message, text, kind,
    )  # fmt: skip


@pytest.fixture
async def vault(
    desk: Any, make_database: Callable[..., Awaitable[Database]], tmp_path: Path
) -> AsyncIterator[Callable[[UUID], Awaitable[dict[str, Any]]]]:
    """Gives a tenant an archive, one message of which was edited; what the test needs to know of it."""
    database = await make_database(service="vault-importer", package="vault_importer")

    async def fill(tenant: UUID) -> dict[str, Any]:
        account = Account(tenant_id=tenant, id=uuid4(), name="Shop phone", number=None, sealed_key=None)
        async with database.transaction(tenant) as tx:
            await store.put_account(tx, account)
        sample = write_sample(tmp_path, SampleOptions(messages=1_500))
        key = parse_backup_key(sample.key.read_bytes())
        await import_backup(ImportJob(database=database, account=account, path=sample.backup, backup_key=key))
        async with database.transaction(tenant) as tx:
            edited = await tx.fetchrow(
                "SELECT m.id, m.chat_id, c.number FROM message m JOIN chat h ON h.id = m.chat_id "
                "JOIN contact c ON c.id = h.contact_id WHERE h.kind = 'direct' AND c.number IS NOT NULL "
                "AND m.kind = 'text' ORDER BY m.sent_at DESC LIMIT 1"
            )
            image = await tx.fetchval("SELECT min(id::text)::uuid FROM message WHERE kind = 'image'")
            await reword(tx, edited["id"], HOSTILE)
            await reword(tx, edited["id"], "it is 95012 now")
            await reword(tx, image, "the bill for 95012")
        await index_tenant(database, tenant)
        return dict(edited)

    async with served(make_api(database, ADMIN, media_store=tmp_path / "media")) as url:
        desk.archive._url = url
        fill.database = database  # type: ignore[attr-defined]
        yield fill


@pytest.fixture
async def in_archive(desk: Any) -> AsyncIterator[SignIn]:
    """Signs somebody in in a real browser and opens the archive; gives the page."""
    async with contextlib.AsyncExitStack() as stack:

        async def sign_in(email: str) -> Page:
            address = await stack.enter_async_context(served(desk.http._transport.app))
            playwright = await stack.enter_async_context(async_playwright())
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            stack.push_async_callback(browser.close)
            page = await browser.new_page(base_url=address)
            page.set_default_timeout(60_000)
            await page.goto("/")
            await page.fill("#email", email)
            await page.fill("#password", "a good password")
            await page.press("#password", "Enter")
            await page.wait_for_url("**/t/today")
            await page.click("nav >> text=Archive")
            return page

        yield sign_in


async def test_somebody_finds_a_message_and_reads_what_it_said_before(
    desk: Any, vault: Any, in_archive: SignIn, tmp_path: Path
) -> None:
    shop = await desk.open("malabar")
    await desk.user(shop, "desk@malabar.example", "desk")
    edited = await vault(shop.tenant)
    customer = {"name": "Kottakkal Traders", "numbers": [edited["number"]]}
    made = await desk.http.put("/v1/customers/k1", json=customer, headers=shop.headers)
    assert made.status_code in (200, 201), made.text
    page = await in_archive("desk@malabar.example")
    await page.fill("input[name=q]", "95011")
    await page.click("button:has-text('Search')")
    await expect(page.locator(".results .card")).to_have_count(1)
    # Whoever has no name is known by the number.
    await expect(page.locator(".results a")).to_contain_text(edited["number"][-5:])
    await expect(page.locator(".results mark")).to_have_text("95011")
    await expect(page.locator(".results .chip")).to_have_text("said before an edit")
    await page.screenshot(path=tmp_path / "found.png", full_page=True)
    await page.click(".results a")
    message = page.locator(".said.looked-for")
    await expect(message.locator(".text")).to_have_text("it is 95012 now")
    await message.locator("summary").click()
    await expect(message.locator(".history blockquote").last).to_have_text(HOSTILE)
    await page.screenshot(path=tmp_path / "conversation.png", full_page=True)
    await page.click(".heading >> text=Kottakkal Traders")
    await expect(page.locator(".facets [aria-current]")).to_have_text("Conversations")
    await expect(page.locator(".chats .card", has_text="it is 95012 now")).to_have_count(1)
    await page.screenshot(path=tmp_path / "customer.png", full_page=True)


def picture(width: int = 64, height: int = 48) -> bytes:
    """A PNG in one colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = (b"\x00" + bytes((15, 118, 110)) * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def sound(seconds: int = 1) -> bytes:
    """A WAV in which nothing is to be heard."""
    data = bytes(8_000 * seconds)
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8_000, 8_000, 1, 8)
    return b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVE" + head + b"data" + struct.pack("<I", len(data)) + data


MEDIA = (
    ("front.png", "image/png", picture()),
    ("note.wav", "audio/wav", sound()),
    ("film.mp4", "video/mp4", b"\x00\x00\x00\x18ftypmp42"),
    ("ബിൽ.pdf", "application/pdf", b"%PDF-1.4"),
    ("drawing.svg", "image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
    ("lost.jpg", "image/jpeg", None),
)


@pytest.fixture
def with_files(vault: Any, tmp_path: Path) -> Callable[[UUID], Awaitable[dict[str, str]]]:
    """Gives a tenant an archive whose newest messages in one chat have files; the paths by the files' names."""

    async def fill(tenant: UUID) -> dict[str, str]:
        edited = await vault(tenant)
        paths = {"chat": f"/t/archive/chats/{edited['chat_id']}"}
        async with vault.database.transaction(tenant) as tx:
            messages = await tx.fetch(
                "SELECT id FROM message WHERE chat_id = $1 ORDER BY sent_at DESC, id DESC LIMIT $2",
                edited["chat_id"], len(MEDIA),
            )  # fmt: skip
            for row, (name, mime, content) in zip(messages, MEDIA, strict=True):
                paths[name] = f"/t/archive/media/{row['id']}"
                await tx.execute(
                    "INSERT INTO message_media (tenant_id, message_id, mime_type, bytes, name, caption, file_hash,"
                    " original_file_hash, file_path, as_of, import_id)"
                    " VALUES ($1, $2, $3, 9, $4, '', '', '', '', now(), $1)"
                    " ON CONFLICT (tenant_id, message_id) DO UPDATE SET mime_type = $3, bytes = 9, name = $4,"
                    " file_hash = '', width = NULL, height = NULL",
                    tenant, row["id"], mime, name,
                )  # fmt: skip
                if content is None:
                    continue
                digest = hashlib.sha256(content).digest()
                path = path_of(tmp_path / "media", tenant, digest)
                path.parent.mkdir(parents=True)
                path.write_bytes(content)
                await tx.execute("INSERT INTO media_file VALUES ($1, $2, $3, $1)", tenant, digest, len(content))
                await tx.execute(
                    "INSERT INTO message_media_file (tenant_id, message_id, sha256, hash_agrees, import_id)"
                    " VALUES ($1, $2, $3, true, $1)",
                    tenant, row["id"], digest,
                )  # fmt: skip
        return paths

    return fill


async def test_pictures_sound_and_files_are_there_in_their_conversation(
    desk: Any, with_files: Any, in_archive: SignIn, tmp_path: Path
) -> None:
    shop = await desk.open("malabar")
    await desk.user(shop, "desk@malabar.example", "desk")
    paths = await with_files(shop.tenant)
    page = await in_archive("desk@malabar.example")
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    await page.goto(paths["chat"])
    image = page.locator(".said img")
    await expect(image).to_have_count(1)
    await image.scroll_into_view_if_needed()
    await eventually(lambda: image.evaluate("each => each.complete && each.naturalWidth"))
    assert await image.evaluate("each => [each.naturalWidth, each.loading, each.alt]") == [
        64, "lazy", "Picture: front.png",
    ]  # fmt: skip
    # It is played: the page's own rules let sound through.
    played = """each => new Promise((done, no) => {
        each.oncanplay = () => done(each.duration);
        each.onerror = no;
        each.load();
    })"""
    assert await page.locator(".said audio").evaluate(played) == 1
    await expect(page.locator(".said video")).to_have_attribute("src", paths["film.mp4"])
    for name in ("ബിൽ.pdf", "drawing.svg"):
        async with page.expect_download() as saving:
            await page.click(f"a[href='{paths[name]}']")
        assert (await saving.value).suggested_filename == name
    await expect(page.locator(".said", has_text="lost.jpg")).to_contain_text("file not kept")
    await page.screenshot(path=tmp_path / "media.png", full_page=True)
    assert said == []


async def test_a_file_goes_to_its_readers_alone_and_as_nothing_that_acts(desk: Any, with_files: Any) -> None:
    shop, other = await desk.open("malabar"), await desk.open("mumbai")
    paths = await with_files(shop.tenant)
    owner = await desk.signed_in(shop, "owner@malabar.example")
    note = await owner.get(paths["note.wav"], headers={"Range": "bytes=0-3"})
    assert (note.status_code, note.content, note.headers["content-type"]) == (206, b"RIFF", "audio/wav")
    assert note.headers["content-range"] == f"bytes 0-3/{len(sound())}"
    head = await owner.head(paths["front.png"])
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(picture())))
    drawing = await owner.get(paths["drawing.svg"])
    assert drawing.headers["content-type"] == "application/octet-stream"
    assert drawing.headers["content-disposition"].startswith("attachment")
    for answer in (note, head, drawing):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'; sandbox" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "private, no-store"
    assert (await owner.get(paths["note.wav"], headers={"Range": "bytes=99999-"})).status_code == 416
    for absent in (paths["lost.jpg"], f"/t/archive/media/{uuid4()}", "/t/archive/media/..%2Fsecret"):
        assert (await owner.get(absent)).status_code == 404
    stranger = await desk.signed_in(other, "owner@mumbai.example")
    assert (await stranger.get(paths["front.png"])).status_code == 404
    ops = await desk.signed_in(shop, "ops@malabar.example", "ops")
    assert (await ops.get(paths["front.png"])).status_code == 403
    assert (await desk.browser().get(paths["front.png"])).status_code == 303
    # Whoever leaves early keeps no connection of the vault's busy.
    pool = desk.archive._streaming._transport._pool
    assert [each for each in pool.connections if not each.is_idle()] == []
    desk.archive._url = "http://127.0.0.1:9"
    assert (await owner.get(paths["front.png"])).status_code == 503


async def test_films_that_are_paused_keep_nobody_from_searching() -> None:
    async def film(_: Request) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"x"
            await asyncio.sleep(60)

        return StreamingResponse(pieces())

    async def accounts(_: Request) -> JSONResponse:
        return JSONResponse({"accounts": []})

    app = Starlette(routes=[Route("/v1/media/{message}", film), Route("/v1/accounts", accounts)])
    async with served(app) as url:
        archive = Archive(url, admin_token=ADMIN)
        films = [await archive.media(uuid4(), uuid4(), "GET", {}) for _ in range(MAX_STREAMS)]
        assert await archive.accounts(uuid4()) == []
        answers, streaming = archive._client, archive._streaming
        assert answers is not None
        assert streaming is not None
        assert len(answers._transport._pool.connections) == 1  # type: ignore[attr-defined]
        for each in films:
            await each.close()
        await archive.stop()
        assert answers.is_closed
        assert streaming.is_closed


async def test_places_cards_votes_and_late_messages_are_shown_as_they_are(
    desk: Any, vault: Any, in_archive: SignIn, tmp_path: Path
) -> None:
    shop = await desk.open("malabar")
    edited = await vault(shop.tenant)
    async with vault.database.transaction(shop.tenant) as tx:
        where, card, poll, late = [uuid4() for _ in range(4)]
        for id_, kind, text, details in (
            (where, "location", "", '{"latitude": 11.0001, "longitude": 76.01, "place_name": "Kottakkal depot"}'),
            (card, "contact", "Ravi", None),
            (poll, "poll", "Which day?", None),
            (late, "waiting", "", None),
        ):
            await tx.execute(
                "INSERT INTO message (tenant_id, id, chat_id, from_me, key_id, sender_id, sent_at, kind, raw_kind,"
                " text, revoked, wording_rank, details, import_id) SELECT tenant_id, $2, chat_id, from_me, 'K',"
                " sender_id, sent_at, $3, raw_kind, $4, false, 0, $5, import_id FROM message WHERE id = $1",
                edited["id"], id_, kind, text, details,
            )  # fmt: skip
        await reword(tx, late, "it came late", kind="text")
        await tx.execute(
            "INSERT INTO message_detail VALUES ($1, $2, 'message_vcard', '0', $3, now(), $1)",
            shop.tenant, card, '{"vcard": "BEGIN:VCARD\\nFN:Ravi\\nTEL:+919847000012\\nEND:VCARD"}',
        )  # fmt: skip
        for item, name, votes in (("0", "Monday", 0), ("1", "Tuesday", 1)):
            await tx.execute(
                "INSERT INTO message_poll_option VALUES ($1, $2, $3, $4, $5, now(), $1)",
                shop.tenant, poll, item, name, votes,
            )  # fmt: skip
        await tx.execute(
            "INSERT INTO message_poll_vote (tenant_id, message_id, contact_id, voted_at, item, import_id)"
            " VALUES ($1, $2, '00000000-0000-0000-0000-000000000000', now(), '1', $1)",
            shop.tenant, poll,
        )  # fmt: skip
    await desk.user(shop, "desk@malabar.example", "desk")
    page = await in_archive("desk@malabar.example")
    await page.goto(f"/t/archive/chats/{edited['chat_id']}")
    await expect(page.locator(f"#m-{where}")).to_contain_text("Kottakkal depot 11.0001, 76.01")
    await expect(page.locator(f"#m-{card} .contacts li")).to_have_text("Ravi +91 98470 00012")
    await expect(page.locator(f"#m-{poll} .poll li").first).to_have_text("Monday 0 votes")
    await expect(page.locator(f"#m-{poll} .poll li").last).to_have_text("Tuesday 1 vote: You")
    came = page.locator(f"#m-{late}")
    await expect(came).to_contain_text("it came late")
    await expect(came.locator(".chip")).to_have_count(0)
    await expect(came.locator("details")).to_have_count(0)
    await page.screenshot(path=tmp_path / "beside.png", full_page=True)


async def test_a_search_is_narrowed_to_an_account_and_a_kind(
    desk: Any, vault: Any, in_archive: SignIn, tmp_path: Path
) -> None:
    shop = await desk.open("malabar")
    await desk.user(shop, "desk@malabar.example", "desk")
    await vault(shop.tenant)
    database = vault.database
    other = Account(tenant_id=shop.tenant, id=uuid4(), name="Warehouse phone", number=None, sealed_key=None)
    async with database.transaction(shop.tenant) as tx:
        await store.put_account(tx, other)
    page = await in_archive("desk@malabar.example")
    await page.fill("input[name=q]", "95012")
    await page.click("button:has-text('Search')")
    cards = page.locator(".results .card")
    await expect(cards).to_have_count(2)
    await page.select_option("select[name=kind]", label="photos")
    await page.click("button:has-text('Search')")
    await expect(cards).to_have_count(1)
    await expect(cards).to_contain_text("the bill for 95012")
    # The choice stays, and goes with the next one.
    await expect(page.locator("select[name=kind]")).to_have_value("image")
    await page.screenshot(path=tmp_path / "narrowed.png", full_page=True)
    await page.select_option("select[name=account]", label="Shop phone")
    await page.click("button:has-text('Search')")
    await expect(page.locator("select[name=account]")).not_to_have_value("")
    await expect(cards).to_have_count(1)
    await page.select_option("select[name=account]", label="Warehouse phone")
    await page.click("button:has-text('Search')")
    await expect(page.locator(".empty")).to_contain_text("and filters")
    await expect(page.locator("select[name=account]")).to_have_value(str(other.id))
    owner = await desk.signed_in(shop, "owner@malabar.example")
    wrong = await owner.get("/t/archive", params={"q": "95012", "kind": "nonsense"})
    assert "does not take one of the filters" in wrong.text


async def test_pages_nothing_found_and_refusals_are_said(desk: Any, vault: Any) -> None:
    shop = await desk.open("malabar")
    owner = await desk.signed_in(shop, "owner@malabar.example")
    await vault(shop.tenant)
    first = await owner.get("/t/archive", params={"q": "price"})
    assert first.text.count("<mark>") == 30
    further = first.text.split('class="button" href="')[1].split('"')[0].replace("&amp;", "&")
    second = await owner.get(further)
    assert second.status_code == 200
    assert set(_ids(second)).isdisjoint(_ids(first))
    assert "Nothing was said with these words" in (await owner.get("/t/archive", params={"q": "zzzzqx"})).text
    assert "Give at least two letters" in (await owner.get("/t/archive", params={"q": "a"})).text
    wrong_day = await owner.get("/t/archive", params={"q": "price", "from": "tomorrow"})
    assert "A day is written as" in wrong_day.text
    assert "does not take one of the filters" in (await owner.get("/t/archive?q=price&chat=nonsense")).text
    assert (await owner.get(f"/t/archive/chats/{uuid4()}")).status_code == 404
    assert (await owner.get("/t/archive/chats/nonsense")).status_code == 404
    assert (await owner.get("/t/customers/nobody")).status_code == 404


def _ids(page: httpx.Response) -> list[str]:
    return [part.split("#")[0] for part in page.text.split("?around=")[1:]]


async def test_another_tenant_and_another_role_read_nothing(desk: Any, vault: Any) -> None:
    shop, other = await desk.open("malabar"), await desk.open("mumbai")
    edited = await vault(shop.tenant)
    chat = f"/t/archive/chats/{edited['chat_id']}"
    stranger = await desk.signed_in(other, "owner@mumbai.example")
    assert "Nothing was said with these words" in (await stranger.get("/t/archive", params={"q": "95012"})).text
    assert (await stranger.get(chat)).status_code == 404
    ops = await desk.signed_in(shop, "ops@malabar.example", "ops")
    assert '<form class="search"' not in (await ops.get("/t/archive")).text
    for path in ("/t/archive?q=95012", chat, "/t/customers/k1"):
        assert (await ops.get(path)).status_code == 403
        assert (await desk.browser().get(path)).status_code == 303


async def test_an_archive_that_does_not_answer_is_said_on_its_pages_alone(desk: Any) -> None:
    shop = await desk.open("malabar")
    owner = await desk.signed_in(shop, "owner@malabar.example")
    desk.archive._url = "http://127.0.0.1:9"
    await desk.http.put("/v1/customers/k1", json={"name": "K", "numbers": ["+919847000010"]}, headers=shop.headers)
    customer = (await desk.http.get("/v1/customers/k1", headers=shop.headers)).json()["id"]
    for path in ("/t/archive?q=price", f"/t/archive/chats/{uuid4()}", f"/t/customers/{customer}"):
        answer = await owner.get(path)
        assert answer.status_code == 200
        assert "The archive does not answer just now" in answer.text
    assert (await owner.get("/t/archive")).status_code == 200


async def known(vault: Any, tenant: UUID, id_: str, name: str, number: str) -> None:
    """A customer as the directory's event tells the vault of it."""
    async with vault.database.transaction(tenant) as tx:
        await links_store.put_party(
            tx, Party(kind="customer", id=id_), version=1, name=name, numbers=[number], emails=[], gstin=None
        )
    await link_tenant(vault.database, tenant)


async def test_an_owner_decides_who_a_contact_is(desk: Any, vault: Any, in_archive: SignIn, tmp_path: Path) -> None:
    shop = await desk.open("malabar")
    await desk.user(shop, "owner@malabar.example", "owner")
    edited = await vault(shop.tenant)
    made = await desk.http.put("/v1/customers/k1", json={"name": "Kottakkal Traders"}, headers=shop.headers)
    customer = made.json()["id"]
    await known(vault, shop.tenant, customer, "Kottakkal Traders", edited["number"])
    await known(vault, shop.tenant, "other", "Kottakkal Stores", edited["number"])
    page = await in_archive("owner@malabar.example")
    await page.click("text=Who is who")
    card = page.locator(".links .card", has_text=edited["number"][-5:])
    await expect(card.locator(".chip.warn")).to_have_text("Several fit")
    await expect(card.locator(".candidates li")).to_have_count(2)
    await expect(card.locator(".candidates li").first).to_contain_text("by number +91 ")
    await expect(card.locator("button[disabled]")).to_be_hidden()
    await page.screenshot(path=tmp_path / "links.png", full_page=True)
    await card.locator("input[name=why]").fill("asked them")
    # Enter decides nothing.
    await card.locator("input[name=why]").press("Enter")
    await card.locator("li", has_text="Kottakkal Traders").locator("button").click()
    await expect(page.locator(".notice")).to_contain_text("Linked.")
    await expect(card).to_have_count(0)
    await link_tenant(vault.database, shop.tenant)
    await page.goto(f"/t/archive/chats/{edited['chat_id']}")
    await expect(page.locator(".role .chip")).to_have_text("Client")
    await expect(page.locator(".role")).to_contain_text("linked by a person")
    await page.select_option(".role select", "vendor")
    await page.click(".role button")
    await expect(page.locator(".role .chip")).to_have_text("Vendor")
    await expect(page.locator(".role")).to_contain_text("decided by owner@malabar.example")
    await page.screenshot(path=tmp_path / "role.png", full_page=True)
    # The customer has no number of its own: the conversation is there by the link.
    await page.click(".heading >> text=Kottakkal Traders")
    await expect(page.locator(".chats .card", has_text="it is 95012 now")).to_have_count(1)
    async with vault.database.transaction(shop.tenant) as tx:
        rows = await tx.fetch("SELECT decided_by, why, parties FROM link_decision WHERE by_person")
        assert [tuple(row) for row in rows] == [("owner@malabar.example", "asked them", [f"customer:{customer}"])]
        audited = await tx.fetch("SELECT action FROM audit_log WHERE action IN ('link_decided', 'role_decided')")
        assert sorted(row["action"] for row in audited) == ["link_decided", "role_decided"]


async def test_only_owners_and_admins_decide_and_only_from_our_own_page(desk: Any, vault: Any) -> None:
    shop = await desk.open("malabar")
    edited = await vault(shop.tenant)
    for id_ in ("one", "two"):
        await known(vault, shop.tenant, id_, "Kottakkal Traders", edited["number"])
    async with vault.database.transaction(shop.tenant) as tx:
        contact = await tx.fetchval("SELECT id FROM contact WHERE number = $1", edited["number"])
    decide, role = f"/t/archive/links/{contact}", f"/t/archive/chats/{edited['chat_id']}/role"
    seller = await desk.signed_in(shop, "desk@malabar.example", "desk")
    shown = await seller.get("/t/archive/links")
    assert "Several fit" in shown.text
    assert "It is them" not in shown.text
    assert '<select name="role">' not in (await seller.get(f"/t/archive/chats/{edited['chat_id']}")).text
    ops = await desk.signed_in(shop, "ops@malabar.example", "ops")
    assert (await ops.get("/t/archive/links")).status_code == 403
    owner = await desk.signed_in(shop, "owner@malabar.example")
    for path in (decide, role):
        token = shown.text.split('name="csrf" value="')[1].split('"')[0]
        assert (await seller.post(path, data={"csrf": token, "accept": "customer:one"})).status_code == 403
        assert (await owner.post(path, data={"csrf": "forged", "accept": "customer:one"})).status_code == 403
    token = (await owner.get("/t/archive/links")).text.split('name="csrf" value="')[1].split('"')[0]
    gone = await owner.post(decide, data={"csrf": token, "accept": "customer:nobody"})
    assert gone.headers["location"] == "/t/archive/links?did=not-taken"
    none = await owner.post(decide, data={"csrf": token, "shown": "customer:one\r\ncustomer:two\r\n"})
    assert none.headers["location"] == "/t/archive/links?did=refuse"
    assert "Nobody waits" in (await owner.get("/t/archive/links")).text
    assert "Several fit" not in (await owner.get("/t/archive/links")).text


async def test_owners_see_where_erasures_stand_and_whom_nobody_names(desk: Any, vault: Any) -> None:
    shop = await desk.open("malabar")
    owner = await desk.signed_in(shop, "owner@malabar.example")
    assert "Nobody has asked to be forgotten" in (await owner.get("/t/archive/erasures")).text
    edited = await vault(shop.tenant)
    database = vault.database
    key = SuppressionKey.of(bytes(32))
    asked = decide.Asked(who=decide.who_of([edited["number"]]), by="front desk")
    first, second = [await decide.ask(database, shop.tenant, asked) for _ in range(2)]
    for by in ("the owner", "a partner"):
        await decide.approve(database, shop.tenant, first.id, by=by)
    planned = await decide.make_plan(database, shop.tenant, first.id)
    await decide.begin(database, shop.tenant, first.id, plan=planned.plan_hash, by="the owner", key=key)
    await carry_out(Erasing(database=database, key=key), shop.tenant, first.id)
    page = (await owner.get("/t/archive/erasures")).text
    told, waits = page.split(str(first.id))[1], page.split(str(second.id))[1]
    assert "Waits for answers" in told
    assert "approved by the owner, a partner" in told
    assert f"Not answered yet: {', '.join(ANSWERING)}." in told
    assert "Waits for approval" in waits
    assert "approved by nobody yet (2 needed)" in waits
    assert edited["number"][-10:] not in page
    assert "/t/archive/erasures" in (await owner.get("/t/archive")).text
    seller = await desk.signed_in(shop, "desk@malabar.example", "desk")
    assert (await seller.get("/t/archive/erasures")).status_code == 403
    assert "/t/archive/erasures" not in (await seller.get("/t/archive")).text
    other = await desk.open("mumbai")
    stranger = await desk.signed_in(other, "owner@mumbai.example")
    assert str(first.id) not in (await stranger.get("/t/archive/erasures")).text
    desk.archive._url = "http://127.0.0.1:9"
    assert "The archive does not answer just now" in (await owner.get("/t/archive/erasures")).text
