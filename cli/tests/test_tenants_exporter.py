"""The tenants exporter: every event counted once for its tenant, and never more series than were asked for."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from prometheus_client.registry import CollectorRegistry

from kit.postgres import schema_of
from kit.testing import MakeDatabase
from trunkline.observe.tenants import Outbox, Tenants

SERVICE, PACKAGE = "brain-distiller", "brain_distiller"


def value(tenants: Tenants, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(tenants)
    found: float | None = registry.get_sample_value(name, labels)
    return found


def events(tenants: Tenants, tenant: object, topic: str = "fact.extracted") -> float | None:
    return value(tenants, "trunkline_tenant_events_total", tenant=str(tenant), topic=topic)


def test_only_the_busiest_are_shown_and_all_are_counted() -> None:
    tenants = Tenants(top=2)
    for number, tenant in enumerate(("a", "b", "c")):
        tenants.happened(tenant, "fact.extracted", 10 * (number + 1))

    assert tenants.shown() == {"b", "c"}
    assert events(tenants, "c") == 30
    assert events(tenants, "a") is None
    assert value(tenants, "trunkline_tenants_seen") == 3
    assert value(tenants, "trunkline_tenants_shown") == 2


def test_a_counter_that_comes_back_has_not_fallen() -> None:
    tenants = Tenants(top=1)
    tenants.happened("a", "fact.extracted", 10)
    tenants.happened("b", "fact.extracted", 20)
    assert events(tenants, "a") is None
    for _ in range(100):
        tenants.fade()
    tenants.happened("a", "fact.extracted", 10)
    assert events(tenants, "a") == 20
    assert events(tenants, "b") is None


def test_whoever_has_something_stuck_comes_first() -> None:
    tenants = Tenants(top=1)
    tenants.happened("busy", "fact.extracted", 1000)
    tenants.stuck(SERVICE, {"stuck": (3, 2)})
    assert tenants.shown() == {"stuck"}
    assert value(tenants, "trunkline_tenant_dead_letters_waiting", tenant="stuck", service=SERVICE) == 3
    assert value(tenants, "trunkline_tenant_parked_keys", tenant="stuck", service=SERVICE) == 2
    tenants.stuck(SERVICE, {})
    assert tenants.shown() == {"busy"}
    assert value(tenants, "trunkline_tenant_dead_letters_waiting", tenant="busy", service=SERVICE) == 0


async def told(connection: Any, schema: str, tenant: UUID, *, times: int = 1) -> None:
    await connection.execute(f"SET search_path TO {schema}")
    await connection.execute("SELECT set_config('app.tenant', $1, false)", str(tenant))
    for _ in range(times):
        await connection.execute(
            "INSERT INTO outbox "
            "(epoch, id, tenant_id, aggregatetype, aggregateid, type, payload, subject, occurred_at) "
            "VALUES (current_epoch(), gen_random_uuid(), $1, 'fact.extracted', 'k', 'made.v1', '{}', 's', now())",
            tenant,
        )


@pytest.mark.real
async def test_every_event_is_counted_once_also_beside_an_open_transaction(make_database: MakeDatabase) -> None:
    database = await make_database(service=SERVICE, package=PACKAGE)
    schema, one, other = schema_of(SERVICE), uuid4(), uuid4()
    tenants = Tenants(top=10)
    outbox = Outbox(service=SERVICE, dsn=database._system_dsn, tenants=tenants)
    writers = [await asyncpg.connect(database._app_dsn) for _ in range(2)]
    try:
        await told(writers[0], schema, one)
        await outbox.look()
        assert events(tenants, one) is None, "what was before the start is not counted"

        slow = writers[1].transaction()
        await slow.start()
        await told(writers[1], schema, one)
        await told(writers[0], schema, other, times=2)
        for _ in range(2):
            await outbox.look()
        # Later in commit, earlier in order: had the others been counted past it, it would be left out.
        assert events(tenants, other) is None
        await slow.commit()
        for _ in range(2):
            await outbox.look()
        assert (events(tenants, one), events(tenants, other)) == (1, 2)

        await told(writers[0], schema, other)
        await outbox.look()
        assert (events(tenants, one), events(tenants, other)) == (1, 3)
    finally:
        for connection in (outbox, *writers):
            await connection.close()


@pytest.mark.real
async def test_it_can_read_and_never_write(make_database: MakeDatabase) -> None:
    database = await make_database(service=SERVICE, package=PACKAGE)
    schema = schema_of(SERVICE)
    outbox = Outbox(service=SERVICE, dsn=database._system_dsn, tenants=Tenants(top=1))
    await outbox.look()
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await outbox._connection.execute(f"DELETE FROM {schema}.dead_letter")
    await outbox.close()
