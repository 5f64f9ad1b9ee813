"""Replays on a real broker and a real database: planned, run, killed, gone on with."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from kit.testing import eventually
from recovery.replay.book import Book
from recovery.replay.pace import Progress
from recovery.replay.plan import Filters, Plan, Refused
from recovery.replay.rehearsal import RehearsalDatabase
from recovery.replay.throttle import Limits, Pressure, Throttle

from .conftest import Service, tenant_of, with_class

pytestmark = pytest.mark.real
KEYS = [f"e{n}" for n in range(5)]


async def sent(service: Service, rounds: int = 4) -> int:
    """Numbers 1 to ``rounds`` for each of five keys."""
    for number in range(1, rounds + 1):
        for key in KEYS:
            await service.bench.send(key, number)
    return rounds * len(KEYS)


async def test_a_replay_handles_its_range_again_under_its_own_name(service: Service) -> None:
    service.factor = 10
    await service.consume(await sent(service))
    assert set((await service.rows()).values()) == {10, 20, 30, 40}
    service.factor = 1
    plan = await service.plan()
    assert (plan.records, plan.keys, plan.tenants) == (20, 5, (str(service.bench.tenant),))
    assert plan.by_type == {service.bench.event.type: 20}
    entry = await service.apply(plan)
    assert entry.state == "done"
    assert entry.report is not None
    assert (entry.report["handled"], entry.report["duplicates"], entry.report["failed"]) == (20, 0, 0)
    assert await service.rows() == {(key, n): n for key in KEYS for n in range(1, 5)}
    marks = [replay for _, replay in await service.outbox()]
    assert marks == [""] * 20 + [plan.id] * 20


async def test_a_plan_reads_no_further_than_live_traffic_is(service: Service) -> None:
    await service.consume(await sent(service, 2))
    await sent(service, 1)
    assert (await service.plan()).records == 10


async def test_a_range_begins_at_a_time_an_offset_or_an_event(service: Service) -> None:
    await sent(service, 2)
    await asyncio.sleep(0.05)
    middle = datetime.now(UTC)
    await asyncio.sleep(0.05)
    event_id = str(uuid4())
    await service.bench.send("e0", 3, event_id=event_id)
    await service.bench.send("e0", 4)
    await service.bench.send("e1", 3)
    await service.consume(13)
    assert (await service.plan(start=middle)).records == 3
    assert (await service.plan(end=middle)).records == 10
    by_event = await service.plan(start=event_id)
    assert by_event.records in (2, 3)
    assert by_event.asked_from == event_id
    everything = {(span.topic, span.partition): 0 for span in by_event.spans}
    assert (await service.plan(start=everything, filters=Filters(keys=("e0",)))).records == 4
    with pytest.raises(Refused, match="no record has the event id"):
        await service.plan(start=str(uuid4()))


async def test_filters_choose_tenants_keys_and_a_steady_sample(service: Service) -> None:
    other = uuid4()
    await sent(service, 3)
    await tenant_of(service.bench, other).send("e0", 1)
    await service.consume(16)
    assert (await service.plan(filters=Filters(tenants=(str(other),)))).records == 1
    assert (await service.plan(filters=Filters(keys=("e1", "e2")))).records == 6
    share = [(await service.plan(filters=Filters(sample=0.5))).records for _ in range(2)]
    assert share[0] == share[1] < 16


async def test_a_changed_or_stale_plan_is_refused(service: Service) -> None:
    await service.consume(await sent(service, 1))
    plan = await service.plan()
    assert Plan.from_json(plan.to_json()) == plan
    values = json.loads(plan.to_json())
    with pytest.raises(Refused, match="changed after it was made"):
        Plan.from_json(json.dumps({**values, "rate": 1e6}))
    with pytest.raises(Refused, match="not a plan"):
        Plan.from_json("[]")
    old = replace(plan, made_at=(datetime.now(UTC) - timedelta(hours=25)).isoformat())
    with pytest.raises(Refused, match="older than 24 hours"):
        await service.apply(old)
    with pytest.raises(Refused, match="another Kafka cluster"):
        await service.apply(replace(plan, kafka_cluster="another"))
    with pytest.raises(Refused, match="was made for version"):
        await service.apply(replace(plan, code_version="0.0.0"))
    await service.apply(plan)
    with pytest.raises(Refused, match="applied before"):
        await service.apply(plan)


async def test_a_killed_replay_goes_on_where_it_was(service: Service) -> None:
    """Twice cut off in the middle; at the end everything was handled once, in the order of each key."""
    await service.consume(await sent(service, 40))
    plan = await service.plan(rate=2000)
    seen: list[int] = []

    class Killed(BaseException):
        pass

    def dies(progress: Progress) -> None:
        seen.append(progress.seen)
        if len(seen) in (2, 4):
            raise Killed

    slow = replace(plan, rate=120)
    with pytest.raises(Killed):
        await service.apply(slow, report=dies)
    entry = await Book(service.database).find(plan.id)
    assert 0 < sum(entry.positions.values()) < 200
    with pytest.raises(Killed):
        await service.run(plan.id, report=dies)
    entry = await service.run(plan.id)
    assert entry.state == "done"
    assert entry.counts["handled"] + entry.counts.get("duplicate", 0) == 200
    async with service.database.system() as tx:
        subjects = await tx.fetch(
            "SELECT subject, payload::jsonb ->> 'number' AS n FROM outbox WHERE replayid = $1 ORDER BY epoch, xid, seq",
            plan.id,
        )
    for key in KEYS:
        assert [int(row["n"]) for row in subjects if row["subject"] == key] == list(range(1, 41))


async def test_only_one_process_runs_a_replay_and_an_operator_is_heard(service: Service) -> None:
    await service.consume(await sent(service, 30))
    plan = await service.plan(rate=40)
    book = Book(service.database)
    running = asyncio.create_task(service.apply(plan))

    async def begun() -> bool:
        async with service.database.system() as tx:
            return bool(await tx.fetchval("SELECT counts::text <> '{}' FROM replay WHERE id = $1", plan.id))

    await eventually(begun, 20)
    with pytest.raises(Refused, match="running in another process"):
        await service.run(plan.id)
    await book.want(plan.id, "pause", who="an operator", why="peak hour")
    assert (await running).state == "paused"
    await book.want(plan.id, "cancel", who="an operator", why="not needed")
    assert (await book.find(plan.id)).state == "cancelled"
    with pytest.raises(Refused, match="cancelled"):
        await service.run(plan.id)
    told = [(row["action"], row["who"]) for row in await book.history(plan.id)]
    assert [action for action, _ in told] == ["apply", "pause", "cancel"]


async def test_what_acts_on_the_outside_world_is_never_replayed(service: Service) -> None:
    await service.consume(await sent(service, 1))
    with_class(service, "forbidden")
    with pytest.raises(Refused, match="forbids replays"):
        await service.plan()


async def test_a_live_consumer_refuses_what_a_replay_emitted_if_it_acts_outside(service: Service) -> None:
    with_class(service, "forbidden")
    headers = [*service.bench.headers("e0"), ("ce_replayid", b"front-desk.1")]
    await service.bench.send("e0", 1, headers=headers)
    await service.bench.send("e0", 2)
    await service.consume(2)
    assert await service.rows() == {("e0", 2): 2}


async def test_suppressed_effects_change_state_and_tell_nobody(service: Service) -> None:
    service.factor = 3
    await service.consume(await sent(service, 1))
    with_class(service, "suppress_effects")
    service.factor = 1
    plan = await service.plan()
    assert any("dropped" in line for line in plan.suppressed)
    await service.apply(plan)
    assert set((await service.rows()).values()) == {1}
    assert len(await service.outbox()) == 5


async def test_failures_of_a_replay_are_kept_apart_and_hold_their_key(service: Service) -> None:
    await service.consume(await sent(service, 3))
    service.fails_on = frozenset({2})
    before = service.handled
    entry = await service.apply(await service.plan(filters=Filters(keys=("e0", "e1"))))
    assert entry.report is not None
    assert (entry.report["handled"], entry.report["failed"]) == (2, 4)
    assert service.handled == before + 2
    async with service.database.system() as tx:
        consumers = await tx.fetch("SELECT DISTINCT consumer FROM dead_letter")
        parked = await tx.fetch("SELECT consumer, key FROM parked_key")
    assert [row["consumer"] for row in consumers] == [f"{service.group}@{entry.id}"]
    assert len(parked) == 2


async def test_a_dry_run_tells_and_leaves_nothing(service: Service) -> None:
    service.factor = 7
    await service.consume(await sent(service, 2))
    service.factor = 1
    service.fails_on = frozenset({2})
    database = RehearsalDatabase(
        service=service.database.service, dsn=service.database._app_dsn, app_password="test", system_password="test"
    )
    from recovery.replay.rehearsal import rehearse

    findings = await rehearse(service.replayable, await service.plan(), database, registry=service.bench.registry)
    await database.close()
    assert findings.outcomes["handled"] == 5
    assert findings.rows["sum updated"] == 5
    assert findings.rows["outbox inserted"] == 5
    assert findings.failures == {"unclassified": 5}
    assert set((await service.rows()).values()) == {7, 14}
    assert len(await service.outbox()) == 10


async def test_a_group_is_rewound_only_while_it_is_stopped(service: Service) -> None:
    from recovery.replay.topics import rewind

    await service.consume(await sent(service, 2))
    plan = await service.plan(target="rewind")
    assert sum(span.records for span in plan.spans) == 10
    await rewind(service.replayable, plan)
    assert await service.bench.committed(service.group) == 0
    handled = service.handled
    await service.consume(10)
    assert service.handled == handled, "the inbox knows what had effect"


def test_a_replay_gives_way_and_finds_back() -> None:
    async def look() -> Pressure:
        return Pressure()

    throttle = Throttle(100, limits=Limits(lag_records=10), look=look)
    throttle.adapt(Pressure(lag_records=11))
    throttle.adapt(Pressure(lag_records=11))
    assert throttle.share == 0.25
    assert "11 records behind" in throttle.why
    for _ in range(8):
        throttle.adapt(Pressure())
    assert (throttle.share, throttle.why) == (1.0, "")
    assert "database" in Limits().exceeded(Pressure(database_ms=101))
    assert "outbox" in Limits().exceeded(Pressure(outbox_seconds=6))
