"""Evaluate rules: each for each tenant, at most one anomaly per tenant, rule and local day."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, get_current_span

from anomaly_engine import store
from anomaly_engine.findings import Evaluation, State, Tenant, anomaly_id, event_id, fingerprint, local_day, next_state
from anomaly_engine.rules import Rule
from anomaly_engine.store import RuleReader
from contracts.anomalies import AnomalyFiredV1
from kit import outbox
from kit.ids import uuid7
from kit.metrics import counter, histogram
from kit.postgres import Database, Transaction
from kit.telemetry import get_logger, get_tracer, parent_of

__all__ = ["Detector", "Finding"]

log = get_logger(__name__)
tracer = get_tracer(__name__)
LINKS = 32

evaluations = counter("trunkline_rule_evaluations", "1", "Evaluations of rules by what they gave", ["rule", "state"])
durations = histogram(
    "trunkline_rule_duration_seconds",
    "seconds",
    "How long a rule's query took",
    ["rule"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2, 5),
)
fired = counter("trunkline_anomalies_fired", "1", "Anomalies told to others", ["rule", "severity"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one evaluation of one rule for one tenant came to."""

    rule: Rule
    evaluation: Evaluation
    day: date
    fired: bool
    """Whether this evaluation told of the anomaly; false also when the day's anomaly had been told before."""


@dataclass(frozen=True, kw_only=True)
class Detector:
    database: Database
    reader: RuleReader
    rules: Mapping[str, Rule]
    now: Callable[[], datetime]
    interval: timedelta = timedelta(0)
    """An evaluation that is younger than half of this is another replica's, and not repeated."""
    tenants_at_once: int = 4

    async def run(self) -> None:
        """Evaluate every rule for every active tenant; what fails for one does not stop the others."""
        places = asyncio.Semaphore(self.tenants_at_once)

        async def one(tenant: Tenant) -> None:
            async with places:
                await self._all_rules(tenant)

        tenants = await store.active_tenants(self.database)
        results = await asyncio.gather(*(one(tenant) for tenant in tenants), return_exceptions=True)
        errors = [error for error in results if isinstance(error, BaseException)]
        if errors:
            raise errors[0]

    def __post_init__(self) -> None:
        # A series that begins at one hides its first increase from every rate.
        for rule in self.rules.values():
            for state in State:
                evaluations.labels(rule.id, state.value)
            fired.labels(rule.id, rule.severity)

    async def _all_rules(self, tenant: Tenant) -> None:
        error: Exception | None = None
        for rule in self.rules.values():
            try:
                await self.detect(tenant, rule, as_of=self.now())
            except Exception as failed:
                log.warning("rule_not_evaluated", rule=rule.id, tenant=str(tenant.id), error=type(failed).__name__)
                error = failed
        if error is not None:
            raise error

    async def dry_run(self, tenant: Tenant, rule: Rule, *, as_of: datetime) -> Finding:
        """Evaluate without any effect."""
        evaluation = await self.reader.evaluate(tenant.id, rule, as_of)
        return Finding(rule=rule, evaluation=evaluation, day=local_day(as_of, tenant.timezone), fired=False)

    async def detect(self, tenant: Tenant, rule: Rule, *, as_of: datetime, again: bool = False) -> Finding | None:
        """Evaluate a rule and keep what it found; nothing when another replica has just done it.

        The key of the rule is held throughout, so replicas take turns. The unique key of the anomaly is what makes
        them harmless to each other: it and the event are one transaction.
        """
        async with self.database.transaction(tenant.id, emits=[rule.id]) as tx:
            previous = await store.rule_state(tx, rule.id)
            if previous is not None and not again and as_of - previous.checked_at < self.interval / 2:
                return None
            # Nothing is written yet, so this transaction holds nobody's relay back while the query runs.
            evaluation = await self.reader.evaluate(tenant.id, rule, as_of)
            day = local_day(as_of, tenant.timezone)
            state = next_state(previous, evaluation, at=as_of, rule_version=rule.version)
            run_id = uuid7()
            await store.add_run(tx, run_id=run_id, rule=rule, as_of=as_of, day=day, evaluation=evaluation)
            await store.put_rule_state(tx, rule.id, state)
            told = False
            if evaluation.state is State.FIRING:
                event = _anomaly(tenant, rule, evaluation, as_of=as_of, day=day)
                told = await store.add_anomaly(tx, event, run_id=run_id)
                if told:
                    with await _span(tx, rule, evaluation):
                        await outbox.append(tx, event, time=as_of, event_id=event_id(tenant.id, rule.id, day))
        changed = previous is None or previous.state is not state.state
        self._observe(tenant, rule, evaluation, told=told, changed=changed)
        return Finding(rule=rule, evaluation=evaluation, day=day, fired=told)

    def _observe(self, tenant: Tenant, rule: Rule, evaluation: Evaluation, *, told: bool, changed: bool) -> None:
        evaluations.labels(rule.id, evaluation.state.value).inc()
        durations.labels(rule.id).observe(evaluation.duration_ms / 1000)
        if told:
            fired.labels(rule.id, rule.severity).inc()
        if changed and evaluation.state is State.ERROR:
            log.warning("rule_failed", rule=rule.id, tenant=str(tenant.id), reason=evaluation.error)
        elif changed:
            log.info("rule_changed", rule=rule.id, tenant=str(tenant.id), state=evaluation.state.value)


async def _span(tx: Transaction, rule: Rule, evaluation: Evaluation) -> AbstractContextManager[Span]:
    """The trace of an anomaly: it began with no request, and links to the traces of the calls that it is about."""
    calls = [str(row["call_id"]) for row in evaluation.rows[:LINKS] if row.get("call_id")]
    traces = await store.traces_of_calls(tx, calls) if calls else []
    links = [Link(get_current_span(parent_of({"traceparent": each})).get_span_context()) for each in traces]
    return tracer.start_as_current_span(f"{rule.id} fired", context=Context(), links=links)


def _anomaly(tenant: Tenant, rule: Rule, evaluation: Evaluation, *, as_of: datetime, day: date) -> AnomalyFiredV1:
    return AnomalyFiredV1(
        anomaly_id=str(anomaly_id(tenant.id, rule.id, day)),
        rule=rule.id,
        rule_version=rule.version,
        title=rule.title,
        description=rule.description,
        learning=rule.learning,
        severity=rule.severity,
        local_day=day.isoformat(),
        as_of=as_of,
        fingerprint=fingerprint(rule, evaluation.rows),
        evidence=tuple(dict(row) for row in evaluation.rows),
        evidence_total=evaluation.total,
    )
