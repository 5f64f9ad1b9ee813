"""The ledger on a real Postgres: everything written has a leaf, in the transaction that writes it, without gaps."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from vault_importer import load_backup
from vault_importer.audit_store import append_audit
from vault_importer.backup_key import parse_backup_key
from vault_importer.checkpoints import CheckpointRefused, make_checkpoint, tenant_signer
from vault_importer.leaves import unpack
from vault_importer.ledger_store import ledger_head, ledger_page, read_nodes
from vault_importer.merkle import (
    EMPTY,
    append,
    assemble,
    consistency_ranges,
    inclusion_ranges,
    needed,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from vault_importer.samples import SampleOptions, write_sample
from vault_importer.signed_note import Signer, new_signer
from vault_importer.verify_ledger import LedgerVerdict, verify_ledger

pytestmark = pytest.mark.real

SIGNER = Signer("vault.example.in", bytes(range(32)))
NOW = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
LATER = "UPDATE message SET text_data = 'Something else' WHERE _id = 750"


async def verify(vault: Any, *, now: datetime = NOW, **options: Any) -> LedgerVerdict:
    keys = [tenant_signer(SIGNER, vault.tenant).verifier]
    return await verify_ledger(vault.database, vault.tenant, now=now, **{"keys": keys, **options})


async def leaves(vault: Any) -> list[tuple[str, str, int]]:
    found = []
    async with vault.database.transaction(vault.tenant) as tx:
        size = 0
        while page := await ledger_page(tx, size):
            for batch in page:
                for leaf in unpack(batch.ids, batch.revisions, batch.commitments, batch.openings):
                    found.append((batch.kind, str(leaf.id), leaf.revision))
                    size += 1
    return found


async def test_everything_that_an_import_writes_has_a_leaf(vault: Any, stores: Any) -> None:
    run = await vault.import_(stores.encrypted())
    written = await leaves(vault)
    messages = await vault.rows("SELECT id::text, revision FROM message")
    audit = await vault.rows("SELECT sequence FROM audit_log ORDER BY sequence")
    assert sorted(each[1:] for each in written if each[0] == "message") == sorted(
        (row["id"], row["revision"]) for row in messages
    )
    assert [each[1] for each in written if each[0] == "import"] == [str(run.id)]
    assert len([each for each in written if each[0] == "audit"]) == len(audit) == 4
    verdict = await verify(vault)
    assert (verdict.fault, verdict.leaves, verdict.shredded) == (None, len(written), 0)


async def test_reactions_votes_and_identities_have_a_leaf_each_once(vault: Any, stores: Any) -> None:
    run = await vault.import_(stores.beside())
    written = await leaves(vault)
    for kind, query in (
        ("reaction", "SELECT message_id::text AS id, number FROM message_reaction"),
        ("vote", "SELECT message_id::text AS id, number FROM message_poll_vote"),
        ("identity", "SELECT lpad(to_hex(number), 32, '0')::uuid::text AS id, 0 AS number FROM jid_alias"),
    ):
        rows = [(kind, row["id"], row["number"]) for row in await vault.rows(query)]
        assert rows
        assert sorted(each for each in written if each[0] == kind) == sorted(rows)
    more = "INSERT INTO message_add_on_reaction VALUES (8, '\N{PERSON WITH FOLDED HANDS}', 1700000017000)"
    again = await vault.import_(stores.beside(LATER, more))
    assert again.manifest["tables"]["message_add_on_reaction"]["new"] == 1
    new = (await leaves(vault))[len(written) :]
    assert [each[0] for each in new if each[0] not in ("audit", "import")] == ["message", "reaction"]
    verdict = await verify(vault)
    assert (verdict.fault, verdict.leaves) == (None, len(written) + len(new))
    assert run.id != again.id


async def test_a_later_wording_and_an_unchanged_and_a_refused_file_have_leaves_too(vault: Any, stores: Any) -> None:
    await vault.import_(stores.encrypted())
    before = set(await leaves(vault))
    changed = stores.encrypted(LATER, name="2.crypt15")
    run = await vault.import_(changed)
    assert run.messages_changed == 1
    unchanged = await vault.import_(changed)
    new = set(await leaves(vault)) - before
    assert [each[2] for each in new if each[0] == "message"] == [2]
    assert {each[1] for each in new if each[0] == "import"} == {str(run.id), str(unchanged.id)}
    broken = stores.folder / "3.crypt15"
    broken.write_bytes(changed.read_bytes()[:-30])
    with pytest.raises(Exception, match="truncated"):
        await vault.import_(broken)
    failed = await vault.rows("SELECT id::text FROM import_run WHERE state = 'failed'")
    assert ("import", failed[0]["id"], 0) in await leaves(vault)
    assert (await verify(vault)).fault is None


async def test_stored_nodes_give_every_root_and_proof(vault: Any, stores: Any) -> None:
    await vault.import_(stores.encrypted())
    async with vault.database.transaction(vault.tenant) as tx:
        tree, frontiers = EMPTY, [EMPTY]
        size = (await ledger_head(tx)).size
        for index in range(size):
            nodes = await read_nodes(tx, [(0, index)])
            tree, _ = append(tree, [nodes[0, index]])
            frontiers.append(tree)
        assert tree == await ledger_head(tx)
        for index in range(size):
            ranges = inclusion_ranges(index, size)
            proof = assemble(ranges, await read_nodes(tx, needed(ranges)))
            leaf = (await read_nodes(tx, [(0, index)]))[0, index]
            assert verify_inclusion(leaf, index, size, proof, root_of(tree))
            ranges = consistency_ranges(index, size)
            proof = assemble(ranges, await read_nodes(tx, needed(ranges)))
            assert verify_consistency(index, size, root_of(frontiers[index]), root_of(tree), proof)


async def test_lanes_and_other_writers_at_once_leave_no_gap(
    vault: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_backup, "MESSAGES_PER_CHUNK", 100)
    made = write_sample(tmp_path, SampleOptions(messages=3000))
    key = made.key.read_bytes()

    async def others() -> None:
        for _ in range(20):
            async with vault.database.transaction(vault.tenant) as tx:
                await append_audit(tx, "account.stored", at=NOW)
            await make_checkpoint(vault.database, vault.tenant, SIGNER, now=NOW)

    await asyncio.gather(vault.import_(made.backup, backup_key=parse_backup_key(key)), others(), others())
    verdict = await verify(vault)
    assert verdict.fault is None
    beside = await vault.rows(
        "SELECT count(*) AS n FROM message_reaction UNION ALL SELECT count(*) FROM message_poll_vote"
        " UNION ALL SELECT count(*) FROM jid_alias"
    )
    assert min(row["n"] for row in beside) > 0
    assert verdict.leaves == 3000 + 1 + 40 + 4 + sum(row["n"] for row in beside)
    assert verdict.checkpoints > 10


async def test_each_tenant_has_a_tree_of_its_own(vault: Any, stores: Any) -> None:
    await vault.import_(stores.encrypted())
    other = uuid4()
    async with vault.database.transaction(other) as tx:
        await append_audit(tx, "account.stored", at=NOW)
        assert (await ledger_head(tx)).size == 1


async def test_a_transaction_that_fails_leaves_no_leaf(vault: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        async with vault.database.transaction(vault.tenant) as tx:
            await append_audit(tx, "account.stored", at=NOW)
            raise ZeroDivisionError
    assert await leaves(vault) == []


async def test_a_checkpoint_is_made_when_something_came_and_continues_the_last(vault: Any, stores: Any) -> None:
    assert await make_checkpoint(vault.database, vault.tenant, SIGNER, now=NOW) is None
    await vault.import_(stores.encrypted())
    first = await make_checkpoint(vault.database, vault.tenant, SIGNER, now=NOW)
    assert first is not None
    assert first.said.origin == f"vault.example.in/{vault.tenant}"
    assert await make_checkpoint(vault.database, vault.tenant, SIGNER, now=NOW) is None
    await vault.import_(stores.encrypted(LATER, name="again.crypt15"))
    second = await make_checkpoint(vault.database, vault.tenant, SIGNER, now=NOW + timedelta(minutes=1))
    assert second is not None
    assert (first.sequence, second.sequence) == (1, 2)
    assert verify_consistency(first.size, second.size, first.said.root, second.said.root, second.hashes)
    verdict = await verify(vault, now=NOW + timedelta(minutes=1))
    assert (verdict.fault, verdict.checkpoints, verdict.newest) == (None, 2, second)


async def test_nothing_is_signed_with_another_key_or_an_earlier_clock(vault: Any, stores: Any) -> None:
    await vault.import_(stores.encrypted())
    await make_checkpoint(vault.database, vault.tenant, SIGNER, now=NOW)
    await vault.import_(stores.encrypted(LATER, name="again.crypt15"))
    with pytest.raises(CheckpointRefused, match="another key"):
        await make_checkpoint(vault.database, vault.tenant, new_signer("vault.example.in"), now=NOW)
    with pytest.raises(CheckpointRefused, match="clock"):
        await make_checkpoint(vault.database, vault.tenant, SIGNER, now=NOW - timedelta(seconds=1))
    assert (await verify(vault)).checkpoints == 1
