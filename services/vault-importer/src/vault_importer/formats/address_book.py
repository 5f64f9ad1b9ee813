"""Android's address book, ``wa.db``: whom the owner of the phone has a name for, and which businesses WhatsApp has
verified. It belongs to a store of either schema."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from vault_importer.formats.base import LookedUp, NameSource, SkippedRow, SourceContact
from vault_importer.formats.msgstore_tables import unread_tables
from vault_importer.formats.sqlite_source import SqliteSource, clean
from vault_importer.identity import canonical, kind_of_chat

__all__ = ["looked_up_in_address_book", "named_in_address_book", "rows_of_address_book", "unread_in_address_book"]

CONTACTS, VERIFIED = "wa_contacts", "wa_vnames"


def named_in_address_book(
    book: SqliteSource | None, known_aliases: Mapping[str, str]
) -> Iterator[SourceContact | SkippedRow]:
    """Whom a ``wa.db`` names, whichever store it belongs to. A person may come twice."""
    return (each for _, each in _people(book, known_aliases))


def looked_up_in_address_book(book: SqliteSource | None, known_aliases: Mapping[str, str]) -> Iterator[LookedUp]:
    for table, each in _people(book, known_aliases):
        if isinstance(each, SkippedRow):
            yield LookedUp(table, "", reason=each.reason)
        else:
            yield LookedUp(table, each.jid)


def rows_of_address_book(book: SqliteSource | None) -> dict[str, int]:
    """How many rows each table holds that is read."""
    return {table: book.count(table) for table in _read(book)} if book else {}


def unread_in_address_book(book: SqliteSource | None, store_tables: Collection[str]) -> dict[str, int]:
    """Tables that are not read, with how many rows they hold. A name that the store has too is told apart."""
    others = unread_tables(book, _read(book)) if book else {}
    return {f"wa.db.{name}" if name in store_tables else name: count for name, count in others.items()}


def _read(book: SqliteSource) -> set[str]:
    return {
        table
        for table, columns in ((CONTACTS, ("jid",)), (VERIFIED, ("jid", "verified_name")))
        if book.has(table, *columns)
    }


def _people(
    book: SqliteSource | None, known_aliases: Mapping[str, str]
) -> Iterator[tuple[str, SourceContact | SkippedRow]]:
    """One item for each row, with its table."""
    if book is None:
        return
    read = _read(book)
    if CONTACTS in read:
        columns = ", ".join(book.column(CONTACTS, name) for name in ("display_name", "wa_name"))
        for address, display_name, wa_name in book.select(f"SELECT jid, {columns} FROM {CONTACTS}"):  # noqa: S608
            own = clean(display_name).strip()
            source: NameSource = "address_book" if own else "own_profile"
            yield CONTACTS, _person(CONTACTS, address, own or clean(wa_name).strip(), source, known_aliases)
    if VERIFIED in read:
        for address, verified in book.select(f"SELECT jid, verified_name FROM {VERIFIED}"):  # noqa: S608
            name = clean(verified).strip()
            if name:
                yield VERIFIED, _person(VERIFIED, address, name, "verified", known_aliases)
            else:
                yield VERIFIED, SkippedRow(VERIFIED, "no_name")


def _person(
    table: str, address: object, name: str, source: NameSource, known_aliases: Mapping[str, str]
) -> SourceContact | SkippedRow:
    user, _, server = clean(address).rpartition("@")
    if kind_of_chat(clean(address)) != "direct" or not user:
        return SkippedRow(table, "not_a_person")
    return SourceContact(jid=canonical(user, server, known_aliases), name=name, name_source=source if name else "none")
