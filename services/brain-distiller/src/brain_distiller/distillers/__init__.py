"""The menu of distillers. One file for each kind of fact and one line in this table."""

from __future__ import annotations

from brain_distiller.distillers.base import Distiller, Mention
from brain_distiller.distillers.email import Email
from brain_distiller.distillers.gstin import Gstin
from brain_distiller.distillers.money import Amount
from brain_distiller.distillers.pan import Pan
from brain_distiller.distillers.phone import Phone

__all__ = ["DISTILLERS", "SINGLE_VALUED", "distil"]

DISTILLERS: tuple[Distiller, ...] = (Gstin(), Pan(), Phone(), Email(), Amount())

SINGLE_VALUED = frozenset(distiller.key for distiller in DISTILLERS if distiller.single_valued)


def distil(text: str) -> tuple[Mention, ...]:
    """Every mention in the text, in its order."""
    if not any(character.isdigit() or character in "@＠" for character in text):  # noqa: RUF001
        return ()
    mentions = [mention for distiller in DISTILLERS for mention in distiller.find(text)]
    return tuple(sorted(mentions, key=lambda mention: (mention.start, mention.end, mention.key)))
