"""Missed calls on the console, also in real browsers, with the telephone service behind on a database of its own.

Its events are handed on by the test as the relay and the consumer would; everything else is what runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import uvicorn
from playwright.async_api import Browser, Page, async_playwright, expect
from pydantic import SecretStr

from contracts.directory import StaffV1
from contracts.registry import REGISTRY
from front_desk import show_on_board
from front_desk.claims import Claims
from front_desk.give_back import give_back_claims
from kit.postgres import Database
from kit.testing import eventually
from telephony_router import claims_store, outbound_store
from telephony_router.api import admin_app
from telephony_router.blob_store import FileBlobStore, Verified
from telephony_router.call_record import CallRecord
from telephony_router.calls import CallState
from telephony_router.keep_missed import release_lapsed, settle_some
from telephony_router.missed_api import missed_api
from telephony_router.project_directory import project_staff
from telephony_router.store import add_account, put_rows
from telephony_router.submit_calls import tidy

pytestmark = pytest.mark.real
UNKNOWN = "Nobody knows whether your telephone rang, and it is not dialled again for this claim."
ADMIN = "an admin token for tests"
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
expect.set_options(timeout=60_000)


@contextlib.asynccontextmanager
async def served(app: Any, port: int = 0) -> AsyncIterator[int]:
    config = uvicorn.Config(app, port=port, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    try:
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        await serving


@dataclass
class Router:
    """The telephone service: its API over HTTP, its database, and the way of its events to the console."""

    database: Database
    recordings: Path
    lease: timedelta = timedelta(minutes=15)
    told: int = 0
    quiet: bool = False
    """Its events are still on their way."""

    @property
    def app(self) -> Any:
        blobs = Verified(FileBlobStore(self.recordings))
        return admin_app(self.database, SecretStr(ADMIN), blobs, [missed_api(self.database, lease=self.lease)])

    async def misses(self, tenant: UUID, caller: str = "+919847000021") -> str:
        call = CallRecord(
            id=uuid4(), vendor="generic", account_id=uuid4(), vendor_call_id=uuid4().hex, caller=caller,
            caller_kind="number", caller_raw=caller, did="+914842000001", quarantined=False,
        )  # fmt: skip
        async with self.database.transaction(tenant) as tx:
            at = await tx.fetchval("SELECT now()")
            ended = CallState(reported="missed", started_at=at, ended_at=at)
            await put_rows(tx, "put_calls", [replace(call, facts=ended).to_row()])
            await put_rows(tx, "note_missed_due", [(call.id,)])
        await settle_some(self.database, window=timedelta(hours=24))
        return str(call.id)

    async def dials(self, tenant: UUID) -> None:
        """The business has two people with telephones and an account that can call."""
        account = uuid4()
        async with self.database.transaction(tenant) as tx:
            for staff_id, name, number in (
                ("desk", "Reception desk", "+919847000010"),
                ("sales", "Sales desk", "+919847000011"),
            ):
                await project_staff(StaffV1(staff_id=staff_id, version=1, name=name, numbers=(number,)), tx)
            await add_account(tx, account_id=account, vendor="generic", label="", secret=uuid4().hex, sealed_tokens=[])
            await outbound_store.put_dialling(tx, account, b"sealed", {})

    async def orders(self, tenant: UUID) -> list[tuple[str, str, str]]:
        """Calls that were ordered: whose telephone, to whom, and what became of it."""
        async with self.database.transaction(tenant) as tx:
            rows = await tx.fetch("SELECT staff_id, to_number, state FROM outbound_call ORDER BY requested_at")
        return [(row["staff_id"], row["to_number"], row["state"]) for row in rows]

    async def becomes(self, tenant: UUID, state: str, code: str = "") -> None:
        """Whoever places calls learned this of those that were ordered."""
        async with self.database.transaction(tenant) as tx:
            await tx.execute("UPDATE outbound_call SET state = $1, code = $2", state, code)

    async def refuses(self, tenant: UUID) -> None:
        """Nobody placed the calls in time."""
        async with self.database.transaction(tenant) as tx:
            await tx.execute("UPDATE missed SET since = since - interval '1 hour'")
            await tx.execute(
                "UPDATE outbound_call SET requested_at = requested_at - interval '1 hour',"
                " missed_since = missed_since - interval '1 hour'"
            )
        await tidy(self.database)
        await settle_some(self.database, window=timedelta(hours=24))

    async def history(self, tenant: UUID, item: str) -> list[tuple[str, str]]:
        async with self.database.transaction(tenant) as tx:
            return [(row["change"], row["user_name"]) for row in await claims_store.history(tx, UUID(item))]

    async def tell(self, desk: Any) -> None:
        """Hand on what has been appended since the last time."""
        async with self.database.system() as tx:
            rows = await tx.fetch(
                "SELECT tenant_id, type, payload FROM outbox WHERE type = 'call.state.v1' ORDER BY xid, seq"
            )
        for row in rows[self.told :]:
            event = REGISTRY.decode(row["type"], row["payload"].encode())
            await desk.show(row["tenant_id"], show_on_board.show_call_states, event)
        self.told = len(rows)


@pytest.fixture
async def router(make_database: Callable[..., Awaitable[Database]], tmp_path: Path) -> Router:
    return Router(await make_database(service="telephony-router", package="telephony_router"), tmp_path)


@dataclass
class Console:
    address: str
    desk: Any
    router: Router
    claims: Claims
    router_url: str

    async def page(self, browser: Browser, email: str, to: str = "/t/missed") -> Page:
        """Somebody of their own browser, signed in and looking at the missed calls."""
        page = await (await browser.new_context()).new_page()
        page.set_default_timeout(60_000)
        await page.goto(self.address)
        await page.fill("#email", email)
        await page.fill("#password", "a good password")
        await page.press("#password", "Enter")
        await page.wait_for_url("**/t/today")
        await page.goto(self.address + to)
        await expect(page.locator("[data-link]")).to_have_text("Live")
        return page


@pytest.fixture
async def console(desk: Any, router: Router) -> AsyncIterator[Console]:
    await desk.live.start()
    async with served(router.app) as port, served(desk.http._transport.app) as own:
        desk.claims._url = f"http://127.0.0.1:{port}"
        telling = asyncio.create_task(_forever(router, desk))
        yield Console(f"http://127.0.0.1:{own}", desk, router, desk.claims, desk.claims._url)
        telling.cancel()
        await desk.live.stop()


async def _forever(router: Router, desk: Any) -> None:
    while True:
        if not router.quiet:
            await router.tell(desk)
        await asyncio.sleep(0.2)


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


class Clerk:
    """A signed-in browser that posts what the page's buttons post."""

    def __init__(self, http: httpx.AsyncClient, csrf: str) -> None:
        self.http, self.csrf = http, csrf

    async def act(self, did: str, item: str, **more: str) -> httpx.Response:
        return await self.http.post("/t/missed/act", data={"csrf": self.csrf, "do": did, "id": item, **more})


