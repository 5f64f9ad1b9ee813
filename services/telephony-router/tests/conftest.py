"""A vendor's API on a real port, and a business that places calls through it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from contracts.directory import DidV1, StaffV1, TenantV1
from kit.postgres import Database
from telephony_router import outbound_store, store
from telephony_router.answer_ring import intake_of
from telephony_router.place_call import Wanted, place
from telephony_router.process_intake import process_some
from telephony_router.project_directory import project_did, project_staff, project_tenant
from telephony_router.seal import Seal
from telephony_router.signals import CallSignal
from telephony_router.submit_calls import CallSubmitter
from telephony_router.vendor_api import VendorApi, closed_access
from telephony_router.vendor_tokens import VendorTokens
from telephony_router.vendors.base import Account

KEY = base64.b64encode(bytes(32)).decode()
DESK, CUSTOMER, DID = "+919847000010", "+919847000001", "+914842000100"
WEBHOOKS = "https://calls.example.com/v1/hooks/{vendor}/the-secret"
SECRETS = {
    "generic": {"token": "generic-token"},
    "twilio": {"auth_token": "12345", "webhooks": WEBHOOKS.format(vendor="twilio")},
    "exotel": {"api_key": "key", "api_token": "token", "webhooks": WEBHOOKS.format(vendor="exotel")},
    "bonvoice": {"username": "trunkline", "password": "bonvoice-password"},
    "plivo": {"auth_token": "12345", "webhooks": WEBHOOKS.format(vendor="plivo")},
}
OPTIONS = {
    "generic": {"status_path": "/calls/{order}"},
    "twilio": {"account_sid": "AC1", "caller_id": DID},
    "exotel": {"account_sid": "tiles1", "caller_id": DID},
    "bonvoice": {"caller_id": DID, "channel_id": "7"},
    "plivo": {"auth_id": "MA1", "caller_id": DID},
}


@dataclass
class Asked:
    """One request as the vendor saw it."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def fields(self) -> dict[str, Any]:
        if "json" in self.headers.get("content-type", ""):
            return dict(json.loads(self.body))
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


@dataclass
class FakeVendor:
    """Speaks every vendor's API. ``mode`` is what becomes of orders; what was dialled is counted."""

    base: str = ""
    mode: str = "ok"
    asked: list[Asked] = field(default_factory=list)
    mints: int = 0
    valid: set[str] = field(default_factory=set)
    records: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """What is answered to questions, by path."""
    on_dial: Callable[[Asked], Awaitable[None]] | None = None
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def dials(self) -> list[Asked]:
        return [each for each in self.asked if each.method == "POST" and "external-auth" not in each.path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read(reader)
            self.asked.append(request)
            answer = await self._answer(request)
            if answer is None:
                writer.transport.abort()
                return
            status, body, more = answer
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(raw)}\r\nconnection: close\r\n{more}\r\n"
            writer.write(head.encode() + raw)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, request: Asked) -> tuple[int, Any, str] | None:
        if request.path == "/usermanagement/external-auth/":
            self.mints += 1
            await asyncio.sleep(0.05)
            self.valid.add(f"token-{self.mints}")
            data = {"token": f"token-{self.mints}", "header_value": f"Token token-{self.mints}"}
            return 200, {"status": "1", "data": data}, ""
        shown = request.headers.get("authorization", "").removeprefix("Token ")
        if request.path == "/autoDialManagement/autoCallBridging/" and shown not in self.valid:
            self.asked.remove(request)
            return 401, {"detail": "Invalid token."}, ""
        if request.method == "GET":
            status, body = self.records.get(request.path, (404, {}))
            if isinstance(body, list):
                body = body.pop(0) if len(body) > 1 else body[0]
            return status, body, ""
        self.came.set()
        if self.on_dial is not None:
            await self.on_dial(request)
        return await self._dialled(request)

    async def _dialled(self, request: Asked) -> tuple[int, Any, str] | None:
        number = len(self.dials)
        if self.mode == "slow":
            await asyncio.sleep(60)
        if self.mode == "reset":
            return None
        if self.mode == "500":
            return 500, {"message": "oops"}, ""
        if self.mode == "401":
            return 401, {}, ""
        if self.mode == "garbage":
            return 200, b"<html>hello</html>", ""
        if self.mode == "redirect":
            return 302, b"", "location: http://127.0.0.1:1/elsewhere\r\n"
        if self.mode == "dnd":
            if request.path.startswith("/v1/Accounts/"):
                return 403, {"RestException": {"Status": 403, "Code": 10717, "Message": "TRAI NDNC"}}, ""
            return 400, {"code": "dnd_refused"}, ""
        if self.mode == "wrong_number":
            return 400, {"code": 21211, "RestException": {"Status": 400, "Code": 34001}}, ""
        return _ok(request.path, number), ACCEPTED[_vendor(request.path)](number), ""


ACCEPTED: dict[str, Callable[[int], Any]] = {
    "exotel": lambda n: {"Call": {"Sid": f"ex{n}", "Status": "in-progress"}},
    "bonvoice": lambda n: {"responseCode": 200, "responseDescription": "accepted"},
    "twilio": lambda n: {"sid": f"CA{n}", "status": "queued"},
    "plivo": lambda n: {"message": "call fired", "request_uuid": f"pl{n}", "api_id": "x"},
    "generic": lambda n: {"call_id": f"g{n}"},
}


