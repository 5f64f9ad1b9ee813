"""What can go wrong in a pipeline, each arranged on purpose and judged by the checks of the harness.

A scenario returns no violation on our code. With the deliberate bug that it is for, it does.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from tests.faults.harness import checks
from tests.faults.harness.checks import Violation
from tests.faults.harness.outside import Seen
from tests.faults.harness.pipeline import Pipeline, note_effect
from tests.faults.harness.watch import Isolation

from kit.consume import Poison
from kit.handling import TOGETHER
from kit.postgres import Transaction

__all__ = ["SCENARIOS", "Scenario"]

Scenario = Callable[[Pipeline], Awaitable[list[Violation]]]


async def overlapping_transactions(pipe: Pipeline) -> list[Violation]:
    """A transaction that began first commits last; the relay looks in between. Both were acknowledged."""
    relay = await pipe.leading_relay()
    begun, looked_at = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with pipe.database.transaction(pipe.tenant, emits=["slow"]) as tx:
            await pipe.append(tx, "slow", 1)
            begun.set()
            await looked_at.wait()

    task = asyncio.create_task(slow())
    await begun.wait()
    async with pipe.database.transaction(pipe.tenant, emits=["fast"]) as tx:
        await pipe.append(tx, "fast", 1)
    # A relay that does not wait has published the second by then; ours must hold it back.
    await relay.looks(2)
    looked_at.set()
    await task
    seen = await asyncio.to_thread(pipe.seen, 2, within=pipe.grace)
    return _all_seen({"slow", "fast"}, seen)


async def one_key_many_versions(pipe: Pipeline) -> list[Violation]:
    """Entities that change many times, one after the other."""
    await pipe.relay()
    for number in range(1, 9):
        for entity in ("a", "b"):
            async with pipe.database.transaction(pipe.tenant, emits=[entity]) as tx:
                await pipe.append(tx, entity, number)
    # Whoever reads along sees records as they come, in whatever partitions they lie.
    await pipe.until(pipe.published)
    return checks.order_per_key(_versions(await asyncio.to_thread(pipe.seen, 16)))


async def two_writers_of_one_key(pipe: Pipeline) -> list[Violation]:
    """Two transactions change one entity: the one whose id is older comes to the entity later."""
    early_has_written, late_has_ended = asyncio.Event(), False

    async def change(tx: Transaction) -> None:
        number = await tx.fetchval(
            "INSERT INTO counter VALUES ($1, 'k', 1) ON CONFLICT (tenant_id, entity) "
            "DO UPDATE SET number = counter.number + 1 RETURNING number", tx.tenant,
        )  # fmt: skip
        await pipe.append(tx, "k", number)

    async def early() -> None:
        async with pipe.database.transaction(pipe.tenant, emits=["k"]) as tx:
            await tx.execute("INSERT INTO effect (tenant_id, entity, number) VALUES ($1, 'other', 0)", tx.tenant)
            early_has_written.set()
            # With the key's lock taken the late one waits for it, and cannot be done before us.
            await pipe.until(late_is_done_or_waits)
            await change(tx)

    async def late_is_done_or_waits() -> bool:
        return late_has_ended or await pipe.waiting_for_a_key() > 0

    async def late() -> None:
        nonlocal late_has_ended
        await early_has_written.wait()
        async with pipe.database.transaction(pipe.tenant, emits=["k"]) as tx:
            await change(tx)
        late_has_ended = True

    await asyncio.gather(early(), late())
    await pipe.leading_relay()
    return checks.order_per_key(_versions(await asyncio.to_thread(pipe.seen, 2)))


async def a_relay_that_fails_once(pipe: Pipeline) -> list[Violation]:
    """Kafka refuses a batch; the relay must come back to it."""
    relay = await pipe.relay()
    async with pipe.database.transaction(pipe.tenant, emits=["a", "b"]) as tx:
        for entity in ("a", "b"):
            await pipe.append(tx, entity, 1)
    seen = await asyncio.to_thread(pipe.seen, 2, within=pipe.grace)
    if relay.status()["last_error"] not in (None, "PublishError"):
        raise RuntimeError(f"the relay failed by {relay.status()['last_error']}, which is not what was arranged")
    return _all_seen({"a", "b"}, seen)


async def an_outbox_to_drain(pipe: Pipeline) -> list[Violation]:
    """Events wait; some time later none must."""
    await pipe.relay()
    async with pipe.database.transaction(pipe.tenant, emits=["a"]) as tx:
        await pipe.append(tx, "a", 1)

    async def pending() -> int:
        async with pipe.database.system() as tx:
            return int(
                await tx.fetchval(
                    "SELECT count(*) FROM outbox o WHERE (o.epoch, o.xid, o.seq) > ALL "
                    "(SELECT p.epoch, p.xid, p.seq FROM relay_position p)"
                )
            )

    async def empty() -> bool:
        return await pending() == 0

    await pipe.until(empty, within=pipe.grace)
    return checks.drained({"relay": await pending()}, within=pipe.grace)


async def a_redelivery(pipe: Pipeline) -> list[Violation]:
    """The same event comes three times, together and later, and then the next one."""
    await pipe.consumer()
    await pipe.until_committed([pipe.send("a", 1, event_id="same") for _ in range(2)])
    await pipe.until_committed([pipe.send("a", 1, event_id="same"), pipe.send("a", 2)])
    return _once(await pipe.effects())


async def a_replay_of_what_must_not_be_replayed(pipe: Pipeline) -> list[Violation]:
    """A handler that allows no replay gets a replayed event whose original it has handled."""
    await pipe.consumer(replay="forbidden")
    records = [pipe.send("a", 1, event_id="same"), pipe.send("a", 1, event_id="same", replayid="r1")]
    await pipe.until_committed(records)
    return _once(await pipe.effects())


async def a_server_that_goes_away(pipe: Pipeline) -> list[Violation]:
    """Postgres cuts the connection in the middle of a handler, once."""
    cut = False

    async def handler(event: Any, tx: Transaction) -> None:
        nonlocal cut
        if not cut:
            cut = True
            await pipe.cut_connections_of_handlers()
        await note_effect(event, tx)

    await pipe.consumer(handler)
    records = [pipe.send("a", 1), pipe.send("b", 1)]
    await pipe.until_committed(records)
    await pipe.until_effects(2, within=pipe.grace)
    return await _judge_consumer(pipe, records)


async def a_handler_in_the_middle(pipe: Pipeline) -> list[Violation]:
    """A handler has not ended yet: nothing may be committed past its record. Were it killed now, that would be all."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def handler(event: Any, tx: Transaction) -> None:
        entered.set()
        await go_on.wait()
        await note_effect(event, tx)

    await pipe.consumer(handler)
    record = pipe.send("a", 1)
    try:
        async with asyncio.timeout(20):
            await entered.wait()
        return await _offsets(pipe, [record])
    finally:
        go_on.set()


