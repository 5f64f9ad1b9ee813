"""A bundle is checked by its own verifier, in a bare Python, and every tampering with it is found by a named check."""

from __future__ import annotations

import asyncio
import base64
import copy
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from vault_importer import verify_evidence
from vault_importer.certificate import certificate_html, certificate_text
from vault_importer.checkpoint_store import StoredCheckpoint, add_cosignature
from vault_importer.checkpoints import make_checkpoint, tenant_signer
from vault_importer.evidence import SUMS, Evidence, EvidenceRefused, gather_evidence
from vault_importer.evidence_store import Scope
from vault_importer.media_files import MediaFolders
from vault_importer.signed_note import Checkpoint, Signer, cosign, sign_checkpoint, sign_text
from vault_importer.witness_client import WitnessAddress

SIGNER = Signer("vault.example.in", bytes(range(32)))
WITNESS = Signer("witness.example.org", bytes(range(1, 33)))
NOW = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
EDIT = "UPDATE message SET text_data = 'Something else' WHERE _id = 750"
VERIFIED_WITH = Path(verify_evidence.__file__).read_bytes()

Files = dict[str, bytes]


class Case:
    """A vault of two imports, sealed and witnessed, and what can be made of it."""

    store: Path | None = None

    def __init__(self, vault: Any, source: Path, checkpoint: StoredCheckpoint) -> None:
        self.vault = vault
        self.source = source
        self.checkpoint = checkpoint
        self.log = tenant_signer(SIGNER, vault.tenant)

    async def gather(self, scope: Scope) -> Evidence:
        return await gather_evidence(
            self.vault.database,
            self.vault.tenant,
            scope,
            checkpoint=self.checkpoint,
            signer=SIGNER,
            witnesses=[WitnessAddress(WITNESS.verifier, "http://witness.example.org")],
            now=NOW,
            media=self.store,
        )

    async def chat(self, kind: str) -> Any:
        return (await self.vault.rows("SELECT id FROM chat WHERE kind = $1", kind))[0]["id"]


@pytest.fixture
async def case(vault: Any, stores: Any) -> Case:
    source = stores.encrypted()
    await vault.import_(source)
    await vault.import_(stores.encrypted(EDIT, name="again.crypt15"))
    made = await make_checkpoint(vault.database, vault.tenant, SIGNER, now=NOW)
    assert made is not None
    line = cosign(WITNESS, made.note.partition("\n\n")[0] + "\n", at=NOW + timedelta(seconds=1))
    async with vault.database.transaction(vault.tenant) as tx:
        await add_cosignature(tx, made.sequence, WITNESS.name, line)
    return Case(vault, source, made)


def written(made: Evidence) -> bytes:
    bundle = io.BytesIO()
    made.write_to(bundle)
    return bundle.getvalue()


def unpacked(bundle: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: Files) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def signed_anew(files: Files, log: Signer) -> Files:
    """As a vault would write it that lies about its own archive: with a right signature over everything."""
    rest = {name: content for name, content in files.items() if name != SUMS}
    lines = "".join(f"{sha256(content).hexdigest()}  {name}\n" for name, content in sorted(rest.items()))
    return {**rest, SUMS: sign_text(log, f"trunkline evidence v1\n{lines}").encode()}


def run(bundle: bytes, folder: Path, *arguments: object) -> tuple[int, str]:
    """The verifier alone in a folder, in a Python without anything installed."""
    folder.mkdir(exist_ok=True)
    (folder / "verify_evidence.py").write_bytes(VERIFIED_WITH)
    (folder / "evidence.zip").write_bytes(bundle)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "verify_evidence.py", "evidence.zip", *map(str, arguments)],
        cwd=folder, env={"PATH": os.environ["PATH"]}, capture_output=True, check=False, encoding="utf-8",
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, done.stdout


def found(files: Files, *, key: str, witness: str = "") -> str:
    """The check that finds what is wrong; empty when nothing is."""
    try:
        media = {
            name: verify_evidence.Stored(sha256(content).hexdigest(), len(content))
            for name, content in files.items()
            if name.startswith("media/")
        }
        plain = {name: content for name, content in files.items() if name not in media}
        witnesses = [verify_evidence.parse_key(witness)] if witness else []
        verify_evidence.verify(plain, media, verify_evidence.parse_key(key), witnesses)
    except verify_evidence.Bad as bad:
        return bad.check
    return ""


