"""What somebody who owns the whole database can do to it, and by which check it is found."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kit.testing import keep_copy, put_back
from vault_importer.adopt import Adopted, adopt
from vault_importer.audit_store import append_audit
from vault_importer.checkpoint_store import StoredCheckpoint, cosignatures
from vault_importer.checkpoints import CheckpointRefused, make_checkpoint, tenant_signer
from vault_importer.erasure import decide
from vault_importer.leaves import leaves_of_wordings
from vault_importer.ledger_store import append_leaves, read_nodes, wordings_of
from vault_importer.media_files import MediaFolders
from vault_importer.merkle import assemble, consistency_ranges, needed
from vault_importer.signed_note import Checkpoint, Signer, new_signer, sign_checkpoint
from vault_importer.signer_memory import SignerMemory
from vault_importer.verify_ledger import Fault, LedgerVerdict, verify_ledger

pytestmark = pytest.mark.real

SIGNER = Signer("vault.example.in", bytes(range(32)))
NOW = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
EDIT = "UPDATE message SET text_data = 'Something else' WHERE _id = 750"
OWN = "(SELECT id FROM message WHERE key_id = 'GROUPMSG99999')"
ZEROS = "decode(repeat('00', 32), 'hex')"

Superuser = Callable[..., Awaitable[None]]
Destroy = Callable[..., Awaitable[int]]


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """The sealed vault of this module, once it was made."""
    return {}


@pytest.fixture
async def sealed(vault: Any, stores: Any, kept: dict[str, Any], postgres_dsn: str) -> Any:
    """A vault with two imports, of which the second edits a message, and a checkpoint after each; sealed once, and
    copied for each test."""
    if not kept:
        await _seal(vault, stores)
        kept.update(account=vault.account, copy=await keep_copy(postgres_dsn, vault.database))
    else:
        vault.account = kept["account"]
        await put_back(postgres_dsn, vault.database, kept["copy"])
    return vault


async def _seal(vault: Any, stores: Any) -> None:
    await vault.import_(stores.encrypted())
    await make_checkpoint(vault.database, vault.tenant, SIGNER, now=NOW)
    await vault.import_(stores.encrypted(EDIT, name="again.crypt15"))
    await make_checkpoint(vault.database, vault.tenant, SIGNER, now=LATER)
    assert (await verify(vault)).fault is None


async def verify(vault: Any, **options: Any) -> LedgerVerdict:
    keys = [tenant_signer(SIGNER, vault.tenant).verifier]
    return await verify_ledger(vault.database, vault.tenant, **{"keys": keys, "now": LATER, **options})


async def fault(vault: Any, **options: Any) -> Fault:
    found = (await verify(vault, **options)).fault
    assert found is not None
    return found


async def newest(vault: Any) -> StoredCheckpoint:
    found = (await verify(vault)).newest
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("harm", "check"),
    [
        # A row edited: its newest wording, an earlier one, when, by whom, in which chat.
        (f"UPDATE message SET text = text || '.' WHERE id = {OWN}", "commitment"),
        (f"UPDATE message SET sent_at = sent_at + interval '1 second' WHERE id = {OWN}", "commitment"),
        (f"UPDATE message SET sender_id = gen_random_uuid() WHERE id = {OWN}", "commitment"),
        (f"UPDATE message SET chat_id = gen_random_uuid() WHERE id = {OWN}", "commitment"),
        (f"UPDATE message SET from_me = NOT from_me WHERE id = {OWN}", "commitment"),
        (f"UPDATE message SET revoked = NOT revoked WHERE id = {OWN}", "commitment"),
        (f"UPDATE message SET details = '{{}}' WHERE id = {OWN}", "commitment"),
        ("UPDATE message SET details = jsonb_set(details, '{latitude}', '9.9') WHERE raw_kind = 16", "commitment"),
        ("UPDATE message_revision SET text = 'Never said'", "commitment"),
        ("UPDATE import_run SET file_sha256 = repeat('0', 64)", "commitment"),
        ("UPDATE import_run SET messages_new = messages_new - 1", "commitment"),
        ("UPDATE audit_log SET hash = sha256('x') WHERE sequence = 2", "commitment"),
        # A row deleted.
        (f"DELETE FROM message WHERE id = {OWN}", "row"),
        ("DELETE FROM message_revision", "row"),
        ("DELETE FROM import_run", "row"),
        ("DELETE FROM audit_log WHERE sequence = 3", "row"),
        # A row inserted.
        (
            "INSERT INTO message SELECT tenant_id, gen_random_uuid(), chat_id, from_me, key_id, sender_id, sent_at,"
            " kind, raw_kind, 'Invented', revoked, edited_at, wording_rank, revision, forward_score, details,"
            f" import_id FROM message WHERE id = {OWN}",
            "unrecorded",
        ),
        # An opening destroyed while the message stays, or exchanged.
        (f"UPDATE ledger_opening SET openings = {ZEROS} WHERE length(openings) = 32", "shredded"),
        ("DELETE FROM ledger_opening", "shredded"),
        ("UPDATE ledger_opening SET openings = overlay(openings PLACING 'x' FROM 1)", "commitment"),
        # The ledger itself.
        ("UPDATE ledger_batch SET commitments = overlay(commitments PLACING 'x' FROM 1)", "leaf"),
        ("UPDATE ledger_batch SET ids = overlay(ids PLACING 'x' FROM 1)", "leaf"),
        ("UPDATE ledger_batch SET revisions = overlay(revisions PLACING 'x' FROM 1) WHERE kind = 'message'", "leaf"),
        ("UPDATE ledger_batch SET import_id = gen_random_uuid() WHERE kind = 'message'", "leaf"),
        ("UPDATE ledger_batch SET nodes = overlay(nodes PLACING 'x' FROM 33) WHERE length(nodes) > 32", "tree"),
        ("UPDATE ledger_batch SET peaks = overlay(peaks PLACING 'x' FROM 1)", "tree"),
        ("DELETE FROM ledger_batch WHERE first_leaf = 2", "gap"),
        # Its end cut off.
        ("DELETE FROM ledger_batch WHERE first_leaf > 6", "tail"),
        # Checkpoints.
        ("DELETE FROM ledger_checkpoint WHERE sequence = 1", "missing_checkpoint"),
        ("UPDATE ledger_checkpoint SET size = size - 1", "time"),
        ("UPDATE ledger_checkpoint SET at = at - interval '1 day'", "time"),
        ("UPDATE ledger_checkpoint SET proof = overlay(proof PLACING 'x' FROM 1) WHERE sequence = 2", "consistency"),
        ("UPDATE ledger_checkpoint SET proof = sha256('x') WHERE sequence = 1", "consistency"),
        ("UPDATE ledger_checkpoint SET note = replace(note, E'\\n\\n', E'\\nmore\\n\\n')", "signature"),
        ("UPDATE ledger_checkpoint SET note = 'nothing'", "note"),
    ],
)  # fmt: skip
async def test_each_harm_is_found_by_its_own_check(sealed: Any, superuser: Superuser, harm: str, check: str) -> None:
    await superuser(harm)
    assert (await fault(sealed)).check == check


async def _with_everything(vault: Any, stores: Any, tmp_path: Path) -> None:
    """An import of what stands beside messages too, with the file of a photo."""
    folder = tmp_path / "phone" / "Media" / "WhatsApp Images"
    folder.mkdir(parents=True)
    (folder / "IMG-1.jpg").write_bytes(b"a picture of a bill")
    media = MediaFolders(phone=tmp_path / "phone", store=tmp_path / "store", largest_bytes=1000)
    await vault.import_(stores.beside(), media=media)
    assert (await verify(vault)).fault is None


@pytest.mark.parametrize(
    ("harm", "check", "where"),
    [
        # The file of a photo: another one, another size, whether it is what was sent, gone, or one that was put in.
        ("UPDATE message_media_file SET sha256 = sha256('x')", "row", "the file of message"),
        ("UPDATE media_file SET bytes = bytes + 1", "commitment", "the file of message"),
        ("UPDATE message_media_file SET hash_agrees = NOT hash_agrees", "commitment", "the file of message"),
        ("UPDATE message_media_file SET file_hash = 'n4bQ'", "commitment", "the file of message"),
        ("DELETE FROM message_media_file", "row", "the file of message"),
        (
            "INSERT INTO message_media_file SELECT f.tenant_id, m.id, f.sha256, true, f.import_id, ''"
            " FROM message_media_file f, message m WHERE m.key_id = 'REPLY1'",
            "unrecorded",
            "the file of message",
        ),
        # A reaction: what, who, when, to which message, gone, or put in.
        ("UPDATE message_reaction SET reaction = '👎' WHERE reaction = '👍'", "commitment", "reaction"),
        ("UPDATE message_reaction SET contact_id = gen_random_uuid()", "commitment", "reaction"),
        ("UPDATE message_reaction SET reacted_at = reacted_at + interval '1 second'", "commitment", "reaction"),
        ("UPDATE message_reaction SET message_id = gen_random_uuid()", "row", "reaction"),
        ("DELETE FROM message_reaction WHERE reaction = '👍'", "row", "reaction"),
        (
            "INSERT INTO message_reaction (tenant_id, message_id, contact_id, reacted_at, reaction, import_id)"
            " SELECT tenant_id, message_id, gen_random_uuid(), reacted_at, reaction, import_id FROM message_reaction",
            "unrecorded",
            "reaction",
        ),
        # A vote.
        ("UPDATE message_poll_vote SET item = '0'", "commitment", "vote"),
        ("UPDATE message_poll_vote SET contact_id = gen_random_uuid()", "commitment", "vote"),
        ("UPDATE message_poll_vote SET voted_at = voted_at - interval '1 day'", "commitment", "vote"),
        ("DELETE FROM message_poll_vote", "row", "vote"),
        (
            "INSERT INTO message_poll_vote (tenant_id, message_id, contact_id, voted_at, item, import_id)"
            " SELECT tenant_id, message_id, contact_id, voted_at, '0', import_id FROM message_poll_vote",
            "unrecorded",
            "vote",
        ),
        # Which identities are one person, and who said so.
        ("UPDATE jid_alias SET jid = '919847000012@s.whatsapp.net'", "commitment", "identity"),
        ("UPDATE jid_alias SET source = 'vcard'", "commitment", "identity"),
        ("DELETE FROM jid_alias", "row", "identity"),
        (
            "INSERT INTO jid_alias (tenant_id, lid, jid, source, first_import_id, first_seen_at)"
            " SELECT tenant_id, lid || '1', jid, source, first_import_id, first_seen_at FROM jid_alias",
            "unrecorded",
            "identity",
        ),
    ],
)  # fmt: skip
async def test_each_harm_to_what_stands_beside_messages_is_found(
    vault: Any, stores: Any, tmp_path: Path, superuser: Superuser, harm: str, check: str, where: str
) -> None:
    await _with_everything(vault, stores, tmp_path)
    await superuser(harm)
    found = await fault(vault)
    assert (found.check, found.where.startswith(where)) == (check, True), found


async def test_what_stood_beside_messages_before_it_could_have_leaves_is_adopted_once(
    vault: Any, stores: Any, tmp_path: Path, superuser: Superuser
) -> None:
    await _with_everything(vault, stores, tmp_path)
    beside = "kind IN ('media', 'reaction', 'vote', 'identity')"
    await superuser("DELETE FROM ledger_opening", "DELETE FROM ledger_batch")
    assert (await fault(vault)).check == "unrecorded"
    everything = await adopt(vault.database, vault.tenant, now=LATER)
    assert everything == Adopted(wordings=10, imports=1, audit_records=4, media=1, reactions=3, votes=1, identities=1)
    assert (await verify(vault)).fault is None
    told = await vault.rows(f"SELECT sum(leaves)::integer AS n FROM ledger_batch WHERE {beside}")
    assert told == [{"n": 6}]
    assert await adopt(vault.database, vault.tenant, now=LATER) == Adopted(wordings=0, imports=0, audit_records=0)


async def test_a_message_that_is_erased_takes_what_opens_its_file_and_reactions_with_it(
    vault: Any, stores: Any, tmp_path: Path, superuser: Superuser, destroy_openings: Destroy
) -> None:
    await _with_everything(vault, stores, tmp_path)
    [photo] = await vault.rows("SELECT id FROM message WHERE key_id = 'PHOTO1'")
    # The message, its file, and a reaction that was taken back.
    assert await destroy_openings(photo["id"]) == 3
    assert (await fault(vault)).check == "shredded"
    tables = ("message_media_file", "message_reaction")
    await superuser(
        f"DELETE FROM message WHERE id = '{photo['id']}'",
        *(f"DELETE FROM {table} WHERE message_id = '{photo['id']}'" for table in tables),
    )
    assert (await fault(vault)).check == "untold"
    await _erased_on_record(vault, 3)
    verdict = await verify(vault)
    assert (verdict.fault, verdict.shredded) == (None, 3)


async def test_what_was_archived_before_there_was_a_ledger_is_adopted_once_and_that_is_told(
    sealed: Any, superuser: Superuser
) -> None:
    await superuser("DELETE FROM ledger_batch", "DELETE FROM ledger_opening", "DELETE FROM ledger_checkpoint")
    assert (await fault(sealed)).check == "unrecorded"
    adopted = await adopt(sealed.database, sealed.tenant, now=LATER)
    assert adopted == Adopted(wordings=5, imports=2, audit_records=8)
    assert (await verify(sealed)).fault is None
    told = await sealed.rows("SELECT details::text FROM audit_log WHERE action = 'ledger.adopted'")
    assert [json.loads(row["details"]) for row in told] == [asdict(adopted)]
    assert await adopt(sealed.database, sealed.tenant, now=LATER) == Adopted(wordings=0, imports=0, audit_records=0)
    await superuser(f"UPDATE message SET text = 'Never said' WHERE id = {OWN}")
    assert (await fault(sealed)).check == "commitment"


async def test_the_message_that_was_changed_is_named(sealed: Any, superuser: Superuser) -> None:
    changed = (await sealed.rows(f"SELECT {OWN}::text AS id"))[0]["id"]
    await superuser(f"UPDATE message SET text = 'Never said' WHERE id = '{changed}'")
    found = await fault(sealed)
    assert found.where == f"message {changed} revision 2"
    assert "Never said" not in found.sentence


async def _rewrite(sealed: Any, superuser: Superuser, text: str) -> None:
    """A whole history anew, in which a message always said something else: only without checkpoints is it whole."""
    await superuser(
        "DELETE FROM ledger_batch",
        "DELETE FROM ledger_opening",
        "DELETE FROM ledger_checkpoint",
        "DELETE FROM audit_log",
        "DELETE FROM import_run",
        "DELETE FROM message_revision",
        f"UPDATE message SET text = '{text}', revision = 1 WHERE id = {OWN}",
    )
    ids = [row["id"] for row in await sealed.rows("SELECT id FROM message")]
    async with sealed.database.transaction(sealed.tenant) as tx:
        wordings = await wordings_of(tx, ids)
        await append_leaves(tx, leaves_of_wordings(wordings, import_id=sealed.account.id), at=NOW)
        # As many leaves as there were, so that no size gives it away.
        for _ in range(12):
            await append_audit(tx, "account.stored", at=NOW)


async def test_a_history_written_anew_is_whole_in_itself_and_no_continuation_of_a_noted_checkpoint(
    sealed: Any, superuser: Superuser
) -> None:
    noted = await newest(sealed)
    await _rewrite(sealed, superuser, "Never said")
    await make_checkpoint(sealed.database, sealed.tenant, SIGNER, now=LATER)
    assert (await verify(sealed)).fault is None
    assert (await fault(sealed, noted=[noted.note])).check in ("fork", "tail")
    while (await verify(sealed)).leaves < noted.size:
        async with sealed.database.transaction(sealed.tenant) as tx:
            await append_audit(tx, "account.stored", at=NOW)
    assert (await fault(sealed, noted=[noted.note])).check == "fork"


async def test_an_end_cut_off_with_its_checkpoints_is_found_by_a_noted_checkpoint(
    sealed: Any, superuser: Superuser
) -> None:
    noted = await newest(sealed)
    await _cut_off(sealed, superuser)
    assert (await verify(sealed)).fault is None
    assert (await fault(sealed, noted=[noted.note])).check == "tail"
    # The service signs on from there, as from an older backup that was restored: another history by then.
    await _go_on(sealed)
    assert await make_checkpoint(sealed.database, sealed.tenant, SIGNER, now=LATER) is not None
    assert (await verify(sealed)).fault is None
    assert (await fault(sealed, noted=[noted.note])).check == "fork"


@pytest.mark.parametrize("meanwhile", ["nothing", "another history"])
async def test_a_signer_that_remembers_does_not_sign_on_behind_what_was_cut_off(
    sealed: Any, superuser: Superuser, tmp_path: Path, meanwhile: str
) -> None:
    memory = SignerMemory(folder=tmp_path / "signed")
    await _go_on(sealed, 1)
    made = await make_checkpoint(sealed.database, sealed.tenant, SIGNER, now=LATER, memory=memory)
    assert made is not None
    path = memory.path_of(sealed.tenant)
    assert (path.read_text(encoding="utf-8"), path.stat().st_mode & 0o777) == (made.note, 0o600)
    await _cut_off(sealed, superuser)
    await _go_on(sealed, 2 if meanwhile == "nothing" else 20)
    with pytest.raises(CheckpointRefused, match=r"does not continue the checkpoint of \d+ leaves.*move"):
        await make_checkpoint(sealed.database, sealed.tenant, SIGNER, now=LATER, memory=memory)
    assert path.read_text(encoding="utf-8") == made.note
    # Somebody has found out why, and keeps what was signed elsewhere.
    path.rename(tmp_path / "kept.note")
    anew = await make_checkpoint(sealed.database, sealed.tenant, SIGNER, now=LATER, memory=memory)
    assert anew is not None
    assert path.read_text(encoding="utf-8") == anew.note
    assert list(memory.folder.iterdir()) == [path]
    assert (await fault(sealed, noted=[made.note])).check in ("tail", "fork")


async def test_a_memory_that_cannot_be_read_or_kept_stops_the_signer(sealed: Any, tmp_path: Path) -> None:
    memory = SignerMemory(folder=tmp_path / "signed")
    memory.keep(sealed.tenant, "scrawled over\n")
    await _go_on(sealed, 1)
    before = await newest(sealed)
    with pytest.raises(CheckpointRefused, match="is no signed checkpoint"):
        await make_checkpoint(sealed.database, sealed.tenant, SIGNER, now=LATER, memory=memory)
    (tmp_path / "a file").touch()
    with pytest.raises(CheckpointRefused, match="mend the folder"):
        await make_checkpoint(
            sealed.database, sealed.tenant, SIGNER, now=LATER, memory=SignerMemory(folder=tmp_path / "a file" / "in it")
        )
    assert await newest(sealed) == before


async def _go_on(sealed: Any, records: int = 20) -> None:
    async with sealed.database.transaction(sealed.tenant) as tx:
        for _ in range(records):
            await append_audit(tx, "account.stored", at=LATER)


async def _cut_off(sealed: Any, superuser: Superuser) -> None:
    """The second import, and all that came behind the first checkpoint."""
    first = (await sealed.rows("SELECT size FROM ledger_checkpoint WHERE sequence = 1"))[0]["size"]
    import_id = (await sealed.rows("SELECT id FROM import_run ORDER BY started_at DESC LIMIT 1"))[0]["id"]
    audit = (await sealed.rows("SELECT min(sequence) AS n FROM audit_log WHERE import_id = $1", import_id))[0]["n"]
    await superuser(
        f"DELETE FROM ledger_batch WHERE first_leaf >= {first}",
        f"DELETE FROM ledger_opening WHERE first_leaf >= {first}",
        "DELETE FROM ledger_checkpoint WHERE sequence > 1",
        f"DELETE FROM audit_log WHERE sequence >= {audit}",
        "UPDATE message m SET text = r.text, revision = 1, key_id = r.key_id FROM message_revision r"
        " WHERE r.message_id = m.id",
        "DELETE FROM message_revision",
        f"DELETE FROM import_run WHERE id = '{import_id}'",
    )


async def _replace_checkpoints(sealed: Any, superuser: Superuser, signer: Signer, *times: datetime) -> None:
    """Every checkpoint signed anew, with its right root and proof."""
    signer = tenant_signer(signer, sealed.tenant)
    rows = await sealed.rows("SELECT sequence, note FROM ledger_checkpoint ORDER BY sequence")
    for row, at in zip(rows, times, strict=True):
        text = row["note"].partition("\n\n")[0].split("\n")
        said = Checkpoint(signer.name, int(text[1]), base64.b64decode(text[2]))
        note = sign_checkpoint(signer, said, at=at)
        await superuser(
            f"UPDATE ledger_checkpoint SET note = '{note}', at = '{at.isoformat()}' WHERE sequence = {row['sequence']}"
        )


async def test_checkpoints_signed_anew_with_another_key_are_not_the_vaults(sealed: Any, superuser: Superuser) -> None:
    thief = new_signer("vault.example.in")
    await _replace_checkpoints(sealed, superuser, thief, NOW, LATER)
    assert (await fault(sealed)).check == "signature"
    assert (await verify(sealed, keys=[tenant_signer(thief, sealed.tenant).verifier])).fault is None


async def test_a_clock_that_was_set_back_shows_in_the_checkpoints(sealed: Any, superuser: Superuser) -> None:
    await _replace_checkpoints(sealed, superuser, SIGNER, NOW, NOW - timedelta(hours=1))
    found = await fault(sealed)
    assert (found.check, found.where) == ("time", "checkpoint 2")
    await _replace_checkpoints(sealed, superuser, SIGNER, NOW, LATER + timedelta(days=1))
    assert (await fault(sealed)).check == "time"


async def test_a_fork_behind_a_checkpoint_does_not_lead_to_the_next(sealed: Any, superuser: Superuser) -> None:
    """Both checkpoints are signed by the vault, but of two histories."""
    made = await newest(sealed)
    signer = tenant_signer(SIGNER, sealed.tenant)
    other = sign_checkpoint(signer, Checkpoint(signer.name, made.size, bytes(32)), at=LATER)
    await superuser(f"UPDATE ledger_checkpoint SET note = '{other}' WHERE sequence = 2")
    assert (await fault(sealed)).check == "consistency"


async def test_a_first_checkpoint_of_another_tree_is_not_the_leaves_root(sealed: Any, superuser: Superuser) -> None:
    signer = tenant_signer(SIGNER, sealed.tenant)
    other = sign_checkpoint(signer, Checkpoint(signer.name, 3, bytes(32)), at=NOW)
    await superuser(
        "DELETE FROM ledger_checkpoint WHERE sequence = 2",
        f"UPDATE ledger_checkpoint SET note = '{other}', size = 3 WHERE sequence = 1",
    )
    assert (await fault(sealed)).check == "root"


async def test_nothing_more_is_signed_on_a_tree_that_was_changed(sealed: Any, superuser: Superuser) -> None:
    await superuser("DELETE FROM ledger_batch WHERE first_leaf > 6")
    with pytest.raises(CheckpointRefused, match="cut or changed"):
        await make_checkpoint(sealed.database, sealed.tenant, SIGNER, now=LATER)


async def _erased_on_record(vault: Any, openings: int, *, told: bool = False) -> None:
    """A request on record that two approved, at work or told of already, which destroyed so many openings."""
    asked = decide.Asked(who=decide.who_of(["+919847000019"]), by="desk")
    case = await decide.ask(vault.database, vault.tenant, asked)
    for by in ("owner", "partner"):
        await decide.approve(vault.database, vault.tenant, case.id, by=by)
    about = {"erasure": str(case.id)}
    async with vault.database.transaction(vault.tenant) as tx:
        await append_audit(tx, "erasure.begun", at=LATER, details={**about, "by": "owner", "plan": ""})
        counts = json.dumps({} if told else {"ledger_opening": openings})
        await tx.execute("UPDATE erasure SET state = 'erasing', counts = $2::jsonb WHERE id = $1", case.id, counts)
        if told:
            await tx.execute("UPDATE erasure SET state = 'told' WHERE id = $1", case.id)
            await append_audit(tx, "erasure.told", at=LATER, details={**about, "ledger_opening": openings})


async def _erase_own(sealed: Any, superuser: Superuser, destroy_openings: Destroy) -> None:
    erased = (await sealed.rows(f"SELECT {OWN} AS id"))[0]["id"]
    assert await destroy_openings(erased) == 2
    assert (await fault(sealed)).check == "shredded"
    await superuser(
        f"DELETE FROM message WHERE id = '{erased}'", f"DELETE FROM message_revision WHERE message_id = '{erased}'"
    )


@pytest.mark.parametrize("told", [False, True])
async def test_a_message_that_is_erased_with_what_opens_it_leaves_every_proof_intact(
    sealed: Any, superuser: Superuser, destroy_openings: Destroy, told: bool
) -> None:
    leaves = (await verify(sealed)).leaves
    noted = await newest(sealed)
    await _erase_own(sealed, superuser, destroy_openings)
    await _erased_on_record(sealed, 2, told=told)
    verdict = await verify(sealed, noted=[noted.note])
    # Leaves of the records: asked, two approvals, begun, and told.
    assert (verdict.fault, verdict.leaves, verdict.shredded) == (None, leaves + 4 + told, 2)


async def test_a_deletion_that_is_dressed_as_an_erasure_is_found(
    sealed: Any, superuser: Superuser, destroy_openings: Destroy
) -> None:
    await _erase_own(sealed, superuser, destroy_openings)
    assert (await fault(sealed)).check == "untold"
    # One on record that erased less, and one that nobody approved and that is on no record.
    await _erased_on_record(sealed, 1, told=True)
    await superuser(
        "INSERT INTO erasure (tenant_id, id, subject_id, state, scope, ground, asked_by, asked_at, counts)"
        " SELECT tenant_id, gen_random_uuid(), gen_random_uuid(), 'erasing', 'person', 'request', 'desk', now(),"
        " '{\"ledger_opening\": 9}' FROM erasure"
    )
    found = await fault(sealed)
    assert (found.check, found.where) == ("untold", "1 leaves")


@pytest.mark.parametrize("kind", ["audit", "import"])
async def test_imports_and_audit_records_are_never_erased(sealed: Any, superuser: Superuser, kind: str) -> None:
    await _erased_on_record(sealed, 100)
    row = "audit_log WHERE sequence = 1" if kind == "audit" else "import_run WHERE state = 'completed'"
    await superuser(
        f"UPDATE ledger_opening SET openings = {ZEROS} WHERE first_leaf IN"
        f" (SELECT first_leaf FROM ledger_batch WHERE kind = '{kind}')",
        f"DELETE FROM {row}",
    )
    assert (await fault(sealed)).check in ("row", "shredded")


async def test_a_second_leaf_does_not_stand_for_a_row_without_one(sealed: Any, superuser: Superuser) -> None:
    message = (await sealed.rows(f"SELECT {OWN} AS id"))[0]["id"]
    async with sealed.database.transaction(sealed.tenant) as tx:
        [twice] = [each for each in await wordings_of(tx, [message]) if each.revision == 1]
        await append_leaves(tx, leaves_of_wordings([twice], import_id=sealed.account.id), at=LATER)
    await superuser(
        "INSERT INTO message SELECT tenant_id, gen_random_uuid(), chat_id, from_me, key_id, sender_id, sent_at, kind,"
        " raw_kind, 'Invented', revoked, edited_at, wording_rank, revision, forward_score, details, import_id"
        f" FROM message WHERE id = {OWN}"
    )
    found = await fault(sealed)
    assert (found.check, found.where) == ("twice", f"message {message} revision 1")


@pytest.mark.parametrize("table", ["ledger_batch", "ledger_checkpoint", "ledger_cosignature", "ledger_timestamp"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET tenant_id = tenant_id", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
async def test_nobody_may_change_the_ledger(sealed: Any, postgres_dsn: str, table: str, statement: str) -> None:
    sequence = (await newest(sealed)).sequence
    async with sealed.database.transaction(sealed.tenant) as tx:
        name = await tx.fetchval("SELECT current_database()")
        await tx.execute("INSERT INTO ledger_cosignature VALUES ($1, $2, 'w', 'line')", sealed.tenant, sequence)
        await tx.execute("INSERT INTO ledger_timestamp VALUES ($1, $2, 'a', 'x'::bytea)", sealed.tenant, sequence)
    connection = await asyncpg.connect(postgres_dsn.rsplit("/", 1)[0] + f"/{name}")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute(statement.format(f"vault_importer.{table}"))
    finally:
        await connection.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with sealed.database.transaction(sealed.tenant) as tx:
            await tx.execute(statement.format(table))


async def test_a_cosignature_that_is_none_is_found(sealed: Any, superuser: Superuser) -> None:
    witness = new_signer("witness.example.org")
    async with sealed.database.transaction(sealed.tenant) as tx:
        assert await cosignatures(tx, 1) == {}
    await superuser(
        "INSERT INTO ledger_cosignature SELECT tenant_id, sequence, 'witness.example.org',"
        " E'\\u2014 witness.example.org AAAAAAAAAAAAAAAAAAAAAAAA\\n' FROM ledger_checkpoint WHERE sequence = 1"
    )
    assert (await verify(sealed)).fault is None
    assert (await fault(sealed, witnesses=[witness.verifier])).check == "cosignature"
    await superuser("UPDATE ledger_cosignature SET line = 'nothing'")
    found = await fault(sealed, witnesses=[witness.verifier])
    assert (found.check, found.where) == ("note", "checkpoint 1")


async def test_proofs_from_stored_nodes_hold_between_any_two_checkpoints(sealed: Any) -> None:
    first, second = [
        StoredCheckpoint(**row) for row in await sealed.rows(
            "SELECT sequence, size, at, note, proof FROM ledger_checkpoint ORDER BY sequence"
        )
    ]  # fmt: skip
    async with sealed.database.transaction(sealed.tenant) as tx:
        ranges = consistency_ranges(first.size, second.size)
        assert assemble(ranges, await read_nodes(tx, needed(ranges))) == second.hashes
