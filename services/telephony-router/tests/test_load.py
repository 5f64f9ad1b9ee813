"""Who is on a call, whose turn it is, who is kept free for whom: on real servers, over two routers at once."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zlib import crc32

import pytest
from prometheus_client import REGISTRY

from contracts.directory import CustomerV1, DidV1, RingGroup, RoutingV1, StaffV1, TenantV1
from contracts.event import Event
from identifiers.phone import parse_caller
from kit.postgres import Database
from kit.testing import eventually
from telephony_router import store
from telephony_router.answer_ring import Answers, RingAnswerer, intake_of
from telephony_router.budget import Budget
from telephony_router.consumers import SUBSCRIPTIONS
from telephony_router.decide import decide
from telephony_router.journal import Journal
from telephony_router.keep_free import AgentLeases, NotClaimed, Wanted
from telephony_router.keep_view import ViewKeeper
from telephony_router.ladder import Ladder, PostgresView
from telephony_router.process_intake import process_some
from telephony_router.record import DATABASE_FAILURES, PostgresIntakes, Recorder
from telephony_router.routing import Decision, Request, RoutingView
from telephony_router.seal import Seal
from telephony_router.signals import CallSignal, call_named
from telephony_router.snapshot import Snapshot
from telephony_router.sweep_view import rebuild_view, sweep_view
from telephony_router.vendors.base import Account
from telephony_router.view import RedisView

pytestmark = pytest.mark.real
MakeDatabase = Callable[..., Awaitable[Database]]
DID, OTHER, CALLER = "+914842000100", "+914842000101", "+919847000001"
FALLBACK = "+914842000199"
HANDLERS = {(each.topic, each.kind): each.handler for each in SUBSCRIPTIONS}
NUMBERS = {"anu": "+919847000010", "binu": "+919847000011", "chitra": "+919847000012"}
TEAM = RingGroup(name="team", staff_ids=tuple(NUMBERS))
GENEROUS = 20.0
"""Seconds that a busy machine may take, where what is asked is what is answered and not how soon."""


def clock() -> datetime:
    return datetime.now(UTC)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@dataclass
class Office:
    database: Database
    redis_url: str
    snapshot: Snapshot
    keeper: ViewKeeper
    view: RedisView
    folder: Path
    account: Account
    leases: AgentLeases
    closing: list[Any] = field(default_factory=list)

    async def hears(self, *events: Event) -> None:
        for event in events:
            async with self.database.transaction(self.account.tenant) as tx:
                await HANDLERS[event.topic(), "each"](event, tx)
        await self.keeper.follow()

    def router(self, leases: AgentLeases | None = None) -> RingAnswerer:
        """One instance more, with connections of its own."""
        view = RedisView(self.redis_url, read_budget_seconds=GENEROUS)
        own = leases or AgentLeases(self.redis_url, budget_seconds=GENEROUS)
        budget = Budget(GENEROUS, failures=DATABASE_FAILURES)
        intakes = PostgresIntakes(self.database)
        journal = Journal(self.folder / f"journal-{len(self.closing)}", max_bytes=1_000_000)
        self.closing += [view, own, intakes]
        ladder = Ladder(
            cached=view,
            cached_budget=Budget(GENEROUS, failures=()),
            snapshot=self.snapshot,
            projections=PostgresView(self.database, budget),
        )
        return RingAnswerer(
            ladder=ladder,
            snapshot=self.snapshot,
            recorder=Recorder(intakes, budget, journal),
            answers=Answers(),
            clock=clock,
            deadline_seconds=3 * GENEROUS,
            leases=own,
        )

    async def rings(self, router: RingAnswerer, call: str, caller: str = "", did: str = DID) -> Decision:
        """A call of somebody who never called before, unless it is said who calls."""
        caller = caller or f"+9198472{crc32(call.encode()) % 100_000:05}"
        signal = CallSignal(kind="ring", vendor="generic", call_id=call, caller_raw=caller, did_raw=did)
        return await router.answer(self.account, signal, b"{}", time.monotonic())

    async def told(self, call: str, status: str, **more: Any) -> None:
        """The PBX says what became of a call, and it is processed and carried into the view."""
        signal = CallSignal(kind="status", vendor="generic", call_id=call, status=status, status_raw=status, **more)
        intakes = PostgresIntakes(self.database)
        await intakes.take_in([intake_of(self.account, signal, call.encode(), clock())])
        await intakes.close()
        await self.processed()

    async def processed(self) -> None:
        while await process_some(self.database, on_settled=self.leases.release):
            pass
        await self.leases.told()
        await self.keeper.follow()

    async def seen(self, rung: str = "redis", caller: str = CALLER) -> RoutingView:
        cached = Budget(GENEROUS, failures=())
        snapshot = self.snapshot
        if rung != "redis":
            cached.failed()
        if rung == "postgres":
            snapshot = Snapshot(SEAL)
        else:
            snapshot.learn_caller(self.account.tenant, caller, None)
        projections = PostgresView(self.database, Budget(GENEROUS, failures=()))
        ladder = Ladder(cached=self.view, cached_budget=cached, snapshot=snapshot, projections=projections)
        view = await ladder.view(self.account.tenant, DID, caller, clock())
        assert view.rung == rung
        return view

    async def left_out(self, rung: str = "redis", *, later: timedelta = timedelta()) -> dict[str, str]:
        decision = decide(await self.seen(rung), Request(caller=parse_caller(CALLER), did=DID), clock() + later)
        return {each.staff_id: each.reason for each in decision.excluded}


SEAL = Seal(base64.b64encode(bytes(32)).decode())


@pytest.fixture
async def office(make_database: MakeDatabase, redis_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    database = await make_database(service="telephony-router", package="telephony_router")
    view, snapshot = RedisView(redis_url, read_budget_seconds=GENEROUS), Snapshot(SEAL)
    await view._writes.flushdb()
    keeper = ViewKeeper(database=database, view=view, snapshot=snapshot, path=tmp_path / "s", clock=clock)
    await keeper.follow()
    account = Account(id=uuid4(), tenant=uuid4(), vendor="generic")
    leases = AgentLeases(redis_url, budget_seconds=GENEROUS)
    one = Office(database, redis_url, snapshot, keeper, view, tmp_path, account, leases)
    await one.hears(
        TenantV1(tenant_id=str(account.tenant), version=1, name="Kochi"),
        *(StaffV1(staff_id=name, version=1, name=name.title(), numbers=(at,)) for name, at in NUMBERS.items()),
        DidV1(did=DID, version=1, default_group="team"),
        DidV1(did=OTHER, version=1, default_group="team"),
    )
    yield one
    for each in (*one.closing, leases, view):
        await each.close()


def routing(version: int = 1, **more: Any) -> RoutingV1:
    return RoutingV1(**({"version": version, "groups": (TEAM,), "fallback_number": FALLBACK} | more))


def staff(decision: Decision) -> list[str]:
    return [each.staff_id for each in decision.destinations if each.staff_id]


@pytest.mark.parametrize("rung", ["redis", "snapshot", "postgres"])
async def test_whoever_took_a_call_is_busy_until_it_is_over_and_then_has_a_rest(office: Office, rung: str) -> None:
    await office.hears(routing(wrap_up_seconds=3600))
    router = office.router()
    await office.rings(router, "c1")
    await office.told("c1", "answered", agent_raw=NUMBERS["binu"])
    assert await office.left_out(rung) == {"binu": "busy"}
    await office.told("c1", "completed", agent_raw=NUMBERS["binu"], duration_seconds=60)
    assert await office.left_out(rung) == {"binu": "wrap_up"}
    assert await office.left_out(rung, later=timedelta(hours=1)) == {}


async def test_an_end_that_comes_before_the_answer_leaves_nobody_busy(office: Office) -> None:
    await office.hears(routing())
    await office.rings(office.router(), "c1")
    await office.told("c1", "completed", agent_raw=NUMBERS["binu"], duration_seconds=60)
    await office.told("c1", "answered", agent_raw=NUMBERS["binu"])
    assert await office.left_out() == {}


async def test_a_call_whose_end_was_never_told_does_not_count_after_some_hours(office: Office) -> None:
    await office.hears(routing())
    await office.rings(office.router(), "c1")
    await office.told("c1", "answered", agent_raw=NUMBERS["binu"])
    assert await office.left_out(later=timedelta(hours=3, minutes=59)) == {"binu": "busy"}
    assert await office.left_out(later=timedelta(hours=4, minutes=1)) == {}
    async with office.database.transaction(office.account.tenant) as tx:
        await tx.execute("UPDATE agent_call SET since = now() - interval '25 hours'")
    async with office.database.system() as tx:
        await store.forget_routed(tx)
    await office.keeper.follow()
    assert not any(each.calls for each in (await office.seen()).load.agents.values())
    assert await sweep_view(office.database, office.view) == 0


async def test_a_vendors_clock_that_runs_ahead_keeps_nobody_from_the_next_call(office: Office) -> None:
    await office.hears(routing(wrap_up_seconds=30))
    await office.rings(office.router(), "c1")
    ahead = clock() + timedelta(hours=6)
    await office.told("c1", "completed", agent_raw=NUMBERS["binu"], at=ahead)
    assert await office.left_out(later=timedelta(seconds=31)) == {}


async def test_the_load_comes_back_when_redis_lost_it(office: Office) -> None:
    await office.hears(routing())
    await office.rings(office.router(), "c1")
    await office.told("c1", "answered", agent_raw=NUMBERS["binu"])
    await office.view._writes.flushdb()
    assert await sweep_view(office.database, office.view) > 0
    assert await office.left_out() == {"binu": "busy"}
    await office.view._writes.flushdb()
    await rebuild_view(office.database, office.view)
    assert await office.left_out() == {"binu": "busy"}


@pytest.mark.parametrize("strategy", ["in_order", "round_robin", "simultaneous"])
@pytest.mark.parametrize("capacity", [1, 2])
async def test_fifty_rings_at_once_over_two_routers_never_give_one_agent_to_more_calls_than_they_can_take(
    office: Office, strategy: str, capacity: int
) -> None:
    team = RingGroup(name="team", strategy=strategy, staff_ids=tuple(NUMBERS))
    await office.hears(
        routing(groups=(team,), claim_agents=True),
        *(
            StaffV1(staff_id=name, version=2, name=name, numbers=(number,), capacity=capacity)
            for name, number in NUMBERS.items()
        ),
    )
    routers = (office.router(), office.router())
    answers = await asyncio.gather(
        *(office.rings(routers[number % 2], f"c{number}", f"+9198471{number:05}") for number in range(50))
    )
    named = Counter(each for answer in answers for each in staff(answer))
    assert set(named) == set(NUMBERS)
    assert max(named.values()) <= capacity
    for answer in answers:
        assert answer.claimed == bool(staff(answer))
        if not staff(answer):
            assert [each.number for each in answer.destinations] == [FALLBACK]
            assert {each.reason for each in answer.excluded} == {"claimed"}


async def test_when_one_answers_the_others_are_free_and_at_the_end_everybody_is(office: Office) -> None:
    await office.hears(routing(claim_agents=True))
    router = office.router()
    assert staff(await office.rings(router, "c1")) == list(NUMBERS)
    assert staff(await office.rings(router, "c2")) == []
    await office.told("c1", "answered", agent_raw=NUMBERS["anu"])
    assert staff(await office.rings(router, "c3")) == ["binu", "chitra"]
    await office.told("c1", "completed", agent_raw=NUMBERS["anu"], duration_seconds=9)
    assert staff(await office.rings(router, "c4")) == ["anu"]
    await office.told("c3", "missed")
    assert staff(await office.rings(router, "c5")) == ["binu", "chitra"]


async def test_people_who_are_kept_for_a_call_that_is_never_heard_of_again_are_free_after_a_while(
    office: Office,
) -> None:
    await office.hears(routing(claim_agents=True, ring_seconds=1))
    hasty = office.router(AgentLeases(office.redis_url, budget_seconds=GENEROUS, margin_seconds=0))
    assert staff(await office.rings(hasty, "c1")) == list(NUMBERS)

    async def free() -> bool:
        return bool(staff(await office.rings(hasty, f"c{time.monotonic()}")))

    await eventually(free)


async def test_claiming_again_for_the_same_call_gives_the_same_and_counts_once(office: Office) -> None:
    await office.hears(routing(claim_agents=True))
    decision = await office.rings(office.router(), "c1")
    tenant, wanted = office.account.tenant, [Wanted(staff_id="anu", capacity=2, calls=())]
    call = str(call_named(office.account.tenant, "generic", office.account.id, "c1"))
    for _ in range(3):
        assert await office.leases.claim(tenant, call, wanted, decision) == {"anu"}
    assert await office.leases.claim(tenant, "second", wanted, decision) == {"anu"}
    assert await office.leases.claim(tenant, "third", wanted, decision) == set()
    busy = [Wanted(staff_id="anu", capacity=2, calls=("second",))]
    assert await office.leases.claim(tenant, call, busy, decision) == {"anu"}, "a call that is known twice is one"
    office.leases.release(tenant, "second", None)
    await office.leases.told()
    assert await office.leases.claim(tenant, "third", wanted, decision) == {"anu"}


async def test_what_is_no_claims_in_redis_is_replaced(office: Office) -> None:
    await office.hears(routing(claim_agents=True))
    await office.view._writes.set(f"router-offers:{office.account.tenant}", b'"nonsense"')
    wanted = [Wanted(staff_id="anu", capacity=1, calls=())]
    some = Decision(action="dial", destinations=(), excluded=(), rule="did_group", rung="redis")
    assert await office.leases.claim(office.account.tenant, "c1", wanted, some) == {"anu"}
    assert (await office.seen()).offers["anu"].leases.keys() == {"c1"}


async def test_without_redis_for_claims_the_caller_is_put_through_unclaimed(office: Office) -> None:
    await office.hears(routing(claim_agents=True))
    before = counted("trunkline_agent_claims_total", outcome="down")
    router = office.router(AgentLeases("redis://127.0.0.1:1/0"))
    decision = await office.rings(router, "c1")
    assert (staff(decision), decision.claimed) == (list(NUMBERS), False)
    assert counted("trunkline_agent_claims_total", outcome="down") == before + 1
    assert staff(await office.rings(router, "c2")) == list(NUMBERS), "while it is known down it is not asked"


async def test_a_redis_that_never_answers_holds_nobody_up_beyond_the_budget() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        leases = AgentLeases(f"redis://127.0.0.1:{listening.getsockname()[1]}/0", budget_seconds=0.05)
        some = Decision(action="dial", destinations=(), excluded=(), rule="did_group", rung="redis")
        wanted = [Wanted(staff_id="anu", capacity=1, calls=())]
        with pytest.raises(NotClaimed, match="slow"):
            await leases.claim(UUID(int=1), "c1", wanted, some)
        with pytest.raises(NotClaimed, match="paused"):
            await leases.claim(UUID(int=1), "c2", wanted, some)
        await leases.close()


async def test_calls_are_dealt_out_in_turn_without_claims_over_two_routers(office: Office) -> None:
    team = RingGroup(name="team", strategy="round_robin", staff_ids=tuple(NUMBERS))
    await office.hears(routing(groups=(team,)))
    one, two = AgentLeases(office.redis_url), AgentLeases(office.redis_url)
    routers = ((office.router(one), one), (office.router(two), two))
    first = []
    for number in range(6):
        router, notes = routers[number % 2]
        decision = await office.rings(router, f"c{number}")
        await notes.told()
        assert not decision.claimed
        first.append(staff(decision)[0])
    assert first == [*NUMBERS, *NUMBERS]
    await office.processed()
    await office.view._writes.delete(f"router-offers:{office.account.tenant}")
    assert staff(await office.rings(routers[0][0], "after"))[0] == "anu", "turns are in Postgres as well"


async def test_the_longest_idle_is_rung_first(office: Office) -> None:
    team = RingGroup(name="team", strategy="longest_idle", staff_ids=tuple(NUMBERS))
    await office.hears(routing(groups=(team,)))
    router = office.router()
    for call, name in (("c1", "anu"), ("c2", "binu"), ("c3", "chitra"), ("c4", "anu")):
        await office.rings(router, call)
        await office.told(call, "completed", agent_raw=NUMBERS[name], duration_seconds=9)
    assert staff(await office.rings(router, "c5")) == ["binu", "chitra", "anu"]


async def test_what_a_decision_was_made_of_is_kept_with_it(office: Office) -> None:
    await office.hears(routing(version=7))
    router = office.router()
    await office.rings(router, "c1")
    await office.told("c1", "answered", agent_raw=NUMBERS["binu"])
    await office.rings(router, "c2")
    await office.processed()
    signal = CallSignal(kind="ring", vendor="generic", call_id="c2")
    async with office.database.transaction(office.account.tenant) as tx:
        found = await store.call_story(
            tx, call_named(office.account.tenant, signal.vendor, office.account.id, signal.call_id)
        )
    assert found is not None
    inputs = json.loads(found[1]["inputs"])
    assert list(inputs["load"]["binu"]["calls"]) == [
        str(call_named(office.account.tenant, "generic", office.account.id, "c1"))
    ]
    assert inputs["versions"]["routing"] == 7
    assert (inputs["digits"], inputs["hops"], inputs["caller"]) == ("", 0, None)


async def short_calls(office: Office, caller: str, count: int) -> None:
    router = office.router()
    for number in range(count):
        call = f"{caller}-{number}"
        await office.rings(router, call, caller, (DID, OTHER)[number % 2])
        await office.told(call, "cancelled")


async def test_a_stranger_who_only_rings_for_a_moment_is_told_from_a_customer_who_does(office: Office) -> None:
    customer = "+919847000003"
    await office.hears(
        routing(spam_limit=50), CustomerV1(customer_id="c1", version=1, name="Tiles", numbers=(customer,))
    )
    await short_calls(office, CALLER, 5)
    await short_calls(office, customer, 5)
    found = await office.view.find(office.account.tenant, DID, CALLER)
    assert found.caller is not None
    assert found.caller.spam_score == 12 * 4 + 15
    router = office.router()
    assert (await office.rings(router, "more", CALLER)).rule == "spam"
    assert (await office.rings(router, "more-of-a-customer", customer)).action == "dial"
    known = await office.view.find(office.account.tenant, DID, customer)
    assert known.caller is not None
    assert known.caller.spam_score == 0


async def test_scores_that_do_not_hold_any_more_are_forgotten(office: Office) -> None:
    await office.hears(routing(spam_limit=50))
    await short_calls(office, CALLER, 3)
    async with office.database.transaction(office.account.tenant) as tx:
        await tx.execute("UPDATE caller_score SET at = now() - interval '3 days'")
    async with office.database.system() as tx:
        await store.forget_routed(tx)
    await office.keeper.follow()
    assert (await office.view.find(office.account.tenant, DID, CALLER)).caller is None
