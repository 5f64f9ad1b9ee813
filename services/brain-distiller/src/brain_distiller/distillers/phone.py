"""Telephone numbers that a text names, which need not be the sender's own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from brain_distiller.distillers.base import Mention, ValueType
from identifiers.phone import find_phones

__all__ = ["Phone"]


class Phone:
    key = "phone"
    value_type: ValueType = "phone"
    extractor = "phone/2"
    single_valued = False

    def find(self, text: str, said_on: date | None = None) -> Sequence[Mention]:
        return [Mention.of(found, self, 0.9) for found in find_phones(text)]
