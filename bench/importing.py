"""A WhatsApp backup from the encrypted file to Postgres and on to Kafka, as an operator runs it: one process, and the
relay that the service has. Then the very same file again, and the backup of the next night with one percent more.

The limit beside it does the least that any importer must: read the same rows from an already decrypted store and
COPY them into an unlogged table without index, row security, history, events or audit. That of a nightly backup is to
decrypt it, which every importer must, to say whether it is whole.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from bench.results import Addresses, Result
from kit.postgres import Database
from kit.testing import eventually, fresh_database
from runtime.relay import Relay
from vault_importer import store
from vault_importer.accounts import Account
from vault_importer.backup_key import parse_backup_key
from vault_importer.decrypt import Limits, decrypt
from vault_importer.samples import SampleOptions, encrypt, write_sample
from vault_importer.samples.generate import Sample
from vault_importer.survey import survey_file

MESSAGES = int(os.environ.get("TRUNKLINE_BENCH_MESSAGES", "100000"))
COMMAND = "from vault_importer.commands import app; app()"
COLUMNS = ("_id", "chat_row_id", "from_me", "key_id", "sender_jid_row_id", "timestamp", "message_type", "text_data")
NIGHT = (
    "INSERT INTO message (_id, chat_row_id, from_me, key_id, sender_jid_row_id, status, origin, timestamp,"
    " received_timestamp, message_type, text_data, sort_id) SELECT _id + (SELECT max(_id) FROM message), chat_row_id,"
    " from_me, 'N' || key_id, sender_jid_row_id, status, origin, timestamp + 15552000000, received_timestamp, 0,"
    " coalesce(text_data, 'Noted'), sort_id FROM message WHERE _id % 100 = 50",
    "INSERT INTO receipt_user (message_row_id, receipt_user_jid_row_id, receipt_timestamp, read_timestamp,"
    " played_timestamp) SELECT _id, 1, timestamp, timestamp, 0 FROM message WHERE from_me AND key_id GLOB 'N*'",
)
OPEN_FOR = """SELECT extract(epoch FROM max(clock_timestamp() - xact_start)) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = 'vault_importer_app' AND backend_xid IS NOT NULL"""
TABLE = """CREATE UNLOGGED TABLE bare (_id bigint, chat_row_id bigint, from_me bigint, key_id text,
    sender_jid_row_id bigint, "timestamp" bigint, message_type bigint, text_data text)"""


@dataclass(frozen=True)
class _Ran:
    seconds: float
    rss_mb: float
    answer: dict[str, Any]
    longest: float
    """The longest transaction that a chunk took, as far as one was caught at work."""


def run(addresses: Addresses) -> Sequence[Result]:
    """Measure ``import``, ``reimport`` and ``nightly``."""
    with tempfile.TemporaryDirectory() as folder:
        sample = sample_of(Path(folder), MESSAGES)
        backup_key = parse_backup_key(sample.key.read_bytes())
        nightly = next_night(sample.backup, backup_key)
        return asyncio.run(_measure(addresses, sample, nightly, backup_key))


def sample_of(folder: Path, messages: int) -> Sample:
    """A sample made by another process: the system counts what this one has held among what its children hold."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as other:
        return other.submit(write_sample, folder, SampleOptions(messages=messages)).result()


def next_night(backup: Path, backup_key: bytes) -> Path:
    """The backup of the night after: one percent more messages, in all chats, some of them delivered and read."""
    with tempfile.TemporaryDirectory(dir=backup.parent) as folder:
        plain, _ = decrypt(
            backup, backup_key=backup_key, survey=survey_file(backup), into=Path(folder), limits=Limits()
        )
        connection = sqlite3.connect(plain)
        for statement in NIGHT:
            connection.execute(statement)
        connection.commit()
        connection.close()
        later = backup.with_name("next-night.db.crypt15")
        encrypt(plain, later, backup_key=backup_key, iv=os.urandom(16), container="crypt15")
    return later


async def _measure(addresses: Addresses, sample: Sample, nightly: Path, backup_key: bytes) -> list[Result]:
    async with an_archive(addresses) as (database, account, dsn):
        bare = await _bare(dsn, sample.backup, backup_key)
        async with relaying(addresses, database):
            first = await asyncio.to_thread(run_import, dsn, sample.backup, sample.key, account)
            visible = first.seconds + await until_published(database)
            second = await asyncio.to_thread(run_import, dsn, sample.backup, sample.key, account)
            third = await asyncio.to_thread(run_import, dsn, nightly, sample.key, account)
            third_visible = third.seconds + await until_published(database)
    later = third.answer["messages_new"]
    if first.answer["messages_new"] != MESSAGES or second.answer["state"] != "unchanged" or later != MESSAGES // 100:
        raise RuntimeError("the import did not do what is measured")
    rate = MESSAGES / visible
    start = _bare_start()
    opened = _bare_opening(nightly, backup_key)
    return [
        Result(
            name="import",
            value=rate,
            unit="messages/s",
            limit_name="sqlite read + COPY",
            limit=bare,
            ratio=rate / bare,
            rss_mb=first.rss_mb,
            note=f"{MESSAGES:,} messages, encrypted, with what stands beside, until the last event was on Kafka:"
            f" {visible:.1f} s, {first.seconds:.1f} of them the whole process; longest chunk {first.longest:.2f} s",
        ),
        Result(
            name="nightly",
            value=third_visible,
            unit="s",
            limit_name="s, decrypting it",
            limit=opened,
            ratio=opened / third_visible,
            rss_mb=third.rss_mb,
            note=f"the backup of the next night, {later:,} more messages, until the last event was on Kafka",
        ),
        Result(
            name="reimport",
            value=second.seconds,
            unit="s",
            limit_name="starting Python",
            limit=start,
            ratio=start / second.seconds,
            rss_mb=second.rss_mb,
            note="the unchanged file again; whole process",
        ),
    ]


