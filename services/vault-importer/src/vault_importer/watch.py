"""Imports what is put into a folder: ``<folder>/<account id>/*.crypt12``, ``.crypt14``, ``.crypt15``, ``.db``,
``.sqlite``, ``.txt`` or ``.zip``.

A file is taken once it has stopped growing, and moved to ``done/`` or, with a ``.reason.txt``, to ``refused/``.
What is not the file's fault (a database that is down) is tried again a bounded number of times. A ``wa.db``,
plain or encrypted, beside it is the address book and goes with it. Several processes may watch one folder: an account
is in the hand of one of them at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from kit.postgres import Database
from kit.telemetry import get_logger
from runtime.background import Background
from vault_importer.accounts import Account, SealingError
from vault_importer.containers import CONTAINERS
from vault_importer.decrypt import Limits
from vault_importer.erasure.case import SuppressionKey
from vault_importer.import_backup import ImportJob, import_backup
from vault_importer.manage_accounts import find_account
from vault_importer.media_files import PREFIX, MediaFolders
from vault_importer.refusals import BackupRefused
from vault_importer.seal import Sealing
from vault_importer.store import alone_with_account

__all__ = ["Watch", "WatchOptions"]

log = get_logger(__name__)

SUFFIXES = (*(f".{each.name}" for each in CONTAINERS), ".db", ".sqlite", ".txt", ".zip")
ADDRESS_BOOKS = (*(f"wa.db.{each.name}" for each in reversed(CONTAINERS)), "wa.db")
FIRST_DELAY_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    folder: Path
    every_seconds: float = 2.0
    settle_seconds: float = 10.0
    attempts: int = 5
    temporary: Path | None = None
    limits: Limits = field(default_factory=Limits)
    sealing: Sealing | None = None
    media_store: Path | None = None
    """Where the files of a ``Media`` folder beside the backups are kept; without it, they are not taken."""
    largest_media_bytes: int = 4 * 1024**3
    suppression_key: SuppressionKey | None = None


@dataclass
class _Seen:
    """A file as it looked last time."""

    shape: tuple[int, int]
    since: float
    attempts: int = 0
    not_before: float = 0.0


class Watch(Background):
    """A component: looks, imports one file at a time, and goes on."""

    name = "watch folder"
    ended = "the watch of the folder has ended"

    def __init__(
        self,
        *,
        database: Database,
        key_of: Callable[[Account], bytes | None],
        options: WatchOptions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._key_of = key_of
        self._options = options
        self._clock = clock
        self._seen: dict[Path, _Seen] = {}
        self._imported = 0
        self._refused = 0

    async def start(self) -> None:
        self._options.folder.mkdir(parents=True, exist_ok=True)
        await super().start()

    async def stop(self) -> None:
        """An import in flight is cut off between two chunks at most; the next start continues it."""
        await super().stop()

    def status(self) -> dict[str, object]:
        return {"waiting": len(self._seen), "imported": self._imported, "refused": self._refused}

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:
                log.warning("watch_failed", error=type(error).__name__)
            await asyncio.sleep(self._options.every_seconds)

    async def look(self) -> None:
        """One look at the folder; imports whatever has settled."""
        present = await asyncio.to_thread(lambda: list(_files(self._options.folder)))
        self._seen = {path: seen for path, seen in self._seen.items() if path in dict(present)}
        for path, shape in present:
            now = self._clock()
            seen = self._seen.get(path)
            if seen is None or seen.shape != shape:
                self._seen[path] = seen = _Seen(shape=shape, since=now)
            if now - seen.since >= self._options.settle_seconds and now >= seen.not_before:
                await self._take(path, seen)

    async def _take(self, path: Path, seen: _Seen) -> None:
        try:
            async with alone_with_account(self._database, UUID(path.parent.name)) as alone:
                # Else another process that watches the folder has it in hand, or has just put it away.
                if alone and await asyncio.to_thread(path.exists):
                    await self._import(path)
        except Exception as error:
            seen.attempts += 1
            log.warning("watch_import_failed", attempt=seen.attempts, error=type(error).__name__)
            if seen.attempts >= self._options.attempts:
                await self._refuse(path, f"the import failed {seen.attempts} times, last with {type(error).__name__}")
            seen.not_before = self._clock() + FIRST_DELAY_SECONDS * 2 ** (seen.attempts - 1)

    async def _import(self, path: Path) -> None:
        try:
            account = await find_account(self._database, UUID(path.parent.name))
            if account is None:
                await self._refuse(path, "no account has the id that the folder is named after")
                return
            await import_backup(self._job(path, account))
        except (BackupRefused, SealingError) as refused:
            await self._refuse(path, str(refused))
        else:
            self._imported += 1
            await self._put(path, "done", None)

    def _job(self, path: Path, account: Account) -> ImportJob:
        book = next((found for name in ADDRESS_BOOKS if (found := path.parent / name).exists()), None)
        return ImportJob(
            database=self._database,
            account=account,
            path=path,
            backup_key=self._key_of(account),
            address_book=book,
            media=self._media(path.parent),
            temporary=self._options.temporary,
            limits=self._options.limits,
            sealing=self._options.sealing,
            suppression_key=self._options.suppression_key,
        )

    def _media(self, inbox: Path) -> MediaFolders | None:
        store, phone = self._options.media_store, inbox / PREFIX
        if store is None or phone.is_symlink() or not phone.is_dir():
            return None
        return MediaFolders(phone=inbox, store=store, largest_bytes=self._options.largest_media_bytes)

    async def _refuse(self, path: Path, reason: str) -> None:
        self._refused += 1
        await self._put(path, "refused", reason)

    async def _put(self, path: Path, where: str, reason: str | None) -> None:
        await asyncio.to_thread(_move, path, where, reason)
        self._seen.pop(path, None)


def _files(folder: Path) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Candidates and what tells whether they still grow; address books wait for their store."""
    for account in sorted(folder.iterdir()):
        if not account.is_dir() or not _is_uuid(account.name):
            continue
        for path in sorted(account.iterdir()):
            if path.name in ADDRESS_BOOKS or not path.name.endswith(SUFFIXES):
                continue
            with contextlib.suppress(FileNotFoundError):
                if path.is_file():
                    stat = path.stat()
                    yield path, (stat.st_size, stat.st_mtime_ns)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _move(path: Path, where: str, reason: str | None) -> None:
    """Into a folder beside it, under a name that no earlier file has."""
    folder = path.parent / where
    folder.mkdir(exist_ok=True)
    target = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{path.name}"
    path.rename(target)
    if reason is not None:
        target.with_name(target.name + ".reason.txt").write_text(reason + "\n", encoding="utf-8")
