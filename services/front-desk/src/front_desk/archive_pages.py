"""The console's pages of the archive: search, a conversation, and a customer's conversations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from front_desk import store
from front_desk.access_store import Session
from front_desk.archive import Archive, Away, KeptFile, NotFound, NotTaken
from front_desk.credentials import Role
from front_desk.pages import PAGES, addressed
from front_desk.present import clock
from kit.postgres import Database

__all__ = ["KINDS", "OTHER", "ArchivePages", "among"]

READERS: Final[frozenset[Role]] = frozenset({"owner", "desk", "admin"})
"""Who may read what was said."""
SEARCH_FIELDS = (
    "q", "from", "to", "account", "kind", "direction", "media", "order", "spelling", "chat", "contact",
)  # fmt: skip
KINDS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "text": ("text", ("text",)),
    "image": ("photos", ("image", "view_once_image")),
    "video": ("videos", ("video", "gif", "view_once_video")),
    "audio": ("voice and sound", ("audio", "view_once_audio")),
    "document": ("documents", ("document",)),
    "contact": ("contacts", ("contact", "contacts")),
    "location": ("places", ("location", "live_location")),
    "poll": ("polls", ("poll",)),
    "event": ("events", ("event",)),
}
"""What somebody can look for among: how it is called, and the vault's kinds of it."""
OTHER: Final = "other"
"""Whatever is none of these, also what the vault comes to know later."""
_BLANK = dict.fromkeys(SEARCH_FIELDS, "")
PLACES = ("before", "after", "around")
RANGES = ("range", "if-range")
DECIDERS: Final[frozenset[Role]] = frozenset({"owner", "admin"})
"""Who may decide who a contact is and what part a chat plays."""
ROLES = ("client", "lead", "vendor", "internal", "personal", "unknown")
LINKS = "/t/archive/links"
SAID: Final = {
    "accept": "Linked. It stays so until somebody decides otherwise.",
    "refuse": "Noted: they are none of these.",
    "role": "The role is noted.",
    "away": "Nothing was changed: the archive does not answer just now.",
    "not-taken": "Nothing was changed: that is not known any more. Look again below.",
}
STANDS: Final = {
    "asked": "Waits for approval",
    "approved": "Waits for its plan",
    "planned": "Waits to be applied",
    "locked": "Hidden until its day",
    "erasing": "Being erased",
    "told": "Waits for answers",
    "done": "Done",
    "cancelled": "Given up",
}
"""How the state of an erasure is called."""
GROUNDS: Final = {
    "request": "they asked for it",
    "consent_withdrawn": "consent was withdrawn",
    "purpose_ended": "the purpose has ended",
    "court_order": "a court ordered it",
}
Show = Callable[..., Awaitable[Response]]
Fields = Callable[[Request, Session], Awaitable[dict[str, str]]]
Guard = Callable[[Callable[[Request, Session], Awaitable[Response]]], Callable[[Request], Awaitable[Response]]]


