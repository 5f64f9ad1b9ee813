"""``trunkline vault``: what proves the archive: keys, checkpoints, witnesses, verification, evidence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from runtime.commands import complete_on, fail
from vault_importer.key_commands import JsonOption, TenantOption, own_settings, sealing_in
from vault_importer.key_commands import app as key_app

if TYPE_CHECKING:
    from kit.postgres import Database
    from vault_importer.evidence import Evidence
    from vault_importer.evidence_store import Scope
    from vault_importer.seal import Sealed, Sealing
    from vault_importer.settings import Settings
    from vault_importer.signed_note import Verifier
    from vault_importer.verify_audit import Verdict
    from vault_importer.verify_ledger import LedgerVerdict

__all__ = ["app"]

app = typer.Typer()
app.add_typer(key_app)


@app.command()
def checkpoint(tenant: TenantOption, as_json: JsonOption = False) -> None:
    """Sign the archive as it is now, and have the witnesses sign it; prints the newest checkpoint."""
    from datetime import UTC, datetime

    from vault_importer.checkpoints import CheckpointRefused
    from vault_importer.seal import seal
    from vault_importer.wiring import make_database

    settings = own_settings()
    sealing = sealing_in(settings)

    async def work(database: Database) -> Sealed:
        return await seal(database, tenant, sealing, now=datetime.now(UTC))

    try:
        sealed: Sealed = complete_on(make_database, settings, work)
    except CheckpointRefused as refused:
        fail(str(refused))
    made = sealed.checkpoint
    if made is None:
        fail("There is nothing to sign: this tenant's archive is empty.")
    not_signed = _sentences(sealed.others)
    if as_json:
        known = {"sequence": made.sequence, "size": made.size, "at": made.at.isoformat(), "note": made.note}
        typer.echo(json.dumps({**known, "new": sealed.new, "witnesses": dict(sealed.others)}))
    else:
        typer.echo(made.note, nl=False)
    if not_signed:
        fail(f"Not everybody signed. {not_signed}")


def _sentences(outcome: Mapping[str, str | None]) -> str:
    """What came of those who did not do what was asked of them."""
    return " ".join(f"{name}: {reason}" for name, reason in outcome.items() if reason is not None)


@app.command()
def verify(  # long: every option is one that a verification needs
    tenant: TenantOption,
    head: Annotated[str | None, typer.Option(help="SEQUENCE:HASH as an earlier verification printed it.")] = None,
    key: Annotated[list[str] | None, typer.Option(help="A public key of this log, beside the set one.")] = None,
    noted: Annotated[list[Path] | None, typer.Option(help="A checkpoint that was kept elsewhere.")] = None,
    ask_witnesses: Annotated[bool, typer.Option(help="Ask the witnesses for what they signed last.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the audit log, and the archive against the ledger; names the first thing that is not as it was written."""
    from vault_importer.signed_note import NoteError
    from vault_importer.timestamps import TimestampRefused
    from vault_importer.wiring import authority_of, log_keys, make_database, memory_of

    settings = own_settings()
    expected = _parse_head(head)
    try:
        keys = log_keys(settings, tenant, key or [])
        authority_of(settings)
        kept = [path.read_text(encoding="utf-8") for path in noted or []]
        if keys and (memory := memory_of(settings)) is not None and (last := memory.last(tenant)) is not None:
            kept.append(last)
    except (NoteError, TimestampRefused) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}.")
    if ask_witnesses and not settings.witnesses:
        fail("No witness is set: TRUNKLINE_VAULT_IMPORTER_WITNESSES says whom to ask.")
    if ask_witnesses and not keys:
        fail("Witnesses are asked about a log: name its public key with --key.")

    async def work(database: Database) -> tuple[Verdict, LedgerVerdict, dict[str, str | None] | None]:
        asked = await _ask_witnesses(settings, {each.name for each in keys}, kept) if ask_witnesses else None
        return *await _verify(database, settings, tenant, expected, keys=keys, noted=kept), asked

    _print_verdict(*complete_on(make_database, settings, work), as_json)


async def _ask_witnesses(settings: Settings, logs: set[str], noted: list[str]) -> dict[str, str | None]:
    """Note what each witness signed last; why nothing was heard of one, else nothing."""
    import httpx

    from vault_importer.witness_client import WitnessRefused, last_cosigned, parse_witnesses

    heard: dict[str, str | None] = {}
    for witness in parse_witnesses(settings.witnesses):
        told: list[str] = []
        try:
            told += filter(None, [await last_cosigned(witness, log) for log in sorted(logs)])
            reason = None if told else "It has signed nothing of this log."
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = f"It cannot be reached ({type(error).__name__})."
        except WitnessRefused as refused:
            reason = str(refused)
        heard[witness.verifier.name] = reason
        noted += told
    return heard


