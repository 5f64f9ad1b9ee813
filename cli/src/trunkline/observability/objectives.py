"""The service level objectives that can burn: what is counted, the target, and the arithmetic of burning it.

An objective of 99 % over 30 days leaves a budget of 1 %. Burning it ``n`` times as fast as it may be burnt empties it
in 30/n days. Somebody is woken when 2 % of the month's budget went in an hour (14.4 times) or 5 % in six (6 times), and
finds a ticket for 10 % in a day (3 times) or three days (once). A short window beside each long one ends the alert
soon after its cause. Below ``FLOOR`` requests one failure would be a rate: nothing is said.

A share that may miss by more than 1/14.4 cannot burn 14.4 times as fast (the cache's 80 %): it has a plain threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

from trunkline.observability.rules import Alert, Group, Recording, duration

__all__ = ["FLOOR", "OBJECTIVES", "Burn", "Objective", "alerts", "recordings"]

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
FLOOR = 20
WINDOWS = (5 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 6 * HOUR, DAY, 3 * DAY)


@dataclass(frozen=True, slots=True)
class Burn:
    """An alert's pair of windows and how many times as fast as allowed the budget must burn in both."""

    times: float
    long: float
    short: float


FAST = (Burn(14.4, HOUR, 5 * MINUTE), Burn(6, 6 * HOUR, 30 * MINUTE))
SLOW = (Burn(3, DAY, 2 * HOUR), Burn(1, 3 * DAY, 6 * HOUR))


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """A share of requests that must be good. ``bad`` and ``total`` are rates over ``$window``, by ``label``."""

    key: str
    title: str
    target: float
    label: str
    bad: str
    total: str
    alert: str
    """The alerts' name without ``Fast`` and ``Slow``."""
    runbook: str
    summary: str
    """What is wrong, before the share and its window are added."""

    @property
    def budget(self) -> float:
        return round(1 - self.target, 6)

    def ratio(self, window: float) -> str:
        """The name under which the share of bad requests in a window is recorded."""
        return f"slo:{self.key}:error_ratio_rate{duration(window)}"

    def requests(self, window: float) -> str:
        """The name under which the number of requests in a window is recorded."""
        return f"slo:{self.key}:requests_increase{duration(window)}"


#: Counters that are there from the start: a burst is seen also when it is the first of its kind, on a route never used.
ANSWERS = "trunkline_http_answers_total"
OBJECTIVES = (
    Objective(
        key="api_errors",
        title="API requests without a server error",
        target=0.99,
        label="service",
        bad=f'sum by (service) (rate({ANSWERS}{{outcome="failed"}}[$window]))',
        total=f"sum by (service) (rate({ANSWERS}[$window]))",
        alert="ApiErrorsBurn",
        runbook="api-errors",
        summary="{{ $labels.service }} answers {{ $value | humanizePercentage }} of its requests with a server error",
    ),
    Objective(
        key="api_latency",
        title="API requests under 500 ms",
        target=0.99,
        label="service",
        bad=f'sum by (service) (rate({ANSWERS}{{outcome="late"}}[$window]))',
        total=f"sum by (service) (rate({ANSWERS}[$window]))",
        alert="ApiSlowBurn",
        runbook="api-slow",
        summary="{{ $labels.service }} takes more than 500 ms for {{ $value | humanizePercentage }} of its requests",
    ),
    Objective(
        key="queries",
        title="Database queries under 100 ms",
        target=0.99,
        label="service",
        bad=(
            "sum by (service) (rate(trunkline_db_query_duration_seconds_count[$window]))\n"
            '  - sum by (service) (rate(trunkline_db_query_duration_seconds_bucket{le="0.1"}[$window]))'
        ),
        total="sum by (service) (rate(trunkline_db_query_duration_seconds_count[$window]))",
        alert="QueriesSlowBurn",
        runbook="queries-slow",
        summary="{{ $labels.service }} waits more than 100 ms for {{ $value | humanizePercentage }} of its queries",
    ),
    Objective(
        key="webhooks",
        title="Webhooks taken in",
        target=0.99,
        label="vendor",
        # What a stranger sends and what we rightly refuse (4xx) is neither good nor bad.
        bad='sum by (vendor) (rate(trunkline_webhook_answers_total{outcome="failed"}[$window]))',
        total='sum by (vendor) (rate(trunkline_webhook_answers_total{outcome!="refused"}[$window]))',
        alert="WebhooksFailBurn",
        runbook="webhooks-fail",
        summary="{{ $value | humanizePercentage }} of the webhooks of {{ $labels.vendor }} are not taken in",
    ),
)


def recordings(objective: Objective) -> Group:
    """The shares of bad requests over every window that alerts and dashboards read, and the numbers of requests."""
    ratio = f"(\n  {objective.bad}\n)\n/ {objective.total}"
    count = objective.total.replace("rate(", "increase(")
    return Group(
        f"slo-{objective.key.replace('_', '-')}",
        [
            *[Recording(name=objective.ratio(w), expr=ratio, windows={"window": w}) for w in WINDOWS],
            *[
                Recording(name=objective.requests(burn.long), expr=count, windows={"window": burn.long})
                for burn in (*FAST, *SLOW)
            ],
        ],
    )


def _burning(objective: Objective, burns: tuple[Burn, ...]) -> str:
    arms = []
    for burn in burns:
        limit = f"{burn.times * objective.budget:g}"
        arms.append(
            f"  (\n"
            f"    {objective.ratio(burn.long)} > {limit}\n"
            f"    and {objective.ratio(burn.short)} > {limit}\n"
            f"    and {objective.requests(burn.long)} >= {FLOOR}\n"
            f"  )"
        )
    return "(\n" + "\n  or\n".join(arms) + "\n)"


def alerts() -> list[Alert]:
    """Two alerts for each objective: one that wakes somebody, one that waits for the morning."""
    found = []
    for objective in OBJECTIVES:
        fast = Alert(
            name=f"{objective.alert}Fast", expr=_burning(objective, FAST), wait=2 * MINUTE, severity="page",
            summary=objective.summary, runbook=objective.runbook,
        )  # fmt: skip
        slow = Alert(
            name=f"{objective.alert}Slow", expr=_burning(objective, SLOW), wait=15 * MINUTE, severity="ticket",
            summary=objective.summary, runbook=objective.runbook,
        )  # fmt: skip
        found += [fast, slow]
    return found
