"""Checkpoints as signed notes: the formats of C2SP ``signed-note``, ``tlog-checkpoint`` and ``tlog-cosignature``.

A note is a text and lines that sign it. A checkpoint's text is three lines: whose log it is, how many leaves it has,
its root. A cosignature is made by a key over the text and a time.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

from vault_importer.merkle import HASH_BYTES

__all__ = [
    "Checkpoint",
    "Note",
    "NoteError",
    "Signer",
    "Verifier",
    "cosign",
    "cosigned_at",
    "is_signed",
    "new_signer",
    "parse_checkpoint",
    "parse_note",
    "parse_signer",
    "parse_verifier",
    "sign_checkpoint",
    "sign_checkpoint_text",
    "sign_text",
]

SIGNATURE, COSIGNATURE = 0x01, 0x04
KEY_BYTES = 32
PRIVATE = "PRIVATE+KEY+"
LAST_SECOND = int(datetime.max.replace(tzinfo=UTC).timestamp()) - 1
_NAME = re.compile(r"[^\s+]+")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class NoteError(ValueError):
    """A key, a note or a checkpoint is not one. ``str()`` is a sentence."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """Who signs, and with what."""

    name: str
    algorithm: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public).digest()[:4]

    def __str__(self) -> str:
        material = base64.b64encode(bytes([self.algorithm]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"

    def cosigner(self) -> Verifier:
        """The same key as it makes cosignatures."""
        return replace(self, algorithm=COSIGNATURE)


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and its name. ``str()`` is the form in which it is kept."""

    name: str
    seed: bytes

    @property
    def verifier(self) -> Verifier:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
        return Verifier(self.name, SIGNATURE, public)

    def sign(self, message: bytes) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)

    def __str__(self) -> str:
        material = base64.b64encode(bytes([SIGNATURE]) + self.seed).decode()
        return f"{PRIVATE}{self.name}+{self.verifier.key_id.hex()}+{material}"

    def __repr__(self) -> str:
        return f"Signer({self.name!r})"


def new_signer(name: str) -> Signer:
    if not _NAME.fullmatch(name):
        raise NoteError("The name of a key has no spaces and no plus sign, for instance vault.example.in.")
    return Signer(name, os.urandom(KEY_BYTES))


def parse_signer(text: str) -> Signer:
    text = text.strip()
    if not text.startswith(PRIVATE):
        raise NoteError("This is no private key of a signed note; `trunkline vault signing-key` makes one.")
    name, algorithm, seed, key_id = _parse_key(text.removeprefix(PRIVATE))
    signer = Signer(name, seed)
    if algorithm != SIGNATURE or signer.verifier.key_id != key_id:
        raise NoteError("The private key does not fit its own name and number; it was changed.")
    return signer


def parse_verifier(text: str) -> Verifier:
    name, algorithm, public, key_id = _parse_key(text.strip())
    verifier = Verifier(name, algorithm, public)
    if algorithm not in (SIGNATURE, COSIGNATURE) or verifier.key_id != key_id:
        raise NoteError("The public key does not fit its own name and number; it was changed.")
    return verifier


def _parse_key(text: str) -> tuple[str, int, bytes, bytes]:
    # Base64 has plus signs too, names have none.
    name, _, rest = text.partition("+")
    number, _, material = rest.partition("+")
    try:
        key_id, raw = bytes.fromhex(number), base64.b64decode(material, validate=True)
    except (ValueError, binascii.Error):
        raise NoteError("A key has the form NAME+NUMBER+KEY.") from None
    if not _NAME.fullmatch(name) or len(raw) != 1 + KEY_BYTES:
        raise NoteError("A key has the form NAME+NUMBER+KEY.")
    return name, raw[0], raw[1:], key_id


class _Line(NamedTuple):
    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    text: str
    """What is signed, with the end of its last line."""
    lines: tuple[_Line, ...]


def parse_note(note: str) -> Note:
    text, mark, signatures = note.rpartition("\n\n")
    if not mark or not signatures.endswith("\n"):
        raise NoteError("A signed note is a text, an empty line, and lines that sign it.")
    return Note(text + "\n", tuple(parse_line(line) for line in signatures[:-1].split("\n")))


def parse_line(line: str) -> _Line:
    dash, _, rest = line.partition(" ")
    name, _, material = rest.partition(" ")
    try:
        raw = base64.b64decode(material, validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    if dash != "\u2014" or not _NAME.fullmatch(name) or len(raw) < 5:
        raise NoteError("A line that signs a note is a dash, a name and a signature.")
    return _Line(name, raw[:4], raw[4:])


@dataclass(frozen=True, slots=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """The text of a note as a checkpoint; lines of extensions are allowed and say nothing to us."""
    lines = text.split("\n")
    try:
        origin, size, root = lines[0], lines[1], base64.b64decode(lines[2], validate=True)
    except (IndexError, ValueError, binascii.Error):
        raise NoteError("A checkpoint is three lines: the log, its size, its root.") from None
    if not _NAME.fullmatch(origin) or not _SIZE.fullmatch(size) or len(root) != HASH_BYTES or "" in lines[3:-1]:
        raise NoteError("A checkpoint is three lines: the log, its size, its root.")
    return Checkpoint(origin, int(size), root)


def sign_checkpoint(signer: Signer, checkpoint: Checkpoint, *, at: datetime) -> str:
    """The log's own note: its signature, and the same key's cosignature, which says when."""
    return sign_checkpoint_text((signer,), str(checkpoint), at=at)


def sign_checkpoint_text(signers: Sequence[Signer], text: str, *, at: datetime) -> str:
    """The note of a checkpoint that may have lines of extensions, signed by several keys."""
    lines = (_line(each.verifier, each.sign(text.encode())) + cosign(each, text, at=at) for each in signers)
    return f"{text}\n{''.join(lines)}"


def sign_text(signer: Signer, text: str) -> str:
    """A note of any other text. Its first line must not be what the name of a log could be."""
    if _NAME.fullmatch(text.partition("\n")[0]):
        raise NoteError("A text that could be taken for a checkpoint is not signed.")
    return f"{text}\n{_line(signer.verifier, signer.sign(text.encode()))}"


def cosign(signer: Signer, text: str, *, at: datetime) -> str:
    """The line of a cosignature under a checkpoint's text."""
    seconds = int(at.timestamp())
    signature = signer.sign(_timed(text, seconds))
    return _line(signer.verifier.cosigner(), seconds.to_bytes(8, "big") + signature)


def _line(verifier: Verifier, signature: bytes) -> str:
    return f"\u2014 {verifier.name} {base64.b64encode(verifier.key_id + signature).decode()}\n"


def _timed(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def is_signed(note: Note, verifier: Verifier) -> bool:
    """Whether a note has this key's signature under its text."""
    return any(_verifies(verifier.public, line.signature, note.text.encode()) for line in _of(note, verifier))


def cosigned_at(note: Note, verifier: Verifier) -> datetime | None:
    """When this key cosigned a note; nothing when it did not, or at a time that is in no calendar."""
    for line in _of(note, verifier.cosigner()):
        seconds, signature = int.from_bytes(line.signature[:8], "big"), line.signature[8:]
        if seconds <= LAST_SECOND and _verifies(verifier.public, signature, _timed(note.text, seconds)):
            return datetime.fromtimestamp(seconds, UTC)
    return None


def _of(note: Note, verifier: Verifier) -> list[_Line]:
    return [line for line in note.lines if (line.name, line.key_id) == (verifier.name, verifier.key_id)]


def _verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
