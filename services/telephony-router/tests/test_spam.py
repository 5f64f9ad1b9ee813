"""The spam score: a pure function of counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony_router.spam import StrangerCalls, score

COUNTS = st.builds(
    StrangerCalls,
    futile_hour=st.integers(0, 50),
    futile_day=st.integers(0, 200),
    dids_hour=st.integers(0, 20),
    dids_day=st.integers(0, 50),
    talks_day=st.integers(0, 5),
).filter(lambda each: each.futile_hour <= each.futile_day and each.dids_hour <= each.dids_day)


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        (StrangerCalls(), 0),
        (StrangerCalls(talks_day=3), 0),
        (StrangerCalls(futile_hour=1, futile_day=1, dids_hour=1, dids_day=1), 0),
        (StrangerCalls(futile_day=1, dids_day=1), 0),
        (StrangerCalls(futile_hour=3, futile_day=3, dids_hour=1, dids_day=1), 24),
        (StrangerCalls(futile_hour=5, futile_day=5, dids_hour=1, dids_day=1), 48),
        (StrangerCalls(futile_hour=5, futile_day=5, dids_hour=5, dids_day=5), 100),
        (StrangerCalls(futile_hour=5, futile_day=5, dids_hour=1, dids_day=1, talks_day=1), 8),
        (StrangerCalls(futile_day=11, dids_day=1), 40),
    ],
)
def test_the_score_of_some_days(counts: StrangerCalls, wanted: int) -> None:
    assert score(counts) == wanted


@given(COUNTS)
def test_a_score_is_between_nothing_and_a_hundred(counts: StrangerCalls) -> None:
    assert 0 <= score(counts) <= 100


@given(COUNTS)
def test_one_futile_call_more_never_makes_a_number_look_better(counts: StrangerCalls) -> None:
    more = StrangerCalls(
        futile_hour=counts.futile_hour + 1,
        futile_day=counts.futile_day + 1,
        dids_hour=counts.dids_hour,
        dids_day=counts.dids_day,
        talks_day=counts.talks_day,
    )
    assert score(more) >= score(counts)
