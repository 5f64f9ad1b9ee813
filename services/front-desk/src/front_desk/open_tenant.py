"""Open a tenant for a business, and let its programs and people in."""

from __future__ import annotations

import asyncio
from typing import Literal
from uuid import UUID

import asyncpg

from front_desk import access_store, store
from front_desk.credentials import ApiKey, Role, hash_password, new_api_key, password_problem
from front_desk.directory import Invalid, Problem, Tenant, normal_email
from front_desk.keep_directory import Kept, NoSuchEntity, keep
from front_desk.kinds import KINDS, Stored
from kit.ids import uuid7
from kit.postgres import Database

__all__ = ["EmailTaken", "SlugChanged", "add_api_key", "add_user", "disable_user", "open_tenant", "replace_tenant"]


class EmailTaken(Exception):
    """A user of another tenant signs in with this address."""


class SlugChanged(Exception):
    """A tenant keeps its slug for life: programs and files name it by it."""


async def open_tenant(database: Database, tenant: Tenant) -> tuple[UUID, Literal["created", "unchanged"]]:
    """Create a tenant; the one that has this slug already is left as it is."""
    known = await store.find_tenant(database, tenant.slug)
    if known is None:
        made = uuid7()
        try:
            await keep(database, made, KINDS["tenant"], tenant)
        except asyncpg.UniqueViolationError:
            # Somebody else opened it in between.
            known = await store.find_tenant(database, tenant.slug)
        else:
            return made, "created"
    if known is None:
        raise NoSuchEntity
    return known, "unchanged"


async def replace_tenant(database: Database, tenant_id: UUID, tenant: Tenant) -> Kept:
    """Change a tenant's fields. Raises :class:`NoSuchEntity` and :class:`SlugChanged`."""
    stored = await _existing(database, tenant_id)
    if stored.body["slug"] != tenant.slug:
        raise SlugChanged
    return await keep(database, tenant_id, KINDS["tenant"], tenant)


async def add_api_key(database: Database, tenant_id: UUID, label: str) -> ApiKey:
    """A new key for a tenant. Raises :class:`NoSuchEntity`."""
    await _existing(database, tenant_id)
    key = new_api_key()
    await access_store.add_api_key(database, tenant_id, key, label)
    return key


async def add_user(
    database: Database, tenant_id: UUID, email: str, password: str, role: Role, name: str = ""
) -> tuple[UUID, bool]:
    """Create a user, or give one a new password and role; the id and whether it is new.

    Raises :class:`NoSuchEntity`, :class:`EmailTaken` and ``Invalid``.
    """
    await _existing(database, tenant_id)
    try:
        address = normal_email(email)
    except ValueError as error:
        raise Invalid([Problem(field="email", sentence=str(error))]) from None
    problem = password_problem(password)
    if problem is not None:
        raise Invalid([Problem(field="password", sentence=problem)])
    password_hash = await asyncio.to_thread(hash_password, password)
    kept = await access_store.keep_user(database, tenant_id, uuid7(), address, password_hash, role, name.strip())
    if kept is None:
        raise EmailTaken
    return kept


async def disable_user(database: Database, tenant_id: UUID, email: str) -> UUID:
    """Let a user in no more; what they have claimed is given back. Raises :class:`NoSuchEntity`."""
    found = await access_store.disable_user(database, tenant_id, email.strip().lower())
    if found is None:
        raise NoSuchEntity
    return found


async def _existing(database: Database, tenant_id: UUID) -> Stored:
    async with database.transaction(tenant_id) as tx:
        found = await store.find(tx, KINDS["tenant"], [str(tenant_id)])
    if not found:
        raise NoSuchEntity
    return found[0]
