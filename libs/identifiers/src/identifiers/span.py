"""Where something was found: an exact half-open span of the given text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Found", "Mask"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """``text[start:end] == raw``; ``value`` is the normalised form."""

    start: int
    end: int
    raw: str
    value: str


class Mask:
    """Spans that are spoken for. Spans must come in order and must not overlap each other."""

    __slots__ = ("_at", "_spans")

    def __init__(self, *found: Iterable[Found]) -> None:
        self._spans = sorted((each.start, each.end) for group in found for each in group)
        self._at = 0

    def covers(self, start: int, end: int) -> bool:
        """Whether a taken span touches ``[start, end)``. Ask from left to right: answered spans are forgotten."""
        while self._at < len(self._spans) and self._spans[self._at][1] <= start:
            self._at += 1
        return self._at < len(self._spans) and self._spans[self._at][0] < end