@asynccontextmanager
async def an_archive(addresses: Addresses) -> AsyncIterator[tuple[Database, Account, str]]:
    """An empty one with one account, and its database's address."""
    async with fresh_database(addresses.postgres_dsn, service="vault-importer", package="vault_importer") as database:
        account = Account(tenant_id=uuid4(), id=uuid4(), name="bench", number=None, sealed_key=None)
        async with database.transaction(account.tenant_id) as tx:
            await store.put_account(tx, account)
        yield database, account, await _dsn(addresses, database)


@asynccontextmanager
async def relaying(addresses: Addresses, database: Database) -> AsyncIterator[None]:
    """With a relay that publishes what the archive tells."""
    relay = Relay(database=database, kafka_bootstrap=addresses.kafka_bootstrap, service="vault-importer")
    await relay.start()
    try:
        yield
    finally:
        await relay.stop()


async def until_published(database: Database) -> float:
    """Seconds until Kafka has everything that the outbox holds now."""
    began = time.perf_counter()
    async with database.system() as tx:
        last = await tx.fetchval("SELECT seq FROM outbox ORDER BY epoch DESC, xid DESC, seq DESC LIMIT 1")

    async def done() -> bool:
        async with database.system() as tx:
            return bool(await tx.fetchval("SELECT seq FROM relay_position") == last)

    await eventually(done, within=600, every=0.02)
    return time.perf_counter() - began


async def _dsn(addresses: Addresses, database: Database) -> str:
    async with database.system() as tx:
        name = await tx.fetchval("SELECT current_database()")
    return urlunsplit(urlsplit(addresses.postgres_dsn)._replace(path=f"/{name}"))


async def _bare(dsn: str, backup: Path, backup_key: bytes) -> float:
    """Rows a second of the least that must be done, on one connection."""
    with tempfile.TemporaryDirectory() as folder:
        plain, _ = decrypt(
            backup, backup_key=backup_key, survey=survey_file(backup), into=Path(folder), limits=Limits()
        )
        connection = await asyncpg.connect(dsn)
        source = sqlite3.connect(f"file:{plain}?mode=ro&immutable=1", uri=True)
        try:
            await connection.execute(TABLE)
            began = time.perf_counter()
            rows = source.execute(f"SELECT {', '.join(COLUMNS)} FROM message")  # noqa: S608
            await connection.copy_records_to_table("bare", records=rows, columns=list(COLUMNS))
            return MESSAGES / (time.perf_counter() - began)
        finally:
            source.close()
            await connection.close()


def run_import(dsn: str, backup: Path, key: Path, account: Account) -> _Ran:
    environment = {
        "PATH": os.environ["PATH"],
        "TRUNKLINE_POSTGRES_DSN": dsn,
        "TRUNKLINE_DEMO": "true",
        "TRUNKLINE_VAULT_IMPORTER_APP_PASSWORD": "test",
        "TRUNKLINE_VAULT_IMPORTER_SYSTEM_PASSWORD": "test",
    }
    arguments = ["import", str(backup), "--account", str(account.id), "--key-file", str(key), "--json"]
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, env=environment,
        start_new_session=True,  # as in a terminal of its own
    )  # fmt: skip
    if process.stdout is None:
        raise RuntimeError("no output to read")
    watched = _Transactions(dsn)
    answer = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    return _Ran(seconds, usage.ru_maxrss / 1024, json.loads(answer), watched.stop())


class _Transactions:
    """Looks ten times a second how long the importer's transactions that write have been open."""

    def __init__(self, dsn: str) -> None:
        self._dsn, self._longest, self._ended = dsn, 0.0, threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch()))
        self._thread.start()

    async def _watch(self) -> None:
        connection = await asyncpg.connect(self._dsn)
        while not self._ended.wait(0.1):
            open_for = await connection.fetchval(OPEN_FOR)
            self._longest = max(self._longest, float(open_for or 0))
        await connection.close()

    def stop(self) -> float:
        self._ended.set()
        self._thread.join()
        return self._longest


def _bare_opening(backup: Path, backup_key: bytes) -> float:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        decrypt(backup, backup_key=backup_key, survey=survey_file(backup), into=Path(folder), limits=Limits())
        return time.perf_counter() - began


def _bare_start() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import asyncio, typer, asyncpg, pydantic"], check=True)
    return time.perf_counter() - began
