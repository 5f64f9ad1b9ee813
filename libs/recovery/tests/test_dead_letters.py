"""Dead letters on real servers: worked off in the order of their keys, edited, dropped, by one worker of several."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

import kit.dead_letters
from contracts.envelope import Envelope
from kit.consume import Consumer
from kit.dead_letters import DeadLetterLimits, Failure
from kit.delivery import Poison, on
from kit.postgres import Database, Transaction, role_dsn
from kit.testing import Bench, MakeDatabase, Toy, eventually
from recovery.dead_letters import actions, book, bulk
from recovery.dead_letters.actions import Asker, CannotDo, Outcome
from recovery.dead_letters.api import PREFIX, beside, dead_letters_app
from recovery.dead_letters.book import Selection
from recovery.dead_letters.worker import DeadLetterWorker

pytestmark = pytest.mark.real
OPERATOR = Asker(who="an operator", why="mended")
NO_LIMITS = DeadLetterLimits(consecutive=10_000, ratio=1.0)


@dataclass
class Desk:
    """A consumer whose handler fails on what it is told to, and the worker of its dead letters."""

    bench: Bench
    database: Database
    fails_on: set[tuple[str, int]] = field(default_factory=set)
    delay: float = 0.0
    consumer: Consumer = field(init=False)

    def __post_init__(self) -> None:
        self.consumer = self.another_consumer()

    def another_consumer(self) -> Consumer:
        return Consumer(
            database=self.database, kafka_bootstrap=self.bench.bootstrap, registry=self.bench.registry,
            subscriptions=[on(self.bench.event, self.handle)], group=f"desk.{self.bench.topic}", limits=NO_LIMITS,
        )  # fmt: skip

    async def handle(self, event: Toy, tx: Transaction) -> None:
        if (event.entity, event.number) in self.fails_on:
            raise Poison("not_this_one", "the caller was +919847000001")
        if self.delay:
            await asyncio.sleep(self.delay)
        await tx.execute("INSERT INTO ledger VALUES ($1, $2, $3)", tx.tenant, event.entity, event.number)

    @property
    def group(self) -> str:
        return self.consumer.group

    def worker(self) -> DeadLetterWorker:
        return DeadLetterWorker(self.database, [self.consumer], every=0.05)

    async def ledger(self) -> dict[str, list[int]]:
        """Per key, what took effect, in the order of the effects."""
        async with self.database.transaction(self.bench.tenant) as tx:
            rows = await tx.fetch("SELECT entity, number FROM ledger ORDER BY seq")
        found: dict[str, list[int]] = {}
        for row in rows:
            found.setdefault(row["entity"], []).append(row["number"])
        return found

    async def letters(self) -> list[tuple[str, str]]:
        found = await book.letters(self.database, Selection())
        return [(str(each.lane).partition(":")[2], "behind" if each.parked_behind else each.state) for each in found]

    async def parked(self) -> int:
        async with self.database.system() as tx:
            count: int = await tx.fetchval("SELECT count(*) FROM parked_key")
            return count

    async def consume(self, records: int) -> None:
        await self.consumer.start()

        async def committed() -> bool:
            return await self.bench.committed(self.group) >= records

        await eventually(committed)
        await self.consumer.stop()

    async def work(self) -> None:
        """Until nothing can be done any more."""
        for _ in range(3):
            await self.worker().work_once()


@pytest.fixture
async def desk(bench: Bench, make_database: MakeDatabase) -> Desk:
    database = await make_database(service="front-desk", package="kit")
    owner = await asyncpg.connect(role_dsn(database._app_dsn, "front_desk_owner", "test"))
    await owner.execute(
        "CREATE TABLE ledger (tenant_id uuid NOT NULL, entity text NOT NULL, number integer NOT NULL, "
        "seq bigint GENERATED ALWAYS AS IDENTITY); SELECT protect('ledger')"
    )
    await owner.close()
    return Desk(bench, database)


async def parked_key(desk: Desk, fails_on: int = 2, of: int = 4) -> None:
    """Key ``a`` is parked at a number, with the later ones behind it; key ``b`` is not concerned."""
    desk.fails_on = {("a", fails_on)}
    for number in range(1, of + 1):
        await desk.bench.send("a", number)
        await desk.bench.send("b", number)
    await desk.consume(2 * of)


async def test_a_key_is_worked_off_in_its_order_and_let_go(desk: Desk) -> None:
    await parked_key(desk)
    assert await desk.ledger() == {"a": [1], "b": [1, 2, 3, 4]}
    assert await desk.letters() == [("a", "waiting"), ("a", "behind"), ("a", "behind")]
    await desk.work()
    assert await desk.ledger() == {"a": [1], "b": [1, 2, 3, 4]}, "nothing is tried before somebody asks"
    desk.fails_on = set()
    assert (await actions.retry(desk.database, Selection(consumer=desk.group), OPERATOR)).done == 1
    await desk.work()
    assert await desk.ledger() == {"a": [1, 2, 3, 4], "b": [1, 2, 3, 4]}
    assert (await desk.letters(), await desk.parked()) == ([], 0)
    await desk.bench.send("a", 5)
    await desk.consume(9)
    assert (await desk.ledger())["a"] == [1, 2, 3, 4, 5]


async def test_the_order_of_a_key_is_not_that_of_clocks(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two letters of one millisecond, or of two replicas whose clocks differ, have ids in any order."""
    ids = (UUID(int=number) for number in range(1000, 0, -1))
    monkeypatch.setattr(kit.dead_letters, "uuid7", lambda: next(ids))
    await parked_key(desk, fails_on=1, of=5)
    assert await desk.letters() == [("a", "waiting"), *[("a", "behind")] * 4]
    desk.fails_on = set()
    assert (await actions.retry(desk.database, Selection(consumer=desk.group), OPERATOR)).done == 1
    await desk.work()
    assert (await desk.ledger())["a"] == [1, 2, 3, 4, 5]


