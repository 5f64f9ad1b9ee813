"""Fixtures for tests on real servers. A pytest plugin; loaded by the conftest at the root.

The servers come from the environment (``TRUNKLINE_TEST_POSTGRES_DSN``, ``TRUNKLINE_TEST_KAFKA_BOOTSTRAP``,
``TRUNKLINE_TEST_REDIS_URL``), else from containers when ``TRUNKLINE_TEST_SERVERS=containers``, else from the native
stack, which is started for the purpose and stays up for the next run.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from contracts.envelope import Envelope, partition_key
from contracts.event import Event
from contracts.registry import Registry
from contracts.topics import TOPICS
from kit.ids import uuid7
from kit.migrations import migrate, migrations_of, provision
from kit.postgres import Database, Transaction, role_dsn, schema_of

__all__ = [
    "PATIENCE",
    "Bench",
    "MakeDatabase",
    "Servers",
    "Toy",
    "columns_with",
    "eventually",
    "fresh_database",
    "keep_copy",
    "keep_in_memory",
    "make_topic",
    "put_back",
]

PASSWORDS = {"owner": "test", "app": "test", "system": "test", "ro": "test"}
MEMORY = Path("/dev/shm")  # noqa: S108 - what is made there has a name that nobody can foresee
ROOM = 4 << 30
PATIENCE = 120.0
"""Seconds for what must come: a limit for a busy machine, which costs nothing when all is well."""
ADDRESSES = ("POSTGRES_DSN", "KAFKA_BOOTSTRAP", "REDIS_URL")


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the real servers are. ``postgres_dsn`` is a superuser's."""

    postgres_dsn: str
    kafka_bootstrap: str
    redis_url: str


