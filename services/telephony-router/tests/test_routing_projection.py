"""A whole routing configuration from events to an answer, from every rung of the ladder, on real servers."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from contracts.directory import (
    Calendar,
    CustomerV1,
    DidV1,
    Diversion,
    Emergency,
    Holiday,
    LeadV1,
    MenuChoice,
    OpeningHours,
    RingGroup,
    RoutingV1,
    StaffV1,
    TenantV1,
)
from contracts.event import Event
from identifiers.phone import parse_caller
from kit.postgres import Database
from telephony_router.budget import Budget
from telephony_router.consumers import SUBSCRIPTIONS
from telephony_router.decide import decide
from telephony_router.keep_view import ViewKeeper
from telephony_router.ladder import Ladder, PostgresView
from telephony_router.routing import Decision, Request
from telephony_router.seal import Seal
from telephony_router.snapshot import Snapshot
from telephony_router.sweep_view import sweep_view
from telephony_router.view import RedisView

pytestmark = pytest.mark.real
MakeDatabase = Callable[..., Awaitable[Database]]
NOON = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
"""A Wednesday in Kochi."""
NIGHT = datetime(2026, 3, 4, 18, 30, tzinfo=UTC)
DID, OTHER, CALLER, LEAD = "+914842000100", "+914842000101", "+919847000001", "+919847000002"
HANDLERS = {(each.topic, each.kind): each.handler for each in SUBSCRIPTIONS}
HOURS = tuple(OpeningHours(weekday=day, start="09:00", until="18:00") for day in range(1, 7))
ROUTING = RoutingV1(
    version=3,
    fallback_number="+914842000199",
    groups=(
        RingGroup(name="sales", strategy="simultaneous", staff_ids=("anu", "binu"), ring_seconds=15),
        RingGroup(name="nights", staff_ids=("chitra",)),
    ),
    calendars=(Calendar(name="day", hours=HOURS, holidays=(Holiday(date="2026-03-05", label="Festival"),)),),
    default_calendar="day",
    after_hours=Diversion(group="nights"),
    vip=Diversion(number="+919847000077"),
    spam_limit=60,
    max_hops=2,
)


@dataclass
class World:
    database: Database
    view: RedisView
    snapshot: Snapshot
    keeper: ViewKeeper
    tenant: UUID

    async def hears(self, *events: Event) -> None:
        for event in events:
            async with self.database.transaction(self.tenant) as tx:
                await HANDLERS[event.topic(), "each"](event, tx)
        await self.keeper.follow()

    async def answers(self, at: datetime, *, caller: str = CALLER, did: str = DID, digits: str = "") -> Decision:
        """The same from every rung."""
        request = Request(caller=parse_caller(caller), did=did, digits=digits)
        given: dict[str, Decision] = {}
        for rung, closed in (("redis", ()), ("snapshot", ("redis",)), ("postgres", ("redis", "snapshot"))):
            cached, projections = Budget(5, failures=()), Budget(10, failures=())
            if "redis" in closed:
                cached.failed()
            snapshot = self.snapshot if "snapshot" not in closed else Snapshot(SEAL)
            ladder = Ladder(
                cached=self.view,
                cached_budget=cached,
                snapshot=snapshot,
                projections=PostgresView(self.database, projections),
            )
            view = await ladder.view(self.tenant, did, caller, at)
            assert view.rung == rung
            given[rung] = decide(view, request, at)
        told = {(each.rule, each.destinations, each.excluded, each.config_version) for each in given.values()}
        assert len(told) == 1, given
        return given["redis"]


SEAL = Seal(base64.b64encode(bytes(32)).decode())


@pytest.fixture
async def world(make_database: MakeDatabase, redis_url: str, tmp_path: Path) -> AsyncIterator[World]:
    database = await make_database(service="telephony-router", package="telephony_router")
    view = RedisView(redis_url, read_budget_seconds=5.0)
    await view._writes.flushdb()
    snapshot = Snapshot(SEAL)
    keeper = ViewKeeper(database=database, view=view, snapshot=snapshot, path=tmp_path / "s", clock=lambda: NOON)
    await keeper.follow()
    one = World(database, view, snapshot, keeper, uuid4())
    await one.hears(
        TenantV1(tenant_id=str(one.tenant), version=1, name="Kochi"),
        StaffV1(staff_id="anu", version=1, name="Anu", numbers=("+919847000010",), skills=("gst",)),
        StaffV1(staff_id="binu", version=1, name="Binu", numbers=("+919847000011",), skills=("gst", "ml")),
        StaffV1(staff_id="chitra", version=1, name="Chitra", numbers=("+919847000012",), skills=("gst",)),
        StaffV1(staff_id="deepa", version=1, name="Deepa", numbers=("+919847000013",), capacity=2),
        CustomerV1(customer_id="c1", version=1, name="Asian Tiles", numbers=(CALLER,), language="ml", vip=False),
        LeadV1(lead_id="l1", version=1, name="Lead", numbers=(LEAD,)),
        DidV1(
            did=DID,
            version=1,
            default_staff_ids=("deepa",),
            default_group="sales",
            skills=("gst",),
            menu=(MenuChoice(digits="9", group="nights"),),
        ),
        DidV1(did=OTHER, version=1, fallback_number=DID),
        ROUTING,
    )
    yield one
    await view.close()


async def known(world: World) -> None:
    """Let the snapshot know the callers, as calls of theirs would have done."""
    for number in (CALLER, LEAD):
        found = await world.view.find(world.tenant, DID, number)
        world.snapshot.learn_caller_text(world.tenant, number, found.caller_text)


async def test_groups_skills_and_languages_survive_the_way(world: World) -> None:
    await known(world)
    decision = await world.answers(NOON)
    assert [each.staff_id for each in decision.destinations] == ["binu", "anu"]
    assert (decision.parallel, decision.ring_seconds, decision.config_version) == (True, 15, 3)
    assert [(each.staff_id, each.reason) for each in decision.excluded] == [("deepa", "lacks_skill")]


async def test_calendars_holidays_and_menus_survive_the_way(world: World) -> None:
    await known(world)
    assert (await world.answers(NIGHT)).rule == "after_hours"
    assert (await world.answers(NOON.replace(day=5))).rule == "after_hours"
    assert [each.staff_id for each in (await world.answers(NOON, digits="9")).destinations] == ["chitra"]


async def test_a_number_that_falls_back_on_another_of_ours_is_followed_from_every_rung(world: World) -> None:
    await known(world)
    decision = await world.answers(NOON, did=OTHER)
    assert (decision.rule, [each.staff_id for each in decision.destinations]) == ("did_fallback", ["binu", "anu"])


async def test_an_emergency_holds_as_soon_as_it_is_heard_and_until_it_is_over(world: World) -> None:
    await known(world)
    burning = ROUTING.model_copy(update={"version": 4, "emergency": Emergency(number="+919847000088", until=NIGHT)})
    await world.hears(burning)
    assert (await world.answers(NOON)).rule == "emergency"
    assert (await world.answers(NIGHT)).rule == "after_hours"
    await world.hears(ROUTING)
    assert (await world.answers(NOON)).rule == "emergency", "an older version changes nothing"


async def test_a_customer_becomes_a_vip_when_the_directory_says_so(world: World) -> None:
    await known(world)
    vip = CustomerV1(customer_id="c1", version=2, name="Asian Tiles", numbers=(CALLER,), vip=True)
    await world.hears(vip)
    await known(world)
    decision = await world.answers(NIGHT)
    assert (decision.rule, decision.destinations[0].number) == ("vip", "+919847000077")


async def test_what_was_kept_needs_no_repair(world: World) -> None:
    assert await sweep_view(world.database, world.view) == 0
