"""The archive told again says what the imports said, of the period and the tenant that were asked for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from vault_importer import tell_again
from vault_importer.samples import SampleOptions, write_msgstore

pytestmark = pytest.mark.real

LONG_AGO, FAR = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


async def told(vault: Any, start: datetime = LONG_AGO, end: datetime = FAR, tenant: Any = None) -> list[Any]:
    after = start, UUID(int=0)
    batches = [batch async for batch in tell_again.tell_messages(vault.database, tenant or vault.tenant, after, end)]
    return [event for batch in batches for event, _ in batch]


async def test_it_tells_what_the_import_told(vault: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell_again, "PAGE", 64)
    path = tmp_path / "msgstore.db"
    write_msgstore(path, SampleOptions(messages=400))
    await vault.import_(path, backup_key=None)
    imported = {event["message_id"]: event for event in map(json.loads, await vault.events("message.imported"))}
    again = await told(vault)
    assert len(again) == len(imported) == 400
    for event in again:
        assert json.loads(event.model_dump_json()) == imported[event.message_id]
    assert [event.sent_at for event in again] == sorted(event.sent_at for event in again)


async def test_it_tells_only_the_period_and_only_the_tenant(vault: Any, stores: Any) -> None:
    await vault.import_(stores.encrypted())
    everything = await told(vault)
    middle = sorted({event.sent_at for event in everything})[1]
    before, after = await told(vault, end=middle), await told(vault, start=middle)
    assert len(before) + len(after) == len(everything)
    assert all(event.sent_at < middle for event in before)
    assert await told(vault, tenant=uuid4()) == []


async def test_it_tells_the_newest_revision(vault: Any, stores: Any) -> None:
    await vault.import_(stores.encrypted())
    await vault.import_(
        stores.encrypted("UPDATE message SET text_data = 'Other words' WHERE text_data = 'Last group message'",
                         "UPDATE message_edit_info SET edited_timestamp = 1661418000000", name="second.crypt15")
    )  # fmt: skip
    newest: dict[str, int] = {}
    for event in map(json.loads, await vault.events("message.imported")):
        newest[event["message_id"]] = max(event["revision"], newest.get(event["message_id"], 0))
    assert {event.message_id: event.revision for event in await told(vault)} == newest
