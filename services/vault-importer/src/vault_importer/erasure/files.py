"""Backups that have been imported: files that hold everybody."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

__all__ = ["remove_backups", "remove_old_backups"]

DAY_SECONDS = 24 * 60 * 60


def remove_backups(inboxes: Iterable[Path], keep_seconds: float) -> int:
    """Remove what was put away from inboxes of accounts at least so long ago; how many files."""
    before, removed = time.time() - keep_seconds, 0
    for folder in (inbox / name for inbox in inboxes for name in ("done", "refused")):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            # When it was put here, not when the phone wrote it.
            if path.is_file() and path.lstat().st_ctime <= before:
                path.unlink(missing_ok=True)
                removed += 1
    return removed


def remove_old_backups(watched: Path, keep_days: float) -> int:
    """The same for every account's inbox in the watched folder."""
    inboxes = [each for each in sorted(watched.iterdir()) if each.is_dir()] if watched.is_dir() else []
    return remove_backups(inboxes, keep_days * DAY_SECONDS)