@pytest.mark.real
async def test_a_good_bundle_is_good_without_our_code_and_offline(case: Case, tmp_path: Path) -> None:
    made = await case.gather(Scope(chat=await case.chat("group")))
    assert (made.wordings, made.imports, made.shredded) == (3, 2, 0)
    code, said = run(
        written(made), tmp_path / "bare", "--key", case.log.verifier, "--witness", WITNESS.verifier,
        "--source", case.source,
    )  # fmt: skip
    assert code == 0, said
    assert said.startswith("GOOD 3 wordings")
    assert sha256(case.source.read_bytes()).hexdigest() in said
    assert run(written(made), tmp_path / "bare")[0] == 0
    files = unpacked(written(made))
    assert files["verify_evidence.py"] == VERIFIED_WITH
    texts = [each["content"]["text"] for each in json.loads(files["messages.json"])]
    assert texts[-2:] == ["Last group message", "Something else"]
    assert "Something else" in files["transcript.txt"].decode()


@pytest.mark.real
async def test_another_key_witness_or_source_is_not_this_bundles(case: Case, tmp_path: Path) -> None:
    made = await case.gather(Scope(chat=await case.chat("group")))
    other = Signer(case.log.name, bytes(32)).verifier
    stranger = Signer("stranger.example.org", bytes(32)).verifier
    (tmp_path / "other.db").write_bytes(b"another file")
    for arguments, check in (
        (("--key", other), "[key]"),
        (("--witness", stranger), "[cosignature]"),
        (("--source", tmp_path / "other.db"), "[source]"),
    ):
        code, said = run(written(made), tmp_path / "bare", *arguments)
        assert (code, check in said) == (1, True), said


@pytest.mark.real
async def test_every_file_that_is_changed_added_or_taken_away_is_found(case: Case, tmp_path: Path) -> None:
    files = unpacked(written(await case.gather(Scope(chat=await case.chat("group")))))
    assert set(files) == {
        "messages.json", "media.json", "reactions.json", "identities.json", "imports.json", "people.json",
        "handovers.json", "checkpoint.txt", "keys.json", "transcript.txt", "certificate.txt", "certificate.html",
        "verify_evidence.py", SUMS,
    }  # fmt: skip
    harmed: list[Files] = [{**files, "more.txt": b""}]
    for name, content in files.items():
        harmed.append({other: each for other, each in files.items() if other != name})
        at = len(content) // 2
        harmed.append({**files, name: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]})
    results = await asyncio.gather(
        *(asyncio.to_thread(run, packed(each), tmp_path / str(n)) for n, each in enumerate(harmed))
    )
    assert {code for code, _ in results} == {1}
    assert all(said.startswith("BAD [") for _, said in results)
    assert run(b"nothing", tmp_path / "nothing") == (
        1, "BAD [bundle] This is not a bundle as it was written: BadZipFile.\n",
    )  # fmt: skip


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    if isinstance(value, list):
        return value[:-1]
    return "other" if value is None else {"other": value}


