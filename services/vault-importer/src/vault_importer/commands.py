"""``trunkline vault``: accounts, imports, verification and samples. Data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

import typer

from runtime.commands import complete, fail, settings_of
from runtime.priority import giving_way
from vault_importer.erasure.commands import app as erasure_app
from vault_importer.erasure.hold_commands import app as hold_app
from vault_importer.links.commands import app as links_app
from vault_importer.prove_commands import app as prove_app

if TYPE_CHECKING:
    from vault_importer.accounts import Account
    from vault_importer.formats.export_options import ExportOptions
    from vault_importer.load_backup import Progress
    from vault_importer.media_files import MediaFolders
    from vault_importer.settings import Settings
    from vault_importer.store import ImportRun

# Imports of what does the work stand in the commands: finding out that a file is unchanged must not take longer to
# start than to do.

YIELDS = 10
app = typer.Typer(name="vault", help="The WhatsApp archive: accounts, imports, verification.", no_args_is_help=True)
account_app = typer.Typer(help="The WhatsApp numbers whose backups are archived.", no_args_is_help=True)
app.add_typer(account_app, name="account")
app.add_typer(prove_app)
app.add_typer(erasure_app)
app.add_typer(hold_app)
app.add_typer(links_app)

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        help="Of a crypt15: 64 hexadecimal digits, 32 raw bytes or encrypted_backup.key. Of a crypt12 or crypt14: the"
        " phone's file `key` (158 bytes). - reads stdin."
    ),
]
ContainerName = Literal["crypt12", "crypt14", "crypt15"]
FIELDS = (
    "import_id",
    "state",
    "file_sha256",
    "messages_seen",
    "messages_new",
    "messages_changed",
    "contacts_seen",
    "chats_seen",
    "newest_message_at",
    "seconds",
)


def _settings() -> Settings:
    from vault_importer.settings import Settings

    return settings_of(Settings)


def _read_key(path: Path | None) -> bytes | None:
    from vault_importer.backup_key import parse_backup_key
    from vault_importer.refusals import BackupRefused

    if path is None:
        return None
    try:
        return parse_backup_key(sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes())
    except BackupRefused as refused:
        fail(str(refused))
    except OSError as error:
        fail(f"The key file cannot be read: {error.strerror}.")


@account_app.command("add")
def account_add(
    tenant: Annotated[UUID, typer.Option(help="Whose account it is.")],
    name: Annotated[str, typer.Option(help="What people call it; adding it again changes its number or key.")],
    number: Annotated[str | None, typer.Option(help="The account's own number.")] = None,
    key_file: KeyFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add an account, with the key of its backups sealed beside it."""
    from datetime import UTC, datetime

    from vault_importer.accounts import SealingError, parse_sealing_key
    from vault_importer.manage_accounts import InvalidNumber, add_account
    from vault_importer.wiring import make_database

    settings = _settings()
    backup_key = _read_key(key_file)

    async def work() -> Account:
        database = make_database(settings)
        try:
            return await add_account(
                database,
                tenant_id=tenant,
                name=name,
                number=number,
                backup_key=backup_key,
                sealing_key=parse_sealing_key(settings.key_encryption_key.get_secret_value()) if backup_key else None,
                now=datetime.now(UTC),
            )
        finally:
            await database.close()

    try:
        account = complete(settings, work())
    except (SealingError, InvalidNumber) as error:
        fail(str(error))
    typer.echo(json.dumps({"account_id": str(account.id)}) if as_json else f"{account.id}")


