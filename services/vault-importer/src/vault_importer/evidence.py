"""Puts messages into a bundle that proves itself: with what opens their commitments, proofs, and a verifier.

Whoever has the bundle and the log's public key needs neither the database nor us.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from typing import Any
from uuid import UUID

from kit.postgres import Database, Transaction
from vault_importer.certificate import certificate_html, certificate_text
from vault_importer.checkpoint_store import StoredCheckpoint, cosignatures, timestamps
from vault_importer.checkpoints import tenant_signer
from vault_importer.evidence_store import Scope, chats_of, messages_in, people_of, proofs
from vault_importer.leaves import EPOCH, SHREDDED, Wording, canonical, committed, record_of
from vault_importer.ledger_store import (
    Record,
    ended_imports,
    import_content,
    leaves_of_imports,
    leaves_of_messages,
    read_only,
    wordings_of,
)
from vault_importer.signed_note import Signer, sign_text
from vault_importer.timestamps import stamped_text
from vault_importer.witness_client import WitnessAddress

__all__ = ["Evidence", "EvidenceRefused", "gather_evidence"]

FIRST_DAY = (1980, 1, 1, 0, 0, 0)
SUMS, SUMS_TITLE = "SHA256SUMS.txt", "trunkline evidence v1"
MESSAGES_PER_PAGE = 2_000


class EvidenceRefused(Exception):
    """There is nothing to prove, or it cannot be. ``str()`` is a sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """A bundle, ready to be written."""

    bundle: bytes
    wordings: int
    imports: int
    shredded: int
    """Wordings in the scope whose opening was destroyed: they cannot be proven, and are not in it."""

    @property
    def sha256(self) -> str:
        return sha256(self.bundle).hexdigest()


async def gather_evidence(
    database: Database,
    tenant: UUID,
    scope: Scope,
    *,
    checkpoint: StoredCheckpoint,
    signer: Signer,
    witnesses: Sequence[WitnessAddress],
    now: datetime,
) -> Evidence:
    """The bundle of a scope as of a checkpoint. ``signer`` is the vault's. Raises :class:`EvidenceRefused`."""
    async with database.transaction(tenant) as tx:
        await read_only(tx)
        ids = await messages_in(tx, scope)
        if not ids:
            raise EvidenceRefused("No message is in this scope.")
        encoded: list[bytes] = []
        messages: list[dict[str, Any]] = []
        shredded = 0
        for at in range(0, len(ids), MESSAGES_PER_PAGE):
            page, gone = await _messages(tx, ids[at : at + MESSAGES_PER_PAGE], checkpoint.size)
            # Proofs are the bulk of it, and are needed no more once they are written.
            encoded += [canonical(each) for each in page]
            messages += [{"record": each["record"], "content": each["content"]} for each in page]
            shredded += gone
        imports = await _imports(tx, {UUID(each["record"]["import"]) for each in messages}, checkpoint.size)
        signed = await cosignatures(tx, checkpoint.sequence)
        tokens = await timestamps(tx, checkpoint.sequence)
        who = await _who(tx, messages)
    known = [each.verifier for each in witnesses if each.verifier.name in signed]
    key = tenant_signer(signer, tenant)
    parts: dict[str, bytes] = {
        "messages.json": b"[\n" + b",\n".join(encoded) + b"\n]\n",
        "imports.json": _json(imports),
        "people.json": _json(who),
        "checkpoint.txt": (checkpoint.note + "".join(signed[each.name] for each in known)).encode(),
        "keys.json": _json({"log": str(key.verifier), "witnesses": [str(each.cosigner()) for each in known]}),
        "transcript.txt": _transcript(messages, who).encode(),
        **({"checkpoint_text.txt": stamped_text(checkpoint)} if tokens else {}),
        **{f"timestamps/{n}.tsr": token for n, token in enumerate(tokens.values(), 1)},
    }
    digests = {name: sha256(part).hexdigest() for name, part in parts.items()}
    sources = [(each["content"]["file_name"], each["content"]["file_sha256"]) for each in imports]
    about = {"files": digests, "sources": sources, "note": checkpoint.note, "at": now, "log": str(key.verifier)}
    parts["certificate.txt"] = certificate_text(about).encode()
    parts["certificate.html"] = certificate_html(about).encode()
    parts["verify_evidence.py"] = files("vault_importer").joinpath("verify_evidence.py").read_bytes()
    return Evidence(bundle=_zip(parts, key), wordings=len(messages), imports=len(imports), shredded=shredded)


