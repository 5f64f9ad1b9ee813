"""Postgres is put back to before an erasure: certificates that were kept outside say what has to be forgotten again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from kit.testing import keep_copy, put_back
from vault_importer.checkpoints import tenant_signer
from vault_importer.erasure import decide
from vault_importer.erasure.case import ErasureRefused, SuppressionKey
from vault_importer.erasure.recall import Recalled, recall
from vault_importer.erasure.receipts import Certificate, read_certificate
from vault_importer.links import store as links_store
from vault_importer.links.decide import Party
from vault_importer.signed_note import Signer

from .conftest import KEY, NUMBER, SEALING, Forgetting
from .test_carry_out import FOR_A_WHILE, found, verified
from .test_commands import Operator, operator

pytestmark = pytest.mark.real
__all__ = ["operator"]

#: Cards and notices of others that name the person: kept out by themselves, like an address.
CARDS = 2


@pytest.fixture
async def certified(forgetting: Forgetting, postgres_dsn: str) -> str:
    """The certificate of an erasure that the database, put back, knows nothing of."""
    copy = await keep_copy(postgres_dsn, forgetting.vault.database)
    note = await certificate(forgetting, scope="messages")
    await put_back(postgres_dsn, forgetting.vault.database, copy)
    assert "contact" in await found(forgetting.vault.database, forgetting.vault.tenant)
    return note


async def certificate(forgetting: Forgetting, **named: Any) -> str:
    case = await forgetting.carried_out(**named)
    await forgetting.answer(case)
    note = (await forgetting.carry_out(case.id)).certificate
    assert note is not None
    return note


def read(forgetting: Forgetting, note: str, **options: Any) -> Certificate:
    keys = [tenant_signer(SEALING.signer, forgetting.vault.tenant).verifier]
    return read_certificate(note, forgetting.vault.tenant, **{"keys": keys, **options})


async def recalled(forgetting: Forgetting, note: str, key: SuppressionKey = KEY) -> Recalled:
    vault = forgetting.vault
    return await recall(vault.database, vault.tenant, read(forgetting, note), key=key, by="desk")


async def test_who_is_there_again_is_kept_out_and_asked_for_and_goes_by_two_approvals(
    forgetting: Forgetting, certified: str
) -> None:
    vault = forgetting.vault
    done = await recalled(forgetting, certified)
    assert (done.known, done.kept_out_again, done.entered) == (False, 1 + CARDS, True)
    assert done.case is not None
    assert (done.case.state, done.case.scope, done.case.approvals) == ("asked", "messages", ())
    assert NUMBER in done.case.who.numbers
    # Nothing new of them comes in, though nothing is erased yet.
    await forgetting.import_("UPDATE message SET text_data = 'I take fifty bags' WHERE _id = 9003", name="newer.db")
    assert await vault.rows("SELECT FROM message WHERE text = 'I take fifty bags'") == []
    assert len(await vault.rows("SELECT FROM message WHERE text = 'I take forty bags of cement'")) == 1
    with pytest.raises(ErasureRefused, match="two different people"):
        await decide.make_plan(vault.database, vault.tenant, done.case.id)
    for by in ("owner", "partner"):
        await decide.approve(vault.database, vault.tenant, done.case.id, by=by)
    plan = await decide.make_plan(vault.database, vault.tenant, done.case.id)
    await decide.begin(vault.database, vault.tenant, plan.id, plan=plan.plan_hash, by="owner", key=KEY)
    assert (await forgetting.carry_out(plan.id)).state == "told"
    await forgetting.answer(await forgetting.case(plan.id))
    assert (await forgetting.carry_out(plan.id)).state == "done"
    left = await found(vault.database, vault.tenant) - FOR_A_WHILE
    assert left == {"message", "message_search", "search_word"}
    await verified(forgetting)


async def test_twice_is_once(forgetting: Forgetting, certified: str) -> None:
    first, second = await recalled(forgetting, certified), await recalled(forgetting, certified)
    assert (second.kept_out_again, second.entered) == (0, False)
    assert first.case is not None
    assert second.case is not None
    assert second.case.id == first.case.id


@pytest.mark.parametrize("called", [False, True], ids=["nobody", "a customer"])
async def test_put_back_to_before_the_import_they_are_kept_out_and_found_by_the_directory(
    vault: Any, stores: Any, tmp_path: Path, postgres_dsn: str, called: bool
) -> None:
    forgetting = Forgetting(vault, stores, tmp_path)
    if called:
        party = Party(kind="customer", id="c-17")
        async with vault.database.transaction(vault.tenant) as tx:
            await links_store.put_party(
                tx, party, version=1, name="Kottakkal Traders", numbers=["+919847000019", NUMBER], emails=[], gstin=None
            )
    copy = await keep_copy(postgres_dsn, vault.database)
    await forgetting.import_()
    note = await certificate(forgetting)
    await put_back(postgres_dsn, vault.database, copy)
    done = await recalled(forgetting, note)
    assert (done.known, done.kept_out_again, done.entered) == (False, 1 + CARDS, called)
    assert (done.case.who.numbers if done.case else ()) == ((NUMBER,) if called else ())
    run = await forgetting.import_(name="again.db")
    assert run.manifest["contacts"]["skipped"]["erased"] == 1
    left = await found(vault.database, vault.tenant) - FOR_A_WHILE
    assert left - {"party", "party_identity"} == {"message", "message_search", "search_word"}


async def test_who_was_let_in_stays_in_where_the_erasure_is_known(forgetting: Forgetting) -> None:
    vault = forgetting.vault
    note = await certificate(forgetting)
    await decide.lift(vault.database, vault.tenant, decide.who_of([NUMBER]), by="owner", key=KEY)
    later = int((datetime.now(UTC) + timedelta(minutes=1)).timestamp() * 1000)
    change = f"UPDATE message SET timestamp = {later} WHERE _id = 9001"
    await forgetting.import_(change, name="newer.db")
    assert len(await vault.rows("SELECT FROM contact WHERE number = $1", NUMBER)) == 1
    done = await recalled(forgetting, note)
    assert (done.known, done.kept_out_again, done.case) == (True, 0, None)
    lifted = await vault.rows("SELECT lifted_by FROM suppressed WHERE lifted_by IS NOT NULL")
    assert lifted == [{"lifted_by": "owner"}]


async def test_another_key_finds_nobody(forgetting: Forgetting, certified: str) -> None:
    done = await recalled(forgetting, certified, SuppressionKey.of(bytes(32)))
    assert done.case is None


async def test_a_certificate_that_was_changed_or_is_not_ours_is_refused(forgetting: Forgetting) -> None:
    note = await certificate(forgetting)
    good = read(forgetting, note)
    assert (good.scope, good.ground, len(good.tags)) == ("person", "request", 1 + CARDS)
    tag = next(iter(good.tags)).hex()
    for bad, why, options in (
        (note.replace(tag, "00" * 32), "No known key", {}),
        (note.replace("scope: person", "scope: messages"), "No known key", {}),
        (note.rpartition("\n\n")[0] + "\n", "no signature", {}),
        (note, "No known key", {"keys": [tenant_signer(Signer("vault.example.in", bytes(32)), uuid4()).verifier]}),
        (note, "No known key", {"keys": [], "unsigned": True}),
        ("Certificate of something else\n\nrequest: x\n", "no certificate", {"unsigned": True}),
        ("Certificate of erasure\n\nrequest: x\n", "cannot be read", {"unsigned": True}),
    ):
        with pytest.raises(ErasureRefused, match=why):
            read(forgetting, bad, **options)
    unsigned = note.rpartition("\n\n")[0] + "\n"
    assert read(forgetting, unsigned, keys=[], unsigned=True) == good
    with pytest.raises(ErasureRefused, match="another tenant"):
        read_certificate(unsigned, uuid4(), keys=[], unsigned=True)


async def test_as_an_operator_runs_it(forgetting: Forgetting, certified: str, operator: Operator) -> None:
    operator.env["TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY"] = str(SEALING.signer)
    kept, changed = forgetting.folder / "kept.txt", forgetting.folder / "changed.txt"
    kept.write_text(certified, encoding="utf-8")
    changed.write_text(certified.replace("ground: request", "ground: court_order"), encoding="utf-8")
    recall_ = ("erasure", "recall", "--by", "desk")
    assert "changed.txt: No known key" in operator.refused(*recall_, kept, changed)
    assert await forgetting.vault.rows("SELECT FROM suppressed") == []
    assert "cannot be read" in operator.refused(*recall_, forgetting.folder / "nowhere")
    told = operator.told(*recall_, kept)
    assert "addresses and cards kept out again: 3 of 3" in told
    assert "there again; asked for: trunkline vault erasure show" in told
    [again] = json.loads(operator.told(*recall_, kept, "--json"))
    assert (again["kept_out_again"], again["entered"], again["there_again"]["state"]) == (0, False, "asked")
    assert "9847000010" not in json.dumps(again)