async def test_what_fails_again_stops_its_key_and_says_why(desk: Desk) -> None:
    await parked_key(desk)
    desk.fails_on = {("a", 3)}
    await actions.retry(desk.database, Selection(consumer=desk.group), OPERATOR)
    await desk.work()
    assert (await desk.ledger())["a"] == [1, 2]
    assert await desk.letters() == [("a", "waiting"), ("a", "behind")]
    (first, *_) = await book.letters(desk.database, Selection())
    assert (first.reason, first.retries) == ("not_this_one", 1)
    found = await book.find(desk.database, first.id)
    assert found is not None
    assert [row["action"] for row in found[1]] == ["failed_again"]
    assert "+91" not in first.message


async def test_a_dropped_letter_lets_the_ones_behind_it_go_on_and_can_come_back(desk: Desk) -> None:
    await parked_key(desk)
    with pytest.raises(CannotDo, match="say why"):
        await actions.drop(desk.database, Selection(consumer=desk.group), Asker(who="an operator"))
    (first, *_) = await book.letters(desk.database, Selection())
    await actions.drop(desk.database, Selection(ids=[first.id]), OPERATOR)
    await desk.work()
    assert (await desk.ledger())["a"] == [1, 3, 4]
    assert (await desk.letters(), await desk.parked()) == ([("a", "dropped")], 0)
    desk.fails_on = set()
    await actions.restore(desk.database, first.id, OPERATOR)
    await actions.retry(desk.database, Selection(ids=[first.id]), OPERATOR)
    await desk.work()
    assert (await desk.ledger())["a"] == [1, 3, 4, 2]


async def test_an_edited_value_is_tried_and_the_original_kept(desk: Desk) -> None:
    await desk.bench.send("a", 1, value=b'{"entity": "a", "number": "one"}')
    await desk.bench.send("a", 2)
    await desk.consume(2)
    assert await desk.letters() == [("a", "waiting"), ("a", "behind")]
    (broken, _) = await book.letters(desk.database, Selection())
    assert broken.reason == "contract_violation"
    told = await actions.edit(desk.database, broken.id, b'{"entity": "a", "number": 1}', OPERATOR)
    assert '-  "number": "one"' in told
    assert '+  "number": 1' in told
    found = await book.find(desk.database, broken.id)
    assert found is not None
    assert (found[0].value, found[0].edited) == (broken.value, b'{"entity": "a", "number": 1}')
    await actions.retry(desk.database, Selection(ids=[broken.id]), OPERATOR)
    await desk.work()
    assert await desk.ledger() == {"a": [1, 2]}


async def test_a_letter_behind_another_failure_is_not_tried_alone(desk: Desk) -> None:
    await parked_key(desk)
    _, behind, _ = await book.letters(desk.database, Selection())
    with pytest.raises(CannotDo, match="earlier letter of this key"):
        await actions.retry(desk.database, Selection(ids=[behind.id]), OPERATOR)


