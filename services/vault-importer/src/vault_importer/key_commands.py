"""``trunkline vault``: the keys that sign a log."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from runtime.commands import complete_on, fail, settings_of

if TYPE_CHECKING:
    from kit.postgres import Database
    from vault_importer.seal import Sealed, Sealing
    from vault_importer.settings import Settings
    from vault_importer.signed_note import Signer

__all__ = ["JsonOption", "TenantOption", "app", "own_settings", "sealing_in"]

app = typer.Typer()

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
TenantOption = Annotated[UUID, typer.Option(help="Whose archive.")]


def own_settings() -> Settings:
    from vault_importer.settings import Settings

    return settings_of(Settings)


def sealing_in(settings: Settings) -> Sealing:
    from vault_importer.timestamps import TimestampRefused
    from vault_importer.wiring import sealing_of

    try:
        sealing = sealing_of(settings)
    except TimestampRefused as refused:
        fail(str(refused))
    if sealing is None:
        fail("No key: set TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY_FILE; `trunkline vault signing-key` makes one.")
    return sealing


@app.command("signing-key")
def signing_key(
    name: Annotated[str, typer.Option(help="Whose key it is, like a host: vault.example.in, witness.example.org.")],
    out: Annotated[Path, typer.Option(help="Where the private key goes; a file that exists is not overwritten.")],
) -> None:
    """Make a key that signs checkpoints, for the vault or for a witness; its public half goes to stdout."""
    from vault_importer.signed_note import NoteError, new_signer

    try:
        signer = new_signer(name)
        with os.fdopen(os.open(out, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write(f"{signer}\n")
    except NoteError as error:
        fail(str(error))
    except FileExistsError:
        fail(f"{out} exists; a key is never overwritten.")
    except OSError as error:
        fail(f"{out}: {error.strerror}.")
    typer.echo(str(signer.verifier))


@app.command("public-key")
def public_key(tenant: TenantOption, as_json: JsonOption = False) -> None:
    """Print the public key of a tenant's log: for witnesses, auditors, and whoever checks evidence."""
    from vault_importer.checkpoints import tenant_signer

    key = str(tenant_signer(sealing_in(own_settings()).signer, tenant).verifier)
    typer.echo(json.dumps({"public_key": key}) if as_json else key)


@app.command("rotate-key")
def rotate_key(
    new_key_file: Annotated[Path, typer.Option(help="The new private key, of the same name, from `signing-key`.")],
    tenant: Annotated[UUID | None, typer.Option(help="Whose log only; else those of all tenants.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Let the logs go over from the key that is set to a new one: both sign. Then set the new key, and restart."""
    from vault_importer.checkpoints import CheckpointRefused
    from vault_importer.signed_note import NoteError, parse_signer
    from vault_importer.wiring import make_database

    settings = own_settings()
    sealing = sealing_in(settings)
    try:
        new = parse_signer(new_key_file.read_text(encoding="utf-8"))
    except NoteError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{new_key_file}: {error.strerror}.")

    async def work(database: Database) -> dict[UUID, Sealed | None]:
        return await _rotate(database, sealing, new, tenant)

    try:
        done: dict[UUID, Sealed | None] = complete_on(make_database, settings, work)
    except CheckpointRefused as refused:
        fail(str(refused))
    rotated = {str(each): sealed for each, sealed in done.items() if sealed is not None and sealed.checkpoint}
    if as_json:
        told = {each: sealed.checkpoint.note for each, sealed in rotated.items() if sealed.checkpoint}
        typer.echo(
            json.dumps(
                {"rotated": told, "nothing_to_do": sorted(str(each) for each in done.keys() - {*map(UUID, told)})}
            )
        )
    else:
        typer.echo(f"{len(rotated)} logs went over to the new key. Set it, restart, and hand out its public half.")
    missing = [
        f"{name}: {why}" for sealed in rotated.values() for name, why in sealed.others.items() if why is not None
    ]
    if missing:
        fail("Not everybody signed yet; the next checkpoints ask again. " + " ".join(missing))


async def _rotate(database: Database, sealing: Sealing, new: Signer, tenant: UUID | None) -> dict[UUID, Sealed | None]:
    """What became of each log; nothing of one that begins with the new key, or has it."""
    from dataclasses import replace
    from datetime import UTC, datetime

    from vault_importer.manage_accounts import list_accounts
    from vault_importer.rotate_key import rotate_key as rotate
    from vault_importer.seal import seal

    tenants = {tenant} if tenant else {account.tenant_id for account in await list_accounts(database)}
    done: dict[UUID, Sealed | None] = {}
    for each in sorted(tenants):
        made = await rotate(database, each, sealing.signer, new, now=datetime.now(UTC), memory=sealing.memory)
        # Witnesses learn of the new key by this checkpoint.
        sealed = await seal(database, each, replace(sealing, signer=new), now=datetime.now(UTC)) if made else None
        done[each] = sealed
    return done
