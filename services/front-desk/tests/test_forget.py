"""Forgetting a person in the directory and on the board: what goes, what stays, and what must not come back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.erasure import ErasureReceiptV1, SubjectErasedV1
from front_desk import show_on_board as board
from front_desk.consumers import LIVE
from front_desk.kinds import KINDS
from kit.postgres import Database

pytestmark = pytest.mark.real

NUMBER, OTHER, EMAIL = "+919847000021", "+919847000022", "accounts@kottakkal.example"
NEEDLES = ("9847000021", EMAIL, "Kottakkal", "32AAACK1234A1ZJ")
#: Emptied by partition, by day, and with the topics.
FOR_A_WHILE = {"outbox", "erased_lately"}


def subject(**fields: Any) -> SubjectErasedV1:
    told: dict[str, Any] = {
        "erasure_id": str(uuid4()), "subject_id": str(uuid4()), "part": 1, "scope": "person",
        "effective_at": datetime.now(UTC), "numbers": (NUMBER,), "emails": (EMAIL,), "chat_ids": ("chat1",),
    }  # fmt: skip
    return SubjectErasedV1(**{**told, **fields})


async def erase(desk: Any, tenant: UUID, person: SubjectErasedV1) -> ErasureReceiptV1:
    [subscription] = [each for each in LIVE if each.topic == "subject.erased"]
    async with desk.database.transaction(tenant) as tx:
        await tx.hold(*await subscription.emits(person, tx))
        await subscription.handler(person, tx)
    told = [each["payload"] for each in await desk.outbox() if each["subject"] == person.subject_id]
    return ErasureReceiptV1.model_validate_json(told[-1])


async def found(database: Database, tenant: UUID, needles: Sequence[str] = NEEDLES) -> set[str]:
    """Tables with anything of the person in any column."""
    async with database.transaction(tenant) as tx:
        tables = await tx.fetch(
            "SELECT c.relname AS name FROM pg_class c WHERE c.relnamespace = 'front_desk'::regnamespace"
            " AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND has_table_privilege(c.oid, 'SELECT')"
        )
        return {
            row["name"]
            for row in tables
            if await tx.fetchval(
                f"SELECT EXISTS (SELECT FROM {row['name']} t WHERE t::text LIKE ANY ($1::text[]))",
                [f"%{each}%" for each in needles],
            )
        }


async def everything(desk: Any, make: Any, tenant: UUID) -> None:
    await desk.show(tenant, board.show_inbound_calls, make.call(), make.call("c2", caller=OTHER, caller_raw=OTHER))
    missed = {"status": "open", "calls": 1, "first_missed_at": make.call().asked_at, "change": "opened"}
    await desk.show(tenant, board.show_call_states, make.state(), make.state("c1", "missed", 3, **missed))
    await desk.show(
        tenant, board.show_messages, make.message(peer_number=NUMBER),
        make.message("m2", chat_id="group", chat_kind="group", chat_name="Traders"),
        make.message("m3", chat_id="group", chat_kind="group", chat_name="Traders", sender_name="Rao", text="So do I",
                     sent_at=make.call().asked_at - timedelta(hours=1)),
    )  # fmt: skip
    evidence = make.fact().evidence.model_copy(update={"source_id": "m3", "quote": "x"})
    other = make.fact("f2", subject=f"contact:{OTHER}", value="x", raw_value="x", evidence=evidence)
    await desk.show(tenant, board.show_facts, make.fact(), other)
    await desk.show_one(tenant, board.show_anomaly, make.anomaly(evidence=({"subject": f"contact:{NUMBER}"},)))
    await desk.show_one(tenant, board.show_mail, make.mail(recipient=EMAIL))


async def put(desk: Any, business: Any, kind: str, ref: str, **body: Any) -> dict[str, Any]:
    answer = await desk.http.put(f"/v1/{kind}/{ref}", json=body, headers=business.headers)
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


async def test_an_id_is_made_of_a_reference_as_the_archive_does_who_asks_by_it() -> None:
    # The archive's erasure/test_decide.py says the same of its own.
    assert KINDS["customer"].id(UUID(int=17), "c-17") == "9efe00a8-a03d-54ba-82ee-93e4f8403d0c"


async def test_nothing_of_the_person_is_left_on_the_board_or_in_the_directory(desk: Any, make: Any) -> None:
    business = await desk.open("malabar")
    tenant = business.tenant
    await everything(desk, make, tenant)
    made = await put(desk, business, "customers", "c-17", name="Kottakkal Traders", numbers=[NUMBER], emails=[EMAIL])
    await put(desk, business, "leads", "l-1", name="Kottakkal", numbers=[NUMBER])
    assert {"board_call", "board_chat", "board_fact", "board_anomaly", "board_mail", "customer", "lead"} <= await found(
        desk.database, tenant
    )
    receipt = await erase(desk, tenant, subject(customer_ids=(made["id"],)))
    await erase(desk, tenant, subject(part=2, numbers=(), emails=(), chat_ids=(), message_ids=("m1", "m2")))
    assert await found(desk.database, tenant) - FOR_A_WHILE == set()
    counts = {each.store: each.rows for each in receipt.erased}
    assert counts["customer"] == counts["lead"] == 1
    # Others stay.
    rows = await rows_of(desk, tenant, "SELECT call_id FROM board_call")
    assert [row["call_id"] for row in rows] == ["c2"]
    assert [row["fact_id"] for row in await rows_of(desk, tenant, "SELECT fact_id FROM board_fact")] == ["f2"]
    [chat] = await rows_of(desk, tenant, "SELECT chat_name, last_text FROM board_chat")
    assert chat == {"chat_name": "Traders", "last_text": ""}
    # Everybody else's directory forgets by the same way as ever.
    gone = [each for each in await desk.outbox() if each["type"] in ("directory.customer.v1", "directory.lead.v1")]
    assert [each["payload"] for each in gone[-2:]] == [None, None]


async def rows_of(desk: Any, tenant: UUID, query: str) -> list[dict[str, Any]]:
    async with desk.database.transaction(tenant) as tx:
        return [dict(row) for row in await tx.fetch(query)]


async def test_of_somebody_elses_entry_only_their_number_and_address_go(desk: Any) -> None:
    business = await desk.open("malabar")
    entry = {"name": "A firm", "numbers": [OTHER, NUMBER], "emails": ["Accounts@kottakkal.example"]}
    made = await put(desk, business, "customers", "firm", **entry)
    await erase(desk, business.tenant, subject())
    now = (await desk.http.get("/v1/customers/firm", headers=business.headers)).json()
    assert (now["numbers"], now["emails"], now["version"]) == ([OTHER], [], made["version"] + 1)
    told = [each for each in await desk.outbox() if each["type"] == "directory.customer.v1"]
    assert NUMBER not in told[-1]["payload"]


async def test_who_goes_first_does_not_any_more_and_who_is_shut_out_stays_so(desk: Any) -> None:
    business = await desk.open("malabar")
    shut_out = "+919847000023"
    body = {"vip_numbers": [NUMBER, OTHER], "blocked_numbers": [shut_out]}
    answer = await desk.http.put("/v1/routing", json=body, headers=business.headers)
    assert answer.status_code in (200, 201), answer.text
    receipt = await erase(desk, business.tenant, subject(numbers=(NUMBER, shut_out)))
    now = (await desk.http.get("/v1/routing", headers=business.headers)).json()
    assert (now["vip_numbers"], now["blocked_numbers"]) == ([OTHER], [shut_out])
    assert [(each.store, each.rows) for each in receipt.kept] == [("routing", 1)]
    bodies = await rows_of(desk, business.tenant, "SELECT body -> 'vip_numbers' AS vip FROM routing_version")
    assert all(NUMBER not in str(row["vip"]) for row in bodies)


async def test_what_arrives_late_has_no_effect_and_what_is_new_has(desk: Any, make: Any) -> None:
    business = await desk.open("malabar")
    tenant = business.tenant
    await erase(desk, tenant, subject())
    await erase(desk, tenant, subject(part=2, numbers=(), emails=(), chat_ids=(), message_ids=("m1", "m2")))
    await everything(desk, make, tenant)
    assert await found(desk.database, tenant) - FOR_A_WHILE == set()
    # What the rule found stays, without them.
    [found_by_rule] = await rows_of(desk, tenant, "SELECT evidence::text FROM board_anomaly")
    assert found_by_rule["evidence"].replace(" ", "") == '[{"subject":"[erased]"}]'
    later = datetime.now(UTC) + timedelta(minutes=1)
    await desk.show(tenant, board.show_inbound_calls, make.call("c9", asked_at=later))
    await desk.show_one(tenant, board.show_mail, make.mail("n9", recipient=EMAIL, at=later))
    assert [row["notification_id"] for row in await rows_of(desk, tenant, "SELECT * FROM board_mail")] == ["n9"]
    assert {row["call_id"] for row in await rows_of(desk, tenant, "SELECT call_id FROM board_call")} == {"c2", "c9"}


async def test_told_again_an_erasure_leaves_what_came_since(desk: Any, make: Any) -> None:
    business = await desk.open("malabar")
    tenant, person = business.tenant, subject()
    await erase(desk, tenant, person)
    later = datetime.now(UTC) + timedelta(minutes=1)
    evidence = make.fact().evidence.model_copy(update={"at": later, "source_id": "m9"})
    await desk.show(tenant, board.show_facts, make.fact("f9", subject=f"contact:{NUMBER}", evidence=evidence))
    await desk.show_one(tenant, board.show_mail, make.mail("n9", recipient=EMAIL, at=later))
    again = await erase(desk, tenant, person)
    assert again.erased == ()
    assert {"board_fact", "board_mail"} <= await found(desk.database, tenant)


async def test_where_only_messages_are_erased_calls_and_the_directory_stay(desk: Any, make: Any) -> None:
    business = await desk.open("malabar")
    tenant = business.tenant
    await everything(desk, make, tenant)
    await put(desk, business, "customers", "c-17", name="Kottakkal Traders", numbers=[NUMBER])
    await erase(desk, tenant, subject(scope="messages", message_ids=("m1", "m2")))
    assert await found(desk.database, tenant, [NUMBER, "Kottakkal"]) - FOR_A_WHILE >= {"board_call", "customer"}
    assert not {"board_chat", "board_fact"} & await found(desk.database, tenant)


@pytest.mark.parametrize(("scope", "left"), [("messages", ["f-others"]), ("person", [])])
async def test_what_others_say_of_a_customer_stays_where_only_messages_are_erased(
    desk: Any, make: Any, scope: str, left: list[str]
) -> None:
    tenant = (await desk.open("malabar")).tenant
    source = make.fact().evidence
    theirs, others = (source.model_copy(update={"source_id": each}) for each in ("m1", "m-others"))
    await desk.show(
        tenant,
        board.show_facts,
        make.fact("f-theirs", subject="customer:c-17", evidence=theirs),
        make.fact("f-others", subject="customer:c-17", evidence=others),
        make.fact("f-number", subject=f"contact:{NUMBER}", evidence=others),
        make.fact("f-chat", subject="chat:chat1", evidence=others),
    )
    await erase(desk, tenant, subject(scope=scope, customer_ids=("c-17",), message_ids=("m1",)))
    assert [row["fact_id"] for row in await rows_of(desk, tenant, "SELECT fact_id FROM board_fact")] == left


#: What a rule found: of the person by number, by customer and by address, and of somebody else.
FINDINGS: tuple[dict[str, str | int | float | bool | None], ...] = (
    {"subject": f"contact:{NUMBER}", "fact_key": "pan", "found_values": "ABCDE1234F, FGHIJ5678K", "times": 2},
    {"subject": "customer:c-17", "fact_key": "gstin", "found_values": "32AAACK1234A1ZJ", "times": 1},
    {"subject": "mail", "to": EMAIL.upper(), "times": 3},
    {"subject": "a call", "digits": int(NUMBER[3:]), "times": 4},
    {"subject": f"contact:{OTHER}", "fact_key": "pan", "found_values": "KLMNO9012P", "times": 5},
)
MARKED = [
    {"subject": "[erased]", "fact_key": "[erased]", "found_values": "[erased]", "times": 2},
    {"subject": "[erased]", "fact_key": "[erased]", "found_values": "[erased]", "times": 1},
    {"subject": "[erased]", "to": "[erased]", "times": 3},
    {"subject": "[erased]", "digits": 0, "times": 4},
    FINDINGS[-1],
]


@pytest.mark.parametrize("late", [False, True], ids=["found before", "told late"])
async def test_of_what_a_rule_found_the_whole_row_about_the_person_is_marked(desk: Any, make: Any, late: bool) -> None:
    tenant = (await desk.open("malabar")).tenant
    anomaly = make.anomaly(evidence=FINDINGS, description=f"Two values.\nSeen at {NUMBER}.")
    person = subject(customer_ids=("c-17",), effective_at=datetime.now(UTC) + timedelta(minutes=1))
    if late:
        await erase(desk, tenant, person)
    await desk.show_one(tenant, board.show_anomaly, anomaly)
    if not late:
        receipt = await erase(desk, tenant, person)
        assert {each.store: each.rows for each in receipt.erased}["board_anomaly"] == 1
    [row] = await rows_of(desk, tenant, "SELECT evidence::text, description FROM board_anomaly")
    assert json.loads(row["evidence"]) == MARKED
    assert row["description"] == "Two values.\n[erased]"
    assert await found(desk.database, tenant, ["ABCDE1234F", NUMBER[3:], EMAIL]) - FOR_A_WHILE == set()


async def test_what_was_found_later_in_what_is_older_is_marked_too(desk: Any, make: Any) -> None:
    tenant = (await desk.open("malabar")).tenant
    await erase(desk, tenant, subject())
    now = datetime.now(UTC)
    rows = (
        {"caller": NUMBER, "at": (now - timedelta(days=2)).isoformat()},
        {"caller": NUMBER, "at": (now + timedelta(minutes=1)).isoformat()},
    )
    await desk.show_one(tenant, board.show_anomaly, make.anomaly(evidence=rows, as_of=now + timedelta(minutes=2)))
    [row] = await rows_of(desk, tenant, "SELECT evidence::text FROM board_anomaly")
    assert json.loads(row["evidence"]) == [{"caller": "[erased]", "at": "[erased]"}, rows[1]]


async def test_what_only_facts_of_the_person_said_is_marked_in_findings(desk: Any, make: Any) -> None:
    tenant = (await desk.open("malabar")).tenant
    await desk.show(tenant, board.show_facts, make.fact())
    rows = ({"values": "32AAACK1234A1ZJ, 32AAACZ9999A1Z1"}, {"values": "29AAACZ9999A1Z1"})
    await desk.show_one(tenant, board.show_anomaly, make.anomaly(evidence=rows))
    await erase(desk, tenant, subject(part=2, numbers=(), emails=(), chat_ids=(), message_ids=("m1",)))
    [row] = await rows_of(desk, tenant, "SELECT evidence::text FROM board_anomaly")
    assert json.loads(row["evidence"]) == [{"values": "[erased]"}, rows[1]]


async def test_what_somebody_else_has_said_too_stays_in_findings(desk: Any, make: Any) -> None:
    tenant = (await desk.open("malabar")).tenant
    theirs = make.fact("f1", subject="customer:c-9")
    evidence = theirs.evidence.model_copy(update={"source_id": "m9"})
    others = make.fact("f2", subject="customer:c-9", value=theirs.value.lower(), evidence=evidence)
    await desk.show(tenant, board.show_facts, theirs, others)
    rows = ({"subject": "customer:c-9", "found_values": f"{theirs.value}, 29AAACZ9999A1Z1"},)
    await desk.show_one(tenant, board.show_anomaly, make.anomaly(evidence=rows))
    for message, left in (("m1", rows[0]), ("m9", dict.fromkeys(rows[0], "[erased]"))):
        await erase(desk, tenant, subject(part=2, numbers=(), emails=(), chat_ids=(), message_ids=(message,)))
        [row] = await rows_of(desk, tenant, "SELECT evidence::text FROM board_anomaly")
        assert json.loads(row["evidence"]) == [left]


@pytest.mark.parametrize("cell", ["20270331", "32990101", "2027-W01-1", "2099-03-31", "2099-03-31T10:00:00+05:30"])
async def test_no_code_and_nothing_that_is_due_makes_a_row_newer(desk: Any, make: Any, cell: str) -> None:
    tenant = (await desk.open("malabar")).tenant
    now = datetime.now(UTC)
    await erase(desk, tenant, subject(effective_at=now))
    rows = ({"caller": NUMBER, "at": (now - timedelta(days=2)).isoformat(), "other": cell},)
    for id_, as_of in (("a1", now + timedelta(minutes=2)), ("a2", now - timedelta(minutes=2))):
        found_by_rule = make.anomaly(id_, evidence=rows, as_of=as_of)
        await desk.show_one(tenant, board.show_anomaly, found_by_rule)
    for row in await rows_of(desk, tenant, "SELECT evidence::text FROM board_anomaly"):
        assert json.loads(row["evidence"]) == [dict.fromkeys(rows[0], "[erased]")]


@pytest.mark.parametrize(
    ("type_", "value"),
    [("phone", NUMBER), ("email", EMAIL), ("upi", f"{NUMBER[3:]}@upi"), ("upi", f"{NUMBER[1:]}@upi")],
)
async def test_of_facts_about_others_those_go_whose_value_is_the_person(
    desk: Any, make: Any, type_: str, value: str
) -> None:
    tenant = (await desk.open("malabar")).tenant
    other = make.fact().evidence.model_copy(update={"source_id": "m9"})
    await desk.show(
        tenant,
        board.show_facts,
        make.fact("f1", subject=f"contact:{OTHER}", value=value, raw_value=value, value_type=type_, evidence=other),
        make.fact("f2", subject=f"contact:{OTHER}", value="x", raw_value="x", value_type=type_, evidence=other),
    )
    await erase(desk, tenant, subject(scope="messages"))
    assert len(await rows_of(desk, tenant, "SELECT FROM board_fact")) == 2
    await erase(desk, tenant, subject())
    assert [row["fact_id"] for row in await rows_of(desk, tenant, "SELECT fact_id FROM board_fact")] == ["f2"]


async def test_twice_is_once_and_another_tenant_keeps_theirs(desk: Any, make: Any) -> None:
    mine, theirs = await desk.open("malabar"), await desk.open("konkan")
    for business in (mine, theirs):
        await everything(desk, make, business.tenant)
        await put(desk, business, "customers", "c-17", name="Kottakkal Traders", numbers=[NUMBER])
    before = await found(desk.database, theirs.tenant)
    person = subject()
    await erase(desk, mine.tenant, person)
    again = await erase(desk, mine.tenant, person)
    assert again.erased == ()
    assert await found(desk.database, theirs.tenant) == before
