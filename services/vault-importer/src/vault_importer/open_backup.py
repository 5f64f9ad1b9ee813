"""From a file as it arrived to an opened backup: decrypted where needed, authentic, recognised, read apart.

The plain text exists as a file only between its authentication and its opening: once the reader holds it open, its
name is removed, so it goes when the process goes. What an earlier process left behind is swept first.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from vault_importer.apart.backup import Reader, open_apart
from vault_importer.decrypt import Limits, decrypt
from vault_importer.formats.base import Backup
from vault_importer.formats.export_options import ExportOptions
from vault_importer.formats.exported_chat import SNIFFED_BYTES, looks_exported
from vault_importer.refusals import BackupRefused
from vault_importer.survey import SQLITE_MAGIC, Survey, survey_file

__all__ = ["OpenedBackup", "open_backup", "sweep_left_behind"]

PREFIX = "trunkline-vault-"
ZIP_MAGIC = b"PK\x03\x04"


class OpenedBackup:
    """A backup ready to be read, and what its container said."""

    def __init__(self, backup: Backup, *, format_name: str, app_version: str) -> None:
        self.backup = backup
        self.format_name = format_name
        self.app_version = app_version


def open_backup(
    path: Path,
    *,
    survey: Survey,
    backup_key: bytes | None,
    address_book: Path | None,
    known_aliases: Mapping[str, str],
    temporary: Path | None,
    limits: Limits,
    export: ExportOptions | None = None,
) -> OpenedBackup:
    """Raises :class:`BackupRefused`; nothing is left on disk either way."""
    sweep_left_behind(temporary)
    private = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=temporary))
    try:
        with ExitStack() as refused:
            reader = Reader(limits.reading)
            refused.callback(reader.close)
            beside = None if _is_export(path) else Reader(limits.reading)
            if beside is not None:
                refused.callback(beside.close)
            plain, app_version = _plain(path, survey, backup_key, private, limits)
            book = _address_book(address_book, backup_key, private / "address-book", limits) if address_book else None
            backup, name = open_apart(
                plain, address_book=book, known_aliases=known_aliases, reader=reader, beside=beside, export=export
            )
            refused.pop_all()
        return OpenedBackup(backup, format_name=name, app_version=app_version)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _address_book(path: Path, backup_key: bytes | None, into: Path, limits: Limits) -> Path:
    """Plain or encrypted with the store's key. A refusal says that it is the address book's."""
    into.mkdir(mode=0o700)
    try:
        plain, _ = _plain(path, survey_file(path), backup_key, into, limits)
    except BackupRefused as refused:
        raise BackupRefused(refused.code, f"The address book cannot be used. {refused}") from None
    return plain


def _plain(path: Path, survey: Survey, backup_key: bytes | None, into: Path, limits: Limits) -> tuple[Path, str]:
    if survey.is_sqlite or _is_export(path):
        return path, ""
    plain, header = decrypt(path, backup_key=backup_key, survey=survey, into=into, limits=limits)
    with plain.open("rb") as stream:
        magic = stream.read(len(SQLITE_MAGIC))
    if magic == SQLITE_MAGIC or magic.startswith(ZIP_MAGIC):
        return plain, header.app_version
    raise BackupRefused("not_sqlite", "The backup is authentic, but what it holds is not a SQLite database.")


def _is_export(path: Path) -> bool:
    """A ZIP or the text of an exported chat, neither of which begins as a container does."""
    with path.open("rb") as stream:
        start = stream.read(SNIFFED_BYTES)
    return start.startswith(ZIP_MAGIC) or looks_exported(start)


def sweep_left_behind(temporary: Path | None) -> None:
    """Remove plain texts of processes that were killed before they could."""
    for left in Path(temporary or tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = left.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not _lives(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
