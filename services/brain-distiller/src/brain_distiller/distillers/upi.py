"""UPI ids. A handle that no app is known to give may be a misspelt one, or a name in a chat."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from brain_distiller.distillers.base import Mention, ValueType
from identifiers.upi import find_upis

__all__ = ["Upi"]

KNOWN, UNKNOWN = 0.95, 0.5


class Upi:
    key = "upi"
    value_type: ValueType = "upi"
    extractor = "upi/1"
    single_valued = False

    def find(self, text: str, said_on: date | None = None) -> Sequence[Mention]:
        return [Mention.of(found, self, KNOWN if found.known else UNKNOWN) for found in find_upis(text)]
