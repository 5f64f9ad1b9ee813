"""By which keys the vault knows the lines of exported chats, which have no ids. Pure.

A line has a key of its wording and one of its place: which of how many of its sender's lines it is within its time. An
edit, a deletion or a file that was left out before changes the wording and not the place. An import registers both keys
of a line, and whichever of them an earlier one registered finds the message.

A place says from both ends which line it is. By one end alone, a line that another phone has in addition, or that this
one has lost, would move the lines beside it to the places of others, and one message would be taken for another. So
where a time has more or fewer lines than before nothing is found by its place, and what was changed there since is kept
beside what it was: a message too many can be seen, and one too few cannot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

__all__ = ["Line", "key_ids"]


class Line(NamedTuple):
    """Of a whole file, in its order."""

    at: int
    """To the second or to the minute, as the phone writes it."""
    sender: str
    text: str
    """As it stands, marks and all."""
    tells: bool
    """Whether the wording is its own, rather than what the app writes in the place of any file or deletion."""
    system: bool
    """Said by the app: it is never changed, not in every export, and has no place among what people said."""


def key_ids(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """Of each line, in the order in which the vault is to look for them. Two lines of a file share none."""
    places = _places(lines)
    worded: Counter[tuple[int, str, str]] = Counter()
    keys = []
    for line, place in zip(lines, places, strict=True):
        same = (line.at, line.sender, line.text)
        worded[same] += 1
        # Archives of earlier releases know their messages by this one alone.
        wording = _key(str(line.at), line.sender, line.text, str(worded[same]))
        # Of two deletions in a minute the one that was there before must not be taken for the other.
        keys.append((wording, *place) if line.tells else (*place, wording))
    return keys


def _places(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """Of each line the key of its place, of the app's own words none."""
    number = Counter((line.at, line.sender) for line in lines if not line.system)
    before: Counter[tuple[int, str]] = Counter()
    places: list[tuple[str, ...]] = []
    for line in lines:
        if line.system:
            places.append(())
            continue
        whose = (line.at, line.sender)
        before[whose] += 1
        places.append((_key("place", str(line.at), line.sender, str(before[whose]), str(number[whose])),))
    return places


def _key(*parts: str) -> str:
    return f"TXT{sha256(chr(0).join(parts).encode('utf-8', 'replace')).hexdigest()[:32].upper()}"
