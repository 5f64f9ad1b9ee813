"""What becomes of a shadow run in the end, under the lock of the run: nobody goes on with it meanwhile."""

from __future__ import annotations

from recovery.replay.alone import alone
from recovery.replay.book import Book
from recovery.replay.plan import Refused, Replayable
from recovery.replay.shadow import Shadow

__all__ = ["discard"]


async def discard(replayable: Replayable, id_: str, *, who: str, why: str = "") -> None:
    """End the run for good and throw its copies away.

    It is cancelled before its copies go: killed in between, it can be discarded again and never be gone on with.
    """
    database, shadow = replayable.database(), Shadow(replayable)
    try:
        book = Book(database)
        async with alone(database, id_):
            entry = await book.find(id_)
            if entry.plan.target != "shadow":
                raise Refused(f"{id_} went into the {entry.plan.target} tables; only shadow runs are discarded")
            ended = entry.state in ("cancelled", "promoted")
            if ended and await shadow.holder() != id_:
                raise Refused(f"{id_} is {entry.state} and has no shadow tables")
            if not ended:
                await book.end(id_, "cancelled")
            await book.audit(id_, "discard", who=who, why=why, detail={"state": entry.state})
            await shadow.discard(id_)
    finally:
        await database.close()
