"""The archive is signed on a clock, tenant by tenant; one that must not be signed holds up no other."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from kit.testing import eventually
from vault_importer import store
from vault_importer.accounts import Account
from vault_importer.audit_store import append_audit
from vault_importer.checkpoint_store import StoredCheckpoint, newest_checkpoint
from vault_importer.checkpoints import tenant_signer
from vault_importer.seal import Sealing, seal_all
from vault_importer.settings import Settings
from vault_importer.signed_note import Signer, cosigned_at, is_signed, new_signer, parse_note
from vault_importer.wiring import build

SIGNER = Signer("vault.example.in", bytes(range(32)))
NOW = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)


@pytest.mark.real
async def test_every_tenant_is_signed_and_one_that_is_refused_holds_up_no_other(vault: Any) -> None:
    database = vault.database
    tenants = sorted([vault.tenant, uuid4(), uuid4()])
    for tenant in tenants:
        async with database.transaction(tenant) as tx:
            if tenant != vault.tenant:
                other = Account(tenant_id=tenant, id=uuid4(), name="Other", number=None, sealed_key=None)
                await store.put_account(tx, other)
            await append_audit(tx, "account.stored", at=NOW)

    async def signed() -> list[int]:
        found = []
        for tenant in tenants:
            async with database.transaction(tenant) as tx:
                newest = await newest_checkpoint(tx)
                found.append(newest.sequence if newest else 0)
        return found

    await seal_all(database, Sealing(signer=SIGNER), lambda: NOW)
    assert await signed() == [1, 1, 1]
    await seal_all(database, Sealing(signer=SIGNER), lambda: NOW)
    assert await signed() == [1, 1, 1]
    for tenant in tenants[1:]:
        async with database.transaction(tenant) as tx:
            await append_audit(tx, "account.stored", at=NOW)
    async with database.transaction(tenants[0]) as tx:
        # The first tenant's log says that it was signed in the future.
        await append_audit(tx, "account.stored", at=NOW)
        await tx.execute(
            "INSERT INTO ledger_checkpoint SELECT tenant_id, 2, size, at + interval '1 day', note, proof"
            " FROM ledger_checkpoint"
        )
    await seal_all(database, Sealing(signer=SIGNER), lambda: NOW)
    assert await signed() == [2, 2, 2]
    await seal_all(database, Sealing(signer=new_signer("vault.example.in")), lambda: NOW)
    assert await signed() == [2, 2, 2]
    async with database.transaction(tenants[0]) as tx:
        assert await tx.fetchval("SELECT max(size) FROM ledger_checkpoint") == 1


@pytest.mark.parametrize(("key", "there"), [("", False), (str(SIGNER), True)])
def test_the_service_signs_on_a_clock_when_it_has_a_key(key: str, there: bool) -> None:
    settings = Settings.load({"TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY": key, "TRUNKLINE_DEMO": "true"})
    names = [component.name for component in build(settings).components]
    assert ("checkpoints" in names) is there


@pytest.fixture
async def service(vault: Any, postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Any]:
    """The vault as a process of its own, which signs every tenth of a second. It has no Kafka: signing needs none."""
    name = (await vault.rows("SELECT current_database() AS name"))[0]["name"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "TRUNKLINE_DEMO": "true",
        "TRUNKLINE_POSTGRES_DSN": postgres_dsn.rsplit("/", 1)[0] + f"/{name}",
        "TRUNKLINE_KAFKA_BOOTSTRAP": "127.0.0.1:9",
        "TRUNKLINE_VAULT_IMPORTER_APP_PASSWORD": "test",
        "TRUNKLINE_VAULT_IMPORTER_SYSTEM_PASSWORD": "test",
        "TRUNKLINE_VAULT_IMPORTER_HTTP_PORT": str(port),
        "TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY": str(SIGNER),
        "TRUNKLINE_VAULT_IMPORTER_CHECKPOINT_SECONDS": "0.1",
    }
    with (tmp_path / "service.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "vault_importer", env=environment, stdout=output, stderr=output
        )
    yield process
    if process.returncode is None:
        process.kill()
    await process.wait()


@pytest.mark.real
async def test_a_running_service_signs_what_came_by_itself_again_and_again(vault: Any, service: Any) -> None:
    """Nobody imports and nobody asks: an audit record came, and later another."""

    async def newest() -> StoredCheckpoint | None:
        async with vault.database.transaction(vault.tenant) as tx:
            return await newest_checkpoint(tx)

    key = tenant_signer(SIGNER, vault.tenant).verifier
    for sequence in (1, 2):
        async with vault.database.transaction(vault.tenant) as tx:
            await append_audit(tx, "account.stored", at=NOW)

        async def signed(sequence: int = sequence) -> bool:
            assert service.returncode is None
            found = await newest()
            return found is not None and found.sequence == sequence

        await eventually(signed, within=120)
        made = await newest()
        assert made is not None
        assert made.size == sequence
        note = parse_note(made.note)
        assert is_signed(note, key)
        assert cosigned_at(note, key) == made.at
