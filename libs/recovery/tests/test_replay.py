"""Replays on a real broker and a real database: planned, run, killed, gone on with."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from contracts.topics import Topic
from kit import handling
from kit.handling import Halted
from kit.testing import eventually
from recovery.replay import settle
from recovery.replay.book import Book
from recovery.replay.pace import Progress
from recovery.replay.plan import Filters, Plan, Refused
from recovery.replay.rehearsal import RehearsalDatabase, rehearse
from recovery.replay.run import Run, pressure_on
from recovery.replay.throttle import Limits, Pressure, Throttle
from recovery.replay.topics import LogReader, rewind_group

from .conftest import KEYS, Service, copy_of, sent, tenant_of, with_class

pytestmark = pytest.mark.real


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
    # Whether a key is in a sample is a matter of its hash, and the tenant is part of the key.
    service.bench, other = tenant_of(service.bench, UUID(int=7)), uuid4()
    await sent(service, 3)
    await tenant_of(service.bench, other).send("e0", 1)
    await service.consume(16)
    assert (await service.plan(filters=Filters(tenants=(str(other),)))).records == 1
    assert (await service.plan(filters=Filters(keys=("e1", "e2")))).records == 6
    share = Filters(tenants=(str(service.bench.tenant),), sample=0.5)
    assert [(plan.records, plan.keys) for plan in [await service.plan(filters=share) for _ in range(2)]] == [(6, 2)] * 2


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


async def begun(service: Service, plan: Plan) -> None:
    async def counted() -> bool:
        async with service.database.system() as tx:
            return bool(await tx.fetchval("SELECT counts::text <> '{}' FROM replay WHERE id = $1", plan.id))

    await eventually(counted)


async def test_only_one_process_runs_a_replay_and_an_operator_is_heard(service: Service) -> None:
    await service.consume(await sent(service, 30))
    plan = await service.plan(rate=40)
    book = Book(service.database)
    running = asyncio.create_task(service.apply(plan))
    await begun(service, plan)
    with pytest.raises(Refused, match="running in another process"):
        await service.resume(plan.id)
    assert (await book.find(plan.id)).held
    await book.want(plan.id, "pause", who="an operator", why="peak hour")
    assert (await running).state == "paused"
    await book.want(plan.id, "cancel", who="an operator", why="not needed")
    assert (await book.find(plan.id)).state == "cancelled"
    with pytest.raises(Refused, match="cancelled"):
        await service.resume(plan.id)
    told = [(row["action"], row["who"]) for row in await book.history(plan.id)]
    assert [action for action, _ in told] == ["apply", "pause", "cancel"]


async def test_a_paused_replay_is_resumed_to_its_end(service: Service) -> None:
    await service.consume(await sent(service, 30))
    plan = await service.plan(rate=100)
    book = Book(service.database)
    running = asyncio.create_task(service.apply(plan))
    await begun(service, plan)
    await book.want(plan.id, "pause", who="an operator", why="peak hour")
    paused = await running
    assert (paused.state, paused.seen < 150) == ("paused", True)
    entry = await service.resume(plan.id)
    assert (entry.state, entry.seen, entry.counts["handled"]) == ("done", 150, 150)
    told = [(row["action"], row["who"]) for row in await book.history(plan.id)]
    assert told == [("apply", "tester"), ("pause", "an operator"), ("resume", "tester")]


async def test_a_pause_is_heard_while_the_next_records_are_waited_for(service: Service) -> None:
    """At this rate they are due only in some minutes."""
    await service.consume(await sent(service, 2))
    plan = await service.plan(rate=0.01)
    running = asyncio.create_task(service.apply(plan))
    await begun(service, plan)
    await Book(service.database).want(plan.id, "pause", who="an operator")
    async with asyncio.timeout(60):
        assert (await running).state == "paused"


async def test_a_replay_whose_process_is_gone_says_so_and_is_cancelled_at_once(service: Service) -> None:
    await service.consume(await sent(service, 2))
    plan, book = await service.plan(), Book(service.database)
    await book.open(plan, who="tester", why="to see")
    dead = await book.find(plan.id)
    assert (dead.state, dead.held, dead.stopped, dead.eta_seconds) == ("running", False, True, None)
    assert [each.stopped for each in await book.all()] == [True]
    assert (await book.want(plan.id, "cancel", who="an operator", why="its machine is gone")).state == "cancelled"
    other = await service.plan()
    await book.open(other, who="tester", why="to see")
    assert (await book.want(other.id, "pause", who="an operator")).state == "paused"
    assert (await service.resume(other.id)).state == "done"


async def test_a_replay_gives_way_while_live_consumers_are_behind(service: Service) -> None:
    await service.consume(await sent(service, 30))
    plan = await service.plan(rate=40)
    await sent(service, 8)
    seen: list[Progress] = []
    # Nobody publishes here, so the outbox only grows old.
    limits, book = Limits(lag_records=10, outbox_seconds=1e6), Book(service.database)
    running = asyncio.create_task(service.apply(plan, limits=limits, report=seen.append))

    async def slow() -> bool:
        return bool(seen) and seen[-1].allowed <= plan.rate / 16

    await eventually(slow)
    assert "40 records behind" in seen[-1].waiting_for
    assert seen[-1].seen < plan.records

    async def told() -> bool:
        return "behind" in (await book.find(plan.id)).waiting_for

    await eventually(told)
    held = await book.find(plan.id)
    assert held.held
    assert held.eta_seconds is None or held.eta_seconds > 0
    await service.consume(190)
    assert (await running).state == "done"
    assert (seen[-1].waiting_for, seen[-1].seen) == ("", 150)


async def test_a_replay_gives_way_to_those_who_read_what_it_makes_the_service_tell(service: Service) -> None:
    """Another service's group, behind on a topic of which the replayed service is the producer."""
    await service.consume(await sent(service, 2))
    other = replace(service.bench, topic=service.bench.topic)
    topic = Topic(
        name=other.topic, key="", partitions=3, producers=("front-desk",), consumers=("listener",), carries="numbers"
    )
    live, book = copy_of(service.database), Book(service.database)
    async with LogReader(service.bench.bootstrap) as reader:
        partitions = await reader.partitions([other.topic])
        await rewind_group(service.bench.bootstrap, "listener.board", dict.fromkeys(partitions, 0))
        alone = await pressure_on(service.replayable, reader, live)()
        heard = await pressure_on(service.replayable, reader, live, heard=[topic])()
    await live.close()
    assert (alone.lag_records, heard.lag_records) == (0, 10)
    run = Run(service.replayable, topics={other.topic: topic})
    plan = await service.plan()
    assert run._heard(plan) == [topic]
    assert run._heard(replace(plan, target="shadow")) == []
    assert await book.all() == []


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


