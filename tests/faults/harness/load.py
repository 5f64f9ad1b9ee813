"""What the outside world does while faults happen: PBXs that ring and report, backups, mails. Everything is entered
into the ledger before it leaves, and again when the answer is known."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from confluent_kafka import Producer
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.options import Options
from tests.faults.harness.stack import FaultStack
from tests.faults.harness.stores import Stores
from tests.faults.harness.world import AGENTS, Business, new_vault_account

from contracts.envelope import Envelope, partition_key
from kit.ids import uuid7

__all__ = ["ENDS", "Load", "first_destination", "inputs"]

ENDS = {"completed": "completed", "busy": "busy", "no-answer": "missed", "failed": "failed"}
"""What a PBX says at the end of a call, and the state that is then right."""
POISONED = ("call.state", "message.imported")
RETRY_EVERY = 15.0
PATIENCE = 90.0
"""How long a sender repeats what was not acknowledged."""


class Load:
    """All senders of a run. The same options send the same inputs; only the moments differ."""

    def __init__(
        self,
        options: Options,
        stack: FaultStack,
        ledger: Ledger,
        businesses: Sequence[Business],
        consumers: Sequence[str] = (),
    ) -> None:
        self._options = options
        self._stack = stack
        self._ledger = ledger
        self._businesses = list(businesses)
        self._consumers = sorted(consumers)
        self._stores = Stores(stack)
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._client = httpx.AsyncClient(timeout=5.0, limits=httpx.Limits(max_connections=60))
        self._told: dict[str, list[str]] = {}
        self._outsider = Producer(
            {"bootstrap.servers": stack.layout.kafka_bootstrap, "log_level": 0, "acks": "all",
             "message.timeout.ms": 20_000, "partitioner": "murmur2_random"}
        )  # fmt: skip
        self.imports_at_once = asyncio.Semaphore(1)

    async def run(self) -> None:
        """Send until told to stop, then until everything that was begun has an answer."""
        options = self._options
        streams = [self._every("calls", 1 / options.calls_per_second, self._call)]
        if options.import_every:
            streams.append(self._every("imports", options.import_every, self._import))
        if options.mail_every:
            streams.append(self._every("mails", options.mail_every, self._mail))
        if self._consumers:
            streams.append(self._every("letters", RETRY_EVERY, self._retry_letters))
        await asyncio.gather(*streams)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=PATIENCE + 30)
        await self._client.aclose()
        for task in self._tasks:
            task.cancel()

    def stop(self) -> None:
        self._stopping.set()

    async def _every(
        self, name: str, seconds: float, begin: Callable[[int, random.Random], Coroutine[Any, Any, None]]
    ) -> None:
        for number, dice in inputs(self._options.seed, name):
            if self._stopping.is_set():
                return
            task = asyncio.create_task(begin(number, dice))
            self._tasks.add(task)
            task.add_done_callback(self._finished)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._ledger.note("harness_error", error=f"{type(error).__name__}: {error}")

    async def _call(self, number: int, dice: random.Random) -> None:
        """A call: a ring, then statuses; some twice, some in the wrong order, as PBXs do."""
        business = dice.choice(self._businesses)
        call = f"s{self._options.seed}-{number}"
        caller, end = dice.choice(business.callers), dice.choice(list(ENDS))
        common: dict[str, Any] = {"call_id": call, "from": caller, "to": business.did}
        begun = datetime.now(UTC)
        sends: list[tuple[str, dict[str, Any]]] = [("ring", common)]
        steps = ["ringing", *(["answered"] if end == "completed" else []), end]
        for sequence, status in enumerate(steps):
            at = (begun + timedelta(seconds=5 * sequence)).isoformat()
            fields = {**common, "status": status, "sequence": sequence, "at": at}
            if status in ("answered", "completed"):
                fields["agent_number"] = dice.choice(list(AGENTS.values()))
            sends.append((status, fields))
        sends += [send for send in sends if dice.random() < self._options.duplicate_ratio]
        if dice.random() < self._options.reorder_ratio:
            dice.shuffle(sends)
        if dice.random() < self._options.poison_ratio:
            await asyncio.to_thread(self._poison, call, business, dice.choice(POISONED))
        for status, fields in sends:
            await self._post(business, "ring" if status == "ring" else "status", f"{call}/{status}", fields)
            await asyncio.sleep(dice.uniform(0, 0.2))

    def _poison(self, call: str, business: Business, topic: str) -> None:
        """A record that nobody can handle, on a key of its own, by a producer that is not ours."""
        key = partition_key(UUID(business.tenant_id), f"poison-{call}")
        value = f'{{"poison": "{call}"}}'.encode()
        envelope = Envelope(
            id=str(uuid7()), type=f"{topic}.v1", source="/outside", time=datetime.now(UTC),
            tenant=UUID(business.tenant_id), subject=f"poison-{call}", partitionkey=key,
        )  # fmt: skip
        taken: list[Any] = []
        self._ledger.enter("poison", call, "invoke")
        self._outsider.produce(topic, key=key, value=value, headers=list(envelope.to_headers()),
                         on_delivery=lambda error, record: taken.append(record) if error is None else None)  # fmt: skip
        self._outsider.flush(25)
        if taken:
            self._ledger.enter("poison", call, "ok", topic=topic, partition=taken[0].partition(),
                               offset=taken[0].offset(), digest=hashlib.sha256(value).hexdigest())  # fmt: skip
        else:
            self._ledger.enter("poison", call, "info")

    async def _post(self, business: Business, hook: str, key: str, fields: dict[str, Any]) -> None:
        kind, deadline, wait = hook, time.monotonic() + PATIENCE, 0.2
        while True:
            self._ledger.enter(
                kind, key, "invoke", tenant=business.tenant_id, call=fields["call_id"], account=business.account_id
            )
            try:
                answer = await self._client.post(f"{business.hook}/{hook}", json=fields)
            except httpx.HTTPError as error:
                self._ledger.enter(kind, key, "info", why=type(error).__name__)
            else:
                if answer.status_code == 200:
                    first = first_destination(answer.json()) if hook == "ring" else ""
                    told = self._told.setdefault(key, [])
                    told.append(first)
                    self._ledger.enter(kind, key, "ok", answers=list(told), told_at=time.time())
                    return
                # A refusal says that nothing was taken; a failure inside says nothing at all.
                state: Any = "info" if answer.status_code >= 500 else "fail"
                self._ledger.enter(kind, key, state, why=str(answer.status_code))
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(wait)
            wait = min(wait * 2, 2.0)

    async def _import(self, number: int, dice: random.Random) -> None:
        """A backup of its own archive, imported by the command as often as it takes."""
        if self.imports_at_once.locked():
            return
        async with self.imports_at_once:
            business = dice.choice(self._businesses)
            folder = self._stack.layout.run_dir / "backups" / str(number)
            made, gstins = await asyncio.to_thread(_make_backup, folder, number, self._options)
            account = await self._patiently(
                lambda: asyncio.to_thread(new_vault_account, self._stack, business, f"import-{number}")
            )
            if account is None:
                return
            key = f"import-{number}"
            self._ledger.note("import_planned", key=key, account=account, messages=self._options.import_messages)
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                self._ledger.enter(
                    "import", key, "invoke", tenant=business.tenant_id, account=account,
                    messages=self._options.import_messages, gstins=gstins,
                )  # fmt: skip
                code, out = await self._command("vault", "import", str(made), "--account", account, "--key-file",
                                                str(folder / "backup.key"))  # fmt: skip
                if code == 0:
                    self._ledger.enter("import", key, "ok", result=json.loads(out)["state"])
                    return
                self._ledger.enter("import", key, "info", why=f"exit {code}")
                await asyncio.sleep(0.5)

    async def _mail(self, number: int, _: random.Random) -> None:
        """A business of its own, and its pulse asked for: one cause, one mail."""
        slug = f"mail-{self._options.seed}-{number}"
        address = f"owner@{slug}.example"
        body = {"slug": slug, "name": slug, "owner_email": address, "pulse_at": "23:59"}
        headers = {"Authorization": f"Bearer {self._stack.addresses.admin_token}"}

        async def open_tenant() -> str:
            self._ledger.enter("tenant", slug, "invoke")
            answer = await self._client.post(
                f"{self._stack.addresses.console}/v1/tenants", json=body, headers=headers, timeout=10
            )
            answer.raise_for_status()
            found = str(answer.json()["tenant_id"])
            self._ledger.enter("tenant", slug, "ok", tenant=found)
            return found

        tenant = await self._patiently(open_tenant)
        if tenant is None:
            return

        async def ask() -> str:
            self._ledger.enter("mail", address, "invoke", tenant=tenant)
            send = await _enqueue_pulse(self._stack, tenant)
            self._ledger.enter("mail", address, "ok", tenant=tenant, send=send)
            return send

        await self._patiently(ask)

    async def _retry_letters(self, _: int, dice: random.Random) -> None:
        """An operator who tries a consumer's dead letters again, whatever is broken just then."""
        consumer = dice.choice(self._consumers)
        try:
            asked = await self._stores.retry_letters([consumer])
        except httpx.HTTPError as error:
            self._ledger.note("tried", why=type(error).__name__)
        else:
            self._ledger.note("letters_retried", consumer=consumer, asked=asked)

    async def _patiently(self, attempt: Callable[[], Coroutine[Any, Any, str]]) -> str | None:
        """As an operator would: again and again, for a while."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                return await attempt()
            except Exception as error:
                self._ledger.note("tried", why=type(error).__name__)
                await asyncio.sleep(0.5)
        return None

    async def _command(self, *arguments: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trunkline", *arguments, "--json",
            env={**os.environ, **self._stack.layout.environment()},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with asyncio.timeout(PATIENCE):
                out, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return -1, ""
        return process.returncode or 0, out.decode()


def inputs(seed: int, stream: str) -> Iterator[tuple[int, random.Random]]:
    """The inputs of one stream: their numbers, and a generator for each. Other streams change nothing in them, nor does
    how long one waits in another."""
    dice = random.Random(f"{seed}/{stream}")
    for number in itertools.count(1):
        yield number, random.Random(dice.random())


def first_destination(answer: Mapping[str, Any]) -> str:
    """Whom the PBX is told to ring first; empty when it is told nobody."""
    return str(next((each["number"] for each in answer.get("destinations", ())), ""))


def _make_backup(folder: Path, number: int, options: Options) -> tuple[Path, list[str]]:
    """A backup, and every tax number that is stated in it, read from the plain store."""
    from vault_importer.samples.generate import SampleOptions, write_msgstore, write_sample

    sample = SampleOptions(messages=options.import_messages, seed=options.seed * 10_000 + number)
    made = write_sample(folder, sample)
    plain = folder / "plain.db"
    write_msgstore(plain, sample)
    with contextlib.closing(sqlite3.connect(plain)) as connection:
        said = connection.execute("SELECT text_data FROM message WHERE text_data LIKE 'Our GSTIN is %'").fetchall()
    plain.unlink()
    return made.backup, [text.split()[3].rstrip(",") for (text,) in said]


async def _enqueue_pulse(stack: FaultStack, tenant: str) -> str:
    """What ``trunkline notify pulse`` does first; the running service sends it."""
    from notifier.enqueue import enqueue_pulse
    from notifier.settings import Settings
    from notifier.wiring import make_database

    database = make_database(Settings.load(stack.layout.environment()))
    try:
        async with asyncio.timeout(10):
            return str((await enqueue_pulse(database, UUID(tenant), now=datetime.now(UTC))).id)
    finally:
        await database.close()
