"""Whole routers that are killed while a vendor is being asked: the vendor counts, and is asked once."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from kit.testing import eventually

pytestmark = pytest.mark.real
CUSTOMER, HOOK = "+919847000001", "/v1/hooks/generic/the-secret-of-generic/status"
KEY = "A" * 43 + "="


@asynccontextmanager
async def router(
    bureau: Any, environment: dict[str, str], folder: Path
) -> AsyncIterator[tuple[Any, httpx.AsyncClient]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    own = {"HTTP_PORT": str(port), "DATA_DIR": str(folder), "DIAL_API_BASES": bureau.fake.base}
    log = (folder / "router.log").open("ab")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "telephony_router", stderr=log, stdout=log,
        env={**os.environ, **environment, **{f"TRUNKLINE_TELEPHONY_ROUTER_{k}": v for k, v in own.items()}},
    )  # fmt: skip
    log.close()
    headers = {"authorization": "Bearer admin", "x-tenant": str(bureau.tenant)}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, headers=headers) as http:

        async def ready() -> bool:
            try:
                return (await http.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        try:
            await eventually(ready, within=120)
            yield process, http
        finally:
            if process.returncode is None:
                process.terminate()
                await asyncio.wait_for(process.wait(), 60)


@pytest.fixture
async def environment(bureau: Any, postgres_dsn: str, redis_url: str, kafka_bootstrap: str) -> dict[str, str]:
    async with bureau.database.system() as tx:
        name = await tx.fetchval("SELECT current_database()")
    parts = urlsplit(postgres_dsn)
    return {
        "TRUNKLINE_DEMO": "true",
        "TRUNKLINE_ADMIN_TOKEN": "admin",
        "TRUNKLINE_POSTGRES_DSN": urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], path=f"/{name}")),
        "TRUNKLINE_REDIS_URL": redis_url,
        "TRUNKLINE_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "TRUNKLINE_TELEPHONY_ROUTER_APP_PASSWORD": "test",
        "TRUNKLINE_TELEPHONY_ROUTER_SYSTEM_PASSWORD": "test",
        "TRUNKLINE_TELEPHONY_ROUTER_SECRET_KEY": KEY,
    }


def body(bureau: Any) -> dict[str, str]:
    return {"account": str(bureau.accounts["generic"]), "from_staff": "desk", "to": CUSTOMER}


async def test_a_router_killed_between_asking_and_storing_never_dials_twice(
    bureau: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    key = {"idempotency-key": "the-order"}
    bureau.fake.mode = "slow"
    async with router(bureau, environment, tmp_path) as (process, http):
        taken = await http.post("/v1/calls", json=body(bureau), headers=key)
        assert taken.status_code == 202
        # The vendor has the order, and says nothing yet.
        await asyncio.wait_for(bureau.fake.came.wait(), 60)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    call_id, bureau.fake.mode = taken.json()["id"], "ok"
    assert (await bureau.outbound_state(call_id)) == "submitting"
    async with bureau.database.system() as tx:
        await tx.execute("UPDATE outbound_call SET submitting_at = submitting_at - interval '4 minutes'")
    async with router(bureau, environment, tmp_path) as (_, http):
        # Whoever ordered it asks again, since the answer may have been lost as well.
        again = await http.post("/v1/calls", json=body(bureau), headers=key)
        assert (again.status_code, again.content) == (202, taken.content)

        async def unknown() -> bool:
            told = (await http.get(f"/v1/calls/{call_id}")).json()
            return bool(told["state"] == "submission_unknown")

        await eventually(unknown)
        # Another order is placed as ever.
        other = await http.post("/v1/calls", json=body(bureau), headers={"idempotency-key": "another"})
        await eventually(lambda: len(bureau.fake.dials) == 2)
        # It rang after all: the vendor's webhook says so, under our name for the call.
        first = bureau.fake.dials[0].fields["order"]
        told = {"call_id": "g1", "order": first, "status": "completed", "direction": "outbound"}
        assert (await http.post(HOOK, json=told)).status_code == 200

        async def resolved() -> bool:
            told = (await http.get(f"/v1/calls/{call_id}")).json()
            return (told["state"], told["outbound"]["state"]) == ("completed", "submitted")

        await eventually(resolved)
        assert other.json()["id"] != call_id
    orders = [each.fields["order"] for each in bureau.fake.dials]
    assert (len(orders), len(set(orders))) == (2, 2)


async def test_a_router_that_is_stopped_waits_for_the_vendors_answer(
    bureau: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    held = asyncio.Event()

    async def slowly(_: Any) -> None:
        await held.wait()

    bureau.fake.on_dial = slowly
    async with router(bureau, environment, tmp_path) as (process, http):
        taken = await http.post("/v1/calls", json=body(bureau), headers={"idempotency-key": "x"})
        await asyncio.wait_for(bureau.fake.came.wait(), 60)
        process.terminate()
        await asyncio.sleep(0.5)
        held.set()
        await asyncio.wait_for(process.wait(), 60)
    assert await bureau.outbound_state(taken.json()["id"]) == "submitted"