async def _verify(
    database: Database,
    settings: Settings,
    tenant: UUID,
    head: tuple[int, bytes] | None,
    *,
    keys: Sequence[Verifier],
    noted: list[str],
) -> tuple[Verdict, LedgerVerdict]:
    from datetime import UTC, datetime

    from vault_importer.verify_audit import verify_audit
    from vault_importer.verify_ledger import verify_ledger
    from vault_importer.wiring import authority_of
    from vault_importer.witness_client import parse_witnesses

    witnesses, authority = parse_witnesses(settings.witnesses), authority_of(settings)
    return (
        await verify_audit(database, tenant, expected_head=head),
        await verify_ledger(
            database,
            tenant,
            keys=keys,
            now=datetime.now(UTC),
            noted=noted,
            witnesses=[each.verifier for each in witnesses],
            tsa_roots=authority.roots if authority else (),
        ),
    )


def _print_verdict(
    verdict: Verdict, ledger: LedgerVerdict, asked: Mapping[str, str | None] | None, as_json: bool
) -> None:
    unheard = _sentences(asked or {})
    broken, fault = verdict.broken, ledger.fault
    head = f"{verdict.records}:{verdict.head.hex()}"
    newest = ledger.newest
    if as_json:
        first = {"sequence": broken.sequence, "reason": broken.reason} if broken else None
        found = {"check": fault.check, "where": fault.where, "reason": fault.sentence} if fault else None
        proven = {"leaves": ledger.leaves, "shredded": ledger.shredded, "checkpoints": ledger.checkpoints}
        keys = [str(each) for each in ledger.log_keys]
        told = {**proven, "keys": keys, "signed_leaves": newest.size if newest else 0, "first_fault": found}
        ok = broken is None and fault is None and not unheard
        known = {"ok": ok, "records": verdict.records, "head": head, "first_broken": first, "ledger": told}
        typer.echo(json.dumps(known if asked is None else {**known, "witnesses": dict(asked)}))
    elif broken is None and fault is None:
        typer.echo(f"{verdict.records} records, unbroken; note the head elsewhere: {head}")
        signed = f"{newest.size:,} of them signed by {newest.at:%Y-%m-%d %H:%M:%S} UTC" if newest else "none signed yet"
        typer.echo(f"{ledger.leaves:,} leaves, all as they were written, {signed}")
        if ledger.shredded:
            typer.echo(f"{ledger.shredded:,} of them cannot be opened any more: erased, as the audit log tells")
    if broken is not None:
        fail(f"Record {broken.sequence} {broken.reason}; the {verdict.records} before it are good.")
    if fault is not None:
        fail(f"[{fault.check}] {fault.sentence} The {ledger.leaves:,} leaves checked before are good.")
    if unheard:
        fail(f"Not every witness said what it has signed. {unheard}")


def _parse_head(head: str | None) -> tuple[int, bytes] | None:
    if head is None:
        return None
    sequence, _, digest = head.partition(":")
    try:
        return int(sequence), bytes.fromhex(digest)
    except ValueError:
        fail("--head must be SEQUENCE:HASH as a verification prints it.")


@app.command()
def adopt(tenant: TenantOption, as_json: JsonOption = False) -> None:
    """Give leaves to what was archived before it could have any; once, after an upgrade."""
    from dataclasses import asdict
    from datetime import UTC, datetime

    from vault_importer.adopt import Adopted
    from vault_importer.adopt import adopt as adopt_all
    from vault_importer.wiring import make_database

    async def work(database: Database) -> Adopted:
        return await adopt_all(database, tenant, now=datetime.now(UTC))

    done: Adopted = complete_on(make_database, own_settings(), work)
    told = asdict(done)
    if as_json:
        typer.echo(json.dumps(told))
    else:
        typer.echo(", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in told.items()) + " adopted")


@app.command()
def witness(
    state: Annotated[Path, typer.Option(help="Folder where it remembers what it signed; losing it loses its memory.")],
    key_file: Annotated[Path, typer.Option(help="Its own private key, from `trunkline vault signing-key`.")],
    log: Annotated[list[str], typer.Option(help="The public key of a log whose checkpoints it signs; more than once.")],
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    port: Annotated[int, typer.Option()] = 17086,
) -> None:
    """Run a witness: it signs a log's checkpoints as long as each continues the last. Needs no database."""
    import uvicorn

    from runtime.slow_senders import TimedProtocol
    from vault_importer.signed_note import NoteError, parse_signer, parse_verifier
    from vault_importer.witness import Witness

    try:
        signer = parse_signer(key_file.read_text(encoding="utf-8"))
        serving = Witness(signer=signer, logs=[parse_verifier(each) for each in log], state=state)
    except NoteError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}.")
    typer.echo(f"{signer.verifier} on http://{host}:{port}", err=True)
    uvicorn.run(serving, host=host, port=port, log_level="warning", lifespan="off", http=TimedProtocol)


