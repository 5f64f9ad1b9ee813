"""Directory events to Postgres, Redis and the snapshot, on real servers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import uvloop
from redis.asyncio import Redis

from contracts.directory import CustomerV1, DidV1, LeadV1, OpeningHours, RoutingV1, StaffV1, TenantV1
from contracts.event import Event
from kit.consume import Deletion
from kit.postgres import Database
from kit.testing import eventually
from telephony_router import store
from telephony_router.consumers import SUBSCRIPTIONS
from telephony_router.keep_view import ViewKeeper
from telephony_router.seal import Seal, hash_of_secret
from telephony_router.simulate import simulate
from telephony_router.snapshot import Snapshot
from telephony_router.sweep_view import PAGE, ViewSweeper, rebuild_view, sweep_view
from telephony_router.view import RedisView, ViewUnavailable, caller_key, did_key, tenant_key

pytestmark = pytest.mark.real
MakeDatabase = Callable[..., Awaitable[Database]]
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
DID, CALLER = "+914842000100", "+919847000001"
HANDLERS = {(each.topic, each.kind): each.handler for each in SUBSCRIPTIONS}


@dataclass
class World:
    database: Database
    view: RedisView
    redis: Redis
    snapshot: Snapshot
    keeper: ViewKeeper

    async def hears(self, tenant: UUID, *events: Event) -> None:
        """Deliver events as the consumer would: each in a transaction of its own."""
        for event in events:
            async with self.database.transaction(tenant) as tx:
                await HANDLERS[event.topic(), "each"](event, tx)

    async def loses(self, tenant: UUID, topic: str, entity_id: str) -> None:
        async with self.database.transaction(tenant) as tx:
            deletion = Deletion(topic=topic, tenant=tenant, entity_id=entity_id)
            await HANDLERS[topic, "deleted"](deletion, tx)

    async def office(self, tenant: UUID) -> None:
        await self.hears(
            tenant,
            TenantV1(tenant_id=str(tenant), version=1, name="Kochi"),
            StaffV1(staff_id="desk", version=1, name="Desk", numbers=("+919847000010",)),
            StaffV1(staff_id="sales", version=1, name="Sales", numbers=("+919847000012",)),
            CustomerV1(customer_id="c1", version=1, name="Asian Tiles", numbers=(CALLER,), owner_staff_id="desk"),
            DidV1(did=DID, version=1, default_staff_ids=("sales",), fallback_number="+914842000190"),
            RoutingV1(version=1, fallback_number="+914842000199"),
        )

    async def rings(self, tenant: UUID, caller: str = CALLER, did: str = DID) -> list[tuple[str, str | None]]:
        """Whom Redis's view would ring."""
        from identifiers.phone import parse_caller
        from telephony_router.decide import decide
        from telephony_router.routing import Request, RoutingView, TenantEntry

        found = await self.view.find(tenant, did, caller)
        own = found.did if found.did is not None and found.did.tenant == tenant else None
        view = RoutingView(
            tenant=found.tenant or TenantEntry(tenant=tenant), did=own, caller=found.caller, rung="redis"
        )
        decision = decide(view, Request(caller=parse_caller(caller), did=did), NOW)
        return [(each.reason, each.staff_id) for each in decision.destinations]


@pytest.fixture
async def world(make_database: MakeDatabase, redis_url: str, tmp_path: Path) -> AsyncIterator[World]:
    database = await make_database(service="telephony-router", package="telephony_router")
    redis: Redis = Redis.from_url(redis_url)
    await redis.delete(*await redis.keys("router:*"), "router:none")
    view = RedisView(redis_url, read_budget_seconds=2.0)
    snapshot = Snapshot(Seal(base64.b64encode(bytes(32)).decode()))
    keeper = ViewKeeper(
        database=database, view=view, snapshot=snapshot, path=tmp_path / "snapshot", clock=lambda: datetime.now(UTC)
    )
    yield World(database, view, redis, snapshot, keeper)
    await view.close()
    await redis.aclose()


async def test_the_directory_reaches_redis_and_the_snapshot(world: World, tenant: UUID) -> None:
    await world.keeper.follow()
    await world.office(tenant)
    await world.keeper.follow()
    assert await world.rings(tenant) == [("owner", "desk")]
    assert await world.rings(tenant, "+919847000055") == [("did_default", "sales")]
    assert world.snapshot.loaded
    assert world.snapshot.did(DID) is not None
    assert world.snapshot.tenant(tenant) is not None


