"""Stores made from the fixture, and a vault in a database of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from kit.postgres import Database
from vault_importer import store
from vault_importer.accounts import Account
from vault_importer.api import make_api
from vault_importer.archive import Chat, Staged
from vault_importer.formats.base import SourceChat
from vault_importer.import_backup import ImportJob, import_backup
from vault_importer.index_messages import index_tenant
from vault_importer.ledger_store import append_wordings, leaves_about
from vault_importer.samples import encrypt
from vault_importer.store import ImportRun

FIXTURES = Path(__file__).parents[3] / "tests" / "fixtures" / "whatsapp"
BESIDE = Path(__file__).parent / "stores" / "beside.sql"
ROOT_KEY = bytes(range(32))


@dataclass
class Stores:
    """Makes plain and encrypted stores of the fixture, with changes."""

    folder: Path

    def plain(self, *changes: str, name: str = "msgstore.db", script: str = "msgstore.sql") -> Path:
        path = self.folder / name
        path.unlink(missing_ok=True)
        connection = sqlite3.connect(path)
        connection.executescript((FIXTURES / script).read_text(encoding="utf-8"))
        for change in changes:
            connection.execute(change)
        connection.commit()
        connection.close()
        return path

    def beside(self, *changes: str, name: str = "msgstore.db") -> Path:
        """The fixture with rows in the tables beside its messages."""
        path = self.plain(name=name)
        connection = sqlite3.connect(path)
        connection.executescript(BESIDE.read_text(encoding="utf-8"))
        for change in changes:
            connection.execute(change)
        connection.commit()
        connection.close()
        return path

    def legacy(self, *changes: str, name: str = "msgstore.db") -> Path:
        """A store in the schema of before 2022."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        connection = sqlite3.connect(path)
        connection.executescript((BESIDE.parent / "legacy.sql").read_text(encoding="utf-8"))
        for change in changes:
            connection.execute(change)
        connection.commit()
        connection.close()
        return path

    def encrypted(self, *changes: str, name: str = "msgstore.db.crypt15", **options: Any) -> Path:
        path = self.folder / name
        encrypt(self.plain(*changes), path, backup_key=ROOT_KEY, **options)
        return path


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return Stores(tmp_path)


