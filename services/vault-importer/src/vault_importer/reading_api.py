"""HTTP in: reading a conversation, and all conversations of a person."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Query

from kit.postgres import Database, Transaction
from vault_importer import reading_store
from vault_importer.links import store as links
from vault_importer.reading_store import LAST, Place

__all__ = ["reading_routes"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def reading_routes(database: Database, tenant: Callable[..., Any]) -> APIRouter:
    routes = APIRouter()
    _conversation(routes, database, tenant)
    _conversations(routes, database, tenant)
    return routes


def _conversation(routes: APIRouter, database: Database, tenant: Callable[..., Any]) -> None:
    Tenant = Annotated[UUID, Depends(tenant)]  # noqa: N806 - a type
    Limit = Annotated[int, Query(ge=1, le=200)]  # noqa: N806 - a type

    @routes.get("/v1/chats/{chat_id}/messages")
    async def conversation(
        tenant_id: Tenant,
        chat_id: UUID,
        before: UUID | None = None,
        after: UUID | None = None,
        around: UUID | None = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        """A page of a chat, the oldest first, with quotes, media, reactions and earlier wordings: the newest messages,
        those before, after or around one. ``older`` and ``newer`` are ``before`` and ``after`` of the pages beside it;
        null where the chat ends."""
        named = [each for each in (before, after, around) if each is not None]
        if len(named) > 1:
            raise HTTPException(400, "Give before, after or around, not several of them.")
        async with database.transaction(tenant_id) as tx:
            chat = await reading_store.chat_head(tx, chat_id)
            if chat is None:
                raise HTTPException(404, "There is no such chat.")
            chat |= await links.role_of_chat(tx, chat_id)
            place = await reading_store.place_of(tx, chat_id, named[0]) if named else LAST
            if place is None:
                raise HTTPException(404, "There is no such message in this chat.")
            back = 0 if after else limit // 2 if around else limit
            messages, older, newer = await _around(tx, chat_id, place, back, limit, at_end=not named)
            await reading_store.beside(tx, messages)
        ends = (messages[0]["id"], messages[-1]["id"]) if messages else (None, None)
        return {
            "chat": chat,
            "messages": messages,
            "older": ends[0] if older or after else None,
            "newer": ends[1] if newer or before else None,
        }


def _conversations(routes: APIRouter, database: Database, tenant: Callable[..., Any]) -> None:
    Tenant = Annotated[UUID, Depends(tenant)]  # noqa: N806 - a type
    Limit = Annotated[int, Query(ge=1, le=200)]  # noqa: N806 - a type

    @routes.get("/v1/conversations")
    async def conversations(
        tenant_id: Tenant,
        number: Annotated[list[str], Query(max_length=50)] = [],  # noqa: B006 - FastAPI copies it
        customer: str | None = None,
        before: str | None = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """Chats with whoever has one of these numbers (E.164), and groups they are or were in, newest first.

        Of a ``customer``: whoever is linked to it, and whoever has one of the numbers and is linked to nobody else."""
        if not number and customer is None:
            raise HTTPException(400, "Give a number or a customer.")
        place = _cursor(before)
        async with database.transaction(tenant_id) as tx:
            if customer is None:
                contacts = await reading_store.contacts_of(tx, number)
            else:
                contacts = await links.contacts_of_customer(tx, customer, number)
            ids = [contact["id"] for contact in contacts]
            chats = await reading_store.conversations_of(tx, ids, before=place, limit=limit + 1)
        more, chats = len(chats) > limit, chats[:limit]
        last = chats[-1] if more else None
        return {"contacts": contacts, "conversations": chats, "next": _written(last) if last else None}


async def _around(
    tx: Transaction, chat_id: UUID, place: Place, back: int, limit: int, *, at_end: bool
) -> tuple[list[dict[str, Any]], bool, bool]:
    """Messages about a place in their order, and whether there are more at either end."""
    earlier = await reading_store.page(tx, chat_id, place, back + 1, forward=False) if back else []
    later: list[dict[str, Any]] = []
    forward = limit - back
    if forward and not at_end:
        # Around a message it is the first of the later ones; after one it is left out.
        start = place if not back else (place[0], UUID(int=max(0, place[1].int - 1)))
        later = await reading_store.page(tx, chat_id, start, forward + 1, forward=True)
    return [*reversed(earlier[:back]), *later[:forward]], len(earlier) > back, len(later) > forward


def _written(chat: dict[str, Any]) -> str:
    # Chats in which nothing was said stand behind all others.
    at = chat["last_at"] or _EPOCH
    return f"{(at - _EPOCH) // timedelta(microseconds=1)}~{chat['id']}"


def _cursor(text: str | None) -> Place:
    if text is None:
        return LAST
    micros, _, id_ = text.partition("~")
    try:
        return _EPOCH + timedelta(microseconds=int(micros)), UUID(id_)
    except (ValueError, OverflowError):
        raise HTTPException(400, "before must be the next of an earlier page.") from None
