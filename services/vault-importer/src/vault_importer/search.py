"""Finds messages by their words: what is asked for, what it stands for in this archive, and where it stands in a text.

A word stands for all words that begin with it or have it inside them; `"words in quotes"` for themselves, side by
side; a number for itself with and without what groups it. Asked for what sounds alike, or when nothing else was found,
a word stands for the words that sound like it, whatever the script.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from kit.postgres import Database, Transaction
from vault_importer import search_store
from vault_importer.search_store import Narrowed, Place
from vault_importer.words import Word, joined, sound, words_of

__all__ = ["FIRST", "Answer", "Asked", "Found", "QueryRefused", "Spelling", "parse", "search", "spans"]

Spelling = Literal["exact", "alike"]

FIRST = Place(rank=float("inf"), sent_at=datetime.max.replace(tzinfo=UTC), message_id=UUID(int=2**128 - 1))
QUERY_MAX = 200
WORDS_MAX = 12
PART_MIN = 3
PARTS_MAX = 64
ALIKE_MAX = 24
ALIKE_LEAST = 0.4
RANKED = 1_000
STATEMENT_MS = 2_000
_QUOTED = re.compile(r'["“”]([^"“”]*)["“”]')


class QueryRefused(ValueError):
    """What was asked for cannot be looked for; the message says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody typed: words each of which must be there, and phrases."""

    words: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...] = ()
    numbers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Numbers that may be written in one piece: each with the words that remain beside it."""


