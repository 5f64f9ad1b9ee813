"""The console's page of missed calls: who waits, and what people do about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from front_desk.access_store import Session
from front_desk.claims import Claims, NoSuchCall, NotNow, Refused, Taken
from front_desk.credentials import Role
from front_desk.panels.missed import micros
from front_desk.present import clock, wording

__all__ = ["ACTORS", "ClaimsPages"]

ACTORS: Final[frozenset[Role]] = frozenset({"owner", "desk", "admin"})
"""Who may act on missed calls."""
SUPERIORS: Final[frozenset[Role]] = frozenset({"owner", "admin"})
"""Who may take one from a colleague."""
AWAY = "The telephone service does not answer just now. Nothing was changed that you can see; try again in a moment."
GONE = "This call is not known any more. Load the page again."
WAITS = "Your telephone is about to ring."
ORDERS: Final = {
    "requested": WAITS,
    "submitting": WAITS,
    "submitted": "Your telephone rings; take it, and theirs rings.",
    "submission_unknown": "Nobody knows whether your telephone rang, and it is not dialled again for this claim.",
}
REFUSALS: Final = {
    "breaker_open": "the telephone company fails just now; try again in a minute",
    "dnd_refused": "this number is registered as not to be disturbed",
    "expired": "nobody placed it in time",
    "not_set_up": "the account is not set up to dial",
    "rate_limited": "too many calls at once; try again in a minute",
    "unauthorised": "the telephone company does not accept the account's credentials",
}


class ClaimsPages:
    """Handlers of requests. ``page`` renders a page of panels, ``fields`` reads a form of our own pages."""

    def __init__(
        self,
        claims: Claims,
        *,
        page: Callable[..., Awaitable[Response]],
        fields: Callable[[Request, Session], Awaitable[dict[str, str]]],
    ) -> None:
        self._claims = claims
        self._page = page
        self._fields = fields

    async def board(self, request: Request, session: Session) -> Response:
        people = await self._claims.telephones(session.tenant)
        may = "all" if session.role in SUPERIORS else "own" if session.role in ACTORS else "no"
        return await self._page(
            request, session, "missed.html", router_answers=people is not None, people=people, may=may
        )

    async def router(self, request: Request, session: Session) -> Response:
        """Whether anything can be claimed just now."""
        return JSONResponse({"answers": await self._claims.telephones(session.tenant) is not None})

    async def called(self, request: Request, session: Session) -> Response:
        """What became of a call back that a button ordered, in words; ``over`` when there is nothing to wait for."""
        if session.role not in ACTORS:
            raise HTTPException(403)
        try:
            call = UUID(request.query_params.get("id", ""))
            state, code = await self._claims.ordered(session.tenant, call)
        except (ValueError, NoSuchCall):
            return JSONResponse({"problem": GONE}, 404)
        except (NotNow, Refused):
            return JSONResponse({"problem": AWAY, "away": True}, 503)
        said = ORDERS.get(state) or f"Not called: {REFUSALS.get(code) or wording(code) or 'it was refused'}."
        return JSONResponse(
            {"said": said, "bad": state not in ORDERS or state == "submission_unknown", "over": said != WAITS}
        )

    async def act(self, request: Request, session: Session) -> Response:
        """Do what a button of the page asks for; the answer says how the call stands."""
        fields = await self._fields(request, session)
        if session.role not in ACTORS:
            raise HTTPException(403)
        did, call = fields.get("do", ""), fields.get("id", "")
        if not call:
            raise HTTPException(400)
        what, said = _said(did, fields, session)
        try:
            item = await self._claims.do(session.tenant, call, what, **said)
        except Taken as taken:
            return JSONResponse({"problem": f"{taken}.", "item": _shown(taken.item, session)}, 409)
        except NoSuchCall:
            return JSONResponse({"problem": GONE}, 404)
        except Refused as refused:
            return JSONResponse({"problem": f"Not done: {refused}."}, 422)
        except NotNow:
            return JSONResponse({"problem": AWAY, "away": True}, 503)
        # Of a call back, whose id the page needs to ask what became of it.
        ordered = {"call": item["call"]} if "call" in item else {}
        return JSONResponse({"item": _shown(item, session), **ordered})


def _said(did: str, fields: dict[str, str], session: Session) -> tuple[str, dict[str, str | None]]:
    user, name = str(session.user_id), session.shown_name[:100]
    if did == "claim":
        return "claim", {"user": user, "name": name}
    if did == "renew":
        return "renew", {"user": user}
    if did == "release":
        return "release", {"user": user, "reason": fields.get("reason", "")[:500]}
    if did == "take":
        if session.role not in SUPERIORS:
            raise HTTPException(403)
        return "release", {"user": None, "by": name, "reason": f"taken away by {name}"}
    if did == "call":
        return "call-back", {"user": user, "staff": fields.get("staff", "")[:64]}
    if did == "resolve":
        outcome, note = fields.get("outcome", ""), fields.get("note", "")[:1000]
        return "resolve", {"user": user, "name": name, "outcome": outcome, "note": note}
    raise HTTPException(400)


def _shown(item: dict[str, Any], session: Session) -> dict[str, Any]:
    """What the page needs to show at once what the event will tell a moment later."""
    zone = ZoneInfo(session.timezone)
    since, now = datetime.fromisoformat(item["since"]), datetime.fromisoformat(item["now"])
    until = datetime.fromisoformat(item["until"]) if item["until"] else None
    return {
        "id": item["id"],
        "state": item["state"],
        "user": item["user"] or "",
        "name": item["name"],
        "outcome": item["outcome"] or "",
        "since": micros(since),
        "until": micros(until),
        "until_clock": clock(until, zone, now.astimezone(zone).date()),
        "now": micros(now),
    }
