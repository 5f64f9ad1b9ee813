"""GSTIN, the goods and services tax number: state code, PAN, entity code, ``Z``, check character.

The check character is a Luhn sum over base 36 with weights 1 and 2. It catches every single wrong character and
nearly every swap of neighbours.
"""

from __future__ import annotations

import re

from identifiers.fold import fold
from identifiers.pan import is_pan
from identifiers.span import Found

__all__ = ["STATE_CODES", "check_digit", "find_gstins", "is_gstin"]

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_WORTH = {character: worth for worth, character in enumerate(_ALPHABET)}

#: 01 to 38 are states and union territories (38 is Ladakh), 97 is other territory, 99 the centre's jurisdiction.
STATE_CODES = frozenset({*(f"{code:02}" for code in range(1, 39)), "97", "99"})

_GSTIN = re.compile(r"[0-9]{2}[A-Z]{5}[0-9]{4}[A-Z][1-9A-Z]Z[0-9A-Z]", re.ASCII)
# People write it in any case, glue it to its label and break it into the printed groups.
_IN_TEXT = re.compile(
    r"(?:(?<![0-9A-Z])|(?<=GST)|(?<=GSTIN)|(?<=UIN))"
    r"[0-9]{2}[ -]?[A-Z]{5}[ -]?[0-9]{4}[ -]?[A-Z][ -]?[1-9A-Z][ -]?Z[ -]?[0-9A-Z](?![0-9A-Z])",
    re.ASCII | re.IGNORECASE,
)


def check_digit(first_fourteen: str) -> str:
    """The fifteenth character that the first fourteen (0-9, A-Z) call for."""
    total = 0
    for position, character in enumerate(first_fourteen):
        product = _WORTH[character] * (1 + position % 2)
        total += product // 36 + product % 36
    return _ALPHABET[-total % 36]


def is_gstin(value: str) -> bool:
    """Whether ``value`` is a valid GSTIN in its canonical spelling: upper case, no separators, nothing around it.

    Registrations with another letter than ``Z`` in the fourteenth place are not accepted: no published rule
    says which letters are real.
    """
    return (
        _GSTIN.fullmatch(value) is not None
        and value[:2] in STATE_CODES
        and is_pan(value[2:12])
        and check_digit(value[:14]) == value[14]
    )


def find_gstins(text: str) -> list[Found]:
    """GSTINs with a right check character, in any case, also broken by single spaces or hyphens."""
    found = []
    for match in _IN_TEXT.finditer(fold(text)):
        value = match[0].replace(" ", "").replace("-", "").upper()
        if is_gstin(value):
            start, end = match.span()
            found.append(Found(start=start, end=end, raw=text[start:end], value=value))
    return found
