"""The admin API tells what became of each send, to whoever holds the token."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from kit.postgres import Database
from notifier.api import make_api
from notifier.enqueue import enqueue_pulse

from .conftest import NOW, AddRecipient

TOKEN = "a-token-for-this-test"


def client(database: Any, token: str = TOKEN) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(make_api(database, token)), base_url="http://test")


@pytest.mark.parametrize(("token", "sent"), [(TOKEN, "Bearer wrong"), (TOKEN, ""), ("", "Bearer ")])
async def test_without_the_token_nothing_is_told(token: str, sent: str, tenant: UUID) -> None:
    async with client(None, token) as http:
        headers = {"authorization": sent, "x-tenant": str(tenant)}
        assert (await http.get("/v1/sends", headers=headers)).status_code == 401


@pytest.mark.real
async def test_sends_of_a_tenant_and_of_nobody_else(
    database: Database, add_recipient: AddRecipient, tenant: UUID
) -> None:
    await add_recipient(tenant)
    entered = await enqueue_pulse(database, tenant, now=NOW)
    async with client(database) as http:
        headers = {"authorization": f"Bearer {TOKEN}", "x-tenant": str(tenant)}
        [send] = (await http.get("/v1/sends", headers=headers)).json()["sends"]
        assert (send["send_id"], send["state"], send["kind"]) == (str(entered.id), "pending", "daily_pulse")
        assert "text_body" not in send
        shown = (await http.get(f"/v1/sends/{entered.id}", headers=headers)).json()
        assert (shown["text"], shown["attempts"]) == (entered.text_body, [])
        headers["x-tenant"] = str(uuid4())
        assert (await http.get("/v1/sends", headers=headers)).json() == {"sends": []}
        assert (await http.get(f"/v1/sends/{entered.id}", headers=headers)).status_code == 404
