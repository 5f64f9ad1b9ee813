"""What an operator types to replay, and what is said when it is not understood."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from recovery.replay.book import Entry
from recovery.replay.compare import Change, TableDiff
from recovery.replay.plan import Filters, Plan, Refused
from recovery.replay.shadow import Letters
from trunkline.replay import show
from trunkline.replay.ask import bound, of_id, read_plan, services
from trunkline.replay.commands import app

NOW = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)
run = CliRunner()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("now", NOW),
        ("3h", NOW - timedelta(hours=3)),
        ("90 m ago", NOW - timedelta(minutes=90)),
        ("2026-03-01T12:00+05:30", datetime(2026, 3, 1, 6, 30, tzinfo=UTC)),
        ("2026-03-01T06:30Z", datetime(2026, 3, 1, 6, 30, tzinfo=UTC)),
        ("call.state/4@1200, call.state/5@80", {("call.state", 4): 1200, ("call.state", 5): 80}),
        ("0195A1B2-0000-7000-8000-000000000001", "0195a1b2-0000-7000-8000-000000000001"),
        (None, None),
    ],
)
def test_a_bound_is_a_time_offsets_or_an_event(text: str | None, meant: object) -> None:
    assert bound(text, now=NOW) == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("yesterday", "neither a time"),
        ("2026-03-01T12:00", "needs a zone"),
        ("call.state@4", "not topic/partition@offset"),
    ],
)
def test_what_is_not_understood_is_answered_with_an_example(text: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        bound(text)


def test_every_service_can_be_asked_for_replays() -> None:
    assert set(services()) == {
        "front-desk", "telephony-router", "vault-importer", "brain-distiller", "anomaly-engine", "notifier"
    }  # fmt: skip


@pytest.mark.parametrize("service", sorted(services()))
def test_what_can_be_rebuilt_is_made_by_one_consumer_that_tells_nobody(service: str) -> None:
    """A rebuild reads all topics of a table in one run, and what the run emitted would be told a second time."""
    module = importlib.import_module(services()[service].module)
    for table in getattr(module, "TABLES", ()):
        readers = [
            {subscription.topic: subscription for subscription in subscriptions}
            for subscriptions in module.CONSUMERS.values()
            if set(table.made_from) <= {subscription.topic for subscription in subscriptions}
        ]
        assert readers, table.name
        if table.made_from:
            assert not [
                topic for topic in table.made_from if readers[0][topic].emits or readers[0][topic].replay != "safe"
            ]


def test_an_id_names_its_service() -> None:
    for id_ in ("1121-3f9a2c", "nobody.1121-3f9a2c"):
        with pytest.raises(Refused):
            of_id(id_)


def test_a_plan_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        read_plan(tmp_path / "none.json")
    (tmp_path / "other.json").write_text("{}")
    done = run.invoke(app, ["apply", str(tmp_path / "other.json"), "--why", "to see"])
    assert done.exit_code == 2
    assert "not a plan" in done.output.replace("\n", " ")


def test_an_effect_needs_a_reason(tmp_path: Path) -> None:
    for command in (["apply", "plan.json"], ["promote", "a.b"], ["cancel", "a.b"]):
        assert run.invoke(app, command).exit_code == 2


@pytest.mark.parametrize("target", ["nowhere", "reemit"])
def test_a_target_is_one_of_three(target: str) -> None:
    done = run.invoke(app, ["plan", "brain-distiller", "--target", target])
    assert done.exit_code == 2
    assert "live, shadow or rewind" in done.output.replace("\n", " ")


NUMBER = "+919847000010"
FOUND = TableDiff(
    table="customer_number", added=1, removed=0, changed=0, unchanged=3, conflicts=0, unseen=2,
    changes=(
        Change(
            key={"tenant_id": uuid4(), "number": NUMBER, "customer_id": "c1", "version": 3}, kind="added",
            conflict=False, before={}, after={"label": "Reception desk"},
        ),
    ),
)  # fmt: skip
HELD_UP = Letters(
    kind="directory.customer.v1", key=f"{uuid4()}:{NUMBER}", reason="unclassified", message="ValueError", letters=2
)


@pytest.mark.parametrize("reveal", [False, True])
def test_a_difference_says_nothing_of_anybody_unless_it_is_asked_to(
    capsys: pytest.CaptureFixture[str], reveal: bool
) -> None:
    show.diff([FOUND], [HELD_UP], "brain-distiller.1121-3f9a2c", reveal=reveal)
    said = capsys.readouterr()
    document = json.dumps(show.diff_json([FOUND], [HELD_UP], reveal=reveal), ensure_ascii=False)
    for text in (said.out, document):
        assert (NUMBER in text, "Reception desk" in text) == (reveal, reveal)
        assert "label" in text
        assert reveal or "…10" in text
    assert "not handled 2 x directory.customer.v1 of …10: unclassified: ValueError" in said.out
    assert "--with-failures" in said.err
    assert "not met" in said.out
    assert "they stay as they are" in " ".join(said.err.split())


def test_of_a_key_ids_and_numbers_are_shown_and_texts_are_not() -> None:
    id_ = uuid4()
    assert [show.hidden(each) for each in (id_, str(id_), 3, NUMBER, "c1", "")] == [
        str(id_), str(id_), "3", "…10", "…", "none"
    ]  # fmt: skip


def test_failures_of_a_shadow_run_are_listed_where_they_are_and_not_looked_for_among_the_live_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = Plan(
        id="brain-distiller.1121-3f9a2c", service="brain-distiller", consumer="brain-distiller", target="shadow",
        source="topics", asked_from="", asked_to="",
    )  # fmt: skip
    entry = Entry(
        id=plan.id, plan=plan, state="done", wanted="run", total=3, counts={"seen": 3, "parked": 2}, report=None,
        who="", why="", started_at=NOW, heartbeat_at=NOW, finished_at=NOW, positions={},
    )  # fmt: skip
    show.entry(entry, [])
    assert f"trunkline replay status {plan.id}" in capsys.readouterr().out
    show.entry(entry, [], [HELD_UP])
    said = capsys.readouterr().out
    assert "2 x directory.customer.v1 of …10: unclassified" in said
    assert "dlq" not in said
    show.entry(replace(entry, plan=replace(plan, target="live")), [])
    assert f"dlq list --consumer brain-distiller@{plan.id}" in " ".join(capsys.readouterr().out.split())


def test_a_plan_says_which_tables_start_empty_and_how_far_that_reaches(capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan(
        id="front-desk.1121-3f9a2c", service="front-desk", consumer="front-desk", target="shadow", source="topics",
        asked_from="", asked_to="", starts_empty=("board_fact",), starts_as_live=("board_call", "board_mail"),
    )  # fmt: skip
    show.plan(plan)
    said = " ".join(capsys.readouterr().out.split())
    assert "start empty board_fact: rebuilt from these events" in said
    assert "incomplete" in said
    assert "start as live board_call, board_mail: an event that a handler knows" in said
    show.plan(replace(plan, reaches_back=True))
    assert "incomplete" not in capsys.readouterr().out


def told(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr()
    return " ".join((shown.out + shown.err).split())


def a_plan(**values: Any) -> Plan:
    given = {"id": "brain-distiller.1121-3f9a2c", "service": "brain-distiller", "consumer": "brain-distiller",
             "target": "live", "source": "topics", "asked_from": "the oldest", "asked_to": "now", **values}  # fmt: skip
    return Plan(**given)


def an_entry(plan: Plan, **values: Any) -> Entry:
    given: dict[str, Any] = {
        "id": plan.id, "plan": plan, "state": "running", "wanted": "run", "total": 300, "counts": {"seen": 100},
        "report": None, "who": "", "why": "", "started_at": NOW, "heartbeat_at": NOW, "finished_at": None,
        "positions": {}, **values,
    }  # fmt: skip
    return Entry(**given)


def test_what_people_wrote_is_shown_as_they_wrote_it(capsys: pytest.CaptureFixture[str]) -> None:
    entry = an_entry(a_plan(), who="ops[/]@desk", why="see [/tmp/x]", waiting_for="[red]x", held=True)
    show.entries([entry])
    assert "[/tmp/x]" in told(capsys)
    show.entry(entry, [{"at": NOW, "action": "apply", "who": "ops@desk", "why": "see [/tmp/x]"}])
    show.plan(a_plan(filters=Filters(keys=("[/bold]",)), records=1))
    shown = told(capsys)
    assert "see [/tmp/x]" in shown
    assert "[red]x" in shown
    assert "key: [/bold]" in shown


def test_status_tells_how_a_run_fares(capsys: pytest.CaptureFixture[str]) -> None:
    entry = an_entry(a_plan(), held=True, per_second=20.0, waiting_for="live consumers are 1200 records behind")
    show.entry(entry, [])
    shown = told(capsys)
    assert "live consumers are 1200 records behind" in shown
    assert "20.0 of at most 1000 records a second, 0:00:10 left" in shown
    assert "last sign" in shown


def test_a_run_without_a_process_is_stopped_and_can_be_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    show.entry(an_entry(a_plan()), [])
    shown = told(capsys)
    assert "stopped: no process runs it" in shown
    assert "trunkline replay resume brain-distiller.1121-3f9a2c" in shown


def test_a_plan_names_what_chooses_and_what_it_has_effects_on(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = Filters(tenants=("t1",), types=("call.state.v1",), keys=("k",), event_ids=("e",), sample=0.1)
    show.plan(a_plan(filters=chosen, records=3, effects=("anomaly.fired: its handler has effects",), target="rewind"))
    shown = told(capsys)
    for line in (
        "tenant: t1",
        "type: call.state.v1",
        "key: k",
        "event: e",
        "sample: 0.1",
        "anomaly.fired: its handler",
    ):
        assert line in shown
    show.plan(a_plan())
    assert "there is nothing to replay" in told(capsys)


def test_a_store_goes_with_no_target() -> None:
    done = run.invoke(app, ["plan", "vault-importer", "--from-store", "--target", "live"])
    assert done.exit_code == 2
    assert "a store is told again to everybody" in " ".join(done.output.split())
