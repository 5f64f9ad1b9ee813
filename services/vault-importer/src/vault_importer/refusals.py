"""Why a backup is not imported: a closed list of reasons, each with a sentence for the person who sent the file."""

from __future__ import annotations

from typing import Literal

__all__ = ["BackupRefused", "ImportBusy", "RefusalCode"]

RefusalCode = Literal[
    "bad_key",
    "bomb",
    "changed_while_read",
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
