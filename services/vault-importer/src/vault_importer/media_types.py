"""What a browser may be told of a kept file. Its type is a stranger's word, so only types that cannot act are named.

Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Served", "file_name", "served_as"]

#: A browser draws or plays these and runs nothing of them; SVG and HTML, which could, are not among them.
SHOWN = frozenset(
    {
        "image/jpeg", "image/png", "image/webp", "image/gif",
        "audio/aac", "audio/amr", "audio/flac", "audio/mp4", "audio/mpeg", "audio/ogg", "audio/opus", "audio/wav",
        "audio/webm", "audio/x-m4a", "audio/x-wav", "audio/3gpp",
        "video/3gpp", "video/mp4", "video/mpeg", "video/ogg", "video/quicktime", "video/webm", "video/x-matroska",
    }
)  # fmt: skip
#: Told as what they are, and only ever saved.
SAVED = frozenset({"application/pdf"})
SAME = {"image/jpg": "image/jpeg", "audio/mp3": "audio/mpeg", "audio/x-aac": "audio/aac", "video/3gp": "video/3gpp"}
ANYTHING = "application/octet-stream"
NAME_CHARACTERS = 120
#: What ends a line, separates folders, or makes a name read otherwise than it is written.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f/\\\\:\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


@dataclass(frozen=True, slots=True)
class Served:
    type: str
    shown: bool
    """Whether a page may show it; else it is saved."""


def served_as(mime_type: str) -> Served:
    """What a file goes out as, from what the phone called it."""
    said = mime_type.partition(";")[0].strip().lower()
    said = SAME.get(said, said)
    return Served(said if said in SHOWN | SAVED else ANYTHING, said in SHOWN)


def file_name(name: str, message_id: str) -> str:
    """The name under which a file is saved: the sender's without what could deceive, else one of our own."""
    safe = _UNSAFE.sub("_", name).strip(" .")
    return safe if len(safe) <= NAME_CHARACTERS and safe else f"{message_id}{_ending(safe)}"


def _ending(name: str) -> str:
    found = re.search(r"\.[A-Za-z0-9]{1,8}$", name)
    return found[0] if found else ""
