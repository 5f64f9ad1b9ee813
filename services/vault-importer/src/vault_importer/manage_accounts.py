"""Adds accounts and finds them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from identifiers.phone import to_e164
from kit.ids import uuid7
from kit.postgres import Database
from vault_importer import store
from vault_importer.accounts import Account, seal_key
from vault_importer.audit_store import append_audit

__all__ = ["InvalidNumber", "add_account", "find_account", "list_accounts"]


class InvalidNumber(ValueError):
    """The number of an account is not a telephone number."""


async def add_account(
    database: Database,
    *,
    tenant_id: UUID,
    name: str,
    number: str | None,
    backup_key: bytes | None,
    sealing_key: bytes | None,
    now: datetime,
) -> Account:
    """Add an account; one of the same name keeps its id and takes the number and the key that are given."""
    e164 = to_e164(number) if number else None
    if number and e164 is None:
        raise InvalidNumber("The number is not a telephone number; write it with its country code.")
    async with database.transaction(tenant_id) as tx:
        account_id = await store.account_id_by_name(tx, name) or uuid7()
        sealed = None
        if backup_key is not None and sealing_key is not None:
            sealed = seal_key(backup_key, sealing_key=sealing_key, tenant_id=tenant_id, account_id=account_id)
        account = Account(tenant_id=tenant_id, id=account_id, name=name, number=e164, sealed_key=sealed)
        await store.put_account(tx, account)
        await append_audit(
            tx, "account.stored", at=now, account_id=account_id, details={"with_key": sealed is not None}
        )
    return account


async def find_account(database: Database, account_id: UUID) -> Account | None:
    async with database.system() as tx:
        return await store.find_account(tx, account_id)


async def list_accounts(database: Database) -> list[Account]:
    async with database.system() as tx:
        return await store.all_accounts(tx)
