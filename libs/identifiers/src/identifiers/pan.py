"""PAN, the income tax department's permanent account number: ``AAAPL1234C``.

Three letters, the holder's kind, the initial of the surname or name, four digits that are not all zero, and a
check letter whose rule is not public.
"""

from __future__ import annotations

import re

from identifiers.fold import fold
from identifiers.span import Found

__all__ = ["HOLDERS", "find_pans", "is_pan"]

#: The fourth letter: association, body of individuals, company, firm, government, undivided family, artificial
#: juridical person, local authority, person, trust.
HOLDERS = "ABCFGHJLPT"

_UPPER = f"[A-Z]{{3}}[{HOLDERS}][A-Z](?!0000)[0-9]{{4}}[A-Z]"
_LOWER = f"[a-z]{{3}}[{HOLDERS.lower()}][a-z](?!0000)[0-9]{{4}}[a-z]"
_PAN = re.compile(_UPPER, re.ASCII)
# Lower case is how people type; a mixture is how file names and links look.
_IN_TEXT = re.compile(f"(?<![0-9A-Za-z])(?:{_UPPER}|{_LOWER})(?![0-9A-Za-z])", re.ASCII)

# A GSTIN that was typed in groups holds a PAN that stands by itself, between its state code and its tail.
_STATE_BEFORE = re.compile(r"[0-9]{2}[ -]$", re.ASCII)
_TAIL_AFTER = re.compile(r"[ -]?[1-9A-Z][ -]?Z[ -]?[0-9A-Z](?![0-9A-Z])", re.ASCII | re.IGNORECASE)


def is_pan(value: str) -> bool:
    """Whether ``value`` is a well-formed PAN in its canonical spelling: upper case, nothing around it."""
    return _PAN.fullmatch(value) is not None


def find_pans(text: str) -> list[Found]:
    """PANs that stand by themselves; the one inside a GSTIN belongs to the GSTIN."""
    folded = fold(text)
    found = []
    for match in _IN_TEXT.finditer(folded):
        start, end = match.span()
        if _STATE_BEFORE.search(folded, max(0, start - 3), start) and _TAIL_AFTER.match(folded, end):
            continue
        found.append(Found(start=start, end=end, raw=text[start:end], value=match[0].upper()))
    return found
