"""The process that reads: ``python -I -m vault_importer.apart``, with frames on its standard input and output."""

from __future__ import annotations

import gc
import os
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any

from vault_importer.apart.wire import BATCH_ROWS, LENGTH, decode, encode
from vault_importer.formats import check_address_book, recognise
from vault_importer.formats.base import Backup, Compares, HasSides, SideRow, SkippedRow, SourceMessage
from vault_importer.formats.export_options import ExportOptions
from vault_importer.formats.exported_chat import ExportedChat
from vault_importer.refusals import BackupRefused

OPEN_FILES = 64
#: Whoever answers somebody on the same machine goes first.
YIELDS = 10
SORTING_BYTES = 4 * 1024**3
#: Texts are a few hundred bytes; a file made of huge ones must not become one huge answer.
BATCH_BYTES = 16 * 1024 * 1024


def main() -> None:
    """Answer one request after another until the parent closes the pipe."""
    # Rows make no cycles, and looking for some among them takes longer than reading them.
    gc.disable()
    os.nice(YIELDS)
    answers = Answers(_Reader())
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while (request := _receive(source)) is not None:
        target.write(answers.to(request))
        target.flush()
        answers.look_ahead(request)


def _receive(source: IO[bytes]) -> Any:
    start = source.read(LENGTH.size)
    return decode(source.read(LENGTH.unpack(start)[0])) if len(start) == LENGTH.size else None


class Answers:
    """Of a reader, which reads the next batch of a stream while the parent works on the one before."""

    def __init__(self, reader: object) -> None:
        self._reader = reader
        self._ahead: dict[int, bytes] = {}

    def to(self, request: Mapping[str, Any]) -> bytes:
        ready = self._ahead.pop(request["with"].get("stream"), None)
        return ready if ready is not None and request["do"] == "next" else _answer(self._reader, request)

    def look_ahead(self, request: Mapping[str, Any]) -> None:
        """When that was asked for a batch, the one after it is going to be as well."""
        if request["do"] == "next":
            self._ahead[request["with"]["stream"]] = _answer(self._reader, request)


def _answer(reader: object, request: Mapping[str, Any]) -> bytes:
    try:
        return encode({"ok": getattr(reader, f"do_{request['do']}")(**request["with"])})
    except BackupRefused as refused:
        return encode({"refused": [refused.code, str(refused)]})
    except MemoryError:
        return encode({"refused": ["harmful", "Reading the file takes more memory than it may (read_memory_bytes)."]})
    except Exception as error:
        # Its text can quote what the file holds.
        return encode({"broken": type(error).__name__})


class _Reader:
    """What can be asked for."""

    def __init__(self) -> None:
        self._backup: Backup | None = None
        self._streams: dict[int, Iterator[Any]] = {}

    def do_open(
        self,
        path: str,
        address_book: str | None,
        aliases: Mapping[str, str],
        export: Mapping[str, Any],
        memory_bytes: int,
        seconds: int,
    ) -> dict[str, Any]:
        _limit(memory_bytes, seconds)
        if address_book is not None:
            check_address_book(Path(address_book))
        chosen = recognise(Path(path))
        if isinstance(chosen, ExportedChat):
            chosen = chosen.with_options(ExportOptions(**export))
        book = Path(address_book) if address_book is not None else None
        self._backup = chosen.open(Path(path), address_book=book, known_aliases=aliases)
        return {
            "format": chosen.name,
            "sides": isinstance(self._backup, HasSides),
            "compares": isinstance(self._backup, Compares),
        }

    def do_rows(self) -> Mapping[str, int]:
        return dict(self._opened.rows())

    def do_digests(self, salt: str, share: int, shares: int) -> list[tuple[int, str]]:
        found = self._comparing.digests(bytes.fromhex(salt), share, shares)
        return [(part, digest.hex()) for part, digest in found.items()]

    def do_leave_out(self, parts: list[int]) -> tuple[Mapping[str, int], int]:
        return self._comparing.leave_out(parts)

    def do_start(self, stream: int, name: str, arguments: Mapping[str, int]) -> None:
        self._streams[stream] = iter(getattr(self, "_side" if name == "side" else "_main")(name, **arguments))

    def _main(self, name: str, **arguments: int) -> Iterator[Any]:
        found: Iterator[Any] = getattr(self._opened, name)(**arguments)
        return found

    def _side(self, _: str, *, table: str, skip: int) -> Iterator[Any]:
        return next(side for side in self._with_sides.sides() if side.name == table).rows(skip)

    def do_sides(self) -> list[tuple[str, str]]:
        return [(side.name, side.into) for side in self._with_sides.sides()]

    def do_unread(self) -> Mapping[str, int]:
        return dict(self._with_sides.unread())

    def do_next(self, stream: int) -> tuple[list[Any], list[tuple[int, str, str]]]:
        """The next batch; an empty one is the end. Rows that were skipped stand beside, with their places."""
        rows: list[Any] = []
        skipped: list[tuple[int, str, str]] = []
        size = 0
        for at, row in enumerate(islice(self._streams[stream], BATCH_ROWS)):
            if isinstance(row, SkippedRow):
                skipped.append((at, row.table, row.reason))
                continue
            rows.append(row)
            size += _weight(row)
            if size > BATCH_BYTES:
                break
        return rows, skipped

    def do_stop(self, stream: int) -> None:
        closing = self._streams.pop(stream, None)
        if closing is not None and hasattr(closing, "close"):
            closing.close()

    @property
    def _opened(self) -> Backup:
        if self._backup is None:
            raise RuntimeError("nothing is open")
        return self._backup

    @property
    def _with_sides(self) -> HasSides:
        opened = self._opened
        if not isinstance(opened, HasSides):
            raise RuntimeError("nothing stands beside its messages")  # noqa: TRY004 - of the exchange
        return opened

    @property
    def _comparing(self) -> Compares:
        opened = self._opened
        if not isinstance(opened, Compares):
            raise RuntimeError("it cannot be compared")  # noqa: TRY004 - of the exchange
        return opened


def _weight(row: object) -> int:
    """About how much a row adds to its batch, as far as a stranger's file can make it much."""
    if isinstance(row, SourceMessage):
        return len(row.text)
    if isinstance(row, SideRow):
        inner = row.values.get("columns") or {}
        return sum(len(each) for each in (*row.values.values(), *inner.values()) if isinstance(each, str))
    return 0


def _limit(memory_bytes: int, seconds: int) -> None:
    """Before anything of the file is read. The second hard bound is for what does not stop by itself at the first."""
    wanted = {
        resource.RLIMIT_AS: (memory_bytes, memory_bytes),
        resource.RLIMIT_CPU: (seconds, seconds + 5),
        resource.RLIMIT_FSIZE: (SORTING_BYTES, SORTING_BYTES),
        resource.RLIMIT_NOFILE: (OPEN_FILES, OPEN_FILES),
        # A dump of memory would be a copy of the messages on disk.
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_NPROC: (0, 0),
    }
    for which, bounds in wanted.items():
        # One that is stricter already cannot be raised, and need not be.
        with suppress(ValueError, OSError):
            resource.setrlimit(which, bounds)


if __name__ == "__main__":
    main()
