"""Just enough of the protobuf wire format to read a backup's header: varints and length-delimited fields.

Every read is bounded by the bytes at hand; nothing is allocated by a length that the file merely claims.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["Malformed", "encode_field", "encode_varint", "fields", "first", "read_varint"]

MAX_VARINT_BYTES = 10
VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5


class Malformed(ValueError):
    """The bytes are not protobuf wire format."""


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at an offset and the offset behind it."""
    value = 0
    for count in range(MAX_VARINT_BYTES):
        if at + count >= len(data):
            raise Malformed("a varint runs over the end")
        byte = data[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if not byte & 0x80:
            return value, at + count + 1
    raise Malformed("a varint is longer than ten bytes")


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Each field's number and value, in the order of the bytes; nested messages stay bytes."""
    at, end = 0, len(data)
    while at < end:
        # Nearly all tags and lengths have one byte, and a message has many.
        tag, at = (data[at], at + 1) if data[at] < 0x80 else read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise Malformed("field number 0")
        if wire == VARINT:
            value, at = read_varint(data, at)
            yield number, value
            continue
        if wire == LENGTH_DELIMITED:
            length, at = (data[at], at + 1) if at < end and data[at] < 0x80 else read_varint(data, at)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise Malformed(f"wire type {wire}")
        if length > end - at:
            raise Malformed("a field runs over the end")
        yield number, data[at : at + length]
        at += length


def first(data: bytes, number: int) -> int | bytes | None:
    """The first value of a field, or ``None``."""
    for each, value in fields(data):
        if each == number:
            return value
    return None


def encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return encode_varint(number << 3 | VARINT) + encode_varint(value)
    return encode_varint(number << 3 | LENGTH_DELIMITED) + encode_varint(len(value)) + value
