"""The console on a real database: sign-in, roles, pages with nothing, something and hostile things in them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from contracts.calls import Claim, Destination, Excluded
from contracts.facts import Evidence
from front_desk import show_on_board
from front_desk.pages import PAGES
from kit.postgres import Transaction

pytestmark = pytest.mark.real

OWNER = "owner@malabar.example"
BOARDS = [name for name in PAGES if name not in ("letters", "routing")]
"""Pages of what the board was shown; what else there is has tests of its own."""
HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(1)>{{ 7*7 }}"""


async def _fill(desk: Any, tenant: Any, make: Any, text: str = "Desk") -> None:
    destination = Destination(number="+919847000011", name=text, reason=text)
    excluded = Excluded(staff_id=text, name=text, rule=text, reason=text)
    call = make.call(
        text, caller_raw=text, caller=None, caller_kind="invalid", destinations=(destination,), excluded=(excluded,)
    )
    evidence = Evidence(
        source_type="message", source_id=text, start=0, end=3, quote=f"before {text} after", at=make.call().asked_at
    )
    await desk.show(tenant, show_on_board.show_inbound_calls, call)
    claim = Claim(status="claimed", user_id=text, user_name=text, until=call.asked_at, outcome=text, reason=text)
    await desk.show(
        tenant,
        show_on_board.show_call_states,
        make.state(text, "missed", 3, cause=text, duration_seconds=3, claim=claim),
    )
    await desk.show(
        tenant, show_on_board.show_facts, make.fact(text, raw_value=text, value=text, subject=text, evidence=evidence)
    )
    await desk.show(
        tenant,
        show_on_board.show_messages,
        make.message(text, chat_id=text, chat_name=text, sender_name=text, text=text),
    )
    anomaly = make.anomaly(text, title=text, description=text, learning=text, evidence=({text: text, "none": None},))
    await desk.show_one(tenant, show_on_board.show_anomaly, anomaly)
    await desk.show_one(
        tenant, show_on_board.show_mail, make.mail(text, recipient=text, subject_line=text, reason=text)
    )
    await desk.show_one(tenant, show_on_board.show_import, make.imported(text, account_name=text, error=text))


def _unsafe_elements(text: str) -> list[str]:
    """Elements that a browser would run or fetch and that our templates do not have."""
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            own = (given.get("src") or "").startswith("/static/")
            if tag in ("script", "img", "iframe", "style") and not own:
                found.append(tag)
            found.extend(name for name in given if name.startswith("on") or name == "style")

    Reader().feed(text)
    return found


async def test_every_page_renders_with_nothing_in_it(desk: Any) -> None:
    shop = await desk.open("malabar")
    browser = await desk.signed_in(shop, OWNER)
    for name in PAGES:
        page = await browser.get(f"/t/{name}")
        assert page.status_code == 200, name
        assert page.text.count('class="empty"') >= 1


async def test_every_page_renders_with_something_in_it(desk: Any, make: Any) -> None:
    shop = await desk.open("malabar")
    await _fill(desk, shop.tenant, make, "Desk")
    browser = await desk.signed_in(shop, OWNER)
    for name in BOARDS:
        page = await browser.get(f"/t/{name}")
        assert page.status_code == 200, page.text
        assert "Desk" in page.text, name


async def test_hostile_text_is_text(desk: Any, make: Any) -> None:
    shop = await desk.open("malabar", name=HOSTILE[:25])
    await _fill(desk, shop.tenant, make, HOSTILE)
    browser = await desk.signed_in(shop, OWNER)
    for name in BOARDS:
        page = await browser.get(f"/t/{name}")
        assert page.status_code == 200, page.text
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text
        assert "&lt;script&gt;alert" in page.text
        assert "{{ 7*7 }}" in page.text
        assert _unsafe_elements(page.text) == []
    changes = await browser.get("/t/changes?since=0")
    assert len(changes.json()["cards"]) == 7
    assert [_unsafe_elements(card["html"]) for card in changes.json()["cards"]] == [[]] * 7


async def test_answers_forbid_scripts_and_frames_from_elsewhere(desk: Any) -> None:
    for path in ("/", "/t/today", "/nowhere", "/static/console.css", "/v1/staff"):
        headers = (await desk.http.get(path)).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    assert "immutable" in (await desk.http.get("/static/console.css")).headers["cache-control"]
    assert (await desk.http.get("/")).headers["cache-control"] == "no-store"


async def test_no_page_holds_a_script_or_style_of_its_own(desk: Any, make: Any) -> None:
    shop = await desk.open("malabar")
    await _fill(desk, shop.tenant, make)
    browser = await desk.signed_in(shop, OWNER)
    for path in ("/t/today", *(f"/t/{name}" for name in PAGES)):
        text = (await browser.get(path)).text
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert "<style" not in text
        assert not re.search(r"\sstyle=|\son[a-z]+=", text)


async def test_nobody_sees_a_page_without_signing_in(desk: Any) -> None:
    for path in [f"/t/{name}" for name in PAGES]:
        answer = await desk.http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
    for path in ("/t/stream?since=0", "/t/changes?since=0"):
        assert (await desk.http.get(path)).status_code == 401
    assert (await desk.http.post("/logout")).status_code == 303


