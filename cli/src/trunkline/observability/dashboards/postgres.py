"""Postgres: how busy, how full, how slow as the services see it, and what holds it up."""

from __future__ import annotations

from trunkline.observability.expressions import per_second, quantile
from trunkline.observability.panels import Board, Query, Row, Variable, figure, graph

# What all databases share is counted under no name.
BASE = '{datname=~"$database", datname!=""}'
QUERY = "trunkline_db_query_duration_seconds"

BOARD = Board(
    uid="trunkline-postgres",
    title="Trunkline: Postgres",
    description="How busy Postgres is, how fast as the services see it, and what holds it up.",
    variables=(
        Variable("database", 'pg_stat_database_xact_commit{datname!=""}', "datname", "The databases to look at."),
    ),
    rows=(
        Row("Now", (
            figure("Up", "short", "1 when Postgres answers its exporter.", "min(pg_up)", bad_below=1),
            figure("Connections", "percentunit", "Share of the connections that Postgres allows.",
                   "sum(pg_stat_activity_count) / max(pg_settings_max_connections)", bad_above=0.8),
            figure("Buffer hits", "percentunit", "Share of blocks that were found in Postgres's own memory.",
                   f"sum(rate(pg_stat_database_blks_hit{BASE}[$__rate_interval]))\n"
                   f"/ (sum(rate(pg_stat_database_blks_hit{BASE}[$__rate_interval]))\n"
                   f"  + sum(rate(pg_stat_database_blks_read{BASE}[$__rate_interval])))", bad_below=0.98),
            figure("Longest transaction", "s", "Age of the oldest open transaction: it holds relays and vacuum back.",
                   'max(pg_stat_activity_max_tx_duration{state!="idle"})', bad_above=300),
            figure("Queries", "s", "99 of 100 statements of the services are faster; the limit is 100 ms.",
                   quantile(0.99, QUERY), bad_above=0.1),
            figure("Size", "bytes", "Of the databases chosen above.", f"sum(pg_database_size_bytes{BASE})"),
        )),
        Row("As the services see it", (
            graph("Statements", "ops", "Statements a second by service.",
                  Query(per_second(f"{QUERY}_count", "service"), "{{service}}"), width=8),
            graph("Time of a statement", "s", "99 of 100 are faster, with the wait for the answer.",
                  Query(quantile(0.99, QUERY, "service"), "{{service}}"), limit=0.1, width=8),
            graph("Over 100 ms", "percentunit", "Share of statements slower than 100 ms; the limit is 1 %.",
                  Query(f'1 - sum by (service) (rate({QUERY}_bucket{{le="0.1"}}[$__rate_interval]))\n'
                        f"/ sum by (service) (rate({QUERY}_count[$__rate_interval]))", "{{service}}"),
                  limit=0.01, width=8),
        )),
        Row("Load", (
            graph("Transactions", "ops", "Committed and rolled back.",
                  Query(f"sum by (datname) (rate(pg_stat_database_xact_commit{BASE}[$__rate_interval]))",
                        "{{datname}} committed"),
                  Query(f"sum by (datname) (rate(pg_stat_database_xact_rollback{BASE}[$__rate_interval]))",
                        "{{datname}} rolled back"), width=8),
            graph("Connections", "short", "Connections by what they do now: idle, active, idle in transaction.",
                  Query(f"sum by (state) (pg_stat_activity_count{BASE})", "{{state}}"), stacked=True, width=8),
            graph("Rows", "ops", "Rows inserted, updated and deleted a second.",
                  Query(f"sum(rate(pg_stat_database_tup_inserted{BASE}[$__rate_interval]))", "inserted"),
                  Query(f"sum(rate(pg_stat_database_tup_updated{BASE}[$__rate_interval]))", "updated"),
                  Query(f"sum(rate(pg_stat_database_tup_deleted{BASE}[$__rate_interval]))", "deleted"), width=8),
            graph("Sizes", "bytes", "Of each database on disk.",
                  Query(f"pg_database_size_bytes{BASE}", "{{datname}}"), width=8),
            graph("Temporary files", "Bps", "Written because a query needed more memory than work_mem.",
                  Query(f"sum by (datname) (rate(pg_stat_database_temp_bytes{BASE}[$__rate_interval]))", "{{datname}}"),
                  width=8),
            graph("Checkpoints", "short", "Requested ones mean that max_wal_size is too small for the load.",
                  Query("sum(increase(pg_stat_bgwriter_checkpoints_timed_total[$__rate_interval]))", "timed"),
                  Query("sum(increase(pg_stat_bgwriter_checkpoints_req_total[$__rate_interval]))", "requested"),
                  width=8),
        )),
        Row("What holds it up", (
            graph("Open transactions", "s", "Age of the oldest by state; idle in transaction is somebody who forgot.",
                  Query('max by (state) (pg_stat_activity_max_tx_duration{state!="idle"})', "{{state}}"), width=8),
            graph("Locks", "short", "Locks held or waited for, by mode.",
                  Query(f"sum by (mode) (pg_locks_count{BASE})", "{{mode}}"), stacked=True, width=8),
            graph("Deadlocks", "short", "Transactions that Postgres ended because two waited for each other.",
                  Query(f"sum by (datname) (increase(pg_stat_database_deadlocks{BASE}[$__rate_interval]))",
                        "{{datname}}"), width=8),
        )),
    ),
)  # fmt: skip
