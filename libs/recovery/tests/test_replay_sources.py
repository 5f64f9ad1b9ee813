"""Other sources than a range of topics, other targets than tables: letters, stores, rewound groups."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from kit.consume import Consumer
from kit.delivery import on_deleted
from kit.testing import eventually
from recovery.dead_letters.actions import Asker, CannotDo, retry
from recovery.dead_letters.book import Selection
from recovery.replay import settle
from recovery.replay.book import Book
from recovery.replay.pace import Progress
from recovery.replay.plan import Filters, Plan, Refused, StorePlace
from recovery.replay.topics import members_of

from .conftest import Service, sent, with_class

pytestmark = pytest.mark.real


async def letters_of_live_traffic(service: Service, rounds: int = 1) -> str:
    """Let the live consumer park what is there; return the fingerprint of the letters."""
    service.fails_on = frozenset(range(1, rounds + 1))
    await service.consume(await sent(service, rounds))
    service.fails_on = frozenset()
    async with service.database.system() as tx:
        fingerprint: str = await tx.fetchval("SELECT fingerprint FROM dead_letter WHERE NOT parked_behind LIMIT 1")
    return fingerprint


async def test_filters_choose_dead_letters_as_well(service: Service) -> None:
    asked: dict[str, Any] = {
        "source": "dead_letters", "target": "shadow", "fingerprint": await letters_of_live_traffic(service)
    }  # fmt: skip
    everything = await service.plan(**asked)
    assert (everything.records, everything.keys, everything.by_type) == (5, 5, {service.bench.event.type: 5})
    chosen = await service.plan(**asked, filters=Filters(keys=("e1", "e2")))
    assert (chosen.records, len(chosen.letters)) == (2, 2)
    assert (await service.plan(**asked, filters=Filters(tenants=(str(uuid4()),)))).records == 0
    assert (await service.apply(chosen)).counts["handled"] == 2
    await settle.discard(service.replayable, chosen.id, who="tester")
    with pytest.raises(Refused, match="not by --from and --to"):
        await service.plan(**asked, end=datetime.now(UTC))


async def test_what_failed_in_a_replay_is_a_source_as_well(service: Service) -> None:
    await service.consume(await sent(service, 1))
    service.fails_on = frozenset({1})
    entry = await service.apply(await service.plan())
    service.fails_on = frozenset()
    name = f"{service.group}@{entry.id}"
    async with service.database.system() as tx:
        fingerprint = await tx.fetchval("SELECT fingerprint FROM dead_letter LIMIT 1")
    asked: dict[str, Any] = {"consumer": name, "source": "dead_letters", "fingerprint": fingerprint}
    plan = await service.plan(**asked, target="shadow")
    assert (plan.consumer, plan.records) == (service.group, 5)
    with pytest.raises(Refused, match=f"trunkline replay resume {entry.id}"):
        await service.plan(**asked, target="live")
    with pytest.raises(CannotDo, match="trunkline replay resume"):
        await retry(service.database, Selection(consumer=name), Asker(who="tester"))


class Store:
    """An owner's rows; some leave while they are told again."""

    def __init__(self, service: Service, rows: int) -> None:
        began = datetime(2026, 3, 1, tzinfo=UTC)
        event = service.bench.event
        self.rows = [
            ((began + timedelta(hours=n), UUID(int=n + 1)), event(entity=f"r{n}", number=n)) for n in range(rows)
        ]
        service.replayable = replace(service.replayable, reemitters={event: self.tell})
        self.asked: dict[str, Any] = {
            "source": "store", "target": "reemit", "topics": (event.topic(),), "start": began,
            "end": began + timedelta(days=30), "tenants": (service.bench.tenant,), "rate": 1000,
        }  # fmt: skip

    async def tell(self, _: Any, __: UUID, after: StorePlace, end: datetime) -> AsyncIterator[Any]:
        while page := [(event, place) for place, event in self.rows if after < place and place[0] < end][:3]:
            yield page
            after = page[-1][1]


async def test_a_store_from_which_rows_leave_is_told_whole_after_a_kill(service: Service) -> None:
    store, seen = Store(service, 12), list[int]()
    plan = await service.plan(**store.asked)
    assert plan.records == 12

    class Killed(BaseException):
        pass

    def dies(progress: Progress) -> None:
        seen.append(progress.seen)
        if progress.seen >= 6:
            raise Killed

    with pytest.raises(Killed):
        await service.apply(plan, report=dies)
    del store.rows[1:3]
    entry = await service.resume(plan.id)
    assert (entry.state, entry.counts["emitted"]) == ("done", 12)
    assert {subject for subject, replay in await service.outbox() if replay == plan.id} == {f"r{n}" for n in range(12)}


