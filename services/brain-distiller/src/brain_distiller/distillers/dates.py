"""Dates that a text names. What the writing leaves open costs confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from brain_distiller.distillers.base import Mention, ValueType
from identifiers.dates import Sureness, find_dates

__all__ = ["Date"]

CONFIDENCE: Mapping[Sureness, float] = {
    "exact": 0.95,
    "relative": 0.85,
    "year_assumed": 0.75,
    "day_first": 0.7,
    "month_first": 0.6,
    "either_side": 0.4,
}


class Date:
    key = "date"
    value_type: ValueType = "date"
    extractor = "date/1"
    single_valued = False

    def find(self, text: str, said_on: date | None = None) -> Sequence[Mention]:
        return [Mention.of(each, self, CONFIDENCE[each.sureness]) for each in find_dates(text, said_on=said_on)]
