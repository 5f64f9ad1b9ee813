"""The verifier of a bundle reads of a time stamp what it is about, and takes no other answer for one."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault_importer.verify_evidence import OCTETS, SHA256, Bad, check_stamps, der, imprint_of

TEXT = b"vault.example.in/t\n5\nroot\n"
DIGEST = sha256(TEXT).digest()
DATA, INFO, SHA1 = "2a864886f70d010702", "2a864886f70d0109100104", "2b0e03021a"


def element(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def oid(text: str) -> bytes:
    return element(6, bytes.fromhex(text))


def token(
    digest: bytes = DIGEST, *, status: bytes = b"\0", kind: str = DATA, inner: str = INFO, algorithm: str = SHA256.hex()
) -> bytes:
    """An answer as an authority gives it, without what signs it."""
    imprint = element(0x30, element(0x30, oid(algorithm), element(5)), element(OCTETS, digest))
    number, time = element(2, b"\7" * 200), element(0x18, b"20260105100000Z")
    info = element(0x30, element(2, b"\1"), oid("2a03"), imprint, number, time)
    content = element(0x30, oid(inner), element(0xA0, element(OCTETS, info)))
    signed = element(0x30, element(2, b"\3"), element(0x31), content)
    return element(0x30, element(0x30, element(2, status)), element(0x30, oid(kind), element(0xA0, signed)))


def test_a_time_stamp_of_the_checkpoint_is_told() -> None:
    files = {"checkpoint_text.txt": TEXT, "timestamps/1.tsr": token(), "timestamps/2.tsr": token(status=b"\1")}
    assert check_stamps(files, TEXT) == ["timestamps/1.tsr", "timestamps/2.tsr"]
    assert check_stamps({}, TEXT) == []


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"garbage", b"garbage" + DIGEST, token(b"") + DIGEST, token() * 2, token() + DIGEST, token()[:-1],
        token(bytes(32)) + DIGEST, token(bytes(32)), token(DIGEST[:-1]), token(DIGEST + b"\0"), token(status=b"\2"),
        token(status=DIGEST), token(kind=INFO), token(inner=DATA), token(algorithm=SHA1), token(algorithm=DIGEST.hex()),
        b"\x30\x80" + token() + b"\0\0", b"\x30\x85\0\0\0\0\0", b"\x30\xff", b"\x30", b"\x1f\x01\x00", bytes(2**21),
    ],
)  # fmt: skip
def test_what_only_holds_the_hash_somewhere_is_no_time_stamp_of_it(answer: bytes) -> None:
    with pytest.raises(Bad, match=re.escape("[timestamp] timestamps/1.tsr")):
        check_stamps({"checkpoint_text.txt": TEXT, "timestamps/1.tsr": answer}, TEXT)


def test_the_text_beside_a_time_stamp_is_the_checkpoints() -> None:
    another = b"another text\n"
    lies = (
        {"checkpoint_text.txt": another, "timestamps/1.tsr": token(sha256(another).digest())},
        {"checkpoint_text.txt": another, "timestamps/1.tsr": token()},
        {"timestamps/1.tsr": token()},
        {"checkpoint_text.txt": another},
    )
    for files in lies:
        with pytest.raises(Bad, match=re.escape("[timestamp] checkpoint_text.txt")):
            check_stamps(files, TEXT)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(token()) - 1), st.integers(0, 255))
def test_whatever_lies_there_is_read_or_refused_and_nothing_else(data: bytes, place: int, byte: int) -> None:
    harmed = bytearray(token())
    harmed[place] = byte
    for each in (data, bytes(harmed), token()[:place] + data):
        try:
            imprint_of(each)
            assert b"".join(content for _, content in der(each))
        except ValueError:
            continue