@dataclass
class Meaning:
    """What words of the archive the asked ones stand for."""

    begin: set[str] = field(default_factory=set)
    inside: set[str] = field(default_factory=set)
    whole: set[str] = field(default_factory=set)
    left_out: bool = False
    """Whether a part stands for more words than are looked for."""

    def has(self, word: str) -> str | None:
        """What of ``word`` is meant, if anything."""
        if word in self.whole:
            return word
        meant = [part for part in self.inside if part in word]
        meant += [begin for begin in self.begin if word.startswith(begin)]
        return max(meant, key=len, default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    message: dict[str, Any]
    spans: list[tuple[int, int]]
    """In its text, or in the earlier wording when only that one has the words."""
    earlier_text: str | None
    place: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    found: list[Found]
    more: bool
    spelling: Spelling
    left_out: bool
    progress: search_store.Progress


def parse(text: str) -> Asked:
    """Raises :class:`QueryRefused`."""
    if len(text) > QUERY_MAX:
        raise QueryRefused(f"A search has {QUERY_MAX} characters at most.")
    if not text.strip():
        raise QueryRefused("Say what to look for.")
    phrases = [tuple(word.text for word in words_of(quoted)) for quoted in _QUOTED.findall(text)]
    rest = _QUOTED.sub(" ", text)
    words = words_of(rest)
    if len(words) + sum(map(len, phrases)) > WORDS_MAX:
        raise QueryRefused(f"A search has {WORDS_MAX} words at most.")
    if sum(len(word.text) for word in words) + sum(len(word) for phrase in phrases for word in phrase) < 2:
        raise QueryRefused("Give at least two letters or digits.")
    return Asked(
        words=tuple(dict.fromkeys(word.text for word in words)),
        phrases=tuple(phrase for phrase in phrases if phrase),
        numbers=tuple(_numbers(rest, words)),
    )


def _numbers(text: str, words: Sequence[Word]) -> list[tuple[str, tuple[str, ...]]]:
    found = {word.text: word for _, word in joined(text, words)}
    whole = "".join(word.text for word in words)
    if len(words) > 1 and len(whole) <= 40 and sum(c.isdigit() for c in whole) >= 4:
        # Without capitals nothing tells whether the letters at its ends belong to it.
        found.setdefault(whole, Word(whole, words[0].start, words[-1].end))
    return [
        (number, tuple(word.text for word in words if word.end <= at.start or word.start >= at.end))
        for number, at in found.items()
    ]


async def search(
    database: Database,
    tenant: UUID,
    asked: Asked,
    narrowed: Narrowed,
    *,
    spelling: Spelling | None,
    by_rank: bool,
    after: Place,
    limit: int,
) -> Answer:
    """One page. Without a spelling: exactly, and when that finds nothing at all, what sounds alike."""
    async with database.transaction(tenant) as tx:
        await search_store.bound(tx, STATEMENT_MS)
        ranked = RANKED if by_rank else 0
        used: Spelling = spelling or "exact"
        meaning, words = await _meaning(tx, asked, used)
        places = await search_store.find(tx, words, narrowed, after=after, ranked=ranked, limit=limit + 1)
        if not places and spelling is None and after == FIRST:
            used = "alike"
            meaning, words = await _meaning(tx, asked, used)
            places = await search_store.find(tx, words, narrowed, after=after, ranked=ranked, limit=limit + 1)
        messages = await search_store.found_messages(tx, [place.message_id for place in places[:limit]])
        progress = await search_store.progress_of_search(tx)
    found = [_found(messages[p.message_id], p, meaning) for p in places[:limit] if p.message_id in messages]
    return Answer(found=found, more=len(places) > limit, spelling=used, left_out=meaning.left_out, progress=progress)


async def _meaning(tx: Transaction, asked: Asked, spelling: Spelling) -> tuple[Meaning, str]:
    """What the words stand for, and Postgres' notation of the query."""
    meaning = Meaning()
    terms = {word: await _term(tx, word, spelling, meaning) for word in asked.words}
    phrases = ["(" + " <-> ".join(f"'{word}'" for word in phrase) + ")" for phrase in asked.phrases]
    meaning.whole.update(word for phrase in asked.phrases for word in phrase)
    alternatives = [" & ".join([*terms.values(), *phrases])]
    for number, beside in asked.numbers:
        term = await _term(tx, number, "exact", meaning)
        alternatives.append(" & ".join([term, *(terms[word] for word in beside), *phrases]))
    return meaning, " | ".join(f"({each})" for each in alternatives)


async def _term(tx: Transaction, word: str, spelling: Spelling, meaning: Meaning) -> str:
    found = [f"'{word}'"]
    if len(word) >= PART_MIN or not word.isascii():
        found = [f"'{word}':*"]
        meaning.begin.add(word)
    else:
        meaning.whole.add(word)
    if len(word) >= PART_MIN:
        inside = await search_store.parts(tx, word, PARTS_MAX + 1)
        meaning.left_out = meaning.left_out or len(inside) > PARTS_MAX
        meaning.inside.add(word)
        found += [f"'{each}'" for each in inside[:PARTS_MAX] if not each.startswith(word)]
    if spelling == "alike" and (like := sound(word)):
        alike = await search_store.alike(tx, like, ALIKE_LEAST, ALIKE_MAX)
        meaning.whole.update(alike)
        found += [f"'{each}'" for each in alike]
    return "(" + " | ".join(dict.fromkeys(found)) + ")"


def _found(message: dict[str, Any], place: Place, meaning: Meaning) -> Found:
    earlier = message.pop("earlier") or []
    here = spans(message["text"], meaning)
    for text in () if here else earlier:
        there = spans(text, meaning)
        if there:
            return Found(message=message, spans=there, earlier_text=text, place=place)
    return Found(message=message, spans=here, earlier_text=None, place=place)


def spans(text: str, meaning: Meaning) -> list[tuple[int, int]]:
    """Where in a text what is meant stands, in order, without overlaps."""
    words = words_of(text)
    found: list[tuple[int, int]] = []
    for word in words:
        meant = meaning.has(word.text)
        if meant is not None:
            # Folding may lengthen a word (ß) or shorten it (joiners): then all of it is marked.
            exact = word.end - word.start == len(word.text)
            at = word.start + word.text.find(meant) if exact else word.start
            found.append((at, at + len(meant) if exact else word.end))
    for _, number in joined(text, words):
        if any(part in number.text for part in meaning.inside if not part.isalpha()):
            found.append((number.start, number.end))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
