"""Puts front-desk together: the only place that makes clients."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from front_desk import access_store, board_store
from front_desk.admin_api import admin_api
from front_desk.api import directory_api
from front_desk.archive import VAULT, Archive
from front_desk.claims import ROUTER, Claims
from front_desk.console import console_app
from front_desk.consumers import BULK, LIVE
from front_desk.give_back import give_back_claims
from front_desk.guards import SecurityHeaders, too_long
from front_desk.letters import Letters
from front_desk.live import LiveBoard
from front_desk.neighbours import Neighbours
from front_desk.problems import handle_problems
from front_desk.render import Renderer
from front_desk.routing_api import routing_api
from front_desk.settings import Settings
from front_desk.sign_in import SignIn
from kit.consume import Consumer
from kit.postgres import Database
from recovery.dead_letters.api import beside
from recovery.parts import consuming
from runtime.bodies import BodyLimit
from runtime.relay import Relay
from runtime.service import Component, Every, Wired
from runtime.tracing import QUIET

__all__ = ["build", "open_database"]

SERVICE = "front-desk"
GIVE_BACK_SECONDS = 15.0


class _Front:
    """REST under ``/v1``, the console everywhere else; each makes errors of its own."""

    def __init__(self, rest: ASGIApp, console: ASGIApp) -> None:
        self._rest = rest
        self._console = console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_rest = scope["type"] == "http" and scope["path"].startswith("/v1/")
        await (self._rest if is_rest else self._console)(scope, receive, send)


def open_database(settings: Settings) -> Database:
    return Database(
        service=SERVICE,
        dsn=settings.postgres_dsn,
        app_password=settings.app_password.get_secret_value(),
        system_password=settings.system_password.get_secret_value(),
    )


def rest_app(database: Database, admin_token: str) -> FastAPI:
    rest = FastAPI(
        title="Trunkline front-desk",
        version="1",
        description="Tenants, people and numbers. Errors are problem documents (RFC 9457).",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        telemetry=QUIET,
    )
    rest.include_router(directory_api(database))
    rest.include_router(routing_api(database))
    rest.include_router(admin_api(database, admin_token))
    handle_problems(rest)
    return rest


def build(settings: Settings, *, database: Database | None = None) -> Wired:
    database = database or open_database(settings)
    renderer = Renderer()
    live = LiveBoard(database, renderer, followers_max=settings.streams_max)
    sign_in = SignIn(
        database,
        failures_max=settings.sign_in_failures_max,
        window=timedelta(minutes=settings.sign_in_window_minutes),
        session_lifetime=timedelta(hours=settings.session_hours),
    )
    secure = settings.cookies_are_secure()
    token = settings.admin_token.get_secret_value()
    others = Neighbours(
        letters=Letters(settings.services(), admin_token=token),
        claims=Claims(settings.services().get(ROUTER), admin_token=token),
        archive=Archive(settings.services().get(VAULT), admin_token=token),
    )
    console = console_app(
        database, live, renderer, sign_in, others, secure_cookies=secure, shown_logins=settings.shown_logins()
    )
    longest = settings.body_max_bytes
    front = BodyLimit(_Front(rest_app(database, token), console), longest=longest, refusal=too_long(longest))
    # The dead letters have a limit of their own: a value may be longer than what people and partners send.
    app = SecurityHeaders(beside(front, database, admin_token=token, longest=None), https_only=secure)
    return Wired(http=app, components=_components(settings, database, live, others))


def _components(settings: Settings, database: Database, live: LiveBoard, others: Neighbours) -> list[Component]:
    async def tidy() -> None:
        now = datetime.now(UTC)
        await access_store.sweep(database, now)
        await board_store.sweep(database, now - timedelta(days=settings.board_keep_days))

    async def give_back() -> None:
        await give_back_claims(database, others.claims)

    consumers = [
        Consumer(
            group=group,
            database=database,
            kafka_bootstrap=settings.kafka_bootstrap,
            subscriptions=subscriptions,
            instance_id=settings.instance_id,
        )
        for group, subscriptions in ((SERVICE, LIVE), (f"{SERVICE}-archive", BULK))
    ]
    relay = Relay(database=database, kafka_bootstrap=settings.kafka_bootstrap, service=SERVICE)
    periodic = [Every("tidy", 3600, tidy), Every("claims of who is gone", GIVE_BACK_SECONDS, give_back)]
    asked: list[Component] = [others.letters, others.claims, others.archive]
    return [database, relay, live, *asked, *consuming(database, *consumers), *periodic]
