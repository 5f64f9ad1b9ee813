"""Telephone numbers as India writes them, to E.164 and out of running text.

A number typed without ``+`` or ``00`` is never read as a foreign one: a mistyped Indian mobile is too often a
valid number somewhere else.
"""

from identifiers.e164 import Caller, parse_caller, to_e164
from identifiers.phone_search import find_phones

__all__ = ["Caller", "find_phones", "parse_caller", "to_e164"]