async def a_clerk(desk: Any, business: Any, email: str, role: str, name: str) -> Clerk:
    await desk.user(business, email, role, name=name)
    http = desk.browser()
    assert (await desk.sign_in(http, email)).status_code == 303
    page = await http.get("/t/missed")
    assert page.status_code == 200
    return Clerk(http, page.text.split('name="csrf" value="')[1].split('"')[0])


@pytest.fixture
async def joined(desk: Any, router: Router) -> AsyncIterator[Any]:
    """The desk with the router behind it, without a socket in between."""
    desk.claims._url = "http://router.test"
    desk.claims._client = httpx.AsyncClient(transport=httpx.ASGITransport(app=router.app))
    yield desk
    await desk.claims.stop()


async def test_what_a_role_may_do_and_what_nobody_may(joined: Any, router: Router) -> None:
    shop, other = await joined.open("malabar"), await joined.open("mumbai")
    reception = await a_clerk(joined, shop, "reception@malabar.example", "desk", "Reception desk")
    sales = await a_clerk(joined, shop, "sales@malabar.example", "desk", "")
    owner = await a_clerk(joined, shop, "owner@malabar.example", "owner", "Owner")
    ops = await a_clerk(joined, shop, "ops@malabar.example", "ops", "Ops")
    stranger = await a_clerk(joined, other, "owner@mumbai.example", "owner", "Owner")
    item = await router.misses(shop.tenant)
    assert (await ops.act("claim", item)).status_code == 403
    assert (await stranger.act("claim", item)).status_code == 404
    assert (await Clerk(sales.http, "forged").act("claim", item)).status_code == 403
    evil = {"sec-fetch-site": "cross-site"}
    forged = {"csrf": sales.csrf, "do": "claim", "id": item}
    assert (await sales.http.post("/t/missed/act", data=forged, headers=evil)).status_code == 403
    assert (await joined.browser().post("/t/missed/act", data=forged)).status_code == 401
    assert (await sales.act("nonsense", item)).status_code == 400
    assert await router.history(shop.tenant, item) == [("opened", "")]
    won = await sales.act("claim", item)
    # Nobody gave this one a name.
    assert (won.status_code, won.json()["item"]["name"]) == (200, "sales")
    lost = await reception.act("claim", item)
    assert lost.status_code == 409
    assert re.fullmatch(r"sales took it \d+ s ago\.", lost.json()["problem"])
    assert (await reception.act("take", item)).status_code == 403
    assert (await owner.act("take", item)).json()["item"]["state"] == "open"
    assert (await reception.act("claim", item)).status_code == 200
    assert (await reception.act("resolve", item, outcome="made up")).status_code == 422
    assert (await reception.act("resolve", item, outcome="spam", note="x")).json()["item"]["outcome"] == "spam"
    assert [change for change, _ in await router.history(shop.tenant, item)] == [
        "opened", "claimed", "released", "claimed", "resolved",
    ]  # fmt: skip


