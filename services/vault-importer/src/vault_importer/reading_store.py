"""Conversations in Postgres: pages of a chat with what stands beside its messages, and the chats of a person."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from kit.postgres import Transaction, load_queries
from vault_importer.contact_cards import BEGIN, cards_in
from vault_importer.formats.android_kinds import MEDIA_KINDS
from vault_importer.media_types import served_as

__all__ = [
    "FIRST",
    "LAST",
    "Place",
    "accounts",
    "beside",
    "chat_head",
    "contacts_of",
    "conversations_of",
    "kept_file",
    "page",
    "place_of",
    "with_media",
]

Q = load_queries("vault_importer", "reading.sql")

Place = tuple[datetime, UUID]
FIRST: Place = (datetime.min.replace(tzinfo=UTC), UUID(int=0))
LAST: Place = (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))
PLACE = ("latitude", "longitude", "place_name", "place_address")


async def accounts(tx: Transaction) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.accounts, tx.tenant)]


async def chat_head(tx: Transaction, chat_id: UUID) -> dict[str, Any] | None:
    row = await tx.fetchrow(Q.chat_head, tx.tenant, chat_id)
    return dict(row) if row else None


async def place_of(tx: Transaction, chat_id: UUID, message_id: UUID) -> Place | None:
    row = await tx.fetchrow(Q.place_of_message, tx.tenant, chat_id, message_id)
    return (row["sent_at"], row["id"]) if row else None


async def page(tx: Transaction, chat_id: UUID, place: Place, limit: int, *, forward: bool) -> list[dict[str, Any]]:
    """Messages next to a place, the nearest first."""
    query = Q.messages_after if forward else Q.messages_before
    return [dict(row) for row in await tx.fetch(query, tx.tenant, chat_id, *place, limit)]


async def beside(tx: Transaction, messages: Sequence[dict[str, Any]]) -> None:
    """Give each message its media and whether the file is kept, what it answers, its reactions, what it said before,
    its place, its contact cards and the options of its poll."""
    ids = [message["id"] for message in messages]
    found: dict[str, dict[UUID, list[dict[str, Any]]]] = {}
    for name, query in (
        ("media", Q.media_of),
        ("quote", Q.quotes_of),
        ("reactions", Q.reactions_of),
        ("history", Q.revisions_of),
        ("details", Q.details_of),
        ("cards", Q.cards_of),
        ("poll", Q.poll_options_of),
        ("votes", Q.poll_votes_of),
    ):
        found[name] = defaultdict(list)
        for row in await tx.fetch(query, tx.tenant, ids):
            values = dict(row)
            found[name][values.pop("message_id")].append(values)
    for message in messages:
        mine = {name: rows.get(message["id"], []) for name, rows in found.items()}
        details = json.loads(mine["details"][0]["details"]) if mine["details"] else {}
        message |= {
            "media": next(iter(mine["media"]), None),
            "quote": next(iter(mine["quote"]), None),
            "reactions": mine["reactions"],
            "history": _said_before(mine["history"], message["text"]),
            "place": {name: details.get(name) for name in PLACE} if {*PLACE} & {*details} else None,
            "cards": _cards(message, mine["cards"]),
            "poll": _poll(mine["poll"], mine["votes"]),
        }
        _tell_file(message, details)


def _tell_file(message: dict[str, Any], details: dict[str, Any]) -> None:
    """Whether its file is kept, as what it goes out, and its name where nothing else is known of it."""
    media = message["media"]
    if media is not None:
        served = served_as(media["mime_type"])
        media |= {"served_as": served.type, "shown": served.shown}
    has = media is not None or message["kind"] in MEDIA_KINDS or message["kind"] == "media"
    message["file"] = ("kept" if media and media["sha256"] else "not_kept") if has else None
    name = details.get("file_name")
    message["file_name"] = media["name"] if media else name if isinstance(name, str) else ""


def _said_before(revisions: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """The wordings that say something else than the one after them. Before its key came a message said nothing."""
    before = []
    for each in reversed(revisions):
        if each["kind"] != "waiting" and each["text"] != text:
            before.append(each)
            text = each["text"]
    return before[::-1]


def _cards(message: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # Older stores have a single card in the place of the text.
    texts = [row["card"] for row in rows] or ([message["text"]] if message["text"].startswith(BEGIN) else [])
    return [card for text in texts for card in cards_in(text)]


def _poll(options: list[dict[str, Any]], votes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each option with who chose it; ``votes`` stays the phone's own count."""
    chosen: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for vote in votes:
        chosen[vote["item"]].append({"name": vote["name"], "from_me": vote["from_me"]})
    return [{**option, "voters": chosen[option["item"]]} for option in options]


async def with_media(tx: Transaction, ids: Sequence[UUID]) -> set[UUID]:
    """Those of some messages that have a file, kept here or not."""
    if not ids:
        return set()
    return {row["message_id"] for row in await tx.fetch(Q.with_media, tx.tenant, list(ids))}


async def kept_file(tx: Transaction, message_id: UUID) -> dict[str, Any] | None:
    """What a message's file is called and where its content lies; nothing of a message that is not shown."""
    row = await tx.fetchrow(Q.kept_file, tx.tenant, message_id)
    return dict(row) if row else None


async def contacts_of(tx: Transaction, numbers: Sequence[str]) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.contacts_of_numbers, tx.tenant, list(numbers))]


async def conversations_of(
    tx: Transaction, contacts: Sequence[UUID], *, before: Place, limit: int
) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.conversations_of, tx.tenant, list(contacts), *before, limit)]
