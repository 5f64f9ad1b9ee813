"""What is told about Postgres, Redis, Kafka, the disk, and the watch itself."""

from __future__ import annotations

from trunkline.observability.jobs import SERVICE_JOBS
from trunkline.observability.rules import Alert

__all__ = ["ALERTS"]

MINUTE, HOUR = 60.0, 3600.0

ALERTS = (
    Alert(
        name="PostgresDown",
        # Its exporter asks again before it answers that Postgres is away, and may take longer than a scrape may.
        expr='pg_up == 0 or up{job="postgres-exporter"} == 0',
        wait=MINUTE,
        severity="page",
        summary="Postgres does not answer; callers are answered, nothing else moves",
        runbook="postgres-down",
    ),
    Alert(
        name="PostgresConnectionsHigh",
        expr="""
sum by (server) (pg_stat_activity_count) / on (server) max by (server) (pg_settings_max_connections) > 0.8
""",
        wait=5 * MINUTE,
        severity="ticket",
        summary="{{ $value | humanizePercentage }} of the connections that Postgres allows are taken",
        runbook="postgres-connections-high",
    ),
    Alert(
        name="PostgresLongTransaction",
        expr='max by (datname) (pg_stat_activity_max_tx_duration{state!="idle"}) > ${age_seconds}',
        windows={"age": 5 * MINUTE},
        wait=MINUTE,
        severity="ticket",
        summary="A transaction in {{ $labels.datname }} is open since {{ $value | humanizeDuration }}",
        runbook="postgres-long-transaction",
    ),
    Alert(
        name="PostgresDeadlocks",
        expr='sum by (datname) (increase(pg_stat_database_deadlocks{datname!=""}[$window])) > 5',
        windows={"window": 15 * MINUTE},
        wait=0,
        severity="ticket",
        summary="{{ $value | humanize }} deadlocks in {{ $labels.datname }}",
        runbook="postgres-deadlocks",
    ),
    Alert(
        name="RedisDown",
        expr="redis_up == 0",
        wait=MINUTE,
        severity="page",
        summary="Redis does not answer; callers are answered out of the routers' snapshots",
        runbook="redis-down",
    ),
    Alert(
        name="RedisMemoryHigh",
        expr="redis_memory_used_bytes / (redis_memory_max_bytes > 0) > 0.9",
        wait=5 * MINUTE,
        severity="ticket",
        summary="Redis uses {{ $value | humanizePercentage }} of the memory that it may",
        runbook="redis-memory-high",
    ),
    Alert(
        name="RedisEvicts",
        expr="increase(redis_evicted_keys_total[$window]) > 0",
        windows={"window": 15 * MINUTE},
        wait=0,
        severity="ticket",
        summary="Redis has thrown {{ $value | humanize }} entries away for want of memory",
        runbook="redis-evicts",
    ),
    Alert(
        name="KafkaDown",
        expr="trunkline_kafka_up == 0",
        wait=MINUTE,
        severity="page",
        summary="Kafka does not answer; events wait in their outboxes",
        runbook="kafka-down",
    ),
    Alert(
        name="LagNotMeasured",
        # That Kafka is away the lag exporter says itself, and KafkaDown tells; here it says nothing, or old things.
        expr="""
up{job="lag-exporter"} == 0
or (time() - trunkline_lag_exporter_last_success_timestamp_seconds > 120 unless trunkline_kafka_up == 0)
""",
        wait=MINUTE,
        severity="page",
        summary="Nobody measures how far consumers are behind and whether Kafka answers: alerts about both are silent",
        runbook="lag-not-measured",
    ),
    Alert(
        name="DiskFilling",
        expr="node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.15",
        wait=5 * MINUTE,
        severity="page",
        summary="{{ $value | humanizePercentage }} of {{ $labels.mountpoint }} is free",
        runbook="disk-filling",
    ),
    Alert(
        name="ExporterDown",
        expr=f'up{{job!~"{SERVICE_JOBS}"}} == 0',
        wait=5 * MINUTE,
        severity="ticket",
        summary="Nothing is measured of {{ $labels.job }}: {{ $labels.instance }} does not answer",
        runbook="exporter-down",
    ),
    Alert(
        name="Watchdog",
        expr="vector(1)",
        wait=0,
        severity="none",
        summary="Always fires: when it stops arriving, alerts do not reach anybody",
        runbook="watchdog",
    ),
)
