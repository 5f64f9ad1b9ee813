"""The webhooks over fakes: what callers get while servers fail, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import httpx
import pytest

from telephony_router.answer_ring import Answers, RingAnswerer
from telephony_router.budget import Budget, Unavailable
from telephony_router.entries import caller_to_json, did_from_json, tenant_from_json, text_of
from telephony_router.hooks import AccountsUnknown, Hooks
from telephony_router.journal import Journal
from telephony_router.ladder import Ladder
from telephony_router.peers import networks
from telephony_router.record import NotRecorded, Recorded
from telephony_router.routing import CallerEntry
from telephony_router.seal import Seal
from telephony_router.snapshot import Snapshot
from telephony_router.store import Intake
from telephony_router.vendors import VENDORS
from telephony_router.vendors.base import Account
from telephony_router.vendors.plivo import signature as plivo_signature
from telephony_router.vendors.twilio import signature
from telephony_router.view import Found, ViewUnavailable

TENANT, OTHER = UUID(int=7), UUID(int=8)
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
DID, CALLER = "+914842000100", "+919847000001"
ACCOUNTS = {
    "open": Account(id=UUID(int=1), tenant=TENANT, vendor="generic"),
    "office": Account(
        id=UUID(int=3), tenant=TENANT, vendor="generic", allow_sources=networks(["203.0.113.0/24", "2001:db8::/32"])
    ),
    "exotel": Account(id=UUID(int=4), tenant=TENANT, vendor="exotel"),
    "plivo": Account(id=UUID(int=5), tenant=TENANT, vendor="plivo", auth_tokens=("12345",)),
    "signed": Account(id=UUID(int=2), tenant=TENANT, vendor="twilio", auth_tokens=("12345",)),
}


def agent(staff_id: str, number: str) -> dict[str, Any]:
    return {"staff_id": staff_id, "name": staff_id, "numbers": [number], "active": True, "hours": [], "leave": []}


TENANT_ENTRY: dict[str, Any] = {
    "tenant": str(TENANT),
    "version": 1,
    "timezone": "Asia/Kolkata",
    "active": True,
    "agents": [agent("desk", "+919847000010"), agent("sales", "+919847000012")],
    "routing": {"last_agent_days": 30, "ring_seconds": 25, "fallback_number": "+914842000199", "blocked": []},
}
DID_ENTRY: dict[str, Any] = {
    "did": DID,
    "tenant": str(TENANT),
    "version": 1,
    "label": "",
    "default_staff_ids": ["sales"],
    "fallback_number": "+914842000190",
}
OWNED = CallerEntry(number=CALLER, version=1, owner_staff_id="desk")
OWNED_TEXT = text_of(caller_to_json(OWNED))


class FakeView:
    def __init__(self) -> None:
        self.found: Found | Exception = Found(
            tenant=tenant_from_json(TENANT_ENTRY), did=did_from_json(DID_ENTRY), caller=OWNED, caller_text=OWNED_TEXT
        )
        self.asked = 0
        self.delay = 0.0

    async def find(self, tenant: UUID, did: str | None, number: str | None) -> Found:
        self.asked += 1
        await asyncio.sleep(self.delay)
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class FakeRecorder:
    def __init__(self) -> None:
        self.rows: dict[str, Intake] = {}
        self.failure: Exception | None = None
        self.delay = 0.0

    def record(self, row: Intake) -> asyncio.Future[Recorded]:
        done: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        done.get_loop().call_later(self.delay, self._settle, row, done)
        return done

    def _settle(self, row: Intake, done: asyncio.Future[Recorded]) -> None:
        if done.done():
            return
        if self.failure is not None:
            done.set_exception(self.failure)
            return
        repeated = row.identity in self.rows
        answer = self.rows.setdefault(row.identity, row).answer
        done.set_result(Recorded(where="postgres", answer=answer, repeated=repeated))


class FakeAccounts:
    unknown = False

    async def find(self, secret: str) -> Account | None:
        if self.unknown:
            raise AccountsUnknown
        return ACCOUNTS.get(secret)


class Router:
    """A router over fakes, and a client that calls it."""

    def __init__(self) -> None:
        self.redis, self.postgres = FakeView(), FakeView()
        self.postgres.found = Unavailable("down")
        self.snapshot = Snapshot(Seal(base64.b64encode(bytes(32)).decode()))
        self.snapshot.replace(accounts=[], tenants=[TENANT_ENTRY], dids=[DID_ENTRY], confirmed_at=NOW)
        self.recorder, self.accounts = FakeRecorder(), FakeAccounts()
        self.noted: list[tuple[str, bytes]] = []
        self.client = self.another()

    def another(self, client: str = "203.0.113.7") -> httpx.AsyncClient:
        """A second process with the same servers behind it."""
        ladder = Ladder(
            cached=self.redis,
            cached_budget=Budget(0.03, failures=()),
            snapshot=self.snapshot,
            projections=self.postgres,
        )
        recorder: Any = self.recorder
        answerer = RingAnswerer(
            ladder=ladder, snapshot=self.snapshot, recorder=recorder, answers=Answers(), clock=lambda: NOW
        )
        hooks = Hooks(
            vendors=VENDORS,
            accounts=self.accounts,
            answerer=answerer,
            recorder=recorder,
            clock=lambda: NOW,
            trusted_proxies=networks(["10.0.0.0/8"]),
            note=lambda vendor, account, request: self.noted.append((vendor.name, request.body)),
        )
        transport = httpx.ASGITransport(app=hooks, client=(client, 4711))  # type: ignore[arg-type]
        return httpx.AsyncClient(transport=transport, base_url="https://calls.example.com")

    async def ring(self, call_id: str | None = "c1", caller: str = CALLER, did: str = DID) -> httpx.Response:
        body = {"call_id": call_id, "from": caller, "to": did}
        return await self.client.post("/v1/hooks/generic/open/ring", json=body)

    def recorded(self) -> dict[str, Any]:
        (row,) = self.recorder.rows.values()
        values: dict[str, Any] = json.loads(row.answer or "{}")["decision"]
        return values


@pytest.fixture
def router() -> Router:
    return Router()


def dialled(response: httpx.Response) -> list[tuple[str, str]]:
    assert response.status_code == 200
    return [(each["number"], each["reason"]) for each in response.json()["destinations"]]


async def test_a_ringing_caller_is_put_through_and_the_answer_is_recorded(router: Router) -> None:
    response = await router.ring()
    assert dialled(response) == [("+919847000010", "owner")]
    assert response.json()["call_id"] == "c1"
    assert router.recorded()["rung"] == "redis"


@pytest.mark.parametrize("failure", [ViewUnavailable("slow"), ViewUnavailable("down")])
async def test_without_redis_the_snapshot_answers_with_the_callers_it_knows(router: Router, failure: Exception) -> None:
    await router.ring("before")
    router.recorder.rows.clear()
    router.redis.found = failure
    assert dialled(await router.ring()) == [("+919847000010", "owner")]
    assert router.recorded()["rung"] == "snapshot"


async def test_without_redis_postgres_is_asked_about_a_caller_the_snapshot_does_not_know(router: Router) -> None:
    router.postgres.found, router.redis.found = router.redis.found, ViewUnavailable("down")
    assert dialled(await router.ring()) == [("+919847000010", "owner")]
    assert router.recorded()["rung"] == "postgres"


async def test_without_redis_and_postgres_an_unknown_caller_rings_the_defaults(router: Router) -> None:
    router.redis.found = ViewUnavailable("down")
    assert dialled(await router.ring()) == [("+919847000012", "did_default")]
    assert router.recorded()["rung"] == "snapshot"


async def test_a_redis_that_was_emptied_is_not_believed(router: Router) -> None:
    await router.ring("before")
    router.recorder.rows.clear()
    router.redis.found = Found(tenant=None, did=None, caller=None)
    assert dialled(await router.ring()) == [("+919847000010", "owner")]
    router.redis.found = Found(tenant=tenant_from_json(TENANT_ENTRY), did=None, caller=None)
    assert dialled(await router.ring("c2")) == [("+919847000010", "owner")]


async def test_with_nothing_but_the_did_its_fallback_is_rung(router: Router) -> None:
    router.redis.found = ViewUnavailable("down")
    router.snapshot.replace(accounts=[], tenants=[], dids=[DID_ENTRY], confirmed_at=NOW)
    assert dialled(await router.ring()) == [("+914842000190", "did_fallback")]
    assert router.recorded()["rung"] == "static"


async def test_a_did_of_another_tenant_rings_nobody_there(router: Router) -> None:
    foreign = {**DID_ENTRY, "tenant": str(OTHER)}
    router.redis.found = Found(tenant=tenant_from_json(TENANT_ENTRY), did=did_from_json(foreign), caller=None)
    assert dialled(await router.ring()) == [("+914842000199", "tenant_fallback")]


async def test_a_dead_redis_is_not_asked_by_every_caller(router: Router) -> None:
    router.redis.found = ViewUnavailable("down")
    for call in range(10):
        await router.ring(f"c{call}")
    assert router.redis.asked == 1


async def test_a_bug_in_the_view_still_rings_the_fallback(router: Router) -> None:
    router.redis.found = KeyError("poisoned entry")
    assert dialled(await router.ring()) == [("+914842000190", "did_fallback")]


async def test_repeated_and_concurrent_polls_get_the_identical_answer(router: Router) -> None:
    router.redis.delay = 0.01
    answers = await asyncio.gather(*(router.ring() for _ in range(10)))
    router.redis.found = Found(tenant=tenant_from_json(TENANT_ENTRY), did=None, caller=None)
    answers.append(await router.ring())
    assert len({answer.content for answer in answers}) == 1
    assert router.redis.asked == 1


async def test_another_router_replays_the_answer_that_stands(router: Router) -> None:
    first = await router.ring()
    router.client = router.another()
    router.redis.found = Found(tenant=tenant_from_json(TENANT_ENTRY), did=did_from_json(DID_ENTRY), caller=None)
    second = await router.ring()
    assert first.content == second.content
    assert (await router.ring("c2")).content != first.content


async def test_when_nothing_can_be_written_the_caller_is_answered_and_everyone_else_told_to_retry(
    router: Router,
) -> None:
    router.recorder.failure = NotRecorded()
    first = await router.ring()
    assert dialled(first) == [("+919847000010", "owner")]
    status = await router.client.post("/v1/hooks/generic/open/status", json={"call_id": "c1", "status": "answered"})
    assert (status.status_code, status.headers["retry-after"]) == (503, "5")
    router.recorder.failure = None
    assert (await router.ring()).content == first.content
    assert router.recorder.rows


async def test_a_disk_that_hangs_does_not_hold_the_caller_up(router: Router) -> None:
    router.recorder.delay = 3600.0
    assert dialled(await asyncio.wait_for(router.ring(), 60)) == [("+919847000010", "owner")]


async def test_a_ring_without_a_call_id_is_answered_each_time(router: Router) -> None:
    assert dialled(await router.ring(None)) == dialled(await router.ring(None))
    assert len(router.recorder.rows) == 2


async def test_a_status_is_stored_before_it_is_acknowledged(router: Router) -> None:
    body = {"call_id": "c1", "status": "answered", "sequence": 2}
    response = await router.client.post("/v1/hooks/generic/open/status", json=body)
    assert (response.status_code, response.json()) == (200, {})
    (row,) = router.recorder.rows.values()
    assert (row.kind, row.answer, json.loads(row.body)) == ("status", None, body)


@pytest.mark.parametrize(
    ("client", "forwarded", "wanted"),
    [
        ("203.0.113.7", "", 200),
        ("198.51.100.1", "", 403),
        ("198.51.100.1", "203.0.113.7", 403),
        ("10.0.0.1", "203.0.113.7", 200),
        ("10.0.0.1", "203.0.113.7, 198.51.100.1", 403),
        ("2001:db8::7", "", 200),
    ],
)
@pytest.mark.parametrize("method", ["POST", "HEAD"])
async def test_an_account_with_sources_is_called_only_from_there(
    router: Router, method: str, client: str, forwarded: str, wanted: int
) -> None:
    router.client = router.another(client)
    headers = {"x-forwarded-for": forwarded} if forwarded else {}
    body = {"call_id": "c1", "from": CALLER, "to": DID}
    response = await router.client.request(method, "/v1/hooks/generic/office/ring", json=body, headers=headers)
    assert response.status_code == wanted
    assert bool(router.recorder.rows) == (wanted == 200 and method == "POST")


async def test_what_proven_senders_say_is_compared_with_what_is_known_also_when_it_is_refused(router: Router) -> None:
    await router.client.post("/v1/hooks/generic/open/status", json={"mood": "good"})
    assert router.noted == [("generic", b'{"mood":"good"}')]
    await router.client.post("/v1/hooks/twilio/signed/voice", json={"mood": "good"})
    assert len(router.noted) == 1


async def test_the_secret_address_alone_confirms_nothing_and_a_signature_does(router: Router) -> None:
    await router.client.post("/v1/hooks/generic/open/status", json={"call_id": "c1", "status": "answered"})
    (row,) = router.recorder.rows.values()
    assert json.loads(row.signal)["confirmed"] is False
    router.recorder.rows.clear()
    url = "https://calls.example.com/v1/hooks/twilio/signed/status"
    form = {"CallSid": "CA1", "CallStatus": "ringing"}
    header = {"x-twilio-signature": signature("12345", url, form.items())}
    assert (await router.client.post(url, data=form, headers=header)).status_code == 200
    (row,) = router.recorder.rows.values()
    assert "confirmed" not in json.loads(row.signal)


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        ("POST", "/v1/hooks/generic/wrong/ring", 404),
        ("POST", "/v1/hooks/nobody/open/ring", 404),
        ("POST", "/v1/hooks/generic/open/other", 404),
        ("POST", "/v1/hooks/generic/open", 404),
        ("POST", "/v1/hooks/generic/open/ring/more", 404),
        ("POST", "/v1/hooks/generic/signed/ring", 404),
        ("POST", "/v1/hooks/twilio/signed/voice", 403),
        ("GET", "/v1/hooks/twilio/signed/voice?CallSid=CA1", 403),
        ("GET", "/v1/hooks/generic/open/ring", 405),
        ("DELETE", "/v1/hooks/twilio/signed/voice", 405),
        ("HEAD", "/v1/hooks/generic/open/ring", 200),
        ("HEAD", "/v1/hooks/generic/wrong/ring", 404),
        ("POST", "/v1/hooks/generic/open/ring?" + "a" * 9000, 414),
    ],
)
async def test_what_is_not_asked_properly_is_refused(router: Router, method: str, path: str, wanted: int) -> None:
    response = await router.client.request(method, path)
    assert response.status_code == wanted
    assert router.recorder.rows == {}


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"call_id": []}', b"\xff", b'{"call_id":"' + b"a" * 200 + b'"}'])
async def test_what_cannot_be_understood_is_a_clear_400(router: Router, body: bytes) -> None:
    response = await router.client.post("/v1/hooks/generic/open/ring", content=body)
    assert response.status_code == 400
    assert response.json()["error"] == "bad_request"
    assert response.json()["detail"]


async def test_a_body_beyond_the_limit_is_refused_announced_or_not(router: Router) -> None:
    async def stream() -> Any:
        for _ in range(9):
            yield b"x" * 8192

    for content in (b"x" * 70_000, stream()):
        response = await router.client.post("/v1/hooks/generic/open/ring", content=content)
        assert response.status_code == 413


async def test_while_accounts_cannot_be_looked_up_senders_are_told_to_retry(router: Router) -> None:
    router.accounts.unknown = True
    assert (await router.ring()).status_code == 503


async def test_a_signed_form_is_answered_in_the_vendors_words(router: Router) -> None:
    url = "https://calls.example.com/v1/hooks/twilio/signed/voice"
    form = {"CallSid": "CA1", "From": CALLER, "To": DID, "CallStatus": "ringing"}
    header = {"x-twilio-signature": signature("12345", url, form.items())}
    response = await router.client.post("/v1/hooks/twilio/signed/voice", data=form, headers=header)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/xml"
    assert "https://calls.example.com/v1/hooks/twilio/signed/status" in response.text
    assert "+919847000010" in response.text


async def test_passthru_is_answered_with_the_decision_that_connect_gets(router: Router) -> None:
    query = {"CallSid": "ex1", "CallFrom": CALLER, "CallTo": DID}
    assert (await router.client.get("/v1/hooks/exotel/exotel/passthru", params=query)).status_code == 200
    router.redis.found = Found(tenant=None, did=None, caller=None)
    connected = await router.client.get("/v1/hooks/exotel/exotel/connect", params=query)
    assert connected.json()["destination"] == {"numbers": ["+919847000010"]}
    assert len(router.recorder.rows) == 1


async def test_passthru_sends_a_caller_whom_nobody_takes_the_other_way(router: Router) -> None:
    blocked = {**TENANT_ENTRY, "routing": {**TENANT_ENTRY["routing"], "blocked": [CALLER]}}
    router.redis.found = Found(tenant=tenant_from_json(blocked), did=did_from_json(DID_ENTRY), caller=OWNED)
    query = {"CallSid": "ex1", "CallFrom": CALLER, "CallTo": DID}
    assert (await router.client.get("/v1/hooks/exotel/exotel/passthru", params=query)).status_code == 302


async def test_a_status_on_a_hook_that_is_asked_is_a_status(router: Router) -> None:
    query = {"CallSid": "ex1", "DialCallStatus": "completed", "DialWhomNumber": "09847000010"}
    assert (await router.client.get("/v1/hooks/exotel/exotel/passthru", params=query)).status_code == 200
    (row,) = router.recorder.rows.values()
    assert (row.kind, json.loads(row.signal)["status"], row.body) == ("status", "completed", urlencode(query).encode())


async def test_the_next_destination_comes_from_the_decision_that_stands(router: Router) -> None:
    two = {**DID_ENTRY, "default_staff_ids": ["sales", "desk"]}
    router.redis.found = Found(tenant=tenant_from_json(TENANT_ENTRY), did=did_from_json(two), caller=None)

    async def ask(hook: str, query: str, **more: str) -> str:
        url = f"https://calls.example.com/v1/hooks/plivo/plivo/{hook}"
        form = {"CallUUID": "pl1", "From": "919847000001", "To": "914842000100", **more}
        signed = plivo_signature("12345", "POST", url, parse_qsl(query), form.items(), "7")
        headers = {"x-plivo-signature-v3": signed, "x-plivo-signature-v3-nonce": "7"}
        response = await router.client.post(f"{url}?{query}" if query else url, data=form, headers=headers)
        assert response.status_code == 200
        return response.text

    assert "+919847000012" in await ask("answer", "")
    router.redis.found = Found(tenant=None, did=None, caller=None)
    second = await ask("next", "n=1", DialStatus="no-answer")
    assert "+919847000010" in second
    assert "+919847000012" not in second
    assert "<Hangup/>" in await ask("next", "n=2", DialStatus="busy")
    assert "<Hangup/>" in await ask("next", "n=1", DialStatus="completed")
    assert [row.kind for row in router.recorder.rows.values()] == ["ring", "status"]


async def test_a_journal_that_is_full_counts_as_nothing_written(router: Router, tmp_path: Path) -> None:
    from telephony_router.record import DATABASE_FAILURES, Recorder

    class Down:
        async def take_in(self, rows: Any) -> Any:
            raise OSError

    recorder = Recorder(Down(), Budget(0.1, failures=DATABASE_FAILURES), Journal(tmp_path, max_bytes=1))
    router.recorder = recorder  # type: ignore[assignment]
    router.client = router.another()
    assert dialled(await router.ring()) == [("+919847000010", "owner")]
