"""E-mail addresses as people write them in messages: a dotted domain, nothing quoted."""

from __future__ import annotations

import re

from identifiers.fold import fold
from identifiers.span import Found

__all__ = ["find_emails"]

_LOCAL_MAX, _DOMAIN_MAX = 64, 253
_LOCAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-'")
_EDGES = "._%+-'"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?+"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})++", re.ASCII)
_TOP = re.compile(r"(?:[A-Za-z]{2,63}|xn--[A-Za-z0-9-]{1,59})", re.ASCII)
#: No mail is sent there: account numbers are addressed so for payments.
_PAYMENTS = "npci"


def find_emails(text: str) -> list[Found]:
    """Addresses in ``text``; the value is in lower case. A payment handle (``name@bank``, no dot) is not one."""
    folded = fold(text)
    found: list[Found] = []
    at = folded.find("@")
    while at != -1:
        span = _around(folded, at)
        if span is not None and (not found or span[0] >= found[-1].end):
            start, end = span
            found.append(Found(start=start, end=end, raw=text[start:end], value=folded[start:end].lower()))
        at = folded.find("@", at + 1)
    return found


def _around(folded: str, at: int) -> tuple[int, int] | None:
    start = at
    while start > 0 and at - start <= _LOCAL_MAX and folded[start - 1] in _LOCAL:
        start -= 1
    local = folded[start:at].lstrip(_EDGES)
    start = at - len(local)
    if not 0 < len(local) <= _LOCAL_MAX or local[-1] == "." or ".." in local:
        return None
    if start > 0 and folded[start - 1] == "@":
        return None
    # The window keeps a hostile text of many signs and one endless domain from being read once per sign.
    match = _DOMAIN.match(folded, at + 1, at + 2 + _DOMAIN_MAX)
    if match is None or match.end() - at > _DOMAIN_MAX:
        return None
    labels = _without_next_sentence(match[0].split("."))
    end = at + 1 + len(".".join(labels))
    if labels[-1].lower() == _PAYMENTS:
        return None
    if len(labels) < 2 or _TOP.fullmatch(labels[-1]) is None or folded[end : end + 1] == "@":
        return None
    return start, end


def _without_next_sentence(labels: list[str]) -> list[str]:
    """``example.in.Please`` is an address and the next sentence: its word begins with a capital of its own."""
    if len(labels) > 2 and labels[-1][0].isupper() and ".".join(labels[:-1]).islower():
        return labels[:-1]
    return labels
