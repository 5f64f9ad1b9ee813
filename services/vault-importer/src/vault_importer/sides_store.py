"""What stands beside the messages, in Postgres: one target for each table, one statement for a chunk of any of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from kit.postgres import Transaction, load_queries
from vault_importer.leaves_beside import BesideKind, RowBeside, row_beside

__all__ = ["NOTHING", "TARGETS", "MergedRows", "Pass", "Target", "advance_pass", "merge_rows", "passes_of"]

Q = load_queries("vault_importer")

Column = tuple[str, Literal["uuid", "text", "bigint", "boolean", "timestamptz", "jsonb"]]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A table that takes rows from a source, and what makes a row the same row in the next backup."""

    table: str
    key: tuple[Column, ...]
    values: tuple[Column, ...] = ()
    """What a later backup may change. Without any, rows are history: added, never changed."""
    keeps: bool = False
    """Whether a value that a later backup does not tell stays as it is: an increment says less of a message than a
    whole backup did, and WhatsApp forgets where a file was."""
    emptied_by: str = ""
    """The column that is empty where a row says that nothing of it is to stay: it was about somebody who is erased."""
    leaf: BesideKind | None = None
    """Of what kind the leaves are that such history has."""

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.key + self.values


_MESSAGE: Column = ("message_id", "uuid")
_CONTACT: Column = ("contact_id", "uuid")
_CHAT: Column = ("chat_id", "uuid")
_ITEM: Column = ("item", "text")

TARGETS: Mapping[str, Target] = {
    "media": Target(
        table="message_media",
        key=(_MESSAGE,),
        values=(
            ("mime_type", "text"),
            ("bytes", "bigint"),
            ("duration_seconds", "bigint"),
            ("width", "bigint"),
            ("height", "bigint"),
            ("pages", "bigint"),
            ("name", "text"),
            ("caption", "text"),
            ("file_hash", "text"),
            ("original_file_hash", "text"),
            ("file_path", "text"),
        ),
        keeps=True,
    ),
    "quote": Target(
        table="message_quote",
        key=(_MESSAGE,),
        values=(
            ("quoted_message_id", "uuid"),
            ("quoted_chat_id", "uuid"),
            ("quoted_contact_id", "uuid"),
            ("quoted_key_id", "text"),
            ("quoted_from_me", "boolean"),
            ("quoted_at", "timestamptz"),
            ("quoted_raw_kind", "bigint"),
            ("of_status", "boolean"),
            ("text", "text"),
        ),
        keeps=True,
        emptied_by="quoted_key_id",
    ),
    "mention": Target(
        table="message_mention",
        key=(_MESSAGE, _ITEM),
        values=(("mentioned_contact_id", "uuid"), ("address", "text"), ("name", "text"), ("raw_kind", "bigint")),
        keeps=True,
    ),
    "add_on": Target(
        table="message_add_on",
        key=(_MESSAGE, _CONTACT, ("key_id", "text")),
        values=(("raw_kind", "bigint"), ("at", "timestamptz")),
    ),
    "reaction": Target(
        table="message_reaction",
        key=(_MESSAGE, _CONTACT, ("reacted_at", "timestamptz"), ("reaction", "text")),
        leaf="reaction",
    ),
    "poll_option": Target(
        table="message_poll_option", key=(_MESSAGE, _ITEM), values=(("name", "text"), ("votes", "bigint")), keeps=True
    ),
    "poll_vote": Target(
        table="message_poll_vote", key=(_MESSAGE, _CONTACT, ("voted_at", "timestamptz"), _ITEM), leaf="vote"
    ),
    "receipt": Target(
        table="message_receipt",
        key=(_MESSAGE, _CONTACT),
        values=(("delivered_at", "timestamptz"), ("read_at", "timestamptz"), ("played_at", "timestamptz")),
    ),
    "call": Target(
        table="call_log",
        key=(("call_id", "uuid"),),
        values=(
            ("account_id", "uuid"),
            ("caller_or_called_id", "uuid"),
            ("group_chat_id", "uuid"),
            ("from_me", "boolean"),
            ("started_at", "timestamptz"),
            ("duration_seconds", "bigint"),
            ("video", "boolean"),
            ("raw_result", "bigint"),
            ("raw_kind", "bigint"),
            ("bytes", "bigint"),
        ),
    ),
    "call_participant": Target(
        table="call_participant", key=(("call_id", "uuid"), _CONTACT), values=(("raw_result", "bigint"),)
    ),
    "message_call": Target(table="message_call", key=(_MESSAGE, ("call_id", "uuid"))),
    "member": Target(
        table="chat_member",
        key=(_CHAT, _CONTACT),
        values=(("rank", "bigint"), ("pending", "boolean"), ("added_at", "timestamptz"), ("label", "text")),
    ),
    "past_member": Target(
        table="chat_past_member", key=(_CHAT, _CONTACT, ("left_at", "timestamptz")), values=(("by_choice", "boolean"),)
    ),
    "chat_detail": Target(table="chat_detail", key=(_CHAT, ("source", "text"), _ITEM), values=(("columns", "jsonb"),)),
    "account_detail": Target(
        table="account_detail", key=(("account_id", "uuid"), ("source", "text"), _ITEM), values=(("columns", "jsonb"),)
    ),
    "detail": Target(table="message_detail", key=(_MESSAGE, ("source", "text"), _ITEM), values=(("columns", "jsonb"),)),
}


