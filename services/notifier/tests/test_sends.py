"""How long a message waits, and what stays the same in every attempt at it."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from notifier.sends import PULSE, RetryPolicy, SendState, message_id, send_id_of

from .conftest import DAY

POLICY = RetryPolicy(first=timedelta(seconds=10), longest=timedelta(seconds=60), give_up=timedelta(hours=1))


def test_pauses_double_up_to_the_longest() -> None:
    waits = [POLICY.wait(attempts, waited=timedelta(0)) for attempts in range(1, 6)]
    assert [wait.total_seconds() for wait in waits if wait is not None] == [10, 20, 40, 60, 60]
    assert POLICY.wait(10_000, waited=timedelta(0)) == timedelta(seconds=60)


def test_it_is_given_up_after_a_while() -> None:
    assert POLICY.wait(3, waited=timedelta(minutes=59)) is not None
    assert POLICY.wait(3, waited=timedelta(hours=1)) is None


def test_one_cause_has_one_send_and_one_message_id() -> None:
    first, second = (send_id_of(UUID(int=1), PULSE, DAY, "email") for _ in range(2))
    assert first == second
    assert first != send_id_of(UUID(int=2), PULSE, DAY, "email")
    assert message_id(first, "Trunkline <pulse@example.com>") == f"<{first}@example.com>"
    assert message_id(first, "") == f"<{first}@localhost>"


@pytest.mark.parametrize("state", SendState)
def test_only_waiting_and_leaving_messages_are_open(state: SendState) -> None:
    assert state.settled == (state not in (SendState.PENDING, SendState.SENDING))