async def test_older_and_repeated_versions_have_no_effect(world: World, tenant: UUID) -> None:
    await world.keeper.follow()
    await world.office(tenant)
    away = StaffV1(staff_id="desk", version=3, name="Desk", numbers=("+919847000010",), active=False)
    await world.hears(tenant, away, StaffV1(staff_id="desk", version=2, name="Desk", numbers=("+919847000010",)))
    await world.keeper.follow()
    assert await world.rings(tenant) == [("did_default", "sales")]


async def test_what_is_deleted_is_forgotten_everywhere(world: World, tenant: UUID) -> None:
    await world.keeper.follow()
    await world.office(tenant)
    await world.keeper.follow()
    await world.loses(tenant, "directory.customer", "c1")
    await world.keeper.follow()
    assert await world.rings(tenant) == [("did_default", "sales")]
    await world.loses(tenant, "directory.staff", "sales")
    await world.keeper.follow()
    assert await world.rings(tenant) == [("did_fallback", None)]
    await world.loses(tenant, "directory.did", DID)
    await world.keeper.follow()
    assert await world.rings(tenant) == [("tenant_fallback", None)]
    assert world.snapshot.did(DID) is None


async def test_a_number_that_leaves_a_customer_is_a_stranger_again(world: World, tenant: UUID) -> None:
    await world.keeper.follow()
    await world.office(tenant)
    moved = CustomerV1(
        customer_id="c1", version=2, name="Asian Tiles", numbers=("+919847000002",), owner_staff_id="desk"
    )
    await world.hears(tenant, moved)
    await world.keeper.follow()
    assert await world.rings(tenant) == [("did_default", "sales")]
    assert await world.rings(tenant, "+919847000002") == [("owner", "desk")]


async def test_a_lead_has_an_owner_until_the_number_is_a_customers(world: World, tenant: UUID) -> None:
    await world.keeper.follow()
    await world.office(tenant)
    await world.hears(
        tenant, LeadV1(lead_id="l1", version=1, name="Lead", numbers=(CALLER, "+919847000003"), owner_staff_id="sales")
    )
    await world.keeper.follow()
    assert await world.rings(tenant) == [("owner", "desk")]
    assert await world.rings(tenant, "+919847000003") == [("owner", "sales")]


async def test_a_did_rings_for_who_claimed_it_first_and_is_passed_on_when_given_up(world: World) -> None:
    first, second = uuid4(), uuid4()
    await world.keeper.follow()
    await world.office(first)
    await world.office(second)
    await world.keeper.follow()
    assert await world.rings(second) == [("owner", "desk")]
    assert await world.rings(second, "+919847000055") == [("tenant_fallback", None)]
    assert await world.rings(first, "+919847000055") == [("did_default", "sales")]
    await world.loses(first, "directory.did", DID)
    await world.keeper.follow()
    await sweep_view(world.database, world.view)
    await world.keeper.follow()
    assert await world.rings(second, "+919847000055") == [("did_default", "sales")]


async def test_working_hours_and_leave_survive_the_way(world: World, tenant: UUID) -> None:
    await world.keeper.follow()
    await world.office(tenant)
    hours = (OpeningHours(weekday=4, start="09:00", until="24:00"),)
    desk = StaffV1(staff_id="desk", version=2, name="Desk", numbers=("+919847000010",), working_hours=hours)
    leave = StaffV1.model_validate(
        {"staff_id": "sales", "version": 2, "name": "Sales", "numbers": ["+919847000012"],
         "leave": [{"start": "2026-03-04T00:00:00Z", "until": None, "reason": "fever"}]}
    )  # fmt: skip
    await world.hears(tenant, desk, leave)
    result = await simulate(world.database, tenant, did="0484 2000100", caller="98470 00001", at=NOW)
    excluded = [(each["staff_id"], each["reason"]) for each in result["decision"]["excluded"]]
    assert excluded == [("desk", "outside_hours"), ("sales", "on_leave")]
    assert "Desk" in result["why"]
    assert "on leave" in result["why"]


