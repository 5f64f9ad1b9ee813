"""Rows of a source and their messages: whatever the order in which lanes bring them."""

from __future__ import annotations

from itertools import islice
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from vault_importer.row_map import RowMap


def message(row: int) -> UUID:
    return UUID(int=row)


@given(rows=st.lists(st.integers(1, 10_000), unique=True), size=st.integers(1, 7))
def test_every_row_is_found_in_whatever_order_it_came(rows: list[int], size: int) -> None:
    known = RowMap()
    left = iter(rows)
    while chunk := list(islice(left, size)):
        known.add((row, message(row)) for row in chunk)
    assert len(known) == len(rows)
    assert all(known.get(row) == message(row) for row in rows)
    assert known.get(0) is None
    assert known.get(10_001) is None


def test_lanes_that_take_turns_stay_in_two_runs_and_nothing_is_kept_but_numbers() -> None:
    known = RowMap()
    for begin in range(0, 1_000, 10):
        for lane in (0, 1):
            known.add((row, message(row)) for row in range(begin * 2 + lane, begin * 2 + 20, 2))
    assert len(known._runs) == 2
    assert sum(len(rows) * rows.itemsize + len(ids) for rows, ids in known._runs) == 24 * len(known)


def test_of_a_row_that_comes_twice_the_first_counts() -> None:
    known = RowMap()
    known.add([(5, message(1))])
    known.add([(5, message(2))])
    assert known.get(5) == message(1)
