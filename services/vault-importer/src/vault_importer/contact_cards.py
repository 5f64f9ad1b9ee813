"""Reads contact cards (vCard): whose they are and their numbers. Pure."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["BEGIN", "cards_in", "unfolded"]

BEGIN = "BEGIN:VCARD"
CARDS_MAX, NUMBERS_MAX, CHARACTERS_MAX = 20, 10, 200
_FOLDED = re.compile(r"\r?\n[ \t]")
_ESCAPED = re.compile(r"\\([\\,;nN])")


def cards_in(text: str) -> list[dict[str, Any]]:
    """Each card's ``name`` and ``numbers``; a card that has neither is left out."""
    cards = (_card(part) for part in text.split(BEGIN)[1 : CARDS_MAX + 1])
    return [card for card in cards if card["name"] or card["numbers"]]


def unfolded(text: str) -> str:
    """With each field on a line of its own, however a card broke it (RFC 6350, 3.2)."""
    return _FOLDED.sub("", text)


def _card(text: str) -> dict[str, Any]:
    name = ""
    numbers: list[str] = []
    for line in unfolded(text).splitlines():
        field, colon, value = line.partition(":")
        # Fields that belong together are grouped: item1.TEL;type=CELL.
        field = field.partition(";")[0].rpartition(".")[2].strip().upper()
        value = _ESCAPED.sub(lambda found: " " if found[1] in "nN" else found[1], value).strip()[:CHARACTERS_MAX]
        if colon and value and field == "FN":
            name = name or value
        elif colon and value and field == "TEL" and len(numbers) < NUMBERS_MAX:
            numbers.append(value)
    return {"name": name, "numbers": numbers}