async def eventually(condition: Callable[[], Any], within: float = PATIENCE, every: float = 0.05) -> Any:
    """Wait until ``condition`` (plain or async) gives something true, and return it; fail after ``within`` s."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        result = condition()
        if isinstance(result, Awaitable):
            result = await result
        if result:
            return result
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not true within {within} s: {getattr(condition, '__name__', condition)}")
        await asyncio.sleep(every)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    given = {name: os.environ.get(f"TRUNKLINE_TEST_{name}") for name in ADDRESSES}
    if all(given.values()):
        yield Servers(*(str(given[name]) for name in ADDRESSES))
    elif os.environ.get("TRUNKLINE_TEST_SERVERS") == "containers":
        yield from _containers()
    else:
        yield _native()


def _native() -> Servers:
    run_dir = Path(os.environ.get("TRUNKLINE_TEST_ROOT", ".run")) / "test"
    keep_in_memory(run_dir)
    command = [
        sys.executable,
        "-m",
        "trunkline",
        "up",
        "--only",
        "servers",
        "--run-dir",
        str(run_dir),
        "--port-base",
        os.environ.get("TRUNKLINE_TEST_PORT_BASE", "18000"),
        "--json",
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"the native servers did not start: {done.stderr.strip()}")
    found = json.loads(done.stdout)
    return Servers(found["postgres_dsn"], found["kafka_bootstrap"], found["redis_url"])


def keep_in_memory(run_dir: Path, memory: Path = MEMORY) -> None:
    """Make ``run_dir``, which does not exist yet, a link to a folder in memory, where that has room.

    Nearly every test has a database of its own, and a disk takes ten times as long to copy one. Servers that are killed
    find their data there as they would on a disk; only a machine that goes down would not.
    """
    if run_dir.is_symlink() and not run_dir.exists():
        # The machine was started anew.
        run_dir.unlink()
    if run_dir.exists() or not memory.is_dir() or shutil.disk_usage(memory).free < ROOM:
        return
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="trunkline-test-", dir=memory))
    # Postgres runs as an account of its own, which has to get through.
    folder.chmod(0o755)
    run_dir.symlink_to(folder)


def _containers() -> Iterator[Servers]:
    from testcontainers.kafka import KafkaContainer
    from testcontainers.postgres import PostgresContainer
    from testcontainers.redis import RedisContainer

    kafka = KafkaContainer("apache/kafka:4.3.1") if hasattr(KafkaContainer, "with_kraft") else KafkaContainer()
    with PostgresContainer("postgres:15", driver=None) as postgres, RedisContainer("redis:7") as redis, kafka:
        redis_url = f"redis://{redis.get_container_host_ip()}:{redis.get_exposed_port(6379)}/0"
        yield Servers(postgres.get_connection_url(), kafka.get_bootstrap_server(), redis_url)


@pytest.fixture(scope="session")
def postgres_dsn(servers: Servers) -> str:
    return servers.postgres_dsn


@pytest.fixture(scope="session")
def kafka_bootstrap(servers: Servers) -> str:
    return servers.kafka_bootstrap


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> str:
    return servers.redis_url


@pytest.fixture
def tenant() -> UUID:
    return uuid4()


@pytest.fixture(scope="session")
def topics(kafka_bootstrap: str) -> None:
    """All topics of the contracts exist."""
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    admin = AdminClient({"bootstrap.servers": kafka_bootstrap, "log_level": 0})
    existing = admin.list_topics(timeout=10).topics
    missing = [NewTopic(t.name, t.partitions, 1, config=t.config()) for t in TOPICS.values() if t.name not in existing]
    for name, future in (admin.create_topics(missing) if missing else {}).items():
        try:
            future.result(15)
        except Exception as error:
            if "TOPIC_ALREADY_EXISTS" not in str(error):
                raise RuntimeError(f"topic {name} could not be created") from error


MakeDatabase = Callable[..., Awaitable[Database]]


@pytest.fixture
async def make_database(postgres_dsn: str) -> AsyncIterator[MakeDatabase]:
    """Make a fresh, migrated database for a service: ``await make_database(service=..., package=...)``."""
    async with AsyncExitStack() as stack:

        async def make(*, service: str, package: str, **options: Any) -> Database:
            fresh = fresh_database(postgres_dsn, service=service, package=package, **options)
            return await stack.enter_async_context(fresh)

        yield make


@asynccontextmanager
async def fresh_database(admin_dsn: str, *, service: str, package: str, **options: Any) -> AsyncIterator[Database]:
    """A database of its own, provisioned and migrated; dropped afterwards. Role passwords are all ``test``."""
    template = await _template(admin_dsn, service, package)
    name = f"t_{secrets.token_hex(6)}"
    await _admin(admin_dsn, f'CREATE DATABASE {name} TEMPLATE "{template}" STRATEGY file_copy')
    database = Database(
        service=service,
        dsn=_with_database(admin_dsn, name),
        app_password=PASSWORDS["app"],
        system_password=PASSWORDS["system"],
        **options,
    )
    try:
        yield database
    finally:
        await database.close()
        await _admin(admin_dsn, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def keep_copy(admin_dsn: str, database: Database) -> str:
    """Copy a database as it stands, for many tests to begin from; returns the copy's name. Its pools are closed."""
    copy = f"kept_{secrets.token_hex(6)}"
    await database.close()
    await _admin(admin_dsn, f"CREATE DATABASE {copy} TEMPLATE {_name_of(database)} STRATEGY file_copy")
    return copy


async def put_back(admin_dsn: str, database: Database, copy: str) -> None:
    """Make a database what it was when the copy was kept."""
    await database.close()
    name = _name_of(database)
    await _admin(
        admin_dsn, f"DROP DATABASE {name} WITH (FORCE)", f"CREATE DATABASE {name} TEMPLATE {copy} STRATEGY file_copy"
    )


def _name_of(database: Database) -> str:
    return urlsplit(database._app_dsn).path.removeprefix("/")


