from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony_router.call_record import CallRecord
from telephony_router.calls import STATES, CallState, apply
from telephony_router.signals import CallSignal, Recording, signal_from_json, signal_to_json

START = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)


def status(name: str, second: int | None = 0, **more: object) -> CallSignal:
    at = START + timedelta(seconds=second) if second is not None else None
    return CallSignal(kind="status", vendor="generic", call_id="c", status=name, at=at, **more)  # type: ignore[arg-type]


def run(*signals: CallSignal) -> CallState:
    state = CallState()
    for signal in signals:
        state = apply(state, signal, START)
    return state


signals = st.builds(
    status,
    st.sampled_from(
        ["initiated", "ringing", "answered", "ended", "missed", "cancelled", "failed", "busy", "completed"]
    ),
    st.one_of(st.none(), st.integers(0, 600)),
    attempt=st.booleans(),
    agent_raw=st.sampled_from(["", "+919847000010", "+919847000011"]),
    duration_seconds=st.one_of(st.none(), st.integers(0, 600)),
    cause=st.sampled_from(["", "16", "486"]),
    parent_call=st.sampled_from(["", "p1", "p2"]),
    digits=st.sampled_from(["", "1", "2"]),
    transferred_raw=st.sampled_from(["", "+919847000012", "+919847000013"]),
)


@settings(deadline=None)
@given(st.lists(signals, max_size=8), st.data())
def test_any_order_and_any_repetition_give_the_same_state(reports: list[CallSignal], data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(reports), max_size=4)) if reports else []
    shuffled = data.draw(st.permutations(reports + again))
    assert run(*shuffled) == run(*reports)


@settings(deadline=None)
@given(st.lists(signals, max_size=10))
def test_a_state_never_moves_backwards(reports: list[CallSignal]) -> None:
    state, ranks = CallState(), [0]
    for report in reports:
        state = apply(state, report, START)
        ranks.append(STATES.index(state.state))
    assert ranks == sorted(ranks)


def test_a_call_runs_its_course() -> None:
    state = run(
        status("ringing", 1),
        status("answered", 9, agent_raw="+919847000010"),
        status("completed", 69, duration_seconds=60),
    )
    assert (state.state, state.agent_raw, state.duration_seconds) == ("completed", "+919847000010", 60)
    assert (state.started_at, state.answered_at, state.ended_at) == tuple(
        START + timedelta(seconds=s) for s in (1, 9, 69)
    )


def test_a_late_answered_fills_the_times_of_a_finished_call() -> None:
    state = run(status("completed", 69), status("answered", 9, agent_raw="+919847000010"), status("ringing", 1))
    assert (state.state, state.answered_at) == ("completed", START + timedelta(seconds=9))


def test_a_callers_end_without_an_answer_is_a_missed_call() -> None:
    assert run(status("ringing"), status("ended", 20)).state == "missed"
    assert run(status("ended", 20), status("answered", 5)).state == "completed"


def test_one_agents_leg_ending_does_not_end_the_call() -> None:
    assert run(status("ringing"), status("missed", 20, attempt=True)).state == "ringing"
    assert run(status("completed", 20, attempt=True)).state == "answered"


def test_the_last_agent_to_answer_is_the_calls_agent_and_the_final_report_knows_best() -> None:
    first, second = status("answered", 5, agent_raw="+919847000010"), status("answered", 9, agent_raw="+919847000011")
    assert run(second, first).agent_raw == "+919847000011"
    assert run(status("completed", 60, agent_raw="+919847000010"), first, second).agent_raw == "+919847000010"


def test_an_unknown_status_is_refused_rather_than_taken_for_another() -> None:
    with pytest.raises(ValueError, match="not one we know"):
        run(status("unknown"))


@settings(deadline=None)
@given(signals)
def test_a_signal_survives_its_way_through_json(signal: CallSignal) -> None:
    assert signal_from_json(signal_to_json(signal)) == signal


def test_repetitions_are_known_by_call_leg_status_and_sequence() -> None:
    one = status("answered", status_raw="answered", leg="b", sequence="2")
    assert one.identity(b"x", "r1") == one.identity(b"y", "r2")
    for name, value in (("leg", "c"), ("status_raw", "completed"), ("sequence", "3"), ("call_id", "d")):
        assert replace(one, **{name: value}).identity(b"x", "r1") != one.identity(b"x", "r1")


def test_a_status_without_a_call_id_is_known_by_its_content_and_a_ring_never_is() -> None:
    lost = CallSignal(kind="status", vendor="generic", call_id="", status="missed")
    assert lost.identity(b"same", "r1") == lost.identity(b"same", "r2") != lost.identity(b"other", "r1")
    ring = CallSignal(kind="ring", vendor="generic", call_id="")
    assert ring.identity(b"same", "r1") != ring.identity(b"same", "r2")


def test_the_same_end_with_a_recording_is_another_webhook_and_the_same_end_again_is_not() -> None:
    bare = status("completed", status_raw="completed")
    recorded = replace(bare, recording=Recording(url="https://recordings.example.com/1"))
    assert bare.identity(b"x", "r1") != recorded.identity(b"x", "r1")
    assert recorded.identity(b"x", "r1") == replace(recorded).identity(b"y", "r2")
    pending = replace(bare, recording=Recording(url="https://recordings.example.com/1", state="pending"))
    assert pending.identity(b"x", "r1") != recorded.identity(b"x", "r1")


def test_a_row_of_an_older_router_and_one_of_a_newer_are_read() -> None:
    old = {"kind": "status", "vendor": "generic", "call_id": "c", "status": "answered", "direction": "inbound"}
    assert signal_from_json(old) == CallSignal(kind="status", vendor="generic", call_id="c", status="answered")
    newer = {**old, "sentiment": "good", "confirmed": False, "recording": {"url": "u", "waveform": [1]}}
    signal = signal_from_json(newer)
    assert (signal.confirmed, signal.recording) == (False, Recording(url="u"))
    assert signal_from_json(signal_to_json(signal)) == signal


def test_facts_of_an_older_router_are_read() -> None:
    state = run(status("answered", 9, agent_raw="+919847000010"))
    row = dict.fromkeys(("id", "account_id", "staff_id", "agent_number", "caller", "did", "asked_at"))
    row |= {"vendor": "generic", "vendor_call_id": "c", "direction": "inbound", "caller_kind": "invalid"}
    row |= {"caller_raw": "", "did_raw": "", "quarantined": False, "version": 1, "confirmed": True}
    facts = json.loads(json.dumps(asdict(state), default=datetime.isoformat))
    for new in ("parent_call", "digits", "digits_at", "transferred_raw", "transferred_at"):
        del facts[new]
    assert CallRecord.from_row({**row, "facts": json.dumps(facts)}).facts == state
