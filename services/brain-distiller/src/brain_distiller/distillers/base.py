"""What a distiller is: one kind of fact, read out of text deterministically."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, Protocol

from identifiers.span import Found

__all__ = ["Distiller", "Mention", "ValueType"]

ValueType = Literal["gstin", "pan", "phone", "email", "upi", "ifsc", "money", "date"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mention:
    """One value in one text: ``text[start:end] == raw``, half-open."""

    key: str
    value: str
    raw: str
    start: int
    end: int
    value_type: ValueType
    unit: str | None = None
    confidence: float
    extractor: str

    @classmethod
    def of(cls, found: Found, distiller: Distiller, confidence: float, *, unit: str | None = None) -> Mention:
        return cls(
            key=distiller.key,
            value=found.value,
            raw=found.raw,
            start=found.start,
            end=found.end,
            value_type=distiller.value_type,
            unit=unit,
            confidence=confidence,
            extractor=distiller.extractor,
        )


class Distiller(Protocol):
    """Reads one key out of text.

    ``find`` is pure and gives mentions in order, without overlap, in time linear in the text's length. ``said_on`` is
    the day of speaking, for what only it can tell (``tomorrow``). The same text said on the same day gives the same
    mentions for as long as ``extractor`` (``name/version``) stays the same: whoever changes
    what ``find`` gives, raises the version.
    """

    @property
    def key(self) -> str: ...

    @property
    def value_type(self) -> ValueType: ...

    @property
    def extractor(self) -> str: ...

    @property
    def single_valued(self) -> bool:
        """Whether a subject has one value at most, so that a second one is a conflict."""

    def find(self, text: str, said_on: date | None = None) -> Sequence[Mention]: ...
