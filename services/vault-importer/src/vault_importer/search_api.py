"""HTTP in: search. What somebody typed is in the query string, so no query string is ever logged."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends, HTTPException, Query

from kit.postgres import Database
from vault_importer import reading_store
from vault_importer.formats.android_kinds import KINDS, MEDIA_KINDS
from vault_importer.search import FIRST, Answer, Found, QueryRefused, Spelling, parse, search
from vault_importer.search_store import Narrowed, Place

__all__ = ["ALL_KINDS", "search_routes"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: What any source can say a message is: what nobody has explained is ``other``, a file of an exported chat ``media``.
ALL_KINDS = frozenset(KINDS.values()) | {"other", "media"}
#: What has a file by what it is; of everything else a row says so.
FILE_KINDS = MEDIA_KINDS | {"media"}
#: Nearly all of an archive: looking for their files one by one would take as long as the search.
NEVER_WITH_FILE = frozenset({"text", "system", "call", "missed_call", "timer", "waiting"})
#: So many pages are gone through for one of those that have a file.
PAGES_AT_ONCE = 3
SNIPPET = 240
SNIPPET_BEFORE = 80


def search_routes(database: Database, tenant: Callable[..., Any]) -> APIRouter:
    routes = APIRouter()

    @routes.get("/v1/search")
    async def search_messages(
        tenant_id: Annotated[UUID, Depends(tenant)],
        narrowed: Annotated[Narrowed, Depends(_narrowed)],
        kinds: Annotated[_Kinds, Depends(_kinds)],
        q: str = "",
        order: Literal["newest", "rank"] = "newest",
        spelling: Spelling | None = None,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 50,
    ) -> dict[str, Any]:
        """Messages by their words. ``next`` of a page is ``after`` of the following one, ``q`` and filters the same.

        Without a ``spelling``, words that sound alike are looked for when nothing has the words themselves."""
        place, told = _place(after)

        async def page(behind: Place, spelt: Spelling | None) -> Answer:
            return await search(
                database, tenant_id, parse(q), narrowed,
                spelling=spelt, by_rank=order == "rank", after=behind, limit=limit,
            )  # fmt: skip

        try:
            if kinds.with_file:
                answer, place = await _with_file(database, tenant_id, page, place, told or spelling, limit)
            else:
                answer = await page(place, told or spelling)
                place = answer.found[-1].place if answer.found else place
        except QueryRefused as refused:
            raise HTTPException(400, str(refused)) from None
        except asyncpg.QueryCanceledError:
            raise HTTPException(503, "That took too long. Add a word, an account, a chat or a time.") from None
        return _shown(answer, place)

    return routes


async def _with_file(
    database: Database,
    tenant: UUID,
    page: Callable[[Place, Spelling | None], Awaitable[Answer]],
    place: Place,
    spelling: Spelling | None,
    limit: int,
) -> tuple[Answer, Place]:
    """Those of the next pages that have a file, and behind which message the following page begins."""
    found: list[Found] = []
    answer = await page(place, spelling)
    for turn in range(1, PAGES_AT_ONCE + 1):
        unsure = [each.message["id"] for each in answer.found if each.message["kind"] not in FILE_KINDS]
        async with database.transaction(tenant) as tx:
            sure = await reading_store.with_media(tx, unsure)
        mine = [each for each in answer.found if each.message["kind"] in FILE_KINDS or each.message["id"] in sure]
        left = limit - len(found)
        found += mine[:left]
        if len(mine) > left:
            return replace(answer, found=found, more=True), found[-1].place
        place = answer.found[-1].place if answer.found else place
        if not answer.more or len(found) == limit or turn == PAGES_AT_ONCE:
            break
        answer = await page(place, answer.spelling)
    return replace(answer, found=found), place


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kinds:
    """Of which kinds a message is, any without a list; and whether a row beside it has to name its file."""

    among: list[str] | None
    with_file: bool


def _kinds(
    kind: Annotated[list[str], Query(max_length=20)] = [],  # noqa: B006 - FastAPI copies it
    not_kind: Annotated[list[str], Query(max_length=40)] = [],  # noqa: B006 - FastAPI copies it
    media: bool | None = None,
) -> _Kinds:
    without = {*not_kind, *(NEVER_WITH_FILE if media else ())}
    among = sorted((set(kind) or ALL_KINDS) - without) if kind or without else None
    return _Kinds(among=among, with_file=bool(media))


def _narrowed(
    kinds: Annotated[_Kinds, Depends(_kinds)],
    account: UUID | None = None,
    chat: UUID | None = None,
    contact: UUID | None = None,
    since: Annotated[datetime | None, Query(alias="from")] = None,
    until: Annotated[datetime | None, Query(alias="to")] = None,
    direction: Literal["in", "out"] | None = None,
) -> Narrowed:
    return Narrowed(
        account=account, chat=chat, contact=contact, since=_aware(since), until=_aware(until),
        kinds=kinds.among, from_me=None if direction is None else direction == "out",
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


def _shown(answer: Answer, place: Place) -> dict[str, Any]:
    last = place if answer.more else None
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
