"""E-mail addresses."""

from __future__ import annotations

from collections.abc import Sequence

from brain_distiller.distillers.base import Mention, ValueType
from identifiers.email import find_emails

__all__ = ["Email"]


class Email:
    key = "email"
    value_type: ValueType = "email"
    extractor = "email/1"
    single_valued = False

    def find(self, text: str) -> Sequence[Mention]:
        return [Mention.of(found, self, 0.95) for found in find_emails(text)]
