"""Facts distilled from messages and calls. Produced by brain-distiller."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from contracts.event import Event, UtcDatetime

__all__ = ["Evidence", "FactExtractedV1"]


class Evidence(BaseModel):
    """Where a fact was read: the exact half-open span of characters in the source's text."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    source_type: Literal["message", "transcript"]
    source_id: str
    start: int
    end: int
    quote: str
    at: UtcDatetime


class FactExtractedV1(Event):
    type: ClassVar[str] = "fact.extracted.v1"

    fact_id: str
    version: int
    subject: str
    """``customer:<id>``, ``contact:<number>`` or ``chat:<id>``."""
    key: str
    """``gstin``, ``pan``, ``phone``, ``email``, ``amount``"""
    raw_value: str
    value: str
    """Normalised; amounts in paise as a decimal integer."""
    value_type: Literal["gstin", "pan", "phone", "email", "money"]
    unit: str | None = None
    evidence: Evidence
    confidence: float
    extractor: str
    """Name and version, for instance ``gstin/1``."""
    state: Literal["asserted", "superseded", "conflicting", "retracted"]

    def entity_id(self) -> str:
        return self.subject
