"""Projections rebuilt on real servers: made anew from their events; what was only not met is not taken for gone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from typing import Any

import pytest

from recovery.replay.compare import TableDiff
from recovery.replay.plan import Filters, Plan, Refused, ShadowTable, hash_of
from recovery.replay.settle import discard, promote
from recovery.replay.shadow import Shadow

from .conftest import Service

pytestmark = pytest.mark.real


@pytest.fixture
async def projection(service: Service) -> AsyncIterator[Service]:
    """Three rows made by a buggy handler that takes only newer versions, and is mended afterwards."""
    service.projects = True
    made_from(service)
    for key in ("a", "b", "c"):
        await service.bench.send(key, 1)
    service.factor = 100
    await service.consume(3)
    service.factor = 1
    yield service
    shadow = Shadow(service.replayable)
    await shadow.discard(await shadow.holder() or "")


def made_from(service: Service, *others: str, gathers: bool = False) -> None:
    table = ShadowTable(name="sum", made_from=(service.bench.topic, *others), gathers=gathers)
    service.replayable = replace(service.replayable, shadow_tables=[table])


async def rebuilt(service: Service, **asked: Any) -> tuple[Plan, TableDiff]:
    plan = await service.plan(target="shadow", rebuild=True, **asked)
    assert (await service.apply(plan)).state == "done"
    (diff,) = await Shadow(service.replayable).diff(plan)
    return plan, diff


async def promoted(service: Service, plan: Plan, **arguments: bool) -> None:
    await promote(service.replayable, plan.id, who="an operator", why="looked at it", **arguments)


async def by_hand(service: Service, statement: str) -> None:
    async with service.database.transaction(service.bench.tenant) as tx:
        await tx.execute(statement)


async def test_a_copy_of_a_projection_knows_its_events_and_a_rebuild_makes_it_anew(projection: Service) -> None:
    plain = await projection.plan(target="shadow")
    assert (plain.starts_empty, plain.starts_as_live) == ((), ("sum",))
    await projection.apply(plain)
    (diff,) = await Shadow(projection.replayable).diff(plain)
    assert diff.empty
    await discard(projection.replayable, plain.id, who="an operator")
    await by_hand(projection, f"INSERT INTO sum VALUES ('{projection.bench.tenant}', 'nobody told', 1, 7)")
    plan, diff = await rebuilt(projection)
    assert (plan.starts_empty, plan.starts_as_live, plan.reaches_back) == (("sum",), (), True)
    assert (diff.added, diff.removed, diff.changed, diff.unseen, diff.conflicts) == (0, 1, 3, 0, 0)
    await promoted(projection, plan)
    assert await projection.rows() == {("a", 1): 1, ("b", 1): 1, ("c", 1): 1}
    assert await projection.outbox() == []


@pytest.mark.parametrize("narrow", ["from", "key"])
async def test_what_an_incomplete_rebuild_has_not_met_stays(projection: Service, narrow: str) -> None:
    places = (await projection.plan()).spans
    await projection.bench.send("d", 1)
    projection.factor = 100
    await projection.consume(4)
    projection.factor = 1
    asked: dict[str, Any] = {"start": {(each.topic, each.partition): each.end for each in places}}
    if narrow == "key":
        asked = {"filters": Filters(keys=("d",))}
    plan, diff = await rebuilt(projection, **asked)
    assert not plan.reaches_back
    assert (diff.added, diff.removed, diff.changed, diff.unseen, diff.conflicts) == (0, 0, 1, 3, 0)
    assert [change.key["entity"] for change in diff.changes] == ["d"]
    await promoted(projection, plan)
    assert await projection.rows() == {("a", 1): 100, ("b", 1): 100, ("c", 1): 100, ("d", 1): 1}


async def test_a_rebuild_knows_what_live_learned_after_the_plan(projection: Service) -> None:
    plan = await projection.plan(target="shadow", rebuild=True)
    await projection.bench.send("a", 2)
    await projection.consume(4)
    await projection.apply(plan)
    (diff,) = await Shadow(projection.replayable).diff(plan)
    assert (diff.removed, diff.changed, diff.unchanged) == (0, 3, 1)
    await promoted(projection, plan)
    assert await projection.rows() == {("a", 1): 1, ("a", 2): 2, ("b", 1): 1, ("c", 1): 1}


async def test_a_rebuild_takes_what_an_earlier_replay_corrected(projection: Service) -> None:
    marked = [*projection.bench.headers("a"), ("ce_replayid", b"front-desk.1")]
    await projection.bench.send("a", 2, headers=marked)
    await projection.consume(4)
    _, diff = await rebuilt(projection)
    assert (diff.removed, diff.changed, diff.unchanged) == (0, 3, 1)


async def test_a_rebuild_with_failures_is_not_promoted(projection: Service) -> None:
    await projection.bench.send("a", 2)
    await projection.consume(4)
    projection.fails_on = frozenset({2})
    plan, diff = await rebuilt(projection)
    assert diff.removed == 1
    with pytest.raises(Refused, match="1 records could not be handled, so the rebuilt rows"):
        await promoted(projection, plan, with_failures=True)
    assert (await projection.rows())["a", 2] == 2


async def test_what_cannot_be_rebuilt_like_this_is_refused(projection: Service) -> None:
    async def refused(why: str, **asked: Any) -> None:
        with pytest.raises(Refused, match=why):
            await projection.plan(**{"target": "shadow", "rebuild": True, **asked})

    places = {(each.topic, each.partition): 1 for each in (await projection.plan()).spans}
    await refused("for --target shadow", target="live")
    await refused("for --target shadow and reads topics", source="dead_letters", fingerprint="x")
    await refused("leave --to out", end=places)
    await refused("needs every event of a key", filters=Filters(types=("x",)))
    made_from(projection, gathers=True)
    await refused("rows of sum gather many events", start=places)
    await refused("rows of sum gather many events", filters=Filters(sample=0.5))
    assert (await projection.plan(target="shadow", rebuild=True)).reaches_back
    made_from(projection, "another")
    await refused("sum is made from another as well")
    projection.replayable = replace(projection.replayable, shadow_tables=[ShadowTable(name="sum")])
    await refused("no table that can be rebuilt")


async def test_a_plan_of_before_there_were_rebuilds_is_read(projection: Service) -> None:
    plan = replace(await projection.plan(), reaches_back=False)
    values = asdict(plan)
    for name in ("effects", "starts_empty", "starts_as_live", "reaches_back"):
        del values[name]
    del values["filters"]["replayed"]
    text = json.dumps({**values, "hash": hash_of(values)})
    assert Plan.from_json(text).starts_empty == ()
    with pytest.raises(Refused, match="changed after it was made"):
        Plan.from_json(text.replace('"live"', '"shadow"'))
