"""Every alert is tried by promtool in every way that matters, and leads to a page that says what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from trunkline.observability import objectives
from trunkline.observability.alerts import all_alerts
from trunkline.observability.rules import Alert

ROOT = Path(__file__).parents[2]
TESTS = sorted((ROOT / "deploy" / "prometheus" / "tests").glob("*.yml"))
PAGES = ROOT / "docs" / "runbooks" / "alerts"
SECTIONS = ["## Look", "## Do", "## Done when"]
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
ALERTS = list(all_alerts())


def seconds(text: str) -> int:
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd])", text))


@cache
def cases() -> list[dict[str, Any]]:
    return [test for path in TESTS for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]]


def trials(alert: Alert) -> Iterator[list[tuple[int, bool]]]:
    """For each test that names the alert: when it is looked at, and whether it fires then."""
    for test in cases():
        found = sorted(
            (seconds(each["eval_time"]), bool(each.get("exp_alerts")))
            for each in test.get("alert_rule_test", [])
            if each["alertname"] == alert.name
        )
        if found:
            yield found


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_is_seen_to_fire_not_before_its_time_and_to_clear(alert: Alert) -> None:
    looks = list(trials(alert))
    assert any(fires for trial in looks for _, fires in trial), "no test sees it fire"
    if alert.severity == "none":
        return
    whole = [trial for trial in looks if [fires for _, fires in trial] == [False, True, False]]
    assert whole, "no test sees it silent, then firing, then silent again"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_leads_to_a_page_that_says_what_to_do(alert: Alert) -> None:
    text = (PAGES / f"{alert.runbook}.md").read_text(encoding="utf-8")
    assert alert.name in text.splitlines()[0]
    assert "**What it does to people.**" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == SECTIONS


def test_no_page_is_left_without_an_alert() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {alert.runbook for alert in ALERTS} | {"README"}


def test_burn_rates_exist_only_where_they_can_fire() -> None:
    """A share that may miss by more than 1/14.4 never burns 14.4 times as fast."""
    for objective in objectives.OBJECTIVES:
        for burn in (*objectives.FAST, *objectives.SLOW):
            assert burn.times * objective.budget < 1


def test_the_burn_factors_follow_from_the_budget() -> None:
    """2 % of a month's budget in an hour, 5 % in six, 10 % in a day and in three."""
    month = 720
    shares = {3600: 0.02, 6 * 3600: 0.05, 86400: 0.1, 3 * 86400: 0.1}
    for burn in (*objectives.FAST, *objectives.SLOW):
        assert burn.times == pytest.approx(shares[round(burn.long)] * month / (burn.long / 3600))


@pytest.mark.real
def test_promtool_agrees() -> None:
    rules = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
    for arguments in (["check", "rules", *map(str, rules)], ["test", "rules", *map(str, TESTS)]):
        done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.real
@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("delivery.yml", "== 0", "== 1"),
        ("delivery.yml", "by (group, topic) (changes", "by (group) (changes"),
        ("delivery.yml", "or max by (consumer) (trunkline_dead_letters_waiting)", "or max (trunkline_parked_keys)"),
        ("delivery.yml", "for: 5m", "for: 1m"),
        ("ringing.yml", "< 0.8", "> 0.8"),
        ("ringing.yml", ">= 20", ">= 0"),
        ("ringing.yml", "or vector(0)", ""),
        ("servers.yml", "pg_up", "pg_down"),
        ("servers.yml", "(redis_memory_max_bytes > 0)", "redis_memory_max_bytes"),
        ("slo-api-errors.yml", 'http_answers_total{outcome="failed"}', 'http_requests_total{code=~"5.."}'),
        ("slo-webhooks.yml", 'webhook_answers_total{outcome="failed"}', 'webhooks_total{code=~"5.."}'),
        ("slo-webhooks.yml", 'outcome!="refused"', 'outcome!="taken"'),
        ("ringing.yml", "max by (vendor) (trunkline_intake_parked)", "trunkline_intake_parked"),
        ("slo-webhooks.yml", "[3d]", "[3m]"),
        ("objectives.yml", "slo:queries:error_ratio_rate5m", "slo:queries:error_ratio_rate1h"),
        ("objectives.yml", ">= 20", ">= 0"),
        ("work.yml", "> 3", "> 30"),
        ("work.yml", 'outcome!="sent"', 'outcome="sent"'),
    ],
)  # fmt: skip
def test_the_tests_notice_a_rule_that_is_wrong(tmp_path: Path, file: str, right: str, wrong: str) -> None:
    """Each change is one that an edit could bring; the rules' unit tests have to fail on it."""
    source = ROOT / "deploy" / "prometheus"
    shutil.copytree(source, tmp_path / "prometheus")
    path = tmp_path / "prometheus" / "rules" / file
    text = path.read_text(encoding="utf-8")
    assert right in text, "the rule has changed; change this with it"
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    tests = [str(each) for each in sorted((tmp_path / "prometheus" / "tests").glob("*.yml"))
             if file in each.read_text(encoding="utf-8")]  # fmt: skip

    done = subprocess.run(["promtool", "test", "rules", *tests], capture_output=True, text=True, check=False)

    assert done.returncode != 0
