"""A log goes over to another key by a checkpoint that both have signed, and by nothing else."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from vault_importer import verify_evidence
from vault_importer.checkpoint_store import StoredCheckpoint
from vault_importer.checkpoints import CheckpointRefused, make_checkpoint, tenant_signer
from vault_importer.evidence import SUMS, SUMS_TITLE, gather_evidence
from vault_importer.evidence_store import Scope
from vault_importer.handover import handover_in, sign_handover
from vault_importer.merkle import EMPTY, append, leaf_hash, root_of
from vault_importer.rotate_key import rotate_key
from vault_importer.signed_note import (
    Checkpoint,
    NoteError,
    Signer,
    parse_note,
    sign_checkpoint,
    sign_checkpoint_text,
    sign_text,
)
from vault_importer.verify_ledger import LedgerVerdict, verify_ledger
from vault_importer.witness import Witness, request_body

OLD = Signer("vault.example.in", bytes(range(32)))
NEW = Signer("vault.example.in", bytes(range(1, 33)))
THIRD = Signer("vault.example.in", bytes(range(2, 34)))
NOW = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
SAID = Checkpoint(OLD.name, 5, bytes(32))

Superuser = Callable[..., Awaitable[None]]


def test_a_handover_names_two_keys_and_is_signed_by_both() -> None:
    note = parse_note(sign_handover(OLD, NEW, SAID, at=NOW))
    found = handover_in(note)
    assert found is not None
    assert (found.old, found.new) == (OLD.verifier, NEW.verifier)
    assert handover_in(parse_note(sign_checkpoint(OLD, SAID, at=NOW))) is None
    for n in range(len(note.lines)):
        with pytest.raises(NoteError, match="by both"):
            handover_in(replace(note, lines=note.lines[:n] + note.lines[n + 1 :]))


@pytest.mark.parametrize(
    "line",
    [
        f"hand-over {OLD.verifier}",
        f"hand-over {OLD.verifier} {OLD.verifier}",
        f"hand-over {OLD.verifier} {NEW.verifier}\nhand-over {OLD.verifier} {THIRD.verifier}",
        f"hand-over {OLD.verifier} {Signer('other.example.in', NEW.seed).verifier}",
        "hand-over a b",
    ],
)
def test_what_is_no_handover_between_two_keys_of_one_log_is_none(line: str) -> None:
    note = sign_checkpoint_text((OLD, NEW), f"{SAID}{line}\n", at=NOW)
    with pytest.raises(NoteError):
        handover_in(parse_note(note))


# In the vault ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def rotated(vault: Any, stores: Any) -> Any:
    """A vault with a checkpoint of the old key, the hand-over, and one of the new key."""
    await vault.import_(stores.encrypted())
    await make_checkpoint(vault.database, vault.tenant, OLD, now=NOW)
    made = await rotate_key(vault.database, vault.tenant, OLD, NEW, now=NOW)
    assert made is not None
    edit = "UPDATE message SET text_data = 'Something else' WHERE _id = 750"
    await vault.import_(stores.encrypted(edit, name="again.crypt15"))
    assert await make_checkpoint(vault.database, vault.tenant, NEW, now=LATER) is not None
    return vault


@pytest.fixture
def superuser(vault: Any, postgres_dsn: str) -> Superuser:
    async def run(*statements: str) -> None:
        name = (await vault.rows("SELECT current_database() AS name"))[0]["name"]
        connection = await asyncpg.connect(postgres_dsn.rsplit("/", 1)[0] + f"/{name}")
        try:
            await connection.execute("SET session_replication_role = replica; SET search_path = vault_importer")
            for statement in statements:
                assert not (await connection.execute(statement)).endswith(" 0"), "the statement touches nothing"
        finally:
            await connection.close()

    return run


async def verify(vault: Any, *keys: Signer) -> LedgerVerdict:
    known = [tenant_signer(key, vault.tenant).verifier for key in keys]
    return await verify_ledger(vault.database, vault.tenant, keys=known, now=LATER)


async def check(vault: Any, *keys: Signer) -> str:
    found = (await verify(vault, *keys)).fault
    return found.check if found else ""


async def stored(vault: Any) -> list[StoredCheckpoint]:
    rows = await vault.rows("SELECT sequence, size, at, note, proof FROM ledger_checkpoint ORDER BY sequence")
    return [StoredCheckpoint(**row) for row in rows]


@pytest.mark.real
async def test_whoever_knows_either_key_verifies_the_whole_log(rotated: Any) -> None:
    for known in ((OLD,), (NEW,), (OLD, NEW)):
        verdict = await verify(rotated, *known)
        assert (verdict.fault, verdict.checkpoints) == (None, 3)
        assert verdict.log_keys == [tenant_signer(key, rotated.tenant).verifier for key in (OLD, NEW)]
    assert await check(rotated) == "signature"
    assert await check(rotated, THIRD) == "signature"
    assert await check(rotated, NEW, THIRD) == "signature"
    told = await rotated.rows("SELECT details::text FROM audit_log WHERE action = 'ledger.key_changed'")
    assert [json.loads(row["details"]) for row in told] == [
        {key: str(tenant_signer(signer, rotated.tenant).verifier) for key, signer in (("from", OLD), ("to", NEW))}
    ]


@pytest.mark.real
async def test_the_old_key_signs_nothing_more_and_no_key_comes_back(rotated: Any) -> None:
    with pytest.raises(CheckpointRefused, match="another key"):
        await make_checkpoint(rotated.database, rotated.tenant, OLD, now=LATER)
    with pytest.raises(CheckpointRefused, match="another key"):
        await rotate_key(rotated.database, rotated.tenant, OLD, THIRD, now=LATER)
    with pytest.raises(CheckpointRefused, match="signed this log before"):
        await rotate_key(rotated.database, rotated.tenant, NEW, OLD, now=LATER)
    with pytest.raises(CheckpointRefused, match="keeps its name"):
        await rotate_key(rotated.database, rotated.tenant, NEW, Signer("other.example.in", bytes(32)), now=LATER)
    # Asked again, there is nothing to do.
    assert await rotate_key(rotated.database, rotated.tenant, OLD, NEW, now=LATER) is None
    assert (await verify(rotated, NEW)).checkpoints == 3
    assert await rotate_key(rotated.database, rotated.tenant, NEW, THIRD, now=LATER) is not None
    verdict = await verify(rotated, OLD, THIRD)
    assert (verdict.fault, len(verdict.log_keys)) == (None, 3)


@pytest.mark.real
async def test_right_after_the_handover_the_old_key_is_refused_though_it_has_signed_it(vault: Any, stores: Any) -> None:
    await vault.import_(stores.encrypted())
    assert await rotate_key(vault.database, vault.tenant, OLD, NEW, now=NOW) is None
    await make_checkpoint(vault.database, vault.tenant, OLD, now=NOW)
    assert await rotate_key(vault.database, vault.tenant, OLD, NEW, now=NOW) is not None
    with pytest.raises(CheckpointRefused, match="went over to another key"):
        await make_checkpoint(vault.database, vault.tenant, OLD, now=NOW)
    assert (await verify(vault, NEW)).fault is None


@pytest.mark.real
async def test_a_stolen_old_key_cannot_go_on_with_the_log(rotated: Any, superuser: Superuser) -> None:
    old, new, third = (tenant_signer(key, rotated.tenant) for key in (OLD, NEW, THIRD))
    _, handing, last = await stored(rotated)

    async def put(sequence: int, note: str) -> None:
        await superuser(f"UPDATE ledger_checkpoint SET note = '{note}' WHERE sequence = {sequence}")

    # A later checkpoint, signed with the old key.
    await put(3, sign_checkpoint(old, last.said, at=last.at))
    assert await check(rotated, OLD) == await check(rotated, NEW) == "signature"
    # Another hand-over by the old key, behind the right one.
    await put(3, sign_handover(old, third, last.said, at=last.at))
    assert await check(rotated, OLD) == "signature"
    # One to a key of the thief's, that only the old key has signed, or that the text does not name.
    await put(3, last.note)
    text = f"{handing.said}hand-over {old.verifier} {third.verifier}\n"
    await put(2, sign_checkpoint_text((old,), text, at=handing.at))
    assert await check(rotated, OLD) == "handover"
    await put(2, handing.note.replace(str(new.verifier), str(third.verifier)))
    assert await check(rotated, OLD) == "handover"
    # The hand-over undone: who knows the new key sees that the log has not come to it.
    await put(2, sign_checkpoint(old, handing.said, at=handing.at))
    await put(3, sign_checkpoint(old, last.said, at=last.at))
    assert await check(rotated, NEW) == await check(rotated, OLD, NEW) == "signature"
    # And whoever knows the old one only needs a witness, or a noted checkpoint.
    assert await check(rotated, OLD) == ""


# In evidence -----------------------------------------------------------------------------------------------------


async def _bundle(vault: Any, checkpoint: StoredCheckpoint, folder: Path) -> Path:
    [chat] = await vault.rows("SELECT id FROM chat WHERE kind = 'group'")
    made = await gather_evidence(
        vault.database, vault.tenant, Scope(chat=chat["id"]), checkpoint=checkpoint, signer=NEW, witnesses=[], now=NOW
    )
    path = folder / "evidence.zip"
    with path.open("wb") as file:
        made.write_to(file)
    return path


def _found(files: dict[str, bytes], signer: Signer | None) -> str:
    try:
        key = verify_evidence.parse_key(str(signer.verifier)) if signer else None
        verify_evidence.verify(files, {}, key)
    except verify_evidence.Bad as bad:
        return bad.check
    return ""


@pytest.mark.real
async def test_a_bundle_leads_from_the_key_that_is_known_to_the_one_that_signed_it(
    rotated: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, handing, last = await stored(rotated)
    old, new, third = (tenant_signer(key, rotated.tenant) for key in (OLD, NEW, THIRD))
    bundle = await _bundle(rotated, last, tmp_path)
    for key in (old, new):
        assert verify_evidence.main([str(bundle), "--key", str(key.verifier)]) == 0
    assert f"went over from {old.verifier} to {new.verifier}" in capsys.readouterr().out
    files, _ = verify_evidence.read(str(bundle))
    assert (_found(files, None), _found(files, third)) == ("", "key")

    def signed(handovers: list[str], by: Signer = new) -> dict[str, bytes]:
        changed = {**files, "handovers.json": json.dumps(handovers).encode()}
        was, now = (sha256(each["handovers.json"]).hexdigest().encode() for each in (files, changed))
        changed |= {name: files[name].replace(was, now) for name in ("certificate.txt", "certificate.html")}
        lines = [f"{sha256(each).hexdigest()}  {name}\n" for name, each in sorted(changed.items()) if name != SUMS]
        return {**changed, SUMS: sign_text(by, f"{SUMS_TITLE}\n" + "".join(lines)).encode()}

    assert _found(signed([handing.note]), old) == ""
    assert _found(signed([]), old) == "key"
    assert _found(signed([]), new) == ""
    one = sign_checkpoint_text((old,), f"{handing.said}hand-over {old.verifier} {new.verifier}\n", at=NOW)
    other = sign_checkpoint_text((new,), f"{handing.said}hand-over {old.verifier} {new.verifier}\n", at=NOW)
    beyond = sign_handover(old, new, replace(last.said, size=last.size + 1), at=NOW)
    back = sign_handover(new, old, handing.said, at=NOW)
    for lie in ([one], [other], [beyond], [sign_checkpoint(old, handing.said, at=NOW)], [handing.note, back]):
        assert _found(signed(lie), old) == "handover"
    # What the old key signs by itself is no bundle of the log whose new key is known.
    theirs = {**files, "keys.json": json.dumps({"log": str(old.verifier), "witnesses": []}).encode()}
    assert _found(theirs, new) == "key"


@pytest.mark.real
async def test_a_bundle_at_the_handover_itself_is_good(vault: Any, stores: Any, tmp_path: Path) -> None:
    await vault.import_(stores.encrypted())
    await make_checkpoint(vault.database, vault.tenant, OLD, now=NOW)
    made = await rotate_key(vault.database, vault.tenant, OLD, NEW, now=NOW)
    assert made is not None
    bundle = await _bundle(vault, made, tmp_path)
    with zipfile.ZipFile(io.BytesIO(bundle.read_bytes())) as archive:
        assert json.loads(archive.read("handovers.json")) == [made.note]
    assert verify_evidence.main([str(bundle), "--key", str(tenant_signer(OLD, vault.tenant).verifier)]) == 0


# At a witness ----------------------------------------------------------------------------------------------------

FIVE = root_of(append(EMPTY, [leaf_hash(bytes([n])) for n in range(5)])[0])
AT_FIVE = Checkpoint(OLD.name, 5, FIVE)


def _asks(note: str) -> bytes:
    return request_body(0, [], note)


def _again(note: str) -> bytes:
    return request_body(5, [], note)


def _witness(state: Path, log: Signer = OLD) -> Witness:
    return Witness(signer=Signer("witness.example.org", bytes(32)), logs=[log.verifier], state=state, now=lambda: NOW)


def test_a_witness_goes_over_to_the_new_key_and_remembers_it(tmp_path: Path) -> None:
    assert _witness(tmp_path).add(_asks(sign_checkpoint(OLD, AT_FIVE, at=NOW))).status == 200
    assert _witness(tmp_path).add(_again(sign_checkpoint(NEW, AT_FIVE, at=NOW))).status == 403
    handing = _again(sign_handover(OLD, NEW, AT_FIVE, at=NOW))
    # Also when its answer was lost.
    assert [_witness(tmp_path).add(handing).status for _ in range(2)] == [200, 200]
    for restarted in (_witness(tmp_path), _witness(tmp_path, NEW)):
        assert restarted.add(_again(sign_checkpoint(OLD, AT_FIVE, at=NOW))).status == 403
        assert restarted.add(_again(sign_handover(OLD, THIRD, AT_FIVE, at=NOW))).status == 403
        assert restarted.add(_again(sign_handover(NEW, OLD, AT_FIVE, at=NOW))).status == 403
        assert restarted.add(_again(sign_checkpoint(NEW, AT_FIVE, at=NOW))).status == 200
    assert _witness(tmp_path).add(_again(sign_handover(NEW, THIRD, AT_FIVE, at=NOW))).status == 200
    assert _witness(tmp_path).add(_again(sign_checkpoint(NEW, AT_FIVE, at=NOW))).status == 403
    assert _witness(tmp_path).add(_again(sign_checkpoint(THIRD, AT_FIVE, at=NOW))).status == 200


def test_a_witness_takes_no_handover_that_only_one_key_has_signed(tmp_path: Path) -> None:
    text = f"{AT_FIVE}hand-over {OLD.verifier} {NEW.verifier}\n"
    for signer in (OLD, NEW):
        assert _witness(tmp_path).add(_asks(sign_checkpoint_text((signer,), text, at=NOW))).status == 403
    assert _witness(tmp_path).add(_asks(sign_checkpoint(OLD, AT_FIVE, at=NOW))).status == 200


def test_a_handover_that_the_witness_did_not_continue_changes_no_key(tmp_path: Path) -> None:
    witness = _witness(tmp_path)
    assert witness.add(_asks(sign_checkpoint(OLD, AT_FIVE, at=NOW))).status == 200
    other = Checkpoint(OLD.name, 5, bytes(32))
    assert witness.add(_again(sign_handover(OLD, NEW, other, at=NOW))).status == 409
    assert witness.add(_again(sign_checkpoint(OLD, AT_FIVE, at=NOW))).status == 200
