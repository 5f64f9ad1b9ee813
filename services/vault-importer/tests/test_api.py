from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from vault_importer.api import make_api
from vault_importer.media_files import MediaFolders

pytestmark = pytest.mark.real


def _client(vault: Any, bearer: str = "t0ken", tenant: object = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=make_api(vault.database, "t0ken")),
        base_url="http://vault",
        headers={"Authorization": f"Bearer {bearer}", "X-Tenant": str(tenant or vault.tenant)},
    )


async def test_imports_and_messages_are_shown_to_the_admin_of_their_tenant(vault: Any, stores: Any) -> None:
    await vault.import_(stores.encrypted())
    async with _client(vault) as client:
        [run] = (await client.get("/v1/imports")).json()["imports"]
        assert (run["state"], run["messages_new"]) == ("completed", 4)
        chats = (await client.get("/v1/chats")).json()["chats"]
        group = next(chat for chat in chats if chat["kind"] == "group")
        first = (await client.get("/v1/messages", params={"chat": group["id"], "limit": 1})).json()
        assert first["messages"][0]["text"] == "Last group message"
        params = {"chat": group["id"], "limit": 1, "before": first["next"]}
        second = (await client.get("/v1/messages", params=params)).json()
        assert second["messages"][0]["kind"] == "system"
        assert (await client.get("/v1/messages", params={**params, "before": "yesterday"})).status_code == 400


async def test_messages_come_with_their_media_quotes_and_reactions(vault: Any, stores: Any, tmp_path: Path) -> None:
    folder = tmp_path / "phone" / "Media" / "WhatsApp Images"
    folder.mkdir(parents=True)
    (folder / "IMG-1.jpg").write_bytes(b"a picture of a bill")
    media = MediaFolders(phone=tmp_path / "phone", store=tmp_path / "store", largest_bytes=1000)
    await vault.import_(stores.beside(), media=media)
    [photo] = await vault.rows("SELECT id, chat_id FROM message WHERE key_id = 'PHOTO1'")
    async with _client(vault) as client:
        answer = await client.get("/v1/messages", params={"chat": str(photo["chat_id"]), "limit": 500})
        assert answer.status_code == 200, answer.text
        [account] = (await client.get("/v1/accounts")).json()["accounts"]
    messages = {message["id"]: message for message in answer.json()["messages"]}
    shown = messages[str(photo["id"])]["media"]
    assert (shown["name"], shown["caption"], shown["hash_agrees"]) == ("IMG-1.jpg", "The bill", False)
    assert shown["sha256"] == sha256(b"a picture of a bill").hexdigest()
    [answering] = [message for message in messages.values() if message["text"] == "As quoted"]
    assert (answering["quote"]["quoted_message_id"], answering["quote"]["text"]) == (str(photo["id"]), "The bill")
    assert answering["media"] is None
    [reacted] = [message for message in messages.values() if message["reactions"]]
    assert [each["reaction"] for each in reacted["reactions"]] == ["\N{THUMBS UP SIGN}"]
    assert (account["id"], account["name"]) == (str(vault.account.id), "Kochi office")


async def test_another_tenant_sees_nothing(vault: Any, stores: Any) -> None:
    await vault.import_(stores.encrypted())
    [chat, *_] = await vault.rows("SELECT id FROM chat")
    async with _client(vault, tenant=uuid4()) as client:
        assert (await client.get("/v1/imports")).json() == {"imports": []}
        assert (await client.get("/v1/accounts")).json() == {"accounts": []}
        assert (await client.get("/v1/messages", params={"chat": str(chat["id"])})).json()["messages"] == []


async def test_without_the_token_or_a_tenant_nothing_is_shown(vault: Any) -> None:
    async with _client(vault, bearer="wrong") as client:
        assert (await client.get("/v1/imports")).status_code == 401
    async with _client(vault) as client:
        del client.headers["X-Tenant"]
        assert (await client.get("/v1/imports")).status_code == 400
    app = make_api(vault.database, "")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://vault") as client:
        refused = await client.get("/v1/imports", headers={"Authorization": "Bearer ", "X-Tenant": str(vault.tenant)})
        assert refused.status_code == 401