async def test_failures_of_one_cause_are_one_group(desk: Desk) -> None:
    desk.fails_on = {(f"k{n}", 1) for n in range(5)}
    for n in range(5):
        await desk.bench.send(f"k{n}", 1)
        await desk.bench.send(f"k{n}", 2)
    await desk.bench.send("x", 1, value=b"not json")
    await desk.consume(11)
    groups = {group.reason: group for group in await book.groups(desk.database)}
    assert set(groups) == {"not_this_one", "contract_violation"}
    cause = groups["not_this_one"]
    assert (cause.letters, cause.keys, cause.behind, cause.retrying) == (5, 5, 5, 0)
    assert "+91" not in cause.message


async def test_a_cause_keeps_its_group_when_it_fails_again(desk: Desk) -> None:
    """The group that an operator noted does not split by who tried, and how often."""
    desk.fails_on = {("a", 1)}
    for entity, value in (("a", b""), ("b", b'{"entity": "b", "number": "one"}')):
        await desk.bench.send(entity, 1, value=value)
    await desk.consume(2)
    before = {group.reason: group.fingerprint for group in await book.groups(desk.database)}
    assert set(before) == {"not_this_one", "contract_violation"}
    await actions.retry(desk.database, Selection(consumer=desk.group), OPERATOR)
    await desk.work()
    after = await book.groups(desk.database)
    assert {group.reason: group.fingerprint for group in after} == before
    assert [each.retries for each in await book.letters(desk.database, Selection())] == [1, 1]


async def test_a_bulk_action_is_planned_applied_at_a_rate_and_cancelled(desk: Desk) -> None:
    desk.fails_on = {(f"k{n}", 1) for n in range(30)}
    for n in range(30):
        await desk.bench.send(f"k{n}", 1)
    await desk.consume(30)
    desk.fails_on = set()
    job = await bulk.plan_job(desk.database, Selection(consumer=desk.group), "retry", 200, OPERATOR)
    assert job.letters == 30
    with pytest.raises(CannotDo, match="no such plan"):
        await bulk.apply_job(desk.database, job.id, "another", OPERATOR)
    await bulk.apply_job(desk.database, job.id, job.plan_hash, OPERATOR)
    worker = desk.worker()
    await worker.work_once()
    assert len(await desk.ledger()) == 10, "200 a second are 10 in one look of 0.05 s"
    await bulk.cancel_job(desk.database, job.id, OPERATOR)
    await worker.work_once()
    assert len(await desk.ledger()) == 10
    (told,) = await bulk.jobs(desk.database)
    assert (told.state, told.done, told.letters) == ("cancelled", 10, 30)


async def test_two_workers_a_live_consumer_and_random_failures_keep_every_keys_order(desk: Desk) -> None:
    """Live events come in while keys are parked, worked and let go: each takes effect once, in its key's order."""
    rng = random.Random(7)
    keys, numbers = [f"k{n}" for n in range(6)], 30
    desk.fails_on = {(key, rng.randint(1, numbers)) for key in keys for _ in range(4)}
    workers = [desk.worker(), DeadLetterWorker(desk.database, [desk.another_consumer()], every=0.05)]
    await desk.consumer.start()
    for worker in workers:
        await worker.start()
    for number in range(1, numbers + 1):
        for key in keys:
            await desk.bench.send(key, number)
        if number % 6 == 0:
            desk.fails_on -= set(rng.sample(sorted(desk.fails_on), k=min(3, len(desk.fails_on))))
            await actions.retry(desk.database, Selection(consumer=desk.group), OPERATOR)
    desk.fails_on = set()

    async def settled() -> bool:
        await actions.retry(desk.database, Selection(consumer=desk.group), OPERATOR)
        return sum(len(each) for each in (await desk.ledger()).values()) == len(keys) * numbers

    await eventually(settled, every=0.2)
    await eventually(lambda: _none(desk))
    for worker in workers:
        await worker.stop()
    await desk.consumer.stop()
    assert await desk.ledger() == {key: list(range(1, numbers + 1)) for key in keys}


async def _none(desk: Desk) -> bool:
    return await desk.parked() == 0 and not await desk.letters()


