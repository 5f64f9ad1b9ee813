"""The use case: a person is forgotten. That a mail went out, when and what became of it stays; what named the person is
marked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from contracts.anomalies import AnomalyFiredV1
from contracts.erasure import KeptRows, SubjectErasedV1
from kit.postgres import Transaction
from notifier import store
from recovery.erasure import Forgotten, erased
from recovery.marks import ERASED, Marks

__all__ = ["evidence_of_the_living", "forget"]

Row = dict[str, str | int | float | bool | None]

_OWNER = "The address of the business itself, as its directory has it."
_PIECE = re.compile(r"[^<>\n]+")
_NAMED = re.compile(
    r"(?P<number>\+[1-9][0-9]{7,14}(?![0-9]))"
    r"|(?P<email>[\w.%+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4})"
    r"|(?<!\w)(?:customer|contact|chat):(?P<id>[^\s,;]{1,200})",
    re.ASCII,
)


async def forget(subject: SubjectErasedV1, tx: Transaction) -> Forgotten:
    marks = Marks(subject)
    if not marks:
        return Forgotten()
    counts: dict[str, int] = {}
    for table, columns in store.TEXTS.items():
        for key, texts in await store.texts_with(tx, table, marks.parts):
            marked = {name: _marked(text, marks) for name, text in texts.items() if text is not None}
            if any(marked[name] != texts[name] for name in marked):
                await store.put_texts(tx, table, key, [marked.get(name) for name in columns])
                counts[table] = counts.get(table, 0) + 1
    kept: tuple[KeptRows, ...] = ()
    recipient = await store.find_recipient(tx)
    if recipient is not None and recipient.owner_email.lower() in subject.emails:
        kept = (KeptRows(store="recipient", rows=1, reason=_OWNER),)
    return Forgotten(counts, kept)


async def evidence_of_the_living(event: AnomalyFiredV1, tx: Transaction) -> list[Row]:
    """The evidence; rows about a person who has been forgotten since are marked."""
    return [
        {name: ERASED if isinstance(cell, str) else cell for name, cell in row.items()}
        if await erased(tx, dict.fromkeys(_names(row), _said_at(row, event.as_of)))
        else dict(row)
        for row in event.evidence
    ]


def _marked(text: str, marks: Marks) -> str:
    """Each line, and in HTML each piece between tags, is whole or marked."""
    return _PIECE.sub(lambda piece: ERASED if marks.name(piece[0]) else piece[0], text)


def _names(row: Mapping[str, object]) -> Iterator[str]:
    for cell in row.values():
        if isinstance(cell, str):
            for match in _NAMED.finditer(cell):
                yield match["number"] or match["id"] or match["email"].lower()


def _said_at(row: Mapping[str, object], as_of: datetime) -> datetime:
    """The latest time that the row tells: what was found later may be of long before."""
    times = [time for cell in row.values() if isinstance(cell, str) and (time := _time(cell)) is not None]
    return max(times, default=as_of)


def _time(cell: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
