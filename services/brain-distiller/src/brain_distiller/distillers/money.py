"""Rupee amounts. A currency mark is certain; a multiplier alone (``45k``) is what people mostly mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from brain_distiller.distillers.base import Mention, ValueType
from identifiers.money import find_amounts

__all__ = ["Amount"]

MARKED, UNMARKED = 0.95, 0.7
_MARK = re.compile(r"₹|₨|/\s?[-=]|\b(?:rs|inr|rupees?|rupay[ea]|roopa)\b|രൂപ|रु", re.IGNORECASE)


class Amount:
    key = "amount"
    value_type: ValueType = "money"
    extractor = "amount/1"
    single_valued = False

    def find(self, text: str, said_on: date | None = None) -> Sequence[Mention]:
        return [
            Mention.of(found, self, MARKED if _MARK.search(found.raw) else UNMARKED, unit=found.currency)
            for found in find_amounts(text)
        ]
