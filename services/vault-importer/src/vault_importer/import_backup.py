"""Imports one backup file of one account: looked at, opened, loaded, told.

A file that was imported completely before is recognised by its hash and not opened. A file that is refused leaves a
failed import, an audit record and an event, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from contracts.vault import VaultStateV1
from kit.ids import uuid7
from kit.outbox import append
from kit.postgres import Database, Transaction
from kit.telemetry import get_logger, get_tracer
from vault_importer import metrics, store
from vault_importer.accounts import Account
from vault_importer.audit_store import append_audit
from vault_importer.compare_backup import forget_earlier
from vault_importer.decrypt import Limits
from vault_importer.erasure.keep_out import KeptOut
from vault_importer.erasure.suppression_store import suppression
from vault_importer.formats.base import LeftOut
from vault_importer.formats.export_options import ExportOptions
from vault_importer.ledger_store import append_import_leaf
from vault_importer.load_backup import LANES, Loading, Progress, load_backup
from vault_importer.load_media import load_media
from vault_importer.media_files import MediaFolders
from vault_importer.open_backup import OpenedBackup, open_backup
from vault_importer.refusals import BackupRefused
from vault_importer.store import ImportRun
from vault_importer.survey import Survey, survey_file
from vault_importer.uncollected import uncollected

if TYPE_CHECKING:
    from vault_importer.erasure.case import SuppressionKey
    from vault_importer.seal import Sealing

__all__ = ["ImportJob", "import_backup"]

log = get_logger(__name__)
tracer = get_tracer(__name__)

State = Literal["started", "unchanged", "completed", "failed"]


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class ImportJob:
    """What is to be imported, and by what."""

    database: Database
    account: Account
    path: Path
    backup_key: bytes | None = None
    """Needed by encrypted backups only."""
    address_book: Path | None = None
    media: MediaFolders | None = None
    """Where the media files are and where to keep them; also for a backup that was imported before without."""
    limits: Limits = field(default_factory=Limits)
    export: ExportOptions = field(default_factory=ExportOptions)
    temporary: Path | None = None
    progress: Callable[[Progress], None] = lambda _: None
    now: Callable[[], datetime] = _utc_now
    sealing: Sealing | None = None
    """With what the archive is signed after the import, if at all."""
    suppression_key: SuppressionKey | None = None
    """Tells who was erased and must not come back; needed where anybody was."""


async def import_backup(job: ImportJob) -> ImportRun:
    """Import a file, or find that there is nothing to do. Raises :class:`BackupRefused` once that is recorded.

    Any other error leaves the import begun; importing the same file again continues it.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="vault-import") as worker, tracer.start_as_current_span("import"):
        survey = await _in(worker, survey_file, job.path)
        async with job.database.transaction(job.account.tenant_id) as tx:
            before = await store.last_import_of_file(tx, job.account.id, survey.sha256.hex())
        if before is not None and before.state == "completed":
            media = await _load_media(job, before, worker)
            return await _unchanged(job, survey, before, media)
        run = await _begin(job, survey, before)
        try:
            opened = await _open(job, survey, worker)
            try:
                loading = Loading(
                    database=job.database,
                    account=job.account,
                    run=run,
                    worker=worker,
                    now=job.now,
                    progress=job.progress,
                    kept_out=await _kept_out(job),
                )
                with uncollected():
                    await load_backup(loading, opened.backup, format_name=opened.format_name)
            finally:
                await _in(worker, opened.backup.close)
        except BackupRefused as refused:
            await _fail(job, run, refused)
            raise
        manifest = {**loading.manifest, **await _load_media(job, run, worker)}
        done = await _complete(job, run, manifest, opened.app_version, loading.left_out)
    if job.sealing is not None:
        from vault_importer.seal import seal_quietly

        await seal_quietly(job.database, job.account.tenant_id, job.sealing, now=job.now())
    return done


async def _kept_out(job: ImportJob) -> KeptOut:
    async with job.database.transaction(job.account.tenant_id) as tx:
        known = await suppression(tx)
    return KeptOut.of(known, job.suppression_key, job.account.tenant_id)


async def _load_media(job: ImportJob, run: ImportRun, worker: ThreadPoolExecutor) -> dict[str, Any]:
    if job.media is None:
        return {}

    async def in_worker(function: Callable[..., Any], *arguments: object) -> Any:
        return await _in(worker, function, *arguments)

    files = await load_media(job.database, job.account, job.media, import_id=run.id, now=job.now, in_worker=in_worker)
    return {"media_files": files}


async def _in(worker: ThreadPoolExecutor, function: Callable[..., Any], *arguments: object) -> Any:
    return await asyncio.get_running_loop().run_in_executor(worker, function, *arguments)


async def _open(job: ImportJob, survey: Survey, worker: ThreadPoolExecutor) -> OpenedBackup:
    async with job.database.transaction(job.account.tenant_id) as tx:
        aliases = await store.known_aliases(tx)
        export = job.export if job.export.zone else replace(job.export, zone=await store.tenant_zone(tx))

    def open_it() -> OpenedBackup:
        return open_backup(
            job.path,
            survey=survey,
            backup_key=job.backup_key,
            address_book=job.address_book,
            known_aliases=aliases,
            temporary=job.temporary,
            limits=job.limits,
            export=export,
        )

    opened: OpenedBackup = await _in(worker, open_it)
    return opened