def _statement(target: Target) -> str:
    """Add what is new, change what a backup at least as late says otherwise; rows that say the same are not written."""
    names = ", ".join(name for name, _ in target.columns)
    # jsonb comes as text: asyncpg has no array of it.
    types = [(name, "text" if kind == "jsonb" else kind) for name, kind in target.columns]
    arrays = ", ".join(f"${at}::{kind}[]" for at, (_, kind) in enumerate(types, start=4))
    given = ", ".join(f"s.{name}::jsonb" if kind == "jsonb" else f"s.{name}" for name, kind in target.columns)
    same = " AND ".join(f"t.{name} = s.{name}" for name, _ in target.key)
    key = ", ".join(name for name, _ in target.key)
    if not target.values:
        recorded = f", number, import_id, {key}" if target.leaf else ""
        return (
            f"INSERT INTO {target.table} (tenant_id, {names}, import_id) SELECT $1, {given}, $2"  # noqa: S608
            f" FROM unnest({arrays}) AS s({names}) WHERE $3::timestamptz IS NOT NULL AND NOT EXISTS"
            f" (SELECT FROM {target.table} t WHERE t.tenant_id = $1 AND {same}) ORDER BY {key}"
            f" ON CONFLICT DO NOTHING RETURNING true AS is_new{recorded}"
        )
    ours = ", ".join(f"t.{name}" for name, _ in target.values)
    theirs = ", ".join(_taken(target, name, kind, "s", "t") for name, kind in target.values)
    old = target.table
    changes = ", ".join(f"{name} = {_taken(target, name, kind, 'excluded', old)}" for name, kind in target.values)
    return (
        f"INSERT INTO {target.table} (tenant_id, {names}, import_id, as_of) SELECT $1, {given}, $2, $3"  # noqa: S608
        f" FROM unnest({arrays}) AS s({names}) WHERE NOT EXISTS (SELECT FROM {target.table} t WHERE t.tenant_id = $1"
        f" AND {same} AND (t.as_of > $3 OR ROW({ours}) IS NOT DISTINCT FROM ROW({theirs}))) ORDER BY {key}"
        f" ON CONFLICT (tenant_id, {key}) DO UPDATE SET {changes}, import_id = excluded.import_id,"
        f" as_of = excluded.as_of RETURNING (xmax = 0) AS is_new"
    )


def _taken(target: Target, name: str, kind: str, new: str, old: str) -> str:
    """The value that a column has afterwards."""
    given = f"{new}.{name}::jsonb" if kind == "jsonb" and new == "s" else f"{new}.{name}"
    if not target.keeps:
        return given
    told = f"nullif({given}, '')" if kind == "text" else given
    kept = f"coalesce({told}, {old}.{name})"
    if not target.emptied_by:
        return kept
    return f"CASE WHEN {new}.{target.emptied_by} = '' THEN {given} ELSE {kept} END"


@dataclass(frozen=True, kw_only=True, slots=True)
class MergedRows:
    """What became of the rows of a chunk."""

    new: int
    changed: int
    added: Sequence[RowBeside] = ()
    """Those that get leaves."""


NOTHING = MergedRows(new=0, changed=0)

_STATEMENTS = {name: _statement(target) for name, target in TARGETS.items()}


async def merge_rows(
    tx: Transaction, into: str, rows: Sequence[Sequence[Any]], *, import_id: UUID, as_of: datetime
) -> MergedRows:
    """Bring a target up to ``rows``, whose values are in the order of its columns; a key once only."""
    await tx.execute(Q.probe_by_index)
    columns = [list(column) for column in zip(*rows, strict=True)]
    written = await tx.fetch(_STATEMENTS[into], tx.tenant, import_id, as_of, *columns)
    new = sum(row["is_new"] for row in written)
    leaf = TARGETS[into].leaf
    added = [row_beside(leaf, row) for row in written] if leaf is not None else []
    return MergedRows(new=new, changed=len(written) - new, added=added)


# Progress -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """How far one table of an import has come, and what became of its rows."""

    name: str
    rows_done: int = 0
    rows_new: int = 0
    rows_changed: int = 0
    rows_unchanged: int = 0
    skipped: Mapping[str, int]


async def passes_of(tx: Transaction, import_id: UUID) -> dict[str, Pass]:
    rows = await tx.fetch(Q.passes, import_id)
    return {row["name"]: Pass(**{**dict(row), "skipped": json.loads(row["skipped"])}) for row in rows}


async def advance_pass(tx: Transaction, import_id: UUID, rows_before: int, now: Pass) -> bool:
    """Whether the table was where we left it; if not, another process works on it."""
    moved = await tx.fetchval(
        Q.advance_pass,
        tx.tenant,
        import_id,
        now.name,
        now.rows_done,
        now.rows_new,
        now.rows_changed,
        now.rows_unchanged,
        json.dumps(now.skipped),
        rows_before,
    )
    return moved is not None
