"""Searching a large archive: the first page as the console asks for it, over the API, in this process.

The limit beside it is the same question as one statement to Postgres by a superuser, who has no row-level security in
the way: no meaning of words, no filters, no snippets, in whichever way the planner takes.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import asyncpg
import httpx

from bench.results import Addresses, Result, percentile, percentiles
from kit.postgres import Database
from kit.testing import fresh_database
from vault_importer import store
from vault_importer.accounts import Account
from vault_importer.api import make_api
from vault_importer.backup_key import parse_backup_key
from vault_importer.import_backup import ImportJob, import_backup
from vault_importer.index_messages import index_tenant
from vault_importer.samples import SampleOptions, write_sample

MESSAGES = int(os.environ.get("TRUNKLINE_BENCH_SEARCH_MESSAGES", "1000000"))
ROUNDS = 20
#: The bare statement may take seconds where the planner is wrong.
BARE_ROUNDS = 2
TOKEN = "bench"
BARE = """SELECT message_id FROM message_search WHERE tenant_id = $1 AND words @@ $2::text::tsquery
    ORDER BY sent_at DESC, message_id DESC LIMIT 51"""
#: What is typed, and the least that it means.
QUERIES = {
    "price": "'price':*",
    "invoice thank": "'invoice':* & 'thank':*",
    "quotation copper": "'quotation':* & 'copper':*",
    '"good morning"': "'good' <-> 'morning'",
    "നാളെ രാവിലെ": "'നാളെ':* & 'രാവിലെ':*",
    "रेट": "'रेट':*",
    "odown": "'godown'",
    "9847": "'9847':*",
    "invoice 4711": "'invoice':* & '4711':*",
    "zebra": "'zebra':*",
    "ethikam": "'ethikkam'",
}


def run(addresses: Addresses) -> Sequence[Result]:
    """Measure ``search`` and ``search_index``."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(addresses, Path(folder)))


async def _measure(addresses: Addresses, folder: Path) -> list[Result]:
    sample = await asyncio.to_thread(write_sample, folder, SampleOptions(messages=MESSAGES, days=1_500))
    async with fresh_database(addresses.postgres_dsn, service="vault-importer", package="vault_importer") as database:
        account = Account(tenant_id=uuid4(), id=uuid4(), name="bench", number=None, sealed_key=None)
        async with database.transaction(account.tenant_id) as tx:
            await store.put_account(tx, account)
        key = parse_backup_key(sample.key.read_bytes())
        began = time.perf_counter()
        await import_backup(ImportJob(database=database, account=account, path=sample.backup, backup_key=key))
        imported = time.perf_counter() - began
        began = time.perf_counter()
        await index_tenant(database, account.tenant_id)
        indexed = time.perf_counter() - began
        async with database.system() as tx:
            name = await tx.fetchval("SELECT current_database()")
        dsn = urlunsplit(urlsplit(addresses.postgres_dsn)._replace(path=f"/{name}"))
        bare = await _bare(dsn, account.tenant_id)
        ours = await _ours(database, account.tenant_id)
    return [_search(ours, bare), _index(imported, indexed)]


async def _ours(database: Database, tenant: UUID) -> dict[str, list[float]]:
    transport = httpx.ASGITransport(app=make_api(database, TOKEN))
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Tenant": str(tenant)}
    times: dict[str, list[float]] = {query: [] for query in QUERIES}
    async with httpx.AsyncClient(transport=transport, base_url="http://vault", headers=headers, timeout=60) as client:
        for turn in range(ROUNDS + 1):
            for query, measured in times.items():
                began = time.perf_counter()
                answer = await client.get("/v1/search", params={"q": query})
                if turn:
                    measured.append((time.perf_counter() - began) * 1000)
                if answer.status_code != 200 or not answer.json()["indexed"]["complete"]:
                    raise RuntimeError("the search did not do what is measured")
    return times


async def _bare(dsn: str, tenant: UUID) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {query: [] for query in QUERIES}
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "vault_importer", "jit": "off"})
    try:
        await connection.execute("VACUUM ANALYZE message_search, search_word, message")
        for turn in range(BARE_ROUNDS + 1):
            for query, words in QUERIES.items():
                began = time.perf_counter()
                await connection.fetch(BARE, tenant, words)
                if turn:
                    times[query].append((time.perf_counter() - began) * 1000)
    finally:
        await connection.close()
    return times


def _search(ours: dict[str, list[float]], bare: dict[str, list[float]]) -> Result:
    every = [each for times in ours.values() for each in times]
    limits = [each for times in bare.values() for each in times]
    slowest = max(ours, key=lambda query: median(ours[query]))
    if os.environ.get("TRUNKLINE_BENCH_VERBOSE"):
        for query, times in ours.items():
            print(f"{query!r:24} {median(times):7.1f} ms  bare {median(bare[query]):7.1f} ms")
    p50, p95, p99 = percentiles(every)
    return Result(
        name="search",
        value=p50,
        unit="ms",
        limit_name="the bare SQL",
        limit=median(limits),
        ratio=median(limits) / p50,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        note=f"first page of {MESSAGES:,} messages, {len(ours)} queries; slowest {slowest!r}; "
        f"bare p99 {percentile(limits, 0.99):.0f} ms",
    )


def _index(imported: float, indexed: float) -> Result:
    return Result(
        name="search_index",
        value=MESSAGES / indexed,
        unit="messages/s",
        limit_name="the import before it",
        limit=MESSAGES / imported,
        ratio=imported / indexed,
        note=f"{MESSAGES:,} messages, after their import",
    )
