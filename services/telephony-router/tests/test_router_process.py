"""The router as it runs: whole processes on real servers, and on servers that are gone or do not answer."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import httpx
import pytest
from redis.asyncio import Redis

from contracts.directory import CustomerV1, DidV1, RoutingV1, StaffV1, TenantV1
from kit.postgres import Database
from kit.testing import eventually
from telephony_router import store
from telephony_router.explain import UNCONFIRMED
from telephony_router.project_directory import (
    project_customer,
    project_did,
    project_routing,
    project_staff,
    project_tenant,
)

pytestmark = pytest.mark.real
MakeDatabase = Callable[..., Awaitable[Database]]
DID, CALLER, DESK = "+914842000100", "+919847000001", "+919847000010"
SECRET = "the-secret-in-the-path"
HOOK = f"/v1/hooks/generic/{SECRET}"
ADMIN = {"authorization": "Bearer admin"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


#: For routers whose answers matter, not how soon they come: a busy machine must not make them do without servers.
PATIENT = {"deadline_ms": "20000", "redis_budget_ms": "5000", "postgres_budget_ms": "10000"}


@dataclass
class Process:
    process: asyncio.subprocess.Process
    http: httpx.AsyncClient

    async def ready(self) -> bool:
        try:
            return (await self.http.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def ring(self, call_id: str, caller: str = CALLER) -> httpx.Response:
        return await self.http.post(f"{HOOK}/ring", json={"call_id": call_id, "from": caller, "to": DID})

    async def status(self, call_id: str, name: str, **more: object) -> httpx.Response:
        return await self.http.post(f"{HOOK}/status", json={"call_id": call_id, "status": name, **more})


@dataclass
class World:
    database: Database
    environment: dict[str, str]
    tenant: UUID
    folder: Path

    @asynccontextmanager
    async def router(self, name: str = "one", **environment: str) -> AsyncIterator[Process]:
        port = free_port()
        own = {f"TRUNKLINE_TELEPHONY_ROUTER_{key}": value for key, value in environment.items() if key.islower()}
        shared = {key: value for key, value in environment.items() if not key.islower()}
        own = {key.upper(): value for key, value in own.items()}
        log = (self.folder / f"{name}.log").open("ab")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "telephony_router",
            env={
                **os.environ,
                **self.environment,
                "TRUNKLINE_TELEPHONY_ROUTER_HTTP_PORT": str(port),
                "TRUNKLINE_TELEPHONY_ROUTER_DATA_DIR": str(self.folder / name),
                **own,
                **shared,
            },
            stderr=log,
        )
        log.close()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
            router = Process(process, http)
            try:
                await eventually(router.ready, within=90)
                yield router
            finally:
                if process.returncode is None:
                    process.terminate()
                    await asyncio.wait_for(process.wait(), 60)

    @property
    def headers(self) -> dict[str, str]:
        return {**ADMIN, "x-tenant": str(self.tenant)}

    async def intake(self) -> set[str]:
        """The vendors' ids of the rings that are in Postgres."""
        async with self.database.system() as tx:
            rows = await tx.fetch("SELECT identity FROM intake WHERE kind = 'ring'")
        return {row["identity"].rpartition("ring:")[2] for row in rows}


@pytest.fixture
async def world(
    make_database: MakeDatabase, postgres_dsn: str, redis_url: str, kafka_bootstrap: str, tmp_path: Path
) -> AsyncIterator[World]:
    database = await make_database(service="telephony-router", package="telephony_router")
    tenant = uuid4()
    async with database.transaction(tenant) as tx:
        name = await tx.fetchval("SELECT current_database()")
        await project_tenant(TenantV1(tenant_id=str(tenant), version=1, name="Kochi"), tx)
        await project_staff(StaffV1(staff_id="desk", version=1, name="Desk", numbers=(DESK,)), tx)
        await project_staff(StaffV1(staff_id="sales", version=1, name="Sales", numbers=("+919847000012",)), tx)
        customer = CustomerV1(customer_id="c", version=1, name="Tiles", numbers=(CALLER,), owner_staff_id="desk")
        await project_customer(customer, tx)
        await project_did(DidV1(did=DID, version=1, default_staff_ids=("sales",)), tx)
        await project_routing(RoutingV1(version=1, fallback_number="+914842000199"), tx)
        await store.add_account(tx, account_id=uuid4(), vendor="generic", label="", secret=SECRET, sealed_tokens=[])
    parts = urlsplit(postgres_dsn)
    redis: Redis = Redis.from_url(redis_url)
    await redis.delete(*await redis.keys("router:*"), "router:none")
    await redis.aclose()
    environment = {
        "TRUNKLINE_DEMO": "true",
        "TRUNKLINE_ADMIN_TOKEN": "admin",
        "TRUNKLINE_POSTGRES_DSN": urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], path=f"/{name}")),
        "TRUNKLINE_REDIS_URL": redis_url,
        "TRUNKLINE_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "TRUNKLINE_TELEPHONY_ROUTER_APP_PASSWORD": "test",
        "TRUNKLINE_TELEPHONY_ROUTER_SYSTEM_PASSWORD": "test",
        "TRUNKLINE_TELEPHONY_ROUTER_SECRET_KEY": base64.b64encode(bytes(32)).decode(),
    }
    return World(database, environment, tenant, tmp_path)


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(512)
        yield int(listening.getsockname()[1])


