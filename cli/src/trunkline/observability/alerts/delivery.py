"""What is told when events do not leave, do not arrive or are not handled."""

from __future__ import annotations

from trunkline.observability.rules import Alert

__all__ = ["ALERTS"]

MINUTE, HOUR = 60.0, 3600.0

LEAVING = (
    Alert(
        name="OutboxWaits",
        expr="max by (service) (trunkline_outbox_oldest_age_seconds) > ${age_seconds}",
        windows={"age": MINUTE},
        wait=MINUTE,
        severity="page",
        summary="The oldest event of {{ $labels.service }} has waited {{ $value | humanizeDuration }} to be published",
        runbook="outbox-waits",
    ),
    Alert(
        name="RelayWithoutLeader",
        expr="sum by (service) (trunkline_relay_leader) == 0",
        wait=MINUTE,
        severity="page",
        summary="No process of {{ $labels.service }} publishes its events",
        runbook="relay-without-leader",
    ),
    Alert(
        name="RelayHalted",
        expr="max by (service) (trunkline_relay_halted) == 1",
        wait=0,
        severity="page",
        summary="The relay of {{ $labels.service }} publishes nothing: Kafka is not what it was",
        runbook="relay-halted",
    ),
    Alert(
        name="RelayHeldBack",
        expr="max by (service) (trunkline_relay_held_back_seconds) > ${age_seconds}",
        windows={"age": 30},
        wait=MINUTE,
        severity="page",
        summary=(
            "A transaction holds the events of {{ $labels.service }} back since {{ $value | humanizeDuration }}"
            '{{ with printf "trunkline_relay_held_back_by_pid{service=%q}" $labels.service | query }}'
            ": Postgres's process {{ . | first | value }}{{ end }}"
        ),
        runbook="relay-held-back",
    ),
    Alert(
        name="RelayFails",
        expr="increase(trunkline_relay_errors_total[$window]) > 5",
        windows={"window": 10 * MINUTE},
        wait=5 * MINUTE,
        severity="ticket",
        summary="The relay of {{ $labels.service }} had to start over {{ $value | humanize }} times",
        runbook="relay-fails",
    ),
)

ARRIVING = (
    Alert(
        name="ConsumerLags",
        expr="max by (group) (trunkline_consumer_lag_seconds) > ${age_seconds}",
        windows={"age": 2 * MINUTE},
        wait=5 * MINUTE,
        severity="page",
        summary="{{ $labels.group }} is {{ $value | humanizeDuration }} behind",
        runbook="consumer-lags",
    ),
    Alert(
        name="ConsumerStuck",
        expr="""
sum by (group, topic) (trunkline_consumer_lag_records) > 0
and sum by (group, topic) (changes(trunkline_consumer_committed_offset[$window])) == 0
""",
        windows={"window": 10 * MINUTE},
        wait=5 * MINUTE,
        severity="page",
        summary="{{ $labels.group }} does not move on {{ $labels.topic }}, where {{ $value }} records wait",
        runbook="consumer-stuck",
    ),
    Alert(
        name="ConsumerWithoutMembers",
        expr="trunkline_consumer_group_members == 0",
        wait=2 * MINUTE,
        severity="page",
        summary="No process reads for {{ $labels.group }}",
        runbook="consumer-without-members",
    ),
    Alert(
        name="RecordsMissed",
        expr="sum by (group, topic) (trunkline_consumer_missed_records) > 0",
        wait=0,
        severity="page",
        summary="{{ $value }} records of {{ $labels.topic }} were deleted before {{ $labels.group }} read them",
        runbook="records-missed",
    ),
    Alert(
        name="ConsumerHalted",
        expr="max by (consumer) (trunkline_consumer_halted) == 1",
        wait=0,
        severity="page",
        summary="{{ $labels.consumer }} has stopped at its dead-letter limits: it fails on nearly everything",
        runbook="consumer-halted",
    ),
    Alert(
        name="ConsumerPaused",
        expr="max by (consumer) (trunkline_consumer_paused) == 1",
        wait=2 * MINUTE,
        severity="ticket",
        summary="{{ $labels.consumer }} waits for its database",
        runbook="consumer-paused",
    ),
    Alert(
        name="CommitsRefused",
        expr="increase(trunkline_commit_failures_total[$window]) > 5",
        windows={"window": 10 * MINUTE},
        wait=0,
        severity="ticket",
        summary="Kafka refused {{ $value | humanize }} commits of {{ $labels.consumer }}",
        runbook="commits-refused",
    ),
    Alert(
        name="RebalanceStorm",
        expr="sum by (consumer) (increase(trunkline_rebalances_total[$window])) > 10",
        windows={"window": 15 * MINUTE},
        wait=0,
        severity="ticket",
        summary="{{ $labels.consumer }} was given its partitions anew {{ $value | humanize }} times",
        runbook="rebalance-storm",
    ),
)

FAILING = (
    Alert(
        name="DeadLettersRise",
        # The counter of a new reason begins at one, which no rate sees; the gauge does.
        expr="""
sum by (consumer) (increase(trunkline_dead_letters_total[$window])) > 0
or max by (consumer) (trunkline_dead_letters_waiting)
  > max by (consumer) (trunkline_dead_letters_waiting offset $window)
""",
        windows={"window": 15 * MINUTE},
        wait=0,
        keep=15 * MINUTE,
        severity="ticket",
        summary="{{ $labels.consumer }} parks records that it cannot handle",
        runbook="dead-letters-rise",
    ),
    Alert(
        name="DeadLettersOld",
        expr="max by (consumer) (trunkline_dead_letters_oldest_age_seconds) > ${age_seconds}",
        windows={"age": 24 * HOUR},
        wait=MINUTE,
        severity="ticket",
        summary="The oldest dead letter of {{ $labels.consumer }} has waited {{ $value | humanizeDuration }}",
        runbook="dead-letters-old",
    ),
    Alert(
        name="KeysParked",
        expr="max by (consumer) (trunkline_parked_keys) > 0",
        wait=HOUR,
        severity="ticket",
        summary="{{ $value }} keys of {{ $labels.consumer }} wait behind a dead letter",
        runbook="keys-parked",
    ),
    Alert(
        name="ReplayFails",
        expr="max by (service) (trunkline_replay_failed_records) > 0",
        wait=MINUTE,
        severity="ticket",
        summary="A replay of {{ $labels.service }} could not handle {{ $value }} records",
        runbook="replay-fails",
    ),
    Alert(
        name="ReplayStuck",
        expr="max by (service) (trunkline_replay_silent_seconds) > ${age_seconds}",
        windows={"age": 10 * MINUTE},
        wait=MINUTE,
        severity="ticket",
        summary="A replay of {{ $labels.service }} has not moved for {{ $value | humanizeDuration }}",
        runbook="replay-stuck",
    ),
)

ALERTS = (*LEAVING, *ARRIVING, *FAILING)