@dataclass
class Vault:
    """A vault with one account, as its own service sees it."""

    database: Database
    account: Account
    temporary: Path

    @property
    def tenant(self) -> UUID:
        return self.account.tenant_id

    async def import_(self, path: Path, *, backup_key: bytes | None = ROOT_KEY, **options: Any) -> ImportRun:
        job = ImportJob(
            database=self.database,
            account=self.account,
            path=path,
            backup_key=backup_key,
            temporary=self.temporary,
            **options,
        )
        return await import_backup(job)

    async def rows(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        async with self.database.transaction(self.tenant) as tx:
            return [dict(row) for row in await tx.fetch(query, *arguments)]

    async def events(self, topic: str) -> list[str]:
        """Payloads in the order in which they were appended."""
        async with self.database.system() as tx:
            rows = await tx.fetch("SELECT payload FROM outbox WHERE aggregatetype = $1 ORDER BY xid, seq", topic)
        return [row["payload"] for row in rows]


@pytest.fixture
async def vault(make_database: Callable[..., Awaitable[Database]], tmp_path: Path) -> Vault:
    database = await make_database(service="vault-importer", package="vault_importer")
    account = Account(tenant_id=uuid4(), id=uuid4(), name="Kochi office", number="+919847000001", sealed_key=None)
    async with database.transaction(account.tenant_id) as tx:
        await store.put_account(tx, account)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    return Vault(database=database, account=account, temporary=temporary)


@pytest.fixture
def superuser(vault: Vault, postgres_dsn: str) -> Callable[..., Awaitable[None]]:
    """Runs statements as the server's owner, with every guard switched off."""

    async def run(*statements: str) -> None:
        name = (await vault.rows("SELECT current_database() AS name"))[0]["name"]
        connection = await asyncpg.connect(postgres_dsn.rsplit("/", 1)[0] + f"/{name}")
        try:
            await connection.execute("SET session_replication_role = replica; SET search_path = vault_importer")
            for statement in statements:
                assert not (await connection.execute(statement)).endswith(" 0"), "the statement touches nothing"
        finally:
            await connection.close()

    return run


@pytest.fixture
def destroy_openings(vault: Vault, superuser: Callable[..., Awaitable[None]]) -> Callable[[UUID], Awaitable[int]]:
    """Destroys what opens the leaves of a message; how many there were."""

    async def destroy(message_id: UUID) -> int:
        async with vault.database.transaction(vault.tenant) as tx:
            leaves = (await leaves_about(tx, [message_id]))[message_id]
        for leaf in leaves:
            await superuser(
                "UPDATE ledger_opening SET openings = overlay(openings PLACING decode(repeat('00', 32), 'hex')"
                f" FROM ({leaf} - first_leaf)::integer * 32 + 1 FOR 32)"
                f" WHERE first_leaf = (SELECT max(first_leaf) FROM ledger_opening WHERE first_leaf <= {leaf})"
            )
        return len(leaves)

    return destroy


BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Archive:
    """A vault that is told what was said, and asked for it over HTTP."""

    def __init__(self, vault: Any) -> None:
        self.vault = vault
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=make_api(vault.database, "t0ken")),
            base_url="http://vault",
            headers={"Authorization": "Bearer t0ken", "X-Tenant": str(vault.tenant)},
        )
        self.minute = 0

    async def say(self, *texts: str, chat: str = "919847000010@s.whatsapp.net", **different: Any) -> list[UUID]:
        """Messages a minute apart, in one import of their own."""
        import_id = uuid4()
        async with self.vault.database.transaction(self.vault.tenant) as tx:
            person = (uuid4(), chat, f"+{chat.partition('@')[0]}", "Kottakkal Traders", 3)
            await store.merge_contacts(tx, [person], import_id=import_id)
            people = await store.people(tx, [chat])
            source = SourceChat(jid=chat, kind="direct", name="")
            await store.merge_chats(
                tx, [(uuid4(), source, people[chat])], account_id=self.vault.account.id, import_id=import_id
            )
            found = (await store.chats(tx, self.vault.account.id, people, [chat]))[chat]
            staged = [self._staged(at, text, found, different) for at, text in enumerate(texts)]
            written = await store.merge_messages(tx, staged, import_id=import_id, at=BEGAN)
            await append_wordings(tx, staged, written, import_id=import_id, at=BEGAN)
        return [row.id for row in staged]

    def _staged(self, at: int, text: str, chat: Chat, different: dict[str, Any]) -> Staged:
        self.minute += 1
        values: dict[str, Any] = {
            "n": at, "id": uuid4(), "chat_id": chat.id, "from_me": False, "key_id": "K", "sender_id": chat.peer.id,
            "sent_at": BEGAN + timedelta(minutes=self.minute), "kind": "text", "raw_kind": 0, "text": text,
            "revoked": False, "edited_at": None, "wording_rank": 0, "forward_score": 0, "details": None,
            "chat": chat, "sender": chat.peer, "other_keys": (), "row": at,
        }  # fmt: skip
        return Staged(**{**values, **different})

    async def index(self) -> None:
        await index_tenant(self.vault.database, self.vault.tenant)

    async def ask(self, q: str, **params: Any) -> dict[str, Any]:
        answer = await self.client.get("/v1/search", params={"q": q, **params})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def texts(self, q: str, **params: Any) -> list[str]:
        return [each["snippet"] for each in (await self.ask(q, **params))["results"]]


@pytest.fixture
async def archive(vault: Any) -> AsyncIterator[Archive]:
    archive = Archive(vault)
    yield archive
    await archive.client.aclose()
