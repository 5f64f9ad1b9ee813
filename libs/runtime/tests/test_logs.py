"""No personal data and no secret reaches a log line."""

from __future__ import annotations

import io
import json
import logging

import asyncpg
import pytest

from kit.telemetry import get_logger
from runtime.logs import configure_logging


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


def test_a_traceback_has_its_causes_and_none_of_their_values(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("test", "INFO")
    cause = asyncpg.CheckViolationError("a row with Thekkeparambil")
    cause.detail = "Failing row contains (Thekkeparambil)."
    try:
        raise ValueError("it came of 'Thekkeparambil'") from cause
    except ValueError:
        get_logger("test").warning("it_failed", exc_info=True)
        logging.getLogger("library").warning("it failed", exc_info=True)
    lines = [json.loads(line)["exception"].splitlines() for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == 2
    for told in lines:
        assert told[-1] == "ValueError: it came of [value]"
        assert "CheckViolationError 23514" in told
        assert "in test_a_traceback" in told[-3]
        # The lines of the code itself are of this file.
        assert not [line for line in told if "Thekkeparambil" in line and not line.startswith("    ")]
