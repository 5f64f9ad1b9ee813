"""Import a sheet: all of it or, when asked for, the rows that are good. The same sheet again changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn
from uuid import UUID

from front_desk.directory import Problem
from front_desk.keep_directory import DidTaken, Unfit, UnknownStaff, keep_many
from front_desk.sheets import BadRow, GoodRow, Sheet
from kit.postgres import Database

__all__ = ["ImportResult", "import_rows"]

CHUNK = 1000
"""Rows of one transaction. Each holds one lock, and a transaction that writes for long holds every relay back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportResult:
    created: int
    changed: int
    unchanged: int
    bad: tuple[BadRow, ...]
    written: bool


class _OnlyTried(Exception):
    """Undoes a transaction whose outcome was all that mattered."""


def _undo() -> NoReturn:
    raise _OnlyTried


async def import_rows(
    database: Database,
    tenant: UUID,
    sheet: Sheet,
    good: Sequence[GoodRow],
    bad: Sequence[BadRow],
    *,
    dry_run: bool,
    skip_bad: bool,
    progress: Callable[[int], None],
) -> ImportResult:
    """Write the good rows, unless some are bad and ``skip_bad`` is not set, or it is a dry run.

    What only the database knows (a DID that is taken, a person who is not there) is found by writing and undoing
    it first, so a sheet is refused before anything of it is kept.
    """
    rows, refused, counts = await _try(database, tenant, sheet, good)
    every_bad = tuple(sorted([*bad, *refused], key=lambda row: row.line))
    write = not dry_run and (skip_bad or not every_bad)
    if write:
        counts = Counter()
        for chunk in _chunks(rows):
            keys = sheet.kind.keys(tenant, [row.entity for row in chunk])
            async with database.transaction(tenant, emits=keys) as tx:
                kept = await keep_many(tx, sheet.kind, [row.entity for row in chunk])
            counts.update(each.outcome for each in kept)
            progress(len(chunk))
    return ImportResult(
        created=counts["created"],
        changed=counts["changed"],
        unchanged=counts["unchanged"],
        bad=every_bad,
        written=write,
    )


async def _try(
    database: Database, tenant: UUID, sheet: Sheet, good: Sequence[GoodRow]
) -> tuple[list[GoodRow], list[BadRow], Counter[str]]:
    """Write and undo; the rows that would be taken, those that would not, and what would become of the first."""
    rows, refused, counts = list(good), list[BadRow](), Counter[str]()
    for chunk in list(_chunks(rows)):
        left = list(chunk)
        while left:
            try:
                keys = sheet.kind.keys(tenant, [row.entity for row in left])
                async with database.transaction(tenant, emits=keys) as tx:
                    kept = await keep_many(tx, sheet.kind, [row.entity for row in left])
                    counts.update(each.outcome for each in kept)
                    _undo()
            except _OnlyTried:
                break
            except (DidTaken, UnknownStaff, Unfit) as error:
                out = {row.line: bad for row in left if (bad := _refusal(sheet, row, error)) is not None}
                refused += out.values()
                left = [row for row in left if row.line not in out]
    lines = {row.line for row in refused}
    return [row for row in rows if row.line not in lines], refused, counts


def _refusal(sheet: Sheet, row: GoodRow, error: DidTaken | UnknownStaff | Unfit) -> BadRow | None:
    if isinstance(error, Unfit):
        problems = error.problems.get(getattr(row.entity, sheet.key))
        return BadRow(line=row.line, problems=problems, cells=row.cells) if problems else None
    if isinstance(error, DidTaken):
        if sheet.kind.name != "did" or getattr(row.entity, "did", None) not in error.dids:
            return None
        problem = Problem(field="did", sentence=str(error))
    else:
        named = [ref for ref in sheet.kind.staff_refs(row.entity) if ref in error.refs]
        if not named:
            return None
        column = "owner" if sheet.kind.name == "customer" else "default_staff"
        sentence = f"names {', '.join(named)}, who is not in the directory; import staff first"
        problem = Problem(field=column, sentence=sentence)
    return BadRow(line=row.line, problems=(problem,), cells=row.cells)


def _chunks(rows: Sequence[GoodRow]) -> Iterator[Sequence[GoodRow]]:
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]
