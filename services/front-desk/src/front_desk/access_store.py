"""Keys, users, sessions and failed sign-ins in Postgres. Whoever is not known yet is looked up as the system role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from front_desk.credentials import ApiKey, Role
from kit.postgres import Database, load_queries

__all__ = ["KeyFound", "Session", "User"]

Q = load_queries("front_desk")


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyFound:
    tenant: UUID
    label: str
    secret_sha256: bytes
    valid: bool
    stale: bool
    """Its last use was noted more than five minutes ago."""


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    tenant: UUID
    user_id: UUID
    password_hash: str
    role: Role


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A signed-in browser. The only place a page takes its tenant from."""

    tenant: UUID
    user_id: UUID
    csrf: str
    expires_at: datetime
    email: str
    role: Role
    tenant_name: str
    timezone: str
    user_name: str = ""
    unlocked_until: datetime | None = None

    @property
    def shown_name(self) -> str:
        """What colleagues see them called."""
        return self.user_name or self.email.partition("@")[0]

    def unlocked(self, now: datetime) -> bool:
        """Whether its user has given the password again, a short while ago."""
        return self.unlocked_until is not None and now < self.unlocked_until


async def add_api_key(database: Database, tenant: UUID, key: ApiKey, label: str) -> None:
    async with database.transaction(tenant) as tx:
        await tx.execute(Q.add_api_key, tenant, key.key_id, label, key.secret_sha256)


async def list_api_keys(database: Database, tenant: UUID) -> list[dict[str, Any]]:
    async with database.transaction(tenant) as tx:
        return [dict(row) for row in await tx.fetch(Q.list_api_keys)]


async def revoke_api_key(database: Database, tenant: UUID, key_id: str) -> bool:
    async with database.transaction(tenant) as tx:
        return await tx.fetchval(Q.revoke_api_key, key_id) is not None


async def find_api_key(database: Database, key_id: str) -> KeyFound | None:
    async with database.system() as tx:
        row = await tx.fetchrow(Q.find_api_key, key_id)
    if row is None:
        return None
    return KeyFound(
        tenant=row["tenant_id"], label=row["label"], secret_sha256=row["secret_sha256"], valid=row["valid"],
        stale=row["stale"],
    )  # fmt: skip


async def touch_api_key(database: Database, key_id: str) -> None:
    async with database.system() as tx:
        await tx.execute(Q.touch_api_key, key_id)


async def keep_user(
    database: Database, tenant: UUID, user_id: UUID, email: str, password_hash: str, role: Role, name: str = ""
) -> tuple[UUID, bool] | None:
    """Create a user, or give this tenant's user a new password and role and sign them out everywhere.

    Answers the id and whether it is new; nothing when the address belongs to a user of another tenant.
    """
    async with database.transaction(tenant) as tx:
        made = await tx.fetchval(Q.add_user, tenant, user_id, email, password_hash, role, name)
        if made is not None:
            return made, True
        known = await tx.fetchval(Q.update_user, email, password_hash, role, name)
        if known is None:
            return None
        await tx.execute(Q.end_sessions, known)
        return known, False


async def disable_user(database: Database, tenant: UUID, email: str) -> UUID | None:
    """Sign a user of this tenant out everywhere and let them in no more; nothing when there is none."""
    async with database.transaction(tenant) as tx:
        found: UUID | None = await tx.fetchval(Q.disable_user, email)
        if found is not None:
            await tx.execute(Q.end_sessions, found)
    return found


async def users_with_claims(database: Database) -> list[tuple[UUID, UUID]]:
    """(tenant, user) of those who are disabled and whose claims have not been given back yet."""
    async with database.system() as tx:
        return [(row["tenant_id"], row["user_id"]) for row in await tx.fetch(Q.users_with_claims)]


async def claims_released(database: Database, tenant: UUID, user_id: UUID) -> None:
    async with database.system() as tx:
        await tx.execute(Q.claims_released, tenant, user_id)


async def find_tenant_user(database: Database, tenant: UUID, email: str) -> User | None:
    async with database.transaction(tenant) as tx:
        row = await tx.fetchrow(Q.find_tenant_user, email)
    if row is None:
        return None
    return User(tenant=tenant, user_id=row["user_id"], password_hash=row["password_hash"], role=row["role"])


async def find_user(database: Database, email: str) -> User | None:
    async with database.system() as tx:
        row = await tx.fetchrow(Q.find_user, email)
    if row is None:
        return None
    return User(tenant=row["tenant_id"], user_id=row["user_id"], password_hash=row["password_hash"], role=row["role"])


async def rehash_user(database: Database, user: User, password_hash: str) -> None:
    async with database.transaction(user.tenant) as tx:
        await tx.execute(Q.rehash_user, user.user_id, password_hash)


async def add_session(database: Database, user: User, *, token_sha256: bytes, csrf: str, expires_at: datetime) -> None:
    async with database.transaction(user.tenant) as tx:
        await tx.execute(Q.add_session, user.tenant, token_sha256, user.user_id, csrf, expires_at)


async def find_session(database: Database, token_sha256: bytes, now: datetime) -> Session | None:
    async with database.system() as tx:
        row = await tx.fetchrow(Q.find_session, token_sha256, now)
    if row is None:
        return None
    return Session(
        tenant=row["tenant_id"],
        user_id=row["user_id"],
        csrf=row["csrf"],
        expires_at=row["expires_at"],
        email=row["email"],
        role=row["role"],
        tenant_name=row["tenant_name"],
        timezone=row["timezone"],
        user_name=row["user_name"],
        unlocked_until=row["unlocked_until"],
    )


async def unlock_session(database: Database, token_sha256: bytes, until: datetime | None) -> None:
    async with database.system() as tx:
        await tx.execute(Q.unlock_session, token_sha256, until)


async def end_session(database: Database, token_sha256: bytes) -> None:
    async with database.system() as tx:
        await tx.execute(Q.end_session, token_sha256)


async def failures_of(database: Database, subjects: Sequence[bytes], now: datetime) -> dict[bytes, int]:
    async with database.system() as tx:
        rows = await tx.fetch(Q.failures_of, list(subjects), now)
    return {row["subject_sha256"]: row["failures"] for row in rows}


async def count_failure(database: Database, subjects: Sequence[bytes], now: datetime, window_ends_at: datetime) -> None:
    async with database.system() as tx:
        await tx.execute(Q.count_failure, list(subjects), now, window_ends_at)


async def forget_failures(database: Database, subjects: Sequence[bytes]) -> None:
    async with database.system() as tx:
        await tx.execute(Q.forget_failures, list(subjects))


async def sweep(database: Database, now: datetime) -> None:
    """Forget sessions and windows that are over."""
    async with database.system() as tx:
        await tx.execute(Q.sweep_sessions, now)
        await tx.execute(Q.sweep_failures, now)
