"""What stands in a message as WhatsApp sends it between its own devices (``Message``), whatever its kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from vault_importer import protobuf
from vault_importer.formats.android_kinds import KINDS
from vault_importer.formats.sqlite_source import clean

__all__ = ["MEDIA", "POLLS", "Content", "all_of", "bytes_of", "content_of", "int_of", "text_of", "unwrapped"]

#: Messages around a message, by where it stands in them: sent by another device, seen once, gone after a while, with a
#: caption, edited, of an album, of a poll or an event, of a group's status and so on.
WRAPPERS = {
    31: 2, 37: 1, 40: 1, 53: 1, 55: 1, 58: 1, 59: 1, 62: 1, 67: 1, 74: 1, 85: 1, 90: 1, 91: 1, 93: 1, 96: 1, 101: 1,
    103: 1, 104: 1, 106: 1, 118: 1,
}  # fmt: skip
VIEW_ONCE = {37, 55, 59}
DEPTH = 6
#: Votes, pins, what is kept, answers and encrypted ones of these: a store has them beside its messages.
ADD_ONS = {50, 51, 56, 63, 71, 76, 82}
REACTION = 46
#: Keys, and what concerns the message beside it.
NO_CONTENT = {2, 15, 35}
OTHER = -1


class _Kind(NamedTuple):
    """How a kind of message is read."""

    code: int
    """Android's, as a whole backup has it; ``OTHER`` where it has one of several."""
    texts: tuple[tuple[int, ...], ...] = ()
    """Where its text can stand, the best first: a field in a field."""
    context: int = 17
    """Where it says what it answers, whom it names and how often it was forwarded."""
    name: str = ""
    """What it is called where the code does not tell."""


_POLL = _Kind(66, ((2,),), 5)
#: By the field of the message. Templates have four codes, and the polls of later versions one of two.
_KINDS: Mapping[int, _Kind] = {
    1: _Kind(0, ((),), 0),
    6: _Kind(0, ((1,),)),
    3: _Kind(1, ((3,),)),
    8: _Kind(2),
    9: _Kind(3, ((7,),)),
    66: _Kind(81, ((7,),)),
    4: _Kind(4, ((1,),)),
    5: _Kind(5),
    7: _Kind(9, ((20,),)),
    13: _Kind(14, ((1,),)),
    18: _Kind(16, ((6,),)),
    26: _Kind(20),
    28: _Kind(24, ((6,),), 7),
    25: _Kind(OTHER, ((4, 6), (2, 6), (5, 2, 1)), 3, "template"),
    29: _Kind(32, ((2,),), 3),
    30: _Kind(23, ((5,), (1, 3), (4, 2))),
    36: _Kind(45, ((2,), (1,)), 8),
    38: _Kind(44, ((6,), (7,))),
    39: _Kind(46, ((1,), (5,)), 4),
    42: _Kind(45, ((6,), (1,)), 8),
    43: _Kind(46, ((2,),), 3),
    45: _Kind(45, ((2, 1), (1, 1)), 15),
    48: _Kind(46, ((1, 1),), 15),
    49: _POLL,
    60: _POLL,
    64: _POLL,
    111: _POLL._replace(code=OTHER, name="poll"),
    119: _POLL._replace(code=OTHER, name="poll"),
    69: _Kind(90, (), 0),
    75: _Kind(92, ((3,), (4,)), 1),
    78: _Kind(94, ((4,), (2,)), 6),
    83: _Kind(99),
}
POLLS = frozenset({49, 60, 64, 111, 119})
ONCE_CODES = {1: 42, 3: 43, 2: 82}
GIF_FIELD, GIF, VIDEO = 8, 13, 3


class _Media(NamedTuple):
    """Where a file is described: the fields of ``message_media``, 0 for those that it has not."""

    mime_type: int
    file_hash: int
    bytes: int
    height: int = 0
    width: int = 0
    duration_seconds: int = 0
    pages: int = 0
    name: int = 0
    caption: int = 0


MEDIA: Mapping[int, _Media] = {
    3: _Media(2, 4, 5, 6, 7),
    8: _Media(2, 3, 4, duration_seconds=5),
    9: _Media(2, 3, 4, 9, 10, 5),
    66: _Media(2, 3, 4, 9, 10, 5),
    7: _Media(2, 4, 5, pages=6, name=8, caption=20),
    26: _Media(5, 2, 9, 6, 7),
}


class Content(NamedTuple):
    field: int
    """Of the message: what its kind is called there. 0 where nobody knows it."""
    raw: bytes
    code: int
    kind: str
    text: str
    context: bytes


def content_of(message: bytes, once: bool) -> Content | str:
    """What an unwrapped message says, or why it is none."""
    found: dict[int, int | bytes] = {}
    for number, value in protobuf.fields(message):
        found.setdefault(number, value)
    if REACTION in found:
        return "reaction"
    for field in filter(_KINDS.__contains__, found):
        raw = found[field]
        if isinstance(raw, bytes):
            return _content(field, _KINDS[field], raw, once)
    if found.keys() & ADD_ONS:
        return "add_on"
    return Content(0, b"", OTHER, KINDS.get(OTHER, "other"), "", b"") if found.keys() - NO_CONTENT else "empty"


def _content(field: int, kind: _Kind, raw: bytes, once: bool) -> Content:
    code = GIF if kind.code == VIDEO and int_of(raw, GIF_FIELD) else kind.code
    code = ONCE_CODES.get(code, code) if once else code
    text = next(filter(None, (_text_at(raw, path) for path in kind.texts)), "")
    name = kind.name or KINDS.get(code, "other")
    return Content(field, raw, code, name, text, bytes_of(raw, kind.context) if kind.context else b"")


def _text_at(raw: bytes, path: Iterable[int]) -> str:
    for number in path:
        raw = bytes_of(raw, number)
    return clean(raw)


def unwrapped(message: bytes) -> tuple[bytes, bool]:
    """The message inside all others, and whether it is to be seen once."""
    once = False
    for _ in range(DEPTH):
        wrapper = next((number for number, _ in protobuf.fields(message) if number in WRAPPERS), None)
        if wrapper is None:
            break
        once = once or wrapper in VIEW_ONCE
        message = bytes_of(bytes_of(message, wrapper), WRAPPERS[wrapper])
    return message, once


def text_of(message: bytes, number: int) -> str:
    return clean(bytes_of(message, number))


def bytes_of(message: bytes, number: int) -> bytes:
    value = protobuf.first(message, number)
    return value if isinstance(value, bytes) else b""


def all_of(message: bytes, number: int) -> Iterator[bytes]:
    return (value for each, value in protobuf.fields(message) if each == number and isinstance(value, bytes))


def int_of(message: bytes, number: int) -> int:
    value = protobuf.first(message, number)
    return value if isinstance(value, int) else 0