async def test_what_failed_is_tried_again_in_order_when_the_replay_is_resumed(service: Service) -> None:
    await service.consume(await sent(service, 3))
    service.fails_on = frozenset({2})
    entry = await service.apply(await service.plan(filters=Filters(keys=("e0", "e1"))))
    assert (entry.state, entry.failed) == ("done", 4)
    again = await service.resume(entry.id)
    assert (again.counts["parked"], again.counts["parked_behind"]) == (2, 2)
    service.fails_on = frozenset()
    mended = await service.resume(entry.id)
    assert (mended.state, mended.failed, mended.counts["handled"], mended.counts["retried"]) == ("done", 0, 6, 4)
    async with service.database.system() as tx:
        assert await tx.fetchval("SELECT count(*) FROM dead_letter") == 0
        assert await tx.fetchval("SELECT count(*) FROM parked_key") == 0
        told = await tx.fetch(
            "SELECT subject, payload::jsonb ->> 'number' AS n FROM outbox WHERE replayid = $1 ORDER BY epoch, xid, seq",
            entry.id,
        )
        audited = await tx.fetch("SELECT action, count(*) AS n FROM dead_letter_audit GROUP BY action ORDER BY action")
    for key in ("e0", "e1"):
        assert [int(row["n"]) for row in told if row["subject"] == key] == [1, 2, 3]
    assert {row["action"]: row["n"] for row in audited} == {"failed_again": 2, "retried": 4}
    with pytest.raises(Refused, match="nothing of it failed"):
        await service.resume(entry.id)


async def test_what_failed_in_a_shadow_run_is_tried_again_in_the_shadow(service: Service) -> None:
    service.factor = 10
    await service.consume(await sent(service, 3))
    service.factor, service.fails_on = 1, frozenset({2})
    entry = await service.apply(await service.plan(target="shadow"))
    assert (entry.state, entry.failed) == ("done", 10)
    service.fails_on = frozenset()
    assert (await service.resume(entry.id)).failed == 0
    assert set((await service.rows()).values()) == {10, 20, 30}
    await settle.promote(service.replayable, entry.id, who="tester", why="looked at it")
    assert set((await service.rows()).values()) == {1, 2, 3}


