"""The protobuf header that crypt14 and crypt15 share: a varint length, then a ``BackupPrefix`` of that length."""

from __future__ import annotations

import re

from vault_importer import protobuf
from vault_importer.containers.base import IV_BYTES, MAX_HEADER_BYTES, truncated_header

__all__ = ["app_version", "bytes_of", "read_prefix"]

METADATA_FIELD, LAST_FIELD = 4, 6


def read_prefix(start: bytes) -> tuple[bytes, int] | None:
    """The message's bytes and where the body begins; ``None`` when the file does not begin like that."""
    try:
        length, at = protobuf.read_varint(start, 0)
    except protobuf.Malformed:
        if len(start) < protobuf.MAX_VARINT_BYTES:
            raise truncated_header("before") from None
        return None
    if not IV_BYTES < length <= MAX_HEADER_BYTES:
        return None
    raw = start[at : at + length]
    if raw and not 1 <= raw[0] >> 3 <= LAST_FIELD:
        return None
    if len(raw) < length:
        raise truncated_header("inside")
    try:
        list(protobuf.fields(raw))
    except protobuf.Malformed:
        return None
    return raw, at + length


def bytes_of(message: bytes, number: int) -> bytes:
    """A field's bytes; empty where it is absent, of another kind, or the message is none."""
    try:
        value = protobuf.first(message, number)
    except protobuf.Malformed:
        return b""
    return value if isinstance(value, bytes) else b""


def app_version(prefix: bytes) -> str:
    """Printable, whatever was made of it: nothing authenticates it, and Postgres refuses some characters."""
    return re.sub(r"[^ -~]", "?", bytes_of(bytes_of(prefix, METADATA_FIELD), 1)[:32].decode("latin-1"))
