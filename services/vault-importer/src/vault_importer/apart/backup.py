"""The parent's side: an opened backup whose rows come from the process that reads it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import Field, TypeAdapter, ValidationError

from vault_importer.apart.wire import LENGTH, MAX_FRAME_BYTES, decode, encode
from vault_importer.formats.base import (
    Alias,
    Backup,
    LeftOut,
    LookedUp,
    MessageRows,
    Side,
    SideRow,
    SideRows,
    SkippedRow,
    SourceChat,
    SourceContact,
    SourceMessage,
)
from vault_importer.formats.export_options import ExportOptions
from vault_importer.formats.msgstore_tables import LATEST_MS
from vault_importer.refusals import BackupRefused, ReaderLost, RefusalCode

__all__ = ["Allowance", "Comparing", "Reader", "open_apart"]

T = TypeVar("T")

COMMAND = (sys.executable, "-I", "-m", "vault_importer.apart")
READ_BYTES = 1024 * 1024
SENTENCE_CHARACTERS = 500
#: An answer may take so many times the computing that is allowed in all: a busy machine is not the file's fault.
PATIENCE = 10
STOPPED = "Reading the file was stopped, since it is damaged or made to do harm"
#: By these somebody else ends a process; what the file does ends in others.
FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """What reading one file may take."""

    memory_bytes: int = 1024**3
    seconds: int = 900
    """Of computing in all."""


def open_apart(
    path: Path,
    *,
    address_book: Path | None,
    known_aliases: Mapping[str, str],
    reader: Reader,
    beside: Reader | None = None,
    export: ExportOptions | None = None,
) -> tuple[Backup, str]:
    """Open a plain file in this process, and in another beside it, which go on to be closed by the backup; also the
    format's name.

    Raises :class:`BackupRefused`; then whoever started the processes ends them. When this returns, the processes hold
    the files open and need their names no more.
    """
    what = {
        "path": str(path),
        "address_book": None if address_book is None else str(address_book),
        "aliases": dict(known_aliases),
        "export": export or ExportOptions(),
        "memory_bytes": reader.allowance.memory_bytes,
        "seconds": reader.allowance.seconds,
    }
    before = _which(path)
    opened = reader.ask("open", **what)
    backup: Backup = _Backup(reader)
    if opened["sides"]:
        backup = _WithSides(reader)
        if opened["compares"] and beside is not None:
            beside.ask("open", **what)
            if _which(path) == before:
                return Comparing(reader, beside), str(opened["format"])
            # Another file by now: what one reads must not be compared with what the other does.
    if beside is not None:
        beside.close()
    return backup, str(opened["format"])


def _which(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class _Backup:
    """To be used by one thread at a time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def rows(self) -> Mapping[str, int]:
        return _counts(self._reader.ask("rows"))

    def aliases(self) -> Iterator[Alias]:
        return (each for each in self._reader.stream("aliases", Alias) if isinstance(each, Alias))

    def contacts(self) -> Iterator[SourceContact | SkippedRow]:
        return self._reader.stream("contacts", SourceContact)

    def chats(self) -> Iterator[SourceChat | SkippedRow]:
        return self._reader.stream("chats", SourceChat)

    def messages(self, *, lane: int = 0, lanes: int = 1, skip: int = 0) -> MessageRows:
        return self._reader.stream("messages", SourceMessage, lane=lane, lanes=lanes, skip=skip)

    def close(self) -> None:
        self._reader.close()


class _WithSides(_Backup):
    def sides(self) -> Sequence[Side]:
        named = _PAIRS.validate_python(self._reader.ask("sides"))
        return [Side(name=name, into=into, rows=partial(self._side, name)) for name, into in named]

    def _side(self, table: str, skip: int) -> SideRows:
        return self._reader.stream("side", SideRow, table=table, skip=skip)

    def lookups(self) -> Iterator[LookedUp]:
        return (each for each in self._reader.stream("lookups", LookedUp) if isinstance(each, LookedUp))

    def unread(self) -> Mapping[str, int]:
        return _counts(self._reader.ask("unread"))


class Comparing(_WithSides):
    """A backup that can tell what of it is as it was before. A second process takes its part in that, which is most of
    the work of a nightly import."""

    def __init__(self, reader: Reader, beside: Reader) -> None:
        super().__init__(reader)
        self._beside = beside

    def digests(self, salt: bytes) -> Mapping[int, bytes]:
        """Of all parts, half of them by each process."""
        with ThreadPoolExecutor(1) as other:
            half = other.submit(_digests, self._beside, salt, 1, 2)
            try:
                return {**_digests(self._reader, salt, 0, 2), **half.result()}
            except BaseException:
                self._beside.end()
                raise

    def digests_beside(self, salt: bytes) -> Mapping[int, bytes]:
        """Of all parts, for a thread of its own: the backup can be read meanwhile."""
        return _digests(self._beside, salt, 0, 1)

    def end_beside(self) -> None:
        """Whoever waits for digests waits no longer."""
        self._beside.end()

    def leave_out(self, parts: Sequence[int]) -> LeftOut:
        rows, newest_ms = _LEFT_OUT.validate_python(self._reader.ask("leave_out", parts=list(parts)))
        return LeftOut(rows, newest_ms)

    def close(self) -> None:
        super().close()
        self._beside.close()


