"""Missed calls become items; claims, time-outs, calls back and resolutions, on a real Postgres."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from typer.testing import CliRunner

from contracts.calls import CallStateV1
from contracts.directory import StaffV1
from contracts.registry import REGISTRY
from kit.postgres import Database
from telephony_router import claim_missed, claims_store
from telephony_router.answer_ring import answer_to_json, intake_of
from telephony_router.claims import Item, Taken, ago
from telephony_router.keep_missed import release_lapsed, settle_some
from telephony_router.missed_commands import app
from telephony_router.process_intake import process_some
from telephony_router.project_directory import project_staff
from telephony_router.record import PostgresIntakes
from telephony_router.routing import Decision
from telephony_router.signals import CallSignal
from telephony_router.vendors.base import Account

MakeDatabase = Callable[..., Awaitable[Database]]
SOURCES = Path(__file__).parents[1] / "src/telephony_router"
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
CALLER, OTHER, DESK, DID = "+919847000001", "+919847000002", "+919847000010", "+914842000100"
DECISION = Decision(action="dial", destinations=(), excluded=(), rule="owner", rung="redis", customer_id=None)
LEASE, WINDOW = timedelta(minutes=15), timedelta(hours=24)
RECEPTION = {"user": "u1", "name": "Reception desk"}
SALES = {"user": "u2", "name": "Sales desk"}


@dataclass
class Office:
    database: Database
    account: Account
    arrivals: Any

    @property
    def tenant(self) -> UUID:
        return self.account.tenant

    async def hears(self, *signals: CallSignal) -> None:
        rows = []
        for signal in signals:
            answer = answer_to_json(DECISION, 1.5) if signal.kind == "ring" else None
            at = NOW + timedelta(seconds=next(self.arrivals))
            rows.append(
                intake_of(self.account, signal, json.dumps([signal.call_id, signal.status]).encode(), at, answer)
            )
        intakes = PostgresIntakes(self.database)
        await intakes.take_in(rows)
        await intakes.close()
        await process_some(self.database)

    async def settles(self) -> None:
        while await settle_some(self.database, window=WINDOW):
            pass

    async def misses(self, call_id: str, *, caller: str = CALLER, minute: float = 0, state: str = "missed") -> None:
        await self.hears(ring(call_id, caller), status(call_id, state, minute, caller_raw=caller))
        await self.settles()

    async def items(self, state: str | None = None) -> list[Item]:
        async with self.database.transaction(self.tenant) as tx:
            return await claims_store.page(tx, state, None, 100)

    async def only(self) -> Item:
        (item,) = await self.items()
        return item

    async def history(self, item: Item) -> list[tuple[str, str, str]]:
        async with self.database.transaction(self.tenant) as tx:
            rows = await claims_store.history(tx, item.id)
        return [(row["change"], row["user_name"], row["reason"]) for row in rows]

    async def told(self) -> list[CallStateV1]:
        """The events that tell of claims, in order."""
        async with self.database.system() as tx:
            rows = await tx.fetch(
                "SELECT type, payload FROM outbox WHERE tenant_id = $1 AND type = 'call.state.v1' ORDER BY xid, seq",
                self.tenant,
            )
        events: list[Any] = [REGISTRY.decode(row["type"], row["payload"].encode()) for row in rows]
        return [event for event in events if event.claim is not None]

    async def claims(self, item: Item, who: dict[str, str], lease: timedelta = LEASE) -> Item:
        return await claim_missed.claim(self.database, self.tenant, item.id, **who, lease=lease)


def ring(call_id: str, caller: str = CALLER) -> CallSignal:
    return CallSignal(kind="ring", vendor="generic", call_id=call_id, caller_raw=caller, did_raw=DID)


def status(call_id: str, name: str, minute: float, **more: Any) -> CallSignal:
    signal = CallSignal(kind="status", vendor="generic", call_id=call_id, status=name, status_raw=name)
    return replace(signal, at=NOW + timedelta(minutes=minute), **more)


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return await make_database(service="telephony-router", package="telephony_router")


@pytest.fixture
async def office(database: Database) -> Office:
    account = Account(id=uuid4(), tenant=uuid4(), vendor="generic")
    async with database.transaction(account.tenant) as tx:
        await project_staff(StaffV1(staff_id="desk", version=1, name="Accounts desk", numbers=(DESK,)), tx)
    return Office(database, account, itertools.count())


def test_how_long_ago_is_said_in_words() -> None:
    assert [ago(seconds) for seconds in (3.9, 59, 60, 3599, 7300)] == ["3 s", "59 s", "1 min", "59 min", "2 h"]


@pytest.mark.real
@pytest.mark.parametrize("state", ["missed", "busy", "failed", "cancelled"])
async def test_a_call_that_nobody_answered_opens_an_item_and_tells_it(office: Office, state: str) -> None:
    await office.misses("c1", state=state)
    item = await office.only()
    assert (item.state, item.caller, item.did, item.calls) == ("open", CALLER, DID, 1)
    (event,) = await office.told()
    assert event.claim is not None
    assert (event.state, event.previous_state, event.claim.status, event.claim.calls) == (state, state, "open", 1)
    assert event.version == 2
    # Said again, and settled again: nothing new.
    await office.misses("c1", state=state)
    assert len(await office.told()) == 1


@pytest.mark.real
async def test_a_call_nobody_asked_about_and_an_answered_one_open_nothing(office: Office) -> None:
    await office.hears(status("stray", "missed", 0, caller_raw=CALLER))
    await office.hears(ring("c1"), status("c1", "answered", 0, agent_raw=DESK), status("c1", "completed", 1))
    await office.settles()
    assert await office.items() == []
    # The question arrives late: now it is ours.
    await office.hears(ring("stray", OTHER))
    await office.settles()
    assert (await office.only()).caller == OTHER


@pytest.mark.real
async def test_calls_of_one_caller_within_a_day_are_one_item(office: Office) -> None:
    await office.misses("c1", minute=0)
    await office.misses("c2", minute=60, state="busy")
    await office.misses("c3", minute=30)
    await office.misses("other", caller=OTHER, minute=61)
    await office.misses("withheld-1", caller="anonymous", minute=62)
    await office.misses("withheld-2", caller="anonymous", minute=63)
    first, *others = await office.items()
    assert (first.calls, first.first_at, first.last_at) == (3, NOW, NOW + timedelta(minutes=60))
    assert [(each.caller, each.calls) for each in others] == [(OTHER, 1), (None, 1), (None, 1)]
    told = [event.claim for event in await office.told() if event.call_id == str(first.id)]
    assert [claim.calls for claim in told if claim] == [1, 2, 3]
    await office.misses("next-week", minute=60 * 24 * 7)
    assert [each.calls for each in await office.items() if each.caller == CALLER] == [3, 1]


@pytest.mark.real
async def test_one_claim_wins_and_the_others_learn_who_has_it(office: Office) -> None:
    await office.misses("c1")
    item = await office.only()
    claims = [office.claims(item, {"user": f"u{n}", "name": f"Desk {n}"}) for n in range(20)]
    answers = await asyncio.gather(*claims, return_exceptions=True)
    (winner,) = [each for each in answers if isinstance(each, Item)]
    losers = [each for each in answers if isinstance(each, Taken)]
    assert len(losers) == 19
    assert {each.item.user_id for each in losers} == {winner.user_id}
    assert {each.item.until for each in losers} == {winner.until}
    assert all(str(each).startswith(f"{winner.user_name} took it ") for each in losers)
    # To ask again is answered as the first time, and moves nothing.
    again = await office.claims(item, {"user": str(winner.user_id), "name": winner.user_name})
    assert (again.since, again.until) == (winner.since, winner.until)
    assert [change for change, *_ in await office.history(item)] == ["opened", "claimed"]
    assert [event.claim.status for event in await office.told() if event.claim] == ["open", "claimed"]


@pytest.mark.real
async def test_only_its_holder_renews_releases_and_resolves(office: Office) -> None:
    await office.misses("c1")
    item = await office.only()
    database, tenant = office.database, office.tenant
    mine = await office.claims(item, RECEPTION)
    with pytest.raises(Taken, match="Reception desk took it"):
        await claim_missed.renew(database, tenant, item.id, user="u2", lease=LEASE)
    with pytest.raises(Taken):
        await claim_missed.release(database, tenant, item.id, user="u2", reason="")
    with pytest.raises(Taken):
        await claim_missed.resolve(database, tenant, item.id, **SALES, outcome="spam", note="")
    longer = await claim_missed.renew(database, tenant, item.id, user="u1", lease=2 * LEASE)
    assert longer.until is not None
    assert mine.until is not None
    assert longer.until > mine.until
    free = await claim_missed.release(database, tenant, item.id, user="u1", reason="lunch")
    assert (free.state, free.user_id) == ("open", None)
    await office.claims(item, SALES)
    done = await claim_missed.resolve(database, tenant, item.id, **SALES, outcome="no_answer", note="rang twice")
    assert (done.state, done.outcome, done.user_name, done.note) == (
        "resolved",
        "no_answer",
        "Sales desk",
        "rang twice",
    )
    again = await claim_missed.resolve(database, tenant, item.id, **SALES, outcome="no_answer", note="")
    assert (again.since, again.note) == (done.since, "rang twice")
    with pytest.raises(Taken, match="Sales desk resolved it"):
        await office.claims(item, RECEPTION)
    assert await office.history(item) == [
        ("opened", "", ""),
        ("claimed", "Reception desk", ""),
        ("renewed", "Reception desk", ""),
        ("released", "Reception desk", "lunch"),
        ("claimed", "Sales desk", ""),
        ("resolved", "Sales desk", ""),
    ]
    versions = [event.version for event in await office.told()]
    assert versions == sorted(set(versions))


@pytest.mark.real
async def test_a_claim_lapses_by_the_databases_clock(office: Office) -> None:
    await office.misses("c1")
    item = await office.only()
    held = await office.claims(item, RECEPTION, timedelta(milliseconds=300))
    assert held.until is not None
    assert held.until - held.since < timedelta(seconds=1)
    async with office.database.system() as tx:
        await tx.execute("SELECT pg_sleep(0.4)")
    # Two sweeps at once let go of it once.
    assert sorted(await asyncio.gather(release_lapsed(office.database), release_lapsed(office.database))) == [0, 1]
    assert (await office.only()).state == "open"
    assert (await office.history(item))[-1] == ("released", "Reception desk", "lapsed")
    # One that nobody has swept yet may be claimed; its history says why.
    await office.claims(item, RECEPTION, timedelta(milliseconds=1))
    async with office.database.system() as tx:
        await tx.execute("SELECT pg_sleep(0.01)")
    assert (await office.claims(item, SALES)).user_name == "Sales desk"
    assert [change for change, *_ in await office.history(item)][-3:] == ["claimed", "released", "claimed"]


def test_no_clock_but_the_databases_is_asked() -> None:
    """Routers whose clocks differ agree on who has what, because none of them looks at its own."""
    for name in ("claims", "claims_store", "claim_missed", "keep_missed", "missed_api"):
        source = (SOURCES / f"{name}.py").read_text(encoding="utf-8")
        assert not re.search(r"\b(datetime\.now|utcnow|time\.time)\(", source), name


@pytest.mark.real
async def test_a_later_answered_call_resolves_it_whoever_calls_whom(office: Office) -> None:
    await office.misses("c1")
    await office.misses("c2", caller=OTHER)
    first, second = await office.items()
    await office.claims(second, SALES)
    await office.hears(ring("back"), status("back", "answered", 5, agent_raw=DESK))
    # Vendors name the ends of an outbound call either way round.
    await office.hears(status("out", "answered", 6, direction="outbound", caller_raw=DID, did_raw=OTHER))
    await office.settles()
    first, second = await office.items()
    assert (first.state, first.outcome, first.user_id, first.user_name) == (
        "resolved", "called_back", "desk", "Accounts desk",
    )  # fmt: skip
    assert (second.outcome, second.user_name) == ("called_back", "Sales desk")
    assert {event.claim.status for event in (await office.told())[-2:] if event.claim} == {"resolved"}


@pytest.mark.real
async def test_the_outcome_does_not_depend_on_the_order_in_which_calls_are_told(office: Office) -> None:
    told = random.Random(7)
    for number in range(8):
        caller = f"+9198470001{number:02}"
        signals = [
            [ring(f"m{number}", caller), status(f"m{number}", "missed", 0)],
            [ring(f"a{number}", caller), status(f"a{number}", "answered", 5, agent_raw=DESK)],
        ]
        told.shuffle(signals)
        for group in signals:
            await office.hears(*group)
            if told.random() < 0.5:
                await asyncio.gather(office.settles(), office.settles())
    await asyncio.gather(office.settles(), office.settles())
    assert await office.items("open") == []


@pytest.mark.real
async def test_an_answered_call_before_it_resolves_nothing(office: Office) -> None:
    await office.hears(ring("early"), status("early", "answered", -5, agent_raw=DESK))
    await office.misses("c1")
    assert (await office.only()).state == "open"


@pytest.mark.real
async def test_a_call_that_was_answered_after_all_is_resolved(office: Office) -> None:
    await office.misses("c1")
    await office.hears(status("c1", "completed", 1, agent_raw=DESK))
    await office.settles()
    item = await office.only()
    assert (item.state, item.outcome) == ("resolved", "not_needed")


@pytest.mark.real
async def test_a_call_back_that_fails_releases_what_was_claimed_before_it(office: Office) -> None:
    await office.misses("c1")
    item = await office.only()
    await office.hears(status("too-early", "initiated", 1, direction="outbound", caller_raw=CALLER, did_raw=DID))
    await office.claims(item, RECEPTION)
    await office.hears(status("too-early", "busy", 2, direction="outbound"))
    await office.settles()
    assert (await office.only()).state == "claimed"
    await office.hears(status("back", "busy", 3, direction="outbound", caller_raw=CALLER, did_raw=DID))
    await office.settles()
    assert (await office.only()).state == "open"
    assert (await office.history(item))[-1] == ("released", "Reception desk", "call back busy")


@pytest.mark.real
async def test_all_that_a_user_has_is_released_when_they_are_gone(office: Office) -> None:
    for number in range(3):
        await office.misses(f"c{number}", caller=f"+9198470000{number:02}")
    items = await office.items()
    for item in items[:2]:
        await office.claims(item, RECEPTION)
    await office.claims(items[2], SALES)
    released = await claim_missed.release_all(office.database, office.tenant, user="u1", reason="user deactivated")
    assert released == 2
    assert [item.state for item in await office.items()] == ["open", "open", "claimed"]


@pytest.mark.real
async def test_a_call_that_cannot_be_seen_to_holds_no_other_up(office: Office) -> None:
    await office.hears(ring("bad"), status("bad", "missed", 0))
    async with office.database.transaction(office.tenant) as tx:
        await tx.execute("UPDATE call SET facts = facts || '{\"of a later version\": true}'")
    await office.misses("c1", caller=OTHER)
    assert (await office.only()).caller == OTHER
    async with office.database.system() as tx:
        assert (await claims_store.figures(tx))["put_aside"] == 1


@pytest.mark.real
async def test_another_tenant_sees_and_claims_nothing_and_history_is_append_only(office: Office) -> None:
    await office.misses("c1")
    item = await office.only()
    stranger = uuid4()
    with pytest.raises(claim_missed.NoSuchItem):
        await claim_missed.claim(office.database, stranger, item.id, **RECEPTION, lease=LEASE)
    async with office.database.transaction(stranger) as tx:
        assert await claims_store.page(tx, None, None, 10) == []
    for change in ("UPDATE missed_change SET reason = 'x'", "DELETE FROM missed_change"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with office.database.transaction(office.tenant) as tx:
                await tx.execute(change)


@pytest.mark.real
async def test_an_operator_lists_what_waits_and_takes_it_from_whoever_has_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "TELEPHONY_ROUTER_"
    given = {"POSTGRES_DSN": office.database._app_dsn, "ADMIN_TOKEN": "x", "DEMO": "true"}
    given |= {f"{own}APP_PASSWORD": "test", f"{own}SYSTEM_PASSWORD": "test"}
    for name, value in {**given, f"{own}SECRET_KEY": base64.b64encode(bytes(32)).decode()}.items():
        monkeypatch.setenv(f"TRUNKLINE_{name}", value)
    await office.misses("c1")
    item = await office.only()
    await office.claims(item, RECEPTION)
    tenant = ["--tenant", str(office.tenant)]

    async def says(*arguments: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, [*arguments, *tenant])

    listed = await says("list", "--state", "claimed")
    assert f"{item.id}  missed 1 time(s)" in listed.stdout
    assert "claimed by Reception desk" in listed.stdout
    assert json.loads((await says("list", "--state", "open", "--json")).stdout) == []
    assert (await says("release", str(item.id), "--why", "on leave")).exit_code == 0
    assert (await office.history(item))[-1] == ("released", "an operator", "on leave")
    refused = await says("release", str(uuid4()), "--why", "x")
    assert (refused.exit_code, refused.stderr) == (1, "there is no such missed call of this tenant\n")
