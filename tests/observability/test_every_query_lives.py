"""Every number that operators look at is there, every measurement is looked at, every fault calls for somebody.

In order: the business runs in peace, faults are made one by one, and then everything that dashboards and rules ask is
asked of the Prometheus that has seen all of it. The rules are the shipped ones with their windows scaled down.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from tests.conftest import Stack, Tenant, wait_for
from tests.faults.harness.options import KINDS
from tests.observability import prometheus as asked
from tests.observability.faults import AT_ONCE, OF_A_KIND, OF_THE_MACHINE, SEEN, UNSEEN, Fault
from tests.observability.pace import PATIENCE, PATIENT, QUICK, Pace, pace_for
from tests.observability.prometheus import Known, Prometheus, Question

from trunkline import documentation
from trunkline.observability import promql
from trunkline.observability.alerts import GROUPS, all_alerts
from trunkline.observability.rules import expression

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
#: Generous: on a machine that is busy, servers take long to come back, and their clients to notice.
FIRE_SECONDS, CALM_SECONDS = 180.0, 240.0

#: Selectors that find nothing in a run like this, and why that is right.
SILENT: dict[str, str] = {
    "trunkline_recording_seconds_bucket": "no recording can be fetched on loopback, which is refused as an address"
}
#: Metrics that no panel and no rule looks at, and why.
UNWATCHED: dict[str, str] = {}


def nothing(found: list[str]) -> None:
    assert not found, "\n" + "\n".join(found)


def pages(prometheus: Prometheus) -> set[str]:
    return {name for name, all_ in prometheus.firing().items() if any(each["severity"] == "page" for each in all_)}


def calm(prometheus: Prometheus, pace: Pace, seconds: float) -> None:
    """Nobody has been woken for so long, and for some looks."""
    seconds = max(seconds, 3 * pace.interval)

    def quiet() -> bool:
        return not prometheus.fired(time.time() - seconds, "page").keys() - OF_THE_MACHINE

    wait_for(quiet, f"it does not become calm: {pages(prometheus)}", CALM_SECONDS)


def test_in_peace_nobody_is_woken_and_every_rule_is_evaluated(
    tenant: Tenant, prometheus: Prometheus, pace: Pace
) -> None:
    calm(prometheus, pace, 15)
    assert "Watchdog" in prometheus.firing()
    nothing(prometheus.unhealthy())


def test_a_busy_machine_is_looked_at_with_patience() -> None:
    """One slow answer does not make a machine busy: a service that has just started may take its time."""
    assert pace_for([0.02, 0.03, 4.0]) is QUICK
    assert pace_for([0.02, 1.4, 2.6]) is PATIENT


def test_a_record_that_nobody_can_handle_is_a_ticket(tenant: Tenant, prometheus: Prometheus, began: float) -> None:
    wait_for(
        lambda: "DeadLettersRise" in prometheus.fired(began, "ticket"), "nobody is told of the dead letter", PATIENCE
    )
    wait_for(
        lambda: "ImportsFail" in prometheus.fired(began, "ticket"), "nobody is told of the failed import", PATIENCE
    )


def test_a_webhook_that_nobody_understands_is_a_ticket_and_doctor_knows(
    stack: Stack, tenant: Tenant, prometheus: Prometheus, began: float
) -> None:
    wait_for(
        lambda: "WebhooksParked" in prometheus.fired(began, "ticket"), "nobody is told of the parked webhook", PATIENCE
    )
    told = {each["name"]: each for each in json.loads(stack.cli("doctor", "--json").stdout)}
    assert (told["webhooks"]["verdict"], told["webhooks"]["mend"]) == ("WARN", "trunkline router parked list")
    assert told["alert WebhooksParked"]["mend"] == "less docs/runbooks/alerts/webhooks-parked.md"


def test_every_alert_fires_here_or_it_is_said_why_not() -> None:
    alerts = {alert.name for alert in all_alerts()}
    assert not SEEN & UNSEEN.keys()
    assert SEEN | UNSEEN.keys() == alerts
    assert any("Burn" in name for name in SEEN)


def test_every_kind_of_fault_names_its_alerts_or_why_it_has_none() -> None:
    assert OF_A_KIND.keys() == KINDS.keys()
    nothing([f"{kind}: {alert} is not made to fire here" for kind, told in OF_A_KIND.items()
             if not isinstance(told, str) for alert in sorted(told - SEEN)])  # fmt: skip


def _labels(all_: list[Mapping[str, str]]) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(each.items()) - {("alertstate", "firing")} for each in all_}


@pytest.mark.parametrize("faults", AT_ONCE, ids=lambda faults: ", ".join(fault.name for fault in faults))
def test_faults_call_for_somebody_and_for_nobody_else(
    faults: tuple[Fault, ...], stack: Stack, tenant: Tenant, prometheus: Prometheus, pace: Pace
) -> None:
    since = time.time()
    before = prometheus.fired(since - 2, until=since)

    def fired() -> dict[str, list[Mapping[str, str]]]:
        """What has begun to fire, without what did so already; on a busy machine some fire all the time."""
        found = {name: [e for e in all_ if name in OF_THE_MACHINE or not _labels([e]) <= _labels(before.get(name, []))]
                 for name, all_ in prometheus.fired(since).items()}  # fmt: skip
        return {name: all_ for name, all_ in found.items() if all_}

    def untold() -> list[str]:
        news = fired()
        return [f"{fault.name}: {alert}" for fault in faults for alert in (fault.alert, *fault.also)
                if not any(alert != fault.alert or fault.labels.items() <= each.items()
                           for each in news.get(alert, []))]  # fmt: skip

    with contextlib.ExitStack() as made:
        for fault in faults:
            made.enter_context(fault.make(stack, tenant))
        try:
            wait_for(lambda: not untold(), "not told", FIRE_SECONDS)
        except AssertionError:
            raise AssertionError(f"nobody is told of {untold()}; what fires is {sorted(fired())}") from None

    expected = {fault.alert for fault in faults}.union(*(fault.also | fault.with_it for fault in faults))
    pages = {name for name, all_ in fired().items() if any(each["severity"] == "page" for each in all_)}
    others = pages - expected - OF_THE_MACHINE
    assert not others, f"unrelated alerts wake somebody: {sorted(others)}"
    if all(fault.mended for fault in faults):
        stack.wait_until_ready(PATIENCE)
        calm(prometheus, pace, max(fault.settle for fault in faults))


def test_a_key_that_waits_for_long_is_a_ticket(tenant: Tenant, prometheus: Prometheus, began: float) -> None:
    wait_for(lambda: "KeysParked" in prometheus.fired(began, "ticket"), "nobody is told of the key", PATIENCE)


@pytest.fixture(scope="module")
def questions(pace: Pace) -> list[Question]:
    return [*asked.asked_by_boards(asked.boards(), pace.window), *asked.asked_by_rules(pace.scale)]


def test_a_mail_is_counted(tenant: Tenant, prometheus: Prometheus) -> None:
    sent = 'trunkline_send_attempts_total{outcome="sent"} > 0'
    wait_for(lambda: prometheus.series(sent)[0], "no pulse was sent", PATIENCE)


def test_every_query_of_every_panel_variable_annotation_and_rule_has_an_answer(
    tenant: Tenant, prometheus: Prometheus, questions: list[Question]
) -> None:
    nothing(asked.answers(Known(prometheus), questions, SILENT))


def test_nothing_is_measured_that_nobody_looks_at(
    tenant: Tenant, prometheus: Prometheus, questions: list[Question]
) -> None:
    exported = prometheus.exported()
    nothing(asked.orphans(exported, questions, UNWATCHED))
    declared = {metric.name for metric in documentation.metrics_in(ROOT)}
    nothing([f"{name} is declared and exported by nobody" for name in sorted(declared - exported)])
    nothing([f"{name} is exported and declared nowhere" for name in sorted(exported - declared)])


def _mutations(pace: Pace) -> Iterator[tuple[str, list[Question]]]:
    """One word of one query changed, for every metric and every grouping label of every dashboard and every rule."""
    for board in asked.boards():
        seen: set[str] = set()
        for at, panel in enumerate(board["panels"]):
            for target in panel.get("targets", []):
                for word, pattern in _words(target["expr"]):
                    if word in seen:
                        continue
                    seen.add(word)
                    changed = copy.deepcopy(board)
                    for each in changed["panels"][at]["targets"]:
                        each["expr"] = re.sub(pattern, f"{word}x", each["expr"])
                    yield f"{board['uid']}: {word}", list(asked.asked_by_boards([changed], pace.window))
    for group in GROUPS:
        for rule in group.rules:
            expr = expression(rule, pace.scale)
            for word, pattern in _words(expr):
                yield f"{rule.name}: {word}", [asked.asked_by_rule(rule, re.sub(pattern, f"{word}x", expr))]


def _words(expr: str) -> Iterator[tuple[str, str]]:
    """What is changed, and where: a metric's name everywhere, a label only where it groups."""
    for name in sorted(promql.metrics_of(expr)):
        if name not in ("ALERTS", "up"):
            yield name, rf"(?<![\w:]){re.escape(name)}(?![\w:])"
    for label in sorted(promql.grouped(expr)):
        yield label, rf"(?<=[(,\s]){label}(?=\s*[,)])"


