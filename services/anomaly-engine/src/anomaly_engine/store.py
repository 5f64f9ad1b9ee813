"""Postgres: the projections, the rules' states and findings, and the read-only door through which rules look."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import asyncpg

from anomaly_engine.findings import EVIDENCE_ROWS, Evaluation, RuleState, State, Tenant, evidence_of, row_hash
from anomaly_engine.rules import Rule
from contracts.anomalies import AnomalyFiredV1
from kit.postgres import Database, Transaction, load_queries, role_dsn, schema_of
from recovery.marks import national_of

__all__ = ["RuleReader"]

Q = load_queries("anomaly_engine")

Row = Mapping[str, Any]

_IDS = {"anomaly": "anomaly_id", "rule_run": "run_id"}
_TOTAL = "trunkline_total"
# Classes of SQLSTATE that say something about the server and nothing about the query.
_INFRASTRUCTURE = ("08", "28", "3D", "53", "57", "58")
_CANCELED = "57014"


async def put_tenants(tx: Transaction, rows: Sequence[Row]) -> None:
    await tx.execute(Q.put_tenants, tx.tenant, _records(rows))


async def delete_tenant(tx: Transaction) -> None:
    await tx.execute(Q.delete_tenant, tx.tenant)


async def put_asked_calls(tx: Transaction, rows: Sequence[Row]) -> None:
    await tx.execute(Q.put_asked_calls, tx.tenant, _records(rows))


async def put_calls(tx: Transaction, rows: Sequence[Row]) -> None:
    records = _records(rows)
    await tx.execute(Q.put_calls, tx.tenant, records)
    await tx.execute(Q.put_call_beginnings, tx.tenant, records)


async def traces_of_calls(tx: Transaction, call_ids: Sequence[str]) -> list[str]:
    return [row["traceparent"] for row in await tx.fetch(Q.traces_of_calls, tx.tenant, list(call_ids))]


async def put_facts(tx: Transaction, rows: Sequence[Row]) -> None:
    await tx.execute(Q.put_facts, tx.tenant, _records(rows))


async def erase_facts(
    tx: Transaction, *, sources: Sequence[str], subjects: Sequence[str], values: Sequence[str], until: datetime
) -> list[str]:
    """What the facts said that were erased."""
    accounts = [form for value in values for form in national_of(value)]
    named = (list(sources), list(subjects), list(values), until, accounts)
    return [row["value"] for row in await tx.fetch(Q.erase_facts, tx.tenant, *named)]


async def said_by_nobody(tx: Transaction, values: Sequence[str]) -> list[str]:
    """Of these values those that no fact has which is left."""
    return [row["value"] for row in await tx.fetch(Q.said_by_nobody, tx.tenant, list(values))] if values else []


async def findings_with(tx: Transaction, table: str, parts: Sequence[str]) -> list[tuple[str, list[UUID]]]:
    """Evidence that has one of these texts in it, and the ids of the findings that have this evidence."""
    query = Q.findings_with.format(table=table, id=_IDS[table])
    return [(row["evidence"], row["ids"]) for row in await tx.fetch(query, list(parts))]


async def put_evidence(tx: Transaction, table: str, ids: Sequence[UUID], evidence: Sequence[Row]) -> None:
    await tx.execute(Q.put_evidence.format(table=table, id=_IDS[table]), list(ids), json.dumps(evidence))


async def put_imports(tx: Transaction, rows: Sequence[Row]) -> None:
    await tx.execute(Q.put_imports, tx.tenant, _records(rows))


async def active_tenants(database: Database) -> list[Tenant]:
    async with database.system() as tx:
        rows = await tx.fetch(Q.active_tenants)
    return [Tenant(id=row["tenant_id"], name=row["name"], timezone=row["timezone"]) for row in rows]


async def find_tenant(tx: Transaction) -> Tenant | None:
    row = await tx.fetchrow(Q.find_tenant, tx.tenant)
    return Tenant(id=row["tenant_id"], name=row["name"], timezone=row["timezone"]) if row else None


async def rule_state(tx: Transaction, rule: str) -> RuleState | None:
    row = await tx.fetchrow(Q.rule_state, rule)
    return _state(row) if row else None


async def rule_states(tx: Transaction) -> dict[str, RuleState]:
    return {row["rule"]: _state(row) for row in await tx.fetch(Q.rule_states)}


async def put_rule_state(tx: Transaction, rule: str, state: RuleState) -> None:
    await tx.execute(
        Q.put_rule_state,
        tx.tenant,
        rule,
        state.rule_version,
        state.state.value,
        state.since,
        state.checked_at,
        state.failures,
        state.error,
    )


async def add_run(
    tx: Transaction, *, run_id: UUID, rule: Rule, as_of: datetime, day: date, evaluation: Evaluation
) -> None:
    await tx.execute(
        Q.add_run,
        tx.tenant,
        run_id,
        rule.id,
        rule.version,
        as_of,
        day,
        evaluation.state.value,
        json.dumps(evaluation.rows),
        evaluation.total,
        row_hash(evaluation.rows, evaluation.total),
        evaluation.duration_ms,
        evaluation.error,
    )


async def add_anomaly(tx: Transaction, event: AnomalyFiredV1, *, run_id: UUID) -> bool:
    """Enter an anomaly; false when the rule has fired for this tenant on this day already."""
    return (
        await tx.fetchval(
            Q.add_anomaly,
            tx.tenant,
            UUID(event.anomaly_id),
            event.rule,
            date.fromisoformat(event.local_day),
            event.rule_version,
            event.title,
            event.description,
            event.learning,
            event.severity,
            event.as_of,
            event.fingerprint,
            json.dumps(event.evidence),
            event.evidence_total,
            run_id,
        )
        is not None
    )


async def anomalies(tx: Transaction, *, day: date | None, limit: int) -> list[dict[str, Any]]:
    return [{**dict(row), "evidence": json.loads(row["evidence"])} for row in await tx.fetch(Q.anomalies, day, limit)]


async def forget_runs(database: Database, *, keep_days: int) -> None:
    async with database.system() as tx:
        await tx.execute(Q.forget_runs, keep_days)


async def add_rows(tx: Transaction, projection: str, rows: Sequence[Row]) -> None:
    """Enter rows of a case, which name only the columns that matter to it."""
    for row in rows:
        columns = await tx.fetchval(Q.quote_names, list(row))
        await tx.execute(Q.add_rows.format(table=projection, columns=columns), tx.tenant, json.dumps(row))


async def evaluate(connection: Any, rule: Rule, as_of: datetime) -> Evaluation:
    """Ask a rule's query on a connection whose tenant is set. Failures of the query are results, not exceptions."""
    began = time.monotonic()
    try:
        rows = await connection.fetch(Q.capped_rule.format(rule=rule.sql, rows=EVIDENCE_ROWS), as_of)
    except asyncpg.PostgresError as error:
        if error.sqlstate != _CANCELED and str(error.sqlstate)[:2] in _INFRASTRUCTURE:
            raise
        return Evaluation(error=_why(error), duration_ms=_ms(began))
    evidence = evidence_of([{name: value for name, value in row.items() if name != _TOTAL} for row in rows])
    return Evaluation(rows=evidence, total=rows[0][_TOTAL] if rows else 0, duration_ms=_ms(began))


