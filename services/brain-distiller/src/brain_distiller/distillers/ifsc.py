"""IFSC: no check character, so that a bank's letters are what makes one sure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from brain_distiller.distillers.base import Mention, ValueType
from identifiers.ifsc import find_ifscs

__all__ = ["Ifsc"]

KNOWN, UNKNOWN = 0.95, 0.6


class Ifsc:
    key = "ifsc"
    value_type: ValueType = "ifsc"
    extractor = "ifsc/1"
    single_valued = False

    def find(self, text: str, said_on: date | None = None) -> Sequence[Mention]:
        return [Mention.of(found, self, KNOWN if found.known else UNKNOWN) for found in find_ifscs(text)]