async def test_who_has_it_calls_back_once_from_their_telephone(joined: Any, router: Router) -> None:
    shop = await joined.open("malabar")
    reception = await a_clerk(joined, shop, "reception@malabar.example", "desk", "Reception desk")
    sales = await a_clerk(joined, shop, "sales@malabar.example", "desk", "Sales desk")
    item = await router.misses(shop.tenant)
    assert "data-telephone" not in (await sales.http.get("/t/missed")).text
    await reception.act("claim", item)
    assert (await reception.act("call", item, staff="desk")).json()["problem"] == (
        "Not done: no account of this business is set up to dial: trunkline router dialling set."
    )
    await router.dials(shop.tenant)
    page = (await sales.http.get("/t/missed")).text
    assert '<option value="desk">Reception desk</option>' in page
    late = await sales.act("call", item, staff="sales")
    assert (late.status_code, late.json()["item"]["name"]) == (409, "Reception desk")
    assert (await reception.act("call", item, staff="nobody")).status_code == 422
    assert await router.orders(shop.tenant) == []
    twice = await asyncio.gather(*(reception.act("call", item, staff="desk") for _ in range(2)))
    assert {each.status_code for each in twice} <= {200, 503}
    ordered = (await reception.act("call", item, staff="desk")).json()
    assert ordered["item"]["state"] == "claimed"
    assert await router.orders(shop.tenant) == [("desk", "+919847000021", "requested")]
    await _tells_what_became_of_it(joined, shop, router, reception, ordered["call"])
    other = await reception.act("call", item, staff="sales")
    assert other.json()["problem"].startswith("Not done: it was called back already")
    await router.refuses(shop.tenant)
    assert (await router.history(shop.tenant, item))[-1] == ("released", "Reception desk")
    # Taken again, it may be called again.
    await sales.act("claim", item)
    assert (await sales.act("call", item, staff="sales")).status_code == 200
    assert [each[0] for each in await router.orders(shop.tenant)] == ["desk", "sales"]


