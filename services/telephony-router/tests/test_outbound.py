"""Calls that we place: asked for once, never twice, whatever the vendor, its network or our processes do."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import REGISTRY as MEASURED
from pydantic import SecretStr

from kit.postgres import Database
from telephony_router import outbound_store
from telephony_router.api import admin_app
from telephony_router.blob_store import FileBlobStore, Verified
from telephony_router.place_call import Wanted
from telephony_router.signals import CallSignal
from telephony_router.submit_calls import tidy
from telephony_router.sweep_view import sweep_view
from telephony_router.vendors.dialling import DIALLERS
from telephony_router.view import RedisView

pytestmark = pytest.mark.real
DESK, CUSTOMER, DID = "+919847000010", "+919847000001", "+914842000100"
ADMIN = {"authorization": "Bearer admin"}


def status(vendor: str, name: str, **more: Any) -> CallSignal:
    return CallSignal(kind="status", vendor=vendor, status=name, status_raw=name, direction="outbound", **more)


@pytest.mark.parametrize("vendor", DIALLERS)
async def test_a_call_is_placed_once_and_carries_our_name_for_it(bureau: Any, vendor: str) -> None:
    call_id = await bureau.orders(vendor, did=DID, reference="lead-7")
    async with bureau.replica() as replica:
        await bureau.submits(replica)
        await bureau.submits(replica)
    (asked,) = bureau.fake.dials
    found = await bureau.outbound(call_id)
    assert (found["state"], found["code"]) == ("submitted", "")
    assert found["ref"] in asked.body.decode()
    for number in (DESK, CUSTOMER, DID):
        assert number[1:] in asked.body.decode()
    assert (found["vendor_call_id"] == "") == (vendor == "bonvoice")


@pytest.mark.parametrize("mode", ["slow", "reset", "500", "garbage"])
@pytest.mark.parametrize("vendor", ["generic", "bonvoice", "twilio"])
async def test_a_call_of_unknown_outcome_is_never_dialled_again(bureau: Any, mode: str, vendor: str) -> None:
    bureau.fake.mode = mode
    call_id = await bureau.orders(vendor)
    async with bureau.replica(total=1.5) as replica:
        await bureau.submits(replica)
        assert (await bureau.outbound(call_id))["state"] == "submission_unknown"
        assert not (await bureau.outbound(call_id))["retryable"]
        bureau.fake.mode = "ok"
        await bureau.ages(60)
        await tidy(bureau.database)
        await bureau.submits(replica)
    assert len(bureau.fake.dials) == 1
    # The vendor's own word resolves it, by our name for the call.
    ref = (await bureau.outbound(call_id))["ref"]
    await bureau.tells(vendor, status(vendor, "completed", call_id="v1", correlation=ref, duration_seconds=9))
    found, call = await bureau.outbound(call_id), await bureau.call(call_id)
    assert (found["state"], found["code"], found["vendor_call_id"]) == ("submitted", "", "v1")
    assert (call["state"], call["direction"], call["staff_id"]) == ("completed", "outbound", "desk")
    assert (call["caller"], call["agent_number"], call["quarantined"]) == (CUSTOMER, DESK, False)


async def test_what_never_left_is_refused_and_may_be_ordered_again(bureau: Any) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        bureau.fake.base = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with bureau.database.transaction(bureau.tenant) as tx:
            await tx.execute(
                "UPDATE dialling SET options = options || jsonb_build_object('api_base', $1::text)", bureau.fake.base
            )
        call_id = await bureau.orders()
        async with bureau.replica() as replica:
            await bureau.submits(replica)
    found = await bureau.outbound(call_id)
    assert (found["state"], found["code"], found["retryable"]) == ("refused", "not_sent_connect", True)
    assert bureau.fake.asked == []


async def test_nothing_is_sent_to_a_host_that_is_not_the_vendors_nor_in_the_settings(bureau: Any) -> None:
    call_id = await bureau.orders("twilio")
    real, bureau.fake.base = bureau.fake.base, "http://127.0.0.1:1"
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    found = await bureau.outbound(call_id)
    assert (found["state"], found["code"]) == ("refused", "not_sent_host_not_allowed")
    assert bureau.fake.asked == [], real


async def test_nothing_is_said_to_a_host_whose_certificate_nobody_vouches_for(bureau: Any, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    begins = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, begins, begins + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    no_password = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    (tmp_path / "pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password) + certificate.public_bytes(pem)
    )
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(tmp_path / "pem")
    server = await asyncio.start_server(bureau.fake.serve, "127.0.0.1", 0, ssl=own)
    base = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with bureau.database.transaction(bureau.tenant) as tx:
        await tx.execute("UPDATE dialling SET options = options || jsonb_build_object('api_base', $1::text)", base)
    call_id = await bureau.orders()
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    server.close()
    found = await bureau.outbound(call_id)
    assert (found["state"], found["code"], found["retryable"]) == ("refused", "not_sent_connect", True)
    assert bureau.fake.asked == []


async def test_a_redirect_is_not_followed(bureau: Any) -> None:
    bureau.fake.mode = "redirect"
    call_id = await bureau.orders()
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    found = await bureau.outbound(call_id)
    assert (found["state"], found["code"]) == ("refused", "http_302")
    assert len(bureau.fake.asked) == 1


@pytest.mark.parametrize("vendor", ["exotel", "generic"])
async def test_who_must_not_be_disturbed_is_an_outcome_of_its_own_and_no_fault_of_the_vendor(
    bureau: Any, vendor: str
) -> None:
    bureau.fake.mode = "dnd"
    calls = [await bureau.orders(vendor) for _ in range(8)]
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    assert {(await bureau.outbound(call))["code"] for call in calls} == {"dnd_refused"}
    assert {(await bureau.outbound(call))["retryable"] for call in calls} == {False}
    async with bureau.database.system() as tx:
        assert [each["state"] for each in await outbound_store.list_breakers(tx)] == ["closed"]


async def test_a_webhook_that_is_here_before_the_apis_answer_is_not_overwritten(bureau: Any) -> None:
    bureau.fake.mode = "500"

    async def early(asked: Any) -> None:
        ref = asked.fields["CustomField"]
        await bureau.tells("exotel", status("exotel", "completed", call_id="ex9", correlation=ref, duration_seconds=5))

    bureau.fake.on_dial = early
    call_id = await bureau.orders("exotel")
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    assert (await bureau.outbound(call_id))["state"] == "submitted"
    assert (await bureau.outbound(call_id))["vendor_call_id"] == "ex9"
    assert (await bureau.call(call_id))["state"] == "completed"


async def test_webhooks_under_the_vendors_own_id_are_of_the_same_call(bureau: Any) -> None:
    call_id = await bureau.orders("exotel")
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    # Exotel's shortest callback carries neither our field nor a direction.
    short = CallSignal(kind="status", vendor="exotel", call_id="ex1", status="completed", status_raw="completed")
    await bureau.tells("exotel", short)
    call = await bureau.call(call_id)
    assert (call["state"], call["direction"], call["agent_number"]) == ("completed", "outbound", DESK)
    async with bureau.database.transaction(bureau.tenant) as tx:
        assert await tx.fetchval("SELECT count(*) FROM call") == 1


async def test_another_accounts_webhook_proves_nothing_about_an_order(bureau: Any) -> None:
    bureau.fake.mode = "reset"
    call_id = await bureau.orders("exotel")
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    ref = (await bureau.outbound(call_id))["ref"]
    await bureau.tells("generic", status("generic", "completed", call_id="x", correlation=ref))
    assert (await bureau.outbound(call_id))["state"] == "submission_unknown"


async def test_a_router_that_died_while_it_asked_leaves_an_unknown_and_an_old_order_is_not_placed(bureau: Any) -> None:
    lost, late = await bureau.orders(), await bureau.orders("twilio")
    async with bureau.database.system() as tx:
        await tx.execute(
            "UPDATE outbound_call SET state = 'submitting', submitting_at = now() - interval '4 minutes' WHERE id = $1",
            lost,
        )
        await tx.execute("UPDATE outbound_call SET requested_at = now() - interval '3 minutes' WHERE id = $1", late)
    await tidy(bureau.database)
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    found = await bureau.outbound(lost)
    assert (found["state"], found["code"]) == ("submission_unknown", "interrupted")
    found = await bureau.outbound(late)
    assert (found["state"], found["code"], found["retryable"]) == ("refused", "expired", True)
    assert bureau.fake.dials == []


async def test_two_routers_and_two_hundred_calls_take_one_token(bureau: Any) -> None:
    calls = [await bureau.orders("bonvoice") for _ in range(200)]
    async with bureau.replica() as one, bureau.replica() as two:
        await asyncio.gather(bureau.submits(one), bureau.submits(two))
    assert len(bureau.fake.dials) == 200
    assert {(await bureau.outbound(call))["state"] for call in calls} == {"submitted"}
    print(f"200 calls of two routers took {bureau.fake.mints} token instead of 200")  # noqa: T201
    assert bureau.fake.mints == 1


async def test_a_token_that_the_vendor_takes_no_more_is_minted_anew_once_for_all(bureau: Any) -> None:
    async with bureau.replica() as one, bureau.replica() as two:
        await bureau.orders("bonvoice")
        await bureau.submits(one)
        bureau.fake.valid.clear()
        calls = [await bureau.orders("bonvoice") for _ in range(20)]
        await asyncio.gather(bureau.submits(one), bureau.submits(two))
    assert {(await bureau.outbound(call))["state"] for call in calls} == {"submitted"}
    assert bureau.fake.mints == 2
    assert len(bureau.fake.dials) == 21


async def test_the_sweep_of_the_routing_view_leaves_the_shared_token_alone(bureau: Any) -> None:
    view = RedisView(bureau.redis_url, read_budget_seconds=5.0)
    async with bureau.replica() as one, bureau.replica() as two:
        await bureau.orders("bonvoice")
        await bureau.submits(one)
        await sweep_view(bureau.database, view)
        await bureau.orders("bonvoice")
        await bureau.submits(two)
    await view.close()
    assert (len(bureau.fake.dials), bureau.fake.mints) == (2, 1)


async def test_a_token_is_not_minted_again_and_again_for_an_account_that_is_refused(bureau: Any) -> None:
    bureau.fake.mode = "401"
    call_id = await bureau.orders("bonvoice")
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    found = await bureau.outbound(call_id)
    assert (found["state"], found["code"], bureau.fake.mints) == ("refused", "unauthorised", 2)


async def test_without_redis_every_router_has_a_token_of_its_own(bureau: Any) -> None:
    away = "redis://127.0.0.1:1/0"
    for _ in range(10):
        await bureau.orders("bonvoice")
    async with bureau.replica(redis_url=away) as one, bureau.replica(redis_url=away) as two:
        await asyncio.gather(bureau.submits(one), bureau.submits(two))
    assert len(bureau.fake.dials) == 10
    assert bureau.fake.mints <= 2


async def test_a_token_is_nowhere_to_be_read(bureau: Any, redis_url: str, capfd: Any) -> None:
    from redis.asyncio import Redis

    await bureau.orders("bonvoice")
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    redis: Redis = Redis.from_url(redis_url)
    stored = await redis.get(f"router-token:{bureau.accounts['bonvoice']}")
    await redis.aclose()
    assert stored is not None
    assert b"token-1" not in stored
    said = "".join(capfd.readouterr())
    assert not [each for each in ("token-1", "bonvoice-password", CUSTOMER[1:]) if each in said]


async def test_a_vendor_that_fails_is_left_alone_by_all_routers_until_one_call_goes_well(bureau: Any) -> None:
    bureau.fake.mode = "500"
    trips = MEASURED.get_sample_value("trunkline_vendor_breaker_trips_total", {"vendor": "generic"}) or 0
    async with bureau.replica(at_once=1) as one, bureau.replica(at_once=1) as two:
        for _ in range(5):
            await bureau.orders()
            await bureau.submits(one)
        assert MEASURED.get_sample_value("trunkline_vendor_breaker_trips_total", {"vendor": "generic"}) == trips + 1
        blocked, other = await bureau.orders(), await bureau.orders("twilio")
        await bureau.submits(two)
        found = await bureau.outbound(blocked)
        assert (found["state"], found["code"], found["retryable"]) == ("refused", "breaker_open", True)
        # Another account's vendor is asked as ever.
        assert (await bureau.outbound(other))["state"] == "submission_unknown"
        assert len(bureau.fake.dials) == 6
        await tidy(bureau.database)
        assert MEASURED.get_sample_value("trunkline_vendor_breakers_open", {"vendor": "generic"}) == 1

        bureau.later = timedelta(seconds=20)
        await bureau.orders()
        await bureau.submits(two)
        again = await bureau.orders()
        await bureau.submits(one)
        assert (await bureau.outbound(again))["code"] == "breaker_open", "the probe failed: the pause is longer now"
        assert len(bureau.fake.dials) == 7

        bureau.fake.mode, bureau.later = "ok", timedelta(seconds=120)
        well = [await bureau.orders() for _ in range(3)]
        await bureau.submits(one)
        await bureau.submits(two)
        assert {(await bureau.outbound(call))["state"] for call in well} == {"submitted"}


async def test_one_wrong_number_after_the_other_opens_no_breaker(bureau: Any) -> None:
    bureau.fake.mode = "wrong_number"
    calls = [await bureau.orders("twilio") for _ in range(10)]
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    assert {(await bureau.outbound(call))["code"] for call in calls} == {"21211"}
    assert len(bureau.fake.dials) == 10


@pytest.fixture
def blobs(tmp_path: Path) -> Verified:
    return Verified(FileBlobStore(tmp_path))


@pytest.fixture
async def http(bureau: Any, blobs: Verified) -> Any:
    app = admin_app(bureau.database, SecretStr("admin"), blobs)
    headers = {**ADMIN, "x-tenant": str(bureau.tenant)}
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://router", headers=headers) as client:
        yield client


def order(bureau: Any, **more: Any) -> dict[str, Any]:
    return {"account": str(bureau.accounts["generic"]), "from_staff": "desk", "to": CUSTOMER, **more}


async def test_a_key_is_good_for_one_call(bureau: Any, http: httpx.AsyncClient) -> None:
    key = {"idempotency-key": "order-1"}
    first = await http.post("/v1/calls", json=order(bureau), headers=key)
    assert first.status_code == 202
    again = await http.post("/v1/calls", content=json.dumps(order(bureau), indent=3), headers=key | {
        "content-type": "application/json"})  # fmt: skip
    assert (again.status_code, again.content) == (202, first.content)
    other = await http.post("/v1/calls", json=order(bureau, reference="x"), headers=key)
    assert other.status_code == 422
    assert "another request" in other.text
    # Another tenant's key is another key.
    stranger = await http.post("/v1/calls", json=order(bureau), headers=key | {"x-tenant": str(uuid4())})
    assert stranger.status_code == 422
    assert "no such account" in stranger.text
    assert (await http.post("/v1/calls", json=order(bureau))).status_code == 422
    assert (await http.post("/v1/calls", json=order(bureau), headers=key | {"authorization": ""})).status_code == 401
    told = (await http.get(f"/v1/calls/{first.json()['id']}")).json()
    assert (told["state"], told["outbound"]["to_number"]) == ("requested", CUSTOMER)
    async with bureau.database.transaction(bureau.tenant) as tx:
        assert await tx.fetchval("SELECT count(*) FROM outbound_call") == 1


async def test_a_key_that_is_being_answered_is_told_to_wait(bureau: Any, http: httpx.AsyncClient) -> None:
    async with bureau.database.transaction(bureau.tenant) as tx:
        assert await outbound_store.hold_key(tx, "order-2")
        waiting = await http.post("/v1/calls", json=order(bureau), headers={"idempotency-key": "order-2"})
    assert (waiting.status_code, waiting.headers["retry-after"]) == (409, "1")
    after = await http.post("/v1/calls", json=order(bureau), headers={"idempotency-key": "order-2"})
    assert after.status_code == 202


async def test_fifty_requests_at_once_under_one_key_are_one_call(bureau: Any, http: httpx.AsyncClient) -> None:
    key = {"idempotency-key": "order-3"}
    answers = await asyncio.gather(*(http.post("/v1/calls", json=order(bureau), headers=key) for _ in range(50)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.content for answer in answers if answer.status_code == 202}) == 1
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    assert len(bureau.fake.dials) == 1


async def test_a_key_is_kept_for_eight_days(bureau: Any, http: httpx.AsyncClient) -> None:
    for name, days in (("young", 7), ("old", 9)):
        await http.post("/v1/calls", json=order(bureau), headers={"idempotency-key": name})
        async with bureau.database.system() as tx:
            assert await tx.fetchval("SELECT current_user") == "telephony_router_system"
        await _backdate(bureau, name, days)
    await tidy(bureau.database)
    async with bureau.database.transaction(bureau.tenant) as tx:
        assert [row["key"] for row in await tx.fetch("SELECT key FROM idempotency_key")] == ["young"]


async def _backdate(bureau: Any, key: str, days: int) -> None:
    """Neither of the service's roles may change a key, so it is put in anew as an old one."""
    async with bureau.database.system() as tx:
        await tx.execute("DELETE FROM idempotency_key WHERE key = $1", key)
    async with bureau.database.transaction(bureau.tenant) as tx:
        await tx.execute(
            "INSERT INTO idempotency_key VALUES ($1, $2, 'x', '{}', now() - $3::interval)",
            bureau.tenant, key, timedelta(days=days),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"account": str(UUID(int=1))}, "no such account"),
        ({"from_staff": "nobody"}, "nobody who works here"),
        ({"from_number": DESK}, "from_staff or from_number"),
        ({"to": "112"}, "to is not a number"),
        ({"to": DESK}, "the same number"),
        ({"did": "+914842000999"}, "not a line of this tenant"),
        ({"reference": "a\x00b"}, "pattern"),
        ({"speed": 1}, "Extra inputs"),
    ],
)
async def test_an_order_that_cannot_be_taken_says_why(
    bureau: Any, http: httpx.AsyncClient, more: dict[str, str], said: str
) -> None:
    answer = await http.post("/v1/calls", json=order(bureau, **more), headers={"idempotency-key": "k"})
    assert answer.status_code == 422
    assert said in answer.text
    async with bureau.database.transaction(bureau.tenant) as tx:
        assert await tx.fetchval("SELECT count(*) FROM outbound_call") == 0


