"""IFSC, the code of a bank's branch: four letters of the bank, a zero, six letters or digits of the branch.

There is no check character. A code whose bank is known is told from one that only has the shape.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from identifiers.fold import fold
from identifiers.span import Found, Mask
from identifiers.upi import find_upis

__all__ = ["BANKS", "FoundIfsc", "find_ifscs", "is_ifsc"]


def _words(lines: str) -> frozenset[str]:
    return frozenset(lines.split())


#: Banks with branches that customers name: public, private, small finance, payments, foreign, regional and large
#: co-operative banks, and the codes of merged banks that old cheques still carry. Codes are added; a code that is
#: missing here costs confidence, never the find.
BANKS = _words("""
    SBIN PUNB BARB CNRB UBIN IOBA IDIB BKID CBIN UCBA MAHB PSIB
    HDFC ICIC UTIB KKBK YESB INDB IDFB RATN BDBL IBKL JAKA FDRL SIBL CSBK DLXB KVBL CIUB TMBL KARB DCBL NTBL
    AUBL ESFB USFB UJVN JSFB ESMF SURY CLBL UTKS NESF FSFB
    AIRP PYTM IPOS FINO JIOP NSPB
    SCBL HSBC CITI DEUT BNPA BOFA CHAS BARC DBSS DOHB EBIL NBAD ADCB UOVB BCEY MHCB BOTM SMBC SHBK HVBK CRUB KRTH
    KLGB KSBK SRCB COSB SVCB ABHY TJSB NKGS KJSB RBIS
    ANDB CORP VIJB SYNB ORBC ALLA BKDN LAVB VYSA SBTR SBMY SBHY SBBJ STBP UTBI
""")

_IFSC = re.compile(r"[A-Z]{4}0[A-Z0-9]{6}", re.ASCII)
# All in capitals or all in small letters; a mixture is how file names and links look. Often glued to its label.
_IN_TEXT = re.compile(
    r"(?:(?<![0-9A-Za-z_])|(?<=IFSC)|(?<=ifsc)|(?<=Ifsc))"
    r"(?:[A-Z]{4}0[A-Z0-9]{6}|[a-z]{4}0[a-z0-9]{6})(?![0-9A-Za-z_@])",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundIfsc(Found):
    """A branch's code in a text; the value is in capitals."""

    known: bool
    """Whether the first four letters are a bank's that is listed."""


def is_ifsc(value: str) -> bool:
    """Whether ``value`` has the shape in its canonical spelling: capitals, nothing around it."""
    return _IFSC.fullmatch(value) is not None


def find_ifscs(text: str) -> list[FoundIfsc]:
    """Codes that stand by themselves; the one inside a UPI id (``account@CODE.ifsc.npci``) belongs to the id."""
    matches = list(_IN_TEXT.finditer(fold(text)))
    if not matches:
        return []
    taken = Mask(find_upis(text))
    found = []
    for match in matches:
        start, end = match.span()
        if not taken.covers(start, end):
            value = match[0].upper()
            found.append(FoundIfsc(start=start, end=end, raw=text[start:end], value=value, known=value[:4] in BANKS))
    return found