@app.command()
def evidence(  # long: every option is a way to say which messages
    tenant: TenantOption,
    out: Annotated[Path, typer.Option(help="The bundle, a ZIP file; one that exists is not overwritten.")],
    chat: Annotated[UUID | None, typer.Option(help="All messages of this chat.")] = None,
    message: Annotated[list[UUID] | None, typer.Option(help="This message; more than once.")] = None,
    customer: Annotated[str | None, typer.Option(help="By number or contact id: theirs, and direct chats.")] = None,
    files: Annotated[bool, typer.Option(help="Put media files in; else they are proven by their hashes only.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Write messages into a bundle that is checked offline, with a verifier and the certificate for Indian courts."""
    from vault_importer.checkpoints import CheckpointRefused
    from vault_importer.evidence import EvidenceRefused
    from vault_importer.evidence_store import Scope
    from vault_importer.wiring import make_database

    settings = own_settings()
    if not (chat or message or customer):
        fail("Name messages: --chat, --message or --customer.")
    if out.exists():
        fail(f"{out} exists; evidence is never overwritten.")
    scope = Scope(chat=chat, customer=_number(customer), messages=tuple(message or ()))
    sealing = sealing_in(settings)

    async def work(database: Database) -> tuple[Evidence, Mapping[str, str | None]]:
        return await _gather(database, tenant, scope, sealing, settings.media_dir if files else None)

    try:
        made, others = complete_on(make_database, settings, work)
        digest = _write_new(out, made)
    except (EvidenceRefused, CheckpointRefused) as refused:
        fail(str(refused))
    except OSError as error:
        fail(f"{error.filename or out}: {error.strerror}.")
    told: dict[str, Any] = {
        "wordings": made.wordings,
        **{str(kind): count for kind, count in made.beside.items()},
        "files": len(made.files),
        "missing_files": made.missing_files,
        "imports": made.imports,
        "shredded": made.shredded,
        "sha256": digest,
        "witnesses": dict(others),
    }
    _print_bundle(out, made, told, as_json)
    if not_signed := _sentences(others):
        typer.echo(f"Not everybody signed; the bundle is whole without them. {not_signed}", err=True)


def _print_bundle(out: Path, made: Evidence, told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"bundle": str(out), **told}))
        return
    typer.echo(f"{made.wordings:,} wordings of {made.imports} imports; SHA-256 of the bundle: {told['sha256']}")
    typer.echo(f"{len(made.files):,} media files; {made.missing_files:,} more are proven by their hashes only.")
    if made.shredded:
        typer.echo(f"{made.shredded:,} records were erased and cannot be proven; they are not in it.")


def _write_new(path: Path, made: Evidence) -> str:
    """Write a bundle whole or not at all; its SHA-256."""
    from hashlib import file_digest

    with path.open("xb+") as file:
        try:
            made.write_to(file)
        except BaseException:
            path.unlink()
            raise
        file.seek(0)
        return file_digest(file, "sha256").hexdigest()


def _number(customer: str | None) -> str | None:
    """A number however it is written; a contact's id as it is."""
    from identifiers.phone import to_e164

    return (to_e164(customer) or customer) if customer else None


async def _gather(
    database: Database, tenant: UUID, scope: Scope, sealing: Sealing, media: Path | None
) -> tuple[Evidence, Mapping[str, str | None]]:
    """The bundle, and what came of each who was asked to sign its checkpoint."""
    from datetime import UTC, datetime

    from vault_importer.evidence import EvidenceRefused, gather_evidence
    from vault_importer.seal import seal

    now = datetime.now(UTC)
    sealed = await seal(database, tenant, sealing, now=now)
    if sealed.checkpoint is None:
        raise EvidenceRefused("This tenant's archive is empty.")
    made = await gather_evidence(
        database,
        tenant,
        scope,
        checkpoint=sealed.checkpoint,
        signer=sealing.signer,
        witnesses=sealing.witnesses,
        now=now,
        media=media,
    )
    return made, sealed.others