@pytest.mark.parametrize(
    ("filters", "option"),
    [
        (Filters(keys=("r1",)), "--key"),
        (Filters(types=("toy.v1",)), "--type"),
        (Filters(event_ids=("x",)), "--event"),
        (Filters(sample=0.5), "--sample"),
        (Filters(replay="front-desk.1"), "--emitted-by"),
    ],
)
async def test_a_store_refuses_what_it_cannot_choose_by(service: Service, filters: Filters, option: str) -> None:
    with pytest.raises(Refused, match=f"cannot be held to {option}"):
        await service.plan(**Store(service, 1).asked, filters=filters)


async def test_a_group_is_rewound_only_while_it_is_stopped_and_once(service: Service) -> None:
    await service.consume(await sent(service, 2))
    plan, book = await service.plan(target="rewind"), Book(service.database)
    assert sum(span.records for span in plan.spans) == 10
    live = Consumer(
        database=service.database, kafka_bootstrap=service.bench.bootstrap, registry=service.bench.registry,
        subscriptions=service.replayable.consumers[service.group], group=service.group,
    )  # fmt: skip
    await live.start()

    async def member() -> bool:
        return await members_of(service.bench.bootstrap, service.group) == 1

    await eventually(member)
    seen: list[Progress] = []
    with pytest.raises(Refused, match="stop front-desk first"):
        await service.apply(plan, report=seen.append, sessions_end_in=1.0)
    assert "has 1 members" in seen[-1].waiting_for
    assert (await book.find(plan.id)).state == "failed"
    assert await service.bench.committed(service.group) == 10
    running = asyncio.create_task(service.resume(plan.id))
    await live.stop()
    entry = await running
    assert (entry.state, entry.counts) == ("done", {"moved_back": 10, "seen": 0})
    assert await service.bench.committed(service.group) == 0
    handled = service.handled
    await service.consume(10)
    assert service.handled == handled, "the inbox knows what had effect"
    with pytest.raises(Refused, match="applied before"):
        await service.apply(plan)
    assert [row["action"] for row in await book.history(plan.id)] == ["apply", "resume"]


@pytest.mark.parametrize(
    "asked",
    [
        {"filters": Filters(keys=("e0",))},
        {"filters": Filters(sample=0.5)},
        {"filters": Filters(types=("toy.v1",))},
        {"filters": Filters(tenants=("0195a1b2-0000-7000-8000-000000000001",))},
        {"end": datetime(2026, 3, 2, tzinfo=UTC)},
    ],
)
async def test_a_rewind_refuses_what_would_not_hold(service: Service, asked: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="handles everything from there on"):
        await service.plan(target="rewind", **asked)


async def test_a_rewind_of_what_has_effects_is_allowed_by_name_and_audited(service: Service) -> None:
    await service.consume(await sent(service, 1))
    with_class(service, "forbidden")
    with pytest.raises(Refused, match="--allow-effects"):
        await service.plan(target="rewind")
    with pytest.raises(Refused, match="is for --target rewind"):
        await service.plan(allow_effects=True)
    plan = await service.plan(target="rewind", allow_effects=True)
    assert [line.partition(":")[0] for line in plan.effects] == [service.bench.topic]
    assert Plan.from_json(plan.to_json()) == plan
    await service.apply(plan)
    (applied,) = await Book(service.database).history(plan.id)
    assert json.loads(applied["detail"])["effects_allowed"] == list(plan.effects)


async def test_a_topic_is_as_strict_as_its_strictest_handler(service: Service) -> None:
    with_class(service, "forbidden")
    kept = on_deleted(service.bench.event, lambda *_: None)  # type: ignore[arg-type,return-value]
    consumers = {name: [*each, kept] for name, each in service.replayable.consumers.items()}
    service.replayable = replace(service.replayable, consumers=consumers)
    assert service.replayable.classes(service.group, [service.bench.topic]) == {service.bench.topic: "forbidden"}


async def test_a_plan_without_records_is_not_applied(service: Service) -> None:
    await service.consume(await sent(service, 1))
    plan = await service.plan(filters=Filters(keys=("nobody",)))
    assert plan.records == 0
    with pytest.raises(Refused, match="nothing to replay"):
        await service.apply(plan)