async def test_a_wrong_address_and_a_wrong_password_sound_the_same(desk: Any) -> None:
    shop = await desk.open("malabar")
    await desk.user(shop, OWNER)
    browser = desk.browser()
    answers = [
        await desk.sign_in(browser, OWNER, "the wrong password"),
        await desk.sign_in(browser, "nobody@malabar.example", "the wrong password"),
    ]
    assert [answer.status_code for answer in answers] == [401, 401]
    texts = [re.sub(r'value="[^"]*"', "", answer.text) for answer in answers]
    assert texts[0] == texts[1]
    assert "the wrong password" not in answers[0].text


async def test_the_session_cookie_is_out_of_reach(desk: Any) -> None:
    shop = await desk.open("malabar")
    await desk.user(shop, OWNER)
    browser = desk.browser()
    answer = await desk.sign_in(browser, OWNER.upper())
    assert (answer.status_code, answer.headers["location"]) == (303, "/t/today")
    [cookie] = [c for c in answer.headers.get_list("set-cookie") if c.startswith("trunkline_session=")]
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    token = cookie.split("=", 1)[1].split(";")[0]
    async with desk.database.system() as tx:
        stored = await tx.fetchval("SELECT token_sha256 FROM console_session")
    assert token.encode() not in stored


async def test_a_session_planted_before_sign_in_is_worth_nothing_after(desk: Any) -> None:
    shop = await desk.open("malabar")
    await desk.user(shop, OWNER)
    browser = desk.browser()
    browser.cookies.set("trunkline_session", "planted-by-somebody-else", domain="desk.test", path="/")
    await desk.sign_in(browser, OWNER)
    tokens = [cookie.value for cookie in browser.cookies.jar if cookie.name == "trunkline_session"]
    assert "planted-by-somebody-else" not in tokens
    thief = desk.browser()
    thief.cookies.set("trunkline_session", "planted-by-somebody-else")
    assert (await thief.get("/t/today")).status_code == 303


async def test_signing_in_again_ends_the_session_before(desk: Any) -> None:
    shop = await desk.open("malabar")
    browser = await desk.signed_in(shop, OWNER)
    old = browser.cookies["trunkline_session"]
    page = await desk.browser().get("/")
    del page
    form = await desk.http.get("/")
    csrf = form.text.split('name="csrf" value="')[1].split('"')[0]
    browser.cookies.update(form.cookies)
    again = await browser.post("/login", data={"csrf": csrf, "email": OWNER, "password": "a good password"})
    assert again.status_code == 303
    other = desk.browser()
    other.cookies.set("trunkline_session", old)
    assert (await other.get("/t/today")).status_code == 303
    assert (await browser.get("/t/today")).status_code == 200


async def test_forms_without_their_token_do_nothing(desk: Any) -> None:
    shop = await desk.open("malabar")
    browser = await desk.signed_in(shop, OWNER)
    for csrf in ("", "wrong", "a" * 43):
        assert (await browser.post("/logout", data={"csrf": csrf})).status_code == 403
    assert (await browser.get("/t/today")).status_code == 200
    fresh = desk.browser()
    for data in ({}, {"csrf": "wrong"}):
        answer = await fresh.post("/login", data={"email": OWNER, "password": "a good password", **data})
        assert answer.status_code == 403
        assert "trunkline_session" not in fresh.cookies
    other = desk.browser()
    stolen = (await other.get("/")).text.split('name="csrf" value="')[1].split('"')[0]
    answer = await fresh.post("/login", data={"csrf": stolen, "email": OWNER, "password": "a good password"})
    assert answer.status_code == 403


async def test_a_form_that_another_site_posts_is_refused(desk: Any) -> None:
    shop = await desk.open("malabar")
    browser = await desk.signed_in(shop, OWNER)
    csrf = (await browser.get("/t/today")).text.split('name="csrf" value="')[1].split('"')[0]
    refused = await browser.post("/logout", data={"csrf": csrf}, headers={"Sec-Fetch-Site": "cross-site"})
    assert refused.status_code == 403
    out = await browser.post("/logout", data={"csrf": csrf}, headers={"Sec-Fetch-Site": "same-origin"})
    assert (out.status_code, out.headers["location"]) == (303, "/")
    assert (await browser.get("/t/today")).status_code == 303


async def test_guessing_passwords_is_slowed_down_for_the_guesser_only(desk: Any) -> None:
    shop = await desk.open("malabar")
    await desk.user(shop, OWNER)
    await desk.user(shop, "desk@malabar.example", "desk")
    browser = desk.browser()
    statuses = [(await desk.sign_in(browser, OWNER, "wrong password")).status_code for _ in range(6)]
    assert statuses == [401, 401, 401, 401, 401, 429]
    right = await desk.sign_in(browser, OWNER)
    assert right.status_code == 429
    assert "Wait 15 minutes" in right.text
    assert (await desk.sign_in(desk.browser(), "desk@malabar.example")).status_code == 303


