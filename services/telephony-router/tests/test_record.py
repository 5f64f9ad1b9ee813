from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from telephony_router.budget import Budget, Unavailable
from telephony_router.journal import Journal
from telephony_router.metrics import METRICS
from telephony_router.record import DATABASE_FAILURES, NotRecorded, Recorder, drain
from telephony_router.store import Intake

NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
ROW = Intake(
    tenant=UUID(int=7),
    identity="ring:c1",
    kind="ring",
    account_id=UUID(int=1),
    call_id=UUID(int=2),
    received_at=NOW,
    signal="{}",
    answer="first",
    body=b"\x00\xff",
    traceparent="00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
)


def row(identity: str, answer: str = "first") -> Intake:
    return replace(ROW, identity=identity, answer=answer)


class FakePostgres:
    """Keeps the first answer of every identity, as the table does. ``gate`` holds commits back."""

    def __init__(self) -> None:
        self.rows: dict[tuple[UUID, str], Intake] = {}
        self.repeats: dict[tuple[UUID, str], int] = {}
        self.commits: list[int] = []
        self.failure: Exception | None = None
        self.refused: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def take_in(self, rows: Sequence[Intake]) -> dict[tuple[UUID, str], tuple[str | None, int]]:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if any(each.identity in self.refused for each in rows):
            raise asyncpg.DataError("invalid")
        self.commits.append(len(rows))
        stored = {}
        for each in rows:
            key = (each.tenant, each.identity)
            self.repeats[key] = self.repeats.get(key, -1) + 1
            stored[key] = (self.rows.setdefault(key, each).answer, self.repeats[key])
        return stored


def recorder(postgres: FakePostgres, folder: Path, *, seconds: float = 0.5, max_bytes: int = 10**6) -> Recorder:
    journal = Journal(folder, max_bytes=max_bytes)
    return Recorder(postgres, Budget(seconds, failures=DATABASE_FAILURES, pause_seconds=60), journal)


async def test_webhooks_that_wait_together_share_a_commit(tmp_path: Path) -> None:
    postgres = FakePostgres()
    subject = recorder(postgres, tmp_path)
    recorded = await asyncio.gather(*(subject.record(row(f"ring:{i}")) for i in range(40)))
    assert {each.where for each in recorded} == {"postgres"}
    assert sum(postgres.commits) == 40
    assert len(postgres.commits) <= 4


async def test_a_webhook_that_follows_right_upon_another_waits_for_nobody(tmp_path: Path) -> None:
    postgres = FakePostgres()
    subject = recorder(postgres, tmp_path)
    async with asyncio.timeout(5):
        for number in range(5):
            await subject.record(row(f"ring:{number}"))
    assert postgres.commits == [1] * 5


async def test_the_same_call_twice_in_one_commit_has_one_answer(tmp_path: Path) -> None:
    subject = recorder(FakePostgres(), tmp_path)
    first, second = await asyncio.gather(subject.record(row("ring:c", "one")), subject.record(row("ring:c", "two")))
    assert (first.answer, second.answer) == ("one", "one")
    assert (first.repeated, second.repeated) == (False, True)


async def test_a_call_answered_elsewhere_keeps_that_answer(tmp_path: Path) -> None:
    postgres = FakePostgres()
    await postgres.take_in([row("ring:c", "theirs")])
    recorded = await recorder(postgres, tmp_path).record(row("ring:c", "ours"))
    assert (recorded.answer, recorded.repeated) == ("theirs", True)


@pytest.mark.parametrize("failure", [OSError(), asyncpg.PostgresError(), TimeoutError(), asyncpg.InterfaceError("x")])
async def test_without_postgres_the_journal_takes_it_and_gives_it_back(tmp_path: Path, failure: Exception) -> None:
    postgres = FakePostgres()
    postgres.failure = failure
    journal = Journal(tmp_path, max_bytes=10**6)
    subject = Recorder(postgres, Budget(0.5, failures=DATABASE_FAILURES), journal)
    recorded = await subject.record(ROW)
    assert (recorded.where, recorded.answer) == ("journal", "first")
    postgres.failure = None
    assert await drain(journal, postgres) == 1
    assert list(postgres.rows.values()) == [ROW]


async def test_a_slow_postgres_is_not_waited_for_and_not_asked_again_at_once(tmp_path: Path) -> None:
    postgres = FakePostgres()
    postgres.gate.clear()
    subject = recorder(postgres, tmp_path, seconds=0.02)
    assert (await subject.record(row("ring:a"))).where == "journal"
    postgres.gate.set()
    assert (await subject.record(row("ring:b"))).where == "journal"


async def test_what_came_late_to_postgres_after_all_is_stored_once(tmp_path: Path) -> None:
    postgres = FakePostgres()
    postgres.gate.clear()
    journal = Journal(tmp_path, max_bytes=10**6)
    subject = Recorder(postgres, Budget(0.02, failures=DATABASE_FAILURES), journal)
    await subject.record(ROW)
    postgres.gate.set()
    await drain(journal, postgres)
    assert list(postgres.rows.values()) == [ROW]


async def test_when_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    postgres = FakePostgres()
    postgres.failure = OSError()
    with pytest.raises(NotRecorded):
        await recorder(postgres, tmp_path, max_bytes=1).record(ROW)


async def test_a_webhook_that_postgres_cannot_hold_keeps_no_other_out_of_it(tmp_path: Path) -> None:
    postgres = FakePostgres()
    postgres.refused = {"ring:bad"}
    journal = Journal(tmp_path, max_bytes=10**6)
    subject = Recorder(postgres, Budget(0.5, failures=DATABASE_FAILURES), journal)
    await asyncio.gather(*(subject.record(row(name)) for name in ("ring:1", "ring:bad", "ring:2")))
    await drain(journal, postgres)
    assert {identity for _, identity in postgres.rows} == {"ring:1", "ring:2"}
    assert journal.empty


async def test_a_budget_lets_go_of_what_hangs_and_pauses_after_a_failure() -> None:
    budget = Budget(0.01, failures=(OSError,), pause_seconds=60)
    hung = asyncio.Event()

    async def hang() -> bool:
        return await hung.wait()

    with pytest.raises(Unavailable, match="slow"):
        await budget.spend(hang)
    assert not budget.open
    with pytest.raises(Unavailable, match="paused"):
        await budget.spend(hang)
    await budget.close()


async def test_a_budget_passes_on_what_is_not_the_servers_fault() -> None:
    budget = Budget(1, failures=(OSError,))

    async def bug() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await budget.spend(bug)
    assert budget.open


async def test_two_answers_to_one_call_are_counted_when_the_journal_meets_postgres(tmp_path: Path) -> None:
    postgres = FakePostgres()
    postgres.failure = OSError()
    journal = Journal(tmp_path, max_bytes=10**6)
    subject = Recorder(postgres, Budget(0.5, failures=DATABASE_FAILURES), journal)
    await asyncio.gather(subject.record(row("ring:same", "one")), subject.record(row("ring:other", "ours")))
    postgres.failure = None
    await postgres.take_in([row("ring:same", "one"), row("ring:other", "theirs")])
    before = METRICS.answer_conflicts._value.get()
    await drain(journal, postgres)
    assert METRICS.answer_conflicts._value.get() - before == 1
