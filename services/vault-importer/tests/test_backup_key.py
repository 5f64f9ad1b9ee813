from __future__ import annotations

import contextlib

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from vault_importer.backup_key import JAVA_BYTE_ARRAY, parse_backup_key, root_file_key
from vault_importer.refusals import BackupRefused
from vault_importer.samples.headers import phone_key

KEY = bytes(range(32))


def _java(payload: bytes) -> bytes:
    return JAVA_BYTE_ARRAY + len(payload).to_bytes(4, "big") + payload


GROUPED = " ".join(KEY.hex()[at : at + 4] for at in range(0, 64, 4))


@pytest.mark.parametrize(
    "handed_over",
    [
        KEY,
        KEY.hex().encode(),
        KEY.hex().upper().encode() + b"\n",
        GROUPED.encode(),
        GROUPED.replace(" ", "-").encode(),
        JAVA_BYTE_ARRAY + (32).to_bytes(4, "big") + KEY,
    ],
)
def test_a_key_is_understood_in_every_form_people_have_it_in(handed_over: bytes) -> None:
    assert parse_backup_key(handed_over) == KEY


@pytest.mark.parametrize("handed_over", [b"", b"password", KEY.hex()[:-1].encode(), KEY + b"x"])
def test_what_is_not_a_key_is_refused_with_what_would_be_one(handed_over: bytes) -> None:
    with pytest.raises(BackupRefused, match="64 hexadecimal digits"):
        parse_backup_key(handed_over)


def test_the_phones_key_file_is_understood() -> None:
    key = phone_key(b"a")
    assert parse_backup_key(_java(key)) == key
    assert len(_java(key)) == 158


@pytest.mark.parametrize(
    ("handed_over", "word"),
    [
        (_java(bytes(131)), "checksum"),
        (_java(phone_key(b"a"))[:-1], "not as long as it says"),
        (_java(KEY) + b"\n", "not as long as it says"),
        (JAVA_BYTE_ARRAY, "not as long as it says"),
        (_java(bytes(48)), "holds 48 bytes"),
    ],
)
def test_a_damaged_key_file_is_called_damaged(handed_over: bytes, word: str) -> None:
    with pytest.raises(BackupRefused, match=word):
        parse_backup_key(handed_over)


@given(st.binary(max_size=200) | st.binary(max_size=140).map(lambda tail: JAVA_BYTE_ARRAY + tail))
def test_garbage_is_refused_or_at_least_of_a_keys_length(handed_over: bytes) -> None:
    with contextlib.suppress(BackupRefused):
        assert len(parse_backup_key(handed_over)) in (32, 131)


def test_the_file_key_is_hkdf_with_the_info_of_backups() -> None:
    assert root_file_key(KEY) == HKDF(SHA256(), 32, salt=bytes(32), info=b"backup encryption").derive(KEY)