def test_a_renamed_metric_or_label_is_found_wherever_it_is_renamed(
    tenant: Tenant, prometheus: Prometheus, questions: list[Question], pace: Pace
) -> None:
    """The power of the tests above, on their own questions: every metric and label, renamed once in each place."""
    unchanged = {(question.place, question.expr) for question in questions}
    known = Known(prometheus)
    count, survivors = 0, []
    for name, asked_now in _mutations(pace):
        changed = [question for question in asked_now if (question.place, question.expr) not in unchanged]
        count += 1
        if not asked.answers(known, changed, SILENT):
            survivors.append(name)
    assert count > 300
    nothing(survivors)


@pytest.mark.parametrize(
    ("expr", "names", "finding"),
    [
        ('sum(rate(trunkline_webhooks_total{vender="generic"}[15s]))', "", "nothing is there under"),
        ('sum(rate(trunkline_webhooks_total{code="999"}[15s]))', "", "nothing is there under"),
        ("trunkline_webhooks_total / on (nosuch) trunkline_outbox_unpublished", "", "400|422"),
        ("sum(trunkline_webhooks_total) by", "", "400"),
        ("trunkline_relay_leader and on (vendor) trunkline_webhooks_total", "", "no data"),
        ("trunkline_consumer_lag_records * on (topic) group_left () vector(1)", "", "no data"),
        ("0 * sum(trunkline_webhooks_total) / 0 * sum(trunkline_webhooks_total)", "", "no data"),
        ("sum by (vender) (trunkline_webhooks_total)", "", "nothing that it reads has the label vender"),
        ("sum by (vendor) (trunkline_webhooks_total)", ("service",), "a series has no service"),
    ],
)
def test_a_query_that_is_wrong_is_found(
    tenant: Tenant, prometheus: Prometheus, expr: str, names: Sequence[str], finding: str
) -> None:
    with pytest.raises(AssertionError, match=finding):
        nothing(asked.answers(Known(prometheus), [Question("made", expr, frozenset(names))], {}))


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