def _with_database(dsn: str, name: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def _admin(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(_with_database(dsn, "postgres"))
    try:
        # Copying a template needs it idle, so copies and migrations of templates take turns.
        await connection.execute("SELECT pg_advisory_lock(hashtext('test templates'))")
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _template(dsn: str, service: str, package: str) -> str:
    """The name of a migrated database of these very migrations; made the first time, copied afterwards."""
    digest = hashlib.sha256()
    for migration in migrations_of(package):
        digest.update(migration.sql.encode())
    digest.update(files("kit").joinpath("migrations.py").read_bytes())
    name = f"template_{schema_of(service)}_{digest.hexdigest()[:12]}"
    connection = await asyncpg.connect(_with_database(dsn, "postgres"))
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtext('test templates'))")
        if await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
            return name
        await connection.execute(f'CREATE DATABASE "{name}"')
        try:
            target = _with_database(dsn, name)
            await provision(target, service=service, passwords=PASSWORDS)
            owner = role_dsn(target, f"{schema_of(service)}_owner", PASSWORDS["owner"])
            await migrate(owner, service=service, package=package)
        except BaseException:
            await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            raise
        return name
    finally:
        await connection.close()


class Toy(Event):
    """An event of nobody's."""

    type: ClassVar[str] = ""

    entity: str
    number: int

    def entity_id(self) -> str:
        return self.entity


def make_topic(bootstrap: str, name: str, partitions: int = 4) -> None:
    """Create a topic and wait for it."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(15)


@dataclass
class Bench:
    """One topic with its event class, and a producer that can also send what our own code never would."""

    topic: str
    event: type[Toy]
    registry: Registry
    producer: AIOKafkaProducer
    bootstrap: str
    tenant: UUID

    def headers(self, entity: str, event_id: str | None = None, **changes: str) -> list[tuple[str, bytes]]:
        envelope = Envelope(
            id=event_id or str(uuid7()),
            type=self.event.type,
            source="/toy",
            time=datetime.now(UTC),
            tenant=self.tenant,
            subject=entity,
            partitionkey=partition_key(self.tenant, entity),
        )
        return [(n, changes.get(n, v.decode()).encode()) for n, v in envelope.to_headers()]

    async def send(self, entity: str, number: int, *, value: bytes | None = b"", **options: Any) -> None:
        headers = options.pop("headers", None) or self.headers(entity, **options)
        if value == b"":
            value = self.event(entity=entity, number=number).model_dump_json().encode()
        await self.producer.send_and_wait(
            self.topic, value, key=partition_key(self.tenant, entity).encode(), headers=headers
        )

    async def committed(self, group: str) -> int:
        """How many records the group has committed past, over all partitions; asked without joining it."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(group)
        finally:
            await admin.close()
        return sum(max(0, offset.offset) for place, offset in offsets.items() if place.topic == self.topic)


@pytest.fixture
async def bench(kafka_bootstrap: str, tenant: UUID) -> AsyncIterator[Bench]:
    name = f"toy.{secrets.token_hex(5)}"
    make_topic(kafka_bootstrap, name)
    event = type("ToyV1", (Toy,), {"type": f"{name}.v1", "__module__": __name__, "__annotations__": {}})
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    yield Bench(name, event, Registry([event]), producer, kafka_bootstrap, tenant)
    await producer.stop()


async def columns_with(tx: Transaction, needle: str) -> list[str]:
    """Every ``table.column`` of the schema that holds the text and can be read: what was to be erased is in none."""
    columns = await tx.fetch(
        "SELECT c.oid::regclass::text AS of_table, quote_ident(a.attname) AS of_column, t.typname"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid"
        " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0"
        " AND t.typname IN ('text', '_text', 'varchar', 'json', 'jsonb', 'bytea', '_bytea')"
        " AND has_column_privilege(c.oid, a.attnum, 'SELECT')"
    )
    found = []
    for row in columns:
        table, column, kind = row["of_table"], row["of_column"], row["typname"]
        text = {
            "bytea": f"encode({column}, 'escape')",
            "_bytea": f"(SELECT string_agg(encode(b, 'escape'), ' ') FROM unnest({column}) b)",  # noqa: S608
        }.get(kind, f"{column}::text")
        if await tx.fetchval(f"SELECT count(*) FROM {table} WHERE position($1 IN {text}) > 0", needle):  # noqa: S608
            found.append(f"{table.rpartition('.')[2]}.{column}")
    return found