class ArchivePages:
    """Handlers of requests. ``show`` renders a template for a session, ``board`` a page of panels, ``fields`` reads a
    form of our own pages."""

    def __init__(self, archive: Archive, database: Database, *, show: Show, board: Show, fields: Fields) -> None:
        self._archive = archive
        self._database = database
        self._show = show
        self._board = board
        self._fields = fields

    def routes(self, signed_in: Guard) -> list[Route]:
        return [
            Route("/t/archive", signed_in(self.search), methods=["GET"]),
            Route("/t/archive/chats/{chat}", signed_in(self.conversation), methods=["GET"]),
            Route("/t/archive/chats/{chat}/role", signed_in(self.give_role), methods=["POST"]),
            Route("/t/archive/media/{message}", signed_in(self.media), methods=["GET"]),
            Route("/t/archive/links", signed_in(self.links), methods=["GET"]),
            Route("/t/archive/links/{contact}", signed_in(self.decide), methods=["POST"]),
            Route("/t/archive/erasures", signed_in(self.erasures), methods=["GET"]),
            Route("/t/customers/{customer}", signed_in(self.customer), methods=["GET"]),
        ]

    async def search(self, request: Request, session: Session) -> Response:
        """The archive's panels under a search box; with a question, what it finds."""
        asked = {name: request.query_params[name][:500] for name in SEARCH_FIELDS if request.query_params.get(name)}
        may = session.role in READERS
        if "q" not in request.query_params:
            narrow = await self._narrow(session) if may else {}
            return await self._board(
                request, session, PAGES["archive"], "archive.html", may=may, defaults=_BLANK, narrow=narrow,
                erasures=session.role in DECIDERS,
            )  # fmt: skip
        if not may:
            raise HTTPException(403)
        found, problem, away = None, "", False
        try:
            found = await self._archive.search(session.tenant, _question(asked, request, session))
        except NotTaken as refused:
            problem = str(refused)
        except Away:
            away = True
        for result in found["results"] if found else ():
            result["parts"] = _parts(result["snippet"], result["spans"])
        further = None
        if found and found["next"]:
            further = f"/t/archive?{urlencode({**asked, 'after': found['next']})}"
        asked = _BLANK | asked
        values = {
            "asked": asked,
            "defaults": asked,
            "found": found,
            "problem": problem,
            "away": away,
            "further": further,
            "may": may,
            "narrow": await self._narrow(session),
        }
        return await self._page("found.html", session, **values)

    async def _narrow(self, session: Session) -> dict[str, list[tuple[str, str]]]:
        """What a search can be narrowed to: values and how they are called."""
        try:
            accounts = await self._archive.accounts(session.tenant)
        except (Away, NotFound, NotTaken):
            accounts = []
        return {
            # One alone is no choice.
            "account": [(each["id"], each["name"]) for each in accounts] if len(accounts) > 1 else [],
            "kind": [*((value, called) for value, (called, _) in KINDS.items()), (OTHER, "anything else")],
        }

    async def conversation(self, request: Request, session: Session) -> Response:
        """A page of one chat, also around one message."""
        _only_for(READERS, session)
        chat = addressed(request.path_params["chat"])
        place = {name: str(addressed(request.query_params[name])) for name in PLACES if name in request.query_params}
        if len(place) > 1:
            raise HTTPException(404)
        page, customers = None, []
        try:
            page = await self._archive.conversation(session.tenant, chat, place)
        except (NotFound, NotTaken):
            raise HTTPException(404) from None
        except Away:
            pass
        if page and page["chat"]["number"]:
            async with self._database.transaction(session.tenant) as tx:
                customers = await store.customers_with_number(tx, page["chat"]["number"])
        customers = [each for each in customers if not page or each["customer_id"] != page["chat"]["linked_id"]]
        values = {
            "chat": chat, "found": page, "customers": customers, "around": place.get("around"), "roles": ROLES,
            "may_decide": session.role in DECIDERS, "said": SAID.get(request.query_params.get("did", ""), ""),
        }  # fmt: skip
        return await self._page("conversation.html", session, **values)

    async def media(self, request: Request, session: Session) -> Response:
        """The kept file of a message, or a range of its bytes, as the vault streams it."""
        _only_for(READERS, session)
        message = addressed(request.path_params["message"])
        wanted = {name: request.headers[name] for name in RANGES if name in request.headers}
        try:
            kept = await self._archive.media(session.tenant, message, request.method, wanted)
        except NotFound:
            raise HTTPException(404) from None
        except NotTaken:
            raise HTTPException(416) from None
        except Away:
            raise HTTPException(503) from None
        return _Streamed(kept)

    async def customer(self, request: Request, session: Session) -> Response:
        """A customer, and all conversations with whoever is linked to them or has their number."""
        _only_for(READERS, session)
        async with self._database.transaction(session.tenant) as tx:
            customer = await store.find_customer(tx, request.path_params["customer"])
        if customer is None:
            raise HTTPException(404)
        found: dict[str, Any] | None = {"conversations": [], "next": None}
        try:
            before = request.query_params.get("before")
            found = await self._archive.conversations(
                session.tenant, customer["customer_id"], customer["numbers"][:50], before
            )
        except NotTaken:
            raise HTTPException(404) from None
        except (Away, NotFound):
            found = None
        return await self._page("customer.html", session, customer=customer, found=found)

    async def links(self, request: Request, session: Session) -> Response:
        """Contacts that could be several customers or leads, with what speaks for each."""
        _only_for(READERS, session)
        found, after = None, request.query_params.get("after")
        try:
            found = await self._archive.open_links(session.tenant, str(addressed(after)) if after else None)
        except Away:
            pass
        except (NotFound, NotTaken):
            raise HTTPException(404) from None
        said = SAID.get(request.query_params.get("did", ""), "")
        return await self._page("links.html", session, found=found, may=session.role in DECIDERS, said=said)

    async def erasures(self, request: Request, session: Session) -> Response:
        """Where each request to forget somebody stands. It names nobody; what is next is done by command."""
        _only_for(DECIDERS, session)
        found = None
        with suppress(Away, NotFound, NotTaken):
            found = await self._archive.erasures(session.tenant)
        return await self._page("erasures.html", session, found=found, stands=STANDS, grounds=GROUNDS)

    async def decide(self, request: Request, session: Session) -> Response:
        """Accept one, or none of those that were shown."""
        contact = addressed(request.path_params["contact"])
        fields = await self._decided(request, session)
        accepted = fields.get("accept", "")
        # Whoever was shown is refused, nobody who came since.
        parties = [accepted] if accepted else [each for each in fields.get("shown", "").splitlines() if each][:50]
        action = "accept" if accepted else "refuse"
        said = {"action": action, "parties": parties, "by": session.email, "why": fields.get("why", "")[:500]}
        return _to(LINKS, await _did(action, self._archive.decide(session.tenant, contact, said)))

    async def give_role(self, request: Request, session: Session) -> Response:
        """Give a chat its role, or leave it to the rules again."""
        chat = addressed(request.path_params["chat"])
        fields = await self._decided(request, session)
        said = {"role": fields.get("role") or None, "by": session.email, "why": fields.get("why", "")[:500]}
        return _to(f"/t/archive/chats/{chat}", await _did("role", self._archive.give_role(session.tenant, chat, said)))

    async def _decided(self, request: Request, session: Session) -> dict[str, str]:
        fields = await self._fields(request, session)
        if session.role not in DECIDERS:
            raise HTTPException(403)
        return fields

    async def _page(self, template: str, session: Session, **values: Any) -> Response:
        zone = ZoneInfo(session.timezone)
        today = datetime.now(zone).date()

        def at(text: str | None) -> str:
            return clock(datetime.fromisoformat(text), zone, today) if text else ""

        return await self._show(template, session, PAGES["archive"], clock=at, **values)


