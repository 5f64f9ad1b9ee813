from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from vault_importer.api import make_api

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


async def test_another_tenant_sees_nothing(vault: Any, stores: Any) -> None:
    await vault.import_(stores.encrypted())
    [chat, *_] = await vault.rows("SELECT id FROM chat")
    async with _client(vault, tenant=uuid4()) as client:
        assert (await client.get("/v1/imports")).json() == {"imports": []}
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
