"""The menu of distillers. One file for each kind of fact and one line in this table."""

from __future__ import annotations

from datetime import date

from brain_distiller.distillers.base import Distiller, Mention
from brain_distiller.distillers.dates import Date
from brain_distiller.distillers.email import Email
from brain_distiller.distillers.gstin import Gstin
from brain_distiller.distillers.ifsc import Ifsc
from brain_distiller.distillers.money import Amount
from brain_distiller.distillers.pan import Pan
from brain_distiller.distillers.phone import Phone
from brain_distiller.distillers.upi import Upi
from identifiers.dates import may_be_relative

__all__ = ["DISTILLERS", "SINGLE_VALUED", "distil", "may_say"]

DISTILLERS: tuple[Distiller, ...] = (Gstin(), Pan(), Phone(), Email(), Upi(), Ifsc(), Amount(), Date())

SINGLE_VALUED = frozenset(distiller.key for distiller in DISTILLERS if distiller.single_valued)


def may_say(text: str) -> bool:
    """A cheap yes for every text in which a distiller finds something, and for a few more."""
    return any(character.isdigit() or character in "@＠" for character in text) or may_be_relative(text)  # noqa: RUF001


def distil(text: str, said_on: date | None = None) -> tuple[Mention, ...]:
    """Every mention in the text, in its order; without the day of speaking, no dates that only it can tell."""
    if not may_say(text):
        return ()
    mentions = [mention for distiller in DISTILLERS for mention in distiller.find(text, said_on)]
    return tuple(sorted(mentions, key=lambda mention: (mention.start, mention.end, mention.key)))