async def a_poison_and_its_followers(pipe: Pipeline) -> list[Violation]:
    """One record fails for good; later ones of its key must wait, and the letter must be the record."""

    async def handler(event: Any, tx: Transaction) -> None:
        if event.number == 2:
            raise Poison("unlucky")
        await note_effect(event, tx)

    await pipe.consumer(handler)
    records = [pipe.send("a", 1), pipe.send("a", 2)]
    await pipe.until_committed(records)
    records.append(pipe.send("a", 3))
    await pipe.until_committed(records)
    sent = {f"{r.partition}@{r.offset}": hashlib.sha256(r.fields["value"]).hexdigest() for r in records[1:2]}
    kept = {
        f"{letter['partition']}@{letter['offset']}": hashlib.sha256(letter["value"] or b"").hexdigest()
        for letter in await pipe.letters()
    }
    overtaken = checks.nothing_overtakes({"a": 2}, await pipe.effects())
    return [*overtaken, *checks.same_bytes(sent, kept), *await _offsets(pipe, records)]


async def a_long_batch_behind_a_poison(pipe: Pipeline) -> list[Violation]:
    """One poll brings more records of a key than share a transaction; one of the first fails for good."""

    async def handler(event: Any, tx: Transaction) -> None:
        if event.number == 2:
            raise Poison("unlucky")
        await note_effect(event, tx)

    records = pipe.send_all([("a", number) for number in range(1, TOGETHER + 3)])
    await pipe.consumer(handler)
    await pipe.until_committed(records)
    return [*checks.nothing_overtakes({"a": 2}, await pipe.effects()), *await _offsets(pipe, records)]


async def a_consumer_with_work(pipe: Pipeline) -> list[Violation]:
    """Records are there; some time later nobody must be behind."""
    await pipe.consumer()
    records = [pipe.send("a", number) for number in (1, 2)]
    await pipe.until_committed(records, within=pipe.grace)
    offsets = await pipe.committed()
    behind = sum(1 for record in records if offsets.get(record.partition, 0) <= record.offset)
    return checks.live({pipe.group: behind}, (), within=pipe.grace)


async def two_tenants_on_one_pool(pipe: Pipeline) -> list[Violation]:
    """Canaries of two tenants; the probe of the harness looks through one small pool."""
    for tenant in (pipe.tenant, pipe.other):
        async with pipe.database.transaction(tenant) as tx:
            await tx.execute("INSERT INTO effect (tenant_id, entity, number) VALUES ($1, 'canary', 0)", tenant)
    isolation = Isolation(pipe.database, [str(pipe.tenant), str(pipe.other)], table="effect")
    for number in range(6):
        await isolation.probe(number)
    return checks.isolated(isolation.strangers)


def _versions(seen: list[Seen]) -> list[Seen]:
    return [record for record in seen if record.entity]


def _all_seen(wanted: set[str], seen: list[Seen]) -> list[Violation]:
    return checks.all_done({entity: {"published"} for entity in wanted}, {r.entity: "published" for r in seen})


def _once(effects: list[tuple[str, int]]) -> list[Violation]:
    return checks.effects_once({f"{entity} {number}": n for (entity, number), n in Counter(effects).items()})


async def _offsets(pipe: Pipeline, records: list[Seen]) -> list[Violation]:
    offsets = await pipe.committed()
    passed = [(pipe.group, r.event_id) for r in records if offsets.get(r.partition, 0) > r.offset]
    return checks.offsets_behind_outcomes(passed, await pipe.outcomes())


async def _judge_consumer(pipe: Pipeline, records: list[Seen]) -> list[Violation]:
    effects = await pipe.effects()
    done = {f"{entity} {number}": "done" for entity, number in effects}
    return [
        *checks.all_done({r.effect: {"done"} for r in records}, done),
        *_once(effects),
        *await _offsets(pipe, records),
    ]


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        overlapping_transactions,
        one_key_many_versions,
        two_writers_of_one_key,
        a_relay_that_fails_once,
        an_outbox_to_drain,
        a_redelivery,
        a_replay_of_what_must_not_be_replayed,
        a_server_that_goes_away,
        a_handler_in_the_middle,
        a_poison_and_its_followers,
        a_long_batch_behind_a_poison,
        a_consumer_with_work,
        two_tenants_on_one_pool,
    )
}
