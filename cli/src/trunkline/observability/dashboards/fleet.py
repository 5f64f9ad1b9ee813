"""The first page: is anything wrong, are the promises kept, how fast are the budgets used up."""

from __future__ import annotations

from trunkline.observability.expressions import per_second, quantile, share
from trunkline.observability.jobs import SERVICE_JOBS
from trunkline.observability.objectives import OBJECTIVES, Objective
from trunkline.observability.panels import Board, Panel, Query, Row, figure, graph, listing

HOUR = 3600.0
DAY = 24 * HOUR


def _kept(objective: Objective) -> Panel:
    return figure(
        objective.title, "percentunit",
        f"The worst {objective.label} over the last day; the target is {objective.target:.0%}. A look at single "
        f"{objective.label}s: the row below.",
        f"1 - max({objective.ratio(DAY)})", bad_below=objective.target, width=6,
    )  # fmt: skip


def _burn(objective: Objective) -> Panel:
    return graph(
        f"Burn: {objective.title}", "x",
        "How many times as fast as allowed a month's budget of bad requests is being used, over the last hour. At 1 "
        "it lasts exactly 30 days; at 14.4 somebody is woken.",
        Query(f"{objective.ratio(HOUR)} / {objective.budget:g}", f"{{{{{objective.label}}}}}"),
        limit=14.4, width=6,
    )  # fmt: skip


ALARMS = Row("Now", (
    figure("Services up", "short", f"Of {SERVICE_JOBS.count('|') + 1} services, those that answer.",
           f'count(up{{job=~"{SERVICE_JOBS}"}} == 1)', bad_below=SERVICE_JOBS.count("|") + 1),
    figure("Alerts that page", "short", "Alerts that wake somebody and fire now. The table names them.",
           'count(ALERTS{alertstate="firing", severity="page"}) or vector(0)', bad_above=1),
    figure("Tickets", "short", "Alerts that fire now and wait for the morning.",
           'count(ALERTS{alertstate="firing", severity="ticket"}) or vector(0)', bad_above=1),
    figure("Slowest event", "s", "Age of an event when its effect is committed: 99 of 100 are younger.",
           quantile(0.99, "trunkline_event_age_seconds"), bad_above=5),
    figure("Cache hits", "percentunit", "Share of ringing callers who were answered out of Redis; the target is 80 %.",
           share('trunkline_ring_answers_total{rung="redis"}', "trunkline_ring_answers_total"), bad_below=0.8),
    figure("Dead letters", "short", "Records that wait for somebody to work them.",
           "sum(max by (consumer) (trunkline_dead_letters_waiting))", bad_above=1),
    listing("What fires", "short", "Every alert that fires or is about to; its page is docs/runbooks/alerts/NAME.",
            'ALERTS{severity!="none"} or ALERTS{alertname="Watchdog"}', width=12),
    graph("Processes", "short", "1 for each process that answers when it is scraped; a gap is a process that did not.",
          Query("min by (job) (up)", "{{job}}"), width=12),
))  # fmt: skip

PROMISES = Row("Promises over the last day", tuple(_kept(objective) for objective in OBJECTIVES))
BUDGETS = Row("How fast the budgets are used", tuple(_burn(objective) for objective in OBJECTIVES))

REQUESTS = Row("HTTP", (
    graph("Requests", "reqps", "Requests to each service, by its name.",
          Query(per_second("trunkline_http_requests_total", "service"), "{{service}}"), width=8),
    graph("Server errors", "percentunit", "Share of requests that were answered with a 5xx status; the limit is 1 %.",
          Query(share('trunkline_http_answers_total{outcome="failed"}', "trunkline_http_answers_total", "service"),
                "{{service}}"), limit=0.01, width=8),
    graph("Time to answer", "s", "99 of 100 requests are answered faster; the limit is 500 ms.",
          Query(quantile(0.99, "trunkline_http_request_duration_seconds", "service"), "{{service}}"),
          limit=0.5, width=8),
    listing("Slowest routes", "s", "The routes whose slowest hundredth takes longest, over the range shown.",
            'topk(15, histogram_quantile(0.99, sum by (service, route, le) '
            '(rate(trunkline_http_request_duration_seconds_bucket[$__range]))))'),
    listing("Refused and failed, by route", "short",
            "Requests answered with 4xx or 5xx since the service started, by route, method and status: most first.",
            'topk(15, sum by (service, route, method, code) (trunkline_http_requests_total{code=~"4..|5.."}))'),
    graph("Cut off", "short",
          "Connections closed whose request did not become complete in time, or was too long: slow lines, or somebody "
          "who holds connections on purpose.",
          Query("sum by (job, part) (increase(trunkline_http_cut_off_total[$__rate_interval]))", "{{job}} {{part}}"),
          width=24),
))  # fmt: skip

PROCESSES = Row("Processes", (
    graph("Memory", "bytes", "Resident memory of each service.",
          Query(f'process_resident_memory_bytes{{job=~"{SERVICE_JOBS}"}}', "{{job}}"), width=8),
    graph("CPU", "percentunit", "Processor time of each service; 100 % is one core.",
          Query(f'rate(process_cpu_seconds_total{{job=~"{SERVICE_JOBS}"}}[$__rate_interval])', "{{job}}"), width=8),
    graph("Component failures", "short",
          "Failed runs or starts of a component, by its name; a start that waits for its server counts too.",
          Query("sum by (job, component) (increase(trunkline_component_errors_total[$__rate_interval]))",
                "{{job}} {{component}}"), width=8),
    graph("Disk free", "percentunit", "Share of each file system that is free; at 15 % somebody is woken.",
          Query("min by (mountpoint) (node_filesystem_avail_bytes / node_filesystem_size_bytes)", "{{mountpoint}}"),
          width=8),
    graph("Open files", "percentunit", "Share of the files that a service may open.",
          Query(f'process_open_fds{{job=~"{SERVICE_JOBS}"}} / process_max_fds', "{{job}}"), limit=0.8, width=8),
    graph("Console", "short", "Browsers that follow the console live, and times a tenant's changes were read for them.",
          Query("sum(trunkline_console_followers)", "browsers"),
          Query(per_second("trunkline_console_rounds_total"), "reads a second"),
          Query("sum by (why) (increase(trunkline_console_sockets_closed_total[$__rate_interval]))", "closed: {{why}}"),
          width=8),
))  # fmt: skip

BOARD = Board(
    uid="trunkline-fleet",
    title="Trunkline: fleet and promises",
    description="Is anything wrong, are the promises kept, how fast is each budget being used up.",
    rows=(ALARMS, PROMISES, BUDGETS, REQUESTS, PROCESSES),
)