class _Streamed(StreamingResponse):
    """Passes a file on piece by piece, and lets go of the vault's connection however it ends."""

    def __init__(self, kept: KeptFile) -> None:
        super().__init__(kept.pieces, kept.status, kept.headers)
        self._kept = kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._kept.close()


async def _did(what: str, done: Awaitable[object]) -> str:
    """``what`` when it was done, else why not."""
    try:
        await done
    except Away:
        return "away"
    except (NotFound, NotTaken):
        return "not-taken"
    return what


def _to(where: str, did: str) -> Response:
    return RedirectResponse(f"{where}?did={did}", 303)


def _only_for(roles: frozenset[Role], session: Session) -> None:
    if session.role not in roles:
        raise HTTPException(403)


def among(choice: str) -> dict[str, list[str]]:
    """What the vault is asked for a choice of kind. Raises :class:`NotTaken`."""
    if choice == OTHER:
        return {"not_kind": [kind for _, kinds in KINDS.values() for kind in kinds]}
    if choice not in KINDS:
        raise NotTaken("The archive does not take one of the filters.")
    return {"kind": list(KINDS[choice][1])}


def _question(asked: Mapping[str, str], request: Request, session: Session) -> dict[str, Any]:
    """What the vault is asked; days are the tenant's, the last one included."""
    question: dict[str, Any] = {name: value for name, value in asked.items() if name not in ("from", "to")}
    if "kind" in asked:
        question |= {"kind": [], **among(asked["kind"])}
    zone = ZoneInfo(session.timezone)
    for name, more in (("from", 0), ("to", 1)):
        if name in asked:
            try:
                day = date.fromisoformat(asked[name]) + timedelta(days=more)
                question[name] = datetime.combine(day, time(), tzinfo=zone).astimezone(UTC).isoformat()
            except (ValueError, OverflowError):
                raise NotTaken("A day is written as in 2026-11-28.") from None
    after = request.query_params.get("after")
    return {"q": "", **question, "limit": "30", **({"after": after} if after else {})}


def _parts(text: str, spans: list[list[int]]) -> list[tuple[str, bool]]:
    """A text in pieces, each with whether it is what was looked for."""
    parts: list[tuple[str, bool]] = []
    place = 0
    for start, end in spans:
        parts += [(text[place:start], False), (text[start:end], True)]
        place = end
    parts.append((text[place:], False))
    return [part for part in parts if part[0]]
