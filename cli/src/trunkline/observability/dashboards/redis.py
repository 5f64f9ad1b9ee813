"""Redis: the routing view's memory, hits, and what could make it lose entries."""

from __future__ import annotations

from trunkline.observability.panels import Board, Query, Row, figure, graph

BOARD = Board(
    uid="trunkline-redis",
    title="Trunkline: Redis",
    description="The routing view's home: memory, hits, what could make it lose entries. Postgres rebuilds all of it.",
    rows=(
        Row("Now", (
            figure("Up", "short", "1 when Redis answers its exporter.", "min(redis_up)", bad_below=1),
            figure("Memory", "bytes", "Memory that its data takes.", "sum(redis_memory_used_bytes)"),
            figure("Entries", "short", "Keys of all databases.", "sum(redis_db_keys)"),
            figure("Found", "percentunit", "Share of look-ups that found something; an unknown caller does not.",
                   "sum(rate(redis_keyspace_hits_total[$__rate_interval]))\n"
                   "/ (sum(rate(redis_keyspace_hits_total[$__rate_interval]))\n"
                   "  + sum(rate(redis_keyspace_misses_total[$__rate_interval])))"),
            figure("Thrown away", "short", "Entries evicted for want of memory, in the range shown.",
                   "sum(increase(redis_evicted_keys_total[$__range]))", bad_above=1),
            figure("Clients", "short", "Connections to Redis.", "sum(redis_connected_clients)"),
        )),
        Row("Load", (
            graph("Commands", "ops", "Commands a second, the busiest ten.",
                  Query("topk(10, sum by (cmd) (rate(redis_commands_total[$__rate_interval])))", "{{cmd}}")),
            graph("Time in commands", "percentunit", "Share of one core that Redis spends in each command.",
                  Query("topk(10, sum by (cmd) (rate(redis_commands_duration_seconds_total[$__rate_interval])))",
                        "{{cmd}}")),
            graph("Look-ups", "ops", "Found and not found.",
                  Query("sum(rate(redis_keyspace_hits_total[$__rate_interval]))", "found"),
                  Query("sum(rate(redis_keyspace_misses_total[$__rate_interval]))", "not found")),
            graph("Network", "Bps", "Bytes a second to and from Redis.",
                  Query("sum(rate(redis_net_input_bytes_total[$__rate_interval]))", "in"),
                  Query("sum(rate(redis_net_output_bytes_total[$__rate_interval]))", "out")),
        )),
        Row("Memory and loss", (
            graph("Memory", "bytes", "Used, and what Redis may use (0: no limit).",
                  Query("sum(redis_memory_used_bytes)", "used"),
                  Query("sum(redis_memory_max_bytes)", "limit"), width=8),
            graph("Entries gone", "short", "Expired as meant, and evicted for want of memory.",
                  Query("sum(increase(redis_expired_keys_total[$__rate_interval]))", "expired"),
                  Query("sum(increase(redis_evicted_keys_total[$__rate_interval]))", "evicted"), width=8),
            graph("Refused connections", "short", "Connections refused at the limit of clients.",
                  Query("sum(increase(redis_rejected_connections_total[$__rate_interval]))", "refused"), width=8),
        )),
    ),
)  # fmt: skip
