"""The kept file of a message over HTTP: to its tenant alone, and nothing a browser could run."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from vault_importer.api import make_api
from vault_importer.media_files import MediaFolders, path_of

pytestmark = pytest.mark.real
VOICE, BILL, PAGE = b"OggS" + bytes(range(200)), b"%PDF-1.4 a bill", b"<script>alert(1)</script>"


class Files:
    """An archive with a voice message, a bill and a page of a stranger's, and a client of its tenant."""

    def __init__(self, vault: Any, store: Path) -> None:
        self.vault, self.store = vault, store

    def client(self, *, tenant: UUID | None = None, bearer: str = "t0ken") -> Any:
        app = make_api(self.vault.database, "t0ken", media_store=self.store)
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app),
            base_url="http://vault",
            headers={"Authorization": f"Bearer {bearer}", "X-Tenant": str(tenant or self.vault.tenant)},
        )

    async def path(self, name: str) -> str:
        [row] = await self.vault.rows("SELECT message_id FROM message_media WHERE name = $1", name)
        return f"/v1/media/{row['message_id']}"


@pytest.fixture
async def files(vault: Any, stores: Any, tmp_path: Path) -> Files:
    phone = tmp_path / "phone" / "Media"
    phone.mkdir(parents=True)
    changes = ["DELETE FROM message_media"]
    for row, name, mime, content in (
        (8001, "voice.ogg", "audio/ogg; codecs=opus", VOICE),
        (8002, "ബിൽ.pdf", "application/pdf", BILL),
        (8003, "page.html", "text/html", PAGE),
        (8004, "lost.jpg", "image/jpeg", None),
    ):
        if content is not None:
            (phone / name).write_bytes(content)
        digest = base64.b64encode(hashlib.sha256(content or b"").digest()).decode()
        changes.append(
            "INSERT INTO message_media (message_row_id, file_path, file_hash, mime_type, media_name) VALUES"
            f" ({row}, 'Media/{name}', '{digest}', '{mime}', '{name}')"
        )
    media = MediaFolders(phone=phone, store=tmp_path / "store", largest_bytes=10_000)
    await vault.import_(stores.beside(*changes), media=media)
    return Files(vault, tmp_path / "store")


async def test_a_voice_message_is_played_also_from_its_middle(files: Files) -> None:
    path = await files.path("voice.ogg")
    async with files.client() as client:
        whole = await client.get(path)
        part = await client.get(path, headers={"Range": "bytes=4-13"})
        head = await client.head(path)
        beyond = await client.get(path, headers={"Range": "bytes=9999-"})
    assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, VOICE, "audio/ogg")
    assert whole.headers["content-disposition"] == 'inline; filename="voice.ogg"'
    assert (part.status_code, part.content) == (206, bytes(range(10)))
    assert part.headers["content-range"] == f"bytes 4-13/{len(VOICE)}"
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(VOICE)))
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(VOICE)}")
    for answer in (whole, part, head):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert answer.headers["cache-control"] == "private, no-store"
        assert answer.headers["accept-ranges"] == "bytes"


async def test_what_could_act_in_a_browser_is_only_saved(files: Files) -> None:
    async with files.client() as client:
        page = await client.get(await files.path("page.html"))
        bill = await client.get(await files.path("ബിൽ.pdf"))
    assert (page.content, page.headers["content-type"]) == (PAGE, "application/octet-stream")
    assert page.headers["content-disposition"] == 'attachment; filename="page.html"'
    assert bill.headers["content-type"] == "application/pdf"
    # RFC 6266, for a name that is not ASCII.
    assert bill.headers["content-disposition"].startswith("attachment; filename*=utf-8''%E0%B4%AC")


async def test_nobody_else_gets_a_file(files: Files) -> None:
    path = await files.path("voice.ogg")
    async with files.client(tenant=uuid4()) as stranger:
        assert (await stranger.get(path)).status_code == 404
    async with files.client(bearer="wrong") as stranger:
        assert (await stranger.get(path)).status_code == 401
    async with files.client() as client:
        assert (await client.get(f"/v1/media/{uuid4()}")).status_code == 404
        assert (await client.get("/v1/media/..%2F..%2Fsecret")).status_code in (404, 422)
        del client.headers["X-Tenant"]
        assert (await client.get(path)).status_code == 400


async def test_a_file_that_is_not_kept_or_not_there_any_more_is_said(files: Files, tmp_path: Path) -> None:
    path = await files.path("voice.ogg")
    stored = path_of(files.store, files.vault.tenant, hashlib.sha256(VOICE).digest())
    async with files.client() as client:
        assert (await client.get(await files.path("lost.jpg"))).status_code == 404
        stored.unlink()
        assert (await client.get(path)).status_code == 410
        # What lies in the store is a file, never a way out of it.
        (tmp_path / "secret").write_bytes(b"not yours")
        stored.symlink_to(tmp_path / "secret")
        assert (await client.get(path)).status_code == 410
        [message] = [each for each in await shown(client) if each["media"] and each["media"]["name"] == "lost.jpg"]
    assert (message["file"], message["media"]["sha256"], message["media"]["served_as"]) == (
        "not_kept",
        None,
        "image/jpeg",
    )


async def test_a_message_that_is_being_erased_has_no_file(files: Files, superuser: Any) -> None:
    path = await files.path("voice.ogg")
    message = path.rpartition("/")[2]
    await superuser(
        "INSERT INTO erasure_message (tenant_id, message_id, erasure_id, reach, hidden)"
        f" VALUES ('{files.vault.tenant}', '{message}', gen_random_uuid(), 'conversation', true)"
    )
    async with files.client() as client:
        assert (await client.get(path)).status_code == 404
        assert (await client.head(path)).status_code == 404


async def test_a_service_without_a_folder_says_so(files: Files) -> None:
    app = make_api(files.vault.database, "t0ken")
    headers = {"Authorization": "Bearer t0ken", "X-Tenant": str(files.vault.tenant)}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://vault", headers=headers
    ) as client:
        assert (await client.get(await files.path("voice.ogg"))).status_code == 503


async def shown(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    chats = (await client.get("/v1/chats")).json()["chats"]
    pages = [(await client.get(f"/v1/chats/{each['id']}/messages", params={"limit": 200})).json() for each in chats]
    return [message for page in pages for message in page["messages"]]
