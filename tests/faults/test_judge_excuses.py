"""What the judge excuses because of a fault, and where the excuse ends; and its parts by themselves."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from tests.faults.harness import checks, waivers
from tests.faults.harness.checks import Violation
from tests.faults.harness.doubt import Doubt, Standing
from tests.faults.harness.groups import Groups
from tests.faults.harness.judge import NOTED_AFTER, _right_ends
from tests.faults.harness.ledger import Ledger, Operation
from tests.faults.harness.outside import Tail, effect_of
from tests.faults.harness.stores import Letter
from tests.faults.harness.waivers import RECOVERY, Window
from tests.faults.made_up import ARCHIVE, GSTIN, IMPORT, NOWHERE, PBX, READERS, TENANT, Known, Run

from contracts.topics import TOPICS
from kit.ids import name_uuid

# What a fault excuses, and where the excuse ends.


def outage(begin: float, end: float, *touches: str) -> Window:
    return Window(begin, end, "kill", frozenset(touches))


def restored(begin: float, end: float) -> Doubt:
    """Nobody had done with anything that came after the first record of each partition; all of it came by the end."""
    done = {(group, topic, 0): 1 for group, topics in READERS.items() for topic in topics}
    return Doubt("restored", begin, Standing(0, done), end, {(topic, 0): 1000 for topic in TOPICS})


def sentences(violations: Sequence[Violation], check: str) -> list[str]:
    return [each.sentence for each in violations if each.check.startswith(f"{check} ")]


@pytest.mark.parametrize(("first", "settled", "excused"), [(90, 99, False), (90, 101, True), (105, 106, True)])
def test_only_what_was_under_way_in_a_window_of_doubt_is_excused(
    run: Run, first: float, settled: float, excused: bool
) -> None:
    run.judge.doubts.append(restored(100, 110))
    run.forget("ring i1 v1")
    run.of("ring", "c1/ring").first_at, run.of("ring", "c1/ring").settled_at = first, settled
    assert bool(sentences(run.judge.outside(run.seen), "I1")) is not excused
    assert run.judge.figures.doubted == excused


async def test_an_effect_that_a_restore_took_back_is_excused_and_one_from_before_is_not(run: Run) -> None:
    # The first record of each partition was handled before the window.
    run.world.boards["front-desk message.imported"].clear()
    run.judge.doubts.append(restored(100, 110))
    [found] = [each for each in await run.sinks._effects(run.seen) if "does not show" in each.sentence]
    assert found.examples == ("front-desk message.imported m1: v0 of v1",)


async def test_an_order_that_a_restore_mixed_up_is_excused_and_one_from_before_is_not(run: Run) -> None:
    run.world.claimed_at["anomaly-engine", "call i1 v2"] = 2000.0
    assert sentences(await run.sinks.sink(run.seen), "I3") != []
    run.judge.doubts.append(restored(100, 110))
    assert sentences(await run.sinks.sink(run.seen), "I3") == []
    run.world.claimed_at["anomaly-engine", "call i1 v1"] = 2000.0
    run.world.claimed_at["anomaly-engine", "call i1 v2"] = 1003.0
    run.judge.doubts[0] = dataclasses.replace(restored(100, 110), ends={("call.state", 0): 1})
    assert sentences(await run.sinks.sink(run.seen), "I3") != []


@pytest.mark.parametrize(
    ("at", "excused"),
    [(100 - NOTED_AFTER - 1, False), (100 - NOTED_AFTER, True), (110 + NOTED_AFTER, True), (111 + NOTED_AFTER, False)],
)
async def test_a_head_that_was_noted_about_a_restore_is_not_asked_for(run: Run, at: float, excused: bool) -> None:
    run.judge.doubts.append(restored(100, 110))
    run.judge.heads[TENANT][9] = ("00" * 32, at)
    assert bool(sentences(await run.judge.audit(run.seen), "I4")) is not excused


async def test_what_a_consumer_shows_does_not_go_back_between_two_looks(run: Run) -> None:
    assert await run.sinks.look() == []
    await run.judge.note()
    run.world.boards["front-desk call.state"]["i1"] = (2, "answered")
    assert sentences(await run.sinks.look(), "I3") == ["a consumer went back to an older version"]
    run.world.boards["front-desk call.state"].clear()
    run.judge.doubts.append(restored(time.time() - 1, time.time()))
    assert await run.sinks.look() == [], "a restore came between the two"
    assert run.judge.heads[TENANT].keys() == {4}


async def test_a_dead_letter_excuses_its_own_event_at_its_own_consumer_only(run: Run) -> None:
    letter = Letter("anomaly-engine", "call.state", 0, 2, "call i1 v3", b"{}")
    for board in ("front-desk call.state", "anomaly-engine call.state"):
        run.world.boards[board]["i1"] = (2, "answered")
    run.world.parked.append(letter)
    [found] = await run.sinks._effects(run.seen)
    assert found.examples == ("front-desk call.state i1: v2 of v3",)
    run.world.boards["anomaly-engine call.state"]["i1"] = (1, "ringing")
    found = await run.sinks._effects(run.seen)
    assert len(found) == 2, "an event before the parked one is missing"


async def test_a_parked_message_explains_the_facts_that_it_states(run: Run) -> None:
    run.world.gstins.clear()
    run.forget("fact f1 v1")
    value = json.dumps({"account_id": ARCHIVE, "text": f"Our GSTIN is {GSTIN}"}).encode()
    elsewhere = Letter("front-desk.bulk", "message.imported", 0, 0, "message m1 v1", value)
    run.world.parked.append(elsewhere)
    assert await run.sinks.facts(run.seen) != []
    run.world.parked.append(dataclasses.replace(elsewhere, consumer="brain-distiller.messages"))
    assert await run.sinks.facts(run.seen) == []


async def test_letters_that_take_effect_when_tried_again_are_counted(run: Run) -> None:
    run.world.parked.append(Letter("front-desk.live", "call.state", 0, 9, "elsewhere", b"{}"))
    run.world.works = True
    assert await run.sinks.work_letters_off(30) == []
    assert run.judge.figures.worked_off == 1
    assert len(run.world.parked) == 2, "what nobody can read stays"


def ring_without_a_record(run: Run, number: int) -> None:
    call = {"tenant": TENANT, "call": f"x{number}", "account": PBX}
    run.ledger.enter("ring", f"x{number}/ring", "invoke", **call)
    run.ledger.enter("ring", f"x{number}/ring", "ok", answers=["+919847000031"])
    run.of("ring", f"x{number}/ring").first_at = run.of("ring", f"x{number}/ring").settled_at = 99.0
    run.world.unrecorded.add(str(name_uuid(TENANT, "generic", PBX, f"x{number}")))


@pytest.mark.parametrize(
    ("count", "windows", "sentence"),
    [
        (3, [outage(80, 90, "postgres")], ""),
        (2, [outage(80, 90, "kafka")], "nothing kept the router from writing"),
        (2, [outage(10, 99 - RECOVERY - 11, "postgres")], "nothing kept the router from writing"),
        (4, [outage(80, 90, "telephony-router")], "more rings were declared unrecorded than may be"),
    ],
    ids=["while Postgres was away", "while something else was", "long after", "too many"],
)
def test_a_declared_ring_is_excused_within_a_fault_and_a_bound(
    run: Run, count: int, windows: list[Window], sentence: str
) -> None:
    run.judge.__dict__["_windows"] = windows
    for number in range(count):
        ring_without_a_record(run, number)
    found = sentences(run.judge.outside(run.seen), "I1")
    assert (found == []) if not sentence else any(sentence in each for each in found), found
    assert run.judge.figures.unrecorded == count
    assert run.judge.figures.acknowledged["ring"] == 1


def test_a_declared_ring_that_is_on_record_all_the_same_is_judged(run: Run) -> None:
    run.world.unrecorded.add(str(name_uuid(TENANT, "generic", PBX, "c1")))
    assert run.judge.outside(run.seen) == []
    assert (run.judge.figures.unrecorded, run.judge.figures.acknowledged["ring"]) == (0, 1)


def ring_told_otherwise(run: Run, number: int, *, attempts: int, answers: list[str]) -> None:
    """What stands is an answer that was never told, or one of two that were."""
    call = {"tenant": TENANT, "call": f"y{number}", "account": PBX}
    for _ in range(attempts):
        run.ledger.enter("ring", f"y{number}/ring", "invoke", **call)
    run.ledger.enter("ring", f"y{number}/ring", "ok", answers=answers)
    run.of("ring", f"y{number}/ring").first_at, run.of("ring", f"y{number}/ring").settled_at = 90.0, 99.0
    run.record("call.inbound", f"ring y{number}", 1, vendor_call_id=f"y{number}", answer="+919847000031")


@pytest.mark.parametrize(
    ("count", "attempts", "answers", "windows", "sentence"),
    [
        (3, 2, ["+919847000032"], [outage(80, 95, "telephony-router")], ""),
        (3, 2, ["+919847000031", "+919847000032"], [outage(80, 95, "postgres")], ""),
        (1, 1, ["+919847000032"], [outage(80, 95, "telephony-router")], "a wrong end"),
        (1, 2, ["+919847000032", "+919847000032"], [outage(80, 95, "telephony-router")], "a wrong end"),
        (1, 2, ["+919847000032"], [outage(80, 95, "kafka")], "and nothing was broken"),
        (1, 2, ["+919847000031", "+919847000032"], [], "and nothing was broken"),
        (4, 2, ["+919847000032"], [outage(80, 95, "postgres")], "than may be"),
    ],
    ids=["broke off", "both told", "asked once", "no answer broke off", "something else", "for no reason", "too many"],
)
def test_a_ring_told_otherwise_is_excused_within_a_fault_and_a_bound(
    run: Run, count: int, attempts: int, answers: list[str], windows: list[Window], sentence: str
) -> None:
    run.judge.__dict__["_windows"] = windows
    for number in range(count):
        ring_told_otherwise(run, number, attempts=attempts, answers=answers)
    found = sentences(run.judge.outside(run.seen), "I1")
    assert (found == []) if not sentence else any(sentence in each for each in found), found


@pytest.mark.parametrize(
    ("count", "windows", "sentence"),
    [
        (3, [outage(95, 99, "smtp-sink")], ""),
        (1, [outage(95, 99, "kafka")], "nothing was done to the sending"),
        (1, [outage(10, 89 - RECOVERY, "notifier")], "nothing was done to the sending"),
        (4, [outage(95, 99, "notifier")], "more outcomes are unknown than faults explain"),
    ],
    ids=["while the mail server was away", "while something else was", "long after", "too many"],
)
def test_an_unknown_outcome_is_excused_within_a_fault_and_a_bound(
    count: int, windows: list[Window], sentence: str
) -> None:
    found = waivers.unknown_for_a_reason({f"m{n}": (90.0, 100.0) for n in range(count)}, windows)
    assert [each.check for each in found] == (["I2 once"] if sentence else [])
    assert all(sentence in each.sentence for each in found)


def asked(count: int, acknowledged: int, at: float) -> list[Operation]:
    states: list[Any] = ["ok" if number < acknowledged else "info" for number in range(count)]
    return [Operation("ring", f"r{number}", state, first_at=at) for number, state in enumerate(states)]


@pytest.mark.parametrize(
    ("operations", "violated", "poor"),
    [
        (asked(100, 95, 1000), False, 0),
        (asked(100, 94, 1000), True, 0),
        (asked(100, 94, 100), False, 0),
        (asked(100, 80, 100), False, 0),
        (asked(100, 79, 100), False, 1),
        (asked(10, 7, 100), False, 0),
        ([], False, 0),
    ],
)
def test_inputs_are_acknowledged_in_quiet_and_most_of_them_in_all(
    operations: list[Operation], violated: bool, poor: int
) -> None:
    violations, few = waivers.acknowledged_enough(operations, [outage(90, 105, "kafka")])
    assert (bool(violations), len(few)) == (violated, poor)


def test_windows_of_faults_are_read_from_the_ledger() -> None:
    def entry(at: float, kind: str, target: str, step: str) -> dict[str, Any]:
        return {"kind": "fault", "at": at, "fault": kind, "target": target, "step": step}

    windows = waivers.fault_windows(
        [
            entry(1, "crash", "telephony_router.after_journal_sync_before_answer", "begin"),
            entry(2, "reset", "smtp", "begin"),
            entry(3, "crash", "telephony_router.after_journal_sync_before_answer", "not made"),
            {"kind": "seen", "at": 4},
        ]
    )
    assert [(w.begin, w.end, w.touches) for w in windows] == [
        (1.0, 3.0, {"telephony-router", "postgres"}),
        (2.0, float("inf"), {"smtp-sink"}),
    ]
    assert windows[0].over(3 + RECOVERY, 99)
    assert not windows[0].over(3.1 + RECOVERY, 99)


# Its parts.


@pytest.mark.parametrize(
    ("status", "told", "right"),
    [
        ("completed", ("ringing", "answered", "completed"), {"completed"}),
        ("no-answer", ("ringing", "no-answer"), {"missed"}),
        ("answered", ("ringing", "answered"), {"answered"}),
        ("answered", ("ringing", "answered", "completed"), {"answered", "completed"}),
        ("ringing", ("ringing",), {"ringing", "answered"}),
        ("ringing", ("ringing", "busy"), {"ringing", "answered", "busy"}),
    ],
)
def test_right_ends_are_what_was_told_or_what_may_still_follow(
    status: str, told: Sequence[str], right: set[str]
) -> None:
    assert _right_ends("c", status, {f"c/{each}" for each in told} | {"other/completed"}) == right


def test_a_directory_entity_is_known_by_its_tenant_and_a_deletion_has_no_version() -> None:
    assert effect_of("directory.staff", {"version": 3}, "t/reception") == ("directory.staff t/reception", 3)
    assert effect_of("directory.staff", {}, "t/reception") == ("", 0)


class Watermarks(Known):
    """A broker that says where partitions begin and end, and how far one group has come."""

    def bounds(self) -> dict[tuple[str, int], tuple[int, int]]:
        return {("vault.state", 0): (5, 9), ("vault.state", 1): (0, 3)}

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        return {("vault.state", 0): 7, ("vault.state", 1): 0}


def test_a_group_that_has_committed_nothing_in_a_partition_is_behind_by_all_of_it() -> None:
    groups = Watermarks()
    groups.topics = {"front-desk.live": ("vault.state",)}
    assert groups.lag() == {"front-desk.live": 2 + 3}
    assert groups.readers("vault.state") == ["front-desk.live"]
    assert groups.readers("call.state") == []


class Lost:
    """A client that knows the Kafka of its beginning, and asks the next one in vain."""

    kafka = 1

    def __init__(self, _: object) -> None:
        self.knows, self.closed = Lost.kafka, False

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        if self.knows != Lost.kafka:
            raise KafkaException("unknown partition")
        return 0, 9

    def close(self) -> None:
        self.closed = True


def test_a_client_that_never_finds_another_kafka_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.faults.harness.groups.Consumer", Lost)
    groups = Groups(NOWHERE)
    assert set(groups.bounds().values()) == {(0, 9)}
    first = groups._client("outside")
    monkeypatch.setattr(Lost, "kafka", 2)
    with pytest.raises(KafkaException):
        groups.bounds()
    assert set(groups.bounds().values()) == {(0, 9)}
    groups.close()
    assert first.closed


class Told:
    """A record as a Kafka client gives it."""

    def __init__(self, offset: int, *, version: int = 1) -> None:
        self._offset = offset
        self._value = json.dumps({"call_id": "i", "version": version, "state": "ringing"}).encode()

    def topic(self) -> str:
        return "call.state"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return b"k"

    def value(self) -> bytes:
        return self._value

    def headers(self) -> list[tuple[str, bytes]]:
        at = datetime.now(UTC).isoformat()
        named = {"specversion": "1.0", "id": str(IMPORT), "type": "call.state.v1", "source": "/test", "time": at,
                 "subject": "i", "partitionkey": "k", "tenant": TENANT}  # fmt: skip
        return [(f"ce_{name}", value.encode()) for name, value in named.items()]


def test_the_tail_keeps_a_record_once_and_one_that_says_something_else_under_an_old_name_as_it_is(
    tmp_path: Path,
) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    tail = Tail(NOWHERE, ledger, topics=["call.state"])
    for told in (Told(0), Told(0), Told(1), Told(2, version=2)):
        tail._keep(told, 0)
    assert [(each.offset, each.effect) for each in tail.seen] == [(0, "call i v1"), (1, "call i v1"), (2, "call i v2")]
    ledger.close()


def test_members_of_a_lane_ascend() -> None:
    lanes = {"a": [("x", 1), ("y", 1), ("z", 3)], "b": [("u", 2), ("v", 1)]}
    [found] = checks.ascending(lanes, "back")
    assert found.examples == ("b: v after u",)


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([("v1", 10.0), ("v2", 10.0), ("v3", 9.0)], ""),
        ([("v1", 10.0), ("v2", 7.0)], "before an earlier one of its key"),
        ([("v1", 10.0), ("v2", None), ("v3", None)], ""),
        ([("v1", None), ("v2", 10.0)], "an earlier one is parked"),
    ],
    ids=["in order", "swapped", "waiting behind", "overtaken"],
)
def test_order_at_the_sink(events: list[tuple[str, float | None]], sentence: str) -> None:
    found = checks.order_at_the_sink({"lane": events})
    assert [each.check for each in found] == (["I3 order"] if sentence else [])
    assert all(sentence in each.sentence for each in found)
