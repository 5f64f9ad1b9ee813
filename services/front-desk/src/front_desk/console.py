"""The web console: pages behind a sign-in. The tenant comes from the session and from nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from front_desk import access_store, board_store, store
from front_desk.access_store import Session
from front_desk.archive_pages import ArchivePages
from front_desk.claims_pages import ClaimsPages
from front_desk.credentials import new_token, same_secret, sha256
from front_desk.letters_pages import LettersPages
from front_desk.live import CARDS_MAX, LiveBoard
from front_desk.live_socket import LiveSocket
from front_desk.neighbours import Neighbours
from front_desk.pages import PAGES, Page, pages_of, panels_of, tiles_of
from front_desk.panels.missed import micros
from front_desk.present import clock, day_began
from front_desk.problems import UNAVAILABLE
from front_desk.render import STATIC, Renderer
from front_desk.routing_pages import RoutingPages
from front_desk.sign_in import Refused, SignIn
from kit.postgres import Database, Transaction
from kit.telemetry import get_logger

__all__ = ["console_app"]

log = get_logger(__name__)
LATEST = 6
"""Cards of each panel on the overview."""
HEARTBEAT_SECONDS = 15.0
SESSION_CHECK_SECONDS = 60.0
SCRIPTED = frozenset({"/t/stream", "/t/changes", "/t/missed/router", "/t/missed/called", "/t/missed/act"})
"""What scripts ask for: without a session they are told so, instead of being sent to the sign-in."""
Handler = Callable[[Request], Awaitable[Response]]
SessionHandler = Callable[[Request, Session], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cookies:
    """Names and attributes. ``__Host-`` ties a cookie to this very host, which needs HTTPS."""

    secure: bool

    @property
    def session(self) -> str:
        return "__Host-trunkline_session" if self.secure else "trunkline_session"

    @property
    def form(self) -> str:
        return "__Host-trunkline_form" if self.secure else "trunkline_form"

    def set(self, response: Response, name: str, value: str, seconds: int) -> None:
        response.set_cookie(name, value, max_age=seconds, path="/", httponly=True, samesite="lax", secure=self.secure)

    def drop(self, response: Response, name: str) -> None:
        response.delete_cookie(name, path="/", httponly=True, samesite="lax", secure=self.secure)


def console_app(
    database: Database,
    live: LiveBoard,
    renderer: Renderer,
    sign_in: SignIn,
    others: Neighbours,
    *,
    secure_cookies: bool,
    shown_logins: list[tuple[str, str]],
) -> Starlette:
    """The console as an ASGI app."""
    cookies = _Cookies(secure=secure_cookies)
    console = _Console(database, live, renderer, sign_in, cookies, shown_logins)
    dead = LettersPages(
        others.letters,
        sign_in,
        show=console.show,
        fields=console.own_fields,
        token_of=lambda request: request.cookies[cookies.session],
    )
    routing = RoutingPages(database, show=console.show, fields=console.own_fields)
    archive = ArchivePages(others.archive, database, show=console.show, board=console.board, fields=console.own_fields)
    return Starlette(
        routes=[
            Route("/", console.front, methods=["GET"]),
            Route("/login", console.login, methods=["POST"]),
            Route("/logout", console.signed_in(console.logout), methods=["POST"]),
            Route("/t/stream", console.signed_in(console.stream), methods=["GET"]),
            Route("/t/changes", console.signed_in(console.changes), methods=["GET"]),
            Route("/t/today", console.signed_in(console.today), methods=["GET"]),
            Route("/t/letters", console.signed_in(dead.list), methods=["GET"]),
            Route("/t/letters/unlock", console.signed_in(dead.unlock), methods=["POST"]),
            Route("/t/letters/act", console.signed_in(dead.act), methods=["POST"]),
            Route("/t/letters/{service}/{id}", console.signed_in(dead.one), methods=["GET"]),
            Route("/t/routing", console.signed_in(routing.page), methods=["GET"]),
            Route("/t/routing", console.signed_in(routing.save), methods=["POST"]),
            Route("/t/routing/emergency", console.signed_in(routing.emergency), methods=["POST"]),
            Route("/t/routing/restore", console.signed_in(routing.restore), methods=["POST"]),
            Route("/t/routing/versions/{version}", console.signed_in(routing.version), methods=["GET"]),
            *_missed_routes(console, others),
            *archive.routes(console.signed_in),
            WebSocketRoute("/t/live", LiveSocket(live, console.session).serve),
            Route("/t/{page}", console.signed_in(console.page), methods=["GET"]),
            Route("/static/{name}", _static, methods=["GET"]),
        ],
        exception_handlers={
            HTTPException: console.on_http_error,
            Exception: console.on_error,
            **dict.fromkeys(UNAVAILABLE, console.on_error),
        },
    )


def _missed_routes(console: _Console, others: Neighbours) -> list[Route]:
    missed = ClaimsPages(others.claims, page=console.missed_calls, fields=console.own_fields)
    return [
        Route("/t/missed", console.signed_in(missed.board), methods=["GET"]),
        Route("/t/missed/router", console.signed_in(missed.router), methods=["GET"]),
        Route("/t/missed/called", console.signed_in(missed.called), methods=["GET"]),
        Route("/t/missed/act", console.signed_in(missed.act), methods=["POST"]),
    ]


async def _static(request: Request) -> Response:
    asset = STATIC.get(request.path_params["name"])
    if asset is None:
        raise HTTPException(404)
    # The address carries the content's hash, so it never changes under it.
    return Response(
        asset.content, media_type=asset.media_type, headers={"Cache-Control": "public, max-age=31536000, immutable"}
    )


class _Console:
    def __init__(
        self,
        database: Database,
        live: LiveBoard,
        renderer: Renderer,
        sign_in: SignIn,
        cookies: _Cookies,
        shown_logins: list[tuple[str, str]],
    ) -> None:
        self._database = database
        self._live = live
        self._renderer = renderer
        self._sign_in = sign_in
        self._cookies = cookies
        self._shown_logins = shown_logins

    # Coming in and going out

    async def session(self, request: HTTPConnection) -> Session | None:
        token = request.cookies.get(self._cookies.session)
        if not token:
            return None
        return await access_store.find_session(self._database, sha256(token), datetime.now(UTC))

    def signed_in(self, handler: SessionHandler) -> Handler:
        """Only with a session; a page sends others to the sign-in, a script is told 401."""

        async def guarded(request: Request) -> Response:
            session = await self.session(request)
            if session is not None:
                return await handler(request, session)
            if request.url.path in SCRIPTED:
                raise HTTPException(401)
            return RedirectResponse("/", 303)

        return guarded

    async def front(self, request: Request) -> Response:
        if await self.session(request) is not None:
            return RedirectResponse("/t/today", 303)
        return self._login_page(request)

    def _login_page(self, request: Request, *, problem: str = "", email: str = "", status: int = 200) -> Response:
        # Before there is a session the form is tied to a cookie of its own, so that nobody can sign a visitor in
        # to an account that is not theirs.
        form = request.cookies.get(self._cookies.form) or new_token()
        html = self._renderer.page(
            "login.html", csrf=_form_token(form), problem=problem, email=email, shown_logins=self._shown_logins
        )
        response = HTMLResponse(html, status)
        self._cookies.set(response, self._cookies.form, form, 3600)
        return response

    async def login(self, request: Request) -> Response:
        fields = await _fields(request)
        form = request.cookies.get(self._cookies.form, "")
        if not form or not same_secret(fields.get("csrf", ""), _form_token(form)):
            return self._login_page(request, problem="This page was open for too long. Please try again.", status=403)
        email = fields.get("email", "")[:254]
        try:
            signed_in = await self._sign_in(
                email=email,
                password=fields.get("password", "")[:1000],
                address=request.client.host if request.client else "",
                old_token=request.cookies.get(self._cookies.session),
                now=datetime.now(UTC),
            )
        except Refused as refused:
            status = 429 if refused.throttled else 401
            return self._login_page(request, problem=refused.sentence, email=email, status=status)
        response = RedirectResponse("/t/today", 303)
        seconds = int((signed_in.expires_at - datetime.now(UTC)).total_seconds())
        self._cookies.set(response, self._cookies.session, signed_in.token, seconds)
        self._cookies.drop(response, self._cookies.form)
        return response

    async def logout(self, request: Request, session: Session) -> Response:
        await self.own_fields(request, session)
        await self._sign_in.out(request.cookies[self._cookies.session])
        response = RedirectResponse("/", 303)
        self._cookies.drop(response, self._cookies.session)
        return response

    async def own_fields(self, request: Request, session: Session) -> dict[str, str]:
        """The fields of a form that a page of this session posted."""
        fields = await _fields(request)
        if not same_secret(fields.get("csrf", ""), session.csrf):
            raise HTTPException(403)
        return fields

    # Pages

    async def show(self, template: str, session: Session, page: Page, **values: Any) -> Response:
        """A page that is not made of panels."""
        async with self._database.transaction(session.tenant) as tx:
            frame = await _frame(tx, session)
        return self._page(template, session, page, **frame, **values)

    async def today(self, request: Request, session: Session) -> Response:
        zone, now = ZoneInfo(session.timezone), datetime.now(UTC)
        sections = []
        async with self._database.transaction(session.tenant) as tx:
            frame = await _frame(tx, session)
            counts = await board_store.counts(tx, day_began(now, zone))
            for panel in panels_of(session.role):
                rows = await board_store.recent(tx, panel.name, facet=None, before=None, limit=LATEST)
                cards = [self._renderer.card(panel, row, zone, now) for row in rows]
                sections.append({"panel": panel, "cards": cards, "max": LATEST, "facet": None, "older": None})
        values = {**frame, "counts": counts, "tiles": tiles_of(session.role), "sections": sections}
        return self._page("today.html", session, PAGES["today"], now=now.astimezone(zone), **values)

    async def page(self, request: Request, session: Session) -> Response:
        page = PAGES.get(request.path_params["page"])
        if page is None:
            raise HTTPException(404)
        if session.role not in page.roles:
            raise HTTPException(403)
        return await self.board(request, session, page, "page.html")

    async def missed_calls(self, request: Request, session: Session, template: str, **values: Any) -> Response:
        return await self.board(request, session, PAGES["missed"], template, **values)

    async def board(self, request: Request, session: Session, page: Page, template: str, **values: Any) -> Response:
        zone, now = ZoneInfo(session.timezone), datetime.now(UTC)
        of = request.query_params.get("of")
        before = _place(request.query_params.get("before"))
        sections = []
        async with self._database.transaction(session.tenant) as tx:
            frame = await _frame(tx, session)
            _, here = await board_store.moment(tx)
            for panel in page.panels:
                mine = of in (None, panel.name)
                wanted = request.query_params.get("only") if mine else None
                facet = next((each.value for each in panel.facets if each.value == wanted), None)
                rows = await board_store.recent(
                    tx, panel.name, facet=facet, before=before if mine else None, limit=CARDS_MAX + 1
                )
                cards = [self._renderer.card(panel, row, zone, now) for row in rows[:CARDS_MAX]]
                older = cards[-1].place if len(rows) > CARDS_MAX else None
                sections.append({"panel": panel, "cards": cards, "max": CARDS_MAX, "facet": facet, "older": older})
        # The cursor is the earlier one: what is told twice shows once.
        values |= {**frame, "now_us": micros(here), "sections": sections, "paged": before is not None}
        return self._page(template, session, page, **values)

    def _page(self, template: str, session: Session, page: Page, **values: Any) -> Response:
        html = self._renderer.page(template, session=session, page=page, pages=pages_of(session.role), **values)
        return HTMLResponse(html)

    # Live

    async def changes(self, request: Request, session: Session) -> Response:
        """What a browser that cannot hold a stream asks for now and then."""
        zone = ZoneInfo(session.timezone)
        found = await self._live.changes_since(session.tenant, zone, _cursor(request))
        return JSONResponse(found.seen_by(session.role))

    async def stream(self, request: Request, session: Session) -> Response:
        since = _cursor(request)
        if self._live.is_full():
            raise HTTPException(503)

        async def events() -> AsyncIterator[str]:
            yield "retry: 2000\n\n"
            async with self._live.follow(session, since) as follower:
                checked = asyncio.get_running_loop().time()
                while True:
                    try:
                        text = await asyncio.wait_for(follower.queue.get(), HEARTBEAT_SECONDS)
                    except TimeoutError:
                        text = ": still here\n\n"
                    if text is None:
                        return
                    yield text
                    if asyncio.get_running_loop().time() - checked > SESSION_CHECK_SECONDS:
                        checked = asyncio.get_running_loop().time()
                        if await self.session(request) is None:
                            return

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(events(), media_type="text/event-stream", headers=headers)

    # Errors

    async def on_http_error(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return self._error(status)

    async def on_error(self, request: Request, error: Exception) -> Response:
        if isinstance(error, UNAVAILABLE):
            return self._error(503)
        log.error("page_failed", error=type(error).__name__, exc_info=error)
        return self._error(500)

    def _error(self, status: int) -> Response:
        title, sentence = _ERRORS.get(status, _ERRORS[500])
        return HTMLResponse(self._renderer.page("error.html", title=title, sentence=sentence), status)


_ERRORS = {
    401: ("Signed out", "Sign in again to go on."),
    403: ("Not for this role", "Your role does not include this. Ask an owner or admin of your business for access."),
    404: ("Not here", "There is no such page. Perhaps it moved; begin at the overview."),
    405: ("Not here", "There is no such page. Perhaps it moved; begin at the overview."),
    413: ("Too long", "What was sent is longer than it can be."),
    500: ("Our mistake", "Something went wrong on our side and has been recorded. Try again in a moment."),
    503: ("A moment, please", "The console cannot reach its database just now. Calls go on being answered without it."),
}


async def _frame(tx: Transaction, session: Session) -> dict[str, Any]:
    """What every page has around it: where live updates begin, and the emergency while one holds."""
    emergency = await store.standing_emergency(tx)
    if emergency is not None and emergency["until"] is not None:
        zone = ZoneInfo(session.timezone)
        until = datetime.fromisoformat(emergency["until"])
        emergency["until"] = clock(until, zone, datetime.now(zone).date())
    return {"cursor": await board_store.cursor(tx), "emergency": emergency}


def _form_token(cookie: str) -> str:
    return sha256(f"form:{cookie}").hex()


async def _fields(request: Request) -> dict[str, str]:
    """The fields of a posted form. One that another site posted is refused."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403)
    try:
        pairs = parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise HTTPException(400) from None
    return dict(pairs)


def _place(text: str | None) -> board_store.Place | None:
    at, _, id_ = (text or "").partition("~")
    try:
        place = datetime.fromisoformat(at)
    except ValueError:
        return None
    return (place, id_) if place.tzinfo is not None else None


def _cursor(request: Request) -> int:
    """Where a browser resumes: what EventSource repeats after a lost connection, else what the page began with."""
    text = request.headers.get("last-event-id") or request.query_params.get("since", "")
    if not text.isdecimal() or len(text) > 18:
        raise HTTPException(400)
    return int(text)
