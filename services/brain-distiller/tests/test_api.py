from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from brain_distiller.api import make_app
from contracts.vault import MessageImportedV1
from kit.postgres import Database

TOKEN = "an-admin-token"
KOCHI, MUMBAI = "32AABCU9603R1ZW", "27AAPFU0939F1ZV"
SUBJECT = "contact:+919847000001"


def client(database: Database, *, token: str = TOKEN, tenant: UUID | None = None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}", "X-Tenant": str(tenant or uuid4())}
    transport = httpx.ASGITransport(app=make_app(database, admin_token=TOKEN))
    return httpx.AsyncClient(transport=transport, base_url="http://brain", headers=headers)


@pytest.fixture
def unreachable() -> Database:
    return Database(service="brain-distiller", dsn="postgresql://127.0.0.1:1/none", app_password="", system_password="")


@pytest.mark.parametrize("token", ["", "wrong", "an-admin-toke", "ആരാണ്"])
async def test_without_the_admin_token_there_is_no_answer(unreachable: Database, token: str) -> None:
    async with client(unreachable) as http:
        answer = await http.get("/v1/facts", headers=[(b"Authorization", f"Bearer {token}".encode())])
    assert answer.status_code == 401


async def test_an_empty_admin_token_in_the_settings_closes_the_api(unreachable: Database) -> None:
    transport = httpx.ASGITransport(app=make_app(unreachable, admin_token=""))
    async with httpx.AsyncClient(transport=transport, base_url="http://brain") as http:
        headers = {"Authorization": "Bearer ", "X-Tenant": str(uuid4())}
        assert (await http.get("/v1/facts", headers=headers)).status_code == 401


async def test_a_request_names_its_tenant(unreachable: Database) -> None:
    async with client(unreachable) as http:
        assert (await http.get("/v1/facts", headers={"X-Tenant": "nobody"})).status_code == 422


@pytest.mark.real
async def test_facts_of_a_subject_come_with_their_evidence(
    brain: Any, a_message: Callable[..., MessageImportedV1]
) -> None:
    await brain.hears(a_message(f"gst {KOCHI}"), a_message(MUMBAI, message_id="m-2", minute=1))
    await brain.hears(a_message("₹500", message_id="m-3", peer_number="+919847000002"))
    async with client(brain.database, tenant=brain.tenant) as http:
        facts = (await http.get("/v1/facts", params={"subject": SUBJECT})).json()["facts"]
        assert {fact["value"]: fact["state"] for fact in facts} == {KOCHI: "conflicting", MUMBAI: "conflicting"}
        kochi = next(fact for fact in facts if fact["value"] == KOCHI)
        assert [(e["source_id"], e["start"], e["quote"]) for e in kochi["evidence"]] == [("m-1", 4, KOCHI)]
        assert len((await http.get("/v1/facts")).json()["facts"]) == 3
        assert len((await http.get("/v1/facts", params={"key": "amount"})).json()["facts"]) == 1
        assert (await http.get("/v1/facts", params={"state": "retracted"})).json() == {"facts": []}
        assert (await http.get("/v1/facts", params={"state": "guessed"})).status_code == 422
        detail = (await http.get(f"/v1/facts/{kochi['fact_id']}")).json()
    assert [(v["version"], v["state"], v["reason"]) for v in detail["history"]] == [
        (1, "asserted", "said"),
        (2, "conflicting", "second_value"),
    ]


@pytest.mark.real
async def test_another_tenants_fact_is_not_found(brain: Any, a_message: Callable[..., MessageImportedV1]) -> None:
    (event,) = await brain.hears(a_message(KOCHI))
    async with client(brain.database) as http:
        assert (await http.get("/v1/facts")).json() == {"facts": []}
        assert (await http.get(f"/v1/facts/{event.fact_id}")).status_code == 404
