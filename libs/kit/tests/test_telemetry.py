"""No personal data and no secret reaches a log line."""

from __future__ import annotations

import io
import json
import logging

import pytest

from kit.telemetry import configure_logging, get_logger, redact


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


def test_a_log_line_is_json_without_personal_data(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("test", "INFO")
    log = get_logger("test")
    try:
        raise ValueError("no agent for +91 98470 00123")
    except ValueError:
        log.warning(
            "it_failed",
            caller="+919847000123",
            api_token="abc",
            note="ask anyone@example.com",
            exc_info=True,
            call_id="0199-1234567890",
            ms=12,
        )
    logging.getLogger("library").warning("lost +91 98470 00123")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == 2
    assert (lines[0]["event"], lines[0]["service"], lines[0]["ms"]) == ("it_failed", "test", 12)
    assert lines[0]["call_id"] == "0199-1234567890"
    text = json.dumps(lines)
    assert "98470" not in text
    assert "abc" not in text
    assert "anyone" not in text


def test_a_logger_outlives_the_stream_that_it_first_wrote_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        stream = io.StringIO()
        patch.setattr("sys.stderr", stream)
        configure_logging("test", "INFO")
        log = get_logger("test")
        log.info("before")
        stream.close()
    log.info("after")
    logging.getLogger("library").warning("after too")
    assert len(capsys.readouterr().err.splitlines()) == 2
