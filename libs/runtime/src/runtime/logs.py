"""Logs: one JSON object a line on standard error, without personal data and secrets, also in what libraries say."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog
from opentelemetry import trace

from kit.telemetry import redact, told

__all__ = ["configure_logging"]

_SECRET_WORDS = ("password", "secret", "token", "authorization", "cookie", "api_key", "key_hex")
_PERSONAL_WORDS = ("caller", "number", "phone", "email", "recipient", "text", "quote", "body", "payload")


def _redaction(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in entry.items():
        if key in ("event", "level", "timestamp", "service", "module", "trace_id"):
            continue
        if any(word in key for word in _SECRET_WORDS):
            entry[key] = "[secret]"
        elif isinstance(value, str):
            entry[key] = "[personal]" if any(word in key for word in _PERSONAL_WORDS) else _redact_value(key, value)
    return entry


def _redact_value(key: str, value: str) -> str:
    # Our own ids are hexadecimal and would otherwise lose runs of digits to the phone pattern.
    return value if key.endswith("_id") or key in ("tenant", "sha256") else redact(value)


def _trace_ids(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        entry["trace_id"] = format(context.trace_id, "032x")
    return entry


def _traceback(exc_info: Any) -> str:
    """As Python prints it, with the causes, but every exception as :func:`told`."""
    error, parts, seen = exc_info[1], [], set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames = "".join(traceback.format_tb(error.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{frames}{told(error)}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\nwhich came of it:\n\n".join(reversed(parts))


_format_exception = structlog.processors.ExceptionRenderer(_traceback)


class _StandardError:
    """Whatever standard error is when a line is written: loggers outlive a stream that was put in its place."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure_logging(service: str, level: str = "INFO") -> None:
    """One JSON object a line on standard error, for our own logs and for the libraries'."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _trace_ids,
        _format_exception,
        _redaction,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(ensure_ascii=False)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _StandardError())),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(_StandardError())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared[:-2],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _format_exception,
                _redaction_of_foreign,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # The clients report every reconnect as an error while a server restarts; our own components say it once.
    root.setLevel(logging.WARNING)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("faststream").setLevel(logging.CRITICAL)


def _redaction_of_foreign(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in ("event", "exception"):
        if isinstance(entry.get(key), str):
            entry[key] = redact(entry[key])
    return entry