def _run(
    job: ImportJob, survey: Survey, state: State, newest: datetime | None = None, format_name: str = ""
) -> ImportRun:
    at = job.now()
    return ImportRun(
        id=uuid7(),
        account_id=job.account.id,
        file_name=_file_name(job.path),
        file_sha256=survey.sha256.hex(),
        file_bytes=survey.size,
        format=format_name,
        state=state,
        started_at=at,
        finished_at=None if state == "started" else at,
        messages_seen=0,
        messages_new=0,
        messages_changed=0,
        contacts_seen=0,
        chats_seen=0,
        newest_message_at=newest,
        manifest={},
        error=None,
    )


def _file_name(path: Path) -> str:
    """Exported chats are named after the person; what is kept of them must not be."""
    return f"exported chat{path.suffix}" if path.suffix in (".txt", ".zip") else path.name


async def _begin(job: ImportJob, survey: Survey, interrupted: ImportRun | None) -> ImportRun:
    run = interrupted or _run(job, survey, "started")
    account = job.account
    async with job.database.transaction(account.tenant_id, emits=[str(account.id)]) as tx:
        if interrupted is None:
            await store.add_import(tx, run)
            await store.add_lanes(tx, run.id, LANES)
            await _tell(tx, account, run, "started", at=run.started_at)
        details = {"file_bytes": survey.size}
        await _audit(tx, job, run, "import.resumed" if interrupted else "import.started", details)
    log.info("import_began", import_id=str(run.id), bytes=survey.size, resumed=interrupted is not None)
    return run


async def _unchanged(job: ImportJob, survey: Survey, before: ImportRun, manifest: dict[str, Any]) -> ImportRun:
    run = _run(job, survey, "unchanged", before.newest_message_at, before.format)
    run = replace(run, manifest=manifest)
    account = job.account
    async with job.database.transaction(account.tenant_id, emits=[str(account.id)]) as tx:
        await store.add_import(tx, run)
        newest = await store.note_newest_message(tx, account.id, None)
        await _tell(tx, account, run, "unchanged", at=run.started_at, newest=newest)
        await _audit(tx, job, run, "import.unchanged", {"same_as": str(before.id), **manifest})
        await append_import_leaf(tx, run, at=run.started_at)
    metrics.IMPORTS.labels("unchanged").inc()
    metrics.IMPORTED_AT.set_to_current_time()
    log.info("import_unchanged", import_id=str(run.id), same_as=str(before.id))
    return run


async def _complete(
    job: ImportJob, run: ImportRun, manifest: dict[str, Any], app_version: str, left_out: LeftOut
) -> ImportRun:
    account = job.account
    at = job.now()
    async with job.database.transaction(account.tenant_id, emits=[str(account.id)]) as tx:
        done = await store.finish_import(
            tx, run.id, state="completed", at=at, error=None, manifest=manifest, left_out=left_out
        )
        if done is None:
            raise RuntimeError("the import was finished by another process")
        await forget_earlier(tx, account.id, run.id)
        newest = await store.note_newest_message(tx, account.id, done.newest_message_at)
        await _tell(tx, account, done, "completed", at=at, newest=newest)
        counts = {"seen": done.messages_seen, "new": done.messages_new, "changed": done.messages_changed}
        messages = {**counts, **done.manifest["messages"]}
        details = {**done.manifest, "messages": messages, "app_version": app_version}
        await _audit(tx, job, done, "import.completed", details)
        await append_import_leaf(tx, done, at=at)
    metrics.IMPORTS.labels("completed").inc()
    metrics.IMPORTED_AT.set_to_current_time()
    metrics.MESSAGES.labels("new").inc(done.messages_new)
    metrics.MESSAGES.labels("changed").inc(done.messages_changed)
    log.info("import_completed", import_id=str(run.id), **counts, seconds=(at - run.started_at).total_seconds())
    return done


async def _fail(job: ImportJob, run: ImportRun, refused: BackupRefused) -> None:
    account = job.account
    at = job.now()
    async with job.database.transaction(account.tenant_id, emits=[str(account.id)]) as tx:
        failed = await store.finish_import(tx, run.id, state="failed", at=at, error=str(refused), manifest=run.manifest)
        await _tell(tx, account, failed or run, "failed", at=at, error=str(refused))
        await _audit(tx, job, run, "import.refused", {"reason": refused.code})
        if failed is not None:
            await append_import_leaf(tx, failed, at=at)
    metrics.IMPORTS.labels("failed").inc()
    log.warning("import_refused", import_id=str(run.id), reason=refused.code)


async def _tell(
    tx: Transaction,
    account: Account,
    run: ImportRun,
    state: State,
    *,
    at: datetime,
    newest: datetime | None = None,
    error: str | None = None,
) -> None:
    event = VaultStateV1(
        account_id=str(account.id),
        account_name=account.name,
        import_id=str(run.id),
        state=state,
        file_sha256=run.file_sha256,
        at=at,
        messages_new=run.messages_new,
        messages_changed=run.messages_changed,
        messages_seen=run.messages_seen,
        contacts_seen=run.contacts_seen,
        chats_seen=run.chats_seen,
        newest_message_at=newest,
        error=error,
    )
    await append(tx, event, time=at)


async def _audit(tx: Transaction, job: ImportJob, run: ImportRun, action: str, details: dict[str, Any]) -> None:
    await append_audit(
        tx,
        action,
        at=job.now(),
        account_id=job.account.id,
        import_id=run.id,
        file_sha256=run.file_sha256,
        details=details,
    )
