from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.erasure import SubjectErasedV1
from recovery.marks import Marks, person_named


def subject(**fields: Any) -> SubjectErasedV1:
    told: dict[str, Any] = {
        "erasure_id": "e",
        "subject_id": "s",
        "part": 1,
        "scope": "person",
        "effective_at": datetime(2026, 6, 15, tzinfo=UTC),
        "numbers": ("+919847000010",),
        "emails": ("accounts@example.in",),
        "customer_ids": ("42",),
        "chat_ids": ("chat-1",),
    }
    return SubjectErasedV1(**(told | fields))


@pytest.mark.parametrize(
    "text",
    [
        "contact:+919847000010", "call +919847000010 back", "919847000010@s.whatsapp.net", "(9847000010)",
        "Accounts@Example.in,", "customer:42", "subject customer:42, fact key pan", "chat:chat-1", "32AABCU9603R1ZW",
    ],
)  # fmt: skip
def test_texts_that_name_the_person_are_known(text: str) -> None:
    marks = Marks(subject(), values=("32AABCU9603R1ZW", "500"))
    assert marks.name(text)
    assert any(part in text.lower() for part in marks.parts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "customer:420",
        "customer:42-b",
        "xcustomer:42",
        "98470000100",
        "my-accounts@example.in",
        "chat:chat-10",
        "500",
    ],
)
def test_texts_about_others_are_left(text: str) -> None:
    assert not Marks(subject(), values=("32AABCU9603R1ZW", "500")).name(text)


def test_where_only_messages_are_forgotten_calls_and_the_directory_may_name_the_person() -> None:
    marks = Marks(subject(scope="messages"))
    assert not any(map(marks.name, ("call +919847000010", "customer:42", "accounts@example.in")))
    assert marks.name("contact:+919847000010")
    assert not Marks(subject(scope="messages", numbers=(), chat_ids=()))


@pytest.mark.parametrize(
    ("value_type", "value", "name"),
    [
        ("phone", "+919847000010", "+919847000010"),
        ("email", "accounts@example.in", "accounts@example.in"),
        ("upi", "9847000010@okaxis", "+919847000010"),
        ("upi", "919847000010@okaxis", "+919847000010"),
        ("upi", "desk@okaxis", None),
        ("money", "9847000010", None),
    ],
)
def test_values_that_name_somebody_are_asked_for_by_that_name(value_type: str, value: str, name: str | None) -> None:
    assert person_named(value_type, value) == name
