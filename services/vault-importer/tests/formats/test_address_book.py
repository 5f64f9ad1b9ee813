"""Names from ``wa.db``, and what became of each of its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vault_importer.collect import collect_contacts
from vault_importer.formats import recognise
from vault_importer.formats.base import LookedUp, SourceContact

SHOP, DESK, LID = "919847000031@s.whatsapp.net", "919847000032@s.whatsapp.net", "70000000000931@lid"
VERIFIED = (
    "CREATE TABLE wa_vnames (_id INTEGER PRIMARY KEY, jid TEXT NOT NULL, serial INTEGER, verified_name TEXT)",
    f"INSERT INTO wa_vnames VALUES (1, '{SHOP}', 1, ' Kottakkal Traders '), (2, '{DESK}', 1, 'Dispatch Pvt Ltd'),"
    " (3, '919847000033@s.whatsapp.net', 1, ''), (4, '120363000000000001@g.us', 1, 'A group'),"
    " (5, x'ff00', 1, 'Broken')",
    "INSERT INTO wa_contacts (jid, is_whatsapp_user, display_name) VALUES"
    f" ('{DESK}', 1, 'Dispatch desk'), ('{SHOP}', 1, NULL)",
)
OTHERS = (
    "CREATE TABLE wa_block_list (jid TEXT)",
    f"INSERT INTO wa_block_list VALUES ('{DESK}')",
    "CREATE TABLE props (key TEXT, value TEXT)",
    "INSERT INTO props VALUES ('a', 'b'), ('c', 'd')",
    "CREATE TABLE wa_biz_profiles (jid TEXT)",
)


def _open(stores: Any, kind: str, *changes: str, **known: str) -> Any:
    book = stores.plain(*changes, name="wa.db", script="wa.sql")
    path: Path = getattr(stores, kind)()
    return recognise(path).open(path, address_book=book, known_aliases=known)


@pytest.mark.parametrize("kind", ["plain", "legacy"])
def test_a_business_has_its_verified_name_where_the_owner_gave_it_none(stores: Any, kind: str) -> None:
    backup = _open(stores, kind, *VERIFIED)
    _, people, skipped = collect_contacts(backup)
    assert people[SHOP] == SourceContact(jid=SHOP, name="Kottakkal Traders", name_source="verified")
    assert people[DESK] == SourceContact(jid=DESK, name="Dispatch desk", name_source="address_book")
    assert "919847000033@s.whatsapp.net" not in people
    assert (skipped["no_name"], skipped["not_a_person"]) == (1, 2)
    backup.close()


def test_a_verified_name_is_that_of_the_number_where_it_is_known(stores: Any) -> None:
    backup = _open(stores, "plain", *VERIFIED, f"UPDATE wa_vnames SET jid = '{LID}' WHERE _id = 1", **{LID: SHOP})
    assert collect_contacts(backup)[1][SHOP].name == "Kottakkal Traders"
    backup.close()


@pytest.mark.parametrize("kind", ["plain", "legacy"])
def test_every_table_of_the_address_book_is_accounted_for(stores: Any, kind: str) -> None:
    backup = _open(stores, kind, *VERIFIED, *OTHERS)
    looked_up = [each for each in backup.lookups() if each.table == "wa_vnames"]
    assert looked_up == [
        LookedUp("wa_vnames", SHOP),
        LookedUp("wa_vnames", DESK),
        LookedUp("wa_vnames", "", reason="no_name"),
        LookedUp("wa_vnames", "", reason="not_a_person"),
        LookedUp("wa_vnames", "", reason="not_a_person"),
    ]
    unread = backup.unread()
    # A table of that name is in the store too.
    assert (unread["wa_block_list"], unread["wa.db.props"], unread["props"]) == (1, 2, 1)
    assert not unread.keys() & {"wa_contacts", "wa_vnames", "wa_biz_profiles"}
    assert (backup.rows()["wa_vnames"], backup.rows()["wa_contacts"]) == (5, sum(
        each.table == "wa_contacts" for each in backup.lookups()
    ))  # fmt: skip
    backup.close()


def test_a_table_of_verified_names_without_names_is_not_read(stores: Any) -> None:
    backup = _open(stores, "plain", "CREATE TABLE wa_vnames (jid TEXT)", f"INSERT INTO wa_vnames VALUES ('{SHOP}')")
    assert backup.unread()["wa_vnames"] == 1
    assert "wa_vnames" not in backup.rows()
    backup.close()