async def test_an_older_entry_never_replaces_a_newer_one_in_redis(world: World, tenant: UUID) -> None:
    entry = {"did": DID, "tenant": str(tenant), "label": "", "default_staff_ids": [], "fallback_number": None}
    assert await world.view.put([(did_key(DID), {**entry, "version": 5})]) == 1
    assert await world.view.put([(did_key(DID), {**entry, "version": 4, "label": "old"})]) == 0
    assert await world.view.put([(did_key(DID), {"version": 4, "gone": True})]) == 0
    found = await world.view.find(tenant, DID, None)
    assert found.did is not None
    assert found.did.version == 5


@pytest.mark.parametrize("damage", ["flushed", "altered", "from the future", "nonsense", "orphan"])
async def test_a_sweep_repairs_whatever_redis_lost_or_made_up(world: World, tenant: UUID, damage: str) -> None:
    await world.keeper.follow()
    await world.office(tenant)
    await world.keeper.follow()
    assert await sweep_view(world.database, world.view) == 0
    keys = [did_key(DID), tenant_key(tenant), caller_key(tenant, CALLER)]
    before = [await world.redis.get(key) for key in keys]
    if damage == "flushed":
        await world.redis.delete(*keys)
    elif damage == "altered":
        await world.redis.set(keys[2], before[2].replace(b"desk", b"ravi"))
    elif damage == "from the future":
        await world.redis.set(keys[2], b"999999 " + before[2].partition(b" ")[2].replace(b"desk", b"ravi"))
    elif damage == "nonsense":
        await world.redis.set(keys[0], b"\xff")
    else:
        await world.redis.set(did_key("+914842000150"), before[0].replace(b"0100", b"0150"))
    assert await sweep_view(world.database, world.view) >= 1
    assert await world.rings(tenant) == [("owner", "desk")]
    assert await world.redis.get(did_key("+914842000150")) is None
    assert await sweep_view(world.database, world.view) == 0


async def test_the_view_is_rebuilt_by_one_command(world: World, tenant: UUID) -> None:
    await world.office(tenant)
    await world.redis.set(did_key("+914842000150"), b"7 {}")
    assert await rebuild_view(world.database, world.view) == 3
    assert await world.rings(tenant) == [("owner", "desk")]
    assert await world.redis.exists(did_key("+914842000150")) == 0


async def test_changes_made_while_redis_was_down_are_swept_in_when_it_is_back(
    world: World, tenant: UUID, tmp_path: Path
) -> None:
    dead = RedisView("redis://127.0.0.1:1/0")
    sweeper = ViewSweeper(world.database, world.view, seconds=3600)
    await sweeper.start()
    keeper = ViewKeeper(
        database=world.database,
        view=dead,
        snapshot=world.snapshot,
        path=tmp_path / "s",
        clock=lambda: NOW,
        on_missed=sweeper.ask,
    )
    await keeper.follow()
    await world.office(tenant)
    await keeper.follow()
    assert world.snapshot.tenant(tenant) is not None

    async def rings_right() -> bool:
        return await world.rings(tenant) == [("owner", "desk")]

    await eventually(rings_right)
    await sweeper.stop()
    await dead.close()


async def test_a_sweep_looks_at_every_page_of_callers(world: World, tenant: UUID) -> None:
    await world.keeper.follow()
    await world.office(tenant)
    numbers = tuple(f"+91984701{each:04}" for each in range(2 * PAGE + 50))
    for start in range(0, len(numbers), 50):
        name = f"big{start}"
        part = numbers[start : start + 50]
        await world.hears(tenant, CustomerV1(customer_id=name, version=1, name=name, numbers=part))
    await world.keeper.follow()
    rests = 0

    async def rest() -> None:
        nonlocal rests
        rests += 1

    assert await sweep_view(world.database, world.view, rest=rest) == 0
    assert rests >= 4
    for lost in (numbers[0], numbers[PAGE], numbers[-1]):
        await world.redis.delete(caller_key(tenant, lost))
    await world.redis.set(caller_key(tenant, "+919847999999"), await world.redis.get(caller_key(tenant, numbers[1])))
    await world.redis.set(caller_key(uuid4(), numbers[1]), await world.redis.get(caller_key(tenant, numbers[1])))
    await world.redis.set("router:of an older router", b"1 {}")
    assert await sweep_view(world.database, world.view) == 6
    assert await sweep_view(world.database, world.view) == 0