async def test_a_role_sees_its_pages_and_no_others(desk: Any, make: Any) -> None:
    shop = await desk.open("malabar")
    await _fill(desk, shop.tenant, make)
    for role in ("owner", "desk", "ops", "admin"):
        browser = await desk.signed_in(shop, f"{role}@malabar.example", role)
        today = (await browser.get("/t/today")).text
        changes = (await browser.get("/t/changes?since=0")).json()
        for page in PAGES.values():
            status = (await browser.get(f"/t/{page.name}")).status_code
            assert status == (200 if role in page.roles else 403), (role, page.name)
            assert (f'href="/t/{page.name}"' in today) == (role in page.roles)
            for panel in page.panels:
                told = any(card["panel"] == panel.name for card in changes["cards"])
                assert told == (role in page.roles), (role, panel.name)


async def test_a_session_shows_its_own_tenant_whatever_is_asked(desk: Any, make: Any) -> None:
    kochi, mumbai = await desk.open("kochi"), await desk.open("mumbai")
    await _fill(desk, kochi.tenant, make, "Kochi secret")
    browser = await desk.signed_in(mumbai, "owner@mumbai.example")
    headers = {"X-Tenant": str(kochi.tenant)}
    for path in [f"/t/{name}?tenant={kochi.tenant}" for name in PAGES] + ["/t/changes?since=0"]:
        page = await browser.get(path, headers=headers)
        assert page.status_code == 200
        assert "Kochi secret" not in page.text


async def test_a_session_ends_with_its_time_and_with_its_user(desk: Any) -> None:
    shop = await desk.open("malabar")
    browser = await desk.signed_in(shop, OWNER)
    await desk.user(shop, OWNER, password="another password")
    assert (await browser.get("/t/today")).status_code == 303
    browser = desk.browser()
    await desk.sign_in(browser, OWNER, "another password")
    async with desk.database.transaction(shop.tenant) as tx:
        rows = await tx.fetch("SELECT expires_at FROM console_session")
    assert rows[0]["expires_at"] - datetime.now(UTC) < timedelta(hours=12, minutes=1)


async def test_what_is_not_there_gets_a_page_and_a_sentence(desk: Any) -> None:
    shop = await desk.open("malabar")
    browser = await desk.signed_in(shop, OWNER)
    for path in ("/t/nothing", "/nowhere", "/static/../settings.py", "/login"):
        answer = await browser.get(path)
        assert answer.status_code in (404, 405)
        assert "Not here" in answer.text
    for query in ("", "?since=", "?since=-1", "?since=1e9", "?since=" + "9" * 30):
        assert (await browser.get(f"/t/changes{query}")).status_code == 400


async def test_lists_are_filtered_and_paged(desk: Any, make: Any) -> None:
    shop = await desk.open("malabar")
    first = make.call().asked_at - timedelta(hours=3)
    calls = [make.call(f"c{n:03}", asked_at=first + timedelta(minutes=n)) for n in range(60)]
    await desk.show(shop.tenant, show_on_board.show_inbound_calls, *calls)
    await desk.show(shop.tenant, show_on_board.show_call_states, make.state("c007", "missed", 2))
    browser = await desk.signed_in(shop, OWNER)
    page = (await browser.get("/t/calls")).text
    assert (page.count('id="calls-'), 'id="calls-c059"' in page) == (50, True)
    older = re.search(r'href="([^"]*before=[^"]*)"', page)
    assert older is not None
    rest = (await browser.get(older[1].replace("&amp;", "&"))).text
    assert (rest.count('id="calls-'), 'id="calls-c000"' in rest) == (10, True)
    assert "data-live" not in rest
    missed = (await browser.get("/t/calls?of=calls&only=missed")).text
    assert re.findall(r'id="calls-(\w+)"', missed) == ["c007"]
    assert (await browser.get("/t/calls?before=garbage&only=<b>")).status_code == 200


async def test_recipients_of_mails_are_masked(desk: Any, make: Any) -> None:
    shop = await desk.open("malabar")
    await desk.show_one(shop.tenant, show_on_board.show_mail, make.mail(recipient="person@malabar.example"))
    browser = await desk.signed_in(shop, OWNER)
    page = (await browser.get("/t/mails")).text
    assert "p•••@malabar.example" in page
    assert "person@" not in page


async def test_a_page_costs_the_same_few_queries_however_much_it_shows(
    desk: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await desk.open("malabar")
    browser = await desk.signed_in(shop, OWNER)
    asked = 0

    def counting(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal asked
            asked += 1
            return await method(*args, **kwargs)

        return counted

    for name in ("fetch", "fetchrow", "fetchval", "execute"):
        monkeypatch.setattr(Transaction, name, counting(getattr(Transaction, name)))
    costs = []
    for round_ in range(2):
        for n in range(round_ * 30):
            await _fill(desk, shop.tenant, make, f"thing {n}")
        asked = 0
        await browser.get("/t/today")
        costs.append(asked)
    assert costs[0] == costs[1] <= 11
