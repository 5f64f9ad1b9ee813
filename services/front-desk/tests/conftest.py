"""A front-desk on a real database, and ways to speak to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from contracts.anomalies import AnomalyFiredV1
from contracts.calls import CallInboundV1, CallStateV1, Destination, Excluded, RecordingStoredV1
from contracts.envelope import Envelope
from contracts.event import Event
from contracts.facts import Evidence, FactExtractedV1
from contracts.notifications import NotificationStateV1
from contracts.vault import MessageImportedV1, VaultStateV1
from front_desk.settings import Settings
from front_desk.wiring import build
from kit.consume import Received
from kit.dead_letters import DeadLetters, Failure
from kit.ids import uuid7
from kit.postgres import Database

PASSWORD = "a good password"
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
    claims: Any
    archive: Any

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
        self, business: Business, email: str, role: str = "owner", password: str = PASSWORD, name: str = ""
    ) -> None:
        made = await self.http.post(
            f"/v1/tenants/{business.tenant}/users",
            json={"email": email, "password": password, "role": role, "name": name},
            headers=self.admin,
        )
        assert made.status_code in (200, 201), made.text

    @property
    def admin(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {ADMIN}"}

    def browser(self) -> httpx.AsyncClient:
        """A client with cookies of its own."""
        return httpx.AsyncClient(transport=self.http._transport, base_url="http://desk.test", follow_redirects=False)

    async def sign_in(self, browser: httpx.AsyncClient, email: str, password: str = PASSWORD) -> httpx.Response:
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

    async def park(self, tenant: UUID, entity: str, offset: int) -> str:
        """A record that a consumer could not handle; returns its letter's id."""
        key = f"{tenant}:{entity}"
        envelope = Envelope(
            id=str(uuid7()), type="trunkline.vault.message.imported.v1", source="/tests", time=datetime.now(UTC),
            tenant=tenant, subject=entity, partitionkey=key,
        )  # fmt: skip
        record = SimpleNamespace(
            topic="message.imported", partition=0, offset=offset, timestamp=0, key=key.encode(),
            value=b'{"text": "what only the customer should know"}', headers=list(envelope.to_headers()),
        )  # fmt: skip
        failure = Failure("bad_shape", "the shape is wrong")
        await DeadLetters(self.database, "front-desk", "1.2").park(record, envelope, failure)
        async with self.database.system() as tx:
            return str(await tx.fetchval('SELECT id FROM dead_letter WHERE "offset" = $1', offset))

    async def letter_state(self, id_: str) -> str:
        async with self.database.system() as tx:
            return str(await tx.fetchval("SELECT state FROM dead_letter WHERE id = $1", UUID(id_)))


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


def _part(service: Any, name: str) -> Any:
    return next(component for component in service.components if component.name == name)