async def test_two_routers_give_one_call_one_answer_and_a_story_that_can_be_asked_for(world: World) -> None:
    async with world.router("one", **PATIENT) as one, world.router("two", **PATIENT) as two:
        answers = await asyncio.gather(*(router.ring("c1") for _ in range(10) for router in (one, two)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert answers[0].json()["destinations"] == [{"number": DESK, "name": "Desk", "reason": "owner"}]

        headers = {**ADMIN, "x-tenant": str(world.tenant)}
        for name, number in (("answered", "+919847000012"), ("completed", "+919847000012"), ("ringing", "")):
            assert (await two.status("c1", name, agent_number=number)).status_code == 200

        async def learned() -> bool:
            response = await one.ring(f"next-{time.monotonic()}")
            return bool(response.json()["destinations"][0]["reason"] == "last_agent")

        await eventually(learned)
        async with world.database.transaction(world.tenant) as tx:
            call_id = await tx.fetchval("SELECT id FROM call WHERE vendor_call_id = 'c1'")

        async def told() -> bool:
            call = (await one.http.get(f"/v1/calls/{call_id}", headers=headers)).json()
            return (call["state"], call["staff_id"], len(call["timeline"])) == ("completed", "sales", 3)

        await eventually(told)
        why = (await two.http.get(f"/v1/calls/{call_id}/why", headers=headers)).json()
        # The account does not sign.
        assert why["why"] == f"Desk was rung because this person owns this customer. {UNCONFIRMED}"
        assert why["confirmed"] is False
        assert why["in_full"] == ["Who owns the customer gave whom to ring."]
        assert why["inputs"]["caller"]["owner"] == "desk"
        assert why["inputs"]["versions"]["routing"] == 1
        stranger = {"x-tenant": str(world.tenant)}
        assert (await one.http.get(f"/v1/calls/{call_id}", headers=stranger)).status_code == 401
        other = {**ADMIN, "x-tenant": str(uuid4())}
        assert (await one.http.get(f"/v1/calls/{call_id}", headers=other)).status_code == 404
        body = {"did": DID, "from": "anonymous"}
        simulated = (await one.http.post("/v1/simulate", headers=headers, json=body)).json()
        assert simulated["decision"]["rule"] == "did_default"
        looped = (await one.http.post("/v1/simulate", headers=headers, json={**body, "hops": 9, "digits": "1"})).json()
        assert (looped["decision"]["rule"], looped["in_full"]) == (
            "loop",
            ["How often the call was passed on refused the call."],
        )


async def test_a_router_that_only_answers_leaves_the_rest_to_another(world: World) -> None:
    async def calls() -> int:
        async with world.database.transaction(world.tenant) as tx:
            return int(await tx.fetchval("SELECT count(*) FROM call"))

    async def waiting() -> int:
        async with world.database.transaction(world.tenant) as tx:
            return int(await tx.fetchval("SELECT count(*) FROM intake WHERE processed_at IS NULL"))

    async with world.router("front", answers_only="true", **PATIENT) as front:
        for number in range(5):
            answer = await front.ring(f"c{number}")
            assert answer.json()["destinations"] == [{"number": DESK, "name": "Desk", "reason": "owner"}]
        parts = (await front.http.get("/status")).json()
        assert not {"relay", "intake"} & parts.keys()
        # Recorded, and not understood by anybody yet.
        assert (await waiting(), await calls()) == (5, 0)
        async with world.router("behind", **PATIENT):
            await eventually(calls)
            await eventually(lambda: _none(waiting))
        assert await calls() == 5


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may hand real time out")
async def test_a_router_in_real_time_takes_along_who_records_and_nobody_else(world: World) -> None:
    async def serving() -> dict[str, bool]:
        """Postgres' processes for the router by what they are for, and whether each is in real time."""
        async with world.database.system() as tx:
            rows = await tx.fetch(
                "SELECT pid, application_name FROM pg_stat_activity WHERE datname = current_database()"
            )
        return {row["application_name"]: os.sched_getscheduler(row["pid"]) == os.SCHED_RR for row in rows}

    async with world.router("front", answers_only="true", realtime="true", **PATIENT) as front:
        assert (await front.ring("first")).status_code == 200
        threads = await asyncio.to_thread(os.listdir, f"/proc/{front.process.pid}/task")
        assert {os.sched_getscheduler(int(each)) for each in threads} == {os.SCHED_RR}
        in_real_time = await serving()
        assert in_real_time.pop("telephony-router intake")
        assert not any(in_real_time.values())


async def _none(count: Callable[[], Awaitable[int]]) -> bool:
    return await count() == 0


async def test_a_cold_start_with_every_server_gone_answers_from_the_disk_and_loses_nothing(world: World) -> None:
    async with world.router(**PATIENT) as router:
        await eventually(lambda: (world.folder / "one" / "snapshot").exists())
        assert (await router.ring("before")).status_code == 200
    dead = f"127.0.0.1:{free_port()}"
    gone = {
        "TRUNKLINE_POSTGRES_DSN": f"postgresql://{dead}/none",
        "TRUNKLINE_REDIS_URL": f"redis://{dead}/0",
        "TRUNKLINE_KAFKA_BOOTSTRAP": dead,
    }
    async with world.router(**gone) as router:
        answer = await router.ring("dark")
        assert answer.json()["destinations"][0] == {"number": DESK, "name": "Desk", "reason": "owner"}
        assert (await router.ring("dark")).content == answer.content
        assert (await router.status("dark", "answered", agent_number=DESK)).status_code == 200
        router.process.send_signal(signal.SIGKILL)
        await router.process.wait()
    async with world.router():
        await eventually(lambda: drained(world, {"before", "dark"}))

        async def processed() -> bool:
            async with world.database.transaction(world.tenant) as tx:
                return bool(await tx.fetchval("SELECT state FROM call WHERE vendor_call_id = 'dark'") == "answered")

        await eventually(processed)


def answered_within(seconds: str, metrics: str) -> int:
    """How many callers the router answered within one of its histogram's bounds, as it measured."""
    found = re.search(
        rf'^trunkline_ring_answer_seconds_bucket{{le="{seconds}",vendor="generic"}} (\S+)', metrics, re.MULTILINE
    )
    return int(float(found[1])) if found else 0


async def drained(world: World, wanted: set[str]) -> bool:
    return wanted <= await world.intake()


async def test_servers_that_take_connections_and_never_answer_do_not_hold_a_caller_up(world: World) -> None:
    async with world.router(**PATIENT) as router:
        await eventually(lambda: (world.folder / "one" / "snapshot").exists())
        await router.ring("before")
    with black_hole() as port:
        silent = {
            "TRUNKLINE_POSTGRES_DSN": f"postgresql://127.0.0.1:{port}/none",
            "TRUNKLINE_REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "TRUNKLINE_KAFKA_BOOTSTRAP": f"127.0.0.1:{port}",
        }
        async with world.router(**silent) as router:
            seconds = []
            for call in range(30):
                began = time.monotonic()
                answer = await router.ring(f"dark-{call}", f"+91984700{call:04}")
                seconds.append(time.monotonic() - began)
                assert answer.json()["destinations"]
                # Now and then late enough for the router to ask its servers again.
                await asyncio.sleep(0.1)
            metrics = (await router.http.get("/metrics")).text
    assert 'trunkline_webhooks_recorded_total{where="journal"} 30.0' in metrics
    # The router's own clock is the judge, and one of them may have met a machine that had no time for either.
    assert answered_within("0.25", metrics) >= 29, metrics
    assert sorted(seconds)[len(seconds) // 2] < 0.25
    async with world.router():
        await eventually(lambda: drained(world, {f"dark-{call}" for call in range(30)}))


async def test_what_was_acknowledged_survives_kill_nine(world: World) -> None:
    acknowledged: set[str] = set()
    async with world.router() as router:

        async def caller(number: int) -> None:
            for call in range(1000):
                call_id = f"k{number}-{call}"
                try:
                    response = await router.ring(call_id)
                except httpx.TransportError:
                    return
                if response.status_code == 200:
                    acknowledged.add(call_id)

        callers = [asyncio.create_task(caller(number)) for number in range(8)]
        await eventually(lambda: len(acknowledged) > 200)
        router.process.send_signal(signal.SIGKILL)
        await asyncio.gather(*callers)
        await router.process.wait()
    async with world.router():
        await eventually(lambda: drained(world, acknowledged))


async def missed(world: World, router: Process, call_id: str = "m1") -> str:
    """A call that nobody answered, as the item that it opens."""
    await router.ring(call_id)
    await router.status(call_id, "missed", direction="in", **{"from": CALLER})

    async def opened() -> str:
        found = (await router.http.get("/v1/missed?state=open", headers=world.headers)).json()["items"]
        return str(found[0]["id"]) if found else ""

    return str(await eventually(opened))


async def test_of_fifty_claims_at_two_routers_one_wins_and_all_others_learn_who(world: World) -> None:
    async with world.router("one", **PATIENT) as one, world.router("two", **PATIENT) as two:
        item = await missed(world, one)
        limits = httpx.Limits(max_connections=50)
        urls = [str(router.http.base_url) for router in (one, two)]
        async with httpx.AsyncClient(timeout=60, limits=limits, headers=world.headers) as http:

            async def claim(n: int) -> httpx.Response:
                who = {"user": f"u{n}", "name": f"Desk {n}"}
                url = f"{urls[n % 2]}/v1/missed/{item}/claim"
                # On a machine that is too busy to connect to its database one is told to ask again.
                for _ in range(20):
                    answer = await http.post(url, json=who)
                    if answer.status_code != 503:
                        break
                return answer

            answers = await asyncio.gather(*(claim(n) for n in range(50)))
        (won,) = [answer.json() for answer in answers if answer.status_code == 200]
        lost = [answer.json() for answer in answers if answer.status_code == 409]
        assert len(lost) == 49, sorted(answer.status_code for answer in answers)
        assert {(each["item"]["user"], each["item"]["until"]) for each in lost} == {(won["user"], won["until"])}
        assert all(re.fullmatch(rf"{won['name']} took it \d+ s ago", each["detail"]) for each in lost)
        story = (await two.http.get(f"/v1/missed/{item}", headers=world.headers)).json()
        assert [line["change"] for line in story["history"]] == ["opened", "claimed"]


async def test_a_claim_whose_answer_was_lost_to_kill_nine_may_simply_be_made_again(world: World) -> None:
    async with world.router("one", **PATIENT) as one, world.router("two", **PATIENT) as two:
        item = await missed(world, one)
        port = one.http.base_url.port
        who = {"user": "u1", "name": "Reception desk"}
        body = json.dumps(who).encode()
        with socket.create_connection(("127.0.0.1", port)) as line:
            # Asks, and never comes to read the answer.
            line.sendall(
                f"POST /v1/missed/{item}/claim HTTP/1.1\r\nhost: x\r\nauthorization: Bearer admin\r\n"
                f"x-tenant: {world.tenant}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\n\r\n".encode()
                + body
            )

            async def claimed() -> bool:
                return bool((await two.http.get(f"/v1/missed/{item}", headers=world.headers)).json()["user"] == "u1")

            await eventually(claimed)
            one.process.send_signal(signal.SIGKILL)
            await one.process.wait()
        other = {"user": "u2", "name": "Sales desk"}
        assert (await two.http.post(f"/v1/missed/{item}/claim", headers=world.headers, json=other)).status_code == 409
        again = await two.http.post(f"/v1/missed/{item}/claim", headers=world.headers, json=who)
        assert (again.status_code, again.json()["name"]) == (200, "Reception desk")
        story = (await two.http.get(f"/v1/missed/{item}", headers=world.headers)).json()
        assert [line["change"] for line in story["history"]] == ["opened", "claimed"]


async def test_the_api_of_missed_calls_from_claim_to_time_out(world: World) -> None:
    async with world.router(**PATIENT, claim_lease_seconds="1", missed_sweep_seconds="0.2") as router:
        item = await missed(world, router)
        assert (await router.http.get("/v1/missed", headers={"x-tenant": str(world.tenant)})).status_code == 401
        theirs = {**ADMIN, "x-tenant": str(uuid4())}
        who = {"user": "u1", "name": "Reception desk"}
        assert (await router.http.get("/v1/missed", headers=theirs)).json() == {"items": [], "next": None}
        assert (await router.http.post(f"/v1/missed/{item}/claim", headers=theirs, json=who)).status_code == 404
        assert (await router.http.post(f"/v1/missed/{item}/claim", headers=world.headers, json=who)).status_code == 200

        async def lapsed() -> bool:
            story = (await router.http.get(f"/v1/missed/{item}", headers=world.headers)).json()
            return story["state"] == "open" and story["history"][-1]["reason"] == "lapsed"

        await eventually(lapsed)
        said = {**who, "outcome": "spam"}
        done = await router.http.post(f"/v1/missed/{item}/resolve", headers=world.headers, json=said)
        assert done.json()["outcome"] == "spam"
        await missed(world, router, "m2")
        first = (await router.http.get("/v1/missed?limit=1", headers=world.headers)).json()
        rest = await router.http.get("/v1/missed", params={"after": first["next"]}, headers=world.headers)
        assert [first["items"][0]["id"], len(rest.json()["items"]), rest.json()["next"]] == [item, 1, None]
        assert (await router.http.get("/v1/missed?after=nonsense", headers=world.headers)).status_code == 422
        metrics = (await router.http.get("/metrics")).text
        assert 'trunkline_missed_changes_total{change="claimed"} 1.0' in metrics
        assert "trunkline_missed_claim_seconds_count 1.0" in metrics
