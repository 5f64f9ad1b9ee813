"""How a log goes over to another key: by one checkpoint that names both keys, and that both have signed. Pure.

The line stands below a checkpoint's three as an extension, so whoever signs or witnesses the checkpoint signs it too.
From the next checkpoint on, the earlier key signs nothing any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from vault_importer.signed_note import (
    Checkpoint,
    Note,
    NoteError,
    Signer,
    Verifier,
    cosigned_at,
    is_signed,
    parse_checkpoint,
    parse_verifier,
    sign_checkpoint_text,
)

__all__ = ["Handover", "handover_in", "sign_handover"]

WORD = "hand-over"


@dataclass(frozen=True, slots=True)
class Handover:
    old: Verifier
    new: Verifier


def sign_handover(old: Signer, new: Signer, checkpoint: Checkpoint, *, at: datetime) -> str:
    """The last note that the old key signs, and the first one of the new key."""
    text = f"{checkpoint}{WORD} {old.verifier} {new.verifier}\n"
    return sign_checkpoint_text((old, new), text, at=at)


def handover_in(note: Note) -> Handover | None:
    """What a checkpoint says of another key. Raises :class:`NoteError` when it is not a hand-over by both."""
    lines = [line for line in note.text.split("\n")[3:-1] if line.startswith(f"{WORD} ")]
    if not lines:
        return None
    words = lines[0].split(" ")
    if len(lines) != 1 or len(words) != 3:
        raise NoteError("A hand-over is one line that names two keys.")
    old, new = (parse_verifier(word) for word in words[1:])
    if {old.name, new.name} != {parse_checkpoint(note.text).origin} or old == new:
        raise NoteError("A hand-over is between two keys of one log.")
    for key in (old, new):
        if not is_signed(note, key) or cosigned_at(note, key) is None:
            raise NoteError("A hand-over is signed by both keys.")
    return Handover(old, new)
