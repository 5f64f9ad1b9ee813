"""The console's page of the routing: read by everybody, changed by owner and admin, with its history and red button."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from front_desk import store
from front_desk.access_store import Session
from front_desk.differences import differences
from front_desk.fields import Invalid, Problem
from front_desk.keep_directory import NoSuchEntity, UnknownStaff
from front_desk.keep_routing import (
    NotThisVersion,
    RoutingInUse,
    check_routing,
    end_emergency,
    keep_routing,
    read_version,
    restore,
    start_emergency,
)
from front_desk.kinds import KINDS, ROUTING_ID, Stored
from front_desk.pages import MAY_ROUTE, PAGES
from front_desk.present import clock
from front_desk.routing import STRATEGIES, Emergency, Routing
from front_desk.routing_bodies import RoutingBody
from front_desk.routing_forms import SECTIONS, coming_holidays, edited, shown
from kit.postgres import Database

__all__ = ["RoutingPages"]

HOME = "/t/routing"
VERSIONS_SHOWN = 20
PEOPLE_MAX = 500
DONE = {
    "saved": "Saved. Calls follow it from now on.",
    "unchanged": "Nothing changed.",
    "on": "The emergency is on. All calls go there from now on.",
    "off": "The emergency is over. Calls go as set below.",
    "restored": "Restored, as a new version.",
}
Show = Callable[..., Awaitable[Response]]
Work = Callable[[], Awaitable[Any]]


class RoutingPages:
    """Handlers of requests. ``show`` renders a template for a session, ``fields`` reads a form of our own pages."""

    def __init__(
        self, database: Database, *, show: Show, fields: Callable[[Request, Session], Awaitable[dict[str, str]]]
    ) -> None:
        self._database = database
        self._show = show
        self._fields = fields

    async def page(self, request: Request, session: Session) -> Response:
        return await self._page(session, said=DONE.get(request.query_params.get("did", ""), ""))

    async def save(self, request: Request, session: Session) -> Response:
        """One form of the page: the routing as it was shown, with this form's fields."""
        fields = await self._own(request, session)
        if fields.get("section") not in SECTIONS:
            raise HTTPException(400)
        present = await self._present(session)
        seen, now = _number(fields.get("version", "")), present.version if present else 0

        async def work() -> str:
            if seen != now:
                raise NotThisVersion(seen, now)
            body = shown(present.body if present else {})
            asked = RoutingBody.model_validate(edited(body, fields))
            kept = await keep_routing(
                self._database, session.tenant, asked.change, who=session.email, why=fields.get("why", ""), edited=seen
            )
            return "unchanged" if kept.outcome == "unchanged" else "saved"

        return await self._done(session, work, fields)

    async def emergency(self, request: Request, session: Session) -> Response:
        """On or off, each asked for once more before it is done."""
        fields = await self._own(request, session)
        confirmed = fields.get("confirmed") == "yes"
        if fields.get("do") == "off":
            if not confirmed:
                return await self._show("routing_confirm.html", session, PAGES["routing"], turn="off", fields={})
            work = end_emergency(self._database, session.tenant, who=session.email, why=fields.get("why", ""))
            return await self._done(session, lambda: _and(work, "off"), fields)

        async def ask_or_do() -> str | None:
            asked = Emergency.of(
                group=fields.get("group") or None,
                number=fields.get("number") or None,
                until=_local(fields.get("until", ""), session),
                reason=fields.get("reason", ""),
            )
            if confirmed:
                await start_emergency(self._database, session.tenant, asked, who=session.email)
                return "on"
            checked = await check_routing(
                self._database, session.tenant, lambda present: (present or Routing.of()).with_emergency(asked)
            )
            if checked.problems:
                raise Invalid(checked.problems)
            return None

        return await self._done(session, ask_or_do, {**fields, "section": "emergency"})

    async def version(self, request: Request, session: Session) -> Response:
        """One version: what it changed, and what going back to it would change."""
        number = _number(request.path_params["version"])
        try:
            found = await read_version(self._database, session.tenant, number)
            before = await read_version(self._database, session.tenant, number - 1) if number > 1 else None
        except NoSuchEntity:
            raise HTTPException(404) from None
        present = await self._present(session)
        body = found.body or {}
        now = present.body if present else {}
        return await self._show(
            "routing_version.html",
            session,
            PAGES["routing"],
            found=found,
            newest=present.version if present else 0,
            changed=differences((before.body if before else None) or {}, body),
            restoring=differences(now, {**body, "emergency": now.get("emergency")}),
            editor=session.role in MAY_ROUTE,
            clock=_clock(session),
        )

    async def restore(self, request: Request, session: Session) -> Response:
        fields = await self._own(request, session)
        number, seen = _number(fields.get("number", "")), _number(fields.get("version", ""))
        work = restore(
            self._database, session.tenant, number, who=session.email, why=fields.get("why", ""), edited=seen
        )
        return await self._done(session, lambda: _and(work, "restored"), fields)

    async def _own(self, request: Request, session: Session) -> dict[str, str]:
        if session.role not in MAY_ROUTE:
            raise HTTPException(403)
        return await self._fields(request, session)

    async def _present(self, session: Session) -> Stored | None:
        async with self._database.transaction(session.tenant) as tx:
            found = await store.find(tx, KINDS["routing"], [ROUTING_ID])
        return found[0] if found else None

    async def _done(self, session: Session, work: Work, fields: dict[str, str]) -> Response:
        """Back to the page when it is done; else the page again, with what was typed and what is wrong with it."""
        try:
            did = await work()
        except Invalid as invalid:
            return await self._page(session, problems=invalid.problems, typed=fields)
        except ValidationError as error:
            found = [
                Problem(field=".".join(map(str, each["loc"])), sentence=str(each["msg"])) for each in error.errors()
            ]
            return await self._page(session, problems=found, typed=fields)
        except UnknownStaff as unknown:
            sentence = f"there is nobody with the reference {', '.join(unknown.refs[:5])}"
            return await self._page(session, problems=[Problem(field="staff", sentence=sentence)], typed=fields)
        except (RoutingInUse, NotThisVersion) as refused:
            return await self._page(session, problems=[Problem(field="", sentence=str(refused))], typed=fields)
        except NoSuchEntity:
            raise HTTPException(404) from None
        if did is None:
            asked = {name: fields.get(name, "") for name in ("group", "number", "until", "reason")}
            return await self._show("routing_confirm.html", session, PAGES["routing"], turn="on", fields=asked)
        return RedirectResponse(f"{HOME}?did={did}", 303)

    async def _page(
        self, session: Session, *, said: str = "", problems: Sequence[Problem] = (), typed: dict[str, str] | None = None
    ) -> Response:
        zone = ZoneInfo(session.timezone)
        async with self._database.transaction(session.tenant) as tx:
            found = await store.find(tx, KINDS["routing"], [ROUTING_ID])
            people = await store.page(tx, KINDS["staff"], "", PEOPLE_MAX)
            lines = await store.living_dids(tx)
            versions = await store.routing_versions(tx, 2**31 - 1, VERSIONS_SHOWN)
        body = shown(found[0].body) if found else RoutingBody().model_dump(exclude={"emergency", "why", "version"})
        today = datetime.now(zone).date()

        def value(section: str, which: str, name: str, stored: Any) -> Any:
            """What a field shows: what was typed into it, else what is stored."""
            mine = typed is not None and typed.get("section") == section and typed.get("which", "") == which
            return typed.get(name, "") if mine and typed is not None else stored

        response = await self._show(
            "routing.html",
            session,
            PAGES["routing"],
            routing=body,
            version=found[0].version if found else 0,
            people={each.ref: each.body["name"] for each in people},
            lines=lines,
            versions=versions,
            strategies=STRATEGIES,
            coming=lambda calendar: coming_holidays(calendar, today),
            value=value,
            open_at=(typed or {}).get("section", ""),
            open_which=(typed or {}).get("which", ""),
            problems=problems,
            said=said,
            editor=session.role in MAY_ROUTE,
            clock=_clock(session),
        )
        response.status_code = 422 if problems else 200
        return response


async def _and(work: Awaitable[Any], did: str) -> str:
    await work
    return did


def _clock(session: Session) -> Callable[[datetime], str]:
    zone = ZoneInfo(session.timezone)
    today = datetime.now(UTC).astimezone(zone).date()
    return lambda at: clock(at, zone, today)


def _number(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or len(text) > 9:
        raise HTTPException(404)
    return int(text)


def _local(text: str, session: Session) -> datetime | None:
    """A time as a form has it: of the tenant's zone."""
    if not text.strip():
        return None
    try:
        return datetime.fromisoformat(text.strip()).replace(tzinfo=ZoneInfo(session.timezone))
    except ValueError:
        raise Invalid([Problem(field="until", sentence="is a day and a time, like 2026-11-30 18:00")]) from None
