"""How long a ringing caller waits while servers are slow, hang or are gone: one row for each case.

A real router reaches Postgres, Redis and Kafka through proxies that misbehave; callers come at a steady rate, and each
counts from the moment at which it was due. They ring from a process of their own (``bench.ringing``); this one has the
proxies. A ring that is refused ends the measurement. Beside each case stands the same with everything well, in the same
run.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tests.faults.harness.proxy import HEALTHY, Proxy, Toxics

from bench.midring import ROUTER, customers, directory, free_port, listening, pinned, settings
from bench.results import Addresses, Result, percentile, percentiles
from bench.ringing import Callers, Rings
from kit.postgres import Database
from kit.testing import fresh_database

RATE, SECONDS = 200, 5
SLOW, HANGING, GONE = Toxics(latency=0.2), Toxics(swallow_up=True, swallow_down=True), Toxics(refuse=True)
CASES: dict[str, Mapping[str, Toxics]] = {
    "redis slow": {"redis": SLOW},
    "redis hanging": {"redis": HANGING},
    "redis gone": {"redis": GONE},
    "postgres slow": {"postgres": SLOW},
    "postgres hanging": {"postgres": HANGING},
    "postgres gone": {"postgres": GONE},
    "kafka gone": {"kafka": GONE},
    "all three hanging": {"redis": HANGING, "postgres": HANGING, "kafka": HANGING},
    "all three gone": {"redis": GONE, "postgres": GONE, "kafka": GONE},
}
FULL = "all three gone, journal full"


def run(addresses: Addresses) -> Sequence[Result]:
    return asyncio.run(_run(addresses))


async def _run(addresses: Addresses) -> list[Result]:
    proxies = {name: Proxy(name, listen=free_port(), target=port) for name, port in _ports(addresses).items()}
    for proxy in proxies.values():
        await proxy.start()
    try:
        with tempfile.TemporaryDirectory(prefix="degraded") as folder:
            async with fresh_database(
                addresses.postgres_dsn, service="telephony-router", package="telephony_router"
            ) as database:
                return await _measure(_through(addresses, proxies), database, proxies, Path(folder))
    finally:
        for proxy in proxies.values():
            await proxy.stop()


async def _measure(
    addresses: Addresses, database: Database, proxies: Mapping[str, Proxy], folder: Path
) -> list[Result]:
    secret = secrets.token_urlsafe(16)
    name = await directory(addresses, database, secret)
    found: dict[str, Rings] = {}
    port = free_port()
    environment = settings(addresses, name, port, folder / "router")
    with customers(secret) as callers:
        with pinned(ROUTER, environment, folder / "router.log"):
            await listening(port)
            await callers.ring(port, rate=RATE, seconds=2)
            well = await callers.ring(port, rate=RATE, seconds=SECONDS)
            for case, toxics in CASES.items():
                found[case] = await _suffering(proxies, toxics, port, callers)
        port = free_port()
        # The snapshot is the one that the first router left; its journal takes nothing.
        environment = settings(addresses, name, port, folder / "router") | {
            "TRUNKLINE_TELEPHONY_ROUTER_JOURNAL_MAX_BYTES": "1"
        }
        with pinned(ROUTER, environment, folder / "full.log"):
            await listening(port)
            await callers.ring(port, rate=RATE, seconds=2)
            found[FULL] = await _suffering(proxies, CASES["all three gone"], port, callers)
    return [_result(case, rings, well) for case, rings in found.items()]


async def _suffering(proxies: Mapping[str, Proxy], toxics: Mapping[str, Toxics], port: int, callers: Callers) -> Rings:
    """The rings while servers suffer, and some time afterwards in which they recover."""
    for name, each in toxics.items():
        proxies[name].give(1, each)
        if each is GONE:
            proxies[name].reset_all()
    try:
        return await callers.ring(port, rate=RATE, seconds=SECONDS)
    finally:
        for name in toxics:
            proxies[name].take(None)
            proxies[name].reset_all()
        assert all(proxy.toxics == HEALTHY for proxy in proxies.values())
        await asyncio.sleep(3)


def _result(case: str, rings: Rings, well: Rings) -> Result:
    p50, p95, p99 = percentiles(rings.latencies)
    limit = percentile(well.latencies, 0.99)
    return Result(
        name=f"ring, {case}", value=p99, unit="ms p99", limit_name="ms p99 with everything well", limit=limit,
        ratio=limit / p99, p50_ms=p50, p95_ms=p95, p99_ms=p99,
        note=f"{len(rings.latencies)} rings at {RATE}/s, each answered; slowest {max(rings.latencies):.0f} ms;"
        f" {rings.lateness}",
    )  # fmt: skip


def _ports(addresses: Addresses) -> dict[str, int]:
    return {
        "postgres": urlsplit(addresses.postgres_dsn).port or 5432,
        "redis": urlsplit(addresses.redis_url).port or 6379,
        "kafka": int(addresses.kafka_bootstrap.rpartition(":")[2]),
    }


def _through(addresses: Addresses, proxies: Mapping[str, Proxy]) -> Addresses:
    """The same servers by way of the proxies. Kafka's clients go on to the address that Kafka itself names."""

    def moved(url: str, port: int) -> str:
        parts = urlsplit(url)
        user = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}"))

    return replace(
        addresses,
        postgres_dsn=moved(addresses.postgres_dsn, proxies["postgres"].listen),
        redis_url=moved(addresses.redis_url, proxies["redis"].listen),
        kafka_bootstrap=f"127.0.0.1:{proxies['kafka'].listen}",
    )