async def test_a_sweep_leaves_time_to_those_who_ring(world: World, tenant: UUID) -> None:
    await world.office(tenant)
    sweeper = ViewSweeper(world.database, world.view, seconds=3600, share=0.000_001)
    await sweeper.start()
    await eventually(lambda: world.redis.exists(caller_key(tenant, CALLER)))
    assert sweeper.status() == {"repaired": 0, "last_error": None}, "it is still at rest after its first page"
    assert sweeper.alive() is None
    await sweeper.stop()


async def test_who_only_answers_leaves_redis_to_the_others(world: World, tenant: UUID, tmp_path: Path) -> None:
    keeper = ViewKeeper(
        database=world.database, view=None, snapshot=world.snapshot, path=tmp_path / "s", clock=lambda: NOW
    )
    await keeper.follow()
    await world.office(tenant)
    await keeper.follow()
    assert world.snapshot.tenant(tenant) is not None
    assert await world.redis.keys("router:*") == []


async def test_a_connection_to_redis_that_was_just_reset_is_replaced_at_once(redis_url: str) -> None:
    """On uvloop, as the router runs, which answers a write to it with an error of its own."""

    async def read_after_a_reset() -> str:
        view = RedisView(redis_url, read_budget_seconds=5.0)
        await view.find(uuid4(), None, None)
        view._reads._connection._writer.transport.abort()
        await asyncio.sleep(0)
        try:
            await view.find(uuid4(), None, None)
        except ViewUnavailable as error:
            return str(error)
        finally:
            await view.close()
        return "answered"

    def on_uvloop() -> str:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(read_after_a_reset())

    assert await asyncio.to_thread(on_uvloop) == "answered"


async def test_a_connection_that_redis_has_closed_is_replaced_at_once(redis_url: str) -> None:
    view, other = RedisView(redis_url), Redis.from_url(redis_url)
    await view.find(uuid4(), None, None)
    await other.client_kill_filter(_type="normal", skipme=True)
    assert (await view.find(uuid4(), None, None)).tenant is None
    await view.close()
    await other.aclose()


async def test_an_answer_that_came_too_late_is_never_anothers(world: World, redis_url: str) -> None:
    tenants = [uuid4(), uuid4()]
    await world.view.put(
        (did_key(did), {"did": did, "tenant": str(tenant), "version": 1, "label": did, "default_staff_ids": [],
                        "fallback_number": None})
        for did, tenant in zip(("+914842000101", "+914842000102"), tenants, strict=True)
    )  # fmt: skip
    view = RedisView(redis_url, read_budget_seconds=0.05)
    await view.find(tenants[0], "+914842000101", None)
    await world.redis.client_pause(400, all=True)
    with pytest.raises(ViewUnavailable, match="slow"):
        await view.find(tenants[0], "+914842000101", None)

    async def answers_again() -> bool:
        with contextlib.suppress(ViewUnavailable):
            found = await view.find(tenants[1], "+914842000102", None)
            assert found.did is not None
            assert (found.did.did, found.did.tenant) == ("+914842000102", tenants[1])
            return True
        return False

    await eventually(answers_again, every=0.01)
    await view.close()


async def test_accounts_are_in_the_snapshot_that_a_cold_start_loads(world: World, tenant: UUID, tmp_path: Path) -> None:
    await world.office(tenant)
    async with world.database.transaction(tenant) as tx:
        await store.add_account(
            tx, account_id=uuid4(), vendor="generic", label="", secret="path-secret", sealed_tokens=[]
        )
    await world.keeper.follow()
    await world.keeper._write(at_once=True)
    cold: Any = Snapshot(Seal(base64.b64encode(bytes(32)).decode()))
    keeper = ViewKeeper(
        database=world.database, view=world.view, snapshot=cold, path=tmp_path / "snapshot", clock=lambda: NOW
    )
    assert keeper.ready() is not None
    keeper.load()
    assert keeper.ready() is None
    assert cold.account(hash_of_secret("path-secret")).tenant == tenant
    assert cold.did(DID).tenant == tenant


async def test_an_empty_directory_is_a_loaded_snapshot(world: World) -> None:
    assert world.keeper.ready() is not None
    await world.keeper.follow()
    assert world.keeper.ready() is None