async def _tells_what_became_of_it(joined: Any, shop: Any, router: Router, clerk: Clerk, call: str) -> None:
    where = f"/t/missed/called?id={call}"
    for state, code, told in (
        ("submitting", "", ("Your telephone is about to ring.", False, False)),
        ("submitted", "", ("Your telephone rings; take it, and theirs rings.", False, True)),
        ("refused", "dnd_refused", ("Not called: this number is registered as not to be disturbed.", True, True)),
        ("refused", "not_sent_connect", ("Not called: not sent connect.", True, True)),
        ("submission_unknown", "timeout", (UNKNOWN, True, True)),
        ("requested", "", ("Your telephone is about to ring.", False, False)),
    ):
        await router.becomes(shop.tenant, state, code)
        said = (await clerk.http.get(where)).json()
        assert (said["said"], said["bad"], said["over"]) == told
    stranger = await a_clerk(joined, await joined.open("kochi"), "desk@kochi.example", "desk", "Reception desk")
    ops = await a_clerk(joined, shop, "ops@malabar.example", "ops", "Night watch")
    assert [(await each.http.get(where)).status_code for each in (stranger, ops)] == [404, 403]
    assert (await clerk.http.get("/t/missed/called?id=nonsense")).status_code == 404


async def test_the_button_that_calls_back(console: Console, chromium: Browser, tmp_path: Path) -> None:
    shop = await console.desk.open("malabar")
    await console.desk.user(shop, "desk@malabar.example", "desk", name="Reception desk")
    await console.router.dials(shop.tenant)
    item = await console.router.misses(shop.tenant)
    page = await console.page(chromium, "desk@malabar.example")
    card = page.locator(f"#missed-{item}")
    call = card.get_by_role("button", name="Call +91")
    await expect(call).to_be_hidden()
    await card.get_by_role("button", name="I call back").click()
    await expect(call).to_be_visible()
    await call.click()
    await expect(card.locator("[data-keep=said]")).to_have_text("Choose your telephone at the top of the page first.")
    assert await console.router.orders(shop.tenant) == []
    await page.get_by_label("My telephone").select_option("sales")
    await call.dblclick()
    said = card.locator("[data-keep=said]")
    await expect(said).to_have_text("Your telephone is about to ring.")
    await console.router.becomes(shop.tenant, "submitted")
    await expect(said).to_have_text("Your telephone rings; take it, and theirs rings.")
    await page.screenshot(path=tmp_path / "called.png", full_page=True)
    await page.reload()
    await expect(page.get_by_label("My telephone")).to_have_value("sales")
    await call.click()
    await expect(said).to_have_text("Your telephone rings; take it, and theirs rings.")
    await console.router.becomes(shop.tenant, "submission_unknown", "timeout")
    await call.click()
    await expect(said).to_have_text(UNKNOWN)
    assert await console.router.orders(shop.tenant) == [("sales", "+919847000021", "submission_unknown")]
    await console.router.becomes(shop.tenant, "requested")
    await call.click()
    await expect(said).to_have_text("Your telephone is about to ring.")
    await console.router.refuses(shop.tenant)
    await expect(said).to_have_text("Not called: nobody placed it in time.")
    await expect(card).to_contain_text("given back: call back refused: expired")
    await expect(call).to_be_hidden()


async def test_what_a_disabled_user_had_is_given_back_as_soon_as_the_router_hears(joined: Any, router: Router) -> None:
    shop = await joined.open("malabar")
    clerk = await a_clerk(joined, shop, "sales@malabar.example", "desk", "Sales desk")
    item = await router.misses(shop.tenant)
    assert (await clerk.act("claim", item)).status_code == 200
    gone = f"/v1/tenants/{shop.tenant}/users/sales@malabar.example"
    assert (await joined.http.delete(gone, headers=joined.admin)).status_code == 204
    assert (await joined.http.delete(gone, headers=joined.admin)).status_code == 404
    assert (await clerk.act("renew", item)).status_code == 401
    url, joined.claims._url = joined.claims._url, None
    assert await give_back_claims(joined.database, joined.claims) == 0
    joined.claims._url = url
    assert await give_back_claims(joined.database, joined.claims) == 1
    assert await give_back_claims(joined.database, joined.claims) == 0
    assert (await router.history(shop.tenant, item))[-1] == ("released", "Sales desk")
    # Let in again, and gone again: told again.
    await joined.user(shop, "sales@malabar.example", "desk")
    assert (await joined.http.delete(gone, headers=joined.admin)).status_code == 204
    assert await give_back_claims(joined.database, joined.claims) == 1


