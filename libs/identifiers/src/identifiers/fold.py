"""One spelling for digits, spaces and dashes, character by character, so that spans stay true.

``fold`` never changes a text's length: what is found in the folded text is found in the original at the same place.
"""

from __future__ import annotations

import unicodedata

__all__ = ["fold"]

_FULLWIDTH_FIRST, _FULLWIDTH_LAST, _FULLWIDTH_SHIFT = 0xFF01, 0xFF5E, 0xFEE0
# Marks that phones put around numbers they copy: directional controls, zero-width space, byte order mark. The
# joiners (200C, 200D) are letters' business in Malayalam and Hindi and stay.
_INVISIBLE = frozenset((0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2060, 0xFEFF))
_DASHES = frozenset((0x2212, 0x00AD))


class _Folding(dict[int, str]):
    """Code point to character, learnt as characters are met."""

    def __missing__(self, point: int) -> str:
        self[point] = folded = _fold_character(point)
        return folded


def _fold_character(point: int) -> str:
    character = chr(point)
    if _FULLWIDTH_FIRST <= point <= _FULLWIDTH_LAST:
        return chr(point - _FULLWIDTH_SHIFT)
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Zs" or point in _INVISIBLE:
        return " "
    if category == "Pd" or point in _DASHES:
        return "-"
    return character


_FOLDING = _Folding()


def fold(text: str) -> str:
    """The text with every script's digits as 0-9, every space as a space and every dash as a hyphen."""
    return text if text.isascii() else text.translate(_FOLDING)
