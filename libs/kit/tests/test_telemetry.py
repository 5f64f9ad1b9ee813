"""What may be said of texts and of exceptions: nothing personal."""

from __future__ import annotations

import json
from collections.abc import Callable

import asyncpg
import pytest
from pydantic import BaseModel

from kit.telemetry import redact, told


class Row(BaseModel):
    number: int


def taken() -> None:
    error = asyncpg.CheckViolationError("new row violates check constraint with Thekkeparambil")
    error.constraint_name = "positive"
    error.detail = "Failing row contains (Thekkeparambil)."
    raise error


def grouped() -> None:
    raise ExceptionGroup("all", [KeyError("Thekkeparambil")])


FAILURES: list[tuple[Callable[[], object], str]] = [
    (lambda: int("Thekkeparambil"), "invalid literal for int()"),
    (lambda: {}["Thekkeparambil"], "KeyError"),
    (lambda: Row.model_validate({"number": "Thekkeparambil"}), "Row: int_parsing"),
    (lambda: json.loads("Thekkeparambil"), "line 1 column 1"),
    (lambda: bytes.fromhex("Thekkeparambil"), "non-hexadecimal"),
    (lambda: float("O'Brien \"Thekkeparambil"), "convert string to float"),
    (lambda: Row.__getattribute__(Row(number=1), "Thekkeparambil"), "AttributeError"),
    (taken, "CheckViolationError 23514: constraint positive"),
    (grouped, "KeyError"),
]


@pytest.mark.parametrize(("fails", "kept"), FAILURES)
def test_of_an_exception_is_said_what_it_is_and_no_value(fails: Callable[[], object], kept: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - each kind has its own
        fails()
    assert kept in told(raised.value)
    assert "Thekkeparambil" not in told(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "call from +91 98470 00123 failed",
        "number 9847000123",
        "mail anyone@example.com now",
        "GSTIN 32AABCU9603R1ZW",
        "PAN AABCU9603R",
        "duplicate key (0919847000123)",
    ],
)
def test_what_looks_personal_is_masked(text: str) -> None:
    masked = redact(text)
    assert "0123" not in masked.replace("…23", "")
    assert "anyone" not in masked
    assert "AABCU9603R" not in masked


@pytest.mark.parametrize("text", ["took 12 ms", "partition 3 offset 1044", "record 42 of 20000"])
def test_plain_figures_stay(text: str) -> None:
    assert redact(text) == text