async def test_without_the_router_the_page_says_so_and_nothing_else_suffers(desk: Any, router: Router) -> None:
    shop = await desk.open("malabar")
    item = await router.misses(shop.tenant)
    await router.tell(desk)
    clerk = await a_clerk(desk, shop, "desk@malabar.example", "desk", "Reception desk")
    page = (await clerk.http.get("/t/missed")).text
    assert "The telephone service does not answer" in page
    assert "data-away hidden" not in page
    assert f'id="missed-{item}"' in page
    answer = await clerk.act("claim", item)
    assert (answer.status_code, answer.json()["away"]) == (503, True)
    assert (await clerk.http.get("/t/missed/router")).json() == {"answers": False}
    assert (await clerk.http.get("/t/today")).status_code == 200
    assert f"missed-{item}" in (await clerk.http.get("/t/changes?since=0")).text


async def test_two_browsers_race_for_one_call_and_the_other_sees_who_has_it(
    console: Console, chromium: Browser, tmp_path: Path
) -> None:
    shop = await console.desk.open("malabar")
    names = {"reception@malabar.example": "Reception desk", "sales@malabar.example": "Sales desk"}
    for email, name in names.items():
        await console.desk.user(shop, email, "desk", name=name)
    pages = [await console.page(chromium, email) for email in names]
    said: list[str] = []
    for page in pages:
        page.on("pageerror", lambda error: said.append(str(error)))
        await expect(page.locator(".missed + .empty")).to_be_visible()
        # Over the WebSocket, not over what stands in for it.
        assert await page.evaluate("performance.getEntriesByType('resource').every(e => !e.name.includes('/t/stream'))")
    item = await console.router.misses(shop.tenant)
    cards = [page.locator(f"[id='missed-{item}']") for page in pages]
    for card in cards:
        await expect(card).to_contain_text("+91 98470 00021")
        await expect(card.locator(".chip")).to_have_text("Nobody yet")
    # Neither hears of the other before both have clicked.
    console.router.quiet = True
    await asyncio.gather(*(card.locator("[data-do=claim]").click() for card in cards))
    console.router.quiet = False
    for card in cards:
        await expect(card.locator(".chip")).to_have_text("Being called")
    history = await eventually(lambda: _claimed(console, shop.tenant, item))
    assert [change for change, _ in history] == ["opened", "claimed"]
    winner = list(names.values()).index(history[-1][1])
    won, lost = cards[winner], cards[1 - winner]
    await expect(won.locator("[data-keep=said]")).to_have_text("It is yours.")
    await expect(won).to_have_attribute("data-whose", "mine")
    await expect(lost.locator("[data-keep=said]")).to_have_text(re.compile(rf"^{history[-1][1]} took it \d+ s ago\.$"))
    await expect(lost).to_have_attribute("data-whose", "theirs")
    await expect(lost.locator("[data-do=claim]")).to_be_hidden()
    await expect(won.locator("[data-left]")).to_contain_text("left")
    await pages[1 - winner].screenshot(path=tmp_path / "loser.png", full_page=True)
    await pages[winner].screenshot(path=tmp_path / "winner.png", full_page=True)
    # The winner notes what came of it, by keyboard; the other sees it without doing anything.
    await won.locator("[name=outcome]").select_option("no_answer")
    await won.locator("[name=note]").fill("rang twice")
    await won.locator("[name=note]").press("Enter")
    for card in cards:
        await expect(card.locator(".chip")).to_have_text("Done")
        await expect(card).to_contain_text("No answer")
    # The field that had the keyboard is gone; the card has it.
    assert await pages[winner].evaluate("document.activeElement.dataset.id") == item
    assert said == []


async def _claimed(console: Console, tenant: UUID, item: str) -> list[tuple[str, str]] | None:
    history = await console.router.history(tenant, item)
    return history if len(history) > 1 else None


