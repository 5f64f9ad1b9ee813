"""The formats that can be imported, in the order in which they are tried."""

from __future__ import annotations

from pathlib import Path

from vault_importer.formats.base import Format
from vault_importer.formats.chatstorage import ChatStorage
from vault_importer.formats.exported_chat import ExportedChat
from vault_importer.formats.increment import Increment
from vault_importer.formats.legacy_msgstore import LegacyMsgstore
from vault_importer.formats.msgstore import ModernMsgstore
from vault_importer.formats.sqlite_source import SqliteSource
from vault_importer.formats.zip_source import ZipSource, is_zip
from vault_importer.refusals import BackupRefused

__all__ = ["FORMATS", "check_address_book", "recognise"]

FORMATS: tuple[Format, ...] = (ModernMsgstore(), LegacyMsgstore(), ChatStorage(), Increment(), ExportedChat())


def recognise(path: Path) -> Format:
    """The format of a plain file. Raises :class:`BackupRefused`."""
    for candidate in FORMATS:
        if candidate.recognises(path):
            return candidate
    if is_zip(path):
        ZipSource(path).close()
        raise BackupRefused(
            "unknown_schema",
            "This holds files, but neither an incremental backup nor an exported chat: backups of stickers, wallpapers"
            " and settings are not imported; send msgstore.db.",
        )
    if _is_address_book(path):
        raise BackupRefused(
            "unknown_schema",
            "This is the address book, wa.db, which holds names and no messages; send msgstore.db, and this beside it"
            " (--address-book).",
        )
    raise BackupRefused(
        "unknown_schema",
        "This is a database, but not one with WhatsApp's message, chat and jid tables; send msgstore.db.",
    )


def check_address_book(path: Path) -> None:
    """Raises :class:`BackupRefused` for a file that holds no address book."""
    try:
        found = _is_address_book(path)
    except BackupRefused as refused:
        raise BackupRefused(refused.code, f"The address book cannot be used. {refused}") from None
    if not found:
        raise BackupRefused(
            "unknown_schema",
            "The address book cannot be used. It is a database without the table of contacts; give wa.db.",
        )


def _is_address_book(path: Path) -> bool:
    source = SqliteSource(path)
    try:
        return source.has("wa_contacts", "jid")
    finally:
        source.close()