async def test_a_halted_replay_goes_on_after_the_handler_was_mended(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One key fails on every record: the first stops it, what halts the run is the number of keys."""
    monkeypatch.setattr(handling, "FIRST_PAUSE_SECONDS", 0.001)  # every failing record is tried several times
    for number in range(30):
        await service.bench.send(f"k{number}", 1)
        await service.bench.send(f"k{number}", 2)
    await service.consume(60)
    service.fails_on = frozenset({1})
    plan = await service.plan()
    with pytest.raises(Halted, match="in a row"):
        await service.apply(plan)
    book = Book(service.database)
    assert (await book.find(plan.id)).state == "failed"
    with pytest.raises(Halted):
        await service.resume(plan.id)
    service.fails_on = frozenset()
    entry = await service.resume(plan.id)
    assert (entry.state, entry.failed) == ("done", 0)
    async with service.database.system() as tx:
        told = await tx.fetch(
            "SELECT subject, payload::jsonb ->> 'number' AS n FROM outbox WHERE replayid = $1 ORDER BY epoch, xid, seq",
            plan.id,
        )
    assert len(told) == 60, "each once"
    for number in range(30):
        assert [int(row["n"]) for row in told if row["subject"] == f"k{number}"] == [1, 2]


async def test_a_key_whose_letters_were_dropped_goes_on(service: Service) -> None:
    await service.consume(await sent(service, 3))
    service.fails_on = frozenset({2})
    entry = await service.apply(await service.plan(filters=Filters(keys=("e0",))))
    async with service.database.system() as tx:
        await tx.execute("UPDATE dead_letter SET state = 'dropped' WHERE NOT parked_behind")
    resumed = await service.resume(entry.id)
    assert (resumed.failed, resumed.counts["handled"], resumed.counts["retried"]) == (0, 2, 1)
    async with service.database.system() as tx:
        assert await tx.fetchval("SELECT count(*) FROM parked_key") == 0


async def test_a_cancelled_replay_leaves_no_letter_that_waits_and_no_key_parked(service: Service) -> None:
    await service.consume(await sent(service, 10))
    service.fails_on = frozenset({2})
    plan, book = await service.plan(rate=5), Book(service.database)
    running = asyncio.create_task(service.apply(plan))
    await begun(service, plan)

    async def parked() -> bool:
        return bool((await book.find(plan.id)).failed)

    await eventually(parked)
    await book.want(plan.id, "cancel", who="an operator", why="a wrong plan")
    assert (await running).state == "cancelled"
    async with service.database.system() as tx:
        assert await tx.fetchval("SELECT count(*) FROM dead_letter WHERE state = 'dropped'") > 0
        assert await tx.fetchval("SELECT count(*) FROM dead_letter WHERE state <> 'dropped'") == 0
        assert await tx.fetchval("SELECT count(*) FROM parked_key") == 0


async def test_a_dry_run_tells_and_leaves_nothing(service: Service) -> None:
    service.factor = 7
    await service.consume(await sent(service, 2))
    service.factor = 1
    service.fails_on = frozenset({2})
    database = RehearsalDatabase(
        service=service.database.service, dsn=service.database._app_dsn, app_password="test", system_password="test"
    )
    findings = await rehearse(service.replayable, await service.plan(), database, registry=service.bench.registry)
    await database.close()
    assert findings.outcomes["handled"] == 5
    assert findings.rows["sum updated"] == 5
    assert findings.rows["outbox inserted"] == 5
    assert findings.failures == {"unclassified": 5}
    assert set((await service.rows()).values()) == {7, 14}
    assert len(await service.outbox()) == 10


async def test_a_dry_run_waits_for_no_key_that_live_traffic_holds(service: Service) -> None:
    await service.consume(await sent(service, 1))
    plan = await service.plan()
    database = RehearsalDatabase(
        service=service.database.service, dsn=service.database._app_dsn, app_password="test", system_password="test"
    )
    async with service.database.transaction(service.bench.tenant, emits=KEYS), asyncio.timeout(60):
        findings = await rehearse(service.replayable, plan, database, registry=service.bench.registry)
    await database.close()
    assert findings.outcomes["handled"] == 5


async def test_a_dry_run_gives_way_too(service: Service) -> None:
    await service.consume(await sent(service, 4))
    plan, seen = await service.plan(rate=8), list[Progress]()
    await sent(service, 1)
    database = RehearsalDatabase(
        service=service.database.service, dsn=service.database._app_dsn, app_password="test", system_password="test"
    )
    limits = Limits(lag_records=1, outbox_seconds=1e6)
    running = asyncio.create_task(
        rehearse(service.replayable, plan, database, registry=service.bench.registry, limits=limits, report=seen.append)
    )

    async def slow() -> bool:
        return bool(seen) and seen[-1].allowed <= 2 and "5 records behind" in seen[-1].waiting_for

    await eventually(slow)
    assert seen[-1].seen < 20
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await database.close()


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
