"""A vault with a person in every table, and the steps of an erasure in one line each."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from contracts.erasure import ErasedRows, ErasureReceiptV1, SubjectErasedV1
from vault_importer.erasure import decide, store
from vault_importer.erasure.case import Case, Ground, Scope, SuppressionKey
from vault_importer.erasure.receipts import ANSWERING, on_receipt
from vault_importer.erasure.run import Erasing, carry_out
from vault_importer.index_messages import index_tenant
from vault_importer.links.follow import link_tenant
from vault_importer.media_files import MediaFolders
from vault_importer.seal import Sealing
from vault_importer.signed_note import Signer

NUMBER, ADDRESS = "+919847000010", "919847000010@s.whatsapp.net"
KEY = SuppressionKey.of(bytes(range(32)))
SEALING = Sealing(signer=Signer("vault.example.in", bytes(range(32))))
OWN_FILE, SHARED_FILE = b"a picture of the person" * 100, b"a picture that many have" * 100

#: Beside what stands in `stores/beside.sql`: a conversation with the person, what they wrote in a group, an answer that
#: quotes them, a card and a notice that name them, and files.
PERSON = f"""
INSERT INTO chat (_id, jid_row_id) VALUES (160, 300);
INSERT INTO message (_id, chat_row_id, from_me, key_id, sender_jid_row_id, timestamp, message_type, text_data) VALUES
    (9001, 160, 0, 'D1', 0, 1700000101000, 0, 'My number is +91 98470 00010 and my word is xylophone'),
    (9002, 160, 1, 'D2', 0, 1700000102000, 0, 'Thank you, the cement is on its way'),
    (9003, 19, 0, 'G1', 300, 1700000103000, 0, 'I take forty bags of cement'),
    (9004, 19, 0, 'G2', 301, 1700000104000, 0, 'So do I'),
    (9005, 19, 0, 'G3', 301, 1700000105000, 4, 'waid=919847000010'),
    (9006, 19, 1, 'G4', 300, 1700000106000, 7, NULL),
    (9007, 19, 0, 'G5', 301, 1700000107000, 0, 'Call 9847000010 for cement'),
    (9008, 160, 0, 'D3', 0, 1700000108000, 1, NULL),
    (9009, 160, 0, 'D4', 0, 1700000109000, 1, NULL),
    (9010, 19, 0, 'G6', 301, 1700000110000, 1, NULL),
    (9011, 19, 0, 'G7', 301, 1700000111000, 7, NULL);
INSERT INTO message_quoted (message_row_id, chat_row_id, parent_message_chat_row_id, from_me, sender_jid_row_id,
    key_id, timestamp, message_type, text_data) VALUES
    (9004, 19, 19, 0, 300, 'G1', 1700000103000, 0, 'I take forty bags of cement');
INSERT INTO message_vcard VALUES (30, 9005, 'BEGIN:VCARD TEL;waid=919847000010:+91 98470 00010');
INSERT INTO message_system VALUES (9006, 12), (9011, 12);
INSERT INTO message_system_chat_participant VALUES (9006, 300), (9011, 300);
INSERT INTO message_media (message_row_id, file_path, file_size, mime_type, file_hash) VALUES
    (9008, 'Media/own.jpg', 1, 'image/jpeg', '{base64.b64encode(hashlib.sha256(OWN_FILE).digest()).decode()}'),
    (9009, 'Media/shared.jpg', 1, 'image/jpeg', '{base64.b64encode(hashlib.sha256(SHARED_FILE).digest()).decode()}'),
    (9010, 'Media/shared.jpg', 1, 'image/jpeg', '{base64.b64encode(hashlib.sha256(SHARED_FILE).digest()).decode()}');
"""


@dataclass
class Forgetting:
    """A vault into which the person was imported, and what is done to it."""

    vault: Any
    stores: Any
    folder: Path

    @property
    def erasing(self) -> Erasing:
        return Erasing(
            database=self.vault.database,
            key=KEY,
            media_store=self.folder / "media",
            backups=self.folder / "watched",
            sealing=SEALING,
        )

    def backup(self, *changes: str, name: str = "msgstore.db") -> Path:
        path: Path = self.stores.beside(*(each for each in PERSON.split(";\n") if each.strip()), *changes, name=name)
        return path

    async def import_(self, *changes: str, name: str = "msgstore.db", **options: Any) -> Any:
        phone = self.folder / "phone"
        (phone / "Media").mkdir(parents=True, exist_ok=True)
        (phone / "Media" / "own.jpg").write_bytes(OWN_FILE)
        (phone / "Media" / "shared.jpg").write_bytes(SHARED_FILE)
        media = MediaFolders(phone=phone, store=self.folder / "media", largest_bytes=1_000_000)
        options = {"suppression_key": KEY, "sealing": SEALING, "media": media, **options}
        run = await self.vault.import_(self.backup(*changes, name=name), backup_key=None, **options)
        await index_tenant(self.vault.database, self.vault.tenant)
        await link_tenant(self.vault.database, self.vault.tenant)
        return run

    async def ask(self, *, scope: Scope = "person", ground: Ground = "request", **named: Any) -> Case:
        who = decide.who_of(**(named or {"numbers": [NUMBER], "emails": ["Accounts@Example.in"]}))
        asked = decide.Asked(who=who, scope=scope, ground=ground, by="desk")
        return await decide.ask(self.vault.database, self.vault.tenant, asked)

    async def approved(self, **named: Any) -> Case:
        case = await self.ask(**named)
        for by in ("owner", "partner"):
            case = await decide.approve(self.vault.database, self.vault.tenant, case.id, by=by)
        return case

    async def planned(self, **named: Any) -> Case:
        return await decide.make_plan(self.vault.database, self.vault.tenant, (await self.approved(**named)).id)

    async def begun(self, **named: Any) -> Case:
        case = await self.planned(**named)
        return await decide.begin(
            self.vault.database, self.vault.tenant, case.id, plan=case.plan_hash, by="owner", key=KEY
        )

    async def carried_out(self, **named: Any) -> Case:
        return await self.carry_out((await self.begun(**named)).id)

    async def carry_out(self, id_: UUID) -> Case:
        return await carry_out(self.erasing, self.vault.tenant, id_)

    async def case(self, id_: UUID) -> Case:
        async with self.vault.database.transaction(self.vault.tenant) as tx:
            return await store.known_case(tx, id_)

    async def told(self) -> list[SubjectErasedV1]:
        return [SubjectErasedV1.model_validate_json(each) for each in await self.vault.events("subject.erased")]

    async def answer(self, case: Case, *services: str, erased: Mapping[str, int] | None = None) -> None:
        """Receipts for every part, from some services or from all."""
        now = datetime.now(UTC)
        for service in services or ANSWERING:
            for part in range(1, case.parts + 1):
                rows = tuple(ErasedRows(store=name, rows=rows) for name, rows in (erased or {}).items())
                receipt = ErasureReceiptV1(
                    erasure_id=str(case.id), subject_id=str(case.subject_id), part=part, service=service,
                    erased=rows, forgotten_at=now, at=now,
                )  # fmt: skip
                async with self.vault.database.transaction(self.vault.tenant) as tx:
                    await on_receipt(receipt, tx)


@pytest.fixture
async def forgetting(vault: Any, stores: Any, tmp_path: Path) -> Forgetting:
    made = Forgetting(vault, stores, tmp_path)
    await made.import_()
    return made
