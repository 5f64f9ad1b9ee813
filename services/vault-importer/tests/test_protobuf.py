from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_importer.protobuf import Malformed, encode_field, encode_varint, fields, read_varint


@given(st.integers(0, 2**64 - 1))
def test_a_varint_is_read_as_it_was_written(value: int) -> None:
    written = encode_varint(value)
    assert read_varint(written, 0) == (value, len(written))


@given(st.binary(max_size=200))
def test_hostile_bytes_are_read_or_called_malformed(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert all(number > 0 for number, _ in fields(data))


def test_a_length_that_claims_more_than_there_is_is_malformed() -> None:
    with pytest.raises(Malformed):
        list(fields(b"\x0a\xff\xff\xff\xff\x0f" + b"x"))


def test_fields_of_every_wire_type_are_walked_over() -> None:
    data = encode_field(1, 7) + b"\x11" + bytes(8) + b"\x1d" + bytes(4) + encode_field(4, b"four")
    assert list(fields(data)) == [(1, 7), (2, bytes(8)), (3, bytes(4)), (4, b"four")]
