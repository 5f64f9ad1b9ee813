"""Facts distilled from messages and calls. Produced by brain-distiller."""

from __future__ import annotations

from typing import ClassVar, Literal

from contracts.event import Event, Part, UtcDatetime

__all__ = ["Evidence", "FactExtractedV1"]


class Evidence(Part):
    """Where a fact was read: the exact half-open span of characters in the source's text."""

    source_type: Literal["message", "transcript"]
    """What was read."""
    source_id: str
    """Id of the message or transcript."""
    start: int
    """First character."""
    end: int
    """One past the last character."""
    quote: str
    """The text of the span."""
    at: UtcDatetime
    """When it was said."""


class FactExtractedV1(Event):
    """Something that was said, with the words that say it. A capsule is all current facts of one subject."""

    type: ClassVar[str] = "fact.extracted.v1"

    fact_id: str
    """The same through all versions of the fact."""
    version: int
    """Grows with each change of state."""
    subject: str
    """``customer:<id>``, ``contact:<number>`` or ``chat:<id>``."""
    key: str
    """``gstin``, ``pan``, ``phone``, ``email``, ``upi``, ``ifsc``, ``amount``, ``date``; kinds are added."""
    raw_value: str
    """As written in the source."""
    value: str
    """Normalised; amounts in paise as a decimal integer, dates as ISO 8601."""
    value_type: str
    """How ``value`` is to be read: ``gstin``, ``pan``, ``phone``, ``email``, ``upi``, ``ifsc``, ``money``, ``date`` …;
    kinds are added."""
    unit: str | None = None
    """``INR`` for money."""
    evidence: Evidence
    """Where it was read."""
    confidence: float
    """From 0 to 1."""
    extractor: str
    """Name and version, for instance ``gstin/1``."""
    state: Literal["asserted", "superseded", "conflicting", "retracted"]
    """``conflicting`` when the subject has two different values where one is possible."""

    def entity_id(self) -> str:
        return self.subject