async def test_a_key_is_not_let_go_while_a_letter_of_it_is_being_parked(desk: Desk) -> None:
    """The parker holds the key's row; whoever unparks waits for it, and then finds the letter."""
    await parked_key(desk, fails_on=4)
    async with desk.database.system() as tx:
        await tx.execute("DELETE FROM dead_letter")
        key = await tx.fetchval("SELECT key FROM parked_key")
    letting_go: asyncio.Task[bool] | None = None
    dead_letters: Any = desk.consumer.handling.dead_letters
    async with desk.database.system() as tx:
        # A parker in the middle of its transaction: it has the key's row and not yet written the letter.
        await tx.execute("SELECT FROM parked_key FOR UPDATE")
        letting_go = asyncio.create_task(desk.worker()._let_go(desk.group, key))
        await asyncio.sleep(0.3)
        assert not letting_go.done()
        await tx.execute(
            "INSERT INTO dead_letter (id, tenant_id, consumer, topic, partition, \"offset\", header_names, "
            "header_values, reason, message, attempts, lane) VALUES (gen_random_uuid(), $1, $2, 't', 0, 99, '{}', "
            "'{}', 'r', 'm', 1, $3)",
            desk.bench.tenant, desk.group, key,
        )  # fmt: skip
    assert await letting_go is False
    assert await desk.parked() == 1
    assert await dead_letters.parked_keys([key]) == {key}


async def test_another_record_at_the_same_place_is_a_letter_of_its_own(desk: Desk) -> None:
    """After Kafka lost its records, offsets begin anew: two records can have had one place."""
    await parked_key(desk, fails_on=1, of=1)
    (first,) = await book.letters(desk.database, Selection())

    class Record:
        topic, partition, offset, timestamp = first.topic, first.partition, first.offset, 0
        key, value = b"k", b"another"
        headers: Sequence[tuple[str, bytes]] = ()

    handling = desk.consumer.handling
    for _ in range(2):
        handling.begin()
        await handling.handle([Record])
    found = await book.letters(desk.database, Selection())
    assert [each.value for each in found] == [first.value, b"another"]
    assert [each.occurrences for each in found] == [1, 2]


async def test_a_slow_job_keeps_its_rate_and_counts_what_came_of_it(desk: Desk) -> None:
    desk.fails_on = {(f"k{n}", 1) for n in range(3)}
    for n in range(3):
        await desk.bench.send(f"k{n}", 1)
    await desk.consume(3)
    first, _, last = await book.letters(desk.database, Selection())
    desk.fails_on = {(str(first.lane).partition(":")[2], 1)}
    job = await bulk.plan_job(desk.database, Selection(consumer=desk.group), "retry", 5, OPERATOR)
    await actions.drop(desk.database, Selection(ids=[last.id]), OPERATOR)
    await bulk.apply_job(desk.database, job.id, job.plan_hash, Asker(who="another", why=""))
    worker, asked = desk.worker(), []
    for _ in range(12):
        await worker.work_once()
        asked.append((await bulk.jobs(desk.database))[0].done)
    assert asked == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3], "5 a second are one in four looks of 0.05 s"
    (told,) = await bulk.jobs(desk.database)
    assert (told.state, told.retried, told.failed, told.skipped) == ("done", 1, 1, 1)
    assert (told.planned_by, told.who) == ("an operator", "another")
    history = [
        (row["action"], row["who"], row["why"], row["plan_hash"]) for row in await bulk.history(desk.database, job.id)
    ]
    assert history == [
        ("plan", "an operator", "mended", job.plan_hash), ("apply", "another", "mended", job.plan_hash),
        ("done", "worker", "mended", job.plan_hash),
    ]  # fmt: skip


async def test_what_is_being_tried_is_neither_dropped_nor_edited(desk: Desk) -> None:
    await parked_key(desk, fails_on=1, of=1)
    desk.fails_on, desk.delay = set(), 1.0
    (letter,) = await book.letters(desk.database, Selection())
    await actions.retry(desk.database, Selection(ids=[letter.id]), OPERATOR)
    trying = asyncio.create_task(desk.work())

    async def begun() -> bool:
        async with desk.database.system() as tx:
            return bool(await tx.fetchval("SELECT trying_since IS NOT NULL FROM dead_letter"))

    await eventually(begun)
    assert await actions.drop(desk.database, Selection(ids=[letter.id]), OPERATOR) == Outcome(done=0, left=1)
    with pytest.raises(CannotDo, match="only waiting ones"):
        await actions.edit(desk.database, letter.id, b"{}", OPERATOR)
    await trying
    assert (await desk.ledger())["a"] == [1]
    async with desk.database.system() as tx:
        done = [row["action"] for row in await tx.fetch("SELECT action FROM dead_letter_audit ORDER BY at")]
    assert done == ["retry", "retried"], "nothing says that it was dropped"


