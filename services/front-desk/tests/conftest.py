"""A front-desk on a real database, and ways to speak to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr

from contracts.envelope import Envelope
from contracts.event import Event
from front_desk.settings import Settings
from front_desk.wiring import build
from kit.consume import Received
from kit.ids import uuid7
from kit.postgres import Database

ADMIN = "an admin token for tests"


@dataclass(frozen=True)
class Business:
    """A tenant with a key of its own."""

    tenant: UUID
    key: str
    headers: dict[str, str]


@dataclass
class Desk:
    """Front-desk without its consumers: HTTP in, database below."""

    database: Database
    settings: Settings
    http: httpx.AsyncClient
    live: Any

    async def open(self, slug: str, **fields: str) -> Business:
        made = await self.http.post(
            "/v1/tenants", json={"slug": slug, "name": slug.title(), **fields}, headers=self.admin
        )
        assert made.status_code in (200, 201), made.text
        tenant = made.json()["tenant_id"]
        key = await self.http.post(f"/v1/tenants/{tenant}/api-keys", json={"label": "tests"}, headers=self.admin)
        text = key.json()["api_key"]
        return Business(UUID(tenant), text, {"Authorization": f"Bearer {text}"})

    async def user(
        self, business: Business, email: str, role: str = "owner", password: str = "a good password"
    ) -> None:
        made = await self.http.post(
            f"/v1/tenants/{business.tenant}/users",
            json={"email": email, "password": password, "role": role},
            headers=self.admin,
        )
        assert made.status_code in (200, 201), made.text

    @property
    def admin(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {ADMIN}"}

    def browser(self) -> httpx.AsyncClient:
        """A client with cookies of its own."""
        return httpx.AsyncClient(transport=self.http._transport, base_url="http://desk.test", follow_redirects=False)

    async def sign_in(
        self, browser: httpx.AsyncClient, email: str, password: str = "a good password"
    ) -> httpx.Response:
        page = await browser.get("/")
        return await browser.post("/login", data={"csrf": hidden(page, "csrf"), "email": email, "password": password})

    async def signed_in(self, business: Business, email: str, role: str = "owner") -> httpx.AsyncClient:
        await self.user(business, email, role)
        browser = self.browser()
        answer = await self.sign_in(browser, email)
        assert answer.status_code == 303, answer.text
        return browser

    async def outbox(self) -> list[dict[str, Any]]:
        async with self.database.system() as tx:
            rows = await tx.fetch("SELECT type, subject, payload, tenant_id FROM outbox ORDER BY xid, seq")
        return [dict(row) for row in rows]

    async def show(self, tenant: UUID, handler: Callable[..., Awaitable[None]], *events: Event) -> None:
        """Hand events to a batch handler in a transaction, as the consumer does."""
        async with self.database.transaction(tenant) as tx:
            await handler([Received(event, envelope_of(event, tenant)) for event in events], tx)

    async def show_one(self, tenant: UUID, handler: Callable[..., Awaitable[None]], event: Event) -> None:
        async with self.database.transaction(tenant) as tx:
            await handler(event, tx)


def envelope_of(event: Event, tenant: UUID) -> Envelope:
    return Envelope(
        id=str(uuid7()),
        type=event.type,
        source="/tests",
        time=datetime.now(UTC),
        tenant=tenant,
        subject=event.entity_id(),
        partitionkey=f"{tenant}:{event.entity_id()}",
    )


def hidden(page: httpx.Response, name: str) -> str:
    return page.text.split(f'name="{name}" value="')[1].split('"')[0]


@pytest.fixture
async def desk(make_database: Callable[..., Awaitable[Database]]) -> AsyncIterator[Desk]:
    database = await make_database(service="front-desk", package="front_desk")
    settings = Settings(admin_token=SecretStr(ADMIN), secure_cookies=False, body_max_bytes=65_536)
    service = build(settings, database=database)
    transport = httpx.ASGITransport(app=service.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://desk.test") as http:
        live = next(component for component in service.components if component.name == "live board")
        yield Desk(database, settings, http, live)
