"""A stranger's database: what it says is read to the last row, whatever its bytes are."""

from __future__ import annotations

import sqlite3
from itertools import groupby
from pathlib import Path

import pytest

from vault_importer.formats.msgstore_changes import BLOCK, Changes
from vault_importer.formats.msgstore_tables import Tables
from vault_importer.formats.sqlite_source import SqliteSource
from vault_importer.refusals import BackupRefused

BROKEN = "CAST(x'61ff62' AS TEXT)"


def _source(path: Path, *statements: str) -> SqliteSource:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    return SqliteSource(path)


@pytest.mark.parametrize("broken", [{1}, {3}, {5}, {2, 3}, {1, 2, 3, 4, 5}])
def test_broken_text_is_replaced_and_each_row_read_once(tmp_path: Path, broken: set[int]) -> None:
    texts = [BROKEN if number in broken else f"'text {number}'" for number in range(1, 6)]
    source = _source(
        tmp_path / "store.db",
        "CREATE TABLE message (_id INTEGER PRIMARY KEY, text_data TEXT)",
        *(f"INSERT INTO message VALUES ({number}, {text})" for number, text in enumerate(texts, 1)),
    )
    wanted = [(number, "a\ufffdb" if number in broken else f"text {number}") for number in range(1, 6)]
    asked = "SELECT _id, text_data FROM message WHERE _id <= ? ORDER BY _id"
    assert list(source.select(asked, 9)) == wanted
    assert list(source.select(asked, 4)) == wanted[:4]
    source.close()


def test_a_query_that_meets_broken_text_disturbs_no_other_that_is_being_read(tmp_path: Path) -> None:
    source = _source(
        tmp_path / "store.db",
        "CREATE TABLE message (_id INTEGER PRIMARY KEY, text_data TEXT)",
        f"INSERT INTO message VALUES (1, 'one'), (2, 'two'), (3, {BROKEN})",
    )
    first, second = (source.select("SELECT text_data FROM message ORDER BY _id") for _ in range(2))
    assert next(first) == ("one",)
    assert list(second) == [("one",), ("two",), ("a\ufffdb",)]
    assert list(first) == [("two",), ("a\ufffdb",)]
    source.close()


def test_a_table_may_have_a_broken_name(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    source = _source(path, "CREATE TABLE message (_id INTEGER PRIMARY KEY)", "CREATE TABLE naame (_id INTEGER)")
    source.close()
    path.write_bytes(path.read_bytes().replace(b"naame", b"na\xffme"))
    source = SqliteSource(path)
    assert "na\ufffdme" in source.tables
    source.close()


def test_damage_is_refused_and_not_taken_for_broken_text(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    source = _source(
        path,
        "PRAGMA page_size=512",
        "CREATE TABLE message (_id INTEGER PRIMARY KEY, text_data TEXT)",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
        " INSERT INTO message SELECT i, 'text' FROM n",
    )
    source.close()
    with path.open("r+b") as file:
        file.seek(512 * 5)
        file.write(b"\xff" * 512)
    source = SqliteSource(path)
    with pytest.raises(BackupRefused, match="damaged"):
        list(source.select("SELECT text_data FROM message"))
    source.close()


def test_rows_are_of_the_block_of_the_message_that_they_are_about(tmp_path: Path) -> None:
    numbers = [-7, 0, 1, 2, BLOCK - 1, BLOCK, BLOCK, BLOCK + 1, 5 * BLOCK - 1, 5 * BLOCK, 9 * BLOCK]
    numbers += [7 * BLOCK + number for number in range(2 * BLOCK)]
    about = ["NULL", "NULL", *map(str, numbers), "1.5", "9e999", "'text'", "x'00'"]
    source = _source(
        tmp_path / "store.db",
        "CREATE TABLE message (_id INTEGER PRIMARY KEY)",
        "CREATE TABLE receipt (_id INTEGER PRIMARY KEY, message_row_id)",
        *(f"INSERT INTO receipt (message_row_id) VALUES ({value})" for value in about),
    )
    found = list(Changes(Tables(source, {}, {}))._blocks("receipt", ["_id"], "t.message_row_id", range(1, 2**63 - 1)))
    every = sorted(number for number in numbers if number > 0)
    wanted = {block: list(group) for block, group in groupby(every, lambda number: number // BLOCK)}
    assert [(block, [row[1] for row in rows]) for block, rows in found] == list(wanted.items())
    source.close()