async def test_what_failed_in_a_replay_is_meant_only_when_it_is_named(desk: Desk) -> None:
    await parked_key(desk, fails_on=1, of=1)
    (live,) = await book.letters(desk.database, Selection())

    class Record:
        topic, partition, offset, timestamp = live.topic, live.partition, live.offset, 0
        key, value, headers = live.key, live.value, live.headers

    envelope = Envelope.from_headers(live.headers)
    replay = desk.consumer.handling.dead_letters.named(f"{desk.group}@r1")
    await replay.park(Record, envelope, Failure(live.reason, live.message, 1, live.stack_hash))
    replayed = (await book.letters(desk.database, Selection()))[1]
    assert replayed.fingerprint != live.fingerprint
    tenant = Selection(tenant=desk.bench.tenant)
    assert await actions.retry(desk.database, tenant, OPERATOR) == Outcome(done=1, left=0)
    assert await actions.drop(desk.database, tenant, OPERATOR) == Outcome(done=1, left=0)
    states = {each.consumer: each.state for each in await book.letters(desk.database, Selection())}
    assert states == {desk.group: "dropped", f"{desk.group}@r1": "waiting"}
    with pytest.raises(CannotDo, match=f"--consumer {desk.group}@r1"):
        await actions.drop(desk.database, Selection(fingerprint=replayed.fingerprint), OPERATOR)
    named = Selection(consumer=f"{desk.group}@r1")
    assert await actions.drop(desk.database, named, OPERATOR) == Outcome(done=1, left=0)


async def test_a_second_edit_begins_from_the_first_and_the_original_can_come_back(desk: Desk) -> None:
    await desk.bench.send("a", 1, value=b'{"entity": "a", "number": "one"}')
    await desk.consume(1)
    (letter,) = await book.letters(desk.database, Selection())
    await actions.edit(desk.database, letter.id, b'{"entity": "a", "number": 1}', OPERATOR)
    told = await actions.edit(desk.database, letter.id, b'{"entity": "a", "number": 2}', OPERATOR)
    assert '-  "number": 1' in told
    told = await actions.edit(desk.database, letter.id, None, OPERATOR)
    assert '+  "number": "one"' in told
    (letter,) = await book.letters(desk.database, Selection())
    assert letter.edited is None


@pytest.fixture
async def api(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(dead_letters_app(desk.database, admin_token="a-token"))
    headers = {"Authorization": "Bearer a-token", "X-Operator": "an%20operator"}
    async with httpx.AsyncClient(transport=transport, base_url="http://desk" + PREFIX, headers=headers) as client:
        yield client


async def test_the_api_hides_what_letters_say_and_audits_who_looked(desk: Desk, api: httpx.AsyncClient) -> None:
    await parked_key(desk)
    (group,) = (await api.get("/groups")).json()["groups"]
    assert (group["reason"], group["letters"], group["behind"]) == ("not_this_one", 1, 2)
    page = (await api.get("/letters", params={"fingerprint": group["fingerprint"]})).json()["letters"]
    id_ = page[0]["id"]
    hidden = (await api.get(f"/letters/{id_}")).json()
    assert '"entity": "text"' in hidden["value"]
    assert hidden["raw"] is None
    shown = (await api.get(f"/letters/{id_}", params={"reveal": True})).json()
    assert '"entity": "a"' in shown["value"]
    history = (await api.get(f"/letters/{id_}")).json()["history"]
    assert [(row["action"], row["who"]) for row in history] == [("reveal", "an operator")]


async def test_the_api_wants_a_token_a_name_and_a_reason(desk: Desk, api: httpx.AsyncClient) -> None:
    await parked_key(desk)
    assert (await api.get("/groups", headers={"Authorization": "Bearer wrong"})).status_code == 401
    assert (await api.post("/retry", json={"consumer": desk.group}, headers={"X-Operator": ""})).status_code == 422
    assert (await api.post("/retry", json={})).status_code == 422
    refused = await api.post("/drop", json={"consumer": desk.group})
    assert (refused.status_code, refused.json()["detail"]) == (409, "say why they are dropped")
    closed = httpx.ASGITransport(dead_letters_app(desk.database, admin_token=""))
    async with httpx.AsyncClient(transport=closed, base_url="http://desk" + PREFIX) as client:
        assert (await client.get("/groups", headers={"Authorization": "Bearer "})).status_code == 401


async def test_the_api_retries_edits_drops_and_plans(desk: Desk, api: httpx.AsyncClient) -> None:
    await parked_key(desk)
    desk.fails_on = set()
    job = (await api.post("/jobs", json={"consumer": desk.group, "action": "retry", "rate": 100})).json()
    applied = await api.post(f"/jobs/{job['id']}/apply", json={"plan_hash": job["plan_hash"]})
    assert applied.json()["state"] == "running"
    await desk.work()
    assert (await api.get("/jobs")).json()["jobs"][0]["state"] == "done"
    assert (await desk.ledger())["a"] == [1, 2, 3, 4]
    assert (await api.get("/letters")).json()["letters"] == []
    assert (await api.get(f"/letters/{job['id']}")).status_code == 404


async def test_who_has_no_token_is_turned_away_before_a_byte_is_read(desk: Desk) -> None:
    """Also on the port that webhooks come in by: nobody fills the process with a body that nobody asked for."""
    read = 0

    async def endless() -> dict[str, Any]:
        nonlocal read
        read += 1
        assert read < 100, "it reads on and on"
        return {"type": "http.request", "body": b"x" * 1_000_000, "more_body": True}

    async def other(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass

    async def status_of(path: str, token: str) -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"authorization", f"Bearer {token}".encode()), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
                 "headers": headers, "http_version": "1.1", "scheme": "http", "root_path": ""}  # fmt: skip
        await beside(other, desk.database, admin_token="a-token")(scope, endless, send)
        return int(sent[0]["status"])

    assert await status_of(f"{PREFIX}/retry", "wrong") == 401
    assert read == 0
    assert await status_of(f"{PREFIX}/retry", "a-token") == 413
    assert 0 < read < 10
    read = 0
    assert await status_of("/v1/else", "wrong") == 413
    assert read == 1


