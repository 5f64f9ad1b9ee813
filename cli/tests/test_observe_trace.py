"""What ``trunkline trace`` makes of rows, log files and metrics, without a stack."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.openmetrics.exposition import generate_latest

from trunkline.observe import signs
from trunkline.observe.places import _partition
from trunkline.observe.rows import Call, Effect, Event, Webhook
from trunkline.observe.signs import Exemplar, exemplars_in, log_lines
from trunkline.observe.trace_command import Story, _show, follow
from trunkline.stack.layout import Layout
from trunkline.stack.problems import Problem

NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
TRACE, OTHER = "0" * 31 + "1", "0" * 31 + "2"
CALL = UUID(int=7)
EVENT = Event(
    id="e1", topic="call.state", key=f"{UUID(int=1)}:{CALL}", type="call.state.v1", created_at=NOW, trace_id=TRACE
)


def story(*effects: Effect, parked: str | None = None, placed: bool = True) -> Story:
    webhook = Webhook(seq=1, kind="status", received_at=NOW, processed_at=NOW, parked=parked, trace_id=TRACE)
    call = Call(id=CALL, tenant=UUID(int=1), state="ringing", vendor="generic", version=2, webhooks=(webhook, webhook),
                events=(EVENT,))  # fmt: skip
    places = {"e1": ("call.state", 4, 17)} if placed else {}
    return Story(call=call, places=places, effects=effects, logs=(), exemplars=())


def test_log_lines_are_found_by_any_of_the_ids_in_time_with_their_place(tmp_path: Path) -> None:
    def line(at: str, event: str, **more: str) -> str:
        return json.dumps({"timestamp": at, "service": "s", "level": "warning", "event": event, **more}) + "\n"

    (tmp_path / "b.log").write_text(line("T1", "other") + line("T3", "third", trace_id=TRACE), encoding="utf-8")
    (tmp_path / "a.log").write_text(line("T2", "second", call_id=str(CALL)) + "torn {" + TRACE, encoding="utf-8")
    found = log_lines(tmp_path, [str(CALL), TRACE])
    assert [(each.file.name, each.number, each.event) for each in found if each.at] == [
        ("a.log", 1, "second"),
        ("b.log", 2, "third"),
    ]
    # A line that is no JSON is shown as it is.
    assert [each.event for each in found if not each.at] == [f"torn {{{TRACE}"]
    assert log_lines(tmp_path / "nowhere", [TRACE]) == []


def test_exemplars_are_read_from_what_a_service_serves() -> None:
    registry = CollectorRegistry()
    seconds = Histogram("trunkline_x_seconds", "x", ["vendor"], registry=registry, buckets=(0.01, 0.1))
    seconds.labels("gene ric").observe(0.05, {"trace_id": TRACE})
    seconds.labels("gene ric").observe(0.005, {"trace_id": OTHER})
    (found,) = exemplars_in(generate_latest(registry).decode(), [TRACE])
    assert found.series == 'trunkline_x_seconds_bucket{le="0.1",vendor="gene ric"}'
    assert (found.trace_id, found.value) == (TRACE, 0.05)


def test_a_measurement_that_prometheus_has_as_well_is_shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Exemplar(series='trunkline_x_seconds_bucket{job="r",le="1"}', trace_id=TRACE, value=0.5)
    line = f'trunkline_%s_seconds_bucket{{le="1"}} 1.0 # {{trace_id="{TRACE}"}} 0.5 1.0\n'
    monkeypatch.setattr(signs, "_remembered", lambda *_: [kept])
    monkeypatch.setattr(signs.urllib.request, "urlopen", lambda *_, **__: BytesIO((line % "x" + line % "y").encode()))
    found = signs.exemplars_of([TRACE], prometheus="http://p", services=["http://r"], around=NOW)
    assert found == [kept, Exemplar(series='trunkline_y_seconds_bucket{le="1"}', trace_id=TRACE, value=0.5)]


def test_a_calls_traces_are_named_once_each() -> None:
    assert story().call.trace_ids == (TRACE,)


def test_a_reader_without_a_word_of_the_event_is_waited_for() -> None:
    handled = Effect(consumer="anomaly-engine", event_id="e1", at=NOW)
    parked = Effect(consumer="front-desk.live", event_id="e1", at=NOW, parked="bad: x", topic="call.state")
    assert story().waiting(EVENT) == ["anomaly-engine", "front-desk"]
    assert story(handled).waiting(EVENT) == ["front-desk"]
    assert story(handled, parked).waiting(EVENT) == []


def test_people_are_told_where_it_is_and_what_became_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    handled = Effect(consumer="anomaly-engine", event_id="e1", at=NOW)
    parked = Effect(consumer="front-desk", event_id="e1", at=NOW, parked="handler_failed: KeyError [x]",
                    topic="call.state", letter_id="d1")  # fmt: skip
    _show(story(handled, parked, parked="the status 'gone' is not one we know"))
    told = capsys.readouterr().out
    assert "topic call.state  partition 4  offset 17" in told
    assert "took effect in anomaly-engine" in told
    assert "parked by front-desk: handler_failed: KeyError [x]  dead letter d1" in told
    assert "parked: the status 'gone'" in told
    _show(story(placed=False))
    told = capsys.readouterr().out
    assert "not found in call.state" in told
    assert "not handled yet by front-desk" in told


def test_keys_lie_where_other_clients_put_them() -> None:
    # As computed by the Java client's DefaultPartitioner.
    assert [_partition(key, 12) for key in ("a", "abc", "foobar")] == [
        (value & 0x7FFFFFFF) % 12 for value in (-1563381124, 479470107, -790332482)
    ]


def test_without_a_stack_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRUNKLINE_POSTGRES_DSN", "TRUNKLINE_KAFKA_BOOTSTRAP"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Problem, match="TRUNKLINE_POSTGRES_DSN, TRUNKLINE_KAFKA_BOOTSTRAP is not set") as problem:
        follow(CALL, Layout(tmp_path, 23000))
    assert problem.value.mend == "trunkline up"
