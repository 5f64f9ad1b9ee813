"""The live board: one listener and one query per tenant and process, however many browsers follow.

A doorbell (NOTIFY) says that a tenant's board changed, a slow poll finds what a lost doorbell did not ring for.
What changed is read from a cursor (see ``board_store.cursor``), rendered once, and handed to every browser of the
tenant, as much of it as the browser's role may see.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from front_desk import board_store
from front_desk.access_store import Session
from front_desk.credentials import Role
from front_desk.pages import panels_of, tiles_of
from front_desk.panels import PANELS
from front_desk.panels.missed import micros
from front_desk.present import day_began, plain_count
from front_desk.render import Card, Renderer
from kit.metrics import counter, gauge
from kit.postgres import Database
from kit.telemetry import get_logger
from runtime.background import Background

__all__ = ["CARDS_MAX", "Changes", "Follower", "LiveBoard", "event_text"]

log = get_logger(__name__)
CHANNEL = "front_desk_board"
CARDS_MAX = 50
"""Cards of one panel that a page shows, hence the most that can change on it."""
GATHER_SECONDS = 0.25
POLL_SECONDS = 10.0
QUEUE_MAX = 64
RELOAD = "event: reload\ndata: {}\n\n"

FOLLOWERS = gauge("trunkline_console_followers", "1", "Browsers that follow the console live")
ROUNDS = counter("trunkline_console_rounds", "1", "Times changes of a tenant were read for its browsers")


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What changed on one tenant's board since a cursor."""

    cursor: int
    now: datetime
    """The database's time."""
    cards: dict[str, list[Card]]
    counts: dict[str, int]
    cut: bool = False
    """More has changed on a panel that has to be whole than is here."""

    def seen_by(self, role: Role) -> dict[str, Any]:
        """What a role may see of it, as the browser gets it."""
        panels = {panel.name for panel in panels_of(role)}
        return {
            "cursor": self.cursor,
            "now": micros(self.now),
            "cards": [
                {"panel": name, "id": card.id, "at": card.at_ms, "facet": card.facet, "html": card.html}
                for name, cards in self.cards.items()
                if name in panels
                for card in cards
            ],
            "counts": {tile.name: plain_count(self.counts[tile.name]) for tile in tiles_of(role)},
        }


def event_text(changes: dict[str, Any]) -> str:
    """One server-sent event; its id is where a browser resumes."""
    return f"id: {changes['cursor']}\nevent: changes\ndata: {json.dumps(changes, ensure_ascii=False)}\n\n"


@dataclass(eq=False, kw_only=True, slots=True)
class Follower:
    """One browser. ``queue`` holds texts of events; ``None`` ends the stream."""

    role: Role
    zone: ZoneInfo
    queue: asyncio.Queue[str | None] = field(default_factory=lambda: asyncio.Queue(QUEUE_MAX))
    patient: bool = True
    """When it does not keep up it is told to load anew; else it is dropped, and may come back with its cursor."""
    dropped: bool = False

    def put(self, text: str | None) -> None:
        if self.dropped:
            return
        if self.queue.full() and not self.patient:
            self.dropped = True
            while not self.queue.empty():
                self.queue.get_nowait()
            text = None
        elif self.queue.full():
            # It does not keep up: the page loaded anew says more than the events it missed.
            while not self.queue.empty():
                self.queue.get_nowait()
            self.queue.put_nowait(RELOAD)
        self.queue.put_nowait(text)


