"""UPI ids, the addresses that money is paid to: ``name@handle``, where no dot follows the ``@``.

Only the payment apps' registers know which handles exist. Those that people meet are listed; any other one that has
the shape is found too and says that it is not known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from identifiers.email import find_emails
from identifiers.fold import fold
from identifiers.span import Found, Mask

__all__ = ["HANDLES", "FoundUpi", "find_upis"]


def _words(lines: str) -> frozenset[str]:
    return frozenset(lines.split())


#: Handles of payment apps and banks, as the apps print them.
HANDLES = _words("""
    ybl ibl axl okaxis okhdfcbank okicici oksbi paytm ptaxis pthdfc ptsbi ptyes upi apl yapl rapl amazonpay
    axisbank axis axisb axisgo axisb2b hdfcbank hdfcbankjd payzapp pz icici ipay pockets imobile icicibank eazypay
    sbi sbibank yono pnb punb barodampay bob cnrb canarabank unionbank unionbankofindia uboi boi mahb mahabank iob
    indianbank indianbk indbank allbank cbin centralbank cboi uco psb idbi idbibank federal fbl fbpe sib kvb
    karurvysyabank
    cub csbpay csbcash tmb kbl dlb kotak kotak811 kmbl yesbank yesbankltd ybank yespay yesg indus indusind induspay
    idfcbank idfcfirst idfcnetc rbl rblbank bandhan dcb dbs digibank equitas aubank ujjivan esaf jkb nsdl airtel
    airtelpaymentsbank postbank jio jiopay finobank sc hsbc citi citibank freecharge fkaxis ikwik mbk mobikwik
    waaxis wahdfcbank waicici wasbi naviaxis timecosmos tapicici sliceaxis sliceicici superyes pingpay myicici
    abfspay shriramhdfcbank dhani ezeepay eazybank goaxb oneyes yestp ypay kphdfc jupiteraxis fam yesfam niyoicici
    bhim bajajpay trans cmsidfc axisbankltd hdfcbankltd obc vijb syndicate andb kaypay
""")

_LOCAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_LOCAL_MIN, _LOCAL_MAX = 2, 256
# An account at a branch, or an Aadhaar number, is addressed under the corporation's own domain.
_REGISTER = re.compile(r"(?:[A-Za-z]{4}0[A-Za-z0-9]{6}\.ifsc|aadhaar)\.npci(?![A-Za-z0-9])", re.ASCII | re.IGNORECASE)
_HANDLE = re.compile(r"[A-Za-z][A-Za-z0-9]{1,63}+(?![A-Za-z0-9_@]|[-.][A-Za-z0-9])", re.ASCII)
#: Mail providers whose address somebody left unfinished.
_MAIL = _words("""
    gmail googlemail yahoo ymail hotmail outlook live msn rediff rediffmail icloud aol proton zoho
""")
_OTHER_SCHEME = re.compile(r"(?:sips?|xmpp|ssh|git|https?|ftp)://?$|(?:sips?|xmpp):$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundUpi(Found):
    """A UPI id in a text; the value is in lower case."""

    known: bool
    """Whether the handle is one that apps are known to give."""


def find_upis(text: str) -> list[FoundUpi]:
    """UPI ids in ``text``. An e-mail address is none, neither is one that lacks its ending (``name@gmail``)."""
    folded = fold(text)
    at = folded.find("@")
    if at == -1:
        return []
    addresses = Mask(find_emails(text))
    found: list[FoundUpi] = []
    while at != -1:
        span = _around(folded, at)
        if span is not None and (not found or span[0] >= found[-1].end) and not addresses.covers(*span):
            start, end = span
            value = folded[start:end].lower()
            handle = value.partition("@")[2]
            known = handle in HANDLES or handle.endswith(".npci")
            if known or handle not in _MAIL:
                found.append(FoundUpi(start=start, end=end, raw=text[start:end], value=value, known=known))
        at = folded.find("@", at + 1)
    return found


def _around(folded: str, at: int) -> tuple[int, int] | None:
    # Most signs of a hostile text end here, before what stands to their left is read.
    match = _REGISTER.match(folded, at + 1) or _HANDLE.match(folded, at + 1)
    if match is None:
        return None
    start = at
    while start > 0 and at - start <= _LOCAL_MAX and folded[start - 1] in _LOCAL:
        start -= 1
    local = folded[start:at].lstrip("._-")
    start = at - len(local)
    if not _LOCAL_MIN <= len(local) <= _LOCAL_MAX or not local[-1].isalnum() or ".." in local:
        return None
    if folded[max(0, start - 1) : start] in {"@", "/", "+"} and not folded.startswith("//", max(0, start - 2)):
        return None
    return None if _OTHER_SCHEME.search(folded, max(0, start - 8), start) else (start, match.end())
