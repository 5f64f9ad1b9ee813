"""How the harness judges: what is in doubt and what is not, and what the report adds up to. No servers."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import tests.faults.harness.groups
from tests.faults.harness.checks import Violation
from tests.faults.harness.doubt import Doubt, Standing
from tests.faults.harness.faults import Context
from tests.faults.harness.groups import Groups
from tests.faults.harness.judge import Figures, Index, Judge, Unanswered
from tests.faults.harness.ledger import Ledger, Operation
from tests.faults.harness.outside import Seen, Tail
from tests.faults.harness.report import Outcome, table, totals, worst
from tests.faults.harness.stack import FaultLayout, FaultStack
from tests.faults.harness.stores import Stores
from tests.faults.harness.watch import Deaths

from contracts.topics import TOPICS

GROUP, TOPIC = "front-desk.calls", "call.state"
NOWHERE = "127.0.0.1:1"


def seen(offset: int, event_id: str, version: int, *, at: float = 0.0, epoch: int = 0, call: str = "c1") -> Seen:
    return Seen(
        topic=TOPIC, partition=0, offset=offset, at=at, key="k", event_id=event_id, tenant="t",
        effect=f"call {call} v{version}", entity=f"call {call}", version=version,
        fields={"vendor_call_id": call, "state": "completed"}, epoch=epoch,
    )  # fmt: skip


def doubt(begin: float, end: float, *, committed: int = 0, ended: int | None = None) -> Doubt:
    ends = None if ended is None else {(TOPIC, 0): ended}
    return Doubt("restored", begin, Standing(0, {(GROUP, TOPIC, 0): committed}), end, ends)


@pytest.fixture
def judge(tmp_path: Path) -> Iterator[Judge]:
    stack = FaultStack(FaultLayout(tmp_path, 7800))
    ledger, groups = Ledger(tmp_path / "ledger.jsonl"), Groups(NOWHERE)
    yield Judge(Stores(stack), ledger, groups, Context(stack, ledger), Tail(NOWHERE, ledger))
    groups.close()
    ledger.close()


@pytest.mark.parametrize(
    ("first", "settled", "touched"),
    [(90, 99, False), (90, 100, True), (105, 106, True), (110, 300, True), (111, 112, False)],
    ids=["done before", "acknowledged in it", "all in it", "asked in it", "asked after it"],
)
def test_an_input_is_in_doubt_when_it_was_under_way_in_the_window(first: float, settled: float, touched: bool) -> None:
    assert doubt(100, 110).touches(first, settled) is touched


@pytest.mark.parametrize(
    ("offset", "epoch", "gone"),
    [(6, 0, False), (7, 0, True), (19, 0, True), (20, 0, False), (8, 1, False)],
    ids=["done with before", "the next", "the last", "came afterwards", "in another Kafka"],
)
def test_outcomes_are_in_doubt_for_what_was_worked_off_in_the_window(offset: int, epoch: int, gone: bool) -> None:
    assert doubt(100, 110, committed=7, ended=20).took_back(GROUP, epoch, TOPIC, 0, offset) is gone


def test_where_nobody_could_tell_the_end_all_that_came_since_is_in_doubt() -> None:
    assert doubt(100, 110, committed=7).took_back(GROUP, 0, TOPIC, 0, 10**6)
    assert not doubt(100, 110, committed=7).took_back(GROUP, 0, TOPIC, 0, 6)


def test_a_forgotten_event_is_no_double_and_every_other_still_is(judge: Judge) -> None:
    judge.forgotten = frozenset({"forgotten"})
    records = [seen(0, "a", 1), seen(1, "forgotten", 2), seen(2, "again", 2), seen(3, "b", 3)]
    asked = [each for each in judge.outside(records) if each.check != "I6 conservation"]
    assert asked == []
    records += [seen(4, "c", 3), seen(5, "x", 1, call="c2"), seen(6, "y", 1, call="c2")]
    found = totals(judge.outside(records))
    assert (found["I2"], found["I3"]) == (2, 2)


def test_an_index_gives_what_was_passed_until_it_is_verified() -> None:
    index, records = Index(), [seen(offset, f"e{offset}", offset) for offset in range(4)]

    def passed(committed: int, epoch: int = 0) -> list[int]:
        found = index.passed(records, epoch, {(GROUP, TOPIC, 0): committed}, lambda _: [GROUP])
        index.verified(found[:2])
        return [each.offset for _, each in found]

    assert passed(3) == [0, 1, 2]
    assert passed(4) == [2, 3]
    records += [seen(4, "e4", 4), seen(0, "e0", 0, epoch=1), seen(1, "e1", 1, epoch=1)]
    assert passed(5) == [4]
    assert passed(5) == []
    # Kafka lost its data: all is looked at anew, and what lay at the same place is not mistaken for it.
    assert passed(1, epoch=1) == [0]
    assert passed(1, epoch=1) == []


def test_the_tail_is_there_when_it_has_read_every_partition_to_its_end(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    tail = Tail(NOWHERE, ledger, topics=["vault.state"])
    bounds = {("vault.state", 0): (0, 2), ("vault.state", 1): (5, 5), ("vault.state", 2): (0, 0)}
    assert not tail.has_reached(bounds)
    tail.next[0, "vault.state", 0] = 2
    assert tail.has_reached(bounds)
    tail.epoch += 1
    assert not tail.has_reached(bounds), "what was read of another Kafka counts for nothing"
    ledger.close()


def outcome(figures: Figures, *violations: Violation) -> Outcome:
    return Outcome(
        seed=1, seconds=60, settled_seconds=3.2, figures=figures, faults=Counter(), skipped=Counter(), recoveries=(),
        violations=violations, kills=1, fired=Counter(), limit=300,
    )  # fmt: skip


LOST = Violation("I1 no loss", "acknowledged, and never seen again", 315, ("a", "b", "c"))


def test_the_report_counts_events_and_not_sentences() -> None:
    other = dataclasses.replace(LOST, count=2)
    assert totals([LOST, other])["I1"] == 317
    lines = table(outcome(Figures(), LOST, other)).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("losses (I1)")] == ["317"]
    assert any("(limit 300)" in line for line in lines)
    assert lines[-1] == "BROKEN"


def test_of_looks_that_see_the_same_again_the_worst_counts() -> None:
    looks = [Violation("I7 offsets", "passed", count) for count in (1, 4, 4, 3)]
    assert [each.count for each in worst([*looks, LOST])] == [4, 315]


def test_what_could_not_be_told_is_said_and_is_not_held() -> None:
    silent = dataclasses.replace(outcome(Figures()), untold=["mails: OSError"])
    assert table(silent).splitlines()[-2:] == ["COULD NOT TELL  mails: OSError", "COULD NOT TELL"]
    assert table(outcome(Figures())).splitlines()[-1] == "held"


def test_the_share_in_doubt_is_the_largest_of_all() -> None:
    figures = Figures(acknowledged=Counter(ring=90), doubted=10, records=100, forgotten=30, passed=0)
    assert figures.in_doubt == pytest.approx(0.3)
    assert Figures().in_doubt == 0.0


async def test_servers_that_do_not_answer_are_not_consumers_that_are_behind(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tests.faults.harness.groups, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(tests.faults.harness.judge, "MOMENT", 0.1)
    ended = asyncio.Event()
    ended.set()
    with pytest.raises(Unanswered):
        await judge.settled(time.monotonic() - 60, 0.1, ended)
    assert not await judge.caught_up()


def test_an_input_that_was_never_acknowledged_is_in_doubt_for_ever_after(judge: Judge) -> None:
    judge.doubts.append(doubt(100, 110))
    asked = Operation("mail", "a@b.example", state="info", first_at=50, settled_at=51)
    assert judge.in_doubt(asked)
    assert not judge.in_doubt(dataclasses.replace(asked, state="ok"))


def state(restarts: int, last_exit: str | None, state: str = "running") -> dict[str, dict[str, object]]:
    return {"notifier": {"restarts": restarts, "last_exit": last_exit, "state": state}}


def test_a_service_ends_of_nothing_but_what_was_done_to_it(tmp_path: Path) -> None:
    stack = FaultStack(FaultLayout(tmp_path, 7800))
    deaths = Deaths(stack)
    for look in (state(0, None), state(1, "signal 9"), state(1, "signal 9"), state(2, "exit 0")):
        deaths.note(look)
    assert deaths.too_many() == ["notifier ended 2 times, was killed 0 times and restarted as stuck 1 times; "
                                 "the last time with exit 0"]  # fmt: skip
    stack.kills["notifier"] = 1
    assert deaths.too_many() == []
    deaths.note(state(2, "exit 0", "stopping"))
    deaths.note(state(3, "signal 9"))
    assert deaths.too_many() == [], "killed because it did not end in time when it was stuck"
    deaths.note(state(4, "exit 1"))
    assert len(deaths.too_many()) == 1
    assert deaths.strange == set()


def test_consumers_that_nobody_found_are_missed() -> None:
    groups = Groups(NOWHERE)
    assert "call.state for front-desk" in groups.missing()
    for name in {consumer for topic in TOPICS.values() for consumer in topic.consumers}:
        groups.topics[name] = tuple(topic.name for topic in TOPICS.values() if name in topic.consumers)
    assert groups.missing() == []
    groups.topics["front-desk"] = ()
    assert "call.state for front-desk" in groups.missing()


def test_a_run_whose_probes_saw_nothing_is_too_poor() -> None:
    enough = Figures(acknowledged=Counter(ring=1, status=1, mail=1, **{"import": 1}), probes=3, probes_that_saw=3)
    assert outcome(enough).missing == []
    assert outcome(dataclasses.replace(enough, probes_that_saw=0)).missing == ["isolation probe that saw rows"]
