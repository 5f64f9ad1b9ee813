"""The words of a text as search knows them, with their places in it: Latin, Indian and mixed. Pure.

Words are composed (NFC), without case, without joiners, with ASCII digits, and nothing else: no stemming, no accents
taken off. Numbers that are written in groups (`+91 98470 00010`, `32 ABCDE 1234 F 1Z5`) are one more word, without
what stands between the groups.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["WORD_MAX", "Word", "fold", "joined", "sound", "vector", "words_of"]

WORD_MAX = 64
POSITIONS_MAX = 16_000
RUN_WORDS_MAX = 12
RUN_DIGITS_MIN = 4


@dataclass(frozen=True, slots=True)
class Word:
    """What is looked for, and where it stands in the text."""

    text: str
    start: int
    end: int


def _ranges(*categories: str) -> str:
    """Characters of some categories, as the inside of a character class."""
    found: list[str] = []
    first = None
    for code in range(0x80, min(sys.maxunicode, 0x1FFFF) + 2):
        inside = unicodedata.category(chr(code)) in categories
        if inside and first is None:
            first = code
        elif not inside and first is not None:
            found.append(f"{chr(first)}-{chr(code - 1)}")
            first = None
    return "".join(found)


# Vowel signs are marks, and joiners stand within words: `\w` knows neither.
_JOINERS = "\u200c\u200d"
_WORD = re.compile(rf"[^\W_](?:[^\W_]|[{_ranges('Mn', 'Mc', 'Me')}{_JOINERS}])*")
_BETWEEN = re.compile(r"[ \u00a0.\-/()+]{1,3}|,")
_DROP = dict.fromkeys((8203, 8204, 8205, 8288, 65279, 173))
#: A final consonant has a letter of its own now; older phones wrote consonant, virama, joiner.
_CHILLU = str.maketrans({0xD7A: "ണ്", 0xD7B: "ന്", 0xD7C: "ര്", 0xD7D: "ല്", 0xD7E: "ള്", 0xD7F: "ക്"})


def fold(text: str) -> str:
    """A text as it is compared."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFC", text).translate(_CHILLU).casefold().translate(_DROP)
    return "".join(str(unicodedata.digit(c)) if not c.isascii() and c.isdecimal() else c for c in folded)


def words_of(text: str) -> list[Word]:
    return [
        Word(folded[:WORD_MAX], found.start(), found.end())
        for found in _WORD.finditer(text)
        if (folded := fold(found.group()))
    ]


def joined(text: str, words: Sequence[Word]) -> Iterator[tuple[int, Word]]:
    """Numbers written in groups as one word each, with the place of the first group among ``words``."""
    at = 0
    while at < len(words):
        end = at + 1
        while end < len(words) and end - at < RUN_WORDS_MAX and _belongs(text, words[end - 1], words[end]):
            end += 1
        for first, last in {_trimmed(words, at, end, text), _digits_only(words, at, end)}:
            whole = "".join(word.text for word in words[first:last])
            if last - first > 1 and len(whole) <= WORD_MAX and sum(c.isdigit() for c in whole) >= RUN_DIGITS_MIN:
                yield first, Word(whole, words[first].start, words[last - 1].end)
        at = end


def _belongs(text: str, before: Word, after: Word) -> bool:
    between = text[before.end : after.start]
    if not _BETWEEN.fullmatch(between):
        return False
    return _has_digit(before) or _has_digit(after)


def _has_digit(word: Word) -> bool:
    return any(c.isdigit() for c in word.text)


def _trimmed(words: Sequence[Word], first: int, last: int, text: str) -> tuple[int, int]:
    """Without the words around a number; capitals belong to it, as in `ABCDE 1234 F`."""
    while first < last and not _has_digit(words[first]) and not _capitals(words[first], text):
        first += 1
    while first < last and not _has_digit(words[last - 1]) and not _capitals(words[last - 1], text):
        last -= 1
    return first, last


