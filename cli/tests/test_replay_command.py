"""What an operator types to replay, and what is said when it is not understood."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recovery.replay.plan import Refused
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
