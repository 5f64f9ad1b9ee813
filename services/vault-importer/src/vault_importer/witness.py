"""A witness: signs a log's checkpoint only when it continues the last one that it signed (C2SP ``tlog-witness``).

It runs elsewhere than the vault, at a customer's or an auditor's, with a key of its own and no database. Whoever shows
two histories to two people needs a witness's signature under both, and gets it under one.

A log goes over to another key by a checkpoint that both have signed; what it has gone over to, the witness remembers.

``POST /add-checkpoint`` takes the size that the witness signed last, a proof, and a checkpoint;
``GET /checkpoint?origin=…`` gives the last one that was signed.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from vault_importer.durable_file import write_durably
from vault_importer.handover import handover_in
from vault_importer.merkle import HASH_BYTES, verify_consistency
from vault_importer.signed_note import (
    Checkpoint,
    Note,
    NoteError,
    Signer,
    Verifier,
    cosign,
    is_signed,
    parse_checkpoint,
    parse_note,
    parse_verifier,
)

__all__ = ["SIZE_TYPE", "Witness", "request_body"]

SIZE_TYPE = "text/x.tlog.size"
MAX_BODY = 64 * 1024
MAX_PROOF = 63
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def _utc_now() -> datetime:
    return datetime.now(UTC)


def request_body(old: int, proof: Sequence[bytes], note: str) -> bytes:
    """What a log sends."""
    lines = [f"old {old}", *(base64.b64encode(each).decode() for each in proof)]
    return ("\n".join(lines) + "\n\n" + note).encode()


@dataclass(frozen=True, slots=True)
class _Answer:
    status: HTTPStatus
    text: str
    content_type: str = "text/plain; charset=utf-8"


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.answer = _Answer(status, f"{text}\n")


@dataclass(frozen=True, slots=True)
class _Asked:
    old: int
    proof: list[bytes]
    note: str
    parsed: Note
    said: Checkpoint


class Witness:
    """An ASGI app. ``state`` is a folder that only this witness writes; several processes may share it."""

    def __init__(
        self, *, signer: Signer, logs: Iterable[Verifier], state: Path, now: Callable[[], datetime] = _utc_now
    ) -> None:
        self._signer = signer
        self._logs = {log.name: log for log in logs}
        self._state = state
        self._now = now
        state.mkdir(parents=True, exist_ok=True)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("a witness speaks HTTP only")
        answer = await self._answer(scope, receive)
        body = answer.text.encode()
        headers = [(b"content-type", answer.content_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": int(answer.status), "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Any, receive: Receive) -> _Answer:
        asked = (scope["method"], scope["path"])
        if asked == ("GET", "/checkpoint"):
            origin = parse_qs(scope["query_string"].decode("latin-1")).get("origin", [""])[0]
            note = await asyncio.to_thread(self._last, origin)
            return _Answer(HTTPStatus.OK, note) if note else _Answer(HTTPStatus.NOT_FOUND, "Nothing was signed.\n")
        if asked != ("POST", "/add-checkpoint"):
            return _Answer(HTTPStatus.NOT_FOUND, "A witness answers POST /add-checkpoint and GET /checkpoint.\n")
        body = b""
        more = True
        while more:
            part = await receive()
            if part["type"] == "http.disconnect":
                return _Answer(HTTPStatus.BAD_REQUEST, "The request is not whole.\n")
            body += part.get("body", b"")
            more = part.get("more_body", False)
            if len(body) > MAX_BODY:
                return _Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too long.\n")
        return await asyncio.to_thread(self.add, body)

    def add(self, body: bytes) -> _Answer:
        """Sign a checkpoint, or say why not. What was signed is on disk before the answer is given."""
        try:
            asked = self._read(body)
            path = self._path(asked.said.origin)
            with _alone(path):
                keys = self._keys(asked, path)
                self._check(asked, path)
                line = cosign(self._signer, asked.parsed.text, at=self._now())
                if keys is not None:
                    # First: asked again for the same hand-over, it finds that it has taken it.
                    write_durably(path.with_suffix(".keys"), keys)
                write_durably(path, asked.note + line)
        except _Refused as refused:
            return refused.answer
        return _Answer(HTTPStatus.OK, line)

    def _read(self, body: bytes) -> _Asked:
        try:
            head, _, note = body.decode().partition("\n\n")
            first, *lines = head.split("\n")
            old = _OLD.fullmatch(first)
            proof = [base64.b64decode(line, validate=True) for line in lines]
            parsed = parse_note(note)
            said = parse_checkpoint(parsed.text)
        except ValueError:  # of a note, of UTF-8 or of Base64
            raise _Refused(HTTPStatus.BAD_REQUEST, "This is no request of tlog-witness.") from None
        if old is None or len(proof) > MAX_PROOF or any(len(each) != HASH_BYTES for each in proof):
            raise _Refused(HTTPStatus.BAD_REQUEST, "This is no request of tlog-witness.")
        log = self._logs.get(said.origin)
        if log is None:
            raise _Refused(HTTPStatus.NOT_FOUND, "This log is not known here.")
        # Only the log's own lines are kept: what anybody else signed is theirs to keep.
        kept = [line for line in note.rpartition("\n\n")[2].splitlines() if line.split(" ")[1] == log.name]
        return _Asked(int(old[1]), proof, f"{parsed.text}\n" + "".join(f"{line}\n" for line in kept), parsed, said)

    def _keys(self, asked: _Asked, path: Path) -> str | None:
        """The log's keys from the one that was given on, when this checkpoint adds one. Only the last one signs, and it
        hands over by a checkpoint that both have signed."""
        given = self._logs[asked.said.origin]
        kept = path.with_suffix(".keys")
        keys = kept.read_text(encoding="utf-8").split() if kept.exists() else []
        if str(given) not in keys:
            keys = [str(given)]
        try:
            change = handover_in(asked.parsed)
        except NoteError as error:
            raise _Refused(HTTPStatus.FORBIDDEN, str(error)) from None
        if not is_signed(asked.parsed, parse_verifier(keys[-1])):
            raise _Refused(HTTPStatus.FORBIDDEN, "The checkpoint is not signed with the key that is known of this log.")
        if change is None or str(change.new) == keys[-1]:
            return None
        if str(change.old) != keys[-1] or str(change.new) in keys:
            raise _Refused(HTTPStatus.FORBIDDEN, "A key hands over that has not signed last, or to an earlier one.")
        return "\n".join([*keys, str(change.new)]) + "\n"

    def _check(self, asked: _Asked, path: Path) -> None:
        if asked.old > asked.said.size:
            raise _Refused(HTTPStatus.BAD_REQUEST, "The old size is larger than the checkpoint.")
        last = parse_checkpoint(parse_note(path.read_text(encoding="utf-8")).text) if path.exists() else None
        size = last.size if last else 0
        if asked.old != size:
            refused = _Refused(HTTPStatus.CONFLICT, "")
            refused.answer = _Answer(HTTPStatus.CONFLICT, f"{size}\n", SIZE_TYPE)
            raise refused
        if last is None:
            if asked.proof:
                raise _Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "A proof from nothing is empty.")
        elif asked.said.size == size:
            if asked.said.root != last.root:
                raise _Refused(HTTPStatus.CONFLICT, "Another root was signed at this size: these are two histories.")
        elif not verify_consistency(size, asked.said.size, last.root, asked.said.root, asked.proof):
            raise _Refused(
                HTTPStatus.UNPROCESSABLE_ENTITY, "The checkpoint does not continue the one that was signed last."
            )

    def _last(self, origin: str) -> str | None:
        path = self._path(origin)
        return path.read_text(encoding="utf-8") if origin in self._logs and path.exists() else None

    def _path(self, origin: str) -> Path:
        return self._state / f"{sha256(origin.encode()).hexdigest()}.note"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else looks at a log's state and writes it meanwhile, in this process or another."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