@pytest.fixture
async def desk(make_database: Callable[..., Awaitable[Database]]) -> AsyncIterator[Desk]:
    database = await make_database(service="front-desk", package="front_desk")
    settings = Settings(
        admin_token=SecretStr(ADMIN), secure_cookies=False, body_max_bytes=65_536,
        # Port 9 (discard) is where nobody is: a neighbour that does not answer.
        service_urls="front-desk=http://desk.test,notifier=http://127.0.0.1:9",
    )  # fmt: skip
    service = build(settings, database=database)
    transport = httpx.ASGITransport(app=service.http)
    letters = _part(service, "dead letters")
    neighbours = {"http://desk.test": transport}
    letters._client = httpx.AsyncClient(mounts=neighbours, timeout=2, trust_env=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://desk.test") as http:
        live, claims, archive = (_part(service, name) for name in ("live board", "claims", "archive"))
        yield Desk(database, settings, http, live, claims, archive)
    await claims.stop()
    await archive.stop()
    await letters.stop()


NOW = datetime.now(UTC)


def a_call(call_id: str = "c1", **fields: Any) -> CallInboundV1:
    given: dict[str, Any] = {
        "vendor": "generic",
        "account_id": "a1",
        "vendor_call_id": call_id,
        "caller": "+919847000021",
        "caller_kind": "number",
        "caller_raw": "09847000021",
        "did": "+914842000001",
        "asked_at": NOW,
        "destinations": (Destination(number="+919847000011", staff_id="s1", name="Desk", reason="owner"),),
        "excluded": (Excluded(staff_id="s2", name="Accounts", rule="last_agent", reason="on_leave"),),
        "rule": "owner",
        "rung": "redis",
        "view_age_ms": 4200,
        "answer_ms": 3.2,
        "rule_version": "1",
    }
    return CallInboundV1(call_id=call_id, **{**given, **fields})


def a_state(call_id: str = "c1", state: str = "answered", version: int = 2, **fields: Any) -> CallStateV1:
    given = {"vendor": "generic", "vendor_call_id": call_id, "leg": "1", "at": NOW, "caller": "+919847000021"}
    return CallStateV1(call_id=call_id, state=state, version=version, **{**given, **fields})


def a_recording(call_id: str = "c1", recording_id: str = "r1", *, mixed: bool = False) -> RecordingStoredV1:
    return RecordingStoredV1(
        call_id=call_id,
        recording_id=recording_id,
        vendor="generic",
        sha256="0" * 64,
        size_bytes=976_044,
        content_type="audio/wav",
        channels=1 if mixed else 2,
        duration_ms=61_000,
        speakers="mixed" if mixed else "by_channel",
        agent_sha256=None if mixed else "1" * 64,
        customer_sha256=None if mixed else "2" * 64,
        stored_at=NOW,
    )


def a_message(message_id: str = "m1", **fields: Any) -> MessageImportedV1:
    given: dict[str, Any] = {
        "account_id": "a1",
        "chat_id": "chat1",
        "chat_kind": "direct",
        "chat_name": "Kottakkal Traders",
        "direction": "in",
        "sender_name": "Kottakkal",
        "sent_at": NOW,
        "kind": "text",
        "raw_kind": 0,
        "text": "GST 32AAACK1234A1ZJ",
    }
    return MessageImportedV1(message_id=message_id, **{**given, **fields})


def a_fact(fact_id: str = "f1", version: int = 1, **fields: Any) -> FactExtractedV1:
    given: dict[str, Any] = {
        "subject": "contact:+919847000021",
        "key": "gstin",
        "raw_value": "32AAACK1234A1ZJ",
        "value": "32AAACK1234A1ZJ",
        "value_type": "gstin",
        "evidence": Evidence(
            source_type="message", source_id="m1", start=4, end=19, quote="Our GST 32AAACK1234A1ZJ please bill", at=NOW
        ),
        "confidence": 0.99,
        "extractor": "gstin/1",
        "state": "asserted",
    }
    return FactExtractedV1(fact_id=fact_id, version=version, **{**given, **fields})


def an_anomaly(anomaly_id: str = "n1", **fields: Any) -> AnomalyFiredV1:
    given: dict[str, Any] = {
        "rule": "capsule_fact_value_conflict",
        "rule_version": "1",
        "title": "A customer has two different GSTINs",
        "description": "Two messages state different values for something that can only have one.",
        "learning": "Ask the customer which one is right before the next invoice goes out.",
        "severity": "critical",
        "local_day": "2026-11-20",
        "as_of": NOW,
        "fingerprint": "f",
        "evidence": ({"subject": "contact:1", "key": "gstin", "values": 2},),
        "evidence_total": 1,
    }
    return AnomalyFiredV1(anomaly_id=anomaly_id, **{**given, **fields})


def a_mail(notification_id: str = "p1", version: int = 1, **fields: Any) -> NotificationStateV1:
    given: dict[str, Any] = {
        "kind": "daily_pulse",
        "channel": "email",
        "recipient": "owner@malabar.example",
        "state": "sent",
        "at": NOW,
        "subject_line": "Malabar: one thing to look at",
        "local_day": "2026-11-20",
    }
    return NotificationStateV1(notification_id=notification_id, version=version, **{**given, **fields})


def an_import(import_id: str = "i1", state: Any = "completed", **fields: Any) -> VaultStateV1:
    given: dict[str, Any] = {"account_id": "a1", "account_name": "Shop phone", "file_sha256": "ab" * 32, "at": NOW}
    return VaultStateV1(import_id=import_id, state=state, **{**given, **fields})


@pytest.fixture
def make() -> Any:
    """Builders of events with everything filled in."""
    return SimpleNamespace(
        call=a_call,
        state=a_state,
        recording=a_recording,
        message=a_message,
        fact=a_fact,
        anomaly=an_anomaly,
        mail=a_mail,
        imported=an_import,
    )


@pytest.fixture
def runner(desk: Any, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """The command line with the settings of this test's database."""
    database = urlsplit(desk.database._app_dsn).path
    parts = urlsplit(postgres_dsn)
    dsn = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], path=database))
    monkeypatch.setenv("TRUNKLINE_POSTGRES_DSN", dsn)
    monkeypatch.setenv("TRUNKLINE_DEMO", "true")
    monkeypatch.setenv("TRUNKLINE_FRONT_DESK_APP_PASSWORD", "test")
    monkeypatch.setenv("TRUNKLINE_FRONT_DESK_SYSTEM_PASSWORD", "test")
    return CliRunner()
