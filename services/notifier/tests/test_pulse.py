"""The pulse is short, true, and due at its local time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from notifier.pulse import compose, due_at, is_due, local_day, summary_of

from .conftest import DAY, NOW, a_recipient, a_red_rule

LATE = timedelta(hours=6)


def test_one_red_rule_is_one_line_with_its_learning() -> None:
    pulse = compose(a_recipient(), [a_red_rule()], day=DAY)
    assert pulse.subject_line == "Kochi Traders: 1 red rule, 2 Mar"
    assert pulse.text == (
        "Kochi Traders, Monday, 2 March 2026: 1 red rule.\n\n"
        "* Two values for what has only one (2): Ask the customer which value is right.\n"
        "  subject customer:42, fact key gstin\n"
    )
    assert "<strong>Two values for what has only one</strong> (2): Ask the customer" in pulse.html


def test_nothing_red_is_one_calm_line() -> None:
    pulse = compose(a_recipient(), [], day=DAY)
    assert pulse.subject_line == "Kochi Traders: nothing red, 2 Mar"
    assert pulse.text == (
        "Kochi Traders, Monday, 2 March 2026: nothing red.\n\nNo rule has fired. Have a good day, Reception.\n"
    )
    assert "No rule has fired." in pulse.html


def test_the_worst_comes_first() -> None:
    rules = [
        a_red_rule(rule="a", title="An info", severity="info"),
        a_red_rule(rule="b", title="A warning"),
        a_red_rule(rule="c", title="A critical", severity="critical"),
        a_red_rule(rule="d", title="A stranger", severity="purple"),
    ]
    text = compose(a_recipient(), rules, day=DAY).text
    assert [line.split(" (")[0] for line in text.splitlines() if line.startswith("*")] == [
        "* A critical",
        "* A warning",
        "* An info",
        "* A stranger",
    ]
    assert "4 red rules" in text


def test_what_was_red_since_the_last_pulse_says_its_day() -> None:
    text = compose(a_recipient(), [a_red_rule(local_day=DAY - timedelta(days=1))], day=DAY).text
    assert "(2) on 1 Mar: Ask" in text


def test_markup_in_names_and_evidence_stays_text() -> None:
    nasty = "<script>alert('x')</script>"
    rule = a_red_rule(title=nasty, learning=nasty, evidence_summary=nasty)
    pulse = compose(a_recipient(name=nasty, owner_name=nasty), [rule], day=DAY)
    assert "<script>" not in pulse.html
    assert "&lt;script&gt;" in pulse.html
    assert "<script>" in pulse.text
    assert "{{" not in compose(a_recipient(name="{{ 7 * 7 }}"), [], day=DAY).html.replace("{{ 7 * 7 }}", "")


@pytest.mark.parametrize(
    "name", ["Kochi\r\nBcc: all@example.com", "Kochi\x00Traders", "Kochi\u2028Traders", "\u202eKochi"]
)
def test_a_name_cannot_break_the_subject_line(name: str) -> None:
    subject = compose(a_recipient(name=name), [], day=DAY).subject_line
    assert len(subject.splitlines()) == 1
    assert subject.isprintable()


def test_a_business_without_a_name_still_gets_its_pulse() -> None:
    assert compose(a_recipient(name=" "), [], day=DAY).subject_line.startswith("Your business: ")


def test_other_scripts_stay_as_they_are() -> None:
    assert compose(a_recipient(name="കൊച്ചി ട്രേഡേഴ്സ്"), [], day=DAY).subject_line.startswith("കൊച്ചി ട്രേഡേഴ്സ്: ")


@pytest.mark.parametrize(
    ("day", "pulse_at", "zone", "due"),
    [
        ("2026-03-02", "09:00", "Asia/Kolkata", "2026-03-02T03:30"),
        ("2026-03-02", "00:00", "Asia/Kolkata", "2026-03-01T18:30"),
        ("2026-03-02", "23:59", "America/New_York", "2026-03-03T04:59"),
        ("2026-03-29", "02:30", "Europe/Berlin", "2026-03-29T01:30"),
        ("2026-10-25", "02:30", "Europe/Berlin", "2026-10-25T00:30"),
        ("2026-03-02", "nine", "Asia/Kolkata", "2026-03-02T03:30"),
        ("2026-03-02", "09:00", "Nowhere/Land", "2026-03-02T03:30"),
    ],
)
def test_the_pulse_is_due_at_its_local_time(day: str, pulse_at: str, zone: str, due: str) -> None:
    expected = datetime.fromisoformat(due).replace(tzinfo=UTC)
    assert due_at(date.fromisoformat(day), pulse_at=pulse_at, timezone=zone) == expected


@pytest.mark.parametrize(
    ("hours", "due"), [(-1, False), (-0.001, False), (0, True), (5.99, True), (6, False), (14, False)]
)
def test_a_pulse_is_neither_early_nor_long_after(hours: float, due: bool) -> None:
    at = datetime(2026, 3, 2, 3, 30, tzinfo=UTC) + timedelta(hours=hours)
    assert is_due(a_recipient(), at=at, late=LATE) is due


def test_a_tenant_that_became_known_after_its_time_waits_for_tomorrow() -> None:
    fresh = a_recipient(known_since=datetime(2026, 3, 2, 3, 31, tzinfo=UTC))
    assert not is_due(fresh, at=NOW, late=LATE)
    assert is_due(fresh, at=NOW + timedelta(days=1), late=LATE)


def test_the_day_is_the_tenants() -> None:
    assert local_day(datetime(2026, 3, 1, 18, 30, tzinfo=UTC), "Asia/Kolkata") == DAY


def test_evidence_is_one_short_line() -> None:
    rows = [{"subject": "customer:42", "fact_key": "gstin", "empty": None, "n": 2, "m": 3, "o": 4}, {"subject": "x"}]
    assert summary_of(rows, 7) == "subject customer:42, fact key gstin, n 2, m 3 … and 6 more"
    assert summary_of([], 0) == ""
    assert len(summary_of([{"text": "x" * 999}], 1)) == 160
    assert "\n" not in summary_of([{"text": "a\nb"}], 1)
