"""What parent and child say to each other: frames of a length and JSON.

JSON, since the parent must not trust the child: it cannot make objects, only values, and their types are checked.
"""

from __future__ import annotations

import json
import struct
from dataclasses import fields, is_dataclass
from typing import Any

__all__ = ["BATCH_ROWS", "LENGTH", "MAX_FRAME_BYTES", "decode", "encode"]

LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 256 * 1024 * 1024
#: As many as the importer commits at once, so that each of its steps costs one exchange.
BATCH_ROWS = 5_000


def encode(value: object) -> bytes:
    data = json.dumps(value, check_circular=False, separators=(",", ":"), default=_plain).encode()
    return LENGTH.pack(len(data)) + data


def decode(data: bytes) -> Any:
    return json.loads(data)


def _plain(value: object) -> object:
    if is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, bytes):
        # Where a format gives on what a stranger's file holds: no text and no number, so nothing.
        return None
    raise TypeError(f"{type(value).__name__} does not go over the wire")