def _vendor(path: str) -> str:
    begins = {"/v1/Accounts/": "exotel", "/autoDial": "bonvoice", "/2010-04-01/": "twilio", "/v1/Account/": "plivo"}
    return next((name for begin, name in begins.items() if path.startswith(begin)), "generic")


def _ok(path: str, number: int) -> int:
    return 201 if _vendor(path) in ("twilio", "plivo") else 200


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    parts = urlsplit(target)
    return Asked(method, parts.path, parse_qs(parts.query), headers, body)


@pytest.fixture
async def fake_vendor() -> AsyncIterator[FakeVendor]:
    fake = FakeVendor()
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield fake
    server.close()


@dataclass
class Bureau:
    """A tenant with a desk, a line, and an account at every vendor that dials."""

    database: Database
    tenant: UUID
    accounts: dict[str, UUID]
    redis_url: str
    fake: FakeVendor

    @asynccontextmanager
    async def replica(
        self, *, total: float = 20.0, redis_url: str = "", at_once: int = 8
    ) -> AsyncIterator[CallSubmitter]:
        """One router's part that places calls, not running by itself."""
        seal = Seal(KEY)
        tokens = VendorTokens(redis_url or self.redis_url, seal)
        api = VendorApi(tokens, extra_bases=[self.fake.base], total=total)
        submitter = CallSubmitter(
            self.database, api, seal, clock=lambda: datetime.now(UTC) + self.later, at_once=at_once
        )
        submitter.api = api  # type: ignore[attr-defined]
        try:
            yield submitter
        finally:
            await submitter.stop()
            await api.close()

    later: timedelta = timedelta(0)

    async def orders(self, vendor: str = "generic", **more: Any) -> UUID:
        values = {"account": self.accounts[vendor], "to": CUSTOMER, "from_staff": "desk", **more}
        return UUID(json.loads(await place(self.database, self.tenant, uuid4().hex, Wanted(**values)))["id"])

    async def submits(self, submitter: CallSubmitter) -> None:
        """All that waits, to the end."""
        while await submitter.submit_some() or submitter._running:
            if submitter._running:
                await asyncio.wait(set(submitter._running))

    async def outbound(self, call_id: UUID) -> dict[str, Any]:
        async with self.database.transaction(self.tenant) as tx:
            return (await outbound_store.find_outbound(tx, [call_id]))[call_id]

    async def outbound_state(self, call_id: str) -> str:
        return str((await self.outbound(UUID(call_id)))["state"])

    async def call(self, call_id: UUID) -> dict[str, Any] | None:
        async with self.database.transaction(self.tenant) as tx:
            story = await store.call_story(tx, call_id)
        return dict(story[0]) if story else None

    async def tells(self, vendor: str, *signals: CallSignal, process: bool = True) -> None:
        """The vendor's webhooks, stored and processed."""
        account = Account(id=self.accounts[vendor], tenant=self.tenant, vendor=vendor)
        for signal in signals:
            row = intake_of(account, signal, repr(signal).encode(), datetime.now(UTC))
            async with self.database.system() as tx:
                await store.take_in(tx, [row])
        if process:
            while await process_some(self.database):
                pass

    async def ages(self, minutes: int) -> None:
        """Time goes by for all that is stored."""
        gone = timedelta(minutes=minutes)
        async with self.database.transaction(self.tenant) as tx:
            await tx.execute("UPDATE call SET updated_at = updated_at - $1::interval", gone)
            await tx.execute("UPDATE reconciliation SET asked_at = asked_at - $1::interval", gone)
            await tx.execute(
                "UPDATE outbound_call SET requested_at = requested_at - $1::interval,"
                " submitting_at = submitting_at - $1::interval",
                gone,
            )


@pytest.fixture
async def bureau(
    make_database: Callable[..., Awaitable[Database]], redis_url: str, fake_vendor: FakeVendor
) -> AsyncIterator[Bureau]:
    database = await make_database(service="telephony-router", package="telephony_router")
    tenant, accounts, seal = uuid4(), {name: uuid4() for name in SECRETS}, Seal(KEY)
    async with database.transaction(tenant) as tx:
        await project_tenant(TenantV1(tenant_id=str(tenant), version=1, name="Kochi"), tx)
        await project_staff(StaffV1(staff_id="desk", version=1, name="Desk", numbers=(DESK,)), tx)
        await project_did(DidV1(did=DID, version=1, default_staff_ids=("desk",)), tx)
        for name, account in accounts.items():
            await store.add_account(
                tx, account_id=account, vendor=name, label=name, secret=f"the-secret-of-{name}", sealed_tokens=[]
            )
            options = {**OPTIONS[name], "api_base": fake_vendor.base}
            await outbound_store.put_dialling(tx, account, closed_access(seal, account, SECRETS[name]), options)
    yield Bureau(database, tenant, accounts, redis_url, fake_vendor)
    redis: Redis = Redis.from_url(redis_url)
    await redis.delete(*(f"router-token:{account}" for account in accounts.values()))
    await redis.aclose()
