"""E-mail addresses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from brain_distiller.distillers.base import Mention, ValueType
from identifiers.email import find_emails

__all__ = ["Email"]


class Email:
    key = "email"
    value_type: ValueType = "email"
    extractor = "email/2"
    single_valued = False

    def find(self, text: str, said_on: date | None = None) -> Sequence[Mention]:
        return [Mention.of(found, self, 0.95) for found in find_emails(text)]
