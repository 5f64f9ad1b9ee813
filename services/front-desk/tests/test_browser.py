"""The console in a real browser: somebody signs in and sees a call appear while looking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from playwright.async_api import async_playwright, expect

from front_desk import show_on_board
from kit.testing import eventually

pytestmark = pytest.mark.real

expect.set_options(timeout=60_000)
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
async def address(desk: Any) -> AsyncIterator[str]:
    """The desk served over a socket, with its live board running."""
    await desk.live.start()
    app = desk.http._transport.app
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    await desk.live.stop()
    server.should_exit = True
    await serving


@pytest.fixture
async def chromium() -> AsyncIterator[Any]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


async def test_a_call_appears_and_changes_without_a_reload(desk: Any, make: Any, address: str, chromium: Any) -> None:
    shop, other = await desk.open("malabar"), await desk.open("mumbai")
    await desk.user(shop, "owner@malabar.example")
    page = await chromium.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    await page.goto(address)
    await page.fill("#email", "owner@malabar.example")
    await page.fill("#password", "a good password")
    await page.click("button[type=submit]")
    await page.wait_for_url("**/t/today")
    await expect(page.locator("[data-link]")).to_have_text("Live")
    await page.evaluate("window.untouched = true")
    await desk.show(other.tenant, show_on_board.show_inbound_calls, make.call("theirs"))
    await desk.show(shop.tenant, show_on_board.show_inbound_calls, make.call("c1", caller="+919847000021"))
    card = page.locator("[id='calls-c1']")
    await expect(card).to_contain_text("+91 98470 00021")
    await expect(card.locator(".chip")).to_have_text("Ringing")
    await expect(page.locator("[data-count=calls]")).to_have_text("1")
    await desk.show(shop.tenant, show_on_board.show_call_states, make.state("c1", "missed", 2))
    await expect(card.locator(".chip")).to_have_text("Missed")
    await expect(page.locator("[data-count=missed]")).to_have_text("1")
    hostile = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    await desk.show(shop.tenant, show_on_board.show_inbound_calls, make.call("c2", caller=None, caller_raw=hostile))
    await expect(page.locator("[id='calls-c2']")).to_contain_text("<script>alert(1)</script>")
    assert await page.locator("[id='calls-theirs']").count() == 0
    assert await page.evaluate("window.untouched") is True
    assert said == []


async def test_a_browser_whose_stream_ends_catches_up(desk: Any, make: Any, address: str, chromium: Any) -> None:
    shop = await desk.open("malabar")
    await desk.user(shop, "owner@malabar.example")
    page = await chromium.new_page()
    await page.goto(address)
    await page.fill("#email", "owner@malabar.example")
    await page.fill("#password", "a good password")
    await page.press("#password", "Enter")
    await page.wait_for_url("**/t/today")
    await page.goto(f"{address}/t/calls")
    await expect(page.locator("[data-link]")).to_have_text("Live")
    await desk.live.stop()
    await expect(page.locator("[data-link]")).not_to_have_text("Live")
    await desk.show(shop.tenant, show_on_board.show_inbound_calls, make.call("while-away"))
    await desk.live.start()
    await expect(page.locator("[id='calls-while-away']")).to_be_visible()


async def test_somebody_unlocks_the_dead_letters_and_has_one_tried_again(
    desk: Any, address: str, chromium: Any
) -> None:
    shop = await desk.open("malabar")
    await desk.user(shop, "owner@malabar.example")
    letter = await desk.park(shop.tenant, "e", 1)
    page = await chromium.new_page()
    await page.goto(address)
    await page.fill("#email", "owner@malabar.example")
    await page.fill("#password", "a good password")
    await page.press("#password", "Enter")
    await page.wait_for_url("**/t/today")
    await page.click("nav >> text=Dead letters")
    await page.click("text=Letters >> nth=-1")
    await page.click("text=trunkline.vault.message.imported.v1")
    await expect(page.locator("pre").first).to_have_text('{\n  "text": "text"\n}')
    assert await page.locator("text=Retry this letter").count() == 0
    await page.fill("#password", "a good password")
    await page.click("button:has-text('Unlock')")
    await page.click("text=Show it (audited)")
    await expect(page.locator("pre").first).to_contain_text("what only the customer should know")
    await page.click("text=Retry this letter")
    await expect(page.locator("[role=status].notice")).to_contain_text("1 will be tried again")
    assert await desk.letter_state(letter) == "retry"


async def test_the_routing_is_edited_and_the_red_button_pressed(
    desk: Any, address: str, chromium: Any, tmp_path: Any
) -> None:
    shop = await desk.open("malabar")
    await desk.user(shop, "owner@malabar.example")
    for ref in ("desk", "accounts"):
        await desk.http.put(f"/v1/staff/{ref}", json={"name": f"{ref.title()} desk"}, headers=shop.headers)
    page = await chromium.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    await page.goto(address)
    await page.fill("#email", "owner@malabar.example")
    await page.fill("#password", "a good password")
    await page.press("#password", "Enter")
    await page.wait_for_url("**/t/today")
    await page.click("nav >> text=Routing")
    # By keyboard: the summary opens, the fields follow, Enter sends.
    await page.focus("summary:has-text('Add a group')")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await page.keyboard.type("reception")
    await page.keyboard.press("Tab")
    await page.keyboard.type("whoever")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.type("desk\nnobody")
    await page.keyboard.press("Tab")
    await page.keyboard.type("the beginning")
    await page.keyboard.press("Enter")
    problem = page.locator(".notice.bad")
    await expect(problem).to_contain_text("nobody")
    again = page.locator("textarea[name=staff]")
    await expect(again).to_have_value("desk\nnobody")
    await expect(page.locator("details[open] input[name=why]")).to_have_value("the beginning")
    await again.fill("desk\naccounts")
    await page.click("button:has-text('Add group')")
    group = page.locator("[aria-label=Groups] .card")
    await expect(group).to_contain_text("whoever was free longest")
    await expect(group).to_contain_text("Desk desk, Accounts desk")
    await page.click("summary:has-text('Switch on')")
    await page.fill("#emergency input[name=number]", "0484 200 0007")
    await page.fill("#emergency input[name=reason]", "The office is flooded")
    await page.click("button:has-text('Switch on')")
    assert await page.locator(".alarm").count() == 0, "asked first, done then"
    await page.keyboard.press("Enter")
    bar = page.locator(".alarm")
    await expect(bar).to_contain_text("all calls go to +91 484 200 0007")
    await page.screenshot(path=str(tmp_path / "routing.png"), full_page=True)
    await page.click("nav >> text=Calls")
    await expect(bar).to_contain_text("The office is flooded")
    await page.click(".alarm a")
    await page.click("text=Version 1")
    await expect(page.locator(".heading")).to_contain_text("the beginning")
    await expect(page.locator("table").first).to_contain_text("groups.reception.staff")
    await page.go_back()
    await page.click("button:has-text('End the emergency')")
    await page.click("button:has-text('End it')")
    await expect(page.locator("[role=status].notice")).to_contain_text("The emergency is over")
    assert await bar.count() == 0
    assert [each for each in said if "422" not in each] == []
