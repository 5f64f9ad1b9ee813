"""Shadow runs on real servers: kept apart, compared by key, promoted in one transaction or not at all."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest

from kit.postgres import Database, role_dsn
from kit.testing import eventually
from recovery.replay.alone import alone
from recovery.replay.book import Book
from recovery.replay.plan import Filters, Plan, Refused
from recovery.replay.run import Run
from recovery.replay.settle import discard, promote
from recovery.replay.shadow import Shadow

from .conftest import Service, tenant_of

pytestmark = pytest.mark.real


async def promoted(service: Service, plan: Plan, **arguments: bool) -> dict[str, int]:
    return await promote(service.replayable, plan.id, who="an operator", why="looked at it", **arguments)


async def wrong_then_mended(service: Service) -> None:
    """Three keys handled by a buggy handler, which is mended afterwards."""
    for key in ("a", "b", "c"):
        await service.bench.send(key, 1)
    service.factor = 100
    await service.consume(3)
    service.factor = 1


async def test_a_shadow_run_changes_nothing_live_until_it_is_promoted(service: Service) -> None:
    await wrong_then_mended(service)
    live, told = await service.rows(), await service.outbox()
    plan = await service.plan(target="shadow")
    entry = await service.apply(plan)
    assert entry.state == "done"
    assert (await service.rows(), await service.outbox()) == (live, told)
    shadow = Shadow(service.replayable)
    (diff,) = await shadow.diff(plan)
    assert (diff.table, diff.added, diff.removed, diff.changed, diff.conflicts) == ("sum", 0, 0, 3, 0)
    assert [(c.key["entity"], c.before, c.after) for c in diff.changes] == [
        (key, {"total": 100}, {"total": 1}) for key in ("a", "b", "c")
    ]
    counts = await promoted(service, plan)
    assert (counts["sum changed"], counts["events"]) == (3, 3)
    assert set((await service.rows()).values()) == {1}
    assert sorted((await service.outbox())[3:]) == [(key, plan.id) for key in ("a", "b", "c")]
    with pytest.raises(Refused, match="promoted before"):
        await promoted(service, plan)
    assert await shadow.holder() is None


async def test_a_row_that_live_traffic_changed_too_is_a_conflict_and_nothing_is_promoted(service: Service) -> None:
    await wrong_then_mended(service)
    plan = await service.plan(target="shadow")
    await service.apply(plan)
    async with service.database.transaction(service.bench.tenant) as tx:
        await tx.execute("UPDATE sum SET total = 55 WHERE entity = 'b'")
        await tx.execute("INSERT INTO sum VALUES ($1, 'new', 1, 1)", tx.tenant)
    shadow = Shadow(service.replayable)
    (diff,) = await shadow.diff(plan)
    assert (diff.changed, diff.conflicts, diff.removed) == (3, 1, 0)
    assert [change.key["entity"] for change in diff.changes if change.conflict] == ["b"]
    with pytest.raises(Refused, match="1 rows of sum were changed by live traffic"):
        await promoted(service, plan)
    assert await service.rows() == {("a", 1): 100, ("b", 1): 55, ("c", 1): 100, ("new", 1): 1}
    assert len(await service.outbox()) == 3
    await shadow.discard(plan.id)


async def test_rows_come_and_go_as_the_replay_says(service: Service) -> None:
    await wrong_then_mended(service)
    plan = await service.plan(target="shadow")
    await service.apply(plan)
    shadow = Shadow(service.replayable)
    database = shadow.database()
    async with database.transaction(service.bench.tenant) as tx:
        await tx.execute("DELETE FROM sum WHERE entity = 'a'")
        await tx.execute("INSERT INTO sum VALUES ($1, 'd', 1, 4)", tx.tenant)
    await database.close()
    (diff,) = await shadow.diff(plan)
    assert (diff.added, diff.removed, diff.changed) == (1, 1, 2)
    await promoted(service, plan)
    assert await service.rows() == {("b", 1): 1, ("c", 1): 1, ("d", 1): 4}


async def test_each_tenant_is_promoted_within_its_own_fence(service: Service) -> None:
    other = uuid4()
    await tenant_of(service.bench, other).send("a", 1)
    await wrong_then_mended_with(service, 1)
    plan = await service.plan(target="shadow")
    await service.apply(plan)
    tenants = sorted({service.bench.tenant, other})
    assert plan.tenants == tuple(map(str, tenants))
    shadow = Shadow(service.replayable)
    (diff,) = await shadow.diff(plan)
    assert diff.changed == 4
    await promoted(service, plan)
    async with service.database.transaction(other) as tx:
        assert [tuple(row) for row in await tx.fetch("SELECT entity, total FROM sum")] == [("a", 1)]
    assert set((await service.rows()).values()) == {1}


async def wrong_then_mended_with(service: Service, more: int) -> None:
    for key in ("a", "b", "c"):
        await service.bench.send(key, 1)
    service.factor = 100
    await service.consume(3 + more)
    service.factor = 1


async def test_a_shadow_run_can_write_nowhere_else(service: Service) -> None:
    """The fence is the database's: the role of a shadow run has no right to the live tables."""
    await wrong_then_mended(service)
    plan = await service.plan(target="shadow")
    await service.apply(plan)
    database: Database = Shadow(service.replayable).database()
    for statement in (
        "UPDATE front_desk.sum SET total = 0",
        "DELETE FROM front_desk.sum",
        "INSERT INTO front_desk.outbox (epoch) VALUES (1)",
        "INSERT INTO front_desk.inbox (consumer) VALUES ('x')",
        "CREATE TABLE front_desk.mine (a int)",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.transaction(service.bench.tenant) as tx:
                await tx.execute(statement)
    async with database.transaction(uuid4()) as tx:
        assert await tx.fetchval("SELECT count(*) FROM sum") == 0
    await database.close()
    await Shadow(service.replayable).discard(plan.id)


async def test_one_replay_has_the_shadow_at_a_time_and_a_cancelled_one_lets_go(service: Service) -> None:
    await wrong_then_mended(service)
    first, second = await service.plan(target="shadow"), await service.plan(target="shadow")
    await service.apply(first)
    with pytest.raises(Refused, match=f"{first.id} has the shadow tables"):
        await service.apply(second)
    shadow = Shadow(service.replayable)
    with pytest.raises(Refused, match="is failed; go on with it first"):
        await promoted(service, second)
    await shadow.discard(first.id)
    with pytest.raises(Refused, match="not those of"):
        await promoted(service, first)
    book = Book(service.database)
    await book.want(second.id, "cancel", who="an operator")
    assert (await book.find(second.id)).state == "cancelled"


async def test_failures_of_a_shadow_run_stay_in_the_shadow(service: Service) -> None:
    await wrong_then_mended(service)
    service.fails_on = frozenset({1})
    entry = await service.apply(await service.plan(target="shadow"))
    assert entry.report is not None
    assert entry.report["failed"] == 3
    async with service.database.system() as tx:
        assert await tx.fetchval("SELECT count(*) FROM dead_letter") == 0
    await Shadow(service.replayable).discard(entry.id)


async def test_a_run_with_failures_says_which_and_is_promoted_only_when_that_is_wanted(service: Service) -> None:
    await wrong_then_mended(service)
    await service.bench.send("d", 2)
    await service.bench.send("d", 1)
    service.factor = 100
    await service.consume(5)
    service.factor, service.fails_on = 1, frozenset({2})
    plan = await service.plan(target="shadow")
    await service.apply(plan)
    (letters,) = await Shadow(service.replayable).letters(plan)
    assert (letters.kind, letters.key, letters.reason, letters.letters) == (
        service.bench.event.type, f"{service.bench.tenant}:d", "unclassified", 2
    )  # fmt: skip
    assert "ValueError" in letters.message
    with pytest.raises(Refused, match=r"2 records could not be handled.*--with-failures"):
        await promoted(service, plan)
    assert set((await service.rows()).values()) == {100, 200}
    await promoted(service, plan, with_failures=True)
    assert await service.rows() == {("a", 1): 1, ("b", 1): 1, ("c", 1): 1, ("d", 1): 100, ("d", 2): 200}
    last = (await Book(service.database).history(plan.id))[-1]
    assert (last["action"], json.loads(last["detail"])["not_handled"]) == ("promote", 2)


async def waits_for_a_row(service: Service) -> bool:
    async with service.database.system() as tx:
        waiting = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
        return bool(await tx.fetchval(waiting))


async def held_up(service: Service, promotion: asyncio.Task[None]) -> None:
    """Until the promotion waits for a row. One that failed before is not waited for; it says why."""

    async def waits() -> bool:
        return promotion.done() or await waits_for_a_row(service)

    await eventually(waits)
    if promotion.done():
        await promotion
        raise AssertionError("it waited for nobody")


async def test_a_live_write_that_commits_while_a_promotion_compares_is_not_lost(service: Service) -> None:
    """The promotion meets the row of a transaction that is not over: it waits, and then finds a conflict."""
    await wrong_then_mended(service)
    plan = await service.plan(target="shadow")
    await service.apply(plan)
    async with service.database.transaction(service.bench.tenant) as tx:
        await tx.execute("UPDATE sum SET total = 55 WHERE entity = 'b'")
        promotion = asyncio.create_task(promoted(service, plan))
        await held_up(service, promotion)
    with pytest.raises(Refused, match="1 rows of sum were changed by live traffic"):
        await promotion
    assert await service.rows() == {("a", 1): 100, ("b", 1): 55, ("c", 1): 100}
    assert (await Book(service.database).find(plan.id)).state == "done"
    await Shadow(service.replayable).discard(plan.id)


async def test_a_live_row_that_comes_while_a_promotion_adds_it_is_told_as_what_it_is(service: Service) -> None:
    await wrong_then_mended(service)
    plan = await service.plan(target="shadow")
    await service.apply(plan)
    database = Shadow(service.replayable).database()
    async with database.transaction(service.bench.tenant) as tx:
        await tx.execute("INSERT INTO sum VALUES ($1, 'd', 1, 4)", tx.tenant)
    await database.close()
    async with service.database.transaction(service.bench.tenant) as tx:
        await tx.execute("INSERT INTO sum VALUES ($1, 'd', 1, 5)", tx.tenant)
        promotion = asyncio.create_task(promoted(service, plan))
        await held_up(service, promotion)
    with pytest.raises(Refused, match=r"stands in the way \(sum_pkey\); nothing was promoted"):
        await promotion
    assert (await service.rows())["d", 1] == 5
    assert set((await service.rows()).values()) == {100, 5}
    await Shadow(service.replayable).discard(plan.id)


async def test_a_promotion_and_what_is_said_of_it_are_one(service: Service) -> None:
    await wrong_then_mended(service)
    plan = await service.plan(target="shadow")
    await service.apply(plan)
    book = Book(service.database)
    owner = await asyncpg.connect(role_dsn(service.replayable.postgres_dsn, "front_desk_owner", "test"))
    await owner.execute("ALTER TABLE replay_audit ADD CONSTRAINT none CHECK (action <> 'promote')")
    with pytest.raises(asyncpg.CheckViolationError):
        await promoted(service, plan)
    assert set((await service.rows()).values()) == {100}
    assert (await book.find(plan.id)).state == "done"
    await owner.execute("ALTER TABLE replay_audit DROP CONSTRAINT none")
    await owner.close()
    await promoted(service, plan)
    assert set((await service.rows()).values()) == {1}
    assert (await book.find(plan.id)).state == "promoted"
    last = (await book.history(plan.id))[-1]
    assert (last["action"], last["who"], last["why"]) == ("promote", "an operator", "looked at it")


async def test_a_plan_without_records_has_nothing_to_promote(service: Service) -> None:
    await wrong_then_mended(service)
    plan = await service.plan(target="shadow", filters=Filters(keys=("none",)))
    await Book(service.database).open(plan, who="tester", why="to see")
    await service.run(plan.id)
    with pytest.raises(Refused, match="has no records; there is nothing to promote"):
        await promoted(service, plan)
    await discard(service.replayable, plan.id, who="an operator")


async def test_when_a_row_was_written_is_when_it_was_promoted_if_the_replay_touched_it(service: Service) -> None:
    """A column such as the board's ``changed`` says who has to look again; a birthday stays what it was."""
    await wrong_then_mended(service)
    owner = await asyncpg.connect(role_dsn(service.replayable.postgres_dsn, "front_desk_owner", "test"))
    await owner.execute("ALTER TABLE sum ADD COLUMN known_since timestamptz NOT NULL DEFAULT now()")
    await owner.execute("CREATE FUNCTION this_change() RETURNS bigint LANGUAGE sql VOLATILE AS "
                        "$$ SELECT pg_current_xact_id()::text::bigint $$")  # fmt: skip
    await owner.execute("ALTER TABLE sum ADD COLUMN changed bigint NOT NULL DEFAULT this_change()")
    await owner.close()
    columns = "SELECT entity, known_since, updated_at, changed FROM sum ORDER BY entity"
    async with service.database.transaction(service.bench.tenant) as tx:
        before = {row["entity"]: row for row in await tx.fetch(columns)}
    plan = await service.plan(target="shadow", filters=Filters(keys=("a", "b")))
    await service.apply(plan)
    shadow = Shadow(service.replayable)
    database = shadow.database()
    async with database.transaction(service.bench.tenant) as tx:
        await tx.execute("UPDATE sum SET changed = front_desk.this_change()")
        await tx.execute("INSERT INTO sum (tenant_id, entity, number, total) VALUES ($1, 'd', 1, 4)", tx.tenant)
    await database.close()
    (diff,) = await shadow.diff(plan)
    assert (diff.added, diff.changed, diff.unchanged) == (1, 2, 1)
    assert all(set(change.after) == {"total"} for change in diff.changes)
    async with service.database.transaction(service.bench.tenant) as tx:
        promoted_after = await tx.fetchval("SELECT pg_current_xact_id()::text::bigint")
    await promoted(service, plan)
    async with service.database.transaction(service.bench.tenant) as tx:
        after = {row["entity"]: row for row in await tx.fetch(columns)}
    assert after["c"] == before["c"]
    for entity in ("a", "b"):
        assert after[entity]["known_since"] == before[entity]["known_since"]
        assert after[entity]["updated_at"] > before[entity]["updated_at"]
    assert len({after[entity]["changed"] for entity in "abd"}) == 1
    assert after["d"]["changed"] > promoted_after


async def test_a_service_without_shadow_tables_says_so(service: Service) -> None:
    await wrong_then_mended(service)
    service.replayable = replace(service.replayable, shadow_tables=())
    with pytest.raises(Refused, match="names no tables for a shadow run"):
        await service.apply(await service.plan(target="shadow"))


async def begun_and_paused(service: Service) -> Plan:
    """A shadow run that has handled a part of its records and stands still."""
    for number in range(40):
        await service.bench.send(f"e{number % 5}", number)
    service.factor = 100
    await service.consume(40)
    service.factor = 1
    plan = await service.plan(target="shadow", rate=20)
    run = Run(service.replayable, registry=service.bench.registry, report=lambda _: run.stop.set())
    await Book(service.database).open(plan, who="tester", why="to see")
    entry = await run.run(plan.id)
    assert (entry.state, 0 < entry.seen < 40) == ("paused", True)
    return plan


async def test_a_discarded_run_is_over_and_its_rest_is_never_promoted_as_the_whole(service: Service) -> None:
    first = await begun_and_paused(service)
    second = await service.plan(target="shadow")
    with pytest.raises(Refused, match="promote it or discard it first"):
        await service.apply(second)
    await discard(service.replayable, first.id, who="an operator", why="in the way")
    book = Book(service.database)
    assert (await book.find(first.id)).state == "cancelled"
    assert [row["action"] for row in await book.history(first.id)] == ["apply", "discard"]
    assert (await service.run(second.id)).state == "done"
    with pytest.raises(Refused, match="cancelled"):
        await service.run(first.id)
    await discard(service.replayable, second.id, who="an operator")
    with pytest.raises(Refused, match="is cancelled and has no shadow tables"):
        await discard(service.replayable, second.id, who="an operator")


async def test_a_run_whose_copies_are_gone_is_not_gone_on_with(service: Service) -> None:
    plan = await begun_and_paused(service)
    await Shadow(service.replayable).discard(plan.id)
    with pytest.raises(Refused, match="its shadow tables are gone"):
        await service.run(plan.id)
    assert await Shadow(service.replayable).holder() is None
    await discard(service.replayable, plan.id, who="an operator")
    assert (await Book(service.database).find(plan.id)).state == "cancelled"


async def test_a_run_that_is_running_is_not_discarded(service: Service) -> None:
    plan = await begun_and_paused(service)
    async with alone(service.database, plan.id):
        with pytest.raises(Refused, match="running in another process"):
            await discard(service.replayable, plan.id, who="an operator")
    assert await Shadow(service.replayable).holder() == plan.id
    assert (await service.run(plan.id)).state == "done"
    await discard(service.replayable, plan.id, who="an operator")


# Reading one tenant's rows waits for a lock, as it would on a slow disk.
SLOW_FOR_ONE_TENANT = """
CREATE FUNCTION gate(uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF $1 = '{tenant}' THEN PERFORM pg_advisory_xact_lock_shared(4711); END IF;
    RETURN true;
END $$;
CREATE POLICY gate ON sum AS RESTRICTIVE FOR SELECT TO front_desk_ro USING (gate(tenant_id))
"""
MAKES_COPIES = """
import asyncio, sys
from recovery.replay.plan import Plan, Replayable, ShadowTable
from recovery.replay.shadow import Shadow

given = Replayable(
    service="front-desk", kafka_bootstrap="", postgres_dsn=sys.argv[1], database=None, consumers={},
    passwords=dict.fromkeys(("owner", "app", "system", "ro"), "test"), shadow_tables=[ShadowTable(name="sum")],
)
asyncio.run(Shadow(given).make(Plan.from_json(sys.argv[2])))
"""


async def test_copies_whose_filling_was_killed_are_made_again(service: Service) -> None:
    """kill -9 between two tenants: half of a copy would say that the replay added what was there before."""
    other = uuid4()
    await tenant_of(service.bench, other).send("a", 1)
    await wrong_then_mended_with(service, 1)
    plan = await service.plan(target="shadow")
    last = plan.tenants[-1]
    owner = await asyncpg.connect(role_dsn(service.replayable.postgres_dsn, "front_desk_owner", "test"))
    await owner.execute(SLOW_FOR_ONE_TENANT.format(tenant=last))
    await owner.execute("SELECT pg_advisory_lock(4711)")
    filling = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MAKES_COPIES, service.replayable.postgres_dsn, plan.to_json()
    )

    async def half_filled() -> bool:
        waits = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted"
        return bool(await owner.fetchval(waits))

    await eventually(half_filled)
    filling.kill()
    await filling.wait()
    await owner.execute("SELECT pg_advisory_unlock(4711)")
    await owner.close()
    shadow = Shadow(service.replayable)
    assert await shadow.holder() == plan.id
    assert (await service.apply(plan)).state == "done"
    (diff,) = await shadow.diff(plan)
    assert (diff.added, diff.removed, diff.changed, diff.conflicts) == (0, 0, 4, 0)
    await shadow.discard(plan.id)
