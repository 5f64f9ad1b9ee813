"""PAN: the shape is strict, its check letter is not public."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from brain_distiller.distillers.base import Mention, ValueType
from identifiers.pan import find_pans

__all__ = ["Pan"]


class Pan:
    key = "pan"
    value_type: ValueType = "pan"
    extractor = "pan/1"
    single_valued = True

    def find(self, text: str, said_on: date | None = None) -> Sequence[Mention]:
        return [Mention.of(found, self, 0.9) for found in find_pans(text)]
