"""Chunks take about half a second, whatever the machine."""

from __future__ import annotations

import pytest

from vault_importer.pace import FEWEST_ROWS, WANTED_SECONDS, Pace

MOST = 5_000


def _chunks(pace: Pace, per_row: float, fixed: float = 0.02, count: int = 20) -> list[float]:
    """How long each of some chunks takes at so many seconds a row."""
    taken = []
    for _ in range(count):
        rows = pace.rows
        taken.append(fixed + rows * per_row)
        pace.took(rows, taken[-1])
    return taken


@pytest.mark.parametrize("per_row", [0.0001, 0.0003, 0.001, 0.0019])
def test_after_one_that_was_long_no_chunk_is(per_row: float) -> None:
    pace = Pace(MOST)
    assert all(seconds < 1 for seconds in _chunks(pace, per_row)[1:])


def test_a_machine_that_is_quick_takes_as_much_as_is_allowed() -> None:
    pace = Pace(MOST)
    _chunks(pace, 0.00005)
    assert pace.rows == MOST


def test_it_recovers_from_a_moment_in_which_the_machine_was_busy() -> None:
    pace = Pace(MOST)
    pace.took(MOST, 10 * WANTED_SECONDS)
    assert pace.rows == MOST // 10
    _chunks(pace, 0.00005)
    assert pace.rows == MOST


def test_a_machine_that_stands_still_does_a_few_rows_at_a_time() -> None:
    pace = Pace(MOST)
    for _ in range(3):
        pace.took(pace.rows, 60)
    assert pace.rows == FEWEST_ROWS
    few = Pace(3)
    few.took(3, 60)
    assert few.rows == 3


def test_the_last_few_rows_of_a_table_tell_nothing() -> None:
    pace = Pace(MOST)
    pace.took(7, 0.05)
    assert pace.rows == MOST
    pace.took(7, 2)
    assert pace.rows == FEWEST_ROWS
