"""Identifiers: time-ordered ones for what is new, derived ones for what must come out the same twice."""

from __future__ import annotations

import os
import time
from uuid import UUID, uuid5

__all__ = ["name_uuid", "uuid7"]

_NAMESPACE = UUID("6f2a4d0e-5f0e-5b52-9d3e-7a3e1c0b9a11")


def uuid7() -> UUID:
    """A UUIDv7 (RFC 9562, 5.7): milliseconds since the epoch, then 74 random bits."""
    value = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def name_uuid(*parts: str) -> UUID:
    """A UUIDv5 made of the parts: the same parts give the same id, on every machine and in every run."""
    return uuid5(_NAMESPACE, "\x1f".join(parts))
