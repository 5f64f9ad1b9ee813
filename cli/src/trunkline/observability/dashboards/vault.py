"""The WhatsApp archive: imports, messages, and how fast their events reach the others."""

from __future__ import annotations

from trunkline.observability.expressions import per_second, quantile
from trunkline.observability.panels import Board, Query, Row, figure, graph

VAULT = '{service="vault-importer"}'

BOARD = Board(
    uid="trunkline-vault",
    title="Trunkline: archive",
    description="Imports of WhatsApp backups, the messages they bring, and the events that tell of them.",
    rows=(
        Row("Imports", (
            figure("Completed", "short", "Imports completed in the range shown.",
                   'sum(increase(trunkline_vault_imports_total{outcome="completed"}[$__range]))', width=4),
            figure("Unchanged", "short", "Backups that held nothing new.",
                   'sum(increase(trunkline_vault_imports_total{outcome="unchanged"}[$__range]))', width=4),
            figure("Failed", "short", "Imports that failed: a wrong key, a damaged backup, a full disk.",
                   'sum(increase(trunkline_vault_imports_total{outcome="failed"}[$__range]))', bad_above=1, width=4),
            figure("Messages", "short", "Messages written in the range shown, new and changed.",
                   "sum(increase(trunkline_vault_messages_total[$__range]))", width=4),
            figure("Last import", "s", "Since a backup was last taken in, of the range shown; also one without news.",
                   "time() - max(max_over_time(trunkline_vault_last_import_timestamp_seconds[$__range]) > 0)",
                   bad_above=2 * 86400, width=8),
            graph("By outcome", "short", "Imports completed, found unchanged, or failed.",
                  Query("sum by (outcome) (increase(trunkline_vault_imports_total[$__rate_interval]))", "{{outcome}}")),
            graph("Written", "ops", "Messages written by imports, new or changed.",
                  Query(per_second("trunkline_vault_messages_total", "change"), "{{change}}")),
        )),
        Row("Telling the others", (
            graph("Published", "ops", "Events of the archive that were published.",
                  Query(per_second(f"trunkline_relayed_events_total{VAULT}"), "events")),
            graph("Oldest unpublished", "s", "Grows during a large import and falls again.",
                  Query(f"max(trunkline_outbox_oldest_age_seconds{VAULT})", "age"), limit=60),
            graph("Behind the archive", "s", "How far those who read its messages are behind.",
                  Query('max by (group) (trunkline_consumer_lag_seconds{topic="message.imported"})', "{{group}}")),
            graph("Queries", "s", "Time of one statement of the archive.",
                  Query(quantile(0.5, "trunkline_db_query_duration_seconds", "", VAULT), "median"),
                  Query(quantile(0.99, "trunkline_db_query_duration_seconds", "", VAULT), "99 %"), limit=0.1),
        )),
        Row("Forgetting", (
            graph("Erasure unanswered", "s",
                  "For how long the oldest erasure has waited for a receipt of every service: a day calls for a look.",
                  Query("max(trunkline_erasure_unanswered_age_seconds)", "age"), limit=24 * 3600),
        )),
    ),
)  # fmt: skip
