"""Loads what a source holds beside its messages, table by table, once the messages are known.

Like messages, in chunks of one transaction each: rows and how far the table has come commit together, so that an
interrupted import continues behind them; and every row of every table is accounted for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID

from kit.postgres import Transaction
from vault_importer.erasure.keep_out import REASON, Erased
from vault_importer.formats.base import Side, SideRow, SideRows, SkippedRow
from vault_importer.ledger_beside import append_beside
from vault_importer.pace import Pace
from vault_importer.refusals import ImportBusy
from vault_importer.sides import Names, named_keys, quoted_keys, resolve
from vault_importer.sides_store import NOTHING, TARGETS, Pass, Target, advance_pass, merge_rows, passes_of
from vault_importer.store import keys_in_vault
from vault_importer.together import together

__all__ = ["LoadingSides", "load_sides"]

T = TypeVar("T")

ROWS_PER_CHUNK = 5_000
#: Tables that are loaded side by side.
AT_ONCE = 2


@dataclass(frozen=True, kw_only=True)
class LoadingSides:
    """One import at work on them."""

    writing: Callable[[], AbstractAsyncContextManager[Transaction]]
    """A transaction that may write; raises once anybody more is to be kept out."""
    import_id: UUID
    as_of: datetime
    names: Names
    in_worker: Callable[..., Any]
    now: Callable[[], datetime]
    erased: Erased


async def load_sides(loading: LoadingSides, sides: Sequence[Side]) -> dict[str, Pass]:
    """Bring the vault up to each table. May be called again after any interruption; what became of the rows."""
    async with loading.writing() as tx:
        before = await passes_of(tx, loading.import_id)
    waiting = iter(sides)
    done: dict[str, Pass] = {}

    async def work() -> None:
        for side in waiting:
            done[side.name] = await _load_side(loading, side, before.get(side.name) or Pass(name=side.name, skipped={}))

    await together(work() for _ in range(AT_ONCE))
    return done


async def _load_side(loading: LoadingSides, side: Side, done: Pass) -> Pass:
    pace = Pace(ROWS_PER_CHUNK)
    chunks = _chunks(side.rows(done.rows_done), pace)
    coming = asyncio.ensure_future(loading.in_worker(next, chunks, None))
    try:
        while (chunk := await coming) is not None:
            # The worker reads the next chunk while Postgres works on this one.
            coming = asyncio.ensure_future(loading.in_worker(next, chunks, None))
            began = monotonic()
            done = await _load_chunk(loading, side, done, chunk)
            pace.took(len(chunk), monotonic() - began)
    finally:
        await asyncio.gather(coming, return_exceptions=True)
        # Its cursor must be let go before the store is closed.
        await loading.in_worker(chunks.close)
    return done


def _chunks(rows: SideRows, pace: Pace) -> Generator[list[SideRow | SkippedRow], None, None]:
    with closing(rows):
        while taken := list(islice(rows, pace.rows)):
            yield taken


async def _load_chunk(loading: LoadingSides, side: Side, done: Pass, chunk: Sequence[SideRow | SkippedRow]) -> Pass:
    target = TARGETS[side.into]
    skipped = Counter(done.skipped)
    if loading.erased:
        chunk = [_without(row, loading.erased, side.name) for row in chunk]
    async with loading.writing() as tx:
        quoted: Mapping[UUID, UUID] = {}
        find = quoted_keys if side.into == "quote" else named_keys
        keys = [key for row in _kept(chunk) for key in find(row, loading.names)]
        if keys:
            quoted = await keys_in_vault(tx, keys)
        rows = _resolved(chunk, target, loading.names, quoted, skipped)
        merged = NOTHING
        if rows:
            merged = await merge_rows(
                tx, side.into, list(rows.values()), import_id=loading.import_id, as_of=loading.as_of
            )
        now = Pass(
            name=side.name,
            rows_done=done.rows_done + len(chunk),
            rows_new=done.rows_new + merged.new,
            rows_changed=done.rows_changed + merged.changed,
            rows_unchanged=done.rows_unchanged + len(rows) - merged.new - merged.changed,
            skipped=dict(skipped),
        )
        if not await advance_pass(tx, loading.import_id, done.rows_done, now):
            raise ImportBusy("This file is being imported by another process at this moment.")
        if target.leaf is not None:
            await append_beside(tx, target.leaf, merged.added, at=loading.now())
    return now


def _without(row: SideRow | SkippedRow, erased: Erased, table: str) -> SideRow | SkippedRow:
    if isinstance(row, SkippedRow):
        return row
    return erased.without(row) or SkippedRow(table, REASON)


def _kept(chunk: Sequence[SideRow | SkippedRow]) -> Iterator[SideRow]:
    return (row for row in chunk if isinstance(row, SideRow))


def _resolved(
    chunk: Sequence[SideRow | SkippedRow],
    target: Target,
    names: Names,
    quoted: Mapping[UUID, UUID],
    skipped: Counter[str],
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Rows by their key, the last of several of one key; why the others are left out is counted."""
    width = len(target.key)
    rows: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for each in chunk:
        values = each.reason if isinstance(each, SkippedRow) else resolve(each, target, names, quoted)
        if isinstance(values, str):
            skipped[values] += 1
            continue
        key = values[:width]
        if key in rows:
            skipped["repeated"] += 1
        rows[key] = values
    return rows