class LiveBoard(Background):
    """A component: listens while it runs, and keeps every follower up to date."""

    name = "live board"
    ended = "the live board has ended"

    def __init__(self, database: Database, renderer: Renderer, *, followers_max: int) -> None:
        self._database = database
        self._renderer = renderer
        self._followers_max = followers_max
        self._followers: dict[UUID, set[Follower]] = {}
        self._cursors: dict[UUID, int] = {}
        self._last: dict[UUID, tuple[dict[str, str], dict[str, int]]] = {}
        self._rung: set[UUID] = set()
        self._bell = asyncio.Event()
        self._connection: Any = None
        self._rounds = 0

    async def start(self) -> None:
        await self._listen()
        await super().start()

    async def stop(self) -> None:
        await super().stop()
        for follower in self._everybody():
            follower.put(None)
        if self._connection is not None:
            await self._connection.close(timeout=2)
            self._connection = None

    def status(self) -> dict[str, object]:
        count = len(self._everybody())
        listening = self._connection is not None and not self._connection.is_closed()
        return {"followers": count, "tenants": len(self._followers), "rounds": self._rounds, "listening": listening}

    def is_full(self) -> bool:
        """This process serves as many streams as it may; a further browser polls instead."""
        return len(self._everybody()) >= self._followers_max

    @contextlib.asynccontextmanager
    async def follow(self, session: Session, since: int, *, patient: bool = True) -> AsyncIterator[Follower]:
        """Be told of everything that changes, from a cursor on, while inside."""
        tenant, zone = session.tenant, ZoneInfo(session.timezone)
        follower = Follower(role=session.role, zone=zone, patient=patient)
        # First be reachable, then look back: in the other order what commits in between would be lost.
        self._followers.setdefault(tenant, set()).add(follower)
        FOLLOWERS.inc()
        try:
            missed = await self.changes_since(tenant, zone, since)
            self._cursors.setdefault(tenant, missed.cursor)
            fresh = event_text(missed.seen_by(session.role))
            follower.put(RELOAD if since > missed.cursor or missed.cut else fresh)
            yield follower
        finally:
            FOLLOWERS.dec()
            self._followers[tenant].discard(follower)
            if not self._followers[tenant]:
                del self._followers[tenant]
                self._cursors.pop(tenant, None)
                self._last.pop(tenant, None)

    async def changes_since(self, tenant: UUID, zone: ZoneInfo, since: int) -> Changes:
        """Everything that changed at or after a cursor: at least once, newest first."""
        now = datetime.now(UTC)
        cards: dict[str, list[Card]] = {}
        cut = False
        async with self._database.transaction(tenant) as tx:
            cursor, here = await board_store.moment(tx)
            for name, panel in PANELS.items():
                rows = await board_store.changed(tx, name, since=since, limit=CARDS_MAX + panel.whole)
                cut = cut or len(rows) > CARDS_MAX
                if rows:
                    cards[name] = [self._renderer.card(panel, row, zone, now) for row in rows[:CARDS_MAX]]
            counts = await board_store.counts(tx, day_began(now, zone))
        return Changes(cursor=cursor, now=here, cards=cards, counts=counts, cut=cut)

    def _everybody(self) -> list[Follower]:
        return [follower for followers in self._followers.values() for follower in followers]

    async def _listen(self) -> None:
        connection = await self._database.dedicated("live")
        await connection.add_listener(CHANNEL, self._hear)
        self._connection = connection

    def _hear(self, connection: Any, pid: int, channel: str, payload: str) -> None:
        with contextlib.suppress(ValueError):
            tenant = UUID(payload)
            if tenant in self._followers:
                self._rung.add(tenant)
                self._bell.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._bell.wait(), POLL_SECONDS)
            if not self._bell.is_set():
                self._rung |= self._followers.keys()
            # One import writes hundreds of times; those who watch see it a few times a second.
            await asyncio.sleep(GATHER_SECONDS)
            self._bell.clear()
            rung, self._rung = self._rung, set()
            try:
                if self._connection is None or self._connection.is_closed():
                    await self._listen()
                    rung |= self._followers.keys()
                for tenant in rung & self._followers.keys():
                    await self._tell(tenant)
            except Exception as error:
                log.warning("live_round_failed", error=type(error).__name__)
                self._rung |= rung
                await asyncio.sleep(1.0)

    async def _tell(self, tenant: UUID) -> None:
        followers = self._followers.get(tenant, set())
        if not followers:
            return
        zone = next(iter(followers)).zone
        if tenant not in self._cursors:
            # Its first follower is still looking back; come again when it has.
            self._rung.add(tenant)
            self._bell.set()
            return
        found = await self.changes_since(tenant, zone, self._cursors[tenant])
        self._cursors[tenant] = found.cursor
        self._rounds += 1
        ROUNDS.inc()
        fresh = self._not_told_yet(tenant, found)
        if fresh is None:
            return
        texts: dict[Role, str] = {}
        for follower in list(followers):
            if follower.role not in texts:
                texts[follower.role] = RELOAD if fresh.cut else event_text(fresh.seen_by(follower.role))
            follower.put(texts[follower.role])

    def _not_told_yet(self, tenant: UUID, found: Changes) -> Changes | None:
        """Without cards that the round before told already; nothing when nothing is new."""
        told, counted = self._last.get(tenant, ({}, {}))
        shown = {card.id: card.html for cards in found.cards.values() for card in cards}
        self._last[tenant] = (shown, found.counts)
        cards = {name: _unless_told(cards, told) for name, cards in found.cards.items()}
        if not any(cards.values()) and found.counts == counted:
            return None
        return replace(found, cards=cards)


def _unless_told(cards: Sequence[Card], told: dict[str, str]) -> list[Card]:
    return [card for card in cards if told.get(card.id) != card.html]
