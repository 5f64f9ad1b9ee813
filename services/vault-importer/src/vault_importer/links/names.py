"""Names as they are compared: letters, marks and digits in one case, everything else between words. Pure."""

from __future__ import annotations

import unicodedata

__all__ = ["name_key"]

SHORTEST = 3


def name_key(name: str) -> str | None:
    """``None`` for what is no name: shorter than three characters, or without a letter."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    key = " ".join("".join(each if unicodedata.category(each)[0] in "LMN" else " " for each in folded).split())
    return key if len(key) >= SHORTEST and any(each.isalpha() for each in key) else None
