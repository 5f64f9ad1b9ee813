"""Postgres: two pools per service, transactions that know their tenant, named queries.

A transaction that emits events takes the advisory locks of their keys before its first write. Postgres gives a
transaction its id at the first write, so for one key the order of ids is the order of commits; the relay reads in
the order of ids.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterable, Sequence, Set
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, Self
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import UUID

import asyncpg

from contracts.envelope import Envelope, partition_key
from kit.telemetry import METRICS

__all__ = [
    "SERVER_AWAY",
    "TRY_AGAIN_AT_ONCE",
    "Database",
    "KeyNotHeld",
    "Queries",
    "Transaction",
    "load_queries",
    "role_dsn",
    "schema_of",
]


#: The server, or its schema, is not there (yet): nothing is wrong with what was asked, so it is asked again later.
SERVER_AWAY = (
    OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError, asyncpg.IdleInTransactionSessionTimeoutError, asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError, asyncpg.ReadOnlySQLTransactionError, asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError,
)  # fmt: skip
_PLAN_ONCE = "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off"
TRY_AGAIN_AT_ONCE = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


def schema_of(service: str) -> str:
    """A service's schema, which is also the prefix of its roles."""
    return service.replace("-", "_")


def role_dsn(dsn: str, role: str, password: str) -> str:
    """The address with a role and its password put in; a user in ``dsn`` is replaced."""
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{quote(password, safe='')}@{host}"))