def _capitals(word: Word, text: str) -> bool:
    shown = text[word.start : word.end]
    return shown.isascii() and shown.isupper()


def _digits_only(words: Sequence[Word], first: int, last: int) -> tuple[int, int]:
    """The longest part that is nothing but digits, as of a telephone number within words."""
    best = (first, first)
    begin = first
    for at in range(first, last + 1):
        if at == last or not words[at].text.isdigit():
            if at - begin > best[1] - best[0]:
                best = (begin, at)
            begin = at + 1
    return best


def vector(texts: Sequence[str]) -> tuple[str, set[str]]:
    """Postgres' notation of the words of some texts with their positions, and the words."""
    positions: dict[str, list[str]] = {}
    offset = 1
    for text in texts:
        words = words_of(text)
        numbered = [(at, word.text) for at, word in enumerate(words)]
        if any(c.isdigit() for c in text):
            numbered += [(at, word.text) for at, word in joined(text, words)]
        for at, word in numbered:
            if at + offset < POSITIONS_MAX:
                places = positions.setdefault(word, [])
                if len(places) < 200:
                    places.append(str(at + offset))
        offset += len(words) + 2
    return " ".join(f"'{word}':{','.join(places)}" for word, places in positions.items()), set(positions)


# How a word sounds ------------------------------------------------------------------------------------------------

# The Indian blocks of Unicode have one layout, so one table reads all of them.
_INDIAN = range(0x900, 0xD80)
_CONSONANTS = dict(zip(range(0x15, 0x3A), "kkggnccjjnttddnttddnnppbbmyrrlllvsssh", strict=True))
_VOWELS = dict(zip(range(0x05, 0x15), "aaiiuurleeeeoooo", strict=True))
_SIGNS = {**dict(zip(range(0x3E, 0x4D), "aiiuurreeeeoooo", strict=True)), 0x57: "o"}
_OTHERS = {0x01: "n", 0x02: "m", 0x03: "h"}
_VIRAMA = 0x4D
_SPELLINGS = [
    (re.compile(pattern), with_)
    for pattern, with_ in (
        (r"aa+", "a"), (r"ee+|ii+", "i"), (r"oo+|uu+", "u"), (r"zh", "l"), (r"sh", "s"), (r"ch", "c"), (r"ph", "f"),
        (r"([kgjtdbpc])h", r"\1"), (r"f", "p"), (r"w", "v"), (r"x", "ks"), (r"q", "k"), (r"z", "j"), (r"ai|ay$", "e"),
        (r"au", "o"), (r"ng", "n"), (r"(.)\1+", r"\1"),
    )
]  # fmt: skip


def sound(word: str) -> str:
    """A word as it is heard, in Latin letters, so that many spellings are one; numbers have none."""
    if any(c.isdigit() for c in word):
        return ""
    latin = _latin(word)
    for pattern, with_ in _SPELLINGS:
        latin = pattern.sub(with_, latin)
    return latin


def _latin(word: str) -> str:
    if word.isascii():
        return word
    out: list[str] = []
    for at, char in enumerate(word):
        place = (ord(char) - 0x900) % 0x80
        if ord(char) not in _INDIAN:
            plain = unicodedata.normalize("NFD", char)[0]
            out.append(plain if plain.isascii() and plain.isalnum() else "")
        elif place in _CONSONANTS:
            after = (ord(word[at + 1]) - 0x900) % 0x80 if at + 1 < len(word) else None
            vowel = "" if after in _SIGNS or after in (_VIRAMA, 0x3C) else "a"
            # Northern languages do not speak the last one.
            if after is None and ord(char) < 0xB80:
                vowel = ""
            out.append(_CONSONANTS[place] + vowel)
        else:
            out.append(_VOWELS.get(place) or _SIGNS.get(place) or _OTHERS.get(place) or "")
    return "".join(out)
