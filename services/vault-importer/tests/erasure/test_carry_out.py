"""Nothing of an erased person is left in the archive, what others wrote stays, and every proof still holds."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY as METRICS_REGISTRY

import vault_importer.erasure.run as running
import vault_importer.load_backup as loading
from kit.postgres import Database, Transaction
from vault_importer.checkpoints import tenant_signer
from vault_importer.erasure import decide, store
from vault_importer.erasure.case import Case
from vault_importer.erasure.receipts import ANSWERING
from vault_importer.erasure.run import work_all
from vault_importer.refusals import ErasedMeanwhile
from vault_importer.signed_note import is_signed, parse_note
from vault_importer.verify_ledger import LedgerVerdict, verify_ledger

from .conftest import ADDRESS, KEY, NUMBER, OWN_FILE, SEALING, SHARED_FILE, Forgetting

pytestmark = pytest.mark.real

#: The outbox leaves by itself, a request knows whom it is about until everybody has answered, and what is still on its
#: way has to be recognised: the certificate names the day.
FOR_A_WHILE = {"outbox", "erasure", "erased_lately"}
CUSTOMER = "00000000-0000-0000-0000-0000000000c1"
NEEDLES = ("9847000010", "xylophone", "forty bags")


async def found(database: Database, tenant: Any) -> set[str]:
    """Tables with anything of the person, in any column, as text."""
    async with database.transaction(tenant) as tx:
        tables = await tx.fetch(
            "SELECT c.relname AS name FROM pg_class c WHERE c.relnamespace = 'vault_importer'::regnamespace"
            " AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND has_table_privilege(c.oid, 'SELECT')"
        )
        hits = set()
        for table in (row["name"] for row in tables):
            texts = " OR ".join(
                f"strpos(t::text, '{each}') > 0 OR strpos(t::text, '{each.encode().hex()}') > 0" for each in NEEDLES
            )
            if await tx.fetchval(f"SELECT EXISTS (SELECT FROM {table} t WHERE {texts})"):
                hits.add(table)
        return hits


async def verified(forgetting: Forgetting) -> LedgerVerdict:
    vault = forgetting.vault
    keys = [tenant_signer(SEALING.signer, vault.tenant).verifier]
    verdict = await verify_ledger(vault.database, vault.tenant, keys=keys, now=datetime.now(UTC))
    assert verdict.fault is None, verdict.fault
    return verdict


async def texts(forgetting: Forgetting) -> set[str]:
    return {row["text"] for row in await forgetting.vault.rows("SELECT text FROM message")}


async def test_nothing_of_the_person_is_left_and_the_proofs_hold(forgetting: Forgetting) -> None:
    database, tenant = forgetting.vault.database, forgetting.vault.tenant
    before = await found(database, tenant)
    assert {"message", "contact", "message_detail", "message_search", "search_word", "chat"} <= before
    assert {"contact_identity", "contact_seen"} <= before
    leaves = (await verified(forgetting)).leaves
    case = await forgetting.carried_out()
    assert case.state == "told"
    # What another person wrote about them is that person's.
    left = "Call 9847000010 for cement"
    assert left in await texts(forgetting)
    await forgetting.answer(case)
    ended = await forgetting.carry_out(case.id)
    assert ended.state == "done"
    assert await found(database, tenant) - FOR_A_WHILE == {"message", "message_search", "search_word"}
    assert {t for t in await texts(forgetting) if any(each in t for each in NEEDLES)} == {left}
    words = {row["word"] for row in await forgetting.vault.rows("SELECT word FROM search_word")}
    assert {"cement", "9847000010"} <= words
    assert not {"xylophone", "forty", "919847000010"} & words
    verdict = await verified(forgetting)
    assert verdict.leaves > leaves
    with_leaves = ("message", "message_media_file", "message_reaction", "message_poll_vote")
    assert verdict.shredded == ended.counts["ledger_opening"] == sum(ended.counts[each] for each in with_leaves)


async def test_what_others_did_stays_without_them(forgetting: Forgetting) -> None:
    await forgetting.carried_out()
    assert {"So do I", "As quoted"} <= await texts(forgetting)
    quotes = await forgetting.vault.rows("SELECT text, quoted_contact_id, quoted_key_id FROM message_quote")
    assert "I take forty bags of cement" not in {each["text"] for each in quotes}
    for table in ("message_reaction", "message_receipt", "message_poll_vote", "chat_member"):
        rows = await forgetting.vault.rows(
            f"SELECT 1 AS one FROM {table} t WHERE NOT EXISTS (SELECT FROM contact c WHERE c.id = t.contact_id)"
            f" AND t.contact_id <> '00000000-0000-0000-0000-000000000000'"
        )
        assert rows == [], table


async def test_the_others_are_told_who_and_which_messages(
    forgetting: Forgetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "MESSAGES_PER_CHUNK", 2)
    gone = {row["id"] for row in await forgetting.vault.rows("SELECT id FROM message")}
    case = await forgetting.carried_out(numbers=[NUMBER], customers=[CUSTOMER])
    gone -= {row["id"] for row in await forgetting.vault.rows("SELECT id FROM message")}
    first, *others = await forgetting.told()
    assert (first.part, first.numbers, first.customer_ids) == (1, (NUMBER,), (CUSTOMER,))
    assert ADDRESS in first.addresses
    assert len(first.contact_ids) == len(first.chat_ids) == 1
    assert first.message_ids == ()
    assert [each.part for each in others] == list(range(2, case.parts + 1))
    assert {id_ for each in others for id_ in each.message_ids} == set(map(str, gone))
    assert all(not each.numbers and not each.addresses for each in others)
    assert {each.subject_id for each in (first, *others)} == {str(case.subject_id)}


async def test_files_go_when_nobody_refers_to_them_any_more(forgetting: Forgetting) -> None:
    media = forgetting.folder / "media"
    contents = {path.read_bytes() for path in media.rglob("*") if path.is_file()}
    assert {OWN_FILE, SHARED_FILE} <= contents
    inbox = forgetting.folder / "watched" / str(forgetting.vault.account.id) / "done"
    inbox.mkdir(parents=True)
    (inbox / "msgstore.db.crypt15").write_bytes(b"everybody")
    case = await forgetting.carried_out()
    contents = {path.read_bytes() for path in media.rglob("*") if path.is_file()}
    assert OWN_FILE not in contents
    assert SHARED_FILE in contents
    assert list(inbox.iterdir()) == []
    assert (case.counts["media_file"], case.counts["backup file"]) == (1, 1)


async def test_what_was_interrupted_goes_on(forgetting: Forgetting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "MESSAGES_PER_CHUNK", 1)
    case = await forgetting.begun()
    real, calls = running._erase_chunk, 0

    async def breaks(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise ConnectionError
        await real(*arguments)

    monkeypatch.setattr(running, "_erase_chunk", breaks)
    with pytest.raises(ConnectionError):
        await forgetting.carry_out(case.id)
    await verified(forgetting)
    await work_all(forgetting.erasing)
    ended = await forgetting.case(case.id)
    assert ended.state == "told"
    parts = [each.part for each in await forgetting.told()]
    assert parts == list(range(1, ended.parts + 1))
    assert ended.counts["message"] == ended.parts - 1
    await verified(forgetting)


async def test_the_certificate_comes_once_all_have_answered_and_names_nobody(forgetting: Forgetting) -> None:
    case = await forgetting.carried_out()
    await forgetting.answer(case, *ANSWERING[1:])
    assert (await forgetting.carry_out(case.id)).state == "told"
    await forgetting.answer(case, ANSWERING[0], erased={"call": 3})
    ended = await forgetting.carry_out(case.id)
    assert ended.state == "done"
    note = ended.certificate
    assert note is not None
    assert f"{ANSWERING[0]}\n  call: {3 * case.parts}" in note
    assert f"message: {case.counts['message']}" in note
    assert "kept, messages of others that name the number: 1" in note
    assert re.search(r"gone: 20\d\d-\d\d-\d\d", note)
    assert not any(each in note for each in (*NEEDLES, "example.in/accounts", "Accounts@"))
    assert is_signed(parse_note(note), tenant_signer(SEALING.signer, forgetting.vault.tenant).verifier)
    assert not ended.who.numbers
    assert not ended.who.addresses
    assert not ended.who.emails
    await verified(forgetting)


async def test_it_is_measured_for_how_long_the_others_have_not_answered(forgetting: Forgetting) -> None:
    vault = forgetting.vault
    await work_all(forgetting.erasing)
    assert unanswered() == 0
    case = await forgetting.carried_out()
    assert (await vault.rows("SELECT told_at >= effective_at AS told FROM erasure")) == [{"told": True}]
    async with vault.database.transaction(vault.tenant) as tx:
        await tx.execute("UPDATE erasure SET told_at = told_at - interval '2 days'")
    await work_all(forgetting.erasing)
    assert unanswered() >= 2 * 24 * 3600
    await forgetting.answer(case)
    # The look that ends it, and the one after that.
    await work_all(forgetting.erasing)
    await work_all(forgetting.erasing)
    assert (await forgetting.case(case.id)).state == "done"
    assert unanswered() == 0


async def test_one_that_cannot_be_carried_out_holds_up_no_other(
    forgetting: Forgetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await forgetting.begun()
    real = store.open_cases

    async def with_one_that_is_not_there(tx: Transaction, now: datetime) -> Any:
        first, *others = await real(tx, now)
        return [(first[0], uuid4(), *first[2:]), first, *others]

    monkeypatch.setattr(store, "open_cases", with_one_that_is_not_there)
    with pytest.raises(ExceptionGroup, match="could not be carried out"):
        await work_all(forgetting.erasing)
    assert (await forgetting.case(case.id)).state == "told"


def unanswered() -> float:
    return METRICS_REGISTRY.get_sample_value("trunkline_erasure_unanswered_age_seconds") or 0.0


async def test_a_second_receipt_and_one_of_nothing_change_nothing(forgetting: Forgetting) -> None:
    case = await forgetting.carried_out()
    await forgetting.answer(case, ANSWERING[0], erased={"call": 3})
    await forgetting.answer(case, ANSWERING[0], erased={"call": 99})
    rows = await forgetting.vault.rows("SELECT erased FROM erasure_receipt")
    assert {row["erased"] for row in rows} == {'{"call": 3}'}


async def test_another_tenant_keeps_the_same_person(forgetting: Forgetting) -> None:
    from vault_importer.accounts import Account
    from vault_importer.import_backup import ImportJob, import_backup
    from vault_importer.store import put_account

    database = forgetting.vault.database
    account = Account(tenant_id=uuid4(), id=uuid4(), name="Mumbai", number="+919820000001", sealed_key=None)
    async with database.transaction(account.tenant_id) as tx:
        await put_account(tx, account)
    await import_backup(ImportJob(database=database, account=account, path=forgetting.backup()))
    async with database.transaction(account.tenant_id) as tx:
        before = await tx.fetchval("SELECT count(*) FROM message")
    await forgetting.carried_out()
    async with database.transaction(account.tenant_id) as tx:
        assert await tx.fetchval("SELECT count(*) FROM message") == before
        assert await tx.fetchval("SELECT count(*) FROM contact WHERE number = $1", NUMBER) == 1


def begins_meanwhile(forgetting: Forgetting, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next import is at its messages when the erasure begins."""
    real = loading._load_messages

    async def late(*arguments: Any, **options: Any) -> None:
        await decide.begin(
            forgetting.vault.database, forgetting.vault.tenant, case.id, plan=case.plan_hash, by="owner", key=KEY
        )
        monkeypatch.setattr(loading, "_load_messages", real)
        await real(*arguments, **options)

    monkeypatch.setattr(loading, "_load_messages", late)


