"""Identifiers: time-ordered ones for what is new, derived ones for what must come out the same twice."""

from __future__ import annotations

import os
import time
from hashlib import sha1
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as QuickUUID  # noqa: N811 - a class

__all__ = ["name_uuid", "uuid7", "uuid7s"]

_NAMESPACE = UUID("6f2a4d0e-5f0e-5b52-9d3e-7a3e1c0b9a11")
_VERSION = bytes(0x70 | each & 0x0F for each in range(256))
_VARIANT = bytes(0x80 | each & 0x3F for each in range(256))


def uuid7() -> UUID:
    """A UUIDv7 (RFC 9562, 5.7): milliseconds since the epoch, then 74 random bits."""
    value = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def uuid7s(count: int) -> list[UUID]:
    """As many of them at once, of one millisecond: the random bits of thousands cost no more than those of one."""
    head = (time.time_ns() // 1_000_000 & (1 << 48) - 1).to_bytes(6, "big")
    bits = bytearray(os.urandom(10 * count))
    # Version and variant, in the first and the third byte of each ten.
    bits[::10] = bits[::10].translate(_VERSION)
    bits[2::10] = bits[2::10].translate(_VARIANT)
    # Equal to the standard one in every way, and made and encoded several times as fast.
    return [QuickUUID(head + bits[at : at + 10]) for at in range(0, 10 * count, 10)]


def name_uuid(*parts: str) -> UUID:
    """A UUIDv5 (RFC 9562, 5.5) of the parts: the same parts give the same id, on every machine and in every run."""
    value = bytearray(sha1(_NAMESPACE.bytes + "\x1f".join(parts).encode(), usedforsecurity=False).digest()[:16])
    value[6], value[8] = value[6] & 0x0F | 0x50, value[8] & 0x3F | 0x80
    return QuickUUID(bytes(value))
