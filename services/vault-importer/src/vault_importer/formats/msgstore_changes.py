"""What of an Android store is as it was in a backup before: messages by the block, with all that stands beside them.

The digest of a block is made of every row that says something about its messages, and of whom and which chats their
numbers stand for. Blocks that are left out are hidden by tables of the same name that hold the rest, so whatever reads
the store reads the rest as if there were no more. Messages that the rest names stay in it, with all their rows.
"""

from __future__ import annotations

import marshal
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from operator import itemgetter
from typing import Any

from vault_importer.formats.base import LeftOut
from vault_importer.formats.msgstore_messages import LEFT_OUT, message_column
from vault_importer.formats.msgstore_tables import LATEST_MS, Tables, quoted_name

__all__ = ["Changes"]

#: To be raised when more is made of the same rows: then all of them are read again.
READING = 2
BLOCK_BITS = 9
BLOCK = 1 << BLOCK_BITS
DIGEST_BYTES = 16
MESSAGE = ("_id", "chat_row_id", "from_me", "key_id", "sender_jid_row_id", "timestamp", "received_timestamp",
           "message_type", "text_data")  # fmt: skip
ADD_ON = "message_add_on"
_KNOWN = "typeof({key}) = 'integer' AND {key} > 0"
#: No message has this number.
_BEHIND = 2**63 - 1
#: So often rows that are kept may name others that must be kept with them, before nothing is left out.
ROUNDS = 10


