"""A promoted shadow run of the board: open consoles see it, and a rebuild makes wrong cards right."""

from __future__ import annotations

import asyncio
from dataclasses import replace as with_values
from typing import Any

import pytest

from front_desk import replays, show_on_board
from kit.consume import Received
from kit.postgres import Database
from kit.testing import PASSWORDS
from recovery.replay.book import Book
from recovery.replay.plan import Plan, Replayable
from recovery.replay.settle import promote
from recovery.replay.shadow import Shadow

from .conftest import envelope_of
from .test_live import _cursor, _session, _told

pytestmark = pytest.mark.real

ID = "front-desk.0302-0f0f0f"


def replayable_of(desk: Any, monkeypatch: pytest.MonkeyPatch) -> Replayable:
    monkeypatch.setattr(replays.Settings, "load", lambda: desk.settings)
    dsn = desk.database._app_dsn
    return with_values(
        replays.replays(), postgres_dsn=dsn, passwords=PASSWORDS,
        database=lambda: Database(
            service="front-desk", dsn=dsn, app_password=PASSWORDS["app"], system_password=PASSWORDS["system"]
        ),
    )  # fmt: skip


async def test_a_promoted_rebuild_shows_on_open_consoles_at_once(
    desk: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cursor of the console is younger than the shadow run: only what is written at the promotion is found."""
    session = await _session(desk, "malabar")
    fact = make.fact("f1", value="wrong")
    await desk.show(session.tenant, show_on_board.show_facts, fact)
    replayable = replayable_of(desk, monkeypatch)
    plan = Plan(
        id=ID, service="front-desk", consumer="front-desk", target="shadow", source="topics", asked_from="",
        asked_to="", tenants=(str(session.tenant),), starts_empty=("board_fact",), reaches_back=True,
    )  # fmt: skip
    await Book(desk.database).open(plan, who="tester", why="a wrong card")
    shadow = Shadow(replayable)
    await shadow.make(plan)
    database = shadow.database()
    async with database.transaction(session.tenant) as tx:
        mended = make.fact("f1", value="right")
        await show_on_board.show_facts([Received(mended, envelope_of(mended, session.tenant))], tx)
    await database.close()
    await Book(desk.database).end(ID, "done")
    found = {diff.table: diff for diff in await shadow.diff(plan)}
    assert [change.after for change in found["board_fact"].changes] == [{"value": "right"}]
    await desk.show(session.tenant, show_on_board.show_inbound_calls, make.call("later"))
    monkeypatch.setattr("front_desk.live.POLL_SECONDS", 3600.0)
    await desk.live.start()
    try:
        async with desk.live.follow(session, await _cursor(desk, session)) as follower:
            await promote(replayable, ID, who="tester", why="it is right")
            assert "right" in (await asyncio.wait_for(_told(follower, "facts-f1"), 60))["html"]
    finally:
        await desk.live.stop()
