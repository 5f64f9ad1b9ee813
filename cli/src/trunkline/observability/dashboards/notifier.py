"""What is sent to people: attempts and their outcomes, what waits, what nobody knows about."""

from __future__ import annotations

from trunkline.observability.expressions import per_second, share
from trunkline.observability.panels import Board, Query, Row, figure, graph, listing

ATTEMPTS = "trunkline_send_attempts_total"

BOARD = Board(
    uid="trunkline-notifier",
    title="Trunkline: notifier",
    description="Messages to people: what was sent, what waits, what failed, and of what nobody knows.",
    rows=(
        Row("Now", (
            figure("Due", "short", "Messages that were due at the last look.", "sum(trunkline_sends_due)",
                   bad_above=100, width=6),
            figure("Sent", "short", "Messages sent in the range shown.",
                   f'sum(increase({ATTEMPTS}{{outcome="sent"}}[$__range]))', width=6),
            figure("Failing", "percentunit", "Share of attempts that did not end in a message being sent.",
                   share(f'{ATTEMPTS}{{outcome!="sent"}}', ATTEMPTS), bad_above=0.2, width=6),
            figure("Nobody knows", "short",
                   "Attempts of the range shown whose outcome is unknown: never repeated by itself, somebody decides.",
                   f'sum(increase({ATTEMPTS}{{outcome="unknown"}}[$__range]))', bad_above=1, width=6),
        )),
        Row("Sending", (
            graph("Attempts", "ops", "Attempts by channel and outcome.",
                  Query(per_second(ATTEMPTS, "channel, outcome"), "{{channel}} {{outcome}}"), stacked=True),
            graph("Due", "short", "Messages that were due at each look; it falls back to zero when they are sent.",
                  Query("sum(trunkline_sends_due)", "due")),
            graph("Events read", "ops", "What the notifier read, by what became of it.",
                  Query(per_second('trunkline_events_handled_total{consumer=~"notifier.*"}', "topic, outcome"),
                        "{{topic}} {{outcome}}")),
            listing("By channel", "short", "Attempts since the service started.",
                    f"sum by (channel, outcome) ({ATTEMPTS})"),
        )),
    ),
)  # fmt: skip