def _digests(reader: Reader, salt: bytes, share: int, shares: int) -> Mapping[int, bytes]:
    given = _DIGESTS.validate_python(reader.ask("digests", salt=salt.hex(), share=share, shares=shares))
    return {part: bytes.fromhex(digest) for part, digest in given}


_DIGESTS = TypeAdapter(
    list[tuple[Annotated[int, Field(ge=0, lt=2**63)], Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]]]
)
_LEFT_OUT = TypeAdapter(tuple[dict[str, Annotated[int, Field(ge=0)]], Annotated[int, Field(ge=0, lt=LATEST_MS)]])
_PAIRS = TypeAdapter(list[tuple[str, str]])
_COUNTS = TypeAdapter(dict[str, int])


def _counts(answer: object) -> Mapping[str, int]:
    return _COUNTS.validate_python(answer)


#: Parsed and checked in one pass: this is most of what reading apart costs the importer.
_BATCHES: dict[Any, TypeAdapter[Any]] = {
    kind: TypeAdapter(dict[Literal["ok"], tuple[list[kind], list[tuple[int, str, str]]]])  # type: ignore[valid-type]
    for kind in (Alias, SourceContact, SourceChat, SourceMessage, LookedUp, SideRow)
}


def _ok(answer: Any) -> Any:
    """What is in an answer. Raises what it says instead."""
    if "ok" in answer:
        return answer["ok"]
    if "refused" in answer:
        code, sentence = answer["refused"]
        if code in get_args(RefusalCode):
            raise BackupRefused(code, str(sentence)[:SENTENCE_CHARACTERS])
    raise ReaderLost(f"the process that reads the file failed with {str(answer.get('broken'))[:50]}")


class Reader:
    """The process, and one exchange after another with it. It starts while its maker goes on, for instance decrypts."""

    def __init__(self, allowance: Allowance) -> None:
        self.allowance = allowance
        self._numbers = count()
        # No environment: that is where the service's passwords and keys are.
        self._process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}, cwd="/"
        )

    def stream(self, name: str, kind: type[T], **arguments: object) -> Generator[T | SkippedRow, None, None]:
        """The rows of one kind. Nothing is asked before the first is wanted."""
        number = next(self._numbers)
        self.ask("start", stream=number, name=name, arguments=arguments)
        try:
            while True:
                rows, skipped = self._batch(kind, number)
                if not rows and not skipped:
                    return
                if not skipped:
                    yield from rows
                    continue
                coming = iter(rows)
                for at in range(len(rows) + len(skipped)):
                    yield skipped[at] if at in skipped else next(coming)
        finally:
            if self._process.poll() is None:
                self.ask("stop", stream=number)

    def _batch(self, kind: type[T], number: int) -> tuple[list[T], dict[int, SkippedRow]]:
        data = self._exchange("next", {"stream": number})
        try:
            rows, skipped = _BATCHES[kind].validate_json(data)["ok"]
        except ValidationError:
            _ok(decode(data))
            self.close()
            raise BackupRefused("harmful", f"{STOPPED}: it gave what no backup holds.") from None
        return rows, {at: SkippedRow(table, reason) for at, table, reason in skipped}

    def ask(self, what: str, **arguments: object) -> Any:
        """One question and its answer. Raises :class:`BackupRefused`, and :class:`ReaderLost`."""
        return _ok(decode(self._exchange(what, arguments)))

    def _exchange(self, what: str, arguments: Mapping[str, object]) -> bytes:
        try:
            self._send(encode({"do": what, "with": arguments}))
            return self._receive()
        except BrokenPipeError:
            raise self._ended() from None

    def _send(self, data: bytes) -> None:
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101 - made with a pipe
        pipe.write(data)
        pipe.flush()

    def _receive(self) -> bytes:
        until = time.monotonic() + self.allowance.seconds * PATIENCE
        [length] = LENGTH.unpack(self._read(LENGTH.size, until))
        if length > MAX_FRAME_BYTES:
            self.close()
            raise BackupRefused("harmful", f"{STOPPED}: its rows are larger than those of any backup.")
        return self._read(length, until)

    def _read(self, wanted: int, until: float) -> bytes:
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101 - made with a pipe
        parts = []
        while wanted:
            ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                self.close()
                raise BackupRefused("harmful", f"{STOPPED}: no answer came in time (read_seconds).")
            part = os.read(pipe.fileno(), min(wanted, READ_BYTES))
            if not part:
                raise self._ended()
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)

    def _ended(self) -> Exception:
        """Why the process is gone."""
        status = self._process.wait()
        if -status in FROM_OUTSIDE or status >= 0:
            return ReaderLost(f"the process that reads the file was ended (status {status})")
        if -status == signal.SIGXCPU:
            return BackupRefused(
                "harmful",
                f"{STOPPED}: it takes more than {self.allowance.seconds} seconds of computing (read_seconds).",
            )
        return BackupRefused(
            "harmful", f"{STOPPED}: it made the process that reads it crash ({signal.Signals(-status).name})."
        )

    def end(self) -> None:
        """End the process, whatever it does; another thread may be waiting for its answer."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process, and let go of what led to it."""
        self.end()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
