"""Webhooks taken in become calls, states, events and last agents, on a real Postgres."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY as METRICS_REGISTRY

from contracts.directory import StaffV1
from contracts.registry import REGISTRY
from kit.postgres import Database
from kit.testing import eventually
from telephony_router import store
from telephony_router.answer_ring import answer_to_json, intake_of
from telephony_router.entries import decision_from_json
from telephony_router.process_intake import IntakeProcessor, process_some
from telephony_router.project_directory import project_staff
from telephony_router.record import PostgresIntakes
from telephony_router.routing import Decision, Target
from telephony_router.signals import CallSignal, Recording
from telephony_router.store import Intake
from telephony_router.vendors.base import Account

pytestmark = pytest.mark.real
MakeDatabase = Callable[..., Awaitable[Database]]
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
CALLER, DESK = "+919847000001", "+919847000010"
RING = CallSignal(kind="ring", vendor="generic", call_id="c1", caller_raw="09847000001", did_raw="04842000100")
DECISION = Decision(
    action="dial",
    destinations=(Target(number=DESK, reason="owner", staff_id="desk", name="Desk"),),
    excluded=(),
    rule="owner",
    rung="redis",
    customer_id="cust",
)


def status(name: str, second: int, **more: Any) -> CallSignal:
    base = CallSignal(kind="status", vendor="generic", call_id="c1", status=name, status_raw=name)
    return replace(base, at=NOW + timedelta(seconds=second), **more)


COURSE = (
    status("ringing", 1),
    status("answered", 9, agent_raw=DESK),
    status("completed", 69, duration_seconds=60, cause="16"),
)


@dataclass
class Office:
    database: Database
    account: Account
    seconds: Any

    async def takes(self, *signals: CallSignal) -> None:
        rows = {}
        for signal in signals:
            row = self.intake(signal)
            rows.setdefault(row.identity, row)
        await self.stores(*rows.values())

    async def stores(self, *rows: Intake) -> None:
        intakes = PostgresIntakes(self.database)
        await intakes.take_in(rows)
        await intakes.close()

    def intake(self, signal: CallSignal) -> Intake:
        answer = answer_to_json(DECISION, 1.5) if signal.kind == "ring" else None
        body = json.dumps([signal.call_id, signal.status]).encode()
        return intake_of(self.account, signal, body, NOW + timedelta(seconds=next(self.seconds)), answer)

    async def call(self) -> dict[str, Any]:
        async with self.database.transaction(self.account.tenant) as tx:
            (row,) = await tx.fetch("SELECT * FROM call")
            return dict(row)

    async def events(self) -> list[Any]:
        async with self.database.system() as tx:
            rows = await tx.fetch(
                "SELECT type, payload FROM outbox WHERE tenant_id = $1 ORDER BY seq", self.account.tenant
            )
        return [REGISTRY.decode(row["type"], row["payload"].encode()) for row in rows]

    async def last_agents(self) -> dict[str, str]:
        async with self.database.transaction(self.account.tenant) as tx:
            return {row["number"]: row["staff_id"] for row in await tx.fetch("SELECT * FROM last_agent")}


async def office_in(database: Database) -> Office:
    account = Account(id=uuid4(), tenant=uuid4(), vendor="generic")
    async with database.transaction(account.tenant) as tx:
        await project_staff(StaffV1(staff_id="desk", version=1, name="Desk", numbers=(DESK, "+914842000110")), tx)
    return Office(database, account, itertools.count())


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return await make_database(service="telephony-router", package="telephony_router")


@pytest.fixture
async def office(database: Database) -> Office:
    return await office_in(database)


async def test_a_ring_becomes_a_call_its_decision_and_one_event(office: Office) -> None:
    await office.takes(RING)
    assert await process_some(office.database) == 1
    call = await office.call()
    assert (call["caller"], call["did"], call["state"]) == (CALLER, "+914842000100", "initiated")
    assert not call["quarantined"]
    (event,) = await office.events()
    assert (event.rule, event.rung, event.caller, event.customer_id) == ("owner", "redis", CALLER, "cust")
    assert event.destinations[0].staff_id == "desk"
    assert event.answer_ms == 1.5
    assert await process_some(office.database) == 0


async def test_an_event_continues_the_trace_of_the_webhook_that_it_is_made_of(office: Office) -> None:
    def trace(number: int) -> str:
        return f"00-{number:032x}-{number:016x}-01"

    rows = [replace(office.intake(signal), traceparent=trace(n)) for n, signal in enumerate((RING, *COURSE), 1)]
    # Together, as under load: one transaction, four traces.
    await office.stores(*rows)
    await process_some(office.database)
    async with office.database.system() as tx:
        told = await tx.fetch(
            "SELECT type, traceparent FROM outbox WHERE tenant_id = $1 ORDER BY seq", office.account.tenant
        )
    assert [row["traceparent"] for row in told] == [trace(number) for number in range(1, 5)]
    assert [row["type"] for row in told] == ["call.inbound.v1", *["call.state.v1"] * 3]


async def test_a_call_runs_its_course_and_the_last_agent_is_learned(office: Office) -> None:
    await office.takes(RING, *COURSE)
    await process_some(office.database)
    call = await office.call()
    assert (call["state"], call["staff_id"], call["duration_seconds"]) == ("completed", "desk", 60)
    assert (call["answered_at"], call["ended_at"]) == (NOW + timedelta(seconds=9), NOW + timedelta(seconds=69))
    _, *states = await office.events()
    assert [(each.previous_state, each.state, each.version) for each in states] == [
        ("initiated", "ringing", 1),
        ("ringing", "answered", 2),
        ("answered", "completed", 3),
    ]
    assert await office.last_agents() == {CALLER: "desk"}


async def test_everything_twice_has_effect_once(office: Office) -> None:
    for _ in range(2):
        await office.takes(RING, *COURSE)
        await process_some(office.database)
    assert len(await office.events()) == 4


async def test_a_late_status_fills_the_times_without_moving_the_state_back(office: Office) -> None:
    await office.takes(RING, COURSE[2])
    await process_some(office.database)
    await office.takes(COURSE[1], COURSE[0])
    await process_some(office.database)
    call = await office.call()
    assert (call["state"], call["staff_id"], call["answered_at"]) == ("completed", "desk", NOW + timedelta(seconds=9))
    assert [each.state for each in (await office.events())[1:]] == ["completed", "completed", "completed"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations([RING, *COURSE]), cuts=st.lists(st.integers(0, 4), max_size=2))
async def test_any_order_and_any_grouping_end_in_the_same_call(
    database: Database, order: list[CallSignal], cuts: list[int]
) -> None:
    office = await office_in(database)
    for group in (order[: min(cuts, default=2)], order[min(cuts, default=2) :], order):
        await office.takes(*group)
        await process_some(database)
    call = await office.call()
    assert (call["state"], call["staff_id"], call["caller"], call["quarantined"]) == (
        "completed",
        "desk",
        CALLER,
        False,
    )
    assert (call["started_at"], call["duration_seconds"], call["cause"]) == (NOW + timedelta(seconds=1), 60, "16")
    assert await office.last_agents() == {CALLER: "desk"}


async def test_a_call_we_were_never_asked_about_is_kept_apart(office: Office) -> None:
    await office.takes(*(replace(each, caller_raw=CALLER) for each in COURSE))
    await process_some(office.database)
    call = await office.call()
    assert (call["quarantined"], call["state"], call["caller"]) == (True, "completed", CALLER)
    assert await office.last_agents() == {}
    await office.takes(RING)
    await process_some(office.database)
    assert (await office.call())["quarantined"] is False
    assert await office.last_agents() == {CALLER: "desk"}


async def test_what_an_unproven_sender_says_is_marked_on_the_call_and_on_each_fact(office: Office) -> None:
    await office.takes(RING, COURSE[0], replace(COURSE[1], confirmed=False), COURSE[2])
    await process_some(office.database)
    call = await office.call()
    assert (call["confirmed"], call["quarantined"], call["state"]) == (False, False, "completed")
    async with office.database.transaction(office.account.tenant) as tx:
        story = await store.call_story(tx, call["id"])
    assert story is not None
    assert [(row["status"], row["confirmed"]) for row in story[2]] == [
        ("ringing", True),
        ("answered", False),
        ("completed", True),
    ]


async def test_what_an_unproven_sender_says_of_a_call_nobody_asked_about_is_quarantined_and_unconfirmed(
    office: Office,
) -> None:
    await office.takes(*(replace(each, caller_raw=CALLER, confirmed=False) for each in COURSE))
    await process_some(office.database)
    call = await office.call()
    assert (call["quarantined"], call["confirmed"], call["state"]) == (True, False, "completed")
    assert await office.last_agents() == {}


async def test_a_proven_call_stays_confirmed(office: Office) -> None:
    await office.takes(RING, *COURSE)
    await process_some(office.database)
    assert (await office.call())["confirmed"] is True


async def test_the_chain_the_digits_and_the_transfer_of_a_call_are_kept(office: Office) -> None:
    typed = replace(RING, digits="10013")
    await office.takes(typed, replace(COURSE[1], parent_call="p1", transferred_raw="09847000012"), COURSE[2])
    await process_some(office.database)
    call = await office.call()
    assert (call["parent_call_id"], call["digits"], call["transferred_to"]) == ("p1", "10013", "+919847000012")


@pytest.mark.parametrize("reverse", [False, True])
async def test_a_recording_is_kept_for_whoever_fetches_it(office: Office, reverse: bool) -> None:
    def told(state: Any, **more: Any) -> CallSignal:
        recording = Recording(id="r1", state=state, **more)
        return CallSignal(kind="recording", vendor="generic", call_id="c1", recording=recording, confirmed=False)

    reports = [told("pending"), told("available", url="https://recordings.example.com/r1", channels=2)]
    with_end = replace(COURSE[2], recording=Recording(url="https://recordings.example.com/other"))
    await office.takes(RING, *COURSE[:2], with_end)
    for report in reversed(reports) if reverse else reports:
        await office.takes(report)
        await process_some(office.database)
    call = await office.call()
    async with office.database.transaction(office.account.tenant) as tx:
        kept = {row["recording_key"]: dict(row) for row in await store.call_recordings(tx, call["id"])}
    assert len(kept) == 2
    assert (kept["r1"]["state"], kept["r1"]["channels"], kept["r1"]["confirmed"]) == ("available", 2, False)
    # Where a recording is says nothing of the call itself.
    assert (call["confirmed"], len(await office.events())) == (True, 4)


async def test_several_reports_of_one_recording_in_one_transaction_are_one_row(office: Office) -> None:
    for state in ("available", "pending", "failed"):
        found = Recording(id="r1", state=state, url=state)  # type: ignore[arg-type]
        await office.takes(CallSignal(kind="recording", vendor="generic", call_id="c1", recording=found))
    await process_some(office.database)
    async with office.database.transaction(office.account.tenant) as tx:
        rows = await tx.fetch("SELECT state, url FROM recording")
    assert [tuple(row) for row in rows] == [("available", "available")]


async def test_a_status_without_a_call_id_is_accepted_once(office: Office) -> None:
    lost = replace(COURSE[2], call_id="")
    await office.takes(lost)
    await office.takes(lost)
    await process_some(office.database)
    assert (await office.call())["quarantined"] is True


async def test_an_unknown_status_is_parked_and_blocks_nothing(office: Office) -> None:
    await office.takes(RING, replace(COURSE[0], status="unknown", status_raw="no-channel"), *COURSE[1:])
    await process_some(office.database)
    assert (await office.call())["state"] == "completed"
    async with office.database.system() as tx:
        assert [parked for _, _, parked in (await store.intake_backlog(tx)).values()] == [1]
        assert "no-channel" in await tx.fetchval("SELECT parked FROM intake WHERE parked IS NOT NULL")


async def test_what_is_parked_is_measured_by_vendor_from_the_start(office: Office) -> None:
    def sample(name: str, **labels: str) -> float | None:
        return METRICS_REGISTRY.get_sample_value(f"trunkline_intake_{name}", labels)

    async with office.database.transaction(office.account.tenant) as tx:
        await store.add_account(
            tx, account_id=office.account.id, vendor="generic", label="PBX", secret=str(uuid4()), sealed_tokens=[]
        )
    processor = IntakeProcessor(office.database, vendors=("generic", "silent"))
    assert sample("processed_total", vendor="silent", outcome="parked") == 0
    before = sample("processed_total", vendor="generic", outcome="parked") or 0
    await office.takes(RING, replace(COURSE[0], status="unknown", status_raw="no-channel"))
    # The second is one that breaks what processes it, and is parked by another way.
    await office.stores(replace(office.intake(replace(RING, call_id="broken")), signal="{not json"))
    await process_some(office.database)
    await processor.start()
    try:
        await eventually(lambda: sample("parked", vendor="generic") == 2)
    finally:
        await processor.stop()
    assert (sample("parked", vendor="silent"), sample("waiting", vendor="generic")) == (0, 0)
    assert sample("processed_total", vendor="generic", outcome="parked") == before + 2


async def test_parked_webhooks_are_processed_again_or_dropped(office: Office) -> None:
    broken = replace(office.intake(RING), signal="{not json")
    await office.stores(broken)
    await office.takes(replace(COURSE[0], status="unknown", status_raw="no-channel"))
    await process_some(office.database)
    async with office.database.system() as tx:
        first, second = [row["seq"] for row in await store.parked_intake(tx, 10)]
        # What broke on it is mended.
        await tx.execute("UPDATE intake SET signal = $1 WHERE seq = $2", office.intake(RING).signal, first)
        assert await store.unpark_intake(tx, [first]) == 1
        assert await store.drop_parked_intake(tx, []) == 1
    assert await process_some(office.database) == 1
    assert (await office.call())["asked_at"] is not None
    async with office.database.system() as tx:
        assert await store.parked_intake(tx, 10) == []
        assert await store.unpark_intake(tx, [second]) == 0, "what is dropped stays dropped"


async def test_what_was_processed_meanwhile_is_not_parked(office: Office) -> None:
    await office.takes(RING)
    async with office.database.system() as tx:
        [(seq, _, _)] = await store.waiting_intake(tx, 10)
    await process_some(office.database)
    async with office.database.transaction(office.account.tenant) as tx:
        await store.park_intake(tx, seq, "too late")
    async with office.database.system() as tx:
        assert await tx.fetchval("SELECT parked FROM intake") is None


async def test_what_a_ring_was_answered_with_is_kept_as_it_was_taken_in(office: Office) -> None:
    inputs = {"caller": None, "digits": "", "hops": 0, "load": {}, "versions": {"tenant": 3}}
    await office.stores(replace(office.intake(RING), answer=answer_to_json(DECISION, 1.5, inputs)))
    # An older router did not tell what its answers were made of.
    await office.stores(office.intake(replace(RING, call_id="c2")))
    await process_some(office.database)
    async with office.database.transaction(office.account.tenant) as tx:
        new, old = await tx.fetch("SELECT * FROM routing_decision ORDER BY decided_at")
    assert (new["answer_ms"], new["rule"], new["rung"], new["decided_at"]) == (1.5, "owner", "redis", NOW)
    assert decision_from_json(json.loads(new["decision"])) == DECISION
    assert (json.loads(new["inputs"]), old["inputs"]) == (inputs, None)


async def test_a_webhook_costs_the_same_however_many_its_tenant_had(office: Office) -> None:
    await office.takes(*(replace(RING, call_id=f"before{n}") for n in range(500)))
    await process_some(office.database)
    await office.takes(RING)
    async with office.database.system() as tx:
        [(seq, _, _)] = await store.waiting_intake(tx, 10)
    async with office.database.transaction(office.account.tenant, plan_once=True) as tx:
        for query, values in (
            ("claim_intake", [[seq]]),
            ("mark_processed", [[seq], [], []]),
            ("park_intake", [seq, ""]),
        ):
            sql = getattr(store.Q, query)
            plan = "\n".join(row[0] for row in await tx.fetch(f"EXPLAIN {sql.partition(chr(10))[2]}", *values))
            assert "intake_waiting" in plan, plan


async def test_a_webhook_whose_call_is_bound_to_an_order_meanwhile_comes_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, order, look = office.account, uuid4(), store.waiting_intake
    async with office.database.transaction(account.tenant) as tx:
        await store.add_account(tx, account_id=account.id, vendor="generic", label="", secret="s", sealed_tokens=[])
    await office.takes(COURSE[2])

    async def another_router_binds_it(tx: Any, limit: int) -> Any:
        waiting = await look(tx, limit)
        async with office.database.transaction(account.tenant) as other:
            await other.execute(
                "INSERT INTO outbound_call (tenant_id, id, account_id, vendor, ref, from_number, to_number, state,"
                " alias) VALUES ($1, $2, $3, 'generic', $4, $5, $6, 'submitted', $7)",
                account.tenant, order, account.id, f"tl{order.hex}", DESK, CALLER, waiting[0][2],
            )  # fmt: skip
        return waiting

    monkeypatch.setattr(store, "waiting_intake", another_router_binds_it)
    await process_some(office.database)
    assert await office.events() == []
    monkeypatch.undo()
    assert await process_some(office.database) == 1
    assert (await office.call())["id"] == order


async def test_a_webhook_nobody_can_read_is_parked_and_blocks_nothing(office: Office) -> None:
    broken = replace(office.intake(replace(RING, call_id="broken")), signal="{not json")
    await office.stores(broken)
    await office.takes(RING, *COURSE)
    await process_some(office.database)
    assert (await office.call())["state"] == "completed"
    assert await process_some(office.database) == 0


async def test_two_routers_at_the_same_intake_process_everything_once(office: Office) -> None:
    calls = [replace(signal, call_id=f"c{n}") for n in range(30) for signal in (RING, *COURSE)]
    await office.takes(*calls)
    await asyncio.gather(*(process_some(office.database) for _ in range(4)))
    while await process_some(office.database):
        pass
    events = await office.events()
    assert len(events) == 120
    assert len({(each.call_id, getattr(each, "version", 0)) for each in events}) == 120


async def test_an_agent_calling_the_office_is_not_their_own_last_agent(office: Office) -> None:
    await office.takes(replace(RING, caller_raw="+914842000110"), *COURSE)
    await process_some(office.database)
    assert (await office.call())["staff_id"] == "desk"
    assert await office.last_agents() == {}


async def test_an_older_talk_never_replaces_a_newer_one(office: Office) -> None:
    async with office.database.transaction(office.account.tenant) as tx:
        await store.put_rows(tx, "put_last_agents", [(CALLER, "ravi", NOW + timedelta(days=1))])
    await office.takes(RING, *COURSE)
    await process_some(office.database)
    assert await office.last_agents() == {CALLER: "ravi"}


async def test_outbound_calls_are_nobodys_quarantine(office: Office) -> None:
    await office.takes(*(replace(each, direction="outbound") for each in COURSE))
    await process_some(office.database)
    call = await office.call()
    assert (call["direction"], call["quarantined"]) == ("outbound", False)
    assert await office.last_agents() == {}


async def test_a_thousand_webhooks_at_once_are_each_told_of(office: Office) -> None:
    calls = [replace(signal, call_id=f"c{n}") for n in range(250) for signal in (RING, *COURSE)]
    for start in range(0, len(calls), 500):
        await office.takes(*calls[start : start + 500])
    while await process_some(office.database):
        pass
    assert len(await office.events()) == 1000


async def test_what_is_long_processed_is_forgotten(office: Office) -> None:
    await office.takes(RING)
    await process_some(office.database)
    async with office.database.system() as tx:
        await tx.execute("UPDATE intake SET received_at = now() - interval '29 days'")
        await store.prune_intake(tx, 30)
        assert await tx.fetchval("SELECT count(*) FROM intake") == 1
        await tx.execute("UPDATE intake SET received_at = now() - interval '31 days'")
        await store.prune_intake(tx, 30)
        assert await tx.fetchval("SELECT count(*) FROM intake") == 0


async def test_the_same_vendors_id_on_two_tenants_are_two_calls(database: Database) -> None:
    one, two = await office_in(database), await office_in(database)
    for office in (one, two):
        await office.takes(RING)
    await process_some(database)
    first, second = await one.call(), await two.call()
    assert isinstance(first["id"], UUID)
    assert first["id"] != second["id"]


async def test_the_same_vendors_id_on_two_accounts_of_a_tenant_are_two_calls(office: Office) -> None:
    other = replace(office, account=replace(office.account, id=uuid4()))
    await office.takes(RING, COURSE[0])
    await other.takes(RING, COURSE[0])
    assert await process_some(office.database) == 4
    async with office.database.transaction(office.account.tenant) as tx:
        assert await tx.fetchval("SELECT count(*) FROM call WHERE vendor_call_id = 'c1' AND state = 'ringing'") == 2
