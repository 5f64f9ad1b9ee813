from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vault_importer.backup_key import JAVA_BYTE_ARRAY, derive_file_key, parse_root_key
from vault_importer.refusals import BackupRefused

KEY = bytes(range(32))
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
    assert parse_root_key(handed_over) == KEY


@pytest.mark.parametrize("handed_over", [b"", b"password", KEY.hex()[:-1].encode(), KEY + b"x"])
def test_what_is_not_a_key_is_refused_with_what_would_be_one(handed_over: bytes) -> None:
    with pytest.raises(BackupRefused, match="64 hexadecimal digits"):
        parse_root_key(handed_over)


def test_the_key_file_of_older_backups_is_named_as_such() -> None:
    with pytest.raises(BackupRefused, match="crypt12 and crypt14"):
        parse_root_key(JAVA_BYTE_ARRAY + (131).to_bytes(4, "big") + bytes(131))


def test_the_file_key_is_hkdf_with_the_info_of_backups() -> None:
    assert derive_file_key(KEY) == HKDF(SHA256(), 32, salt=bytes(32), info=b"backup encryption").derive(KEY)
