"""Links and roles on a real Postgres: from the directory's events and the archive to what is shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.directory import CustomerV1, LeadV1, StaffV1
from identifiers.gstin import check_digit
from kit.consume import Deletion
from vault_importer import consumers, search_store
from vault_importer.links import follow, store
from vault_importer.links.decide import Party
from vault_importer.links.follow import link_tenant
from vault_importer.links.judge import CannotDecide, Judgement, NoSuchOne, judge_chat, judge_contact

pytestmark = pytest.mark.real
GSTIN = "32AABCT1332L1Z" + check_digit("32AABCT1332L1Z")
ONE, TWO, THREE = "+919847000010", "+919847000011", "+919847000012"
BY = Judgement(by="owner@shop.example", why="asked them", at=datetime(2026, 3, 1, tzinfo=UTC))


class Links:
    """An archive, its directory, and how its contacts stand."""

    def __init__(self, archive: Any) -> None:
        self.archive, self.vault = archive, archive.vault

    async def customer(self, id_: str, *, version: int = 1, name: str = "Somebody", **fields: Any) -> None:
        event = CustomerV1(customer_id=id_, version=version, name=name, **fields)
        async with self.vault.database.transaction(self.vault.tenant) as tx:
            await consumers.on_customer(event, tx)

    async def lead(self, id_: str, **fields: Any) -> None:
        async with self.vault.database.transaction(self.vault.tenant) as tx:
            await consumers.on_lead(LeadV1(lead_id=id_, version=1, name="A lead", **fields), tx)

    async def staff(self, id_: str, *numbers: str) -> None:
        async with self.vault.database.transaction(self.vault.tenant) as tx:
            await consumers.on_staff(StaffV1(staff_id=id_, version=1, name="Reception desk", numbers=numbers), tx)

    async def delete(self, entity: str, id_: str) -> None:
        handler = getattr(consumers, f"on_{entity}_deleted")
        async with self.vault.database.transaction(self.vault.tenant) as tx:
            await handler(Deletion(topic=f"directory.{entity}", tenant=self.vault.tenant, entity_id=id_), tx)

    async def say(self, number: str, *texts: str, **different: Any) -> None:
        await self.archive.say(*texts, chat=f"{number[1:]}@s.whatsapp.net", **different)

    async def run(self) -> None:
        await link_tenant(self.vault.database, self.vault.tenant)

    async def contact(self, number: str) -> UUID:
        return UUID(str((await self.vault.rows("SELECT id FROM contact WHERE number = $1", number))[0]["id"]))

    async def chat(self, number: str) -> UUID:
        contact = await self.contact(number)
        return UUID(str((await self.vault.rows("SELECT id FROM chat WHERE contact_id = $1", contact))[0]["id"]))

    async def stands(self, number: str) -> tuple[str, str | None]:
        await self.run()
        rows = await self.vault.rows(
            "SELECT state, party_id FROM contact_link WHERE contact_id = $1", await self.contact(number)
        )
        return (rows[0]["state"], rows[0]["party_id"]) if rows else ("none", None)

    async def role(self, number: str) -> str:
        await self.run()
        rows = await self.vault.rows("SELECT role FROM chat_role WHERE chat_id = $1", await self.chat(number))
        return str(rows[0]["role"])

    async def judge(self, number: str, action: Any, *parties: Party) -> dict[str, Any]:
        contact = await self.contact(number)
        return await judge_contact(self.vault.database, self.vault.tenant, contact, action, parties, BY)


@pytest.fixture
def links(archive: Any) -> Links:
    return Links(archive)


async def test_a_contact_is_linked_by_number_then_by_what_they_wrote(links: Links) -> None:
    await links.customer("k1", numbers=[ONE])
    await links.customer("k2", gstin=GSTIN)
    await links.customer("k3", emails=["Orders@Traders.example"])
    await links.say(ONE, "hello")
    await links.say(TWO, f"our number is {GSTIN.lower()}")
    await links.say(THREE, "send it to orders@traders.example please")
    assert [await links.stands(each) for each in (ONE, TWO, THREE)] == [
        ("linked", "k1"),
        ("linked", "k2"),
        ("linked", "k3"),
    ]
    [told] = await links.vault.rows("SELECT evidence, confidence FROM contact_link WHERE party_id = 'k2'")
    assert GSTIN in told["evidence"]
    [message] = await links.vault.rows("SELECT id FROM message WHERE text LIKE 'our number%'")
    assert str(message["id"]) in told["evidence"]


async def test_what_the_account_wrote_or_a_group_said_is_no_evidence(links: Links) -> None:
    await links.customer("k1", gstin=GSTIN)
    await links.say(ONE, f"is {GSTIN} yours?", from_me=True, sender_id=None)
    assert await links.stands(ONE) == ("none", None)


async def test_a_name_is_only_proposed_and_two_with_one_number_are_ambiguous(links: Links) -> None:
    await links.customer("k1", name="KOTTAKKAL traders")
    await links.say(ONE, "hello")
    assert await links.stands(ONE) == ("proposed", None)
    await links.customer("k2", numbers=[ONE])
    await links.customer("k3", numbers=[ONE])
    assert await links.stands(ONE) == ("ambiguous", None)
    await links.delete("customer", "k3")
    assert await links.stands(ONE) == ("linked", "k2")


async def test_a_persons_word_survives_imports_and_the_directory(links: Links) -> None:
    await links.customer("k1", numbers=[ONE])
    await links.customer("k2", numbers=[ONE])
    await links.say(ONE, "hello")
    assert await links.stands(ONE) == ("ambiguous", None)
    await links.judge(ONE, "accept", Party(kind="customer", id="k2"))
    assert await links.stands(ONE) == ("linked", "k2")
    await links.say(ONE, f"and our tax number is {GSTIN}")
    await links.customer("k1", version=2, numbers=[ONE], gstin=GSTIN)
    await links.customer("k2", version=2, numbers=[])
    assert await links.stands(ONE) == ("linked", "k2")
    await links.judge(ONE, "refuse")
    assert await links.stands(ONE) == ("none", None)
    await links.customer("k1", version=3, numbers=[ONE], gstin=GSTIN, name="Another name")
    assert await links.stands(ONE) == ("none", None)
    # Somebody whom nobody refused is new.
    await links.customer("k9", numbers=[ONE])
    assert await links.stands(ONE) == ("linked", "k9")
    await links.judge(ONE, "again")
    assert (await links.stands(ONE))[1] == "k1"
    said = await links.vault.rows("SELECT action, decided_by, why FROM link_decision WHERE by_person ORDER BY number")
    assert [row["action"] for row in said] == ["accept", "refuse", "again"]
    assert {(row["decided_by"], row["why"]) for row in said} == {(BY.by, BY.why)}
    audited = await links.vault.rows("SELECT details FROM audit_log WHERE action = 'link_decided'")
    assert len(audited) == 3
    assert all(BY.by in row["details"] and ONE not in row["details"] for row in audited)


async def test_a_customer_that_is_deleted_ends_its_link(links: Links) -> None:
    await links.customer("k1", numbers=[ONE])
    await links.say(ONE, "hello")
    await links.run()
    await links.judge(ONE, "accept", Party(kind="customer", id="k1"))
    await links.delete("customer", "k1")
    assert await links.stands(ONE) == ("none", None)
    assert await links.vault.rows("SELECT party_id FROM party") == []
    [last] = await links.vault.rows("SELECT action, by_person FROM link_decision ORDER BY number DESC LIMIT 1")
    assert (last["action"], last["by_person"]) == ("none", False)
    # An older state that arrives late is a new beginning, as the directory's topic holds nothing older.
    await links.customer("k1", version=1, numbers=[ONE])
    assert await links.stands(ONE) == ("linked", "k1")


async def test_an_older_version_changes_nothing(links: Links) -> None:
    await links.customer("k1", version=5, numbers=[ONE])
    await links.customer("k1", version=4, numbers=[TWO])
    await links.say(ONE, "hello")
    await links.say(TWO, "hello")
    assert (await links.stands(ONE), await links.stands(TWO)) == (("linked", "k1"), ("none", None))


async def test_a_pass_reads_and_writes_only_what_has_changed(links: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    await links.customer("k1", numbers=[ONE])
    await links.say(ONE, *[f"mail me at box{at}@traders.example" for at in range(20)])
    await links.say(TWO, "hello")
    await links.run()
    read: list[int] = []
    found = follow.find_emails
    monkeypatch.setattr(follow, "find_emails", lambda text: read.append(1) or found(text))
    before = await links.vault.rows("SELECT xmin::text, * FROM contact_link")
    await links.run()
    await links.say(TWO, "mail me at somewhere@traders.example", "no address in this")
    await links.run()
    assert len(read) == 1
    assert await links.vault.rows("SELECT xmin::text, * FROM contact_link") == before


async def test_a_pass_goes_on_where_it_was_killed(links: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "MESSAGES", 2)
    monkeypatch.setattr(follow, "CONTACTS", 1)
    monkeypatch.setattr(follow, "CHATS", 1)
    await links.customer("k1", numbers=[TWO])
    await links.customer("k2", emails=["a@traders.example"])
    await links.say(ONE, "one", "two", "three", "write to a@traders.example")
    await links.say(TWO, "four", "five")
    read = search_store.wordings
    left = [3]

    async def dies(*given: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise RuntimeError("killed")
        return await read(*given)

    monkeypatch.setattr(search_store, "wordings", dies)
    with pytest.raises(RuntimeError, match="killed"):
        await links.run()
    assert await links.stands(ONE) == ("linked", "k2")
    assert await links.stands(TWO) == ("linked", "k1")
    assert (await links.role(ONE), await links.role(TWO)) == ("client", "client")


async def test_roles_follow_links_staff_and_a_persons_word(links: Links) -> None:
    await links.customer("k1", numbers=[ONE])
    await links.lead("l1", numbers=[TWO])
    for number in (ONE, TWO, THREE):
        await links.say(number, "hello")
    assert [await links.role(each) for each in (ONE, TWO, THREE)] == ["client", "lead", "unknown"]
    await links.staff("s1", THREE)
    assert await links.role(THREE) == "internal"
    await links.delete("staff", "s1")
    assert await links.role(THREE) == "unknown"
    chat = await links.chat(ONE)
    told = await judge_chat(links.vault.database, links.vault.tenant, chat, "vendor", BY)
    assert (told["role"], told["role_by_person"]) == ("vendor", True)
    assert BY.by in told["role_reason"]
    await links.customer("k1", version=2, numbers=[ONE], name="Renamed")
    assert await links.role(ONE) == "vendor"
    await judge_chat(links.vault.database, links.vault.tenant, chat, None, BY)
    assert await links.role(ONE) == "client"


async def test_a_group_is_internal_only_when_everybody_is_staff(links: Links) -> None:
    for number in (ONE, TWO):
        await links.say(number, "hello")
    await links.run()
    vault, group = links.vault, uuid4()
    async with vault.database.transaction(vault.tenant) as tx:
        await tx.execute(
            "INSERT INTO chat (tenant_id, id, account_id, jid, kind, name, first_import_id) "
            "VALUES ($1, $2, $3, 'g@g.us', 'group', 'Desk', $2)", vault.tenant, group, vault.account.id,
        )  # fmt: skip
        for number in (ONE, TWO):
            await tx.execute(
                "INSERT INTO chat_member (tenant_id, chat_id, contact_id, pending, label, as_of, import_id) "
                "SELECT $1, $2, id, false, '', now(), $2 FROM contact WHERE number = $3", vault.tenant, group, number,
            )  # fmt: skip

    async def role() -> Any:
        await links.run()
        return (await vault.rows("SELECT role FROM chat_role WHERE chat_id = $1", group))[0]["role"]

    await links.staff("s1", ONE)
    assert await role() == "unknown"
    await links.staff("s2", TWO)
    assert await role() == "internal"
    await links.delete("staff", "s2")
    await links.customer("k1", numbers=[TWO])
    assert await role() == "client"


async def test_what_makes_no_sense_is_refused_and_another_tenant_sees_nothing(links: Links) -> None:
    await links.customer("k1", numbers=[TWO])
    await links.say(ONE, "hello")
    await links.run()
    contact, database = await links.contact(ONE), links.vault.database
    with pytest.raises(CannotDecide, match="nobody to refuse"):
        await links.judge(ONE, "refuse")
    with pytest.raises(CannotDecide, match="no customer:k7"):
        await links.judge(ONE, "accept", Party(kind="customer", id="k7"))
    with pytest.raises(CannotDecide, match="who decides"):
        await judge_contact(database, links.vault.tenant, contact, "again", [], Judgement(by=" ", why="", at=BY.at))
    with pytest.raises(NoSuchOne):
        await judge_contact(database, uuid4(), contact, "again", [], BY)
    with pytest.raises(NoSuchOne):
        await judge_chat(database, uuid4(), await links.chat(ONE), "client", BY)


async def test_what_is_erased_is_no_evidence_any_more(links: Links, superuser: Any) -> None:
    await links.customer("k1", gstin=GSTIN)
    await links.say(ONE, f"our number is {GSTIN}")
    assert await links.stands(ONE) == ("linked", "k1")
    # As an erasure of messages ends: the row is gone, and by the foreign key what was made of it.
    await superuser(
        "DELETE FROM message WHERE text LIKE 'our number%'", "DELETE FROM contact_identity WHERE message_id IS NOT NULL"
    )
    await links.say(TWO, "the ledger goes on")
    assert await links.stands(ONE) == ("none", None)
    texts = await links.vault.rows(
        "SELECT evidence::text FROM contact_link UNION ALL SELECT parties::text FROM link_decision"
    )
    assert not [row for row in texts if GSTIN in str(row)]


async def test_links_are_listed_and_decided_over_http(links: Links) -> None:
    http = links.archive.client
    await links.customer("k1", name="Kottakkal Traders", numbers=[ONE])
    await links.customer("k2", name="Kottakkal Stores", numbers=[ONE])
    await links.say(ONE, "hello")
    await links.say(TWO, "from my other number")
    await links.run()
    page = (await http.get("/v1/links", params={"limit": 1})).json()
    assert page["next"]
    rest = (await http.get("/v1/links", params={"after": page["next"]})).json()
    assert rest["next"] is None
    found = {each["number"]: each for each in page["links"] + rest["links"]}
    assert {each["id"]: each["name"] for each in found[ONE]["evidence"]} == {
        "k1": "Kottakkal Traders",
        "k2": "Kottakkal Stores",
    }
    assert found[TWO]["state"] == "proposed"
    for number in (ONE, TWO):
        path = f"/v1/contacts/{found[number]['contact_id']}"
        said = {"action": "accept", "parties": ["customer:k1"], "by": "owner@shop.example"}
        answer = await http.post(f"{path}/decisions", json=said)
        assert (answer.status_code, answer.json()["party_name"]) == (200, "Kottakkal Traders")
        told = (await http.get(f"{path}/link")).json()
        assert told["link"]["by_person"]
        assert [each["decided_by"] for each in told["history"]] == ["autolink", "owner@shop.example", "autolink"]
    await links.run()
    chats = (await http.get("/v1/conversations", params={"customer": "k1", "number": ONE})).json()["conversations"]
    assert {each["last_text"] for each in chats} == {"hello", "from my other number"}
    assert not (await http.get("/v1/conversations", params={"customer": "k2", "number": ONE})).json()["conversations"]
    assert (await http.get("/v1/conversations")).status_code == 400
    path = f"/v1/chats/{await links.chat(ONE)}"
    head = (await http.get(f"{path}/messages")).json()["chat"]
    assert (head["role"], head["linked_id"], head["linked_name"]) == ("client", "k1", "Kottakkal Traders")
    given = await http.post(f"{path}/role", json={"role": "vendor", "by": "owner@shop.example"})
    assert given.json()["role"] == "vendor"
    for body, status in (({"action": "accept", "parties": ["k1"], "by": "x"}, 400), ({"action": "x", "by": "x"}, 422)):
        assert (await http.post(f"/v1/contacts/{found[ONE]['contact_id']}/decisions", json=body)).status_code == status
    http.headers["X-Tenant"] = str(uuid4())
    assert (await http.get("/v1/links")).json()["links"] == []
    assert (await http.get(f"/v1/contacts/{found[ONE]['contact_id']}/link")).status_code == 404
    assert (await http.post(f"{path}/role", json={"role": "vendor", "by": "x"})).status_code == 404


async def test_messages_are_looked_up_one_by_one_however_fresh_the_statistics(links: Links) -> None:
    await links.say(ONE, *[f"line {at}" for at in range(3_000)])
    async with links.vault.database.transaction(links.vault.tenant) as tx:
        ids, _ = await search_store.wordings(tx, 0, 2_000)
        rows = await tx.fetch(f"EXPLAIN {store.Q.clues_to_read}", tx.tenant, ids)
    plan = "\n".join(row[0] for row in rows)
    assert "message_pkey" in plan
    assert "message_by_chat" not in plan
