from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from telephony_router.breaker import FAILURES_LEAST, PAUSE, PAUSE_MOST, PROBE, WINDOW, Breaker, admit, noted

NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)


def after(breaker: Breaker, results: str, now: datetime = NOW) -> Breaker:
    for each in results:
        breaker = noted(breaker, each == "+", now)
    return breaker


def test_it_opens_at_half_of_the_window_and_not_for_a_few() -> None:
    assert after(Breaker(), "----").state == "closed"
    assert after(Breaker(), "-----").state == "open"
    assert after(Breaker(), "++++++-----").state == "closed"
    assert after(Breaker(), "++++++------").state == "open"


def test_failures_of_an_earlier_window_are_forgotten() -> None:
    assert after(after(Breaker(), "----"), "-", NOW + WINDOW).state == "closed"


def test_after_its_pause_it_lets_one_through_and_no_second() -> None:
    opened = after(Breaker(), "-----")
    assert admit(opened, NOW + PAUSE - timedelta(seconds=1)) == (opened, False)
    half, admitted = admit(opened, NOW + PAUSE)
    assert (half.state, admitted) == ("half_open", True)
    assert admit(half, NOW + PAUSE) == (half, False)
    # Whoever was let through never came back: another one is.
    assert admit(half, NOW + PAUSE + PROBE)[1]


def test_one_success_closes_it_and_one_failure_doubles_the_pause() -> None:
    opened = after(Breaker(), "-----")
    half, _ = admit(opened, NOW + PAUSE)
    assert noted(half, True, NOW) == Breaker()
    again = noted(half, False, NOW)
    assert (again.state, again.until) == ("open", NOW + 2 * PAUSE)


def test_what_was_let_through_before_it_opened_changes_nothing() -> None:
    opened = after(Breaker(), "-----")
    assert after(opened, "+-+-") == opened


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 700)), max_size=60))
def test_it_never_waits_longer_than_it_may_and_never_opens_without_failures(course: list[tuple[bool, int]]) -> None:
    breaker, now, bad = Breaker(), NOW, 0
    for healthy, seconds in course:
        now += timedelta(seconds=seconds)
        breaker, admitted = admit(breaker, now)
        if admitted:
            bad += not healthy
            breaker = noted(breaker, healthy, now)
        assert breaker.state == "closed" or bad >= FAILURES_LEAST
        assert breaker.until is None or breaker.until - now <= PAUSE_MOST