@account_app.command("list")
def account_list(as_json: JsonOption = False) -> None:
    """List the accounts of all tenants."""
    from vault_importer.manage_accounts import list_accounts
    from vault_importer.wiring import make_database

    settings = _settings()

    async def work() -> list[Account]:
        database = make_database(settings)
        try:
            return await list_accounts(database)
        finally:
            await database.close()

    accounts: list[Account] = complete(settings, work())
    rows = [
        {
            "account_id": str(a.id),
            "tenant": str(a.tenant_id),
            "name": a.name,
            "number": a.number,
            "has_key": a.sealed_key is not None,
        }
        for a in accounts
    ]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        typer.echo("  ".join(str(value) if value is not None else "-" for value in row.values()))


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(help="msgstore.db.crypt15, .crypt14 or .crypt12, a plain msgstore.db, or an exported chat."),
    ],
    account: Annotated[UUID, typer.Option(help="The account whose backup it is.")],
    key_file: KeyFileOption = None,
    address_book: Annotated[
        Path | None, typer.Option(help="wa.db, plain or encrypted with the same key, for names.")
    ] = None,
    media: Annotated[
        Path | None, typer.Option(help="The phone's Media folder: files of messages that have none yet are kept too.")
    ] = None,
    date_order: Annotated[
        Literal["dmy", "mdy", "ymd"] | None, typer.Option(help="Of an exported chat whose dates do not tell.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option(help="In which an exported chat tells its times; else that of the business.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Import a backup: a message store as the app makes it, encrypted (crypt12, crypt14, crypt15) or plain.

    Incremental backups and exported chats (the text, or a ZIP of it and its media) too; backups of stickers and
    settings are refused. Run again after any interruption; a file that is in the archive already is recognised.
    """
    from vault_importer.accounts import SealingError
    from vault_importer.refusals import BackupRefused, ReaderLost

    settings = _settings()
    folders = _media_folders(settings, media)
    began = time.monotonic()
    bar = _progress_bar()
    try:
        # A caller is answered on the same machine perhaps, and an import can wait.
        with giving_way(YIELDS), bar as progress:
            key, export = _read_key(key_file), _export_options(zone, date_order)
            work = _import(settings, file, account, key, address_book, folders, export, progress)
            run = complete(settings, work)
    except BackupRefused as refused:
        if as_json:
            typer.echo(json.dumps({"state": "failed", "reason": refused.code, "error": str(refused)}))
        fail(f"Refused: {refused}")
    except SealingError as error:
        fail(str(error))
    except ReaderLost as error:
        fail(f"Interrupted: {error}. Run this again; it continues.")
    if run is None:
        fail("No account has this id; `trunkline vault account list` shows them.")
    _print_import(run, time.monotonic() - began, as_json)


def _media_folders(settings: Settings, phone: Path | None) -> MediaFolders | None:
    from vault_importer.wiring import media_folders

    if phone is None:
        return None
    try:
        return media_folders(settings, phone)
    except ValueError as error:
        fail(str(error))


def _export_options(zone: str | None, date_order: Literal["dmy", "mdy", "ymd"] | None) -> ExportOptions:
    from zoneinfo import ZoneInfo

    from vault_importer.formats.export_options import ExportOptions

    try:
        if zone is not None:
            ZoneInfo(zone)
    except (OSError, ValueError):
        fail("--zone must be the name of a time zone, such as Asia/Kolkata.")
    return ExportOptions(zone=zone, date_order=date_order)


async def _import(
    settings: Settings,
    file: Path,
    account_id: UUID,
    backup_key: bytes | None,
    address_book: Path | None,
    media: MediaFolders | None,
    export: ExportOptions,
    progress: Callable[[Progress], None],
) -> ImportRun | None:
    from vault_importer.import_backup import ImportJob, import_backup
    from vault_importer.manage_accounts import find_account
    from vault_importer.store import alone_with_account
    from vault_importer.wiring import limits_of, make_database, sealing_of, stored_key, suppression_key

    database = make_database(settings)
    try:
        account = await find_account(database, account_id)
        if account is None:
            return None
        job = ImportJob(
            database=database,
            account=account,
            path=file,
            backup_key=backup_key or stored_key(account, settings),
            address_book=address_book,
            media=media,
            limits=limits_of(settings),
            temporary=settings.temporary_dir,
            export=export,
            progress=progress,
            sealing=sealing_of(settings),
            suppression_key=suppression_key(settings),
        )
        async with alone_with_account(database, account.id) as alone:
            if not alone:
                fail("Another process is importing a backup of this account; run this again when it has finished.")
            return await import_backup(job)
    finally:
        await database.close()


def _print_import(run: ImportRun, seconds: float, as_json: bool) -> None:
    newest = run.newest_message_at.isoformat() if run.newest_message_at else None
    known = {"import_id": str(run.id), "newest_message_at": newest, "seconds": round(seconds, 3)}
    result = {name: known[name] if name in known else getattr(run, name) for name in FIELDS}
    if as_json:
        typer.echo(json.dumps({**result, "manifest": run.manifest}))
    elif run.state == "unchanged":
        typer.echo(f"unchanged: this file is in the archive already ({seconds:.2f} s)")
    else:
        typer.echo(
            f"{run.state}: {run.messages_new:,} new and {run.messages_changed:,} changed of {run.messages_seen:,}"
            f" messages, {run.contacts_seen:,} contacts, {run.chats_seen:,} chats ({seconds:.1f} s)"
        )
        if unknown := run.manifest.get("source_rows", {}).get("unknown_mark"):
            typer.echo(
                f"{unknown:,} messages are a text in angle brackets that is no mark of a language known here; they are"
                " kept as they stand. Search for them, and see formats/export_marks.py."
            )


def _progress_bar() -> AbstractContextManager[Callable[[Progress], None]]:
    """A bar with rate and time left on stderr; nothing at all when that is not a terminal."""
    if not sys.stderr.isatty():
        return nullcontext(lambda _: None)
    from vault_importer.progress_bar import progress_bar

    return progress_bar()


@app.command()
def sample(
    out: Annotated[Path, typer.Option(help="Folder for the backup and its key file.")],
    messages: Annotated[int, typer.Option(min=10)] = 20_000,
    container: Annotated[ContainerName, typer.Option(help="How it is encrypted.")] = "crypt15",
    seed: Annotated[int, typer.Option(help="The same seed gives the same file.")] = 1,
    conflict_number: Annotated[
        str | None, typer.Option(help="In the direct chat with this number two different GSTINs are stated.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="When the newest message was sent, as an ISO time.")] = None,
    media: Annotated[bool, typer.Option(help="Write the Media folder as well.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make an encrypted backup with invented people, numbers and prices."""
    from datetime import datetime

    from vault_importer.samples.generate import DEFAULT_END, SampleOptions, write_sample

    end = datetime.fromisoformat(until).astimezone() if until else DEFAULT_END
    options = SampleOptions(messages=messages, seed=seed, conflict_number=conflict_number, end=end)
    made = write_sample(out, options, container=container, media=media)
    if as_json:
        typer.echo(json.dumps({"backup": str(made.backup), "key_file": str(made.key), "gstins": list(made.gstins)}))
    else:
        typer.echo(f"{made.backup}\n{made.key}")