class Changes:
    """Of one opened store whose chats were read."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._store = tables.store
        names = sorted(self._store.tables.keys() - LEFT_OUT - {"message", ADD_ON})
        keys = {name: message_column(self._store, name) for name in names}
        self._of_message = {name: key for name, key in keys.items() if key}
        self._add_ons = self._store.has(ADD_ON, "_id", "parent_message_row_id")
        self._of_add_on = [
            name
            for name in names
            if self._add_ons and name not in self._of_message and self._store.has(name, "message_add_on_row_id")
        ]

    # Digests --------------------------------------------------------------------------------------------------------

    def digests(self, salt: bytes, share: int, shares: int) -> dict[int, bytes]:
        """By block; none of blocks with a message that cannot be kept, which are to be accounted for every time."""
        hashes: dict[int, Any] = {}
        never = set[int]()
        within = self._share(share, shares)
        columns = [name for name in MESSAGE if self._store.has("message", name)]
        for block, rows in self._blocks("message", columns, "t._id", within):
            hashes[block] = blake2b(marshal.dumps((READING, columns), 2), digest_size=DIGEST_BYTES, key=salt)
            hashes[block].update(self._content(rows, columns))
            if not self._all_kept(rows, columns):
                never.add(block)
        for table, key in [*((name, f"t.{key}") for name, key in self._of_message.items()), *self._keys_of_add_ons()]:
            columns = sorted(self._store.tables[table])
            for block, rows in self._blocks(table, columns, key, within):
                if block in hashes:
                    hashes[block].update(marshal.dumps((table, columns), 2))
                    hashes[block].update(self._content(rows, columns))
        return {block: each.digest() for block, each in hashes.items() if block not in never}

    def _share(self, share: int, shares: int) -> range:
        """The messages of a share, whole blocks of them."""
        [[count]] = self._store.select(f"SELECT count(*) FROM message WHERE {_KNOWN.format(key='_id')}")  # noqa: S608

        def begins(share: int) -> int:
            found = self._store.select(
                f"SELECT _id FROM message WHERE {_KNOWN.format(key='_id')} ORDER BY _id LIMIT 1 OFFSET ?",  # noqa: S608
                count * share // shares,
            )
            return next((row >> BLOCK_BITS << BLOCK_BITS for [row] in found), _BEHIND)

        return range(begins(share) if share else 1, begins(share + 1) if share + 1 < shares else _BEHIND)

    def _keys_of_add_ons(self) -> Iterator[tuple[str, str]]:
        if self._add_ons:
            yield ADD_ON, "t.parent_message_row_id"
        for table in self._of_add_on:
            yield table, f"(SELECT a.parent_message_row_id FROM {ADD_ON} a WHERE a._id = t.message_add_on_row_id)"  # noqa: S608

    def _blocks(
        self, table: str, columns: Sequence[str], key: str, within: range
    ) -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
        """Rows by the block of the message that they are about, each with that message last, as far as it is one of
        these. Others are about none, and never left out."""
        own = ", ".join(f"t.{quoted_name(name)}" for name in columns)
        order = "t.rowid" if self._tables.order(table) == "rowid" else "1"
        rows = self._store.select(
            f"SELECT {own}, {key} FROM {quoted_name(table)} t"  # noqa: S608
            f" WHERE {_KNOWN.format(key=key)} AND {key} >= ? AND {key} < ? ORDER BY {key}, {order}",
            within.start,
            within.stop,
        )
        held: list[tuple[Any, ...]] = []
        while more := list(islice(rows, BLOCK)):
            held += more
            # In their order, so where a block ends need not be looked for row by row.
            while held and (block := _block(held[0])) != _block(held[-1]):
                end = bisect_right(held, block, key=_block)
                yield block, held[:end]
                del held[:end]
        if held:
            yield _block(held[0]), held

    def _content(self, rows: list[tuple[Any, ...]], columns: Sequence[str]) -> bytes:
        """Rows, and what their numbers stand for: that can change, and they do not."""
        named = [
            (at, number, resolve(number))
            for at, resolve in self._resolvers(columns)
            for number in sorted(each for each in set(map(itemgetter(at), rows)) if isinstance(each, int))
        ]
        # Version 2 writes each value where it stands; later ones point at values that are the same object.
        return marshal.dumps((rows, named), 2)

    def _resolvers(self, columns: Sequence[str]) -> Iterator[tuple[int, Callable[[object], str]]]:
        for at, name in enumerate(columns):
            if name.endswith("chat_row_id"):
                yield at, self._tables.chat
            elif name.endswith(("jid_row_id", "lid_row_id")):
                yield at, self._tables.jid

    def _all_kept(self, rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> bool:
        chats = set(map(itemgetter(columns.index("chat_row_id")), rows))
        if not all(map(self._tables.chat, chats)):
            return False
        return all(all(map(itemgetter(columns.index(name)), rows)) for name in ("key_id", "timestamp"))

    # Leaving out ----------------------------------------------------------------------------------------------------

    def leave_out(self, blocks: Collection[int]) -> LeftOut:
        """Hide these blocks from whatever reads the store; how many rows of each table they were."""
        if not blocks:
            return LeftOut(rows={}, newest_ms=0)
        tables = {
            "message": _kept("_id"),
            **{name: _kept(key) for name, key in self._of_message.items()},
            **({ADD_ON: _kept("parent_message_row_id")} if self._add_ons else {}),
            **dict.fromkeys(self._of_add_on, KEPT_ADD_ON),
        }
        with self._store.scratch() as execute:
            execute("CREATE TEMP TABLE left_out_block (block INTEGER PRIMARY KEY)")
            execute("CREATE TEMP TABLE still_named (row INTEGER PRIMARY KEY)")
            for block in blocks:
                execute("INSERT INTO left_out_block VALUES (?)", block)
            if not self._keep_what_is_named(execute, tables):
                return LeftOut(rows={}, newest_ms=0)
            rows = {name: self._hide(execute, name, kept) for name, kept in tables.items()}
            [[newest]] = execute(
                f"SELECT max(timestamp) FROM main.message WHERE NOT {_kept('_id')}"  # noqa: S608
                f" AND typeof(timestamp) = 'integer' AND timestamp < {LATEST_MS}"
            )
        return LeftOut(rows={name: count for name, count in rows.items() if count}, newest_ms=newest or 0)

    def _keep_what_is_named(self, execute: Callable[..., list[Any]], tables: Mapping[str, str]) -> bool:
        """Whether all messages are known that rows which stay name."""
        # By these their own tables' rows stay or go already.
        own_keys = {**self._of_message, **({ADD_ON: "parent_message_row_id"} if self._add_ons else {})}
        links = [
            (table, name)
            for table, columns in self._store.tables.items()
            for name in columns
            if table not in LEFT_OUT and name.endswith("message_row_id") and name != own_keys.get(table)
        ]
        for _ in range(ROUNDS):
            [[before]] = execute("SELECT count(*) FROM still_named")
            for table, name in links:
                column = quoted_name(name)
                execute(
                    f"INSERT OR IGNORE INTO still_named SELECT {column} FROM main.{quoted_name(table)}"  # noqa: S608
                    f" WHERE {tables.get(table, 'true')} AND NOT {_kept(column)}"
                )
            [[after]] = execute("SELECT count(*) FROM still_named")
            if after == before:
                return True
        return False

    def _hide(self, execute: Callable[..., list[Any]], table: str, kept: str) -> int:
        name, order = quoted_name(table), self._tables.order(table)
        execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM main.{name} WHERE {kept} ORDER BY {order}")  # noqa: S608
        for column in {"_id", self._of_message.get(table, "message_row_id"), "message_add_on_row_id"}:
            if self._store.has(table, column):
                execute(f"CREATE INDEX temp.{quoted_name(f'{table} by {column}')} ON {name} ({column})")
        [[count]] = execute(f"SELECT (SELECT count(*) FROM main.{name}) - (SELECT count(*) FROM temp.{name})")  # noqa: S608
        return int(count)


def _block(row: tuple[Any, ...]) -> int:
    block: int = row[-1] >> BLOCK_BITS
    return block


def _kept(column: str) -> str:
    """Whether a row about this message stays. Never NULL."""
    return (
        f"(typeof({column}) <> 'integer' OR {column} <= 0 OR {column} >> {BLOCK_BITS} NOT IN left_out_block"
        f" OR {column} IN still_named)"
    )


KEPT_ADD_ON = (
    "(message_add_on_row_id IS NULL OR message_add_on_row_id NOT IN (SELECT _id FROM main.message_add_on"  # noqa: S608
    f" WHERE _id IS NOT NULL AND NOT {_kept('parent_message_row_id')}))"
)