@pytest.mark.parametrize(
    "body", [rb'{"to":"\ud800"}', rb'{"\udfff":1}', b'{"to":NaN}', b'{"to":1e999}', b"[" * 9000, b"\xff", b""]
)
async def test_nonsense_is_refused_without_a_word_of_it(http: httpx.AsyncClient, body: bytes) -> None:
    for path in ("/v1/calls", "/v1/simulate"):
        kind = {"idempotency-key": "k", "content-type": "application/json"}
        answer = await http.post(path, content=body, headers=kind)
        assert answer.status_code in (400, 422)
        assert "input" not in answer.text


async def test_while_orders_cannot_be_stored_the_sender_is_told_to_repeat(bureau: Any, blobs: Verified) -> None:
    gone = Database(service="telephony-router", dsn="postgresql://127.0.0.1:1/x", app_password="", system_password="")
    transport = httpx.ASGITransport(app=admin_app(gone, SecretStr("admin"), blobs))
    headers = {**ADMIN, "x-tenant": str(bureau.tenant), "idempotency-key": "k"}
    async with httpx.AsyncClient(transport=transport, base_url="http://router", headers=headers) as client:
        answer = await client.post("/v1/calls", json=order(bureau))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_what_orders_answer_is_in_the_document(http: httpx.AsyncClient) -> None:
    answers = (await http.get("/openapi.json")).json()["paths"]["/v1/calls"]["post"]["responses"]
    assert {"202", "409", "422", "503"} <= set(answers)


def test_the_same_order_has_the_same_digest() -> None:
    one = Wanted(account=UUID(int=1), to="a", from_staff="b")
    assert one.digest() == Wanted(account=UUID(int=1), to="a", from_staff="b").digest()
    assert one.digest() != Wanted(account=UUID(int=1), to="a", from_number="b").digest()