async def test_an_import_that_is_at_work_does_not_bring_them_back(
    forgetting: Forgetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await forgetting.planned()
    begins_meanwhile(forgetting, case, monkeypatch)
    change = "UPDATE message SET text_data = 'I take fifty bags' WHERE _id = 9003"
    with pytest.raises(ErasedMeanwhile):
        await forgetting.import_(change, name="newer.db")
    await forgetting.carry_out(case.id)
    run = await forgetting.import_(change, name="newer.db")
    assert run.state == "completed"
    assert await found(forgetting.vault.database, forgetting.vault.tenant) - FOR_A_WHILE == {
        "message", "message_search", "search_word",
    }  # fmt: skip
    await verified(forgetting)


async def test_nor_does_it_bring_back_who_is_erased_a_second_time(
    forgetting: Forgetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were let in after the first, so that the list has their address already."""
    vault = forgetting.vault
    await forgetting.carried_out()
    await decide.lift(vault.database, vault.tenant, decide.who_of([NUMBER]), by="owner", key=KEY)
    case = await forgetting.planned()
    begins_meanwhile(forgetting, case, monkeypatch)
    later = int((datetime.now(UTC) + timedelta(minutes=1)).timestamp() * 1000)
    change = f"UPDATE message SET timestamp = {later} WHERE _id = 9001"
    with pytest.raises(ErasedMeanwhile):
        await forgetting.import_(change, name="newer.db")
    await forgetting.carry_out(case.id)
    await forgetting.import_(change, name="newer.db")
    assert await vault.rows("SELECT FROM message WHERE text LIKE '%xylophone%'") == []


def test_old_backups_leave_after_their_days(tmp_path: Any) -> None:
    from vault_importer.erasure.files import remove_old_backups

    done = tmp_path / "account" / "done"
    done.mkdir(parents=True)
    (done / "a.crypt15").write_bytes(b"x")
    (tmp_path / "account" / "waiting.crypt15").write_bytes(b"x")
    os.utime(done / "a.crypt15", (0, 0))
    assert remove_old_backups(tmp_path, 1) == 0
    assert remove_old_backups(tmp_path, 0) == 1
    assert [path.name for path in tmp_path.rglob("*.crypt15")] == ["waiting.crypt15"]
