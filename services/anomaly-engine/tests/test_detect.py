"""At most one anomaly per tenant, rule and local day, whoever evaluates how often; failures are visible."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from anomaly_engine import store
from anomaly_engine.detect import Detector
from anomaly_engine.findings import State, Tenant, event_id
from anomaly_engine.rules import Rule
from anomaly_engine.store import RuleReader
from contracts.anomalies import AnomalyFiredV1
from kit.postgres import Database

from .conftest import AS_OF, AddTenant, a_rule

pytestmark = pytest.mark.real

STUCK = a_rule("SELECT call_id, began_at FROM call WHERE began_at < :as_of ORDER BY call_id", name="stuck")
BROKEN = a_rule("SELECT 1/0 AS call_id FROM call WHERE began_at < :as_of", name="broken")


def a_detector(database: Database, reader: RuleReader, *rules: Rule, **options: Any) -> Detector:
    now = options.pop("now", lambda: AS_OF)
    return Detector(database=database, reader=reader, rules={r.id: r for r in rules or (STUCK,)}, now=now, **options)


async def outbox(database: Database) -> list[Any]:
    async with database.system() as tx:
        return await tx.fetch("SELECT * FROM outbox ORDER BY epoch, xid, seq")


async def runs(database: Database, tenant: UUID) -> list[Any]:
    async with database.transaction(tenant) as tx:
        return await tx.fetch("SELECT * FROM rule_run ORDER BY ran_at")


async def states(database: Database, tenant: UUID) -> dict[str, str]:
    async with database.transaction(tenant) as tx:
        return {rule: state.state.value for rule, state in (await store.rule_states(tx)).items()}


async def test_a_red_rule_is_told_once_with_its_evidence(
    database: Database, reader: RuleReader, add_tenant: AddTenant, tenant: UUID
) -> None:
    known = await add_tenant(tenant, calls=25)
    detector = a_detector(database, reader)
    first = await detector.detect(known, STUCK, as_of=AS_OF)
    second = await detector.detect(known, STUCK, as_of=AS_OF + timedelta(hours=1))
    assert first is not None
    assert second is not None
    assert (first.fired, second.fired) == (True, False)
    [row] = await outbox(database)
    event = AnomalyFiredV1.model_validate_json(row["payload"])
    assert (row["aggregatetype"], row["aggregateid"]) == ("anomaly.fired", f"{tenant}:stuck")
    assert row["id"] == event_id(tenant, "stuck", first.day)
    assert (event.evidence_total, len(event.evidence), event.local_day) == (25, 20, "2026-03-02")
    assert event.evidence[0] == {"call_id": "c000", "began_at": "2026-03-02T09:00:00.000000Z"}
    assert (event.title, event.learning, event.severity) == ("A title", "A learning.", "warning")
    kept = await runs(database, tenant)
    assert [run["state"] for run in kept] == ["firing", "firing"]
    assert kept[0]["row_hash"] == kept[1]["row_hash"]
    assert len(json.loads(kept[0]["evidence"])) == 20


async def test_the_next_local_day_is_told_anew(
    database: Database, reader: RuleReader, add_tenant: AddTenant, tenant: UUID
) -> None:
    known = await add_tenant(tenant, calls=1)
    detector = a_detector(database, reader)
    just_before_midnight = datetime(2026, 3, 2, 18, 29, tzinfo=UTC)
    for minutes in range(3):
        await detector.detect(known, STUCK, as_of=just_before_midnight + timedelta(minutes=minutes))
    days = [AnomalyFiredV1.model_validate_json(row["payload"]).local_day for row in await outbox(database)]
    assert days == ["2026-03-02", "2026-03-03"]


async def test_two_replicas_at_once_tell_it_once(database: Database, reader: RuleReader, add_tenant: AddTenant) -> None:
    tenants = [await add_tenant(uuid4(), calls=1) for _ in range(4)]
    rules = [a_rule(STUCK.sql.replace("CAST($1 AS TIMESTAMPTZ)", ":as_of"), name=f"rule_{n}") for n in range(3)]
    replicas = [a_detector(database, reader, *rules) for _ in range(3)]
    await asyncio.gather(*(replica.run() for replica in replicas for _ in range(2)))
    rows = await outbox(database)
    assert len(rows) == len({row["id"] for row in rows}) == len(tenants) * len(rules)


async def test_even_without_taking_turns_a_day_has_one_anomaly(
    database: Database, reader: RuleReader, add_tenant: AddTenant, tenant: UUID
) -> None:
    known = await add_tenant(tenant, calls=1)
    finding = await a_detector(database, reader).detect(known, STUCK, as_of=AS_OF)
    assert finding is not None
    from anomaly_engine.detect import _anomaly

    event = _anomaly(known, STUCK, finding.evaluation, as_of=AS_OF, day=finding.day)
    async with database.transaction(tenant) as tx:
        assert await store.add_anomaly(tx, event, run_id=uuid4()) is False


async def test_a_replica_does_not_repeat_what_another_has_just_done(
    database: Database, reader: RuleReader, add_tenant: AddTenant, tenant: UUID
) -> None:
    known = await add_tenant(tenant)
    detector = a_detector(database, reader, interval=timedelta(seconds=60))
    assert await detector.detect(known, STUCK, as_of=AS_OF) is not None
    assert await detector.detect(known, STUCK, as_of=AS_OF + timedelta(seconds=5)) is None
    assert await detector.detect(known, STUCK, as_of=AS_OF + timedelta(seconds=5), again=True) is not None
    assert await detector.detect(known, STUCK, as_of=AS_OF + timedelta(seconds=60)) is not None
    assert len(await runs(database, tenant)) == 3


async def test_a_broken_rule_is_an_error_and_stops_no_other(
    database: Database, reader: RuleReader, add_tenant: AddTenant, tenant: UUID
) -> None:
    await add_tenant(tenant, calls=1)
    await a_detector(database, reader, BROKEN, STUCK).run()
    assert await states(database, tenant) == {"broken": "error", "stuck": "firing"}
    [row] = await outbox(database)
    assert row["aggregateid"] == f"{tenant}:stuck"
    async with database.transaction(tenant) as tx:
        state = await store.rule_state(tx, "broken")
    assert state is not None
    assert (state.state, state.error) == (State.ERROR, "the query failed: DivisionByZero (22012)")


async def test_a_rule_goes_back_to_ok(
    database: Database, reader: RuleReader, add_tenant: AddTenant, tenant: UUID
) -> None:
    known = await add_tenant(tenant, calls=1)
    detector = a_detector(database, reader)
    await detector.detect(known, STUCK, as_of=AS_OF)
    async with database.transaction(tenant) as tx:
        await tx.execute("DELETE FROM call")
    await detector.detect(known, STUCK, as_of=AS_OF + timedelta(minutes=1))
    assert await states(database, tenant) == {"stuck": "ok"}
    assert len(await outbox(database)) == 1


async def test_only_active_tenants_are_looked_at(database: Database, reader: RuleReader, add_tenant: AddTenant) -> None:
    await add_tenant(uuid4(), calls=1, active=False)
    known = await add_tenant(uuid4(), calls=1)
    await a_detector(database, reader).run()
    assert [row["tenant_id"] for row in await outbox(database)] == [known.id]


async def test_a_dry_run_leaves_nothing(
    database: Database, reader: RuleReader, add_tenant: AddTenant, tenant: UUID
) -> None:
    known = await add_tenant(tenant, calls=1)
    finding = await a_detector(database, reader).dry_run(known, STUCK, as_of=AS_OF)
    assert finding.evaluation.total == 1
    assert await outbox(database) == []
    assert await runs(database, tenant) == []


async def test_an_older_question_does_not_change_what_a_rule_says_now(
    database: Database, reader: RuleReader, add_tenant: AddTenant, tenant: UUID
) -> None:
    known = await add_tenant(tenant, calls=1)
    detector = a_detector(database, reader)
    await detector.detect(known, STUCK, as_of=AS_OF)
    await detector.detect(known, STUCK, as_of=AS_OF - timedelta(days=1), again=True)
    assert await states(database, tenant) == {"stuck": "firing"}


async def test_nothing_is_told_when_the_event_cannot_be_kept(
    database: Database, reader: RuleReader, add_tenant: AddTenant, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: Tenant = await add_tenant(tenant, calls=1)

    async def refuses(*_: object, **__: object) -> str:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr("kit.outbox.append", refuses)
        with pytest.raises(ConnectionError):
            await a_detector(database, reader).detect(known, STUCK, as_of=AS_OF)
    async with database.transaction(tenant) as tx:
        assert await store.anomalies(tx, day=None, limit=10) == []
    finding = await a_detector(database, reader).detect(known, STUCK, as_of=AS_OF)
    assert finding is not None
    assert finding.fired


async def test_runs_are_forgotten_after_their_days(
    database: Database, reader: RuleReader, add_tenant: AddTenant, tenant: UUID
) -> None:
    known = await add_tenant(tenant)
    await a_detector(database, reader).detect(known, STUCK, as_of=AS_OF)
    await store.forget_runs(database, keep_days=1)
    assert len(await runs(database, tenant)) == 1
    await store.forget_runs(database, keep_days=0)
    assert await runs(database, tenant) == []
