"""Makes checkpoints: signed statements of how large a tenant's tree is and what its root is.

The key is not in Postgres. A checkpoint is signed only when the stored tree continues the newest checkpoint that is in
the database: a tree that was cut or changed behind it gets no signature. Whoever takes checkpoints out as well does not
get past what the signer remembers, where it was given a folder for that, nor past witnesses and noted checkpoints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from kit.postgres import Database, Transaction
from vault_importer.checkpoint_store import StoredCheckpoint, add_checkpoint, newest_checkpoint
from vault_importer.handover import handover_in
from vault_importer.ledger_store import consistency_proof, lock_ledger
from vault_importer.merkle import Frontier, root_of, verify_consistency
from vault_importer.signed_note import (
    Checkpoint,
    NoteError,
    Signer,
    Verifier,
    is_signed,
    parse_checkpoint,
    parse_note,
    sign_checkpoint,
)
from vault_importer.signer_memory import SignerMemory

__all__ = ["CheckpointRefused", "make_checkpoint", "next_checkpoint", "tenant_signer"]

T = TypeVar("T")


class CheckpointRefused(Exception):
    """Nothing is signed: the tree, the clock or the checkpoint before is not right. ``str()`` is a sentence."""


def tenant_signer(signer: Signer, tenant: UUID) -> Signer:
    """The same key under the name of one tenant's log."""
    return Signer(f"{signer.name}/{tenant}", signer.seed)


async def make_checkpoint(
    database: Database, tenant: UUID, signer: Signer, *, now: datetime, memory: SignerMemory | None = None
) -> StoredCheckpoint | None:
    """Sign the tree as it is. Nothing when no leaf came since the last checkpoint. ``signer`` is the vault's."""
    signer = tenant_signer(signer, tenant)
    at = now.astimezone(UTC).replace(microsecond=0)
    async with database.transaction(tenant) as tx:
        tree = await lock_ledger(tx)
        made = await next_checkpoint(
            tx, tree, signer.verifier, at=at, sign=lambda said: sign_checkpoint(signer, said, at=at), memory=memory
        )
        if made is not None:
            await add_checkpoint(tx, made)
    return made


async def next_checkpoint(
    tx: Transaction,
    tree: Frontier,
    key: Verifier,
    *,
    at: datetime,
    sign: Callable[[Checkpoint], str],
    memory: SignerMemory | None = None,
) -> StoredCheckpoint | None:
    """The one after the newest, if ``key`` is the log's and something came. Raises :class:`CheckpointRefused`."""
    before = await newest_checkpoint(tx)
    if tree.size == 0 and before is None:
        return None
    proof = await consistency_proof(tx, before.size, tree.size) if before and before.size <= tree.size else []
    root = root_of(tree)
    if before is not None:
        _check(before, key, at=at, size=tree.size, root=root, proof=proof)
        if before.size == tree.size:
            return None
    if memory is not None:
        await _check_memory(tx, tree, memory)
    note = sign(Checkpoint(key.name, tree.size, root))
    if memory is not None:
        # Before anybody gets it: of two that do not fit, the second must not be signed.
        await _remembering(memory, memory.keep, tx.tenant, note)
    return StoredCheckpoint(
        sequence=before.sequence + 1 if before else 1, size=tree.size, at=at, note=note, proof=b"".join(proof)
    )


async def _remembering(memory: SignerMemory, act: Callable[..., T], *arguments: object) -> T:
    try:
        return await asyncio.to_thread(act, *arguments)
    except OSError as error:
        raise CheckpointRefused(
            f"What was signed last cannot be kept in {memory.folder} ({error.strerror}): mend the folder that"
            " SIGNING_MEMORY_DIR names."
        ) from None


async def _check_memory(tx: Transaction, tree: Frontier, memory: SignerMemory) -> None:
    """Whether the tree continues what was signed last, whatever the database says of that."""
    note = await _remembering(memory, memory.last, tx.tenant)
    if note is None:
        return
    path = memory.path_of(tx.tenant)
    try:
        said = parse_checkpoint(parse_note(note).text)
    except NoteError:
        raise CheckpointRefused(f"{path} is no signed checkpoint: find out who changed it.") from None
    proof = await consistency_proof(tx, said.size, tree.size) if said.size <= tree.size else []
    if not verify_consistency(said.size, tree.size, said.root, root_of(tree), proof):
        raise CheckpointRefused(
            f"The tree does not continue the checkpoint of {said.size:,} leaves that was signed last: the database was"
            f" changed, or restored from an older backup. Look with `vault verify`; once it is known why, move {path}"
            " away, keep it, and the next checkpoint begins anew from what is there."
        )


def _check(
    before: StoredCheckpoint, key: Verifier, *, at: datetime, size: int, root: bytes, proof: list[bytes]
) -> None:
    try:
        said = before.said
        note = parse_note(before.note)
        change = handover_in(note)
    except NoteError:
        raise CheckpointRefused(f"Checkpoint {before.sequence} cannot be read; look with `vault verify`.") from None
    if change is not None and change.new != key:
        raise CheckpointRefused(
            f"With checkpoint {before.sequence} the log went over to another key, {change.new}: set it."
        )
    if not is_signed(note, key) or said.origin != key.name:
        raise CheckpointRefused(
            f"Checkpoint {before.sequence} was signed with another key than the one that is set now."
        )
    if at < before.at:
        raise CheckpointRefused(f"The clock says {at:%Y-%m-%d %H:%M:%S} UTC, before checkpoint {before.sequence}.")
    if not verify_consistency(said.size, size, said.root, root, proof):
        raise CheckpointRefused(
            f"The tree does not continue checkpoint {before.sequence}: it was cut or changed; look with `vault verify`."
        )