def _changes(entry: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """The entry with each of its fields changed, one at a time."""
    made = []
    at: Any = entry
    for name in path:
        at = at[name]
    for name, value in at.items():
        if isinstance(value, dict) and name in ("record", "content"):
            made += _changes(entry, (*path, name))
            continue
        changed = copy.deepcopy(entry)
        target: Any = changed
        for step in path:
            target = target[step]
        target[name] = _other(value)
        made.append(((*path, name), changed))
    return made


@pytest.mark.real
async def test_a_lie_that_the_vault_itself_has_signed_is_found_by_the_proofs(case: Case, tmp_path: Path) -> None:
    """Each field of a message and of an import, in a bundle whose list of hashes is signed anew."""
    files = unpacked(written(await case.gather(Scope(chat=await case.chat("group")))))
    key, witness = str(case.log.verifier), str(WITNESS.verifier)
    assert found(signed_anew(files, case.log), key=key, witness=witness) == ""
    tried: dict[str, set[str]] = {}
    bundles: list[Files] = []
    for name in ("messages.json", "imports.json"):
        entries = json.loads(files[name])
        for path, changed in _changes(entries[-1]):
            lying = signed_anew({**files, name: json.dumps([*entries[:-1], changed]).encode()}, case.log)
            tried.setdefault(found(lying, key=key, witness=witness), set()).add(f"{name}:{'.'.join(path)}")
            bundles.append(lying)
    assert "" not in tried, tried
    assert {"commitment", "inclusion", "record"} <= set(tried)
    assert len(bundles) > 40
    codes = await asyncio.gather(
        *(asyncio.to_thread(run, packed(each), tmp_path / str(n)) for n, each in enumerate(bundles))
    )
    assert {code for code, _ in codes} == {1}


@pytest.mark.real
async def test_other_lies_that_the_vault_has_signed_are_found(case: Case) -> None:
    files = unpacked(written(await case.gather(Scope(chat=await case.chat("group")))))
    key, witness = str(case.log.verifier), str(WITNESS.verifier)
    messages = json.loads(files["messages.json"])
    note = files["checkpoint.txt"].decode()
    said = Checkpoint(case.log.name, case.checkpoint.size, bytes(32))
    another = sign_checkpoint(case.log, said, at=NOW) + cosign(WITNESS, str(said), at=NOW)
    elsewhere = Checkpoint("vault.example.in/other", case.checkpoint.size, bytes(32))
    lies: list[tuple[str, dict[str, bytes]]] = [
        ("record", {"messages.json": json.dumps([*messages, messages[0]]).encode()}),
        ("source", {"imports.json": b"[]"}),
        ("inclusion", {"checkpoint.txt": another.encode()}),
        ("cosignature", {"checkpoint.txt": case.checkpoint.note.encode()}),
        ("checkpoint", {"checkpoint.txt": note.replace(f"\n{said.size}\n", f"\n{said.size + 1}\n").encode()}),
        ("checkpoint", {"checkpoint.txt": sign_checkpoint(case.log, elsewhere, at=NOW).encode()}),
        ("key", {"keys.json": json.dumps({"log": str(WITNESS.verifier), "witnesses": []}).encode()}),
    ]
    for check, change in lies:
        assert found(signed_anew({**files, **change}, case.log), key=key, witness=witness) == check
    assert found(signed_anew(files, WITNESS), key=key, witness=witness) == "sums"
    for never in (2**40, 2**63):
        # Signed at a time that is in no calendar.
        text = note.partition("\n\n")[0] + "\n"
        signature = WITNESS.sign(f"cosignature/v1\ntime {never}\n{text}".encode())
        raw = WITNESS.verifier.cosigner().key_id + never.to_bytes(8, "big") + signature
        line = f"\u2014 {WITNESS.name} {base64.b64encode(raw).decode()}\n"
        lie = {"checkpoint.txt": (case.checkpoint.note + line).encode()}
        assert found(signed_anew({**files, **lie}, case.log), key=key, witness=witness) == "cosignature"


PHOTO = b"a picture of a bill" * 1000


@pytest.fixture
async def shown(vault: Any, stores: Any, tmp_path: Path) -> Case:
    """A group in which a photo was sent, which we have, reacted to and voted on."""
    folder = tmp_path / "phone" / "Media" / "WhatsApp Images"
    folder.mkdir(parents=True)
    (folder / "IMG-1.jpg").write_bytes(PHOTO)
    source = stores.beside()
    media = MediaFolders(phone=tmp_path / "phone", store=tmp_path / "store", largest_bytes=100_000)
    await vault.import_(source, media=media)
    made = await make_checkpoint(vault.database, vault.tenant, SIGNER, now=NOW)
    assert made is not None
    case = Case(vault, source, made)
    case.store = media.store
    return case


async def _group(shown: Case) -> Scope:
    return Scope(chat=(await shown.vault.rows("SELECT chat_id FROM message WHERE key_id = 'PHOTO1'"))[0]["chat_id"])


@pytest.mark.real
async def test_a_photo_its_reactions_votes_and_identities_are_proven_offline(shown: Case, tmp_path: Path) -> None:
    made = await shown.gather(await _group(shown))
    assert (made.beside, made.missing_files) == ({"media": 1, "reaction": 2, "vote": 1, "identity": 1}, 0)
    bundle = written(made)
    assert bundle == written(made)
    code, said = run(bundle, tmp_path / "bare", "--key", shown.log.verifier)
    assert code == 0, said
    assert "media: 1 files proven by their SHA-256, 1 of them in the bundle" in said
    assert "2 reactions, 1 votes, 1 pairs of identities" in said
    files = unpacked(bundle)
    digest = sha256(PHOTO).hexdigest()
    assert files[f"media/{digest}"] == PHOTO
    [photo] = json.loads(files["media.json"])
    # The phone told another hash: what it sent is not the file that we have, and that is part of what is proven.
    assert photo["content"] == {
        "sha256": digest, "bytes": len(PHOTO), "file_hash": "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
        "hash_agrees": False,
    }  # fmt: skip
    [pair] = json.loads(files["identities.json"])
    told = {name: pair["content"][name] for name in ("hidden", "address", "source")}
    assert told == {
        "hidden": "70000000000301@lid", "address": "919847000011@s.whatsapp.net", "source": "jid_map",
    }  # fmt: skip
    assert pair["record"]["import"] in {each["record"]["import"] for each in json.loads(files["imports.json"])}
    assert f"    file {digest}, 19,000 bytes" in files["transcript.txt"].decode().splitlines()
    assert "reacted \N{THUMBS UP SIGN}" in files["transcript.txt"].decode()
    assert digest in files["certificate.txt"].decode()


@pytest.mark.real
async def test_lies_about_what_stands_beside_messages_are_found_though_the_vault_signs_them(shown: Case) -> None:
    files = unpacked(written(await shown.gather(await _group(shown))))
    key, digest = str(shown.log.verifier), sha256(PHOTO).hexdigest()
    other = b"another picture"
    photo = f"media/{digest}"

    def found_in(change: Files, *without: str) -> str:
        rest = {name: content for name, content in {**files, **change}.items() if name not in without}
        return found(signed_anew(rest, shown.log), key=key)

    assert found_in({}) == ""
    # Its leaf still says which photo it was, but the certificate says that it was handed over.
    assert found_in({}, photo) == "certificate"
    assert found_in({photo: other}) == "media"
    assert found_in({photo: PHOTO[:-1]}) == "media"
    assert found_in({f"media/{sha256(other).hexdigest()}": other}) == "media"
    assert found({**files, photo: other}, key=key) == "sums"
    tried: dict[str, set[str]] = {}
    for name in ("media.json", "reactions.json", "identities.json"):
        entries = json.loads(files[name])
        for n, entry in enumerate(entries):
            for path, changed in _changes(entry):
                lying = json.dumps([*entries[:n], changed, *entries[n + 1 :]]).encode()
                tried.setdefault(found_in({name: lying}), set()).add(f"{name}:{n}:{'.'.join(path)}")
        twice = json.dumps([*entries, entries[0]]).encode()
        assert found_in({name: twice}) == "record"
    assert "" not in tried, tried
    assert {"commitment", "inclusion", "record"} <= set(tried)
    # What belongs to a message that is not in the bundle.
    messages = [each for each in json.loads(files["messages.json"]) if each["content"]["key_id"] != "PHOTO1"]
    assert found_in({"messages.json": json.dumps(messages).encode()}) == "record"


@pytest.mark.real
async def test_a_photo_that_was_exchanged_in_the_folder_is_not_handed_over(shown: Case) -> None:
    made = await shown.gather(await _group(shown))
    [path] = made.files.values()
    path.write_bytes(b"another picture")
    with pytest.raises(EvidenceRefused, match="not what was archived"):
        written(made)
    path.unlink()
    made = await shown.gather(await _group(shown))
    assert (made.missing_files, made.beside["media"]) == (1, 1)
    assert found(unpacked(written(made)), key=str(shown.log.verifier)) == ""


@pytest.mark.real
async def test_what_no_checkpoint_covers_yet_waits_for_the_next_bundle(shown: Case, stores: Any) -> None:
    before = await shown.gather(await _group(shown))
    more = "INSERT INTO message_add_on_reaction VALUES (8, 'x', 1700000017000)"
    await shown.vault.import_(stores.beside(EDIT, more))
    assert written(await shown.gather(await _group(shown))) == written(before)
    made = await make_checkpoint(shown.vault.database, shown.vault.tenant, SIGNER, now=NOW)
    assert made is not None
    shown.checkpoint = made
    after = await shown.gather(await _group(shown))
    assert (after.wordings, after.beside["reaction"]) == (before.wordings + 1, before.beside["reaction"] + 1)


@pytest.mark.real
async def test_a_scope_is_a_chat_messages_or_a_customer(case: Case) -> None:
    numbers = await case.vault.rows("SELECT id::text, number FROM contact WHERE number IS NOT NULL")
    direct = await case.gather(Scope(chat=await case.chat("direct")))
    ids = await case.vault.rows("SELECT id FROM message ORDER BY id")
    one = await case.gather(Scope(messages=(ids[0]["id"],)))
    everything = await case.gather(Scope(messages=tuple(row["id"] for row in ids)))
    assert 0 < one.wordings <= direct.wordings < everything.wordings == len(ids) + 1
    peer = (await case.vault.rows("SELECT contact_id::text AS id FROM chat WHERE kind = 'direct'"))[0]["id"]
    theirs = await case.gather(Scope(customer=peer))
    assert theirs.wordings >= direct.wordings
    for row in numbers:
        if row["id"] == peer:
            assert written(await case.gather(Scope(customer=row["number"]))) == written(theirs)
    with pytest.raises(EvidenceRefused, match="No message"):
        await case.gather(Scope(customer="+919847000099"))


@pytest.mark.real
async def test_what_was_erased_is_told_and_not_in_the_bundle(case: Case, destroy_openings: Any) -> None:
    chat = await case.chat("group")
    edited = (await case.vault.rows("SELECT message_id AS id FROM message_revision"))[0]["id"]
    assert await destroy_openings(edited) == 2
    made = await case.gather(Scope(chat=chat))
    assert (made.wordings, made.shredded) == (1, 2)
    assert found(unpacked(written(made)), key=str(case.log.verifier), witness=str(WITNESS.verifier)) == ""
    assert b"Something else" not in b"".join(unpacked(written(made)).values())


@pytest.mark.real
async def test_the_certificate_carries_the_hashes_in_both_parts_form(case: Case) -> None:
    files = unpacked(written(await case.gather(Scope(chat=await case.chat("group")))))
    for name in ("certificate.txt", "certificate.html"):
        text = files[name].decode()
        for needed in (
            "63(4)(c)", "Bharatiya Sakshya Adhiniyam, 2023", "PART A (To be filled by the Party)",
            "PART B (To be filled by the Expert)", "SHA256 [x]", sha256(files["messages.json"]).hexdigest(),
            sha256(case.source.read_bytes()).hexdigest(), str(case.log.verifier),
        ):  # fmt: skip
            assert needed in text, (name, needed)


@pytest.mark.real
async def test_a_message_cannot_look_like_another_line_of_the_transcript(case: Case, stores: Any) -> None:
    forged = "Hello' || char(10) || '2022-08-25 09:00:00 UTC  My Group  the account: I owe you"
    await case.vault.import_(
        stores.encrypted(f"UPDATE message SET text_data = '{forged}' WHERE _id = 750", name="forged.crypt15")
    )
    made = await make_checkpoint(case.vault.database, case.vault.tenant, SIGNER, now=NOW)
    assert made is not None
    case.checkpoint = made
    files = unpacked(written(await case.gather(Scope(chat=await case.chat("group")))))
    lines = files["transcript.txt"].decode().splitlines()
    assert len([line for line in lines if not line.startswith("    ")]) == 4
    assert lines[-1].startswith("    | 2022-08-25 09:00:00")


@pytest.mark.real
async def test_what_a_reader_reads_is_what_is_proven_though_the_vault_signs_something_else(shown: Case) -> None:
    """The transcript and the certificate in its two forms, beside messages, files, reactions and votes."""
    files = unpacked(written(await shown.gather(await _group(shown))))
    said, form, page = (files[name] for name in ("transcript.txt", "certificate.txt", "certificate.html"))
    assert b"reacted" in said and b"chose option" in said and b"    file " in said  # noqa: PT018
    digest, other = sha256(files["messages.json"]).hexdigest().encode(), sha256(b"other").hexdigest().encode()
    source = sha256(shown.source.read_bytes()).hexdigest().encode()
    people = json.loads(files["people.json"])
    for each in people["people"]:
        each["name"] = "Ravi"
    lies: list[tuple[str, Files]] = [
        ("transcript", {"transcript.txt": b'2022-08-25 09:00:00 UTC  "Group"  "Ravi": I owe you 1 crore\n'}),
        ("transcript", {"transcript.txt": said + b"and 1 crore\n"}),
        ("transcript", {"transcript.txt": said.replace(b"chose option", b"did not choose option")}),
        ("transcript", {"people.json": json.dumps(people).encode()}),
        ("certificate", {"certificate.txt": form.replace(source, other)}),
        ("certificate", {"certificate.txt": form.replace(digest, other)}),
        ("certificate", {"certificate.txt": form.replace(b"solemnly affirm", b"deny")}),
        ("certificate", {"certificate.txt": form + b"  more.txt: " + other + b"\n"}),
        ("certificate", {"certificate.txt": form.replace(b"\nmade ", b"\nmade by Ravi ")}),
        ("certificate", {"certificate.txt": b""}),
        ("certificate", {"certificate.html": page.replace(source, other)}),
        ("certificate", {"certificate.html": page.replace(b"working properly", b"broken")}),
        ("certificate", {"certificate.html": page.replace(b"</body>", b"<p>I owe 1 crore</p></body>")}),
        ("bundle", {"READ_ME_FIRST.txt": b"Ravi owes you 1 crore"}),
        ("bundle", {"timestamps/readme.txt": b"Ravi owes you 1 crore"}),
        ("timestamp", {"checkpoint_text.txt": b"another text\n"}),
    ]
    key = str(shown.log.verifier)
    assert found(signed_anew(files, shown.log), key=key) == ""
    for check, change in lies:
        name = next(iter(change))
        assert files.get(name) != change[name], name
        assert found(signed_anew({**files, **change}, shown.log), key=key) == check, change
    for name in ("transcript.txt", "certificate.txt", "certificate.html"):
        rest = {each: content for each, content in files.items() if each != name}
        assert found(signed_anew(rest, shown.log), key=key) == "bundle"


def test_a_name_that_nothing_proves_cannot_look_like_what_somebody_said() -> None:
    name = "Ravi: I owe you 1 crore\n2022-08-25 09:00:00 UTC  \u2028x"
    who = {"people": [{"id": "r", "name": name, "number": None, "jid": "j"}], "chats": []}
    said = {
        "content": {"chat": "c", "sender": "r", "from_me": False, "revoked": False, "text": "No\nnever", "sent_us": 0},
        "record": {"message": "m", "revision": 1},
    }
    text = verify_evidence.transcript([said], {"media": [], "reaction": [], "vote": []}, who)
    first, *more = text.splitlines()
    assert first.startswith('1970-01-01 00:00:00 UTC  ""  "Ravi: I owe you 1 crore\\n2022-08-25')
    assert [line[:6] for line in more] == ["    | "] * 2
    assert text.endswith('x": No\n    | never\n')


def test_the_verifier_knows_the_form_of_the_certificate() -> None:
    """A word that is changed in the form is a form more in the verifier, beside those that bundles have already."""
    about = {"files": {"messages.json": "00"}, "sources": [("a", "11")], "note": "o\n1\nr\n", "at": NOW, "log": "k"}
    for name, made in (("certificate.txt", certificate_text(about)), ("certificate.html", certificate_html(about))):
        forms, mark, _, _ = verify_evidence.FORMS[name]
        assert sha256(made.encode().partition(mark)[0]).hexdigest() in forms


def test_a_line_of_the_verifier_holds_nothing_that_looks_like_another(capsys: pytest.CaptureFixture[str]) -> None:
    verify_evidence.say("source file: 00  a\nGOOD\u202e\x1b[2J")
    assert capsys.readouterr().out == "source file: 00  a?GOOD??[2J\n"


def test_names_from_a_backup_cannot_write_into_the_certificate() -> None:
    about = {
        "files": {"messages.json": "00"}, "sources": [("<script>", "11")], "note": "o\n1\nr\n", "at": NOW, "log": "k",
    }  # fmt: skip
    assert "<script>" not in certificate_html(about)


@settings(max_examples=15, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80), st.integers(0, 511))
def test_the_verifiers_own_ed25519_agrees_with_a_library(seed: bytes, message: bytes, bit: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = key.public_key().public_bytes_raw(), bytearray(key.sign(message))
    assert verify_evidence.ed25519(public, message, bytes(signature))
    assert not verify_evidence.ed25519(public, message + b".", bytes(signature))
    signature[bit // 8] ^= 1 << bit % 8
    assert not verify_evidence.ed25519(public, message, bytes(signature))


def test_the_verifiers_own_ed25519_takes_no_second_form_of_a_signature() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public, signature = key.public_key().public_bytes_raw(), key.sign(b"x")
    same = int.from_bytes(signature[32:], "little") + verify_evidence.L
    assert not verify_evidence.ed25519(public, b"x", signature[:32] + same.to_bytes(32, "little"))
    for short in (b"", signature[:-1], signature + b"\0"):
        assert not verify_evidence.ed25519(public, b"x", short)
    assert not verify_evidence.ed25519(bytes([255] * 32), b"x", signature)


def test_a_text_that_could_be_taken_for_a_checkpoint_is_not_signed() -> None:
    lines: Callable[[str], str] = lambda first: f"{first}\n5\nroot\n"  # noqa: E731
    with pytest.raises(ValueError, match="checkpoint"):
        sign_text(SIGNER, lines("vault.example.in/t"))
    assert sign_text(SIGNER, lines("two words"))
