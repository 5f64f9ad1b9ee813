"""Another routing over recorded calls: the file, and the calls on a real Postgres."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from contracts.directory import CustomerV1, DidV1, RingGroup, RoutingV1, StaffV1, TenantV1
from kit.postgres import Database
from telephony_router.answer_ring import answer_to_json, intake_of, request_of
from telephony_router.consumers import SUBSCRIPTIONS
from telephony_router.decide import decide
from telephony_router.entries import routing_from_json
from telephony_router.inputs import inputs_of
from telephony_router.ladder import read_view
from telephony_router.process_intake import process_some
from telephony_router.record import PostgresIntakes
from telephony_router.replay_decisions import replay_decisions
from telephony_router.route_commands import app
from telephony_router.routing import Agent, Load, LoadEntry, RoutingView, TenantEntry
from telephony_router.routing_file import BadRouting, changed_routing, file_of
from telephony_router.signals import CallSignal
from telephony_router.vendors.base import Account

MakeDatabase = Callable[..., Awaitable[Database]]
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
DID, CALLER, STRANGER = "+914842000100", "+919847000001", "+919847000002"
HANDLERS = {(each.topic, each.kind): each.handler for each in SUBSCRIPTIONS}
TENANT = TenantEntry(tenant=uuid4(), agents={name: Agent(staff_id=name) for name in ("anu", "binu")})
CURRENT: dict[str, Any] = {"version": 3, "blocked": [], "groups": [], "calendars": [], "fallback_number": None}
run = CliRunner().invoke


def problems(change: object) -> list[str]:
    with pytest.raises(BadRouting) as refused:
        changed_routing(CURRENT, change, TENANT)
    return refused.value.problems


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ([], "the file is not a JSON object"),
        ({"overflw": None}, "overflw: there is no such field; did you mean overflow?"),
        (
            {"groups": [{"name": "a", "staff": ["anu"]}]},
            "groups.staff: there is no such field; did you mean staff_ids?",
        ),
        ({"ring_seconds": "soon"}, "ring_seconds: input should be a valid integer"),
        ({"groups": [{"staff_ids": []}]}, "groups.0.name: field required"),
        ({"overflow": {"group": "a"}}, "overflow.group: a is not among the groups (there are none)"),
        ({"default_calendar": "day"}, "default_calendar: day is not among the calendars"),
        ({"groups": [{"name": "a", "staff_ids": ["zoe"]}]}, "groups.a.staff_ids: zoe is not in the directory"),
        ({"groups": [{"name": "a", "strategy": "best"}]}, "groups.a.strategy: is one of in_order"),
        ({"blocked_numbers": ["soon"]}, "blocked_numbers: is not a telephone number"),
        ({"emergency": {"number": "12"}}, "emergency.number: is not a telephone number"),
        (
            {"calendars": [{"name": "day", "hours": [{"weekday": 1, "start": "9", "until": "18:00"}]}]},
            "calendars.day: times are written HH:MM",
        ),
        (
            {"calendars": [{"name": "day", "hours": "Mon-Fri 09:30-18:00"}]},
            "calendars.0.hours: input should be a valid",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_the_field(change: object, said: str) -> None:
    assert any(each.startswith(said) for each in problems(change)), problems(change)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    assert len(problems({"nonsense": 1, "overflow": {"group": "a"}, "vip_numbers": ["x"]})) == 3


def test_a_file_changes_its_own_fields_and_no_others() -> None:
    change = {"blocked_numbers": ["98470 00077"], "groups": [{"name": "team", "staff_ids": ["anu"]}], "version": 9}
    routing = routing_from_json(changed_routing({**CURRENT, "last_agent_days": 7}, change, TENANT))
    assert routing.blocked == {"+919847000077"}
    assert (routing.last_agent_days, routing.version, routing.groups["team"].staff_ids) == (7, 3, ("anu",))


def test_what_is_shown_can_be_given_back_as_it_is() -> None:
    change = {
        "groups": [{"name": "team", "strategy": "round_robin", "staff_ids": ["anu", "binu"], "ring_seconds": 9}],
        "calendars": [{"name": "day", "holidays": [{"date": "2026-08-15"}]}],
        "blocked_numbers": ["+919847000077"],
        "spam_limit": 60,
    }
    once = changed_routing(CURRENT, change, TENANT)
    assert changed_routing(CURRENT, json.loads(json.dumps(file_of(once))), TENANT) == once


@pytest.mark.parametrize("text", ["soon", "7", "-1d", "1y"])
def test_a_span_that_is_none_is_refused_before_anything_is_asked(text: str) -> None:
    result = run(app, ["replay", "--tenant", str(uuid4()), "--since", text])
    assert result.exit_code == 1
    assert "--since takes" in result.stderr


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "change.json").write_text("{")
    result = run(app, ["replay", "--tenant", str(uuid4()), "--config", str(tmp_path / "change.json")])
    assert (result.exit_code, "is not JSON" in result.stderr) == (1, True)
    result = run(app, ["replay", "--tenant", str(uuid4()), "--config", str(tmp_path / "none.json")])
    assert (result.exit_code, "cannot be read" in result.stderr) == (1, True)


def test_help_teaches_with_examples() -> None:
    text = run(app, ["replay", "--help"]).stdout
    assert "change.json" in text
    assert "--since" in text


class Office:
    def __init__(self, database: Database) -> None:
        self.database, self.account = database, Account(id=uuid4(), tenant=uuid4(), vendor="generic")

    async def hears(self, *events: Any) -> None:
        for event in events:
            async with self.database.transaction(self.account.tenant) as tx:
                await HANDLERS[event.topic(), "each"](event, tx)

    async def rang(self, call: str, caller: str, *, at: datetime = NOW, busy: str = "", kept: bool = True) -> None:
        """A call is answered as a router would, and processed."""
        signal = CallSignal(kind="ring", vendor="generic", call_id=call, caller_raw=caller, did_raw=DID)
        request = request_of(signal)
        found = await read_view(self.database, self.account.tenant, DID, request.caller.e164)
        load = LoadEntry(agents={busy: Load(calls={"other": at})} if busy else {})
        assert found.tenant is not None
        view = RoutingView(tenant=found.tenant, did=found.did, caller=found.caller, rung="redis", load=load)
        decision = decide(view, request, at)
        answer = answer_to_json(decision, 1.0, inputs_of(view, request, decision) if kept else None)
        intakes = PostgresIntakes(self.database)
        await intakes.take_in([intake_of(self.account, signal, call.encode(), at, answer)])
        await intakes.close()
        await process_some(self.database)

    async def replayed(self, change: object | None = None, *, limit: int = 100) -> dict[str, Any]:
        return await replay_decisions(
            self.database,
            self.account.tenant,
            since=NOW - timedelta(days=1),
            until=NOW + timedelta(days=1),
            limit=limit,
            change=change,
        )


@pytest.fixture
async def office(make_database: MakeDatabase) -> Office:
    one = Office(await make_database(service="telephony-router", package="telephony_router"))
    await one.hears(
        TenantV1(tenant_id=str(one.account.tenant), version=1, name="Kochi"),
        StaffV1(staff_id="anu", version=1, name="Anu", numbers=("+919847000010",)),
        StaffV1(staff_id="binu", version=1, name="Binu", numbers=("+919847000011",)),
        CustomerV1(customer_id="c1", version=1, name="Tiles", numbers=(CALLER,), owner_staff_id="anu"),
        DidV1(did=DID, version=1, default_group="team"),
        RoutingV1(
            version=1, groups=(RingGroup(name="team", staff_ids=("anu", "binu")),), fallback_number="+914842000199"
        ),
    )
    return one


@pytest.mark.real
async def test_who_would_have_got_which_call(office: Office) -> None:
    await office.rang("c1", CALLER)
    await office.rang("c2", STRANGER, at=NOW + timedelta(minutes=1))
    await office.rang("c3", STRANGER, at=NOW + timedelta(minutes=2), busy="binu")
    await office.rang("c4", STRANGER, at=NOW - timedelta(days=3))
    told = await office.replayed({"groups": [{"name": "team", "staff_ids": ["binu", "anu"]}]})
    assert told["calls"] == 3
    assert told["summary"] == {"unchanged": 2, "moved": 1, "refused": 0, "admitted": 0}
    (moved,) = told["changed"]
    assert (moved["from"]["rings"], moved["to"]["rings"]) == (["Anu", "Binu"], ["Binu", "Anu"])
    assert "Binu was rung" in moved["why"]
    assert {each["who"]: (each["from"], each["to"]) for each in told["rings_first"]} == {"Anu": (3, 2), "Binu": (0, 1)}
    refused = await office.replayed({"blocked_numbers": [STRANGER]})
    assert refused["summary"]["refused"] == 2
    assert await office.replayed({"blocked_numbers": [STRANGER]}) == refused, "nothing was changed by asking"


@pytest.mark.real
async def test_without_a_file_the_routing_as_it_is_now_is_compared_with_what_was_decided_then(office: Office) -> None:
    await office.rang("c1", STRANGER)
    assert (await office.replayed())["summary"]["unchanged"] == 1
    await office.hears(StaffV1(staff_id="anu", version=2, name="Anu", numbers=("+919847000010",), active=False))
    told = await office.replayed()
    assert (told["summary"]["moved"], told["changed"][0]["to"]["rings"]) == (1, ["Binu"])
    assert (await office.replayed({"spam_limit": 50}))["summary"]["unchanged"] == 1


@pytest.mark.real
async def test_calls_whose_inputs_were_not_kept_are_counted_and_left_out(office: Office) -> None:
    await office.rang("c1", STRANGER, kept=False)
    await office.rang("c2", STRANGER)
    told = await office.replayed()
    assert (told["calls"], told["without_inputs"], told["summary"]["unchanged"]) == (2, 1, 1)
    assert (await office.replayed(limit=1))["more"] is True


@pytest.mark.real
async def test_the_command_tells_the_summary_and_each_call(
    office: Office, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with office.database.system() as tx:
        name = await tx.fetchval("SELECT current_database()")
    parts = urlsplit(postgres_dsn)
    dsn = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], path=f"/{name}"))
    for key, value in {
        "TRUNKLINE_POSTGRES_DSN": dsn,
        "TRUNKLINE_TELEPHONY_ROUTER_APP_PASSWORD": "test",
        "TRUNKLINE_TELEPHONY_ROUTER_SYSTEM_PASSWORD": "test",
        "TRUNKLINE_TELEPHONY_ROUTER_SECRET_KEY": base64.b64encode(bytes(32)).decode(),
        "TRUNKLINE_DEMO": "true",
    }.items():
        monkeypatch.setenv(key, value)
    await office.rang("c1", STRANGER)
    tenant = str(office.account.tenant)
    shown = await asyncio.to_thread(run, app, ["show", "--tenant", tenant])
    file = json.loads(shown.stdout)
    assert file["groups"][0]["staff_ids"] == ["anu", "binu"]
    (tmp_path / "change.json").write_text(json.dumps({**file, "blocked_numbers": [STRANGER]}))
    asked = ["replay", "--tenant", tenant, "--since", "2026-03-01T00:00", "--config", str(tmp_path / "change.json")]
    told = await asyncio.to_thread(run, app, asked)
    assert told.exit_code == 0, told.stderr
    assert "1 calls since 2026-03-01T00:00" in told.stdout
    assert "1 refused" in told.stdout
    assert "Anu, Binu (did_group) → nobody (blocked): Nobody was rung: the caller is blocked." in told.stdout
    as_json = await asyncio.to_thread(run, app, [*asked, "--json"])
    assert json.loads(as_json.stdout)["summary"]["refused"] == 1
    (tmp_path / "change.json").write_text('{"overflow": {"group": "gone"}}')
    refused = await asyncio.to_thread(run, app, asked)
    assert (refused.exit_code, "overflow.group: gone is not among the groups (team)" in refused.stderr) == (1, True)
