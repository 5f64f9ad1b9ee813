"""Metrics, traces and what logs may say: without personal data, with one trace from request to effect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagate import extract
from prometheus_client import Counter, Gauge, Histogram
from pydantic import ValidationError

__all__ = [
    "METRICS",
    "current_traceparent",
    "exemplar",
    "get_logger",
    "get_tracer",
    "is_past",
    "parent_of",
    "redact",
    "spans_are_exported",
    "told",
    "trace_id_of",
]

AGE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


class METRICS:
    """What the plumbing measures. The help text is the documentation."""

    event_age = Histogram(
        "trunkline_event_age_seconds",
        "Time from an event's ce_time to the commit of its effect",
        ["consumer", "topic"],
        buckets=AGE_BUCKETS,
    )
    handled = Counter("trunkline_events_handled", "Events by what became of them", ["consumer", "topic", "outcome"])
    dead_letters = Counter("trunkline_dead_letters", "Records parked, by reason code", ["consumer", "topic", "reason"])
    paused = Gauge("trunkline_consumer_paused", "1 while a consumer waits for its database", ["consumer"])
    halted = Gauge("trunkline_consumer_halted", "1 after a consumer stopped at its dead-letter limits", ["consumer"])
    commit_failures = Counter("trunkline_commit_failures", "Offset commits that Kafka refused", ["consumer"])
    missed = Counter("trunkline_records_missed", "Records that retention deleted unread", ["consumer", "topic"])
    retries = Counter("trunkline_retries", "Handler attempts after the first", ["consumer"])
    relayed = Counter("trunkline_relayed_events", "Events published from the outbox", ["service"])
    relay_leader = Gauge("trunkline_relay_leader", "1 in the process that publishes the outbox", ["service"])
    outbox_age = Gauge("trunkline_outbox_oldest_age_seconds", "Age of the oldest unpublished event", ["service"])
    outbox_unpublished = Gauge(
        "trunkline_outbox_unpublished", "Events that wait for the relay; above 10,000 an estimate", ["service"]
    )
    relay_held_back = Gauge(
        "trunkline_relay_held_back_seconds",
        "For how long the oldest open transaction holds the relay back",
        ["service"],
    )
    relay_held_back_by = Gauge(
        "trunkline_relay_held_back_by_pid", "Its Postgres process; 0 none, -1 a prepared transaction", ["service"]
    )
    relay_halted = Gauge(
        "trunkline_relay_halted", "1 while nothing is published: Kafka is not what it was", ["service"]
    )
    relay_errors = Counter("trunkline_relay_errors", "Times the relay had to start over", ["service"])
    suppressed = Counter("trunkline_suppressed_events", "Events that a replay was not allowed to tell", ["service"])
    partitions = Gauge("trunkline_consumer_partitions", "Partitions that this process holds", ["consumer"])
    rebalances = Counter("trunkline_rebalances", "Times a consumer was given its partitions anew", ["consumer"])
    query_seconds = Histogram(
        "trunkline_db_query_duration_seconds", "Time of one statement, with the wait for its answer", ["service"],
        buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)
    )  # fmt: skip
    component_errors = Counter("trunkline_component_errors", "Failed runs or starts of a component", ["component"])


_PHONE = re.compile(r"\+?\d[\d \-().]{7,}\d")
_EMAIL = re.compile(r"[^\s@<>\"']+@[^\s@<>\"']+")
_GSTIN_OR_PAN = re.compile(r"\b(?:\d{2})?[A-Z]{5}\d{4}[A-Z](?:[0-9A-Z]{3})?\b")
# What stands in quotes in an exception's text is nearly always a value: int('…'), KeyError('…'), codecs, URLs.
_QUOTED = re.compile(r"""(?<!\w)[bBrRuUfF]{0,2}(['"`])(?:\\(?:.|\Z)|(?!\1)[^\\]|\1(?=\w))*(?:\1|\Z)""", re.DOTALL)


_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})")
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
    try:
        id_ = UUID(event_id)
    except ValueError:
        id_ = None
    appended = (id_.int >> 80) / 1000 if id_ is not None and id_.version == 7 else time.timestamp()
    return datetime.now(UTC).timestamp() - appended > PAST_SECONDS


def parent_of(headers: Mapping[str, str]) -> Context:
    """The trace context that ``traceparent`` in these headers carries."""
    return extract(dict(headers))
