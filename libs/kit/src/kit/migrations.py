"""Schemas, roles and migrations: numbered plain SQL, forward only, under a lock, each applied once."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from kit.postgres import schema_of

__all__ = ["Migration", "MigrationError", "migrate", "migrations_of", "provision"]

#: Every service may index with these. Only a superuser may create them; Debian's server package brings them.
EXTENSIONS = ("btree_gin", "pg_trgm")
_FILE_NAME = re.compile(r"^\d{4}_[a-z0-9_]+\.sql$")


class MigrationError(Exception):
    """The schema cannot be brought up to date; the message says which file and why."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its name and its SQL."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


async def provision(admin_dsn: str, *, service: str, passwords: dict[str, str]) -> None:
    """Create a service's schema, its four roles and the extensions, or bring them up to date. Needs a superuser;
    idempotent.

    ``passwords`` has one entry each for ``owner``, ``app``, ``system`` and ``ro``. None of the roles is a
    superuser or may bypass row-level security; each sees its own schema only.
    """
    schema = schema_of(service)
    await _provision_roles(admin_dsn, schema, passwords)
    connection = await asyncpg.connect(admin_dsn)
    try:
        async with connection.transaction():
            # Services are provisioned side by side, and two that create one extension collide.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('extensions'))")
            for extension in EXTENSIONS:
                await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {extension} SCHEMA public")
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {schema}_owner")
            await connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {schema}_app, {schema}_system, {schema}_ro")
            # Where a replay's effects are kept apart until they are promoted. Empty but for that.
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}_shadow AUTHORIZATION {schema}_owner")
            await connection.execute(f"GRANT USAGE ON SCHEMA {schema}_shadow TO {schema}_app, {schema}_ro")
            await connection.execute(
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {schema}_owner IN SCHEMA {schema} "
                f"GRANT USAGE ON SEQUENCES TO {schema}_app, {schema}_system"
            )
    finally:
        await connection.close()


async def _provision_roles(admin_dsn: str, schema: str, passwords: dict[str, str]) -> None:
    # Roles belong to the whole cluster and advisory locks to one database, so the lock is taken in the one
    # database that every cluster has: two databases provisioned at once would otherwise collide on the roles.
    connection = await asyncpg.connect(urlunsplit(urlsplit(admin_dsn)._replace(path="/postgres")))
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('provision'))")
            for role in ("owner", "app", "system", "ro"):
                await _role(connection, f"{schema}_{role}", passwords[role])
            # A long transaction holds every relay of the cluster back, so nobody may forget one.
            for role in ("app", "system", "ro"):
                await connection.execute(f"ALTER ROLE {schema}_{role} SET idle_in_transaction_session_timeout = '15s'")
    finally:
        await connection.close()


async def _role(connection: asyncpg.Connection[asyncpg.Record], name: str, password: str) -> None:
    quoted = await connection.fetchval("SELECT quote_literal($1)", password)
    exists = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name)
    verb = "ALTER" if exists else "CREATE"
    await connection.execute(
        f"{verb} ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {quoted}"
    )
    schema = name.rpartition("_")[0]
    await connection.execute(f"ALTER ROLE {name} SET search_path = {schema}")


async def migrate(owner_dsn: str, *, service: str, package: str) -> list[str]:
    """Apply what is missing of kit's plumbing and of ``package``'s ``migrations/*.sql``; return the names applied.

    Each file runs in a transaction of its own as the schema's owner. A file that was applied and has changed
    since is refused: history is forward only. ``owner_dsn`` connects as ``<schema>_owner``.
    """
    connection = await asyncpg.connect(owner_dsn)
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtext($1))", f"migrate:{service}")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration "
            "(name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        known = {
            row["name"]: row["sha256"] for row in await connection.fetch("SELECT name, sha256 FROM schema_migration")
        }
        applied = []
        for migration in migrations_of(package):
            if migration.name in known:
                if known[migration.name] != migration.sha256:
                    raise MigrationError(
                        f"{service}: {migration.name} was changed after it was applied; "
                        "restore the file and write a new migration instead"
                    )
                continue
            await _apply(connection, service, migration)
            applied.append(migration.name)
        return applied
    finally:
        await connection.close()


def migrations_of(package: str) -> list[Migration]:
    """Kit's plumbing, then the package's own migrations in their order."""
    own = _read(files(package).joinpath("migrations"))
    for migration in own:
        if not _FILE_NAME.match(migration.name) or migration.name.startswith("0000"):
            raise MigrationError(
                f"{package}: {migration.name} is not named NNNN_what_it_does.sql with a number above 0000"
            )
    return [*_read(files("kit").joinpath("plumbing")), *own]


def _read(folder: Traversable) -> list[Migration]:
    entries = sorted(folder.iterdir(), key=lambda e: e.name) if folder.is_dir() else []
    return [Migration(e.name, e.read_text(encoding="utf-8")) for e in entries if e.name.endswith(".sql")]


async def _apply(connection: asyncpg.Connection[asyncpg.Record], service: str, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '5s'")
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migration (name, sha256) VALUES ($1, $2)", migration.name, migration.sha256
            )
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{service}: {migration.name} failed: {error}") from error
