"""GSTIN: the check character makes a misread one rare."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from brain_distiller.distillers.base import Mention, ValueType
from identifiers.gstin import find_gstins

__all__ = ["Gstin"]


class Gstin:
    key = "gstin"
    value_type: ValueType = "gstin"
    extractor = "gstin/1"
    single_valued = True

    def find(self, text: str, said_on: date | None = None) -> Sequence[Mention]:
        return [Mention.of(found, self, 0.99) for found in find_gstins(text)]