def key_lock(service: str, key: str) -> int:
    """The advisory lock of one partition key: 64 bits, since two keys that collide only wait for each other."""
    digest = hashlib.blake2b(f"{service}\x1f{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


class KeyNotHeld(RuntimeError):
    """An event was appended, or a key asked for, in a way that would lose the order of a key. A bug in the caller."""


class _Connection(asyncpg.Connection):
    """One of a pool. What a session could keep from before is forgotten in the round trip that begins the next."""

    epoch: int = 0

    def get_reset_query(self) -> str:
        return "RESET ALL"

    async def reset(self, *, timeout: float | None = None) -> None:
        if self.is_in_transaction():
            await self.execute("ROLLBACK", timeout=timeout)


# Not methods: of a connection that the pool took back in the middle, since the server had closed it, the pool refuses
# its own methods with an error that says so, and ours with an AttributeError.
async def _begin(connection: Any, *statements: str) -> None:
    """All in one round trip. What it says it does not bind: only numbers and UUIDs may come from outside."""
    await connection.execute("; ".join(filter(None, (connection.get_reset_query(), "BEGIN", *statements))))


def _locks(service: str, keys: Iterable[str]) -> list[int]:
    """The locks of keys, sorted: whoever takes several takes them in one order."""
    return sorted(key_lock(service, key) for key in keys)


def _holding(service: str, keys: Set[str]) -> str:
    """The statement that takes their locks, in words, so that it can go with others. Empty for none."""
    numbers = ",".join(map(str, _locks(service, keys)))
    return f"SELECT count(pg_advisory_xact_lock(k)) FROM unnest('{{{numbers}}}'::bigint[]) k" if keys else ""  # noqa: S608


async def _commit(connection: Any) -> None:
    if await connection.execute("COMMIT") != "COMMIT":
        # Somebody caught the error that had ended it, and the server rolls back without another word.
        raise asyncpg.InFailedSQLTransactionError("the transaction had failed before: nothing of it is stored")


async def _prepare(connection: Any) -> None:
    # A cluster cannot be replaced under a living connection, so its epoch is asked for once.
    connection.epoch = await connection.fetchval("SELECT current_epoch()")


class Transaction:
    """One open transaction. Committed by whoever opened it, never by its user."""

    def __init__(
        self, connection: Any, *, database: Database, tenant: UUID | None, held: set[str], cause: Envelope | None = None
    ) -> None:
        self._connection = connection
        self.epoch: int = connection.epoch
        self._database = database
        self._tenant = tenant
        self.cause = cause
        self.held = held
        self.emitted = False
        self._timed = database.query_seconds.time
        self.silent = False
        """Whether what is appended to the outbox is dropped: set for replays that may tell nobody."""

    @property
    def service(self) -> str:
        return self._database.service

    @property
    def tenant(self) -> UUID:
        if self._tenant is None:
            raise RuntimeError("a system transaction has no tenant")
        return self._tenant

    async def hold(self, *entity_ids: str) -> None:
        """Take the locks of the keys that this transaction will emit for. Only before its first write."""
        await self.hold_keys(partition_key(self.tenant, entity_id) for entity_id in entity_ids)

    async def hold_keys(self, keys: Iterable[str]) -> None:
        wanted = set(keys) - self.held
        if not wanted:
            return
        if self.held:
            # Locks are taken sorted, all at once; a second helping could deadlock with another transaction.
            raise KeyNotHeld("all keys of a transaction are held in one call")
        wrote = await self._connection.fetchval(
            "SELECT (SELECT count(pg_advisory_xact_lock(k)) FROM unnest($1::bigint[]) k) >= 0 "
            "AND pg_current_xact_id_if_assigned() IS NOT NULL",
            _locks(self.service, wanted),
        )
        if wrote:
            raise KeyNotHeld("keys are held before the first write of a transaction, not after")
        self.held |= wanted

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        with self._timed():
            status: str = await self._connection.execute(query, *args, timeout=timeout)
        return status

    async def executemany(self, query: str, args: Iterable[Sequence[object]]) -> None:
        with self._timed():
            await self._connection.executemany(query, args)

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> list[asyncpg.Record]:
        with self._timed():
            rows: list[asyncpg.Record] = await self._connection.fetch(query, *args, timeout=timeout)
        return rows

    async def fetchrow(self, query: str, *args: object) -> asyncpg.Record | None:
        with self._timed():
            row: asyncpg.Record | None = await self._connection.fetchrow(query, *args)
        return row

    async def fetchval(self, query: str, *args: object) -> Any:
        with self._timed():
            return await self._connection.fetchval(query, *args)

    async def copy_records_to_table(
        self, table: str, *, records: Iterable[Sequence[object]], columns: list[str]
    ) -> str:
        """COPY into a table without row-level security, for instance a temporary one."""
        status: str = await self._connection.copy_records_to_table(table, records=records, columns=columns)
        return status


class Database:
    """A service's way to its own schema: as the tenant-bound ``app`` role, or as ``system`` for plumbing.

    Made without I/O and usable at once: a server that is down raises when a transaction is opened, and the
    pools recover by themselves. Also a component: started and stopped by the service that owns it.
    """

    def __init__(
        self,
        *,
        service: str,
        dsn: str,
        app_password: str,
        system_password: str,
        app_pool: int = 10,
        system_pool: int = 3,
        connect_timeout: float = 5.0,
        command_timeout: float | None = 60.0,
    ) -> None:
        self.service = service
        self.name = "postgres"
        self.query_seconds = METRICS.query_seconds.labels(service)
        schema = schema_of(service)
        self._app_dsn = role_dsn(dsn, f"{schema}_app", app_password)
        self._system_dsn = role_dsn(dsn, f"{schema}_system", system_password)
        self._sizes = (app_pool, system_pool)
        self._timeouts = (connect_timeout, command_timeout)
        self._server_settings = {"application_name": service}
        self._app: Any = None
        self._system: Any = None
        self._opening = asyncio.Lock()
        self.doorbell = asyncio.Event()
        """Rung when a transaction of this process has committed events; the relay waits on it."""

    @classmethod
    async def connect(cls, **arguments: Any) -> Self:
        """Make a database and prove that it can be reached."""
        database = cls(**arguments)
        await database.start()
        return database

    async def start(self) -> None:
        async with self.system() as tx:
            await tx.execute("SELECT 1")

    async def stop(self) -> None:
        await self.close()

    async def close(self) -> None:
        for pool in (self._app, self._system):
            if pool is not None:
                try:
                    await asyncio.wait_for(pool.close(), 5)
                except TimeoutError:
                    pool.terminate()
        self._app = self._system = None

    def alive(self) -> str | None:
        return None

    def ready(self) -> str | None:
        return None

    def status(self) -> dict[str, object]:
        return {
            name: {"open": pool.get_size(), "idle": pool.get_idle_size()}
            for name, pool in (("app", self._app), ("system", self._system))
            if pool is not None
        }

    async def _open(self) -> None:
        async with self._opening:
            if self._app is not None:
                return
            connect, command = self._timeouts
            pools = [
                await asyncpg.create_pool(
                    dsn,
                    min_size=0,
                    max_size=size,
                    init=_prepare,
                    connection_class=_Connection,
                    timeout=connect,
                    command_timeout=command,
                    server_settings=self._server_settings,
                )
                for dsn, size in zip((self._app_dsn, self._system_dsn), self._sizes, strict=True)
            ]
            self._app, self._system = pools

    async def dedicated(self, purpose: str) -> Any:
        """A connection of its own as the system role, for session locks and LISTEN. The caller closes it."""
        return await asyncpg.connect(
            self._system_dsn,
            timeout=self._timeouts[0],
            command_timeout=self._timeouts[1],
            server_settings={"application_name": f"{self.service} {purpose}"},
        )

    @asynccontextmanager
    async def transaction(
        self, tenant: UUID, *, emits: Iterable[str] = (), cause: Envelope | None = None, plan_once: bool = False
    ) -> AsyncIterator[Transaction]:
        """Open a transaction of one tenant. ``emits`` names the entities it will append events about.

        With ``plan_once`` each statement is planned once for all arguments, as long as its connection lives or until
        the tables' statistics change, and by an index, since tables grow: for frequent transactions of few rows, which
        Postgres would take longer to plan than to run.
        """
        if self._app is None:
            await self._open()
        if not isinstance(tenant, UUID):
            raise TypeError("a tenant is a UUID")
        keys = {partition_key(tenant, entity_id) for entity_id in emits}
        async with self._app.acquire() as connection:
            planning = _PLAN_ONCE if plan_once else ""
            await _begin(connection, f"SET LOCAL app.tenant = '{tenant}'", planning, _holding(self.service, keys))
            tx = Transaction(connection, database=self, tenant=tenant, held=keys, cause=cause)
            yield tx
            await _commit(connection)
        if tx.emitted:
            self.doorbell.set()

    @asynccontextmanager
    async def system(self, *, emits: Iterable[tuple[UUID, str]] = ()) -> AsyncIterator[Transaction]:
        """Open a transaction as the system role: plumbing tables only, of every tenant."""
        if self._system is None:
            await self._open()
        keys = {partition_key(tenant, entity_id) for tenant, entity_id in emits}
        async with self._system.acquire() as connection:
            await _begin(connection, _holding(self.service, keys))
            tx = Transaction(connection, database=self, tenant=None, held=keys)
            yield tx
            await _commit(connection)
        if tx.emitted:
            self.doorbell.set()


class Queries:
    """The named queries of a ``queries.sql`` as attributes."""

    def __init__(self, queries: dict[str, str]) -> None:
        self._queries = queries

    def __getattr__(self, name: str) -> str:
        try:
            return self._queries[name]
        except KeyError:
            raise AttributeError(f"queries.sql has no query named {name}") from None

    def __iter__(self) -> Any:
        return iter(self._queries.items())


def load_queries(package: str, file: str = "queries.sql") -> Queries:
    """Read a package's named queries: ``-- name: find_call``, a line that describes it, then the SQL."""
    text = files(package).joinpath(file).read_text(encoding="utf-8")
    queries: dict[str, str] = {}
    for block in re.split(r"^-- name: *", text, flags=re.MULTILINE)[1:]:
        name, _, sql = block.partition("\n")
        if name.strip() in queries:
            raise ValueError(f"{package}: the query {name.strip()} is named twice")
        queries[name.strip()] = sql.strip()
    return Queries(queries)
