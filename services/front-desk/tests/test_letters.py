"""The console's dead letters: whose they are, what is shown of them, and who may do what when."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import httpx
import pytest

from front_desk.sign_in import UNLOCKED

pytestmark = pytest.mark.real

OWNER = "owner@malabar.example"
PASSWORD = "a good password"
SECRET = "what only the customer should know"
"""In what is parked; see conftest."""


async def audit(desk: Any) -> list[tuple[str, str, str]]:
    async with desk.database.system() as tx:
        rows = await tx.fetch("SELECT action, who, why FROM dead_letter_audit ORDER BY at, id")
    return [(row["action"], row["who"], row["why"]) for row in rows]


async def csrf(browser: httpx.AsyncClient) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', (await browser.get("/t/letters")).text)
    assert found
    return found[1]


async def unlock(browser: httpx.AsyncClient, password: str = PASSWORD) -> str:
    fields = {"csrf": await csrf(browser), "do": "unlock", "password": password, "back": "/t/letters"}
    answer = await browser.post("/t/letters/unlock", data=fields)
    assert answer.status_code == 303
    return (await browser.get(answer.headers["location"])).text


async def act(browser: httpx.AsyncClient, **fields: str) -> str:
    """Post a form and return the page that follows."""
    answer = await browser.post("/t/letters/act", data={"csrf": await csrf(browser), "service": "front-desk", **fields})
    assert answer.status_code == 303, answer.text
    return (await browser.get(answer.headers["location"])).text


async def test_a_group_is_one_row_and_says_how_many_wait(desk: Any) -> None:
    shop = await desk.open("malabar")
    for number in range(3):
        await desk.park(shop.tenant, f"e{number}", number)
    browser = await desk.signed_in(shop, OWNER)
    page = (await browser.get("/t/letters")).text
    assert page.count("the shape is wrong") == 1
    assert '<dt>Letters</dt><dd class="num">3</dd>' in page
    assert "notifier" in page, "a service that does not answer is named"
    assert "Retry all" not in page, "locked"
    letters = (await browser.get(re.search(r'href="(/t/letters\?[^"]+)"', page)[1].replace("&amp;", "&"))).text  # type: ignore[index]
    assert letters.count('class="card"') == 3


async def test_another_tenants_letters_are_as_good_as_none(desk: Any) -> None:
    shop, other = await desk.open("malabar"), await desk.open("mumbai")
    foreign = await desk.park(other.tenant, "e", 1)
    browser = await desk.signed_in(shop, OWNER)
    assert "the shape is wrong" not in (await browser.get("/t/letters")).text
    assert (await browser.get(f"/t/letters/front-desk/{foreign}")).status_code == 404
    await unlock(browser)
    assert (await browser.get(f"/t/letters/front-desk/{foreign}?reveal=yes")).status_code == 404
    for do in ("retry", "drop", "edit", "restore"):
        await act(browser, do=do, id=foreign, why="mine now", value="{}")
    assert await desk.letter_state(foreign) == "waiting"
    assert await audit(desk) == []


@pytest.mark.parametrize("role", ["owner", "ops", "admin", "desk"])
async def test_only_those_who_run_the_operation_see_them(desk: Any, role: str) -> None:
    shop = await desk.open("malabar")
    letter = await desk.park(shop.tenant, "e", 1)
    await desk.user(shop, "x@malabar.example", role)
    browser = desk.browser()
    await desk.sign_in(browser, "x@malabar.example")
    expected = 403 if role == "desk" else 200
    assert (await browser.get("/t/letters")).status_code == expected
    assert (await browser.get(f"/t/letters/front-desk/{letter}")).status_code == expected
    assert ("Dead letters" in (await browser.get("/t/today")).text) is (role != "desk")


async def test_nothing_changes_and_nothing_is_shown_before_it_is_unlocked(desk: Any) -> None:
    shop = await desk.open("malabar")
    whom = "+919847000010"
    letter = await desk.park(shop.tenant, f"contact:{whom}", 1)
    browser = await desk.signed_in(shop, OWNER)
    page = (await browser.get(f"/t/letters/front-desk/{letter}?reveal=yes")).text
    assert SECRET not in page
    assert whom not in page, "neither its key nor its headers name anybody"
    assert "&#34;text&#34;: &#34;text&#34;" in page, "what it is made of is shown"
    assert "Unlock first" in await act(browser, do="drop", id=letter, why="no")
    assert "wrong" in await unlock(browser, "not the password")
    assert "Unlock first" in await act(browser, do="retry", id=letter)
    assert (await desk.letter_state(letter), await audit(desk)) == ("waiting", [])
    await unlock(browser)
    assert whom in (await browser.get(f"/t/letters/front-desk/{letter}?reveal=yes")).text
    assert [each[0] for each in await audit(desk)] == ["reveal"]
    assert "1 will be tried again" in await act(browser, do="retry", key_of=letter)


async def test_who_guesses_the_password_has_to_wait(desk: Any) -> None:
    shop = await desk.open("malabar")
    browser = await desk.signed_in(shop, OWNER)
    for _ in range(desk.settings.sign_in_failures_max):
        await unlock(browser, "not the password")
    assert "Too many failed attempts" in await unlock(browser)


async def test_it_locks_itself_and_on_demand(desk: Any) -> None:
    shop = await desk.open("malabar")
    letter = await desk.park(shop.tenant, "e", 1)
    browser = await desk.signed_in(shop, OWNER)
    assert f"Unlocked for {UNLOCKED.seconds // 60} minutes" in await unlock(browser)
    await browser.post("/t/letters/unlock", data={"csrf": await csrf(browser), "do": "lock"})
    assert "Unlock first" in await act(browser, do="retry", id=letter)
    await unlock(browser)
    async with desk.database.system() as tx:
        await tx.execute("UPDATE console_session SET unlocked_until = now() - interval '1 second'")
    assert "Unlock first" in await act(browser, do="retry", id=letter)


async def test_a_letter_is_read_edited_given_up_taken_back_and_tried_again(desk: Any) -> None:
    shop = await desk.open("malabar")
    letter = await desk.park(shop.tenant, "e", 1)
    browser = await desk.signed_in(shop, OWNER)
    await unlock(browser)
    assert SECRET in (await browser.get(f"/t/letters/front-desk/{letter}?reveal=yes")).text
    here = f"/t/letters/front-desk/{letter}"
    assert "say why" in await act(browser, do="drop", id=letter, back=here, why="")
    await act(browser, do="edit", id=letter, back=f"{here}?reveal=yes", value='{"text": "mended"}', why="a typo")
    page = (await browser.get(f"{here}?reveal=yes")).text
    assert SECRET in page, "the original is kept"
    assert "+  &#34;text&#34;: &#34;mended&#34;" in page
    await act(browser, do="edit", id=letter, back=here, to="original", value="ignored", why="it was right")
    assert "mended" not in (await browser.get(f"{here}?reveal=yes")).text
    await act(browser, do="edit", id=letter, back=here, value='{"text": "mended"}', why="it was not")
    await act(browser, do="drop", id=letter, back=here, why="a test record")
    assert await desk.letter_state(letter) == "dropped"
    await act(browser, do="restore", id=letter, back=here)
    assert await desk.letter_state(letter) == "waiting"
    assert "1 will be tried again" in await act(browser, do="retry", id=letter, back=here)
    assert await desk.letter_state(letter) == "retry"
    done = await audit(desk)
    assert {who for _, who, _ in done} == {OWNER}
    assert [each[0] for each in done if each[0] != "reveal"] == ["edit", "edit", "edit", "drop", "restore", "retry"]
    assert ("edit", OWNER, "a typo") in done
    assert ("drop", OWNER, "a test record") in done


async def test_many_are_planned_read_and_then_applied_or_cancelled(desk: Any) -> None:
    shop, other = await desk.open("malabar"), await desk.open("mumbai")
    for number in range(4):
        await desk.park((shop if number else other).tenant, f"e{number}", number)
    browser = await desk.signed_in(shop, OWNER)
    await unlock(browser)
    page = (await browser.get("/t/letters")).text
    group = re.search(r'name="group" value="([^"]+)"', page)[1]  # type: ignore[index]
    plan = {"do": "plan", "action": "drop", "consumer": "front-desk", "group": group, "why": "test records"}
    page = await act(browser, **plan)
    assert "Give up 3 letters" in page
    assert "Apply to 3" in page
    job, digest = (re.search(rf'name="{name}" value="([^"]+)"', page)[1] for name in ("job", "plan_hash"))  # type: ignore[index]
    assert "Not done" in await act(browser, do="apply", job=job, plan_hash="another")
    stranger = await desk.signed_in(other, "owner@mumbai.example")
    await unlock(stranger)
    assert "Give up" not in (await stranger.get("/t/letters")).text.replace("give up letters", "")
    assert "no such job" in await act(stranger, do="cancel", job=job)
    # A colleague applies it; whoever planned it still sees it, and who is who.
    colleague = await desk.signed_in(shop, "ops@malabar.example", "ops")
    await unlock(colleague)
    assert "running" in await act(colleague, do="apply", job=job, plan_hash=digest)
    page = (await browser.get("/t/letters")).text
    assert f"planned by {OWNER}, applied by ops@malabar.example: test records" in page
    assert "Cancelled" in await act(browser, do="cancel", job=job)
    async with desk.database.system() as tx:
        rows = await tx.fetch("SELECT action, who, why FROM dead_letter_job_audit ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("plan", OWNER, "test records"), ("apply", "ops@malabar.example", "test records"),
        ("cancel", OWNER, "test records"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"do": "burn"},
        {"do": "retry"},
        {"do": "drop", "why": "everything"},
        {"do": "retry", "id": "1; DROP TABLE"},
        {"do": "retry", "service": "nobody", "id": str(UUID(int=1))},
        {"do": "plan", "action": "burn", "consumer": "front-desk", "group": "x"},
        {"do": "retry", "id": str(UUID(int=1)), "back": "//evil.example"},
        {"do": "retry", "id": str(UUID(int=1)), "back": "https://evil.example"},
    ],
)
async def test_forms_that_we_did_not_make_change_nothing(desk: Any, fields: dict[str, str]) -> None:
    shop = await desk.open("malabar")
    letter = await desk.park(shop.tenant, "e", 1)
    browser = await desk.signed_in(shop, OWNER)
    await unlock(browser)
    given = {"csrf": await csrf(browser), "service": "front-desk", **fields}
    answer = await browser.post("/t/letters/act", data=given)
    assert answer.status_code < 500
    assert not answer.headers.get("location", "").startswith(("//", "http"))
    assert (await browser.post("/t/letters/act", data={**given, "csrf": "another"})).status_code == 403
    assert await desk.letter_state(letter) == "waiting"


async def test_no_link_puts_words_into_our_mouth(desk: Any) -> None:
    shop = await desk.open("malabar")
    browser = await desk.signed_in(shop, OWNER)
    assert "Call this number" not in (await browser.get("/t/letters?problem=Call+this+number&seal=x")).text
    assert "<script>" not in (await browser.get("/t/letters?did=retry&count=<script>")).text


async def test_hostile_text_is_text(desk: Any) -> None:
    shop = await desk.open("malabar")
    letter = await desk.park(shop.tenant, "<script>alert(1)</script>", 1)
    hostile = "</pre><script>alert(1)</script>{{ 7*7 }}"
    async with desk.database.system() as tx:
        await tx.execute("UPDATE dead_letter SET message = $1, value = $2", hostile, hostile.encode())
    browser = await desk.signed_in(shop, OWNER)
    await unlock(browser)
    for path in ("/t/letters", f"/t/letters/front-desk/{letter}?reveal=yes"):
        page = (await browser.get(path)).text
        assert "<script>alert" not in page
        assert "{{ 7*7 }}" in page
