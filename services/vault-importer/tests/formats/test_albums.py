"""The pictures of an album are messages of their own; a table says which album each is of."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from vault_importer.formats.msgstore import ModernMsgstore
from vault_importer.samples import SampleOptions, write_msgstore

MESSAGES, ALBUM, PICTURE = 2_100, 700, 1_500
TABLE = (
    "CREATE TABLE message_association (_id INTEGER PRIMARY KEY AUTOINCREMENT, child_message_row_id INTEGER,"
    " parent_message_row_id INTEGER, association_type INTEGER)"
)
PAIR = f"INSERT INTO message_association VALUES (1, {PICTURE}, {ALBUM}, 2)"


def _store(folder: Path, *changes: str) -> Path:
    path = folder / "msgstore.db"
    path.unlink(missing_ok=True)
    write_msgstore(path, SampleOptions(messages=MESSAGES))
    with sqlite3.connect(path) as connection:
        for change in (TABLE, *changes):
            connection.execute(change)
    connection.close()
    return path


def _opened(path: Path) -> Any:
    return ModernMsgstore().open(path, address_book=None, known_aliases={})


def _rows(backup: Any) -> list[Any]:
    [rows] = [list(side.rows(0)) for side in backup.sides() if side.name == "message_association"] or [[]]
    return rows


def _digests(path: Path) -> dict[int, bytes]:
    backup = _opened(path)
    try:
        return dict(backup.digests(bytes(32)))
    finally:
        backup.close()


def test_a_picture_names_its_album(tmp_path: Path) -> None:
    backup = _opened(_store(tmp_path, PAIR))
    [row] = _rows(backup)
    assert (row.message_row, row.links) == (PICTURE, {"parent_message_id": ALBUM})
    assert row.values == {"source": "message_association", "item": "0", "columns": {"association_type": 2}}
    backup.close()


@pytest.mark.parametrize("pair", ["(1, 'x', x'00', 2)", "(1, NULL, 700, NULL)", "(1, -1, 9e999, 'a')"])
def test_a_pair_that_a_stranger_made_is_a_row_of_no_message(tmp_path: Path, pair: str) -> None:
    backup = _opened(_store(tmp_path, f"INSERT INTO message_association VALUES {pair}"))
    assert [row.message_row for row in _rows(backup)] == [0]
    assert backup.leave_out([ALBUM >> 9]).rows
    assert len(_rows(backup)) == 1
    backup.close()


def test_a_picture_that_joins_an_album_is_different(tmp_path: Path) -> None:
    before, after = _digests(_store(tmp_path)), _digests(_store(tmp_path, PAIR))
    assert {block for block in before if before[block] != after[block]} == {PICTURE >> 9}


def test_pictures_go_with_what_is_left_out_and_albums_stay_for_those_that_do_not(tmp_path: Path) -> None:
    path = _store(tmp_path, PAIR)
    backup = _opened(path)
    left_out = backup.leave_out([ALBUM >> 9, PICTURE >> 9])
    assert (left_out.rows["message_association"], _rows(backup)) == (1, [])
    backup.close()
    backup = _opened(path)
    assert "message_association" not in backup.leave_out([ALBUM >> 9]).rows
    assert [row.links for row in _rows(backup)] == [{"parent_message_id": ALBUM}]
    read = {message.row for message in backup.messages() if hasattr(message, "row")}
    assert ALBUM in read
    assert ALBUM + 1 not in read
    backup.close()
