"""The live board over a WebSocket, on a real server and a real database."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from contracts.calls import CallStateV1, Claim
from front_desk import board_store, show_on_board
from front_desk.credentials import sha256
from front_desk.live_socket import ENDED, SLOW, socket_text
from kit.testing import eventually
from runtime.slow_senders import TimedProtocol

NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)


def a_claim(call_id: str, version: int, status: str = "open", **claim: Any) -> CallStateV1:
    given = {"vendor": "generic", "vendor_call_id": call_id, "leg": "", "state": "missed", "previous_state": "missed"}
    told = Claim(status=status, since=NOW + timedelta(seconds=version), last_missed_at=NOW, **claim)
    return CallStateV1(call_id=call_id, at=NOW, caller="+919847000021", version=version, claim=told, **given)


def test_an_event_as_one_message() -> None:
    assert json.loads(socket_text('id: 7\nevent: changes\ndata: {"cursor": 7}\n\n')) == {
        "kind": "changes", "data": {"cursor": 7},
    }  # fmt: skip


@pytest.fixture
async def address(desk: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The desk served over a socket as it is by day, with its live board running."""
    # What cuts off slow senders of requests lets a WebSocket be.
    monkeypatch.setattr("runtime.slow_senders.BODY_SECONDS", 0.3)
    await desk.live.start()
    app = desk.http._transport.app
    config = uvicorn.Config(
        app, port=0, lifespan="off", http=TimedProtocol, log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"127.0.0.1:{port}"
    await desk.live.stop()
    server.should_exit = True
    await serving


class Browser:
    """What ``console.js`` does, in Python: it keeps the newest card of each id, and the cursor it saw last."""

    def __init__(self, address: str, token: str, cursor: int) -> None:
        self.address, self.token, self.cursor = address, token, cursor
        self.cards: dict[str, str] = {}
        self.times: dict[str, int] = {}

    @asynccontextmanager
    async def line(self, *, origin: str = "", token: str | None = None) -> AsyncIterator[ClientConnection]:
        cookie = {"Cookie": f"trunkline_session={self.token if token is None else token}"}
        url = f"ws://{self.address}/t/live?since={self.cursor}"
        async with connect(url, additional_headers=cookie, origin=origin or f"http://{self.address}") as line:  # type: ignore[arg-type]
            yield line

    async def hear(self, line: ClientConnection) -> None:
        message = json.loads(await asyncio.wait_for(line.recv(), 30))
        assert message["kind"] in ("changes", "beat"), message
        if message["kind"] == "changes":
            for card in message["data"]["cards"]:
                self.cards[card["id"]] = card["html"]
                self.times[card["id"]] = self.times.get(card["id"], 0) + 1
            self.cursor = message["data"]["cursor"]

    async def refused(self, **how: Any) -> int:
        with pytest.raises(InvalidStatus) as refusal:
            async with self.line(**how):
                pass
        return refusal.value.response.status_code


async def a_browser(desk: Any, address: str, slug: str, role: str = "desk") -> tuple[Any, Browser]:
    business = await desk.open(slug)
    signed_in = await desk.signed_in(business, f"{role}@{slug}.example", role)
    async with desk.database.transaction(business.tenant) as tx:
        cursor = await board_store.cursor(tx)
    return business, Browser(address, signed_in.cookies["trunkline_session"], cursor)


@pytest.mark.real
async def test_a_browser_is_told_of_its_own_tenants_claims_only(desk: Any, address: str) -> None:
    kochi, ours = await a_browser(desk, address, "kochi")
    mumbai, theirs = await a_browser(desk, address, "mumbai")
    async with ours.line() as line, theirs.line() as other:
        await ours.hear(line)
        await theirs.hear(other)
        await desk.show(kochi.tenant, show_on_board.show_call_states, a_claim("c1", 2))
        await desk.show(mumbai.tenant, show_on_board.show_call_states, a_claim("c2", 2))
        while not ours.cards or not theirs.cards:
            await asyncio.gather(ours.hear(line), theirs.hear(other))
    assert {each.split("-", 1)[1] for each in ours.cards} == {"c1"}
    assert {each.split("-", 1)[1] for each in theirs.cards} == {"c2"}


@pytest.mark.real
async def test_other_pages_strangers_and_nonsense_are_refused(desk: Any, address: str) -> None:
    _, browser = await a_browser(desk, address, "kochi")
    assert await browser.refused(origin="http://evil.example") == 403
    assert await browser.refused(origin=f"http://{address}.evil.example") == 403
    assert await browser.refused(origin="null") == 403
    assert await browser.refused(token="made up") == 401
    browser.cursor = -1
    assert await browser.refused() == 400
    browser.cursor = 0
    desk.live._followers_max = 0
    assert await browser.refused() == 503


@pytest.mark.real
async def test_a_browser_that_says_something_is_closed(desk: Any, address: str) -> None:
    _, browser = await a_browser(desk, address, "kochi")
    async with browser.line() as line:
        await browser.hear(line)
        await line.send('{"do": "claim"}')
        await line.wait_closed()
    assert line.close_code == 1008


@pytest.mark.real
async def test_a_line_ends_with_its_session(desk: Any, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("front_desk.live_socket.HEARTBEAT_SECONDS", 0.2)
    _, browser = await a_browser(desk, address, "kochi")
    async with browser.line() as line:
        await browser.hear(line)
        async with desk.database.system() as tx:
            await tx.execute("DELETE FROM console_session WHERE token_sha256 = $1", sha256(browser.token))
        await line.wait_closed()
    assert line.close_code == ENDED
    assert await browser.refused() == 401


@pytest.mark.real
async def test_a_line_ends_when_its_session_runs_out(desk: Any, address: str) -> None:
    _, browser = await a_browser(desk, address, "kochi")
    await _ends_in(desk, browser, "3 seconds")
    async with browser.line() as line:
        await browser.hear(line)
        await line.wait_closed()
    assert line.close_code == ENDED


async def _ends_in(desk: Any, browser: Browser, time: str) -> None:
    """As the owner of the tables: the service itself gives a session its end once."""
    parts = urlsplit(desk.database._app_dsn)
    owner = parts._replace(netloc=parts.netloc.replace("front_desk_app:", "front_desk_owner:"))
    connection = await asyncpg.connect(urlunsplit(owner))
    await connection.execute("ALTER TABLE console_session NO FORCE ROW LEVEL SECURITY")
    await connection.execute(
        "UPDATE console_session SET expires_at = now() + $2::text::interval WHERE token_sha256 = $1",
        sha256(browser.token),
        time,
    )
    await connection.close()


@pytest.mark.real
async def test_whoever_does_not_keep_up_is_dropped_and_comes_back_with_all_of_it(
    desk: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("front_desk.live.QUEUE_MAX", 2)
    business, browser = await a_browser(desk, address, "kochi")
    async with browser.line() as line:
        await browser.hear(line)
        (follower,) = desk.live._everybody()
        for number in range(4):
            # More than its queue holds, before it had a moment to send.
            follower.put(f"id: {number}\nevent: changes\ndata: {{}}\n\n")
        await line.wait_closed()
    assert line.close_code == SLOW
    assert desk.live.status()["followers"] == 0
    await desk.show(business.tenant, show_on_board.show_call_states, a_claim("c1", 2))
    async with browser.line() as line:
        while "missed-c1" not in browser.cards:
            await browser.hear(line)


@pytest.mark.real
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_cuts_at_random_points_lose_nothing(desk: Any, address: str, seed: int) -> None:
    """Whatever is written while a line is cut, comes back or stands: in the end a browser shows what is stored."""
    dice = random.Random(seed)
    business, browser = await a_browser(desk, address, "kochi")
    versions = dict.fromkeys((f"c{number}" for number in range(6)), 1)
    running = True

    async def writes() -> None:
        nonlocal running
        for _ in range(60):
            call = dice.choice(sorted(versions))
            versions[call] += 1
            state = dice.choice(["open", "claimed"])
            who = {"user_id": "u1", "user_name": "Reception desk", "until": NOW} if state == "claimed" else {}
            await desk.show(
                business.tenant, show_on_board.show_call_states, a_claim(call, versions[call], state, **who)
            )
            # An event told twice or late has no effect.
            await desk.show(business.tenant, show_on_board.show_call_states, a_claim(call, versions[call] - 1))
            await asyncio.sleep(dice.choice([0, 0, 0.01, 0.05]))
        running = False

    writing = asyncio.create_task(writes())
    lines = late = 0

    def complete() -> bool:
        return not running and all(
            f'data-since="{int((NOW + timedelta(seconds=version)).timestamp()) * 1_000_000}"'
            in browser.cards.get(f"missed-{call}", "")
            for call, version in versions.items()
            if version > 1
        )

    while not complete():
        lines += 1
        # While it is still being written, a slow machine may take any number of them.
        late += not running
        assert late < 200
        async with browser.line() as line:
            for _ in range(dice.randint(1, 4)):
                if complete():
                    break
                if dice.random() < 0.3 and running:
                    # Cut in the middle: what is on its way is lost with the line.
                    line.transport.abort()
                    break
                try:
                    await asyncio.wait_for(browser.hear(line), 2)
                except (TimeoutError, ConnectionClosed):
                    break
    await writing
    assert lines > 1
