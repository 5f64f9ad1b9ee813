"""The live board: what changes is read once per tenant, however many browsers follow."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from front_desk import access_store, board_store, show_on_board
from front_desk.access_store import Session
from front_desk.credentials import sha256
from front_desk.live import QUEUE_MAX, RELOAD, Follower
from kit.testing import eventually

pytestmark = pytest.mark.real


async def _session(desk: Any, slug: str, role: str = "owner") -> Session:
    business = await desk.open(slug)
    browser = await desk.signed_in(business, f"{role}-{uuid4().hex[:6]}@malabar.example", role)
    token = browser.cookies["trunkline_session"]
    found = await access_store.find_session(desk.database, sha256(token), datetime.now(UTC))
    assert found is not None
    return found


async def _cursor(desk: Any, session: Session) -> int:
    async with desk.database.transaction(session.tenant) as tx:
        return await board_store.cursor(tx)


async def _told(follower: Follower, card: str) -> dict[str, Any]:
    while True:
        text = await asyncio.wait_for(follower.queue.get(), 60)
        assert text is not None
        changes = json.loads(text.split("data: ", 1)[1])
        for each in changes["cards"]:
            if each["id"] == card:
                return dict(each)


async def test_many_browsers_cost_one_query(desk: Any, make: Any) -> None:
    session = await _session(desk, "malabar")
    await desk.live.start()
    try:
        async with AsyncExitStack() as stack:
            cursor = await _cursor(desk, session)
            followers = [await stack.enter_async_context(desk.live.follow(session, cursor)) for _ in range(20)]
            rounds = desk.live.status()["rounds"]
            await desk.show(session.tenant, show_on_board.show_inbound_calls, make.call("c1"))
            for follower in followers:
                assert "Desk" in (await _told(follower, "calls-c1"))["html"]
            assert desk.live.status()["rounds"] - rounds <= 2
        assert desk.live.status()["followers"] == 0
    finally:
        await desk.live.stop()


async def test_a_follower_is_told_of_its_own_tenant_and_role_only(desk: Any, make: Any) -> None:
    kochi, mumbai = await _session(desk, "kochi"), await _session(desk, "mumbai", "desk")
    await desk.live.start()
    try:
        async with AsyncExitStack() as stack:
            ours = await stack.enter_async_context(desk.live.follow(kochi, await _cursor(desk, kochi)))
            theirs = await stack.enter_async_context(desk.live.follow(mumbai, await _cursor(desk, mumbai)))
            await desk.show(kochi.tenant, show_on_board.show_inbound_calls, make.call("c1"))
            await desk.show_one(mumbai.tenant, show_on_board.show_anomaly, make.anomaly("n1"))
            await desk.show(mumbai.tenant, show_on_board.show_inbound_calls, make.call("c2"))
            await _told(ours, "calls-c1")
            await _told(theirs, "calls-c2")
            rest = [follower.queue.get_nowait() for follower in (ours, theirs) for _ in range(follower.queue.qsize())]
            assert not any("anomalies-n1" in (text or "") for text in rest)
    finally:
        await desk.live.stop()


async def test_a_follower_resumes_where_it_was(desk: Any, make: Any) -> None:
    session = await _session(desk, "malabar")
    cursor = await _cursor(desk, session)
    await desk.show(session.tenant, show_on_board.show_inbound_calls, make.call("while-away"))
    async with desk.live.follow(session, cursor) as follower:
        await _told(follower, "calls-while-away")
    async with desk.live.follow(session, 10**15) as follower:
        assert follower.queue.get_nowait() == RELOAD


async def test_a_lost_doorbell_is_rung_again(desk: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("front_desk.live.POLL_SECONDS", 0.3)
    session = await _session(desk, "malabar")
    await desk.live.start()
    try:
        async with desk.live.follow(session, await _cursor(desk, session)) as follower:
            await desk.live._connection.close()
            await desk.show(session.tenant, show_on_board.show_inbound_calls, make.call("c1"))
            await _told(follower, "calls-c1")
            await eventually(lambda: desk.live.status()["listening"])
    finally:
        await desk.live.stop()


async def test_stopping_ends_every_stream(desk: Any) -> None:
    session = await _session(desk, "malabar")
    await desk.live.start()
    async with desk.live.follow(session, await _cursor(desk, session)) as follower:
        await desk.live.stop()
        follower.queue.get_nowait()
        assert follower.queue.get_nowait() is None


async def test_a_browser_that_does_not_keep_up_is_told_to_load_anew(desk: Any) -> None:
    session = await _session(desk, "malabar")
    async with desk.live.follow(session, await _cursor(desk, session)) as follower:
        for number in range(QUEUE_MAX):
            follower.put(str(number))
        assert [follower.queue.get_nowait(), follower.queue.get_nowait()] == [RELOAD, str(QUEUE_MAX - 1)]
