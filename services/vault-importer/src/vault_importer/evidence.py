"""Puts messages into a bundle that proves itself: with what opens their commitments, proofs, and a verifier.

Whoever has the bundle and the log's public key needs neither the database nor us.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from kit.postgres import Database, Transaction
from vault_importer.certificate import certificate_html, certificate_text
from vault_importer.checkpoint_store import StoredCheckpoint, cosignatures, handovers, timestamps
from vault_importer.checkpoints import tenant_signer
from vault_importer.evidence_store import (
    Proven,
    Scope,
    Unproven,
    beside,
    chats_of,
    identities,
    messages_in,
    people_of,
    proofs,
)
from vault_importer.leaves import SHREDDED, Wording, canonical, committed, record_of
from vault_importer.leaves_beside import BESIDE, BesideKind
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
from vault_importer.verify_evidence import transcript
from vault_importer.witness_client import WitnessAddress

__all__ = ["Evidence", "EvidenceRefused", "gather_evidence"]

FIRST_DAY = (1980, 1, 1, 0, 0, 0)
READ_BYTES = 1024 * 1024
OF_MESSAGES: tuple[BesideKind, ...] = ("media", "reaction", "vote")
#: In which file of the bundle which leaves are.
BESIDE_FILES: Mapping[str, tuple[BesideKind, ...]] = {
    "media.json": ("media",),
    "reactions.json": ("reaction", "vote"),
    "identities.json": ("identity",),
}
SUMS, SUMS_TITLE = "SHA256SUMS.txt", "trunkline evidence v1"
MESSAGES_PER_PAGE = 2_000


class EvidenceRefused(Exception):
    """There is nothing to prove, or it cannot be. ``str()`` is a sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """A bundle, ready to be written."""

    parts: Mapping[str, bytes]
    files: Mapping[str, Path]
    """Media files by their names in the bundle."""
    key: Signer
    wordings: int
    beside: Mapping[BesideKind, int]
    """How many files, reactions, votes and identities are proven."""
    missing_files: int
    """Files that are proven by their hashes only: they are not in the folder for media, or were not asked for."""
    imports: int
    shredded: int
    """What in the scope had its opening destroyed: it cannot be proven, and is not in the bundle."""

    def write_to(self, target: IO[bytes]) -> None:
        """The same evidence makes the same bytes. Raises :class:`EvidenceRefused` for a file that was changed."""
        _zip(target, self.parts, self.files, self.key)


async def gather_evidence(
    database: Database,
    tenant: UUID,
    scope: Scope,
    *,
    checkpoint: StoredCheckpoint,
    signer: Signer,
    witnesses: Sequence[WitnessAddress],
    now: datetime,
    media: Path | None = None,
) -> Evidence:
    """The bundle of a scope as of a checkpoint. ``signer`` is the vault's, ``media`` the folder where it keeps files.
    Raises :class:`EvidenceRefused`."""
    async with database.transaction(tenant) as tx:
        await read_only(tx)
        ids = await messages_in(tx, scope)
        if not ids:
            raise EvidenceRefused("No message is in this scope.")
        said = await _said(tx, ids, checkpoint.size)
        who = await _who(tx, said, checkpoint.size)
        imports = await _imports(tx, said.import_ids, checkpoint.size)
        signed = await cosignatures(tx, checkpoint.sequence)
        tokens = await timestamps(tx, checkpoint.sequence)
        changes = [each.note for each in await handovers(tx, checkpoint.sequence)]
    kept = _kept(said, media / str(tenant) if media else None)
    known = [each.verifier for each in witnesses if each.verifier.name in signed]
    key = tenant_signer(signer, tenant)
    parts: dict[str, bytes] = {
        "messages.json": _lines(said.encoded),
        **{name: _lines(map(canonical, said.beside_in(name))) for name in BESIDE_FILES},
        "imports.json": _json(imports),
        "people.json": _json(who),
        "checkpoint.txt": (checkpoint.note + "".join(signed[each.name] for each in known)).encode(),
        "keys.json": _json({"log": str(key.verifier), "witnesses": [str(each.cosigner()) for each in known]}),
        "handovers.json": _json(changes),
        "transcript.txt": transcript(said.messages, said.beside, who).encode(),
        **_stamps(checkpoint, tokens),
    }
    digests = {name: sha256(part).hexdigest() for name, part in parts.items()}
    digests.update((name, path.name) for name, path in kept.items())
    sources = [(each["content"]["file_name"], each["content"]["file_sha256"]) for each in imports]
    about = {"files": digests, "sources": sources, "note": checkpoint.note, "at": now, "log": str(key.verifier)}
    return Evidence(
        parts={**parts, **_fixed_parts(about)},
        files=kept,
        key=key,
        wordings=len(said.messages),
        beside={kind: len(entries) for kind, entries in said.beside.items()},
        missing_files=len(said.digests - {path.name for path in kept.values()}),
        imports=len(imports),
        shredded=said.shredded,
    )


def _stamps(checkpoint: StoredCheckpoint, tokens: Mapping[str, bytes]) -> dict[str, bytes]:
    """What authorities said of the checkpoint, and what exactly they said it of."""
    stamps = {f"timestamps/{n}.tsr": token for n, token in enumerate(tokens.values(), 1)}
    return {"checkpoint_text.txt": stamped_text(checkpoint), **stamps} if stamps else {}


def _fixed_parts(about: Mapping[str, Any]) -> dict[str, bytes]:
    """The certificate, and what checks the bundle."""
    return {
        "certificate.txt": certificate_text(about).encode(),
        "certificate.html": certificate_html(about).encode(),
        "verify_evidence.py": files("vault_importer").joinpath("verify_evidence.py").read_bytes(),
    }


