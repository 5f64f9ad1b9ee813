"""What every container does alike."""

from __future__ import annotations

import os
import pkgutil
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vault_importer.containers
from vault_importer.containers import CONTAINERS, identify
from vault_importer.decrypt import Limits, decrypt
from vault_importer.open_backup import open_backup
from vault_importer.refusals import BackupRefused
from vault_importer.samples import encrypt
from vault_importer.samples.headers import WRITERS
from vault_importer.survey import survey_file

NOT_CONTAINERS = {"base", "prefix"}
PLAIN = b"SQLite format 3\x00" + bytes(range(256)) * 8
#: Behind the tag nothing is content: an MD5, and in crypt12 a suffix. A file that lost exactly these is whole.
MAY_BE_LOST = {"crypt12": {4, 20}, "crypt14": {16}, "crypt15": {16}}
MIB = 1024 * 1024


@dataclass
class Box:
    """A backup of one container, and what can be done to it."""

    name: str
    folder: Path

    @property
    def key(self) -> bytes:
        return WRITERS[self.name].invent_key(b"one")

    def make(self, plain: bytes = PLAIN, **options: Any) -> Path:
        source, path = self.folder / "source", self.folder / f"msgstore.db.{self.name}"
        source.write_bytes(plain)
        encrypt(source, path, backup_key=self.key, container=self.name, **options)
        return path

    def open(self, path: Path, *, key: bytes | None = None, limits: Limits | None = None) -> Path:
        out = self.folder / "out"
        out.mkdir(exist_ok=True)
        (out / "plain").unlink(missing_ok=True)
        try:
            survey = survey_file(path)
            return decrypt(path, backup_key=key or self.key, survey=survey, into=out, limits=limits or Limits())[0]
        except BackupRefused:
            assert list(out.iterdir()) == [], "a refused backup left something behind"
            raise

    def refuses(self, content: bytes, **options: Any) -> BackupRefused | None:
        """Why it is refused; ``None`` when it opens, and then it must hold what was put in."""
        path = self.folder / "changed"
        path.write_bytes(content)
        try:
            plain = self.open(path, **options)
        except BackupRefused as refused:
            return refused
        assert plain.read_bytes() == PLAIN, "a changed backup opened as something else"
        return None


@pytest.fixture(params=[each.name for each in CONTAINERS])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Box:
    return Box(request.param, tmp_path)


many = settings(
    max_examples=settings.default.max_examples * 3 // 5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def test_every_container_module_is_in_the_table_and_can_be_written() -> None:
    modules = {m.name for m in pkgutil.iter_modules(vault_importer.containers.__path__)} - NOT_CONTAINERS
    assert modules == {type(each).__module__.rpartition(".")[2] for each in CONTAINERS}
    assert [each.name for each in CONTAINERS] == list(WRITERS)


@pytest.mark.parametrize("with_md5", [True, False])
@pytest.mark.parametrize("long_header", [True, False])
def test_what_was_encrypted_is_read_back(box: Box, with_md5: bool, long_header: bool) -> None:
    path = box.make(with_md5=with_md5, long_header=long_header)
    plain = box.open(path)
    assert plain.read_bytes() == PLAIN
    assert plain.stat().st_mode & 0o777 == 0o600
    assert survey_file(path).ends_with_md5 is with_md5


def test_a_container_is_told_by_its_bytes_and_not_by_its_name(box: Box) -> None:
    assert identify(box.make().read_bytes())[0].name == box.name


def test_headers_of_more_than_255_bytes_are_read(tmp_path: Path) -> None:
    for name, shortest in (("crypt14", 256), ("crypt15", 256), ("crypt12", 67)):
        container, header = identify(Box(name, tmp_path).make(long_header=True).read_bytes())
        assert container.name == name
        assert header.body_at >= shortest


@many
@given(st.data())
def test_any_changed_byte_is_refused(box: Box, data: st.DataObject) -> None:
    content = bytearray(box.make().read_bytes())
    unused = len(WRITERS[box.name].suffix)
    at = data.draw(st.integers(0, len(content) - 1 - unused))
    content[at] ^= data.draw(st.integers(1, 255))
    assert box.refuses(bytes(content)) is not None


@many
@given(st.data())
def test_without_a_checksum_any_changed_byte_is_refused_or_changes_nothing(box: Box, data: st.DataObject) -> None:
    # The header is not authenticated: a changed app version goes unseen, and the content is what it was.
    content = bytearray(box.make(with_md5=False).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    refused = box.refuses(bytes(content))
    assert refused is not None or at < identify(bytes(content))[1].body_at


def test_each_bit_of_a_header_is_refused_or_changes_nothing(box: Box) -> None:
    content = box.make(with_md5=False, long_header=False).read_bytes()
    name, body_at = identify(content)[0].name, identify(content)[1].body_at
    for bit in range(body_at * 8):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        if box.refuses(bytes(changed)) is None:
            assert identify(bytes(changed))[0].name == name


def test_a_file_cut_anywhere_is_refused_and_called_truncated(box: Box) -> None:
    content = box.make().read_bytes()
    for kept in range(len(content)):
        refused = box.refuses(content[:kept])
        if len(content) - kept in MAY_BE_LOST[box.name]:
            assert refused is None
        else:
            assert refused is not None
            assert (refused.code in {"truncated", "not_authentic"}, kept) == (True, kept)
            assert "truncated" in str(refused)


def test_bytes_added_at_the_end_are_refused(box: Box) -> None:
    assert box.refuses(box.make().read_bytes() + b"more") is not None


def test_the_key_of_another_backup_is_refused_and_called_that(box: Box) -> None:
    refused = box.refuses(box.make().read_bytes(), key=WRITERS[box.name].invent_key(b"two"))
    assert refused is not None
    assert refused.code == ("not_authentic" if box.name == "crypt15" else "wrong_key")
    assert "another" in str(refused)


def test_the_other_kind_of_key_is_refused_with_the_kind_that_is_needed(box: Box) -> None:
    other = "crypt14" if box.name == "crypt15" else "crypt15"
    refused = box.refuses(box.make().read_bytes(), key=WRITERS[other].invent_key(b"one"))
    assert refused is not None
    assert refused.code == "bad_key"
    assert ("encrypted_backup.key" if box.name == "crypt15" else "158 bytes") in str(refused)


def test_without_a_key_it_is_said_which_one_to_give(box: Box) -> None:
    path = box.make()
    with pytest.raises(BackupRefused, match=f"{box.name} backup and the account has no key: give"):
        open_backup(
            path, survey=survey_file(path), backup_key=None, address_book=None, known_aliases={},
            temporary=box.folder, limits=Limits(),
        )  # fmt: skip


def test_a_large_backup_is_opened_in_constant_memory(box: Box) -> None:
    path = box.make(os.urandom(MIB) * 24)
    tracemalloc.start()
    plain = box.open(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert plain.stat().st_size == 24 * MIB
    assert peak < 8 * MIB


def test_a_bomb_is_refused_in_constant_memory(box: Box) -> None:
    path = box.make(bytes(48 * MIB))
    tracemalloc.start()
    with pytest.raises(BackupRefused, match="100-fold"):
        box.open(path, limits=Limits(ratio=100))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * MIB
