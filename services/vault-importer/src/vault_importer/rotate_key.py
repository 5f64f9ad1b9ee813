"""Lets a tenant's log go over to another signing key, as an audited change that both keys sign."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from kit.postgres import Database
from vault_importer.audit_store import append_audit
from vault_importer.checkpoint_store import StoredCheckpoint, add_checkpoint, handovers, newest_checkpoint
from vault_importer.checkpoints import CheckpointRefused, next_checkpoint, tenant_signer
from vault_importer.handover import handover_in, sign_handover
from vault_importer.ledger_store import lock_ledger
from vault_importer.signed_note import Signer, parse_note
from vault_importer.signer_memory import SignerMemory

__all__ = ["rotate_key"]


async def rotate_key(
    database: Database, tenant: UUID, old: Signer, new: Signer, *, now: datetime, memory: SignerMemory | None = None
) -> StoredCheckpoint | None:
    """The checkpoint that hands over. Nothing when there is none to go on from: the log begins with the new key, or has
    gone over to it before. Both are the vault's keys. Raises :class:`CheckpointRefused`."""
    if old.name != new.name:
        raise CheckpointRefused(f"A log keeps its name: make the new key with --name {old.name}.")
    old, new = tenant_signer(old, tenant), tenant_signer(new, tenant)
    at = now.astimezone(UTC).replace(microsecond=0)
    async with database.transaction(tenant) as tx:
        before = await newest_checkpoint(tx)
        if before is None:
            return None
        past = [change for each in await handovers(tx) if (change := handover_in(parse_note(each.note)))]
        if past and past[-1].new == new.verifier:
            return None
        if new.verifier in {old.verifier, *(change.old for change in past)}:
            raise CheckpointRefused(
                "The new key has signed this log before: make one with `trunkline vault signing-key`."
            )
        details = {"from": str(old.verifier), "to": str(new.verifier)}
        await append_audit(tx, "ledger.key_changed", at=now, details=details)
        made = await next_checkpoint(
            tx,
            await lock_ledger(tx),
            old.verifier,
            at=at,
            sign=lambda said: sign_handover(old, new, said, at=at),
            memory=memory,
        )
        if made is None:
            raise RuntimeError("the audit record has no leaf")
        await add_checkpoint(tx, made)
    return made