@dataclass(kw_only=True, slots=True)
class _Said:
    """What is in a scope, with its proofs."""

    encoded: list[bytes] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    beside: dict[BesideKind, list[dict[str, Any]]] = field(default_factory=lambda: {kind: [] for kind in BESIDE})
    shredded: int = 0

    def add(self, kind: BesideKind, rows: Iterable[Proven]) -> None:
        for each in rows:
            if each.record.opening in (b"", SHREDDED):
                self.shredded += 1
                continue
            said = record_of(kind, each.row.id, each.row.number, each.record.import_id, each.record.commitment)
            self.beside[kind].append(_proven(said, each.row.content, each.leaf, each.record, each.proof))

    def beside_in(self, name: str) -> Iterator[dict[str, Any]]:
        return (entry for kind in BESIDE_FILES[name] for entry in self.beside[kind])

    @property
    def import_ids(self) -> set[UUID]:
        entries = [self.messages, *self.beside.values()]
        return {UUID(each["record"]["import"]) for each in chain.from_iterable(entries)}

    @property
    def digests(self) -> set[str]:
        return {each["content"]["sha256"] for each in self.beside["media"]}


async def _said(tx: Transaction, ids: Sequence[UUID], size: int) -> _Said:
    said = _Said()
    for at in range(0, len(ids), MESSAGES_PER_PAGE):
        page = ids[at : at + MESSAGES_PER_PAGE]
        entries, gone = await _messages(tx, page, size)
        # Proofs are the bulk of it, and are needed no more once they are written.
        said.encoded += [canonical(each) for each in entries]
        said.messages += [{"record": each["record"], "content": each["content"]} for each in entries]
        said.shredded += gone
        try:
            for kind in OF_MESSAGES:
                said.add(kind, await beside(tx, kind, page, size))
        except Unproven as unproven:
            raise EvidenceRefused(str(unproven)) from None
    return said


def _kept(said: _Said, folder: Path | None) -> dict[str, Path]:
    """Media files that are there, by their names in the bundle."""
    paths = {digest: folder / digest[:2] / digest for digest in sorted(said.digests)} if folder else {}
    return {f"media/{digest}": path for digest, path in paths.items() if path.is_file()}


async def _messages(tx: Transaction, ids: Sequence[UUID], size: int) -> tuple[list[dict[str, Any]], int]:
    """Every wording of some messages with its proof, and how many can be proven no more."""
    leaves = await leaves_of_messages(tx, ids)
    wordings = {(w.message_id, w.revision): w for w in await wordings_of(tx, ids)}
    if missing := wordings.keys() - leaves.keys():
        raise EvidenceRefused(f"Message {min(missing)[0]} has no leaf; look with `vault verify`.")
    # An import may go on meanwhile: what it brings is not signed yet.
    signed = [key for key, leaf in leaves.items() if leaf < size]
    proven = await proofs(tx, [leaves[key] for key in signed], size)
    order = {id_: n for n, id_ in enumerate(ids)}
    entries, shredded = [], 0
    for message_id, revision in sorted(signed, key=lambda each: (order[each[0]], each[1])):
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


async def _who(tx: Transaction, said: _Said, size: int) -> dict[str, Any]:
    """Names of chats and people. No leaf speaks of them, but of which addresses are one person: that becomes a part of
    what is said."""
    chats = await chats_of(tx, list({UUID(each["content"]["chat"]) for each in said.messages}))
    senders = {each["content"]["sender"] for each in said.messages} | {chat["contact_id"] for chat in chats}
    senders |= {each["content"]["by"] for kind in ("reaction", "vote") for each in said.beside[kind]}
    people = await people_of(tx, [UUID(each) for each in senders if each])
    try:
        said.add("identity", await identities(tx, [each["jid"] for each in people], size))
    except Unproven as unproven:
        raise EvidenceRefused(str(unproven)) from None
    return {"as_known_at_export": True, "proven_by": "identities.json", "chats": chats, "people": people}


def _lines(entries: Iterable[bytes]) -> bytes:
    return b"[\n" + b",\n".join(entries) + b"\n]\n"


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def _zip(target: IO[bytes], parts: Mapping[str, bytes], media: Mapping[str, Path], key: Signer) -> None:
    digests = {name: sha256(part).hexdigest() for name, part in parts.items()}
    digests |= {name: path.name for name, path in media.items()}
    lines = [f"{digest}  {name}\n" for name, digest in sorted(digests.items())]
    sums = sign_text(key, f"{SUMS_TITLE}\n" + "".join(lines))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, part in (*sorted(parts.items()), (SUMS, sums.encode())):
            bundle.writestr(_entry_of(name, zipfile.ZIP_DEFLATED), part)
        for name, path in sorted(media.items()):
            # Photos and films do not get smaller, and some are larger than memory.
            with bundle.open(_entry_of(name, zipfile.ZIP_STORED), "w", force_zip64=True) as entry:
                _copy(path, entry)


def _entry_of(name: str, how: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, FIRST_DAY)
    info.compress_type, info.external_attr = how, 0o644 << 16
    return info


def _copy(path: Path, target: IO[bytes]) -> None:
    digest = sha256()
    with path.open("rb") as source:
        while data := source.read(READ_BYTES):
            digest.update(data)
            target.write(data)
    if digest.hexdigest() != path.name:
        raise EvidenceRefused(f"The media file {path.name} is not what was archived; restore it from a backup.")
