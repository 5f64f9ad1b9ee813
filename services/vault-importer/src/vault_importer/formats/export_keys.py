"""By which keys the vault knows the lines of exported chats, which have no ids. Pure.

A line has a key of its wording and keys of its place: which of its sender's lines it is within its time, counted from
the first and from the last. An edit, a deletion or a file that was left out before changes the wording and not the
place; a line that the phone has lost changes the place of others and not their wording. An import registers all keys
of a line, and whichever of them an earlier one registered finds the message.

An export ends at any moment and, with so many messages, begins at any: within its first time lines may be missing in
front, within its last behind. So places are counted only from where none can be missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

__all__ = ["Line", "key_ids"]

#: The app leaves out what is older than the last 40,000 messages, or 10,000 with media; some of them write no line.
SHORTEST_CUT = 5_000


class Line(NamedTuple):
    """Of a whole file, in its order."""

    at: int
    """To the second or to the minute, as the phone writes it."""
    sender: str
    text: str
    """As it stands, marks and all."""
    tells: bool
    """Whether the wording is its own, rather than what the app writes in the place of any file or deletion."""
    changed: bool
    """Edited or deleted."""
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
    if not lines:
        return []
    start, end = lines[0].at, max(line.at for line in lines)
    # The app's own words stand at the beginning of a chat, and nothing else is before a chat of one moment.
    begun = lines[0].system or start == end
    late = _late(lines)
    after = Counter((line.at, line.sender) for line, is_late in zip(lines, late, strict=True) if _counts(line, is_late))
    before: Counter[tuple[int, str]] = Counter()
    places = []
    for line, is_late in zip(lines, late, strict=True):
        whose = (line.at, line.sender)
        place = []
        if _counts(line, is_late):
            if line.at < end:
                place.append(_key("from the last", str(line.at), line.sender, str(after[whose])))
            after[whose] -= 1
        if not line.system:
            before[whose] += 1
            # What was changed was there before; a line that was not may be one that an earlier export was cut behind.
            if begun or line.at > start or (line.changed and len(lines) < SHORTEST_CUT):
                place.append(_key("from the first", str(line.at), line.sender, str(before[whose])))
        places.append(tuple(place))
    return places


def _counts(line: Line, is_late: bool) -> bool:
    """Whether a line counts among those from the last: one that arrives late would move all before it."""
    return not line.system and not is_late


def _late(lines: Sequence[Line]) -> list[bool]:
    """Lines below some of a later time."""
    late, newest = [], 0
    for line in lines:
        late.append(line.at < newest)
        newest = max(newest, line.at)
    return late


def _key(*parts: str) -> str:
    return f"TXT{sha256(chr(0).join(parts).encode('utf-8', 'replace')).hexdigest()[:32].upper()}"
