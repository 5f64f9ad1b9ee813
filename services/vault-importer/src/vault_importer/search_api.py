"""HTTP in: search. What somebody typed is in the query string, so no query string is ever logged."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends, HTTPException, Query

from kit.postgres import Database
from vault_importer.formats.android_kinds import MEDIA_KINDS
from vault_importer.search import FIRST, Answer, Found, QueryRefused, Spelling, parse, search
from vault_importer.search_store import Narrowed, Place

__all__ = ["search_routes"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SNIPPET = 240
SNIPPET_BEFORE = 80


def search_routes(database: Database, tenant: Callable[..., Any]) -> APIRouter:
    routes = APIRouter()

    @routes.get("/v1/search")
    async def search_messages(
        tenant_id: Annotated[UUID, Depends(tenant)],
        narrowed: Annotated[Narrowed, Depends(_narrowed)],
        q: str = "",
        order: Literal["newest", "rank"] = "newest",
        spelling: Spelling | None = None,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 50,
    ) -> dict[str, Any]:
        """Messages by their words. ``next`` of a page is ``after`` of the following one, ``q`` and filters the same.

        Without a ``spelling``, words that sound alike are looked for when nothing has the words themselves."""
        place, told = _place(after)
        try:
            answer = await search(
                database, tenant_id, parse(q), narrowed,
                spelling=told or spelling, by_rank=order == "rank", after=place, limit=limit,
            )  # fmt: skip
        except QueryRefused as refused:
            raise HTTPException(400, str(refused)) from None
        except asyncpg.QueryCanceledError:
            raise HTTPException(503, "That took too long. Add a word, an account, a chat or a time.") from None
        return _shown(answer)

    return routes


def _narrowed(
    account: UUID | None = None,
    chat: UUID | None = None,
    contact: UUID | None = None,
    since: Annotated[datetime | None, Query(alias="from")] = None,
    until: Annotated[datetime | None, Query(alias="to")] = None,
    kind: Annotated[list[str], Query(max_length=20)] = [],  # noqa: B006 - FastAPI copies it
    direction: Literal["in", "out"] | None = None,
    media: bool | None = None,
) -> Narrowed:
    kinds = list(kind) or None
    if media:
        kinds = [each for each in kinds or MEDIA_KINDS if each in MEDIA_KINDS]
    return Narrowed(
        account=account, chat=chat, contact=contact, since=_aware(since), until=_aware(until),
        kinds=kinds, from_me=None if direction is None else direction == "out",
    )  # fmt: skip


def _aware(at: datetime | None) -> datetime | None:
    return at if at is None or at.tzinfo else at.replace(tzinfo=UTC)


def _place(text: str | None) -> tuple[Place, Spelling | None]:
    if text is None:
        return FIRST, None
    try:
        rank, micros, id_, spelling = text.split("~")
        at = _EPOCH + timedelta(microseconds=int(micros))
        place = Place(rank=float(rank), sent_at=at, message_id=UUID(id_))
    except (ValueError, OverflowError):
        raise HTTPException(400, "after must be the next of an earlier page.") from None
    return place, "alike" if spelling == "alike" else "exact"


def _shown(answer: Answer) -> dict[str, Any]:
    last = answer.found[-1].place if answer.found and answer.more else None
    micros = (last.sent_at - _EPOCH) // timedelta(microseconds=1) if last else 0
    progress = answer.progress
    return {
        "results": [_result(found) for found in answer.found],
        "next": f"{last.rank!r}~{micros}~{last.message_id}~{answer.spelling}" if last else None,
        "spelling": answer.spelling,
        "left_out": answer.left_out,
        "indexed": {
            "share": progress.next_leaf / progress.size if progress.size else 1.0,
            "complete": progress.next_leaf >= progress.size,
        },
    }


def _result(found: Found) -> dict[str, Any]:
    message = dict(found.message)
    text = message.pop("text") if found.earlier_text is None else found.earlier_text
    message.pop("text", None)
    first = found.spans[0][0] if found.spans else 0
    start = 0 if len(text) <= SNIPPET else max(0, min(first - SNIPPET_BEFORE, len(text) - SNIPPET))
    end = min(len(text), start + SNIPPET)
    return {
        **message,
        "snippet": text[start:end],
        "spans": [[max(a, start) - start, min(b, end) - start] for a, b in found.spans if a < end and b > start],
        "cut": [start > 0, end < len(text)],
        "in_earlier_wording": found.earlier_text is not None,
    }
