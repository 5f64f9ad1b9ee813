"""Why a backup is not imported: a closed list of reasons, each with a sentence for the person who sent the file."""

from __future__ import annotations

from typing import Literal

__all__ = ["BackupRefused", "ErasedMeanwhile", "ImportBusy", "ReaderLost", "RefusalCode"]

RefusalCode = Literal[
    "ambiguous_dates",
    "bad_key",
    "bomb",
    "changed_while_read",
    "harmful",
    "not_a_backup",
    "not_authentic",
    "not_sqlite",
    "truncated",
    "unknown_schema",
    "unreadable",
    "wrong_key",
]


class BackupRefused(Exception):
    """The file cannot be imported, however often it is tried. ``str()`` is a sentence without personal data."""

    def __init__(self, code: RefusalCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code: RefusalCode = code


class ImportBusy(Exception):
    """Another process imports the same file at this moment."""


class ErasedMeanwhile(ImportBusy):
    """Somebody was erased while the file was being imported: importing it again goes on without them."""

    def __init__(self) -> None:
        super().__init__("Somebody was erased from the archive meanwhile. Import the file again: it continues.")


class ReaderLost(Exception):
    """The process that reads the file ended by no fault of the file, as far as can be told: it may be tried again."""
