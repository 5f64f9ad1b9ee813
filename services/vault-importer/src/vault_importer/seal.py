"""Seals a tenant's ledger: a checkpoint, and what others sign under it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from kit.postgres import Database
from kit.telemetry import get_logger
from vault_importer.checkpoint_store import StoredCheckpoint, newest_checkpoint
from vault_importer.checkpoints import CheckpointRefused, make_checkpoint
from vault_importer.manage_accounts import list_accounts
from vault_importer.signed_note import Signer
from vault_importer.signer_memory import SignerMemory
from vault_importer.timestamps import Authority, have_timestamped
from vault_importer.witness_client import WitnessAddress, have_cosigned

__all__ = ["Sealed", "Sealing", "seal", "seal_all", "seal_quietly"]

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sealing:
    """With what key, and who else is asked."""

    signer: Signer
    witnesses: tuple[WitnessAddress, ...] = ()
    authority: Authority | None = None
    memory: SignerMemory | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sealed:
    checkpoint: StoredCheckpoint | None
    """The newest one, made now or before."""
    new: bool
    others: Mapping[str, str | None]
    """What came of each who was asked: nothing when it signed, else a sentence."""


async def seal(database: Database, tenant: UUID, sealing: Sealing, *, now: datetime) -> Sealed:
    """Sign what came since the last checkpoint, and have the newest one signed by whoever has not.

    Raises :class:`CheckpointRefused` for a tree that is not what was signed before."""
    made = await make_checkpoint(database, tenant, sealing.signer, now=now, memory=sealing.memory)
    newest = made
    if newest is None:
        async with database.transaction(tenant) as tx:
            newest = await newest_checkpoint(tx)
    others: dict[str, str | None] = {}
    if newest is not None and sealing.witnesses:
        others |= await have_cosigned(database, tenant, newest, sealing.witnesses)
    if newest is not None and sealing.authority:
        others |= await have_timestamped(database, tenant, newest, sealing.authority)
    return Sealed(checkpoint=newest, new=made is not None, others=others)


async def seal_quietly(database: Database, tenant: UUID, sealing: Sealing, *, now: datetime) -> None:
    """The same after work that must not fail for it: what is not signed now is signed by the next one."""
    try:
        sealed = await seal(database, tenant, sealing, now=now)
    except CheckpointRefused as refused:
        log.error("checkpoint_refused", reason=str(refused))  # noqa: TRY400 - the sentence says it all
    except Exception as error:
        log.warning("checkpoint_failed", error=type(error).__name__)
    else:
        for name, reason in sealed.others.items():
            if reason is not None:
                log.warning("checkpoint_not_signed_elsewhere", by=name, reason=reason)


async def seal_all(database: Database, sealing: Sealing, now: Callable[[], datetime]) -> None:
    """Every tenant that has an account here."""
    for tenant in sorted({account.tenant_id for account in await list_accounts(database)}):
        await seal_quietly(database, tenant, sealing, now=now())
