"""Checks a tenant's ledger from its first leaf: rows against commitments, leaves against the tree, the tree against
what was signed. The first thing that is not what was written is named, by the check that found it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from kit.postgres import Database, Transaction
from vault_importer.checkpoint_store import StoredCheckpoint, checkpoints_after, cosignatures, handovers, timestamps
from vault_importer.handover import Handover, handover_in
from vault_importer.leaves import SHREDDED, Leaf, LeafKind, audit_content, commitment, committed, record_of, unpack
from vault_importer.leaves_beside import BESIDE
from vault_importer.leaves_seen import LeavesSeen, check_leaves_seen
from vault_importer.ledger_beside import rows_beside
from vault_importer.ledger_faults import Check, Fault, Found, where_of
from vault_importer.ledger_store import (
    Batch,
    audit_hashes,
    ended_imports,
    import_content,
    ledger_page,
    read_only,
    wordings_of,
)
from vault_importer.merkle import (
    EMPTY,
    HASH_BYTES,
    Frontier,
    append,
    leaf_hash,
    node_place,
    nodes_before,
    root_of,
    verify_consistency,
)
from vault_importer.signed_note import (
    Checkpoint,
    NoteError,
    Verifier,
    cosigned_at,
    is_signed,
    parse_checkpoint,
    parse_note,
)
from vault_importer.timestamps import TimestampRefused, stamped_at, stamped_text

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["Check", "Fault", "LedgerVerdict", "verify_ledger"]

SKEW = timedelta(minutes=10)


@dataclass(kw_only=True, slots=True)
class LedgerVerdict:
    leaves: int = 0
    """Good leaves from the beginning."""
    checkpoints: int = 0
    shredded: int = 0
    """Leaves whose opening was destroyed, with what they were about."""
    newest: StoredCheckpoint | None = None
    log_keys: list[Verifier] = field(default_factory=list)
    """The keys of the log, one after the other."""
    fault: Fault | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Root:
    """What somebody says the root is at a size."""

    root: bytes
    check: Check
    where: str
    sentence: str


@dataclass(kw_only=True)
class _Checking:
    tx: Transaction
    keys: Sequence[Verifier]
    witnesses: Sequence[Verifier]
    roots_of_authorities: Sequence[Certificate]
    verdict: LedgerVerdict
    roots: dict[int, list[_Root]] = field(default_factory=lambda: defaultdict(list))
    tree: Frontier = EMPTY
    seen: LeavesSeen = field(default_factory=LeavesSeen)


async def verify_ledger(
    database: Database,
    tenant: UUID,
    *,
    keys: Sequence[Verifier],
    now: datetime,
    noted: Sequence[str] = (),
    witnesses: Sequence[Verifier] = (),
    tsa_roots: Sequence[Certificate] = (),
) -> LedgerVerdict:
    """``keys`` are public keys of this tenant's log that are known: each must be one that it has or had, so that
    whoever stole an earlier key cannot go on with it. ``noted`` are checkpoints that were kept elsewhere: only they
    show that the end was cut off, or that all was written anew."""
    verdict = LedgerVerdict()
    async with database.transaction(tenant) as tx:
        await read_only(tx)
        checking = _Checking(tx=tx, keys=keys, witnesses=witnesses, roots_of_authorities=tsa_roots, verdict=verdict)
        try:
            await _check_checkpoints(checking, now)
            for note in noted:
                _note(checking, note)
            await _check_leaves(checking)
            await check_leaves_seen(tx, checking.seen)
        except Found as found:
            verdict.fault = found.fault
    return verdict


# Checkpoints ----------------------------------------------------------------------------------------------------


async def _check_checkpoints(checking: _Checking, now: datetime) -> None:
    before: StoredCheckpoint | None = None
    for each in (await handovers(checking.tx))[:1]:
        # Who has a later key only learns the first one from what the later one has signed.
        change = _handover(each.note, f"checkpoint {each.sequence}")
        checking.verdict.log_keys = [change.old] if change else []
    while page := await checkpoints_after(checking.tx, before.sequence if before else 0):
        for each in page:
            said = _check_checkpoint(checking, each, before, now)
            await _check_cosignatures(checking, each)
            await _check_timestamps(checking, each)
            where = f"checkpoint {each.sequence}"
            checking.roots[said.size].append(
                _Root(root=said.root, check="root", where=where, sentence="The leaves do not make the root signed in")
            )
            checking.verdict.checkpoints += 1
            checking.verdict.newest = before = each
    _check_keys(checking)


def _check_keys(checking: _Checking) -> None:
    log = checking.verdict.log_keys
    strange = [key for key in checking.keys if key not in log]
    if log and (strange or not checking.keys):
        known = f"the key that is known here, {strange[0]}" if strange else "a key that is known here"
        raise Found("signature", "the newest checkpoint", f"The log has not gone over to {known}.")


def _check_checkpoint(
    checking: _Checking, each: StoredCheckpoint, before: StoredCheckpoint | None, now: datetime
) -> Checkpoint:
    where = f"checkpoint {each.sequence}"
    expected = before.sequence + 1 if before else 1
    if each.sequence != expected:
        raise Found("missing_checkpoint", f"checkpoint {expected}", f"Checkpoint {expected} is missing.")
    log = checking.verdict.log_keys
    said, key = _signed(each.note, where, log[-1:] or checking.keys)
    log += [] if log else [key]
    change = _handover(each.note, where)
    if change is not None:
        if change.old != log[-1] or change.new in log:
            raise Found(
                "handover", where, f"With {where} a key hands over that has not signed last, or to an earlier one."
            )
        log.append(change.new)
    at = cosigned_at(parse_note(each.note), key)
    if at is None or at != each.at or said.size != each.size:
        raise Found("time", where, f"The time or size beside {where} is not the signed one.")
    if (before is not None and at < before.at) or at > now + SKEW:
        raise Found("time", where, f"The time of {where} is before that of an earlier one, or in the future.")
    if before is None:
        if each.proof:
            raise Found("consistency", where, "The first checkpoint continues none.")
    elif not verify_consistency(before.size, each.size, before.said.root, said.root, each.hashes):
        raise Found("consistency", where, f"The tree of {where} does not continue that of the one before.")
    return said


def _handover(note: str, where: str) -> Handover | None:
    try:
        return handover_in(parse_note(note))
    except NoteError as error:
        raise Found("handover", where, f"{where.capitalize()} does not hand over to another key: {error}") from None


def _signed(note: str, where: str, keys: Sequence[Verifier]) -> tuple[Checkpoint, Verifier]:
    try:
        parsed = parse_note(note)
        said = parse_checkpoint(parsed.text)
    except NoteError as error:
        raise Found("note", where, f"{where.capitalize()} cannot be read: {error}") from None
    for key in keys:
        if is_signed(parsed, key):
            if said.origin != key.name:
                raise Found("note", where, f"{where.capitalize()} is of another log, {said.origin}.")
            return said, key
    raise Found("signature", where, f"{where.capitalize()} is not signed with a key that is known here.")


async def _check_cosignatures(checking: _Checking, each: StoredCheckpoint) -> None:
    if not checking.witnesses:
        return
    lines = await cosignatures(checking.tx, each.sequence)
    for witness in checking.witnesses:
        line = lines.get(witness.name)
        if line is None:
            continue
        where = f"checkpoint {each.sequence}"
        try:
            signed = cosigned_at(parse_note(each.note + line), witness) is not None
        except NoteError as error:
            raise Found("note", where, f"What {witness.name} signed under {where} cannot be read: {error}") from None
        if not signed:
            raise Found("cosignature", where, f"{where.capitalize()} is not cosigned by {witness.name} as it says.")


async def _check_timestamps(checking: _Checking, each: StoredCheckpoint) -> None:
    if not checking.roots_of_authorities:
        return
    where = f"checkpoint {each.sequence}"
    for authority, token in (await timestamps(checking.tx, each.sequence)).items():
        try:
            at = stamped_at(token, stamped_text(each), checking.roots_of_authorities)
        except TimestampRefused:
            raise Found("timestamp", where, f"{where.capitalize()} is not stamped by {authority} as it says.") from None
        if at + SKEW < each.at:
            raise Found("timestamp", where, f"{authority} stamped {where} before the time that it says it was signed.")


def _note(checking: _Checking, note: str) -> None:
    said, _ = _signed(note, "the noted checkpoint", checking.verdict.log_keys or checking.keys)
    where = f"the noted checkpoint of {said.size} leaves"
    checking.roots[said.size].append(
        _Root(root=said.root, check="fork", where=where, sentence="This history is another one than that of")
    )


# Leaves ---------------------------------------------------------------------------------------------------------


async def _check_leaves(checking: _Checking) -> None:
    _check_roots(checking, 0, EMPTY)
    while page := await ledger_page(checking.tx, checking.tree.size):
        for batch in page:
            await _check_batch(checking, batch)
    for size, roots in sorted(checking.roots.items()):
        if size > checking.tree.size:
            where = roots[0].where
            raise Found(
                "tail",
                where,
                f"{where[0].upper()}{where[1:]} speaks of {size} leaves, and {checking.tree.size} are there.",
            )


async def _check_batch(checking: _Checking, batch: Batch) -> None:
    size = checking.tree.size
    if batch.first_leaf != size:
        raise Found("gap", f"leaf {size}", f"Leaf {size} is missing: the next one is {batch.first_leaf}.")
    leaves = list(unpack(batch.ids, batch.revisions, batch.commitments, batch.openings))
    hashes = [
        leaf_hash(record_of(batch.kind, leaf.id, leaf.revision, batch.import_id, leaf.commitment)) for leaf in leaves
    ]
    _check_tree(checking, batch, hashes)
    checking.seen.note(batch.kind, batch.ids, batch.revisions)
    contents = await _contents(checking.tx, batch.kind, leaves)
    for index, leaf in enumerate(leaves, size):
        _check_leaf(checking, index, batch.kind, leaf, contents)
    checking.verdict.leaves = checking.tree.size


def _check_tree(checking: _Checking, batch: Batch, hashes: list[bytes]) -> None:
    """Let the tree grow by a batch; wherever somebody signed its root, compare."""
    before = checking.tree
    nodes = b""
    stops = sorted(size for size in checking.roots if before.size < size < before.size + len(hashes))
    for stop in (*stops, before.size + len(hashes)):
        done = checking.tree.size - before.size
        checking.tree, grown = append(checking.tree, hashes[done : stop - before.size])
        nodes += grown
        if stop != before.size + len(hashes):
            _check_roots(checking, stop, checking.tree)
    first = nodes_before(before.size)
    if nodes != batch.nodes or batch.first_node != first or b"".join(checking.tree.peaks) != batch.peaks:
        for index, made in enumerate(hashes, before.size):
            at = (node_place((0, index)) - first) * HASH_BYTES
            if batch.nodes[at : at + HASH_BYTES] != made:
                raise Found("leaf", f"leaf {index}", f"The record of leaf {index} is not what its leaf was made of.")
        raise Found("tree", f"leaf {before.size}", f"The tree's nodes behind leaf {before.size} were changed.")
    _check_roots(checking, checking.tree.size, checking.tree)


def _check_roots(checking: _Checking, size: int, tree: Frontier) -> None:
    for said in checking.roots.get(size, ()):
        if said.root != root_of(tree):
            raise Found(said.check, said.where, f"{said.sentence} {said.where}.")


# What the leaves were made of -----------------------------------------------------------------------------------

Contents = Mapping[tuple[UUID, int], Any]
CONTENT: Mapping[LeafKind, Callable[[Any], bytes]] = {
    "message": committed,
    "import": import_content,
    "audit": audit_content,
    **dict.fromkeys(BESIDE, bytes),
}


async def _contents(tx: Transaction, kind: LeafKind, leaves: Sequence[Leaf]) -> Contents:
    ids = [leaf.id for leaf in leaves]
    if kind == "message":
        return {(w.message_id, w.revision): w for w in await wordings_of(tx, ids)}
    if kind == "import":
        return {(run.id, 0): run for run in await ended_imports(tx, ids)}
    if kind == "audit":
        return {(UUID(int=n), 0): hash_ for n, hash_ in (await audit_hashes(tx, [id_.int for id_ in ids])).items()}
    return {row.key: row.content for row in await rows_beside(tx, kind, ids)}


def _check_leaf(checking: _Checking, index: int, kind: LeafKind, leaf: Leaf, contents: Contents) -> None:
    where = where_of(kind, leaf.id, leaf.revision)
    content = contents.get((leaf.id, leaf.revision))
    # Imports and audit records are never erased.
    if leaf.opening == SHREDDED and (content is not None or kind not in ("import", "audit")):
        if content is not None:
            raise Found("shredded", where, f"What opens leaf {index} was destroyed, but {where} is in the archive.")
        checking.seen.shredded += 1
        checking.verdict.shredded = checking.seen.shredded
        return
    if content is None:
        raise Found("row", where, f"{where.capitalize()} is in the ledger (leaf {index}) and not in the archive.")
    if commitment(leaf.opening, CONTENT[kind](content)) != leaf.commitment:
        raise Found("commitment", where, f"{where.capitalize()} was changed after it was recorded (leaf {index}).")
    checking.seen.rows[kind] += 1
