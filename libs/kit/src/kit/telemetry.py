"""Metrics, traces and what logs may say: without personal data, with one trace from request to effect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import asyncpg
import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagate import extract
from pydantic import ValidationError

from kit.metrics import counter, gauge, histogram

__all__ = [
    "METRICS", "current_traceparent", "exemplar", "get_logger", "get_tracer", "is_past", "parent_of", "redact",
    "spans_are_exported", "told", "trace_id_of",
]  # fmt: skip

TIMES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)
_SERVICE, _CONSUMER = ("service",), ("consumer",)
AGE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


class METRICS:
    """What the plumbing measures. The help text is the documentation."""

    event_age = histogram("trunkline_event_age_seconds", "seconds", "Time from an event to the commit of its effect",
                          ["consumer", "topic"], AGE_BUCKETS)  # fmt: skip
    handled = counter("trunkline_events_handled", "1", "Events by what became of them",
                      ["consumer", "topic", "outcome"])  # fmt: skip
    dead_letters = counter("trunkline_dead_letters", "1", "Records parked, by reason code",
                           ["consumer", "topic", "reason"])  # fmt: skip
    paused = gauge("trunkline_consumer_paused", "1", "1 while a consumer waits for its database", _CONSUMER)
    halted = gauge("trunkline_consumer_halted", "1", "1 after a consumer stopped at its dead-letter limits", _CONSUMER)
    commit_failures = counter("trunkline_commit_failures", "1", "Offset commits that Kafka refused", _CONSUMER)
    missed = counter("trunkline_records_missed", "1", "Records that retention deleted unread", ["consumer", "topic"])
    retries = counter("trunkline_retries", "1", "Handler attempts after the first", _CONSUMER)
    relayed = counter("trunkline_relayed_events", "1", "Events published from the outbox", _SERVICE)
    relay_leader = gauge("trunkline_relay_leader", "1", "1 in the process that publishes the outbox", _SERVICE)
    outbox_age = gauge(
        "trunkline_outbox_oldest_age_seconds", "seconds", "Age of the oldest unpublished event", _SERVICE
    )
    outbox_unpublished = gauge("trunkline_outbox_unpublished", "1",
                               "Events that wait for the relay; above 10,000 an estimate", _SERVICE)  # fmt: skip
    relay_held_back = gauge("trunkline_relay_held_back_seconds", "seconds",
                            "For how long the oldest open transaction holds the relay back", _SERVICE)  # fmt: skip
    relay_held_back_by = gauge("trunkline_relay_held_back_by_pid", "process id",
                               "Its Postgres process; 0 none, -1 a prepared transaction", _SERVICE)  # fmt: skip
    relay_halted = gauge(
        "trunkline_relay_halted", "1", "1 while nothing is published: Kafka is not what it was", _SERVICE
    )
    relay_errors = counter("trunkline_relay_errors", "1", "Times the relay had to start over", _SERVICE)
    suppressed = counter("trunkline_suppressed_events", "1", "Events that a replay was not allowed to tell", _SERVICE)
    partitions = gauge("trunkline_consumer_partitions", "1", "Partitions that this process holds", _CONSUMER)
    rebalances = counter("trunkline_rebalances", "1", "Times a consumer was given its partitions anew", _CONSUMER)
    query_seconds = histogram("trunkline_db_query_duration_seconds", "seconds",
                              "Time of one statement, with the wait for its answer", _SERVICE, TIMES)  # fmt: skip
    component_errors = counter("trunkline_component_errors", "1", "Failed runs or starts of a component", ["component"])


_PHONE = re.compile(r"\+?\d[\d \-().]{7,}\d")
_EMAIL = re.compile(r"[^\s@<>\"']+@[^\s@<>\"']+")
_GSTIN_OR_PAN = re.compile(r"\b(?:\d{2})?[A-Z]{5}\d{4}[A-Z](?:[0-9A-Z]{3})?\b")
# What stands in quotes in an exception's text is nearly always a value: int('…'), KeyError('…'), codecs, URLs.
_QUOTED = re.compile(r"""(?<!\w)[bBrRuUfF]{0,2}(['"`])(?:\\(?:.|\Z)|(?!\1)[^\\]|\1(?=\w))*(?:\1|\Z)""", re.DOTALL)


_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})")
_UUID7 = re.compile("([0-9a-f]{8})-([0-9a-f]{4})-7")
PAST_SECONDS = 300.0


def redact(text: str) -> str:
    """Mask what looks like a phone number, an e-mail address, a GSTIN or a PAN."""
    if "@" in text:
        text = _EMAIL.sub("[email]", text)
    text = _GSTIN_OR_PAN.sub("[tax id]", text)
    return _PHONE.sub(_mask_digits, text)


def told(error: BaseException) -> str:
    """What may be said of an exception: its kind and its text, without the values that came with a record.

    Postgres and pydantic repeat the offending row or input, so of theirs only what names the place is kept.
    """
    kind = type(error).__name__
    if isinstance(error, asyncpg.PostgresError):
        names = {name: getattr(error, f"{name}_name", None) for name in ("constraint", "table", "column")}
        place = ", ".join(f"{name} {value}" for name, value in names.items() if value)
        return f"{kind} {error.sqlstate}" + (f": {place}" if place else "")
    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        return f"{kind}: {error.title}: {', '.join(sorted({each['type'] for each in problems}))}"
    if isinstance(error, BaseExceptionGroup):
        return f"{kind}: {'; '.join(told(each) for each in error.exceptions)}"
    return redact(f"{kind}: {_QUOTED.sub('[value]', str(error))}")


def _mask_digits(match: re.Match[str]) -> str:
    found = match.group()
    # Ids and times have too many digits or separators of their own; a phone number has 8 to 15.
    digits = sum(c.isdigit() for c in found)
    return f"[number …{found[-2:]}]" if 8 <= digits <= 15 else found


def get_logger(name: str) -> Any:
    """A structlog logger: ``log.info("snake_case_event", key=value)``."""
    return structlog.get_logger(module=name)


def spans_are_exported() -> bool:
    """Whether a collector is named: without one, spans that only continue a trace need not be made."""
    return bool(getattr(trace.get_tracer_provider(), "exports", False))


def get_tracer(name: str) -> trace.Tracer:
    return trace.get_tracer(name)


def current_traceparent() -> str:
    """The current span as a W3C traceparent, or an empty string outside any span."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def exemplar(traceparent: str = "") -> dict[str, str] | None:
    """The label of a histogram's exemplar: the trace that this measurement belongs to, if it is recorded.

    That of ``traceparent``, or the current one when that is none.
    """
    told = _TRACEPARENT.fullmatch(traceparent)
    if told is not None:
        return {"trace_id": told[1]} if int(told[2], 16) & 1 else None
    context = trace.get_current_span().get_span_context()
    return {"trace_id": format(context.trace_id, "032x")} if context.is_valid and context.trace_flags.sampled else None


def trace_id_of(traceparent: str) -> str:
    """The id of a traceparent's trace, as logs and exemplars have it."""
    return traceparent[3:35]


def is_past(event_id: str, time: datetime) -> bool:
    """Whether an event is so old that its trace has ended: what comes of it now links to that, and does not stretch it.

    By the time in its id where there is one: an event may tell today of what happened long ago.
    """
    made = _UUID7.match(event_id)
    appended = int(made[1] + made[2], 16) / 1000 if made is not None else time.timestamp()
    return datetime.now(UTC).timestamp() - appended > PAST_SECONDS


def parent_of(headers: Mapping[str, str]) -> Context:
    """The trace context that ``traceparent`` in these headers carries."""
    return extract(dict(headers))
