"""A journal on the local disk: where webhooks go when Postgres is not there, until it is back.

One record is one line, ``<crc32 of the JSON, hex> <JSON>``, durable when :meth:`Journal.append` returns. Appends
that wait together share one fdatasync. Files are segments: a segment being drained is no longer written to, and is
deleted when all of its records are safe elsewhere. A torn last line was never acknowledged and is ignored. A segment
with a broken line is put aside for people to look at, and goes after 32 days: like a dead letter it names callers, and
nobody can tell by whom it may have to be forgotten.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from kit.ids import uuid7
from kit.telemetry import get_logger
from telephony_router.metrics import METRICS

__all__ = ["Journal", "JournalFull", "read_segment"]

log = get_logger(__name__)
SUFFIX = ".journal"
CORRUPT = ".corrupt"
#: As long as the past can still arrive elsewhere (``recovery.erasure.REMEMBERED``).
KEEP_CORRUPT_SECONDS = 32 * 24 * 60 * 60


class JournalFull(OSError):
    """The journal has reached its bound; nothing more is taken."""


class Journal:
    """Owned by one process; several may share the folder. Segments of a process that died are adopted."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._draining = asyncio.Lock()
        self._file: int | None = None
        self._path: Path | None = None
        self._size = 0
        self._closed_segments: dict[Path, int] = {}
        """Segments that wait to be drained, each with its open, locked file."""
        self._closed_sizes: dict[Path, int] = {}
        """Their sizes, kept apart: the thread that writes must not ask a file that a drain is just closing."""

    @property
    def empty(self) -> bool:
        return self._file is None and not self._closed_segments

    def open(self) -> None:
        """Make the folder, adopt what dead processes left behind, and forget what was put aside long ago."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _remove_old(self._folder)
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            if path == self._path or path in self._closed_segments:
                continue
            file = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                continue
            if not path.exists():
                # Drained and deleted by its owner between our listing and our lock.
                os.close(file)
                continue
            self._keep(path, file, os.fstat(file).st_size)
        METRICS.journal_bytes.set(self.size())

    def size(self) -> int:
        # A copy in one step: the thread that writes asks while a drain takes segments away.
        return self._size + sum(list(self._closed_sizes.values()))

    def _keep(self, path: Path, file: int, size: int) -> None:
        self._closed_sizes[path] = size
        self._closed_segments[path] = file

    def _forget(self, path: Path) -> None:
        os.close(self._closed_segments.pop(path))
        del self._closed_sizes[path]

    async def append(self, record: bytes) -> None:
        """Return when the record is on the disk. Raises ``OSError`` (:class:`JournalFull`) when it cannot be."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((record, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        await done

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            group, self._waiting = self._waiting, []
            try:
                await loop.run_in_executor(self._thread, self._write, [record for record, _ in group])
            except Exception as error:
                # Whatever it was, nobody may be left waiting: an answer hangs on every one of these.
                log.warning("journal_not_written", error=type(error).__name__)
                full = isinstance(error, JournalFull)
                for _, done in group:
                    if not done.done():
                        done.set_exception(JournalFull(*error.args) if full else OSError(*error.args))
            else:
                for _, done in group:
                    if not done.done():
                        done.set_result(None)

    def _write(self, records: Sequence[bytes]) -> None:
        lines = b"".join(b"%08x %s\n" % (zlib.crc32(record), record) for record in records)
        if self.size() + len(lines) > self._max_bytes:
            raise JournalFull(f"the journal holds its {self._max_bytes} bytes")
        file = self._file if self._file is not None else self._begin()
        try:
            written = 0
            while written < len(lines):
                written += os.pwrite(file, lines[written:], self._size + written)
            os.fdatasync(file)
        except BaseException:
            # Half a record must not stand before whole ones, and after a failed sync the file is not trusted.
            with suppress(OSError):
                os.ftruncate(file, self._size)
            self._end()
            raise
        self._size += len(lines)
        METRICS.journal_bytes.set(self.size())

    def _begin(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{uuid7()}{SUFFIX}"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _sync_folder(self._folder)
        self._file, self._path, self._size = file, path, 0
        return file

    def _end(self) -> None:
        if self._file is not None and self._path is not None:
            self._keep(self._path, self._file, self._size)
        self._file, self._path, self._size = None, None, 0

    async def drain(self, store: Callable[[list[bytes]], Awaitable[None]], *, chunk: int = 500) -> int:
        """Hand every record to ``store``, oldest segment first; forget a segment when all of it is stored.

        What ``store`` raises ends the drain; the next one starts at the same segment, so storing must bear
        repetition.
        """
        stored = 0
        async with self._draining, self._quiet():
            for path in sorted(self._closed_segments):
                file = self._closed_segments[path]
                records, corrupt = await asyncio.to_thread(read_segment, file)
                if corrupt:
                    METRICS.journal_corrupt.inc(corrupt)
                    log.error("journal_records_corrupt", count=corrupt, segment=path.name)
                for start in range(0, len(records), chunk):
                    await store(records[start : start + chunk])
                stored += len(records)
                if corrupt:
                    path.rename(path.with_suffix(CORRUPT))
                else:
                    path.unlink(missing_ok=True)
                self._forget(path)
        METRICS.journal_bytes.set(self.size())
        return stored

    @asynccontextmanager
    async def _quiet(self) -> AsyncIterator[None]:
        """Closes the segment in use, in the thread that writes, so that no write is under way in it."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._end)
        yield

    async def close(self) -> None:
        if self._writing is not None:
            await self._writing
        self._thread.shutdown(wait=True)
        self._end()
        for path in list(self._closed_segments):
            if self._closed_sizes[path] == 0:
                path.unlink(missing_ok=True)
            self._forget(path)


def read_segment(file: int) -> tuple[list[bytes], int]:
    """All whole records of a segment, and how many broken lines lie between them. A torn tail is not broken."""
    data = os.pread(file, os.fstat(file).st_size, 0)
    records: list[bytes] = []
    corrupt = 0
    pending = 0
    for line in data.split(b"\n"):
        if not line:
            continue
        checksum, _, record = line.partition(b" ")
        if len(checksum) == 8 and checksum == b"%08x" % zlib.crc32(record):
            records.append(record)
            corrupt += pending
            pending = 0
        else:
            pending += 1
    # Broken lines at the very end were never acknowledged: a crash cut them off.
    return records, corrupt


def _remove_old(folder: Path) -> None:
    before = time.time() - KEEP_CORRUPT_SECONDS
    for path in folder.glob(f"*{CORRUPT}"):
        # When it was put aside: its records may be from long before. Another process may be doing the same.
        with suppress(FileNotFoundError):
            if path.stat().st_ctime <= before:
                path.unlink()
                log.info("journal_corrupt_removed", segment=path.name)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