class RuleReader:
    """Evaluates rules as ``<service>_ro``: one tenant's rows, read-only, for a bounded time.

    Made without I/O; opened at the first use and by itself again after an outage.
    """

    name = "rule reader"

    def __init__(self, *, service: str, dsn: str, ro_password: str, timeout_seconds: float, connections: int = 4):
        self._schema = schema_of(service)
        self._dsn = role_dsn(dsn, f"{self._schema}_ro", ro_password)
        self._application = f"{service} rules"
        self._timeout_ms = int(timeout_seconds * 1000)
        self._connections = connections
        self._pool: Any = None
        self._opening = asyncio.Lock()

    async def evaluate(self, tenant: UUID, rule: Rule, as_of: datetime) -> Evaluation:
        """What a rule finds for a tenant. Raises only when the server cannot be asked."""
        pool = await self._open()
        async with pool.acquire() as connection:
            transaction = connection.transaction(isolation="repeatable_read", readonly=True)
            await transaction.start()
            try:
                await connection.execute(
                    Q.bound_rule, str(tenant), str(self._timeout_ms), f"pg_catalog, {self._schema}"
                )
                return await evaluate(connection, rule, as_of)
            finally:
                # Never committed: Postgres lets a read-only transaction make large objects, for one.
                await transaction.rollback()

    async def start(self) -> None:
        pool = await self._open()
        async with pool.acquire() as connection:
            await connection.execute("SELECT 1")

    async def stop(self) -> None:
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), 5)
            except TimeoutError:
                self._pool.terminate()
            self._pool = None

    def alive(self) -> str | None:
        return None

    def ready(self) -> str | None:
        return None

    def status(self) -> dict[str, object]:
        return {"open": self._pool.get_size() if self._pool is not None else 0}

    async def _open(self) -> Any:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._dsn,
                    min_size=0,
                    max_size=self._connections,
                    timeout=5.0,
                    # The server's own time-out comes first; this one is for a server that does not answer at all.
                    command_timeout=self._timeout_ms / 1000 + 5.0,
                    server_settings={"application_name": self._application, "default_transaction_read_only": "on"},
                )
            return self._pool


def _records(rows: Sequence[Row]) -> str:
    return json.dumps(rows, default=lambda value: value.isoformat())


def _state(row: Any) -> RuleState:
    return RuleState(
        state=State(row["state"]),
        since=row["since"],
        checked_at=row["checked_at"],
        failures=row["failures"],
        error=row["error"],
        rule_version=row["rule_version"],
    )


def _why(error: asyncpg.PostgresError) -> str:
    # The server's own words can quote values out of rows.
    if error.sqlstate == _CANCELED:
        return "the query took longer than it may"
    return f"the query failed: {type(error).__name__.removesuffix('Error')} ({error.sqlstate})"


def _ms(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 2)