async def _messages(tx: Transaction, ids: Sequence[UUID], size: int) -> tuple[list[dict[str, Any]], int]:
    """Every wording of some messages with its proof, and how many can be proven no more."""
    leaves = await leaves_of_messages(tx, ids)
    wordings = {(w.message_id, w.revision): w for w in await wordings_of(tx, ids)}
    if missing := wordings.keys() - leaves.keys():
        raise EvidenceRefused(f"Message {min(missing)[0]} has no leaf; look with `vault verify`.")
    proven = await proofs(tx, list(leaves.values()), size)
    order = {id_: n for n, id_ in enumerate(ids)}
    entries, shredded = [], 0
    for message_id, revision in sorted(leaves, key=lambda each: (order[each[0]], each[1])):
        leaf = leaves[message_id, revision]
        record, proof = proven[leaf]
        if record.opening in (b"", SHREDDED):
            shredded += 1
            continue
        entries.append(_entry(wordings[message_id, revision], leaf, record, proof))
    return entries, shredded


def _entry(wording: Wording, leaf: int, record: Record, proof: Sequence[bytes]) -> dict[str, Any]:
    said = record_of("message", wording.message_id, wording.revision, record.import_id, record.commitment)
    return {
        **_proven(said, committed(wording), leaf, record, proof),
        "sent_at": wording.sent_at.astimezone(UTC).isoformat(timespec="milliseconds"),
    }


def _proven(said: bytes, content: bytes, leaf: int, record: Record, proof: Sequence[bytes]) -> dict[str, Any]:
    return {
        "record": json.loads(said),
        "content": json.loads(content),
        "opening": record.opening.hex(),
        "leaf": leaf,
        "proof": [each.hex() for each in proof],
    }


async def _imports(tx: Transaction, ids: set[UUID], size: int) -> list[dict[str, Any]]:
    leaves = await leaves_of_imports(tx, list(ids))
    if missing := ids - leaves.keys():
        raise EvidenceRefused(f"Import {min(missing)} has not ended: import its file again, then there is a manifest.")
    proven = await proofs(tx, list(leaves.values()), size)
    entries = []
    for run in sorted(await ended_imports(tx, list(ids)), key=lambda each: each.started_at):
        record, proof = proven[leaves[run.id]]
        said = record_of("import", run.id, 0, None, record.commitment)
        entries.append(_proven(said, import_content(run), leaves[run.id], record, proof))
    return entries


async def _who(tx: Transaction, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    chats = await chats_of(tx, list({UUID(each["content"]["chat"]) for each in messages}))
    senders = {each["content"]["sender"] for each in messages} | {chat["contact_id"] for chat in chats}
    people = await people_of(tx, [UUID(each) for each in senders if each])
    return {"as_known_at_export": True, "chats": chats, "people": people}


def _transcript(messages: Sequence[Mapping[str, Any]], who: Mapping[str, Any]) -> str:
    """For a reader. What counts is messages.json."""
    people = {each["id"]: each["name"] or each["number"] or each["jid"] for each in who["people"]}
    chats = {each["id"]: each["name"] or people.get(each["contact_id"]) or each["jid"] for each in who["chats"]}
    lines = []
    for each in messages:
        content, record = each["content"], each["record"]
        sent = EPOCH + timedelta(microseconds=content["sent_us"])
        author = "the account" if content["from_me"] else people.get(content["sender"], "unknown")
        said = "[revoked]" if content["revoked"] else content["text"] or f"[{content['kind']}]"
        # A message cannot look like another line of the transcript.
        said = "\n    ".join(said.splitlines())
        later = f" (revision {record['revision']})" if record["revision"] > 1 else ""
        lines.append(f"{sent:%Y-%m-%d %H:%M:%S} UTC  {chats.get(content['chat'], '')}  {author}{later}: {said}")
    return "\n".join(lines) + "\n"


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def _zip(parts: Mapping[str, bytes], key: Signer) -> bytes:
    """The bundle; the same parts make the same bytes."""
    lines = [f"{sha256(part).hexdigest()}  {name}\n" for name, part in sorted(parts.items())]
    sums = sign_text(key, f"{SUMS_TITLE}\n" + "".join(lines))
    made = BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, part in (*sorted(parts.items()), (SUMS, sums.encode())):
            info = zipfile.ZipInfo(name, FIRST_DAY)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            bundle.writestr(info, part)
    return made.getvalue()
