from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from telephony_router.journal import Journal, JournalFull


async def drained(journal: Journal) -> list[bytes]:
    seen: list[bytes] = []

    async def store(records: list[bytes]) -> None:
        seen.extend(records)

    await journal.drain(store)
    return seen


def journal_in(folder: Path, max_bytes: int = 1_000_000) -> Journal:
    journal = Journal(folder, max_bytes=max_bytes)
    journal.open()
    return journal


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


async def test_what_was_appended_comes_out_in_order_once(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    await asyncio.gather(*(journal.append(b"record %d" % i) for i in range(50)))
    assert await drained(journal) == [b"record %d" % i for i in range(50)]
    assert await drained(journal) == []
    assert segments(tmp_path) == []
    assert journal.empty


async def test_a_record_is_on_the_disk_when_append_returns(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    await journal.append(b'{"a":1}')
    (segment,) = segments(tmp_path)
    assert segment.read_bytes().endswith(b' {"a":1}\n')


async def test_what_a_dead_process_left_is_adopted(tmp_path: Path) -> None:
    dead = journal_in(tmp_path)
    await dead.append(b"left behind")
    await dead.close()
    heir = journal_in(tmp_path)
    assert await drained(heir) == [b"left behind"]


async def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    living, other = journal_in(tmp_path), None
    await living.append(b"mine")
    other = journal_in(tmp_path)
    assert await drained(other) == []
    assert await drained(living) == [b"mine"]


@pytest.mark.parametrize("cut", range(1, 20))
async def test_a_torn_tail_costs_only_what_was_never_acknowledged(tmp_path: Path, cut: int) -> None:
    dead = journal_in(tmp_path)
    await dead.append(b"whole")
    await dead.append(b"torn record")
    await dead.close()
    (segment,) = segments(tmp_path)
    os.truncate(segment, segment.stat().st_size - cut)
    wanted = [b"whole"] if cut > 1 else [b"whole", b"torn record"]
    assert await drained(journal_in(tmp_path)) == wanted
    assert names(tmp_path) == []


async def test_a_broken_line_in_the_middle_is_kept_for_people_and_the_rest_comes_out(tmp_path: Path) -> None:
    dead = journal_in(tmp_path)
    for record in (b"one", b"two", b"three"):
        await dead.append(record)
    await dead.close()
    (segment,) = segments(tmp_path)
    segment.write_bytes(segment.read_bytes().replace(b"two", b"tvo"))
    assert await drained(journal_in(tmp_path)) == [b"one", b"three"]
    assert names(tmp_path) == [segment.with_suffix(".corrupt").name]


async def test_what_was_put_aside_goes_after_its_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aside = tmp_path / "1.corrupt"
    aside.write_bytes(b"names a caller")
    os.utime(aside, (0, 0))
    journal = journal_in(tmp_path)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 31 * 24 * 3600)
    journal.open()
    assert names(tmp_path) == ["1.corrupt"]
    monkeypatch.setattr(time, "time", lambda: now + 32 * 24 * 3600 + 60)
    journal.open()
    assert names(tmp_path) == []


async def test_the_journal_has_a_bound_and_takes_more_once_it_is_drained(tmp_path: Path) -> None:
    journal = journal_in(tmp_path, max_bytes=100)
    await journal.append(b"x" * 60)
    with pytest.raises(JournalFull):
        await journal.append(b"x" * 60)
    assert await drained(journal) == [b"x" * 60]
    await journal.append(b"x" * 60)


async def test_a_drain_that_fails_loses_nothing(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    await journal.append(b"one")

    async def down(records: list[bytes]) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await journal.drain(down)
    await journal.append(b"two")
    assert await drained(journal) == [b"one", b"two"]


async def test_writing_goes_on_while_a_drain_is_under_way(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    await journal.append(b"one")

    async def slow(records: list[bytes]) -> None:
        await journal.append(b"meanwhile")

    await journal.drain(slow)
    assert await drained(journal) == [b"meanwhile"]


async def test_a_disk_that_cannot_be_written_is_an_error_and_recovers(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.write_bytes(b"in the way")
    journal = Journal(folder, max_bytes=1000)
    with pytest.raises(OSError, match=r"exists|directory"):
        await journal.append(b"one")
    folder.unlink()
    await journal.append(b"two")
    assert await drained(journal) == [b"two"]


async def test_writing_while_segments_are_drained_and_closed_never_leaves_anyone_waiting(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    seen: list[bytes] = []

    async def store(records: list[bytes]) -> None:
        seen.extend(records)

    async def write(writer: int) -> None:
        for number in range(40):
            await journal.append(b"%d %d" % (writer, number))

    async def drain() -> None:
        for _ in range(60):
            await journal.drain(store)

    async with asyncio.timeout(60):
        await asyncio.gather(*(write(writer) for writer in range(4)), drain())
        await journal.drain(store)
    assert sorted(seen) == sorted(b"%d %d" % (writer, number) for writer in range(4) for number in range(40))
    assert journal.size() == 0


async def test_an_error_nobody_expected_reaches_whoever_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(file: int) -> None:
        raise RuntimeError("unexpected")

    journal = journal_in(tmp_path)
    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(OSError, match="unexpected"):
        async with asyncio.timeout(60):
            await journal.append(b"one")
    monkeypatch.undo()
    await journal.append(b"two")
    assert b"two" in await drained(journal)
