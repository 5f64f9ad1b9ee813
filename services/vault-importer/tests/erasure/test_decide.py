"""Who may set an erasure going: two people, after a plan that was read, and never against a hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from kit.postgres import role_dsn
from vault_importer.api import make_api
from vault_importer.erasure import decide
from vault_importer.erasure import run as running
from vault_importer.erasure.case import Case, ErasureRefused, SuppressionKey, due_at, name_key, plan_hash
from vault_importer.erasure.reach import reach_of
from vault_importer.erasure.run import BESIDE, work_all
from vault_importer.index_messages import index_tenant
from vault_importer.links import store as links_store
from vault_importer.links.decide import Party

from .conftest import KEY, NUMBER, Forgetting

NOW = datetime(2026, 6, 15, 10, tzinfo=UTC)


def test_a_year_is_counted_from_the_newest_that_was_taken_in() -> None:
    processed = NOW - timedelta(days=100)
    assert due_at("at_once", now=NOW, processed_at=processed) == NOW
    assert due_at("after_one_year", now=NOW, processed_at=processed) == processed + timedelta(days=365)
    assert due_at("after_one_year", now=NOW, processed_at=NOW - timedelta(days=400)) == NOW
    assert due_at("after_one_year", now=NOW, processed_at=None) == NOW


@pytest.mark.parametrize("processed", [None, NOW - timedelta(days=800), NOW])
def test_whoever_may_have_called_is_not_erased_within_a_year(processed: datetime | None) -> None:
    year = NOW + timedelta(days=365)
    assert due_at("after_one_year", now=NOW, processed_at=processed, called=True) == year
    assert due_at("at_once", now=NOW, processed_at=processed, called=True) == NOW


@pytest.mark.parametrize(
    "name", ["owner", " owner\t", "Owner", "\uff4f\uff57\uff4e\uff45\uff52", "own\u200ber", "OWNER"]
)
def test_one_name_is_one_person_however_it_is_written(name: str) -> None:
    assert name_key(name) == name_key("owner")
    assert name_key("The  Owner") == name_key("the owner")
    assert name_key("owner 2") != name_key(name)


def test_a_tag_tells_nothing_and_is_the_same_again() -> None:
    tenant = uuid4()
    tag = KEY.tag(tenant, "919847000010@s.whatsapp.net")
    assert tag == KEY.tag(tenant, "919847000010@s.whatsapp.net")
    assert tag != KEY.tag(uuid4(), "919847000010@s.whatsapp.net")
    assert tag != SuppressionKey.of(bytes(32)).tag(tenant, "919847000010@s.whatsapp.net")


def test_plans_that_say_the_same_have_one_name() -> None:
    assert plan_hash({"a": 1, "b": 2}) == plan_hash({"b": 2, "a": 1})
    assert plan_hash({"a": 1}) != plan_hash({"a": 2})


@pytest.mark.parametrize("named", [{}, {"numbers": ["twelve"]}], ids=["nobody", "no number"])
def test_somebody_has_to_be_named(named: dict[str, Any]) -> None:
    with pytest.raises(ErasureRefused):
        decide.who_of(**named)


async def begin(forgetting: Forgetting, case: Case, *, plan: str | None = None, key: Any = KEY) -> Case:
    return await decide.begin(
        forgetting.vault.database, forgetting.vault.tenant, case.id, plan=plan or case.plan_hash, by="owner", key=key
    )


@pytest.mark.real
async def test_two_different_people_have_to_approve(forgetting: Forgetting) -> None:
    vault = forgetting.vault
    case = await forgetting.ask()
    with pytest.raises(ErasureRefused, match="two different people"):
        await decide.make_plan(vault.database, vault.tenant, case.id)
    await decide.approve(vault.database, vault.tenant, case.id, by="owner")
    with pytest.raises(ErasureRefused, match="another person"):
        await decide.approve(vault.database, vault.tenant, case.id, by="owner")
    with pytest.raises(ErasureRefused, match="another person"):
        await decide.approve(vault.database, vault.tenant, case.id, by=" Owner ")
    with pytest.raises(ErasureRefused, match="two different people"):
        await decide.make_plan(vault.database, vault.tenant, case.id)
    assert (await decide.approve(vault.database, vault.tenant, case.id, by="partner")).state == "approved"


@pytest.mark.real
async def test_a_plan_counts_and_erases_nothing(forgetting: Forgetting) -> None:
    before = await forgetting.vault.rows("SELECT count(*) AS n FROM message")
    case = await forgetting.planned()
    assert case.plan is not None
    assert case.plan["messages"] == {"author": 4, "conversation": 4, "copy": 2}
    assert case.plan["beside"]["message_reaction"] == 1
    assert case.plan["kept"] == {"messages of others that name the number": 1}
    assert await forgetting.vault.rows("SELECT count(*) AS n FROM message") == before
    carried = await forgetting.carry_out((await begin(forgetting, case)).id)
    assert carried.counts["message"] == 10


@pytest.mark.real
async def test_only_the_plan_that_was_read_is_carried_out(forgetting: Forgetting) -> None:
    case = await forgetting.planned()
    with pytest.raises(ErasureRefused, match="read it again"):
        await begin(forgetting, case, plan="0000")
    with pytest.raises(ErasureRefused, match="KEY_ENCRYPTION_KEY"):
        await begin(forgetting, case, key=None)
    assert (await forgetting.case(case.id)).state == "planned"


@pytest.mark.real
async def test_the_business_itself_is_not_forgotten(forgetting: Forgetting) -> None:
    with pytest.raises(ErasureRefused, match="your own accounts"):
        await forgetting.ask(numbers=["+919847000001"])


@pytest.mark.real
@pytest.mark.parametrize("on", ["number", "group", "everything"])
async def test_a_hold_forbids_the_plan_and_stops_what_was_planned(forgetting: Forgetting, on: str) -> None:
    vault = forgetting.vault
    case = await forgetting.planned()
    group = (await vault.rows("SELECT chat_id FROM message WHERE text = 'So do I'"))[0]["chat_id"]
    held = await decide.hold(
        vault.database, vault.tenant, number=NUMBER if on == "number" else None,
        chat_id=group if on == "group" else None, reason="A claim", by="owner",
    )  # fmt: skip
    with pytest.raises(ErasureRefused, match=str(held.id)):
        await begin(forgetting, case)
    with pytest.raises(ErasureRefused, match="legal hold"):
        await decide.make_plan(vault.database, vault.tenant, case.id)
    await decide.release(vault.database, vault.tenant, held.id, by="owner", why="settled")
    with pytest.raises(ErasureRefused):
        await decide.release(vault.database, vault.tenant, held.id, by="owner", why="again")
    begun = await begin(forgetting, case)
    later = await decide.hold(vault.database, vault.tenant, number=NUMBER, chat_id=None, reason="Another", by="owner")
    assert (await forgetting.carry_out(begun.id)).state == "erasing"
    assert (await forgetting.vault.rows("SELECT count(*) AS n FROM contact WHERE number = $1", NUMBER))[0]["n"] == 1
    await decide.release(vault.database, vault.tenant, later.id, by="owner", why="settled")
    assert (await forgetting.carry_out(begun.id)).state == "told"


def test_an_id_is_made_of_a_reference_as_the_directory_makes_it() -> None:
    # Front-desk's test_forget.py says the same of its own.
    assert decide.directory_id(UUID(int=17), "customer", "c-17") == "9efe00a8-a03d-54ba-82ee-93e4f8403d0c"


async def put_party(forgetting: Forgetting, ref: str, kind: str = "customer", **fields: Any) -> Party:
    """What the directory tells of an entry that people know by a reference."""
    party = Party(kind=kind, id=decide.directory_id(forgetting.vault.tenant, kind, ref))
    told: dict[str, Any] = {"version": 1, "name": "Kottakkal Traders", "numbers": [], "emails": [], "gstin": None}
    async with forgetting.vault.database.transaction(forgetting.vault.tenant) as tx:
        await links_store.put_party(tx, party, **(told | fields))
    return party


@pytest.mark.real
@pytest.mark.parametrize("kind", ["customer", "lead"])
async def test_a_customer_or_lead_is_named_by_reference_or_id(forgetting: Forgetting, kind: str) -> None:
    party = await put_party(forgetting, "c-17", kind)
    for named in ("c-17", party.id, party.id.upper()):
        case = await forgetting.ask(**{f"{kind}s": [named]})
        assert (case.who.customer_ids or case.who.lead_ids) == (party.id,)
    # One that was deleted in the directory is still named by id; that it is not there is said.
    gone = str(uuid4())
    case = await forgetting.planned(**{f"{kind}s": [gone]})
    assert (case.who.customer_ids or case.who.lead_ids) == (gone,)
    assert case.plan is not None
    assert case.plan["not in the directory"] == 1
    for named in ("c-18", ""):
        with pytest.raises(ErasureRefused, match=f"no {kind} of this reference"):
            await forgetting.ask(**{f"{kind}s": [named]})


@pytest.mark.real
@pytest.mark.parametrize("kind", ["customer", "lead"])
@pytest.mark.parametrize("known_by", ["number", "link"])
async def test_a_hold_on_a_number_holds_the_customer_or_lead_with_it(
    forgetting: Forgetting, kind: str, known_by: str
) -> None:
    vault = forgetting.vault
    party = await put_party(forgetting, "c-17", kind, numbers=[NUMBER] if known_by == "number" else [])
    if known_by == "link":
        async with vault.database.transaction(vault.tenant) as tx:
            await tx.execute(
                "INSERT INTO contact_link SELECT tenant_id, id, 'linked', $1, $2, true, 1, '[]', now() FROM contact"
                " WHERE number = $3", kind, party.id, NUMBER,
            )  # fmt: skip
    case = await forgetting.planned(**{f"{kind}s": ["c-17"]})
    assert case.who.numbers == (NUMBER,)
    assert case.plan is not None
    assert case.plan["messages"] == {"author": 4, "conversation": 4, "copy": 2}
    held = await decide.hold(vault.database, vault.tenant, number=NUMBER, chat_id=None, reason="A claim", by="owner")
    with pytest.raises(ErasureRefused, match=str(held.id)):
        await begin(forgetting, case)
    with pytest.raises(ErasureRefused, match=str(held.id)):
        await forgetting.planned(**{f"{kind}s": ["c-17"]})


@pytest.mark.real
@pytest.mark.parametrize("whose", ["customer", "wrote it"])
async def test_a_hold_on_a_number_holds_whoever_has_an_address_with_it(forgetting: Forgetting, whose: str) -> None:
    vault, email = forgetting.vault, "accounts@kottakkal.example"
    if whose == "customer":
        await put_party(forgetting, "c-17", numbers=[NUMBER], emails=["Accounts@Kottakkal.example"])
    else:
        await forgetting.import_(f"UPDATE message SET text_data = 'I am {email}' WHERE _id = 9001", name="newer.db")
    case = await forgetting.planned(emails=[email])
    # The address is theirs; whether the number is theirs as well nobody has said.
    assert case.who.numbers == ()
    held = await decide.hold(vault.database, vault.tenant, number=NUMBER, chat_id=None, reason="A claim", by="owner")
    with pytest.raises(ErasureRefused, match=str(held.id)):
        await begin(forgetting, case)
    await decide.release(vault.database, vault.tenant, held.id, by="owner", why="settled")
    assert (await begin(forgetting, case)).state == "erasing"


@pytest.mark.real
async def test_within_the_year_a_person_is_hidden_and_kept_out_and_erased_on_the_day(
    forgetting: Forgetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = forgetting.vault
    await decide.set_policy(vault.database, vault.tenant, "after_one_year", by="owner")
    case = await forgetting.begun()
    assert case.state == "locked"
    assert case.due_at is not None
    assert case.due_at > datetime.now(UTC) + timedelta(days=360)
    await _is_hidden(forgetting)
    await index_tenant(vault.database, vault.tenant)
    await work_all(forgetting.erasing)
    await _is_hidden(forgetting)
    assert len(await vault.rows("SELECT FROM message WHERE text LIKE '%xylophone%'")) == 1
    assert await forgetting.told() == []
    monkeypatch.setattr(running, "datetime", _Clock(case.due_at + timedelta(minutes=1)))
    await work_all(forgetting.erasing)
    assert (await forgetting.case(case.id)).state == "told"
    assert await vault.rows("SELECT FROM message WHERE text LIKE '%xylophone%'") == []


@pytest.mark.real
async def test_who_has_only_called_is_held_for_a_year_and_calls_since_then_stay(
    forgetting: Forgetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault, caller = forgetting.vault, "+919847000098"
    await decide.set_policy(vault.database, vault.tenant, "after_one_year", by="owner")
    written = await forgetting.planned(numbers=[caller], scope="messages")
    assert written.due_at is not None
    assert written.due_at <= datetime.now(UTC)
    planned = await forgetting.planned(numbers=[caller])
    assert planned.plan is not None
    assert "calls" in planned.plan["due_because"]
    async with vault.database.transaction(vault.tenant) as tx:
        await tx.execute("UPDATE erasure SET due_at = due_at - interval '400 days' WHERE id = $1", planned.id)
    # Read long ago and applied today: they may have called since.
    case = await begin(forgetting, planned)
    assert case.state == "locked"
    assert case.due_at is not None
    assert case.effective_at is not None
    assert case.due_at >= case.effective_at + timedelta(days=365)
    monkeypatch.setattr(running, "datetime", _Clock(case.due_at + timedelta(minutes=1)))
    await work_all(forgetting.erasing)
    [told] = await forgetting.told()
    assert (told.numbers, told.effective_at) == ((caller,), case.effective_at)


class _Clock:
    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self, _: Any) -> datetime:
        return self._at


async def _is_hidden(forgetting: Forgetting) -> None:
    vault = forgetting.vault
    headers = {"Authorization": "Bearer t", "X-Tenant": str(vault.tenant)}
    transport = httpx.ASGITransport(app=make_api(vault.database, "t"))
    chats = await vault.rows("SELECT id, contact_id FROM chat")
    async with httpx.AsyncClient(transport=transport, base_url="http://vault", headers=headers) as client:
        said = ""
        for chat in chats:
            for path in (f"/v1/chats/{chat['id']}/messages", f"/v1/messages?chat={chat['id']}"):
                said += (await client.get(path)).text
        for path in ("/v1/chats", "/v1/conversations?number=%2B919847000010", "/v1/search?q=xylophone",
                     "/v1/search?q=forty"):  # fmt: skip
            said += (await client.get(path)).text
    assert "So do I" in said
    assert "Call 9847000010" in said
    said = said.replace("Call 9847000010", "")
    assert not any(each in said for each in ("xylophone", "forty", "9847000010"))


@pytest.mark.real
async def test_what_was_given_up_is_shown_and_found_again(forgetting: Forgetting) -> None:
    vault = forgetting.vault
    await decide.set_policy(vault.database, vault.tenant, "after_one_year", by="owner")
    case = await forgetting.begun()
    with pytest.raises(ErasureRefused, match="why"):
        await decide.cancel(vault.database, vault.tenant, case.id, by="owner", why="")
    await decide.cancel(vault.database, vault.tenant, case.id, by="owner", why="They have come back")
    await index_tenant(vault.database, vault.tenant)
    assert len(await vault.rows("SELECT FROM message_search WHERE words @@ 'xylophone'::tsquery")) == 1
    run = await forgetting.import_("UPDATE message SET text_data = 'Newer' WHERE _id = 9003", name="newer.db")
    assert "erased" not in str(run.manifest)
    await decide.set_policy(vault.database, vault.tenant, "at_once", by="owner")
    carried = await forgetting.carried_out()
    with pytest.raises(ErasureRefused, match="cannot be given up"):
        await decide.cancel(vault.database, vault.tenant, carried.id, by="owner", why="Too late")


async def ended(forgetting: Forgetting, case: Case) -> Case:
    carried = await forgetting.carry_out((await begin(forgetting, case)).id)
    await forgetting.answer(carried)
    return await forgetting.carry_out(carried.id)


@pytest.mark.real
async def test_when_it_ends_nothing_tells_any_more_who_it_was(forgetting: Forgetting) -> None:
    vault, other = forgetting.vault, "+919847000099"
    held = await decide.hold(
        vault.database, vault.tenant, number=NUMBER, chat_id=None, reason="The claim of Kottakkal", by="owner"
    )
    elsewhere = await decide.hold(vault.database, vault.tenant, number=other, chat_id=None, reason="Else", by="owner")
    for each in (held, elsewhere):
        await decide.release(vault.database, vault.tenant, each.id, by="owner", why="Kottakkal has paid")
    again = await forgetting.approved()
    with_others = await forgetting.planned(numbers=[NUMBER, other])
    given_up = await forgetting.ask()
    await decide.cancel(vault.database, vault.tenant, given_up.id, by="owner", why="Asked twice")
    case = await forgetting.planned()
    assert (await ended(forgetting, case)).state == "done"
    emptied, smaller = await forgetting.case(again.id), await forgetting.case(with_others.id)
    assert (emptied.state, bool(emptied.who), emptied.who.addresses) == ("cancelled", False, ())
    assert (smaller.state, smaller.who.numbers, smaller.who.contact_ids) == ("approved", (other,), ())
    rows = await vault.rows("SELECT number, reason, released_why FROM legal_hold ORDER BY placed_at")
    assert rows == [
        {"number": "", "reason": "", "released_why": ""},
        {"number": other, "reason": "Else", "released_why": "Kottakkal has paid"},
    ]
    assert await vault.rows("SELECT FROM erasure e WHERE e::text LIKE $1", f"%{NUMBER[3:]}%") == []
    told = await vault.rows("SELECT details FROM audit_log WHERE action = 'erasure.cancelled' ORDER BY sequence")
    assert json.loads(told[-1]["details"]) == {"erasure": str(again.id), "by": f"erasure {case.id}"}


@pytest.mark.real
async def test_a_request_for_more_than_was_erased_and_a_later_one_stay(forgetting: Forgetting) -> None:
    whole = await forgetting.approved()
    case = await forgetting.planned(scope="messages")
    carried = await forgetting.carry_out((await begin(forgetting, case)).id)
    later = await forgetting.ask(scope="messages")
    await forgetting.answer(carried)
    await forgetting.carry_out(carried.id)
    for each in (whole, later):
        assert (await forgetting.case(each.id)).who.numbers == (NUMBER,)


@pytest.mark.real
async def test_why_somebody_asked_goes_when_it_is_given_up(forgetting: Forgetting) -> None:
    vault = forgetting.vault
    asked = decide.Asked(who=decide.who_of([NUMBER]), by="desk", why="The letter of Kottakkal")
    case = await decide.ask(vault.database, vault.tenant, asked)
    assert (await decide.cancel(vault.database, vault.tenant, case.id, by="owner", why="They have come back")).why == ""


@pytest.mark.real
async def test_reach_says_what_there_is_and_leaves_nothing(forgetting: Forgetting) -> None:
    vault = forgetting.vault
    reach = await reach_of(vault.database, vault.tenant, decide.who_of([NUMBER]))
    assert reach.messages == 8
    assert {chat["kind"]: chat["messages"] for chat in reach.chats} == {"direct": 4, "group": 4}
    assert reach.beside["contact"] == 1
    assert await vault.rows("SELECT FROM erasure_message") == []


# What the database itself refuses -------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM message",
        "DELETE FROM message_revision",
        "UPDATE ledger_opening SET openings = ''",
        "INSERT INTO erasure_message SELECT tenant_id, id, gen_random_uuid(), 'author' FROM message",
        "TRUNCATE message CASCADE",
    ],
)
async def test_the_service_itself_may_not_delete(forgetting: Forgetting, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with forgetting.vault.database.transaction(forgetting.vault.tenant) as tx:
            await tx.execute(statement)


@pytest.mark.real
async def test_the_owner_may_delete_only_for_an_erasure_at_work(forgetting: Forgetting) -> None:
    vault = forgetting.vault
    case = await forgetting.planned()
    owner = await asyncpg.connect(role_dsn(vault.database._app_dsn, "vault_importer_owner", "test"))
    try:
        await owner.execute(f"SET search_path = vault_importer; SET app.tenant = '{vault.tenant}'")
        for erasing in ("", str(case.id), str(uuid4())):
            await owner.execute(f"SET app.erasing = '{erasing}'")
            for table in ("message", "message_reaction"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await owner.execute(f"DELETE FROM {table}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await owner.execute("TRUNCATE message CASCADE")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await owner.execute("UPDATE message SET text = 'Never said'")
    finally:
        await owner.close()


@pytest.mark.real
@pytest.mark.parametrize("state", ["asked", "approved", "planned"])
async def test_the_functions_demand_an_erasure_at_work(forgetting: Forgetting, state: str) -> None:
    case = await {"asked": forgetting.ask, "approved": forgetting.approved, "planned": forgetting.planned}[state]()
    for call in (
        *(f"erase_beside('{case.id}', '{target}')" for target in BESIDE),
        f"erase_messages('{case.id}', '{{}}')",
        f"destroy_openings('{case.id}', '{{0}}')",
        f"release_messages('{case.id}')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with forgetting.vault.database.transaction(forgetting.vault.tenant) as tx:
                await tx.execute(f"SELECT {call}")


@pytest.mark.real
async def test_the_functions_touch_only_what_the_erasure_reaches(forgetting: Forgetting) -> None:
    vault = forgetting.vault
    case = await forgetting.begun()
    other = (await vault.rows("SELECT id FROM message WHERE text = 'So do I'"))[0]["id"]
    leaf = (await vault.rows("SELECT min(first_leaf) AS leaf FROM ledger_batch WHERE kind = 'import'"))[0]["leaf"]
    for call, argument in (("erase_messages", [other]), ("destroy_openings", [leaf])):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="does not reach"):
            async with vault.database.transaction(vault.tenant) as tx:
                await tx.execute(f"SELECT {call}($1, $2)", case.id, argument)


@pytest.mark.real
async def test_one_who_approved_twice_by_hand_is_still_one(forgetting: Forgetting) -> None:
    """Whatever the application says, the functions count for themselves."""
    vault = forgetting.vault
    case = await forgetting.ask()
    async with vault.database.transaction(vault.tenant) as tx:
        await tx.execute("INSERT INTO erasure_approval VALUES ($1, $2, 'owner', now())", vault.tenant, case.id)
        await tx.execute("UPDATE erasure SET state = 'erasing' WHERE id = $1", case.id)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="two approvals"):
        async with vault.database.transaction(vault.tenant) as tx:
            await tx.execute("SELECT erase_messages($1, $2)", case.id, list[UUID]())
