"""The console's page of the routing: who may read and change it, what its forms do, what is shown when they fail."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from front_desk.pages import PAGES

pytestmark = pytest.mark.real

OWNER = "owner@malabar.example"
HOSTILE = "<script>alert(1)</script>"


async def _owner(desk: Any) -> tuple[Any, httpx.AsyncClient]:
    shop = await desk.open("malabar")
    await desk.http.put("/v1/staff/desk", json={"name": f"Desk {HOSTILE}"}, headers=shop.headers)
    return shop, await desk.signed_in(shop, OWNER)


def _hidden(text: str, name: str) -> str:
    return text.split(f'name="{name}" value="')[1].split('"')[0]


async def _send(browser: httpx.AsyncClient, url: str = "/t/routing", **fields: str) -> httpx.Response:
    page = (await browser.get("/t/routing")).text
    # The page of a fresh business is at version 0; forms carry what was looked at.
    version = re.search(r'name="version" value="(\d+)"', page)
    known = {"csrf": _hidden(page, "csrf"), "version": version[1] if version else "0"}
    return await browser.post(url, data={**known, **fields})


async def _routing(desk: Any, shop: Any) -> Any:
    return (await desk.http.get("/v1/routing", headers=shop.headers)).json()


async def test_each_form_changes_its_part_and_nothing_else(desk: Any) -> None:
    shop, browser = await _owner(desk)
    forms = (
        {"section": "group", "name": "reception", "strategy": "longest_idle", "staff": "desk\n", "ring_seconds": ""},
        {"section": "calendar", "name": "office", "hours": "Mon-Sat 9:30-18:00",
         "holidays": "2026-08-15 Independence Day\n2031-08-26 9:30-13:00 Thiruvonam\n"},
        {"section": "diversions", "after_hours_number": "0484 200 0098", "overflow_group": "reception"},
        {"section": "vip", "vip_group": "reception", "vip_numbers": "9847000021\n9847000022"},
        {"section": "spam", "spam_limit": "80"},
        {"section": "general", "ring_seconds": "20", "wrap_up_seconds": "15", "last_agent_days": "30", "max_hops": "4",
         "default_calendar": "office", "claim_agents": "on", "blocked_numbers": "9847000066"},
    )  # fmt: skip
    for fields in forms:
        answer = await _send(browser, **fields)
        assert (answer.status_code, answer.headers.get("location")) == (303, "/t/routing?did=saved"), answer.text
    kept = await _routing(desk, shop)
    assert (kept["version"], kept["groups"][0]["strategy"], kept["groups"][0]["staff"]) == (6, "longest_idle", ["desk"])
    assert [day["date"] for day in kept["calendars"][0]["holidays"]] == ["2026-08-15", "2031-08-26"]
    assert (kept["after_hours"]["number"], kept["overflow"]["group"]) == ("+914842000098", "reception")
    assert (kept["vip_any_hour"], kept["vip_numbers"]) == (False, ["+919847000021", "+919847000022"])
    assert (kept["spam_limit"], kept["claim_agents"], kept["max_hops"]) == (80, True, 4)
    # The form of a thing, sent as the page has it, changes nothing.
    page = (await browser.get("/t/routing")).text
    days = page.split('name="holidays"')[1].split(">", 1)[1].split("<")[0]
    office = {"which": "office", "name": "office", "hours": "Mon-Sat 09:30-18:00", "holidays": days}
    same = await _send(browser, section="calendar", **office)
    assert same.headers["location"] == "/t/routing?did=unchanged"
    assert "2031-08-26" in page.split("Add a calendar")[0]
    removed = await _send(browser, section="calendar", which="office", do="remove")
    assert "default_calendar" in removed.text, "it is still the default"
    await _send(browser, **{**forms[5], "default_calendar": ""})
    await _send(browser, section="calendar", which="office", do="remove")
    assert (await _routing(desk, shop))["calendars"] == []


async def test_what_is_wrong_is_said_and_what_was_typed_stays(desk: Any) -> None:
    shop, browser = await _owner(desk)
    answer = await _send(
        browser, section="group", name="reception", strategy="longest_idle", staff=HOSTILE, ring_seconds="many"
    )
    assert answer.status_code == 422
    assert "ring_seconds" in answer.text
    assert "&lt;script&gt;" in answer.text
    assert "<script>alert" not in answer.text
    assert re.search(r"<details open><summary>Add a group", answer.text)
    assert (await desk.http.get("/v1/routing", headers=shop.headers)).status_code == 404
    days = await _send(browser, section="calendar", name="office", hours="Mon 9-5", holidays="on Sunday")
    assert "calendars.office.hours" in days.text
    await _send(browser, section="spam", spam_limit="70")
    late = await browser.post(
        "/t/routing", data={"csrf": _hidden(days.text, "csrf"), "version": "0", "section": "spam", "spam_limit": "60"}
    )
    assert (late.status_code, "at version 1 now" in late.text) == (422, True)
    assert (await _send(browser, section="nonsense")).status_code == 400


async def test_only_owner_and_admin_change_it_and_everybody_reads_it(desk: Any) -> None:
    shop, owner = await _owner(desk)
    await _send(owner, section="spam", spam_limit="70")
    for role in ("desk", "ops", "admin"):
        browser = await desk.signed_in(shop, f"{role}@malabar.example", role)
        page = await browser.get("/t/routing")
        assert page.status_code == 200
        assert (page.text.count("<form") > 1) == (role == "admin")
        csrf = _hidden(page.text, "csrf")
        version = (await browser.get("/t/routing/versions/1")).text
        assert "spam_limit" in version
        for url, fields in (
            ("/t/routing", {"section": "spam", "spam_limit": "71", "version": "1"}),
            ("/t/routing/emergency", {"do": "on", "number": "0484 200 0007", "reason": "x", "confirmed": "yes"}),
            ("/t/routing/restore", {"number": "1", "version": "1"}),
        ):
            answer = await browser.post(url, data={"csrf": csrf, **fields})
            assert (answer.status_code == 403) == (role != "admin"), (role, url)
    for url in ("/t/routing", "/t/routing/emergency", "/t/routing/restore"):
        forged = await owner.post(
            url, data={"csrf": "wrong", "section": "spam", "do": "off", "number": "1", "version": "1"}
        )
        assert forged.status_code == 403


async def test_the_red_bar_is_on_every_page_while_the_emergency_holds(desk: Any) -> None:
    shop, browser = await _owner(desk)
    other = await desk.signed_in(await desk.open("mumbai"), "owner@mumbai.example")
    flood = {"do": "on", "number": "0484 200 0007", "reason": HOSTILE, "until": "2031-01-01T00:00"}
    nowhere = await _send(browser, "/t/routing/emergency", do="on", reason="no place")
    assert (nowhere.status_code, "number" in nowhere.text) == (422, True)
    asked = await _send(browser, "/t/routing/emergency", **flood)
    assert (asked.status_code, "Switch the emergency on?" in asked.text) == (200, True)
    assert 'class="alarm"' not in (await browser.get("/t/today")).text
    done = await _send(browser, "/t/routing/emergency", **flood, confirmed="yes")
    assert done.headers["location"] == "/t/routing?did=on"
    for name in PAGES:
        page = (await browser.get(f"/t/{name}")).text
        assert 'class="alarm"' in page
        assert "+91 484 200 0007" in page
        assert "1 Jan 2031, 00:00" in page
        assert "<script>alert" not in page
        assert 'class="alarm"' not in (await other.get(f"/t/{name}")).text
    await _send(browser, "/t/routing/emergency", do="off")
    assert 'class="alarm"' in (await browser.get("/t/today")).text, "asked first, done then"
    await _send(browser, "/t/routing/emergency", do="off", confirmed="yes")
    assert 'class="alarm"' not in (await browser.get("/t/today")).text
    over = {"number": "0484 200 0007", "reason": "over", "until": "2020-01-01T00:00:00Z"}
    await desk.http.post("/v1/routing/emergency", json=over, headers=shop.headers)
    assert 'class="alarm"' not in (await browser.get("/t/today")).text


async def test_history_is_compared_and_restored(desk: Any) -> None:
    shop, browser = await _owner(desk)
    for limit in ("70", "80"):
        await _send(browser, section="spam", spam_limit=limit, why=f"from {limit} {HOSTILE}")
    page = (await browser.get("/t/routing")).text
    assert f"by {OWNER}: from 80 &lt;script&gt;" in page
    version = (await browser.get("/t/routing/versions/1")).text
    assert "What going back to it would change" in version
    assert "<td>80</td><td>70</td>" in version
    restored = await _send(browser, "/t/routing/restore", number="1", why="calmer")
    assert restored.headers["location"] == "/t/routing?did=restored"
    kept = await _routing(desk, shop)
    assert (kept["version"], kept["spam_limit"]) == (3, 70)
    late = await _send(browser, "/t/routing/restore", number="2", version="1")
    assert "at version 3 now" in late.text
    for path in ("9", "0", "x", "9" * 20):
        assert (await browser.get(f"/t/routing/versions/{path}")).status_code == 404
    stranger = await desk.signed_in(await desk.open("mumbai"), "owner@mumbai.example")
    assert (await stranger.get("/t/routing/versions/1")).status_code == 404
