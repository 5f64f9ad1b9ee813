"""A WhatsApp backup from the encrypted file to Postgres and the outbox, as an operator runs it: one process.

The limit beside it does the least that any importer must: read the same rows from an already decrypted store and
COPY them into an unlogged table without index, row security, history, events or audit.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from bench.results import Addresses, Result
from kit.postgres import Database
from kit.testing import fresh_database
from vault_importer import store
from vault_importer.accounts import Account
from vault_importer.backup_key import parse_backup_key
from vault_importer.decrypt import Limits, decrypt
from vault_importer.samples import SampleOptions, write_sample
from vault_importer.survey import survey_file

MESSAGES = int(os.environ.get("TRUNKLINE_BENCH_MESSAGES", "100000"))
COMMAND = "from vault_importer.commands import app; app()"
COLUMNS = ("_id", "chat_row_id", "from_me", "key_id", "sender_jid_row_id", "timestamp", "message_type", "text_data")
TABLE = """CREATE UNLOGGED TABLE bare (_id bigint, chat_row_id bigint, from_me bigint, key_id text,
    sender_jid_row_id bigint, "timestamp" bigint, message_type bigint, text_data text)"""


@dataclass(frozen=True)
class _Ran:
    seconds: float
    rss_mb: float
    answer: dict[str, Any]


def run(addresses: Addresses) -> Sequence[Result]:
    """Measure ``import`` and ``reimport``."""
    with tempfile.TemporaryDirectory() as folder:
        sample = write_sample(Path(folder), SampleOptions(messages=MESSAGES))
        backup_key = parse_backup_key(sample.key.read_bytes())
        return asyncio.run(_measure(addresses, sample.backup, sample.key, backup_key))


async def _measure(addresses: Addresses, backup: Path, key: Path, backup_key: bytes) -> list[Result]:
    async with fresh_database(addresses.postgres_dsn, service="vault-importer", package="vault_importer") as database:
        account = Account(tenant_id=uuid4(), id=uuid4(), name="bench", number=None, sealed_key=None)
        async with database.transaction(account.tenant_id) as tx:
            await store.put_account(tx, account)
        dsn = await _dsn(addresses, database)
        bare = await _bare(dsn, backup, backup_key)
        first = await asyncio.to_thread(_import, dsn, backup, key, account)
        second = await asyncio.to_thread(_import, dsn, backup, key, account)
    if first.answer["messages_new"] != MESSAGES or second.answer["state"] != "unchanged":
        raise RuntimeError("the import did not do what is measured")
    rate = MESSAGES / first.seconds
    start = _bare_start()
    return [
        Result(
            name="import",
            value=rate,
            unit="messages/s",
            limit_name="sqlite read + COPY",
            limit=bare,
            ratio=rate / bare,
            rss_mb=first.rss_mb,
            note=f"{MESSAGES:,} messages, encrypted, with events and what stands beside; whole process",
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


def _import(dsn: str, backup: Path, key: Path, account: Account) -> _Ran:
    environment = {
        "PATH": os.environ["PATH"],
        "TRUNKLINE_POSTGRES_DSN": dsn,
        "TRUNKLINE_DEMO": "true",
        "TRUNKLINE_VAULT_IMPORTER_APP_PASSWORD": "test",
        "TRUNKLINE_VAULT_IMPORTER_SYSTEM_PASSWORD": "test",
    }
    arguments = ["import", str(backup), "--account", str(account.id), "--key-file", str(key), "--json"]
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, env=environment)
    if process.stdout is None:
        raise RuntimeError("no output to read")
    answer = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    return _Ran(time.perf_counter() - began, usage.ru_maxrss / 1024, json.loads(answer))


def _bare_start() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import asyncio, typer, asyncpg, pydantic"], check=True)
    return time.perf_counter() - began
