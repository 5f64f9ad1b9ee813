"""Every number that operators look at is there, every measurement is looked at, every fault calls for somebody.

In order: the business runs in peace, faults are made one by one, and then everything that dashboards and rules ask is
asked of the Prometheus that has seen all of it. The rules are the shipped ones with their windows scaled down.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Stack, Tenant, wait_for
from tests.observability import prometheus as asked
from tests.observability.conftest import SCALE
from tests.observability.faults import FAULTS, OF_THE_MACHINE, Fault
from tests.observability.prometheus import Prometheus, Question

from trunkline import documentation
from trunkline.observability import promql

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
#: Generous: on a machine that is busy, servers take long to come back, and their clients to notice.
FIRE_SECONDS, CALM_SECONDS, QUIET_SECONDS = 120.0, 240.0, 15.0

#: Selectors that find nothing in a run like this, and why that is right.
SILENT: dict[str, str] = {}
#: Metrics that no panel and no rule looks at, and why.
UNWATCHED: dict[str, str] = {}


def nothing(found: list[str]) -> None:
    assert not found, "\n" + "\n".join(found)


def pages(prometheus: Prometheus) -> set[str]:
    return {name for name, all_ in prometheus.firing().items() if any(each["severity"] == "page" for each in all_)}


def calm(prometheus: Prometheus) -> None:
    """Nobody has been woken for a while: consumers that come back flap for as long as their groups settle."""

    def quiet() -> bool:
        return not prometheus.fired(time.time() - QUIET_SECONDS, "page").keys() - OF_THE_MACHINE

    wait_for(quiet, f"it does not become calm: {pages(prometheus)}", CALM_SECONDS)


def test_in_peace_nobody_is_woken_and_every_rule_is_evaluated(tenant: Tenant, prometheus: Prometheus) -> None:
    calm(prometheus)
    since = time.time()
    time.sleep(10)
    fired = prometheus.fired(since, "page")
    assert not fired.keys() - OF_THE_MACHINE, fired
    assert "Watchdog" in prometheus.firing()
    nothing(prometheus.unhealthy())


def test_a_record_that_nobody_can_handle_is_a_ticket(tenant: Tenant, prometheus: Prometheus, began: float) -> None:
    wait_for(lambda: "DeadLettersRise" in prometheus.fired(began, "ticket"), "nobody is told of the dead letter", 60)
    wait_for(lambda: "ImportsFail" in prometheus.fired(began, "ticket"), "nobody is told of the failed import", 60)


def test_a_webhook_that_nobody_understands_is_a_ticket_and_doctor_knows(
    stack: Stack, tenant: Tenant, prometheus: Prometheus, began: float
) -> None:
    wait_for(lambda: "WebhooksParked" in prometheus.fired(began, "ticket"), "nobody is told of the parked webhook", 60)
    told = {each["name"]: each for each in json.loads(stack.cli("doctor", "--json").stdout)}
    assert (told["webhooks"]["verdict"], told["webhooks"]["mend"]) == ("WARN", "trunkline router parked list")
    assert told["alert WebhooksParked"]["mend"] == "less docs/runbooks/alerts/webhooks-parked.md"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_calls_for_somebody_and_for_nobody_else(
    fault: Fault, stack: Stack, tenant: Tenant, prometheus: Prometheus
) -> None:
    calm(prometheus)
    since = time.time()

    def told() -> bool:
        return any(fault.labels.items() <= each.items() for each in prometheus.firing().get(fault.alert, []))

    with fault.make(stack, tenant):
        wait_for(told, f"{fault.alert} does not fire; what fires is {sorted(prometheus.firing())}", FIRE_SECONDS)

    others = prometheus.fired(since, "page").keys() - {fault.alert} - fault.with_it - OF_THE_MACHINE
    assert not others, f"unrelated alerts wake somebody: {sorted(others)}"
    if fault.mended:
        stack.wait_until_ready()
        wait_for(lambda: not told(), f"{fault.alert} does not end", CALM_SECONDS)


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return [*asked.asked_by_boards(asked.boards()), *asked.asked_by_rules(SCALE)]


def test_a_mail_is_counted(tenant: Tenant, prometheus: Prometheus) -> None:
    sent = 'trunkline_send_attempts_total{outcome="sent"} > 0'
    wait_for(lambda: prometheus.series(sent)[0], "no pulse was sent", 90)


def test_every_query_of_every_panel_variable_annotation_and_rule_has_an_answer(
    tenant: Tenant, prometheus: Prometheus, questions: list[Question]
) -> None:
    nothing(asked.answers(prometheus, questions, SILENT))


def test_nothing_is_measured_that_nobody_looks_at(
    tenant: Tenant, prometheus: Prometheus, questions: list[Question]
) -> None:
    exported = prometheus.exported()
    nothing(asked.orphans(exported, questions, UNWATCHED))
    declared = {metric.name for metric in documentation.metrics_in(ROOT)}
    nothing([f"{name} is declared and exported by nobody" for name in sorted(declared - exported)])


def _mutations() -> list[tuple[str, list[dict[str, Any]]]]:
    """The dashboards with one word of one query changed, for every metric and every label that a query names."""
    found = []
    boards = asked.boards()
    for index, board in enumerate(boards):
        seen: set[str] = set()
        for at, panel in enumerate(board["panels"]):
            for target in panel.get("targets", []):
                for word in sorted(_words(target["expr"]) - seen):
                    seen.add(word)
                    changed = copy.deepcopy(board)
                    for each in changed["panels"][at]["targets"]:
                        each["expr"] = each["expr"].replace(word, f"{word}x")
                    found.append((f"{board['uid']}: {word}", [*boards[:index], changed, *boards[index + 1 :]]))
    return found


def _words(expr: str) -> set[str]:
    return {name for name in promql.metrics_of(expr) if name.startswith("trunkline_")}


def test_a_renamed_metric_is_found_wherever_it_is_renamed(
    tenant: Tenant, prometheus: Prometheus, questions: list[Question]
) -> None:
    """The power of the test above, on its own questions: every metric of every dashboard, renamed once."""
    known = {question.expr for question in questions}
    mutations = _mutations()
    survivors = []
    for name, boards in mutations:
        changed = [question for question in asked.asked_by_boards(boards) if question.expr not in known]
        if not asked.answers(prometheus, changed, SILENT):
            survivors.append(name)
    assert len(mutations) > 80
    nothing(survivors)


@pytest.mark.parametrize(
    ("expr", "finding"),
    [
        ('sum(rate(trunkline_webhooks_total{vender="generic"}[15s]))', "nothing is there under"),
        ('sum(rate(trunkline_webhooks_total{code="999"}[15s]))', "nothing is there under"),
        ("trunkline_webhooks_total / on (nosuch) trunkline_outbox_unpublished", "400|422"),
        ("sum(trunkline_webhooks_total) by", "400"),
        ("trunkline_relay_leader and on (vendor) trunkline_webhooks_total", "no data"),
        ("trunkline_consumer_lag_records * on (topic) group_left () vector(1)", "no data"),
        ("0 * sum(trunkline_webhooks_total) / 0 * sum(trunkline_webhooks_total)", "no data"),
    ],
)
def test_a_query_that_is_wrong_is_found(tenant: Tenant, prometheus: Prometheus, expr: str, finding: str) -> None:
    with pytest.raises(AssertionError, match=finding):
        nothing(asked.answers(prometheus, [Question("made", expr)], {}))


def test_a_metric_that_no_panel_shows_and_a_needless_waiver_are_found(questions: list[Question]) -> None:
    found = asked.orphans({"trunkline_new_total", "trunkline_relay_leader"}, questions, {"trunkline_relay_leader": ""})
    assert found == [
        "trunkline_new_total is exported and nobody looks at it", "the waiver of trunkline_relay_leader is not needed",
    ]  # fmt: skip


def test_questions_are_asked_as_grafana_asks_them(questions: list[Question]) -> None:
    nothing([question.place for question in questions if "$" in question.expr.replace("$__", "$")])
    kinds: Mapping[str, int] = {
        "variable": sum(" variable " in q.place for q in questions),
        "annotation": sum(" annotation " in q.place for q in questions),
        "rule": sum(q.place.startswith("rule ") for q in questions),
    }
    assert all(kinds.values()), kinds
    panels = sum(len(panel.get("targets", [])) for board in asked.boards() for panel in board["panels"])
    assert len(questions) == panels + sum(kinds.values()), json.dumps(kinds)
