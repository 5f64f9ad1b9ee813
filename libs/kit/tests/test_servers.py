"""Where the tests' own servers keep their data: in memory where it has room, else where they were told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit import testing
from kit.testing import keep_in_memory


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(testing, "ROOM", 1)
    memory = tmp_path / "memory"
    memory.mkdir()
    return memory


def test_data_goes_to_a_folder_in_memory_that_every_account_can_enter(tmp_path: Path, memory: Path) -> None:
    run_dir = tmp_path / "root" / "test"
    keep_in_memory(run_dir, memory)
    assert run_dir.resolve().parent == memory
    assert run_dir.stat().st_mode & 0o777 == 0o755


def test_a_folder_that_is_there_stays_where_it_is(tmp_path: Path, memory: Path) -> None:
    run_dir = tmp_path / "test"
    run_dir.mkdir()
    keep_in_memory(run_dir, memory)
    assert not run_dir.is_symlink()
    run_dir.rmdir()
    keep_in_memory(run_dir, memory)
    place = run_dir.resolve()
    keep_in_memory(run_dir, memory)
    assert run_dir.resolve() == place


def test_a_link_whose_folder_went_with_the_machine_is_made_anew(tmp_path: Path, memory: Path) -> None:
    run_dir = tmp_path / "test"
    keep_in_memory(run_dir, memory)
    run_dir.resolve().rmdir()
    keep_in_memory(run_dir, memory)
    assert run_dir.is_dir()


def test_where_memory_has_no_room_a_disk_is_taken(
    tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testing, "ROOM", 1 << 60)
    for place in (memory, tmp_path / "no memory"):
        keep_in_memory(tmp_path / "test", place)
        assert not (tmp_path / "test").is_symlink()