async def test_whom_a_letter_is_about_is_hidden_until_it_is_revealed(desk: Desk, api: httpx.AsyncClient) -> None:
    whom = "+919847000010"
    desk.fails_on = {(f"contact:{whom}", 1)}
    await desk.bench.send(f"contact:{whom}", 1)
    await desk.bench.send(f"contact:{whom}", 2)
    await desk.consume(2)
    answer = await api.get("/letters")
    assert whom not in answer.text
    first, second = answer.json()["letters"]
    assert first["lane"] == second["lane"]
    assert re.fullmatch(rf"{desk.bench.tenant}:contact:…[0-9a-f]{{8}}", first["lane"])
    hidden = await api.get(f"/letters/{first['id']}")
    assert whom not in hidden.text
    assert dict(hidden.json()["headers"])["ce_type"]
    shown = (await api.get(f"/letters/{first['id']}", params={"reveal": True})).json()
    assert shown["lane"].endswith(whom)
    assert whom in dict(shown["headers"])["ce_subject"]
    history = (await api.get(f"/letters/{first['id']}")).json()["history"]
    assert [row["action"] for row in history] == ["reveal"]
    of_key = await api.get("/letters", params={"key_of": first["id"]})
    assert [each["id"] for each in of_key.json()["letters"]] == [first["id"], second["id"]]
    desk.fails_on = set()
    assert (await api.post("/retry", json={"key_of": second["id"]})).json() == {"asked": 1, "left": 0}
    await desk.work()
    assert (await desk.ledger())[f"contact:{whom}"] == [1, 2]


async def test_a_tenant_has_only_its_own_jobs(desk: Desk, api: httpx.AsyncClient) -> None:
    await parked_key(desk)
    mine, other = str(desk.bench.tenant), str(UUID(int=7))
    asked = {"consumer": desk.group, "action": "retry", "tenant": mine, "why": "mended"}
    job = (await api.post("/jobs", json=asked)).json()
    assert (await api.get("/jobs", params={"tenant": other})).json()["jobs"] == []
    path, applied = f"/jobs/{job['id']}", {"plan_hash": job["plan_hash"]}
    assert (await api.post(f"{path}/apply", json=applied, params={"tenant": other})).status_code == 409
    assert (await api.post(f"{path}/cancel", params={"tenant": other})).status_code == 409
    assert (await api.post(f"{path}/apply", json=applied, params={"tenant": mine})).status_code == 200
    await api.post(f"{path}/cancel", params={"tenant": mine, "why": "wrong group"})
    (told,) = (await api.get("/jobs", params={"tenant": mine})).json()["jobs"]
    assert [(each["action"], each["who"], each["why"]) for each in told["history"]] == [
        ("plan", "an operator", "mended"), ("apply", "an operator", "mended"), ("cancel", "an operator", "wrong group")
    ]  # fmt: skip