async def test_a_browser_that_was_offline_shows_what_happened_meanwhile(console: Console, chromium: Browser) -> None:
    shop = await console.desk.open("malabar")
    await console.desk.user(shop, "reception@malabar.example", "desk", name="Reception desk")
    page = await console.page(chromium, "reception@malabar.example")
    await page.evaluate("window.untouched = true")
    await page.context.set_offline(True)
    await expect(page.locator("[data-link]")).to_have_text("Not connected")
    first = await console.router.misses(shop.tenant)
    second = await console.router.misses(shop.tenant, "+919847000022")
    await console.claims.do(shop.tenant, first, "claim", user="u9", name="Sales desk")
    await asyncio.sleep(1)
    assert await page.locator(".missed .card").count() == 0
    await page.context.set_offline(False)
    await expect(page.locator(f"[id='missed-{first}']")).to_contain_text("Sales desk has it")
    await expect(page.locator(f"[id='missed-{second}'] .chip")).to_have_text("Nobody yet")
    assert await page.locator(".missed .card").count() == 2
    assert await page.evaluate("window.untouched") is True


async def test_without_the_telephone_service_the_page_says_so_and_goes_on(console: Console, chromium: Browser) -> None:
    shop = await console.desk.open("malabar")
    await console.desk.user(shop, "owner@malabar.example", "owner", name="Owner")
    item = await console.router.misses(shop.tenant)
    page = await console.page(chromium, "owner@malabar.example")
    card = page.locator(f"[id='missed-{item}']")
    await expect(card).to_be_visible()
    # Nobody is there (port 9 is discard).
    console.claims._url = "http://127.0.0.1:9"
    await card.locator("[data-do=claim]").click()
    await expect(card.locator("[data-keep=said]")).to_contain_text("The telephone service does not answer")
    await expect(page.locator("[data-away]")).to_be_visible()
    # What was shown too early is taken back, and the rest of the page lives.
    await expect(card).to_have_attribute("data-whose", "open")
    await page.reload()
    await expect(page.locator("[data-away]")).to_be_visible()
    other = await console.router.misses(shop.tenant, "+919847000022")
    await expect(page.locator(f"[id='missed-{other}']")).to_be_visible()
    console.claims._url = console.router_url
    await card.locator("[data-do=claim]").click()
    await expect(card).to_have_attribute("data-whose", "mine")
    await expect(page.locator("[data-away]")).to_be_hidden(timeout=60_000)


async def test_where_websockets_are_refused_the_page_is_live_all_the_same(console: Console, chromium: Browser) -> None:
    shop = await console.desk.open("malabar")
    await console.desk.user(shop, "ops@malabar.example", "ops")
    page = await (await chromium.new_context()).new_page()
    # Refused, as by a proxy that knows no WebSockets.
    await page.add_init_script(
        "window.WebSocket = class extends WebSocket { constructor() { super(`ws://${location.host}/t/nothing`); } }"
    )
    await page.goto(console.address)
    await page.fill("#email", "ops@malabar.example")
    await page.fill("#password", "a good password")
    await page.press("#password", "Enter")
    await page.wait_for_url("**/t/today")
    await page.goto(f"{console.address}/t/missed")
    await expect(page.locator("[data-link]")).to_have_text("Live")
    item = await console.router.misses(shop.tenant)
    card = page.locator(f"[id='missed-{item}']")
    await expect(card).to_be_visible()
    # Ops sees and does not act.
    await expect(card.locator("[data-do=claim]")).to_be_hidden()


async def test_a_claim_that_lapses_is_everybodys_again_before_their_eyes(console: Console, chromium: Browser) -> None:
    shop = await console.desk.open("malabar")
    await console.desk.user(shop, "reception@malabar.example", "desk", name="Reception desk")
    item = await console.router.misses(shop.tenant)
    page = await console.page(chromium, "reception@malabar.example")
    async with console.router.database.transaction(shop.tenant, emits=[item]) as tx:
        await claims_store.claim(tx, UUID(item), "u9", "Sales desk", timedelta(seconds=1))
    await asyncio.sleep(1.1)
    await release_lapsed(console.router.database)
    await expect(page.locator(f"[id='missed-{item}']")).to_contain_text("given back: nobody called in time")
