"""What the database refuses to whoever has the service's password, and to the owner of its tables as well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kit.postgres import role_dsn
from kit.testing import keep_copy, put_back
from vault_importer.media_files import MediaFolders

pytestmark = pytest.mark.real

EDIT = "UPDATE message SET text_data = 'Something else' WHERE _id = 750"
OWN = "(SELECT id FROM message WHERE key_id = 'GROUPMSG99999')"
KEPT = (
    "INSERT INTO message_revision SELECT tenant_id, id, revision, key_id, kind, raw_kind, {text}, revoked, edited_at,"
    " details, import_id, import_id, now() FROM message WHERE id = " + OWN
)

Superuser = Callable[..., Awaitable[None]]


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """The filled vault of this module, once it was made."""
    return {}


@pytest.fixture
async def filled(vault: Any, stores: Any, kept: dict[str, Any], postgres_dsn: str, tmp_path: Path) -> Any:
    """A vault with something in every table that is guarded."""
    if kept:
        vault.account = kept["account"]
        await put_back(postgres_dsn, vault.database, kept["copy"])
        return vault
    folder = tmp_path / "phone" / "Media" / "WhatsApp Images"
    folder.mkdir(parents=True)
    (folder / "IMG-1.jpg").write_bytes(b"a picture of a bill")
    media = MediaFolders(phone=tmp_path / "phone", store=tmp_path / "store", largest_bytes=1000)
    await vault.import_(stores.beside(), media=media)
    kept.update(account=vault.account, copy=await keep_copy(postgres_dsn, vault.database))
    return vault


@pytest.fixture
async def owner(filled: Any) -> AsyncIterator[Any]:
    """The owner of the tables, at work on this tenant."""
    connection = await asyncpg.connect(role_dsn(filled.database._app_dsn, "vault_importer_owner", "test"))
    try:
        await connection.execute(f"SET search_path = vault_importer; SET app.tenant = '{filled.tenant}'")
        yield connection
    finally:
        await connection.close()


async def refused(vault: Any, *statements: str, match: str = "") -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=match):
        async with vault.database.transaction(vault.tenant) as tx:
            for statement in statements:
                await tx.execute(statement)


# Wordings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "text = 'Never said'",
        "key_id = 'K'",
        "edited_at = now()",
        "import_id = gen_random_uuid()",
        "revision = revision + 1",
        "revision = revision + 2, text = 'Never said'",
        "revision = revision + 1, text = 'Never said'",
        "revision = revision + 1, key_id = 'K', revoked = true",
        # Who, when and where are no part of a wording: they never change.
        "sender_id = gen_random_uuid()",
        "revision = revision + 1, sender_id = gen_random_uuid()",
        "revision = revision + 1, sent_at = sent_at + interval '1 second'",
        "revision = revision + 1, chat_id = gen_random_uuid()",
        "revision = revision + 1, from_me = NOT from_me",
    ],
)
async def test_a_wording_is_not_changed_without_the_earlier_one_beside_it(filled: Any, change: str) -> None:
    await refused(filled, f"UPDATE message SET {change} WHERE id = {OWN}", match="wording is never changed")


async def test_what_is_put_aside_is_the_earlier_wording(filled: Any) -> None:
    change = f"UPDATE message SET text = 'Never said', revision = revision + 1 WHERE id = {OWN}"
    await refused(filled, KEPT.format(text="'Something invented'"), change, match="put the earlier one aside")
    async with filled.database.transaction(filled.tenant) as tx:
        await tx.execute(KEPT.format(text="text"))
        await tx.execute(change)


async def test_a_fixed_column_does_not_change_with_the_earlier_wording_beside_it(filled: Any) -> None:
    change = f"UPDATE message SET sender_id = gen_random_uuid(), revision = revision + 1 WHERE id = {OWN}"
    await refused(filled, KEPT.format(text="text"), change, match="wording is never changed")


async def test_an_import_changes_a_wording_and_keeps_the_earlier_one(filled: Any, stores: Any) -> None:
    run = await filled.import_(stores.encrypted(EDIT))
    assert run.messages_changed == 1
    assert len(await filled.rows("SELECT FROM message_revision")) == 1


# What is deleted by nobody but an erasure -----------------------------------------------------------------------

GUARDED = ("contact", "chat", "import_run", "jid_alias", "media_file", "message_media_file", "ledger_opening")
NEVER_CHANGED = ("jid_alias", "media_file", "message_media_file", "ledger_opening")


@pytest.mark.parametrize("table", GUARDED)
async def test_the_service_deletes_nothing_of_the_archive(filled: Any, table: str) -> None:
    await refused(filled, f"DELETE FROM {table}", match="permission denied")
    await refused(filled, f"TRUNCATE {table} CASCADE", match="permission denied")
    if table in NEVER_CHANGED:
        await refused(filled, f"UPDATE {table} SET tenant_id = tenant_id", match="permission denied")


@pytest.mark.parametrize("table", GUARDED)
async def test_the_superuser_is_refused_too(filled: Any, postgres_dsn: str, table: str) -> None:
    name = (await filled.rows("SELECT current_database() AS name"))[0]["name"]
    connection = await asyncpg.connect(postgres_dsn.rsplit("/", 1)[0] + f"/{name}")
    statements = [f"DELETE FROM vault_importer.{table}", f"TRUNCATE vault_importer.{table} CASCADE"]
    if table in NEVER_CHANGED:
        statements.append(f"UPDATE vault_importer.{table} SET tenant_id = tenant_id")
    try:
        for statement in statements:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("table", [each for each in GUARDED if each != "import_run"])
async def test_the_owner_is_refused_without_an_erasure_at_work(owner: Any, table: str) -> None:
    for erasing in ("", "00000000-0000-0000-0000-000000000001"):
        await owner.execute(f"SET app.erasing = '{erasing}'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await owner.execute(f"DELETE FROM {table}")


async def test_what_came_of_an_import_stands(filled: Any) -> None:
    await refused(filled, "UPDATE import_run SET file_sha256 = repeat('0', 64)", match="append-only")
