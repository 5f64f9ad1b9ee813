from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest

from vault_importer.containers import identify
from vault_importer.containers.base import Header
from vault_importer.decrypt import Limits, decrypt
from vault_importer.open_backup import open_backup
from vault_importer.refusals import BackupRefused
from vault_importer.samples import encrypt
from vault_importer.survey import survey_file

ROOT_KEY = bytes(range(32))


def _decrypt(path: Path, into: Path, *, key: bytes = ROOT_KEY, limits: Limits | None = None) -> tuple[Path, Header]:
    into.mkdir(exist_ok=True)
    return decrypt(path, backup_key=key, survey=survey_file(path), into=into, limits=limits or Limits())


def _refused(
    path: Path, tmp_path: Path, *, key: bytes = ROOT_KEY, limits: Limits | None = None, book: Path | None = None
) -> BackupRefused:
    temporary = tmp_path / "temporary"
    temporary.mkdir(exist_ok=True)
    with pytest.raises(BackupRefused) as caught:
        open_backup(
            path,
            survey=survey_file(path),
            backup_key=key,
            address_book=book,
            known_aliases={},
            temporary=temporary,
            limits=limits or Limits(),
        )
    assert list(temporary.iterdir()) == [], "a refused backup left something behind"
    return caught.value


@pytest.mark.parametrize("part", [0.0, 0.02, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("with_md5", [True, False])
def test_a_changed_byte_anywhere_is_refused(stores: Any, tmp_path: Path, part: float, with_md5: bool) -> None:
    path = stores.encrypted(with_md5=with_md5)
    data = bytearray(path.read_bytes())
    body = identify(bytes(data))[1].body_at
    # The MD5 itself is not authenticated; everything before it is.
    end = len(data) - (16 if with_md5 else 0)
    data[body + int((end - 1 - body) * part)] ^= 1
    path.write_bytes(data)
    refused = _refused(path, tmp_path)
    assert refused.code == "not_authentic"
    assert "tampered" in str(refused)
    assert "cannot be told apart" in str(refused)


@pytest.mark.parametrize("lost", [1, 15, 17, 31, 32, 33, 1000])
def test_a_truncated_file_is_refused(stores: Any, tmp_path: Path, lost: int) -> None:
    path = stores.encrypted()
    path.write_bytes(path.read_bytes()[:-lost])
    refused = _refused(path, tmp_path)
    assert refused.code == "not_authentic"
    assert "truncated" in str(refused)


def test_a_file_that_lost_exactly_its_md5_is_authentic(stores: Any) -> None:
    # It then looks like one of a multi-file backup, and nothing of its content is missing.
    path = stores.encrypted()
    path.write_bytes(path.read_bytes()[:-16])
    assert _decrypt(path, stores.folder / "out")[0].exists()


@pytest.mark.parametrize("kept", [0, 1, 2, 40, 130])
def test_a_file_that_ends_in_its_header_is_called_truncated(stores: Any, tmp_path: Path, kept: int) -> None:
    path = stores.encrypted()
    path.write_bytes(path.read_bytes()[:kept])
    refused = _refused(path, tmp_path)
    assert refused.code == "truncated"
    assert "truncated" in str(refused)


def test_a_wrong_key_is_refused_with_a_hint(stores: Any, tmp_path: Path) -> None:
    refused = _refused(stores.encrypted(), tmp_path, key=bytes(32))
    assert refused.code == "not_authentic"
    assert "key belongs to another backup" in str(refused)


@pytest.mark.parametrize(
    ("limits", "word"),
    [(Limits(ratio=100), "100-fold"), (Limits(plain_bytes=4 * 1024 * 1024), "limit of 4194304 bytes")],
)
def test_a_bomb_is_refused_before_it_is_inflated(tmp_path: Path, limits: Limits, word: str) -> None:
    plain, path = tmp_path / "zeros", tmp_path / "bomb.crypt15"
    with plain.open("wb") as out:
        out.truncate(64 * 1024 * 1024)
    encrypt(plain, path, backup_key=ROOT_KEY)
    tracemalloc.start()
    refused = _refused(path, tmp_path, limits=limits)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.code == "bomb"
    assert word in str(refused)
    assert peak < 12 * 1024 * 1024


def test_an_authentic_file_that_is_not_compressed_is_refused_for_that(stores: Any, tmp_path: Path) -> None:
    refused = _refused(stores.encrypted(compress=False), tmp_path)
    assert refused.code == "not_sqlite"
    assert "key is right" in str(refused)


def _zip(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(name, b"content")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [
        (b"hello", "not_sqlite", "not a SQLite"),
        (_zip("sticker.webp"), "unknown_schema", "stickers"),
        (b"PK\x03\x04zip", "not_a_backup", "damaged"),
    ],
)
def test_an_authentic_file_that_is_no_store_is_refused_for_that(
    tmp_path: Path, content: bytes, code: str, word: str
) -> None:
    plain, path = tmp_path / "plain", tmp_path / "other.crypt15"
    plain.write_bytes(content)
    encrypt(plain, path, backup_key=ROOT_KEY)
    refused = _refused(path, tmp_path)
    assert refused.code == code
    assert word in str(refused)


def test_an_address_book_is_not_taken_for_a_store(stores: Any, tmp_path: Path) -> None:
    path = tmp_path / "wa.db.crypt15"
    encrypt(stores.plain(name="wa.db", script="wa.sql"), path, backup_key=ROOT_KEY)
    refused = _refused(path, tmp_path)
    assert refused.code == "unknown_schema"
    assert "--address-book" in str(refused)


def test_an_address_book_that_cannot_be_used_is_named_in_the_refusal(stores: Any, tmp_path: Path) -> None:
    store, book = stores.encrypted(), tmp_path / "wa.db.crypt15"
    encrypt(stores.plain(name="wa.db", script="wa.sql"), book, backup_key=bytes(32))
    assert str(_refused(store, tmp_path, book=book)).startswith(
        "The address book cannot be used. Authentication failed"
    )
    encrypt(stores.plain(name="other.db"), book, backup_key=ROOT_KEY)
    assert "without the table of contacts" in str(_refused(store, tmp_path, book=book))


@pytest.mark.parametrize("content", [b"just text, and long enough to be something", b"\xff" * 64, b"\x00" * 64])
def test_a_foreign_file_is_no_backup(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    assert _refused(path, tmp_path).code == "not_a_backup"


def test_a_file_that_changes_between_two_readings_is_refused(stores: Any) -> None:
    path = stores.encrypted()
    before = survey_file(path)
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    out = stores.folder / "out"
    out.mkdir()
    with pytest.raises(BackupRefused, match="changed while"):
        decrypt(path, backup_key=ROOT_KEY, survey=before, into=out, limits=Limits())
    assert list(out.iterdir()) == []


def test_the_plain_text_has_no_name_once_it_is_open(stores: Any, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    path = stores.encrypted()
    (temporary / "trunkline-vault-99999999-left").mkdir()
    opened = open_backup(
        path,
        survey=survey_file(path),
        backup_key=ROOT_KEY,
        address_book=None,
        known_aliases={},
        temporary=temporary,
        limits=Limits(),
    )
    assert list(temporary.iterdir()) == []
    assert len(list(opened.backup.messages())) == 4
    opened.backup.close()
