"""The REST interface on a real database: the contract, versions, and walls between tenants."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.real

DESK = {"name": "Desk", "numbers": ["098470 00011"], "working_hours": "Mon-Sat 09:30-18:00"}
KOTTAKKAL = {
    "name": "Kottakkal Traders",
    "numbers": ["9847000021", "+91 98470 00021", "0484-2000021"],
    "emails": ["Accounts@Kottakkal.example"],
    "gstin": "32aaack1234a1zj",
    "owner": "desk",
}


async def test_a_tenant_opened_twice_is_one_tenant(desk: Any) -> None:
    body = {"slug": "malabar", "name": "Malabar Spices", "owner_email": "Owner@Malabar.example"}
    first = await desk.http.post("/v1/tenants", json=body, headers=desk.admin)
    again = await desk.http.post("/v1/tenants", json=body, headers=desk.admin)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["tenant_id"] == again.json()["tenant_id"]
    [event] = await desk.outbox()
    assert event["type"] == "directory.tenant.v1"
    assert json.loads(event["payload"])["owner_email"] == "owner@malabar.example"


async def test_a_tenant_opened_by_two_at_once_is_one_tenant(desk: Any) -> None:
    body = {"slug": "malabar", "name": "Malabar Spices"}
    answers = await asyncio.gather(*(desk.http.post("/v1/tenants", json=body, headers=desk.admin) for _ in range(6)))
    assert len({answer.json()["tenant_id"] for answer in answers}) == 1
    assert len(await desk.outbox()) == 1


async def test_a_tenant_is_changed_but_keeps_its_slug(desk: Any) -> None:
    shop = await desk.open("malabar")
    body = {"slug": "malabar", "name": "Malabar Spices & Co"}
    changed = await desk.http.put(f"/v1/tenants/{shop.tenant}", json=body, headers=desk.admin)
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    renamed = await desk.http.put(f"/v1/tenants/{shop.tenant}", json={**body, "slug": "other"}, headers=desk.admin)
    assert renamed.status_code == 409
    listed = await desk.http.get("/v1/tenants", headers=desk.admin)
    assert [item["name"] for item in listed.json()["items"]] == ["Malabar Spices & Co"]


async def test_a_put_is_versioned_and_an_unchanged_one_says_nothing(desk: Any) -> None:
    shop = await desk.open("malabar")
    url = "/v1/staff/desk"
    created = await desk.http.put(url, json=DESK, headers=shop.headers)
    assert (created.status_code, created.json()["version"], created.json()["outcome"]) == (201, 1, "created")
    assert created.json()["numbers"] == ["+919847000011"]
    assert created.headers["etag"] == '"1"'
    respelt = {**DESK, "numbers": ["+91 98470 00011"], "working_hours": "Mon-Fri 9:30-18:00; Sat 09:30-18:00"}
    same = await desk.http.put(url, json=respelt, headers=shop.headers)
    assert (same.status_code, same.json()["version"], same.json()["outcome"]) == (200, 1, "unchanged")
    changed = await desk.http.put(url, json={**DESK, "active": False}, headers=shop.headers)
    assert (changed.json()["version"], changed.json()["outcome"]) == (2, "changed")
    events = [json.loads(e["payload"]) for e in await desk.outbox() if e["type"] == "directory.staff.v1"]
    assert [(e["version"], e["active"]) for e in events] == [(1, True), (2, False)]
    assert events[0]["staff_id"] == created.json()["id"]


async def test_a_deleted_entity_leaves_a_tombstone_and_comes_back_with_a_higher_version(desk: Any) -> None:
    shop = await desk.open("malabar")
    made = await desk.http.put("/v1/staff/desk", json=DESK, headers=shop.headers)
    gone = await desk.http.delete("/v1/staff/desk", headers=shop.headers)
    assert gone.status_code == 204
    assert (await desk.http.get("/v1/staff/desk", headers=shop.headers)).status_code == 404
    assert (await desk.http.delete("/v1/staff/desk", headers=shop.headers)).status_code == 404
    back = await desk.http.put("/v1/staff/desk", json=DESK, headers=shop.headers)
    assert (back.json()["id"], back.json()["version"]) == (made.json()["id"], 3)
    staff = [e for e in await desk.outbox() if e["type"] == "directory.staff.v1"]
    assert [e["payload"] is None for e in staff] == [False, True, False]
    assert {e["subject"] for e in staff} == {made.json()["id"]}


async def test_deleting_leaves_no_personal_data_in_the_row(desk: Any) -> None:
    shop = await desk.open("malabar")
    await desk.http.put("/v1/staff/desk", json=DESK, headers=shop.headers)
    await desk.http.put("/v1/customers/k1", json=KOTTAKKAL, headers=shop.headers)
    await desk.http.delete("/v1/customers/k1", headers=shop.headers)
    async with desk.database.transaction(shop.tenant) as tx:
        row = await tx.fetchrow("SELECT name, numbers, emails, gstin FROM customer")
    assert tuple(row) == ("", [], [], None)


async def test_customers_are_normalised_and_point_at_their_owner(desk: Any) -> None:
    shop = await desk.open("malabar")
    owner = (await desk.http.put("/v1/staff/desk", json=DESK, headers=shop.headers)).json()
    made = (await desk.http.put("/v1/customers/k1", json=KOTTAKKAL, headers=shop.headers)).json()
    assert made["numbers"] == ["+919847000021", "+914842000021"]
    assert (made["emails"], made["gstin"]) == (["accounts@kottakkal.example"], "32AAACK1234A1ZJ")
    assert (made["owner"], made["owner_staff_id"]) == ("desk", owner["id"])


async def test_naming_nobody_is_refused_with_a_sentence(desk: Any) -> None:
    shop = await desk.open("malabar")
    for url, body in (
        ("/v1/customers/k1", {"name": "K", "owner": "nobody"}),
        ("/v1/leads/l1", {"name": "L", "owner": "nobody"}),
        ("/v1/dids/+914842000001", {"default_staff": ["nobody"]}),
    ):
        answer = await desk.http.put(url, json=body, headers=shop.headers)
        assert answer.status_code == 422
        assert "nobody" in answer.json()["detail"]


async def test_a_person_who_is_still_named_is_not_deleted(desk: Any) -> None:
    shop = await desk.open("malabar")
    await desk.http.put("/v1/staff/desk", json=DESK, headers=shop.headers)
    await desk.http.put("/v1/dids/04842000001", json={"default_staff": ["desk"]}, headers=shop.headers)
    refused = await desk.http.delete("/v1/staff/desk", headers=shop.headers)
    assert refused.status_code == 409
    assert "named by 1 DID." in refused.json()["detail"]


async def test_wrong_fields_are_all_named_in_a_problem_document(desk: Any) -> None:
    shop = await desk.open("malabar")
    body = {"name": "", "numbers": ["9847000021", "12"], "emails": ["no"], "gstin": "32AAACK1234A1ZZ"}
    answer = await desk.http.put("/v1/customers/k1", json=body, headers=shop.headers)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problems = {each["field"]: each["problem"] for each in answer.json()["errors"]}
    assert problems.keys() == {"name", "numbers", "emails", "gstin"}
    assert problems["numbers"].startswith("entry 2 ")
    assert "12" not in problems["numbers"].split("entry 2", 1)[1].split("write it")[0]


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{", 422), (b'{"name": 3}', 422), (b'{"name": "A", "colour": "red"}', 422), (b'{"name":"' + b"a" * 70_000, 413)],
)
async def test_what_is_no_body_of_ours_is_refused(desk: Any, content: bytes, status: int) -> None:
    shop = await desk.open("malabar")
    headers = {**shop.headers, "content-type": "application/json"}
    answer = await desk.http.put("/v1/staff/desk", content=content, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_long_body_of_undeclared_length_is_refused_too(desk: Any) -> None:
    shop = await desk.open("malabar")

    async def endless() -> Any:
        for _ in range(40):
            yield b"a" * 4096

    answer = await desk.http.put("/v1/staff/desk", content=endless(), headers=shop.headers)
    assert answer.status_code == 413


async def test_leave_is_added_once_and_ended(desk: Any) -> None:
    shop = await desk.open("malabar")
    await desk.http.put("/v1/staff/desk", json=DESK, headers=shop.headers)
    leave = {"start": "2026-01-01T00:00:00+05:30", "reason": "family"}
    first = await desk.http.post("/v1/staff/desk/leave", json=leave, headers=shop.headers)
    again = await desk.http.post("/v1/staff/desk/leave", json=leave, headers=shop.headers)
    assert (first.json()["version"], again.json()["version"]) == (2, 2)
    assert [each["reason"] for each in again.json()["leave"]] == ["family"]
    await desk.http.post("/v1/staff/desk/leave", json={"start": "2999-01-01T00:00:00Z"}, headers=shop.headers)
    back = await desk.http.delete("/v1/staff/desk/leave", headers=shop.headers)
    assert (back.json()["version"], back.json()["leave"]) == (4, [])
    again = await desk.http.delete("/v1/staff/desk/leave", headers=shop.headers)
    assert again.json()["version"] == 4
    events = [json.loads(e["payload"]) for e in await desk.outbox() if e["type"] == "directory.staff.v1"]
    assert [len(e["leave"]) for e in events] == [0, 1, 2, 0]
    wrong = {"start": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}
    assert (await desk.http.post("/v1/staff/desk/leave", json=wrong, headers=shop.headers)).status_code == 422
    assert (await desk.http.post("/v1/staff/nobody/leave", json=leave, headers=shop.headers)).status_code == 404


async def test_putting_a_person_again_keeps_their_leave(desk: Any) -> None:
    shop = await desk.open("malabar")
    await desk.http.put("/v1/staff/desk", json=DESK, headers=shop.headers)
    await desk.http.post("/v1/staff/desk/leave", json={"start": "2026-01-01T00:00:00Z"}, headers=shop.headers)
    same = await desk.http.put("/v1/staff/desk", json=DESK, headers=shop.headers)
    assert same.json()["outcome"] == "unchanged"
    assert len(same.json()["leave"]) == 1


async def test_a_did_has_one_tenant_and_nobody_learns_which(desk: Any) -> None:
    kochi, mumbai = await desk.open("kochi"), await desk.open("mumbai")
    mine = await desk.http.put("/v1/dids/0484 200 0001", json={"label": "Shop"}, headers=kochi.headers)
    assert (mine.status_code, mine.json()["did"]) == (201, "+914842000001")
    taken = await desk.http.put("/v1/dids/+914842000001", json={}, headers=mumbai.headers)
    assert taken.status_code == 409
    assert str(kochi.tenant) not in taken.text
    assert "kochi" not in taken.text.lower()
    assert (await desk.http.get("/v1/dids/+914842000001", headers=mumbai.headers)).status_code == 404
    await desk.http.delete("/v1/dids/04842000001", headers=kochi.headers)
    assert (await desk.http.put("/v1/dids/+914842000001", json={}, headers=mumbai.headers)).status_code == 201
    back = await desk.http.put("/v1/dids/+914842000001", json={}, headers=kochi.headers)
    assert back.status_code == 409


async def test_a_did_that_two_tenants_claim_at_once_goes_to_one(desk: Any) -> None:
    shops = [await desk.open(f"shop-{n}") for n in range(4)]
    answers = await asyncio.gather(
        *(desk.http.put("/v1/dids/+914842000001", json={}, headers=shop.headers) for shop in shops)
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


async def test_routing_is_one_per_tenant(desk: Any) -> None:
    shop = await desk.open("malabar")
    assert (await desk.http.get("/v1/routing", headers=shop.headers)).status_code == 404
    body = {"last_agent_days": 7, "fallback_number": "0484 200 0099", "blocked_numbers": ["9847000066"]}
    assert (await desk.http.put("/v1/routing", json=body, headers=shop.headers)).status_code == 201
    again = await desk.http.put("/v1/routing", json=body, headers=shop.headers)
    assert (again.status_code, again.json()["version"]) == (200, 1)
    assert (await desk.http.get("/v1/routing", headers=shop.headers)).json()["blocked_numbers"] == ["+919847000066"]
    wrong = await desk.http.put("/v1/routing", json={"ring_seconds": 1}, headers=shop.headers)
    assert wrong.json()["errors"][0]["field"] == "ring_seconds"


async def test_lists_are_paged_by_key(desk: Any) -> None:
    shop = await desk.open("malabar")
    for number in range(5):
        await desk.http.put(f"/v1/leads/l{number}", json={"name": f"Lead {number}"}, headers=shop.headers)
    await desk.http.delete("/v1/leads/l2", headers=shop.headers)
    seen, after = [], ""
    while after is not None:
        page = (await desk.http.get("/v1/leads", params={"limit": 2, "after": after}, headers=shop.headers)).json()
        seen += [item["external_ref"] for item in page["items"]]
        after = page["next"]
    assert seen == ["l0", "l1", "l3", "l4"]
    assert (await desk.http.get("/v1/leads?limit=0", headers=shop.headers)).status_code == 422


async def test_two_puts_at_once_both_count(desk: Any) -> None:
    shop = await desk.open("malabar")
    await asyncio.gather(
        *(desk.http.put("/v1/leads/l1", json={"name": f"Name {n}"}, headers=shop.headers) for n in range(8))
    )
    versions = [json.loads(e["payload"])["version"] for e in await desk.outbox() if e["type"] == "directory.lead.v1"]
    assert versions == list(range(1, 9))


def _routes(app_paths: dict[str, Any]) -> list[tuple[str, str]]:
    return [(method.upper(), path) for path, methods in app_paths.items() for method in methods]


async def test_no_route_lets_in_who_should_not_come_in(desk: Any) -> None:
    """Every route of the OpenAPI document, with no key, a revoked key, a made-up key, and the wrong kind of key."""
    shop = await desk.open("malabar")
    revoked = await desk.open("malabar")
    key_id = revoked.key.split("_")[1]
    gone = await desk.http.delete(f"/v1/tenants/{shop.tenant}/api-keys/{key_id}", headers=desk.admin)
    assert gone.status_code == 204
    document = (await desk.http.get("/v1/openapi.json")).json()
    routes = _routes(document["paths"])
    assert len(routes) >= 26
    for method, path in routes:
        url = path.format(ref="+914842000001", tenant_id=shop.tenant, key_id="abc", version=1, email="a@b.example")
        other = shop.headers if path.startswith("/v1/tenants") else desk.admin
        forged = f"{shop.key[:-4]}AAAA"
        for headers in (
            {},
            revoked.headers,
            {"Authorization": f"Bearer {forged}"},
            other,
            {"Authorization": "Basic eA=="},
        ):
            answer = await desk.http.request(method, url, json={}, headers=headers)
            assert answer.status_code == 401, (method, path, headers)
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_no_route_shows_or_changes_what_another_tenant_has(desk: Any) -> None:
    mine, theirs = await desk.open("kochi"), await desk.open("mumbai")
    await _fill(desk.http, mine.headers)
    before = [await _everything(desk.http, mine.headers), len(await desk.outbox())]
    document = (await desk.http.get("/v1/openapi.json")).json()
    checked = 0
    for method, path in _routes(document["paths"]):
        if path.startswith("/v1/tenants") or method not in ("GET", "DELETE") or path == "/v1/tenant":
            continue
        ref = {"staff": "desk", "customers": "k1", "leads": "l1", "dids": "+914842000001"}.get(path.split("/")[2], "")
        answer = await desk.http.request(method, path.format(ref=ref, version=1), headers=theirs.headers)
        assert answer.status_code == 404 or answer.json() == {"items": [], "next": None}, (method, path)
        checked += 1
    assert checked >= 14
    leave = await desk.http.post("/v1/staff/desk/leave", json={"start": "2026-01-01T00:00:00Z"}, headers=theirs.headers)
    assert leave.status_code == 404
    # The same references are other entities in another tenant.
    await _fill(desk.http, theirs.headers, did="+912269000001")
    assert await _everything(desk.http, mine.headers) == before[0]
    mine_ids = {item["id"] for item in before[0]["staff"]}
    assert mine_ids.isdisjoint(item["id"] for item in (await _everything(desk.http, theirs.headers))["staff"])


async def _fill(http: httpx.AsyncClient, headers: dict[str, str], did: str = "+914842000001") -> None:
    for url, body in (
        ("/v1/staff/desk", DESK),
        ("/v1/customers/k1", KOTTAKKAL),
        ("/v1/leads/l1", {"name": "Lead"}),
        (f"/v1/dids/{did}", {"default_staff": ["desk"]}),
        ("/v1/routing", {}),
    ):
        answer = await http.put(url, json=body, headers=headers)
        assert answer.status_code == 201, answer.text


async def _everything(http: httpx.AsyncClient, headers: dict[str, str]) -> dict[str, Any]:
    lists = {
        kind: (await http.get(f"/v1/{kind}", headers=headers)).json()["items"]
        for kind in ("staff", "customers", "leads", "dids")
    }
    return {**lists, "routing": (await http.get("/v1/routing", headers=headers)).json()}


async def test_keys_are_listed_without_their_secrets_and_note_their_use(desk: Any) -> None:
    shop = await desk.open("malabar")
    await desk.http.get("/v1/staff", headers=shop.headers)
    keys = await desk.http.get(f"/v1/tenants/{shop.tenant}/api-keys", headers=desk.admin)
    [key] = keys.json()
    assert key["last_used_at"] is not None
    assert shop.key not in keys.text
    async with desk.database.system() as tx:
        stored = await tx.fetchval("SELECT secret_sha256 FROM api_key")
    assert shop.key.encode() not in stored


async def test_a_switched_off_tenant_is_out_at_once(desk: Any) -> None:
    shop = await desk.open("malabar")
    off = {"slug": "malabar", "name": "Malabar", "active": False}
    await desk.http.put(f"/v1/tenants/{shop.tenant}", json=off, headers=desk.admin)
    assert (await desk.http.get("/v1/staff", headers=shop.headers)).status_code == 401


async def test_users_need_a_password_and_an_address_of_their_own(desk: Any) -> None:
    kochi, mumbai = await desk.open("kochi"), await desk.open("mumbai")
    await desk.user(kochi, "owner@malabar.example")
    url = f"/v1/tenants/{mumbai.tenant}/users"
    body = {"email": "Owner@Malabar.example", "password": "a good password", "role": "owner"}
    assert (await desk.http.post(url, json=body, headers=desk.admin)).status_code == 409
    for wrong in ({"password": "short"}, {"email": "nobody"}, {"role": "king"}):
        assert (await desk.http.post(url, json={**body, **wrong}, headers=desk.admin)).status_code == 422
    unknown = await desk.http.post(
        "/v1/tenants/00000000-0000-0000-0000-000000000001/users", json=body, headers=desk.admin
    )
    assert unknown.status_code == 404


async def test_the_openapi_document_has_examples_and_problem_documents(desk: Any) -> None:
    document = (await desk.http.get("/v1/openapi.json")).json()
    schemas = document["components"]["schemas"]
    bodies = [name for name in schemas if name.endswith("Body")]
    assert len(bodies) >= 9
    assert all("examples" in schemas[name] for name in bodies)
    put = document["paths"]["/v1/dids/{ref}"]["put"]
    assert "application/problem+json" in put["responses"]["409"]["content"]
