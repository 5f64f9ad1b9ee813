"""What is told when a service does not do its own work: rules, mails, imports, or anything at all."""

from __future__ import annotations

from trunkline.observability.jobs import SERVICE_JOBS
from trunkline.observability.rules import Alert

__all__ = ["ALERTS"]

MINUTE, HOUR = 60.0, 3600.0

ALERTS = (
    Alert(
        name="ServiceDown",
        expr=f'up{{job=~"{SERVICE_JOBS}"}} == 0',
        wait=MINUTE,
        severity="page",
        summary="{{ $labels.job }} at {{ $labels.instance }} does not answer",
        runbook="service-down",
    ),
    Alert(
        name="ServiceRestarts",
        expr=f'changes(process_start_time_seconds{{job=~"{SERVICE_JOBS}"}}[$window]) > 3',
        windows={"window": 15 * MINUTE},
        wait=0,
        severity="ticket",
        summary="{{ $labels.job }} has started {{ $value }} times in a quarter of an hour",
        runbook="service-restarts",
    ),
    Alert(
        name="ComponentFails",
        expr="sum by (job, component) (increase(trunkline_component_errors_total[$window])) > 3",
        windows={"window": 15 * MINUTE},
        wait=10 * MINUTE,
        severity="ticket",
        summary="{{ $labels.component }} of {{ $labels.job }} has failed {{ $value | humanize }} times",
        runbook="component-fails",
    ),
    Alert(
        name="RulesFail",
        expr="""
sum by (rule) (increase(trunkline_rule_evaluations_total{state="error"}[$window])) > 0
""",
        windows={"window": 15 * MINUTE},
        wait=5 * MINUTE,
        severity="ticket",
        summary="The rule {{ $labels.rule }} could not be evaluated {{ $value | humanize }} times",
        runbook="rules-fail",
    ),
    Alert(
        name="RulesNotEvaluated",
        expr="sum(increase(trunkline_rule_evaluations_total[$window])) == 0",
        windows={"window": HOUR},
        wait=5 * MINUTE,
        severity="ticket",
        summary="No rule has been evaluated for an hour",
        runbook="rules-not-evaluated",
    ),
    Alert(
        name="MailsWait",
        expr="trunkline_sends_due > 0 and min_over_time(trunkline_sends_due[$window]) > 0",
        windows={"window": 15 * MINUTE},
        wait=5 * MINUTE,
        severity="ticket",
        summary="{{ $value }} messages are due and not sent",
        runbook="mails-wait",
    ),
    Alert(
        name="MailsFail",
        expr="""
sum by (channel) (rate(trunkline_send_attempts_total{outcome!="sent"}[$window]))
  / sum by (channel) (rate(trunkline_send_attempts_total[$window])) > 0.2
and sum by (channel) (increase(trunkline_send_attempts_total[$window])) >= 5
""",
        windows={"window": HOUR},
        wait=5 * MINUTE,
        severity="ticket",
        summary="{{ $value | humanizePercentage }} of the attempts to send by {{ $labels.channel }} fail",
        runbook="mails-fail",
    ),
    Alert(
        name="SendOutcomeUnknown",
        expr='sum by (channel) (increase(trunkline_send_attempts_total{outcome="unknown"}[$window])) > 0',
        windows={"window": HOUR},
        wait=0,
        severity="ticket",
        summary="Of {{ $value | humanize }} messages by {{ $labels.channel }} nobody knows whether they arrived",
        runbook="send-outcome-unknown",
    ),
    Alert(
        name="ImportsFail",
        expr='sum(increase(trunkline_vault_imports_total{outcome="failed"}[$window])) > 0',
        windows={"window": HOUR},
        wait=0,
        severity="ticket",
        summary="{{ $value | humanize }} imports into the archive failed",
        runbook="imports-fail",
    ),
    Alert(
        name="ErasureNotAnswered",
        expr="max(trunkline_erasure_unanswered_age_seconds) > ${age_seconds}",
        windows={"age": 24 * HOUR},
        wait=MINUTE,
        severity="ticket",
        summary="The oldest erasure has waited {{ $value | humanizeDuration }} for a receipt of every service",
        runbook="erasure-not-answered",
    ),
)
