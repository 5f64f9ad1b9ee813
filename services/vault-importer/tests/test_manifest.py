"""Whatever a store holds, its manifest accounts for every row of every table."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from vault_importer.samples import SampleOptions, write_msgstore

pytestmark = pytest.mark.real

BOOK = ("UPDATE wa_contacts SET jid = '11111@s.whatsapp.net', display_name = 'Reception desk' WHERE _id = 181",)
VERIFIED = (
    "CREATE TABLE wa_vnames (_id INTEGER PRIMARY KEY, jid TEXT, verified_name TEXT)",
    "INSERT INTO wa_vnames VALUES (1, '919847000041@s.whatsapp.net', 'Kottakkal Traders'),"
    " (2, '919847000042@s.whatsapp.net', NULL)",
    "CREATE TABLE wa_block_list (jid TEXT)",
    "INSERT INTO wa_block_list VALUES ('919847000042@s.whatsapp.net')",
    "CREATE TABLE props (key TEXT, value TEXT)",
    "INSERT INTO props VALUES ('a', 'b')",
)
NAMES = (
    "CREATE TABLE lid_display_name (lid_row_id INTEGER PRIMARY KEY, display_name TEXT)",
    "INSERT INTO lid_display_name VALUES (302, 'Dispatch desk'), (252, ''), (777, 'Nobody')",
    "INSERT INTO jid_map VALUES (888, 301, 0)",
    "INSERT INTO jid VALUES (310, '919847000010', 's.whatsapp.net', 0, 3, 0, ''), (311, '919847000099',"
    " 's.whatsapp.net', 0, 0, 0, '')",
)


def _counted(path: Path) -> dict[str, int]:
    """What a plain reader of the file finds, without a word of ours."""
    connection = sqlite3.connect(path)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    counts = {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}
    connection.close()
    return {name: count for name, count in counts.items() if count and not name.startswith("sqlite_")}


def _told(manifest: dict[str, Any]) -> dict[str, int]:
    tables = manifest["tables"]
    for name, table in tables.items():
        taken = table["new"] + table["changed"] + table["unchanged"] + sum(table["skipped"].values())
        assert table["seen"] == taken, name
    return {**{name: table["seen"] for name, table in tables.items()}, **manifest["unread"]}


@pytest.mark.parametrize("kind", ["beside", "plain", "sample"])
async def test_every_row_of_a_store_is_told_of_in_its_manifest(vault: Any, stores: Any, kind: str) -> None:
    if kind == "sample":
        path = stores.folder / "sample.db"
        write_msgstore(path, SampleOptions(messages=2_000))
    else:
        path = stores.beside(*NAMES) if kind == "beside" else stores.plain()
    assert _told((await vault.import_(path)).manifest) == _counted(path)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE another_night (x)")
    again = (await vault.import_(path)).manifest
    assert _told(again) == _counted(path)
    assert {name: table["new"] for name, table in again["tables"].items() if table["new"]} == {}


async def test_a_store_of_before_2022_is_told_of_too(vault: Any, stores: Any) -> None:
    path = stores.legacy()
    told = _told((await vault.import_(path)).manifest)
    counted = _counted(path)
    assert told.pop("message") == counted.pop("messages")
    # Parts of the one wide table, which have no table of their own.
    assert (told.pop("messages.media"), told.pop("messages.mentions")) == (1, 2)
    assert told == counted


@pytest.mark.parametrize("kind", ["beside", "legacy"])
async def test_every_row_of_the_address_book_is_told_of(vault: Any, stores: Any, kind: str) -> None:
    book = stores.plain(*BOOK, *VERIFIED, name="wa.db", script="wa.sql")
    path = getattr(stores, kind)()
    run = await vault.import_(path, address_book=book)
    told, own = _told(run.manifest), _counted(path)
    for name, count in _counted(book).items():
        assert told.pop(f"wa.db.{name}" if name in own else name) == count
    assert told.keys() >= own.keys() - {"messages"}
    assert run.manifest["tables"]["wa_vnames"]["skipped"] == {"no_name": 1}
    named = await vault.rows("SELECT name FROM contact WHERE number = '+919847000041'")
    assert named == [{"name": "Kottakkal Traders"}]


async def test_tables_of_who_is_who_say_what_came_of_each_row(vault: Any, stores: Any) -> None:
    book = stores.plain(*BOOK, name="wa.db", script="wa.sql")
    run = await vault.import_(stores.beside(*NAMES), address_book=book)
    tables = run.manifest["tables"]
    assert tables["jid_map"] == {"seen": 2, "new": 1, "changed": 0, "unchanged": 0, "skipped": {"no_pair": 1}}
    assert tables["lid_display_name"]["new"] == 1
    assert tables["lid_display_name"]["skipped"] == {"no_name": 1, "no_jid": 1}
    assert tables["wa_contacts"]["new"] == 2
    # One person on another device, hidden identities of a person that is there, and nobody's number.
    assert tables["jid"]["skipped"]["same_address"] == 2
    assert tables["jid"]["skipped"]["nothing_names_it"] >= 1
    [groups] = await vault.rows("SELECT count(*) AS n FROM chat WHERE kind <> 'direct'")
    assert tables["jid"]["new"] == run.contacts_seen + groups["n"]
