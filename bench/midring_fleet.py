"""The mid-ring answer when a thousand businesses share a router: 1,000 DIDs, 10,000 agents, 1,000,000 callers.

What the whole view takes (to write it into Redis from nothing, and in memory), and how late callers are answered at a
steady 1,000 rings a second while the router follows the view, compares all of it and writes its snapshot meanwhile.
Each ring has its intended time (``bench.ringing``): a stall makes the ones behind it late, as real callers would be.
How late the sender itself was is told beside it.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import tempfile
import time
from pathlib import Path
from uuid import UUID

import asyncpg
from redis.asyncio import Redis

from bench.midring import (
    ANSWERING,
    BEHIND,
    ROUTER,
    free_port,
    listening,
    pinned,
    redis_in_real_time,
    rss_mb,
    settings,
    webhook,
)
from bench.results import Addresses, Result, percentiles
from bench.ringing import Callers, Line, Rings
from kit.postgres import Database, schema_of
from kit.testing import fresh_database
from telephony_router.sweep_view import rebuild_view
from telephony_router.view import RedisView

TENANTS, AGENTS, CALLERS = 1_000, 10, 1_000
RATE, SECONDS = 1_000, 90
"""Long enough for a whole comparison of the view, which comes once a minute."""
CONNECTIONS = 64

SEED = """
CREATE TEMPORARY TABLE t AS
    SELECT n, ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id
    FROM generate_series(0, {tenants} - 1) n;
INSERT INTO dir_tenant SELECT id, 1, 'Asia/Kolkata', true FROM t;
INSERT INTO dir_staff (tenant_id, staff_id, version, name, numbers, active, working_hours, leave)
    SELECT id, 's' || a, 1, 'Desk ' || a, ARRAY['+91994' || lpad((n * {agents} + a)::text, 7, '0')], true, '[]', '[]'
    FROM t, generate_series(0, {agents} - 1) a;
INSERT INTO dir_customer (tenant_id, kind, customer_id, version, name, owner_staff_id)
    SELECT id, 'customer', 'c' || c, 1, 'Customer ' || c, 's' || c % {agents}
    FROM t, generate_series(0, {callers} - 1) c;
INSERT INTO dir_customer_number (tenant_id, number, kind, customer_id)
    SELECT id, '+91984' || lpad(c::text, 7, '0'), 'customer', 'c' || c FROM t, generate_series(0, {callers} - 1) c;
INSERT INTO dir_did (tenant_id, did, version, label, default_staff_ids, fallback_number)
    SELECT id, '+914842' || lpad(n::text, 6, '0'), 1, '', ARRAY['s0', 's1'], NULL FROM t;
INSERT INTO did_claim (tenant_id, did) SELECT tenant_id, did FROM dir_did;
INSERT INTO dir_routing (tenant_id, version, last_agent_days, ring_seconds, fallback_number, blocked_numbers)
    SELECT id, 1, 30, 25, '+914843000199', '{{}}' FROM t;
INSERT INTO view_version (tenant_id, version) SELECT id, nextval('view_change_number') FROM t;
"""


def run(addresses: Addresses) -> list[Result]:
    return asyncio.run(_run(addresses))


async def _run(addresses: Addresses) -> list[Result]:
    redis = Redis.from_url(addresses.redis_url)
    # The demo's Redis is small.
    await redis.config_set("maxmemory", "2gb")
    async with fresh_database(
        addresses.postgres_dsn, service="telephony-router", package="telephony_router"
    ) as database:
        lines = await _seed(addresses, database)
        view = RedisView(addresses.redis_url, write_timeout_seconds=60)
        before = await _used(redis)
        began = time.perf_counter()
        entries = await rebuild_view(database, view)
        rebuilt = time.perf_counter() - began
        memory = (await _used(redis) - before) / 2**20
        try:
            async with redis_in_real_time(addresses):
                rings, rss = await _rings(addresses, database, lines)
        finally:
            await redis.flushdb()
            await redis.aclose()
            await view.close()
    p50, p95, p99 = percentiles(rings.latencies)
    return [
        Result(
            name="midring_fleet", value=len(rings.latencies) / SECONDS, unit="rps", p50_ms=p50, p95_ms=p95, p99_ms=p99,
            rss_mb=rss,
            note=(
                f"latest answer {max(rings.latencies):.0f} ms, {rings.unknown} without knowing the caller;"
                f" {rings.lateness}; view of {entries:,} entries rebuilt in {rebuilt:.0f} s, {memory:.0f} MB in Redis"
            ),
        )
    ]  # fmt: skip


async def _used(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory"])


async def _seed(addresses: Addresses, database: Database) -> list[Line]:
    """The fleet, written straight into the tables; returns each tenant's line."""
    async with database.system() as tx:
        name = str(await tx.fetchval("SELECT current_database()"))
    schema = {"search_path": schema_of("telephony-router")}
    connection = await asyncpg.connect(addresses.postgres_dsn, database=name, server_settings=schema)
    try:
        await connection.execute(SEED.format(tenants=TENANTS, agents=AGENTS, callers=CALLERS))
        keys = [secrets.token_urlsafe(16) for _ in range(TENANTS)]
        rows = [
            (UUID(f"00000000-0000-4000-8000-{n:012x}"), UUID(int=n), "generic", hashlib.sha256(key.encode()).digest())
            for n, key in enumerate(keys)
        ]
        await connection.copy_records_to_table(
            "account", records=rows, columns=["tenant_id", "id", "vendor", "secret_sha256"]
        )
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
    return [Line(webhook(key), f"+914842{tenant:06}") for tenant, key in enumerate(keys)]


async def _rings(addresses: Addresses, database: Database, lines: list[Line]) -> tuple[Rings, float]:
    async with database.system() as tx:
        name = str(await tx.fetchval("SELECT current_database()"))
    numbers = [f"+91984{each:07}" for each in range(CALLERS)]
    with tempfile.TemporaryDirectory(prefix="fleet") as folder:
        behind = settings(addresses, name, free_port(), Path(folder) / "behind")
        port = free_port()
        ours = settings(addresses, name, port, Path(folder) / "router") | ANSWERING
        with (
            Callers(lines, numbers, connections=CONNECTIONS, core=0) as callers,
            pinned(ROUTER, behind | BEHIND, Path(folder) / "behind.log", core=0),
            pinned(ROUTER, ours, Path(folder) / "router.log") as process,
        ):
            await listening(port)
            await callers.ring(port, rate=RATE, seconds=3)
            return await callers.ring(port, rate=RATE, seconds=SECONDS), rss_mb(process.pid)
