"""How calls are routed, over REST on a real database: whole, checked against the numbers, kept as versions."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from front_desk.keep_directory import republish
from front_desk.kinds import KINDS

pytestmark = pytest.mark.real

SHOP, NIGHT = "+914842000001", "+914842000002"
FULL: dict[str, Any] = {
    "last_agent_days": 14,
    "ring_seconds": 20,
    "fallback_number": "0484 200 0099",
    "blocked_numbers": ["9847000066"],
    "groups": [
        {"name": "reception", "strategy": "longest_idle", "staff": ["desk", "accounts"], "ring_seconds": 15},
        {"name": "accounts", "staff": ["accounts"]},
    ],
    "calendars": [
        {
            "name": "office",
            "hours": "Mon-Sat 09:30-18:00",
            "holidays": [
                {"date": "2026-12-25", "label": "Christmas"},
                {"date": "2026-08-26", "label": "Thiruvonam", "start": "09:30", "until": "13:00"},
            ],
        }
    ],
    "default_calendar": "office",
    "after_hours": {"number": "0484 200 0098"},
    "overflow": {"group": "accounts"},
    "vip": {"group": "reception"},
    "vip_numbers": ["9847000021"],
    "vip_any_hour": False,
    "spam_limit": 80,
    "spam": {"number": "0484 200 0097"},
    "claim_agents": True,
    "wrap_up_seconds": 20,
    "max_hops": 3,
}


async def _shop(desk: Any, slug: str = "malabar") -> Any:
    shop = await desk.open(slug)
    for ref in ("desk", "accounts"):
        await _put(desk, shop, f"/v1/staff/{ref}", {"name": f"{ref.title()} desk"})
    return shop


async def _put(desk: Any, shop: Any, url: str, body: dict[str, Any], status: int = 201, **headers: str) -> Any:
    answer = await desk.http.put(url, json=body, headers={**shop.headers, **headers})
    assert answer.status_code == status, answer.text
    return answer.json()


async def _routing(
    desk: Any, shop: Any, status: int = 200, headers: dict[str, str] | None = None, **fields: Any
) -> Any:
    return await _put(desk, shop, "/v1/routing", {**FULL, **fields}, status, **(headers or {}))


async def _get(desk: Any, shop: Any, url: str, status: int = 200) -> Any:
    answer = await desk.http.get(url, headers=shop.headers)
    assert answer.status_code == status, answer.text
    return answer.json()


async def _post(desk: Any, shop: Any, url: str, body: dict[str, Any] | None = None, status: int = 200) -> Any:
    answer = await desk.http.post(url, json=body, headers=shop.headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def _problems(answer: dict[str, Any]) -> dict[str, str]:
    return {each["field"]: each["problem"] for each in answer["errors"]}


async def _events(desk: Any, type_: str) -> list[dict[str, Any]]:
    return [json.loads(each["payload"]) for each in await desk.outbox() if each["type"] == type_ and each["payload"]]


async def test_the_event_carries_all_that_was_put(desk: Any) -> None:
    shop = await _shop(desk)
    made = await _routing(desk, shop, 201)
    ids = {ref: (await _get(desk, shop, f"/v1/staff/{ref}"))["id"] for ref in ("desk", "accounts")}
    [event] = await _events(desk, "directory.routing.v1")
    assert event["version"] == made["version"] == 1
    assert event["groups"] == [
        {
            "name": "reception",
            "strategy": "longest_idle",
            "staff_ids": [ids["desk"], ids["accounts"]],
            "ring_seconds": 15,
        },
        {"name": "accounts", "strategy": "in_order", "staff_ids": [ids["accounts"]], "ring_seconds": None},
    ]
    [office] = event["calendars"]
    assert (len(office["hours"]), [day["date"] for day in office["holidays"]]) == (6, ["2026-08-26", "2026-12-25"])
    assert event["after_hours"] == {"group": None, "number": "+914842000098"}
    assert (event["overflow"], event["vip"]) == (
        {"group": "accounts", "number": None},
        {"group": "reception", "number": None},
    )
    assert (event["vip_numbers"], event["vip_any_hour"]) == (["+919847000021"], False)
    assert (event["spam_limit"], event["spam"]) == (80, {"group": None, "number": "+914842000097"})
    assert (event["claim_agents"], event["wrap_up_seconds"], event["max_hops"]) == (True, 20, 3)
    assert (event["default_calendar"], event["emergency"]) == ("office", None)
    assert await republish(desk.database, shop.tenant, KINDS["routing"]) == 1
    assert await _events(desk, "directory.routing.v1") == [event, event]


async def test_events_of_people_customers_and_numbers_carry_what_they_can(desk: Any) -> None:
    shop = await _shop(desk)
    await _routing(desk, shop, 201)
    staff = {"name": "Desk", "skills": ["GST", "ml", "gst"], "capacity": 3, "wrap_up_seconds": 0}
    await _put(desk, shop, "/v1/staff/desk", staff, 200)
    await _put(desk, shop, "/v1/customers/k1", {"name": "Kottakkal Traders", "vip": True, "language": "ML"})
    menu = [{"digits": "1", "group": "reception"}, {"digits": "2", "group": "accounts"}]
    did = {"default_group": "reception", "calendar": "office", "skills": ["ml"], "menu": menu}
    shown = await _put(desk, shop, f"/v1/dids/{SHOP}", did)
    assert shown["menu"] == menu
    person = (await _events(desk, "directory.staff.v1"))[-1]
    assert (person["skills"], person["capacity"], person["wrap_up_seconds"]) == (["gst", "ml"], 3, 0)
    [customer] = await _events(desk, "directory.customer.v1")
    assert (customer["vip"], customer["language"]) == (True, "ml")
    [number] = await _events(desk, "directory.did.v1")
    assert {name: number[name] for name in did} == did
    again = await _put(desk, shop, f"/v1/dids/{SHOP}", did, 200)
    assert again["outcome"] == "unchanged"


async def test_every_problem_is_said_at_once(desk: Any) -> None:
    shop = await _shop(desk)
    answer = await _routing(
        desk, shop, 422, ring_seconds=1, spam_limit=0, max_hops=99, overflow={"group": "nobody"}, vip={},
        groups=[{"name": "a", "strategy": "loudest"}, {"name": "a"}, {"name": "B C", "ring_seconds": 1}],
        emergency={"reason": "no place"},
    )  # fmt: skip
    assert _problems(answer).keys() == {
        "ring_seconds", "spam_limit", "max_hops", "overflow.group", "vip.group", "groups.a.strategy",
        "groups.2.name", "groups.2.ring_seconds", "emergency.number",
    }  # fmt: skip
    unknown = await _routing(desk, shop, 422, groups=[{"name": "accounts", "staff": ["nobody"]}], vip=None)
    assert "nobody" in unknown["detail"]
    await _get(desk, shop, "/v1/routing", 404)


async def test_a_number_names_what_the_routing_has(desk: Any) -> None:
    shop = await _shop(desk)
    alone = await _put(desk, shop, f"/v1/dids/{SHOP}", {"default_group": "reception"}, 422)
    assert "add it to the routing first" in _problems(alone)["default_group"]
    await _routing(desk, shop, 201)
    wrong = {"default_group": "nobody", "calendar": "moon", "menu": [{"digits": "1", "group": "none"}]}
    assert _problems(await _put(desk, shop, f"/v1/dids/{SHOP}", wrong, 422)).keys() == {
        "default_group",
        "calendar",
        "menu",
    }
    await _get(desk, shop, f"/v1/dids/{SHOP}", 404)


async def test_what_a_number_names_stays_in_the_routing(desk: Any) -> None:
    shop = await _shop(desk)
    await _routing(desk, shop, 201)
    await _put(desk, shop, f"/v1/dids/{SHOP}", {"label": "Shop", "default_group": "reception", "calendar": "office"})
    await _put(desk, shop, f"/v1/dids/{NIGHT}", {"menu": [{"digits": "1", "group": "reception"}]})
    answer = await _put(desk, shop, "/v1/routing", {}, 409)
    assert f"The group reception is still named by Shop ({SHOP}) and {NIGHT}." in answer["detail"]
    assert f"The calendar office is still named by Shop ({SHOP})." in answer["detail"]
    assert (await _get(desk, shop, "/v1/routing"))["version"] == 1
    for did in (SHOP, NIGHT):
        await desk.http.delete(f"/v1/dids/{did}", headers=shop.headers)
    assert (await _put(desk, shop, "/v1/routing", {}, 200))["groups"] == []


async def test_a_person_in_a_group_is_not_deleted(desk: Any) -> None:
    shop = await _shop(desk)
    await _routing(desk, shop, 201)
    refused = await desk.http.delete("/v1/staff/accounts", headers=shop.headers)
    assert refused.status_code == 409
    assert "named by the routing's groups reception and accounts." in refused.json()["detail"]
    await _put(desk, shop, "/v1/routing", {}, 200)
    assert (await desk.http.delete("/v1/staff/accounts", headers=shop.headers)).status_code == 204


async def test_numbers_that_lead_in_a_circle_are_refused(desk: Any) -> None:
    shop = await _shop(desk)
    await _put(desk, shop, f"/v1/dids/{SHOP}", {"label": "Shop", "fallback_number": NIGHT})
    circle = await _put(desk, shop, f"/v1/dids/{NIGHT}", {"label": "Night", "fallback_number": SHOP}, 422)
    assert f"Shop ({SHOP}) → Night ({NIGHT}); calls would ring in a circle" in _problems(circle)["fallback_number"]
    await _put(desk, shop, f"/v1/dids/{NIGHT}", {"label": "Night"})
    own = {
        "overflow": {"number": NIGHT},
        "vip": {"number": NIGHT},
        "fallback_number": NIGHT,
        "after_hours": {"number": NIGHT},
    }
    answer = await _routing(desk, shop, 422, **own)
    assert _problems(answer).keys() == {"overflow.number", "vip.number", "fallback_number", "after_hours.number"}
    pressed = await _post(desk, shop, "/v1/routing/emergency", {"number": NIGHT, "reason": "flood"}, 422)
    assert "circle" in _problems(pressed)["number"]


async def test_after_hours_may_go_to_a_number_of_ours_that_never_closes(desk: Any) -> None:
    shop = await _shop(desk)
    calendars = [*FULL["calendars"], {"name": "always"}]
    await _routing(desk, shop, 201, calendars=calendars)
    await _put(desk, shop, f"/v1/dids/{NIGHT}", {"calendar": "always"})
    kept = await _routing(desk, shop, 200, calendars=calendars, after_hours={"number": NIGHT})
    assert kept["after_hours"]["number"] == NIGHT
    closing = await _put(desk, shop, f"/v1/dids/{NIGHT}", {"calendar": "office"}, 422)
    assert "Change the routing first" in _problems(closing)["did"]
    shut = [FULL["calendars"][0], {"name": "always", "hours": "Mon 09:00-10:00"}]
    changed = await _routing(desk, shop, 422, calendars=shut, after_hours={"number": NIGHT})
    assert "circle" in _problems(changed)["after_hours.number"]


async def test_whoever_edited_an_older_version_is_told(desk: Any) -> None:
    shop = await _shop(desk)
    await _routing(desk, shop, 201)
    mine = await desk.http.get("/v1/routing", headers=shop.headers)
    assert mine.headers["etag"] == '"1"'
    await _routing(desk, shop, 200, ring_seconds=30)
    late = await _put(desk, shop, "/v1/routing", {**mine.json(), "ring_seconds": 40}, 409)
    assert "at version 2 now, you edited version 1" in late["detail"]
    await _routing(desk, shop, 412, {"If-Match": '"1"'}, ring_seconds=40)
    await _routing(desk, shop, 412, {"If-Match": "nonsense"}, ring_seconds=40)
    assert (await _routing(desk, shop, 200, {"If-Match": '"2"'}, ring_seconds=40))["version"] == 3
    # What a GET answered goes back as it is, and changes nothing.
    newest = await _get(desk, shop, "/v1/routing")
    assert (await _put(desk, shop, "/v1/routing", newest, 200))["outcome"] == "unchanged"


async def test_of_two_editors_at_once_one_is_told(desk: Any) -> None:
    shop = await _shop(desk)
    await _routing(desk, shop, 201)
    answers = await asyncio.gather(
        *(
            desk.http.put("/v1/routing", json={**FULL, "ring_seconds": 30 + n, "version": 1}, headers=shop.headers)
            for n in range(6)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409, 409]
    versions = (await _get(desk, shop, "/v1/routing/versions"))["items"]
    assert [each["version"] for each in versions] == [2, 1]


async def test_a_number_and_the_routing_do_not_lose_each_other(desk: Any) -> None:
    """However the two are put at once, no number ends up naming a group that is not there."""
    shop = await _shop(desk)
    for n in range(8):
        await _put(
            desk, shop, "/v1/routing", {"groups": [{"name": "reception"}], "wrap_up_seconds": n}, 201 if n == 0 else 200
        )
        await asyncio.gather(
            desk.http.put(f"/v1/dids/+91484200{n:04}", json={"default_group": "reception"}, headers=shop.headers),
            desk.http.put("/v1/routing", json={}, headers=shop.headers),
        )
        groups = {each["name"] for each in (await _get(desk, shop, "/v1/routing"))["groups"]}
        named = {each["default_group"] for each in (await _get(desk, shop, "/v1/dids"))["items"]} - {None}
        assert named <= groups, n
        await desk.http.delete(f"/v1/dids/+91484200{n:04}", headers=shop.headers)


async def test_every_change_is_a_version_with_who_and_why(desk: Any) -> None:
    shop = await _shop(desk)
    await _routing(desk, shop, 201, why="the beginning")
    await _routing(desk, shop, 200)
    await _routing(
        desk, shop, 200, ring_seconds=30, groups=[FULL["groups"][1], {**FULL["groups"][0], "staff": ["desk"]}], vip=None
    )
    items = (await _get(desk, shop, "/v1/routing/versions"))["items"]
    assert [(each["version"], each["changed_by"], each["why"]) for each in items] == [
        (2, "key of tests", ""), (1, "key of tests", "the beginning"),
    ]  # fmt: skip
    page = await _get(desk, shop, "/v1/routing/versions?limit=1")
    assert (page["items"][0]["version"], page["next"]) == (2, 2)
    assert [each["version"] for each in (await _get(desk, shop, "/v1/routing/versions?before=2"))["items"]] == [1]
    first = await _get(desk, shop, "/v1/routing/versions/1")
    assert first["body"]["groups"][0]["staff"] == ["desk", "accounts"]
    changes = (await _get(desk, shop, "/v1/routing/versions/2/diff"))["changes"]
    assert [each["sentence"] for each in changes] == [
        "groups.reception.staff: desk, accounts → desk",
        "ring_seconds: 20 → 30",
        "vip.group: reception (gone)",
    ]
    back = await _get(desk, shop, "/v1/routing/versions/1/diff?against=2")
    assert back["changes"][1]["sentence"] == "ring_seconds: 30 → 20"
    await _get(desk, shop, "/v1/routing/versions/9", 404)
    await _get(desk, shop, "/v1/routing/versions/1/diff?against=9", 404)
    for path in ("versions/0", f"versions/{2**31}", f"versions/1/diff?against={2**31}", f"versions?before={2**31}"):
        await _get(desk, shop, f"/v1/routing/{path}", 422)


async def test_an_old_version_becomes_the_newest(desk: Any) -> None:
    shop = await _shop(desk)
    await _routing(desk, shop, 201)
    await _put(desk, shop, "/v1/routing", {"ring_seconds": 9}, 200)
    restored = await _post(desk, shop, "/v1/routing/versions/1/restore", {"why": "it was better"})
    assert (restored["version"], restored["ring_seconds"], len(restored["groups"])) == (3, 20, 2)
    newest = (await _get(desk, shop, "/v1/routing/versions"))["items"][0]
    assert newest["why"] == "version 1 again: it was better"
    await _post(desk, shop, "/v1/routing/versions/2/restore", {"version": 1}, 409)
    await _post(desk, shop, "/v1/routing/versions/2/restore")
    await desk.http.delete("/v1/staff/accounts", headers=shop.headers)
    gone = await _post(desk, shop, "/v1/routing/versions/1/restore", None, 422)
    assert "accounts" in gone["detail"]


async def test_the_red_button(desk: Any) -> None:
    shop = await _shop(desk)
    flood = {"number": "0484 200 0007", "until": "2031-01-01T00:00:00+05:30", "reason": "The office is flooded"}
    on = await _post(desk, shop, "/v1/routing/emergency", flood, 201)
    assert on["emergency"]["number"] == "+914842000007"
    # Neither one who replaces everything nor one who restores ends it by the way.
    assert (await _routing(desk, shop, 200))["emergency"] == on["emergency"]
    await _post(desk, shop, "/v1/routing/versions/2/restore")
    await _post(desk, shop, "/v1/routing/emergency", {"group": "nobody", "reason": "x"}, 422)
    await _post(desk, shop, "/v1/routing/emergency", {"reason": "no place to go"}, 422)
    await _post(desk, shop, "/v1/routing/emergency", {"number": "0484 200 0007"}, 422)
    group = await _post(desk, shop, "/v1/routing/emergency", {"group": "reception", "reason": "still wet"})
    assert group["emergency"] == {"group": "reception", "number": None, "until": None, "reason": "still wet"}
    refused = await _put(desk, shop, "/v1/routing", {}, 422)
    assert "emergency.group" in _problems(refused)
    off = await desk.http.delete("/v1/routing/emergency?why=dry%20again", headers=shop.headers)
    assert (off.status_code, off.json()["emergency"]) == (200, None)
    events = await _events(desk, "directory.routing.v1")
    assert [event["emergency"] is not None for event in events] == [True, True, True, False]
    whys = [each["why"] for each in (await _get(desk, shop, "/v1/routing/versions"))["items"]]
    assert whys == ["emergency off: dry again", "emergency on: still wet", "", "emergency on: The office is flooded"]
    other = await desk.open("mumbai")
    assert (await desk.http.delete("/v1/routing/emergency", headers=other.headers)).status_code == 404


async def test_a_check_writes_nothing(desk: Any) -> None:
    shop = await _shop(desk)
    await _routing(desk, shop, 201)
    await _put(desk, shop, f"/v1/dids/{SHOP}", {"label": "Shop", "default_group": "reception"})
    before = len(await desk.outbox())
    fine = await _post(desk, shop, "/v1/routing/check", {**FULL, "ring_seconds": 30})
    assert (fine["ok"], fine["version"]) == (True, 1)
    assert [each["sentence"] for each in fine["changes"]] == ["ring_seconds: 20 → 30"]
    for body, field in (
        ({**FULL, "ring_seconds": 1}, "ring_seconds"),
        ({}, "groups"),
        ({**FULL, "groups": [{"name": "reception", "staff": ["nobody"]}], "overflow": None}, "groups"),
        ({**FULL, "overflow": {"number": SHOP}}, "overflow.number"),
    ):
        wrong = await _post(desk, shop, "/v1/routing/check", body)
        assert (wrong["ok"], [each["field"] for each in wrong["problems"]]) == (False, [field])
    assert len(await desk.outbox()) == before
    assert len((await _get(desk, shop, "/v1/routing/versions"))["items"]) == 1


async def test_another_tenant_has_other_groups_people_and_versions(desk: Any) -> None:
    kochi, mumbai = await _shop(desk, "kochi"), await desk.open("mumbai")
    await _routing(desk, kochi, 201)
    assert (await _get(desk, mumbai, "/v1/routing/versions"))["items"] == []
    for path in ("versions/1", "versions/1/diff"):
        await _get(desk, mumbai, f"/v1/routing/{path}", 404)
    await _post(desk, mumbai, "/v1/routing/versions/1/restore", None, 404)
    await _put(desk, mumbai, "/v1/dids/+912269000001", {"default_group": "reception"}, 422)
    stranger = await _put(desk, mumbai, "/v1/routing", {"groups": [{"name": "a", "staff": ["desk"]}]}, 422)
    assert "desk" in stranger["detail"]
    # A number of another tenant is any number outside.
    await _put(desk, kochi, f"/v1/dids/{SHOP}", {})
    assert (await _put(desk, mumbai, "/v1/routing", {"overflow": {"number": SHOP}}))["version"] == 1


@pytest.mark.parametrize(
    "sql", ["UPDATE routing_version SET why = ''", "DELETE FROM routing_version", "TRUNCATE routing_version"]
)
async def test_history_cannot_be_rewritten(desk: Any, sql: str) -> None:
    shop = await _shop(desk)
    await _routing(desk, shop, 201)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with desk.database.transaction(shop.tenant) as tx:
            await tx.execute(sql)
    with pytest.raises(asyncpg.UniqueViolationError):
        async with desk.database.transaction(shop.tenant) as tx:
            await tx.execute(
                "INSERT INTO routing_version (tenant_id, version, changed_by, body) VALUES ($1, 1, 'x', '{}')",
                shop.tenant,
            )
