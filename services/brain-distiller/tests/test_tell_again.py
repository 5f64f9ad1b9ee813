"""Facts told again are those that were told last, each in its newest version."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from brain_distiller import tell_again
from contracts.vault import MessageImportedV1

pytestmark = pytest.mark.real

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


async def told(brain: Any, start: datetime = LONG_AGO, tenant: Any = None) -> list[Any]:
    end = datetime.now(UTC) + timedelta(hours=1)
    after = start, UUID(int=0)
    batches = [batch async for batch in tell_again.tell_facts(brain.database, tenant or brain.tenant, after, end)]
    return [event for batch in batches for event, _ in batch]


async def test_the_newest_version_of_each_fact_is_told_as_it_was(
    brain: Any, a_message: Callable[..., MessageImportedV1], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tell_again, "PAGE", 3)
    events = await brain.hears(*[a_message(f"PAN ABCPE{n:04}F", message_id=f"m-{n}", minute=n) for n in range(10, 20)])
    events += await brain.hears(a_message("no number any more", message_id="m-12", revision=2))
    newest = {event.fact_id: event for event in events}
    assert {event.fact_id: event for event in await told(brain)} == newest
    assert {event.state for event in newest.values()} >= {"retracted"}
    assert await told(brain, tenant=uuid4()) == []
    assert await told(brain, start=datetime.now(UTC) + timedelta(minutes=5)) == []
