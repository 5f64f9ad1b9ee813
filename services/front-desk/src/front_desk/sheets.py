"""CSV sheets of the directory: which columns each kind has, and from rows to entities or to what is wrong. Pure."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from front_desk.directory import Customer, Did, Invalid, Problem, Staff
from front_desk.kinds import KINDS, Entity, Kind

__all__ = [
    "SHEETS",
    "BadRow",
    "Column",
    "GoodRow",
    "Sheet",
    "UnreadableSheet",
    "bad_rows_csv",
    "read_sheet",
    "template_csv",
]

PROBLEM_COLUMN = "problem"
"""Written beside rows that were left out; ignored when the mended file comes back."""
_YES = {"yes", "y", "true", "1", "active"}
_NO = {"no", "n", "false", "0", "inactive"}
T = TypeVar("T")
E = TypeVar("E")


class UnreadableSheet(ValueError):
    """The file as a whole is not a sheet of this kind; the sentence says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    name: str
    example: str
    required: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class GoodRow:
    line: int
    entity: Entity
    cells: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """A row that cannot be taken, with what is wrong in each column."""

    line: int
    problems: tuple[Problem, ...]
    cells: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """One kind of file."""

    kind: Kind
    columns: tuple[Column, ...]
    entity: Callable[[Mapping[str, str]], Entity]

    @property
    def key(self) -> str:
        return self.columns[0].name


def _several(cell: str) -> list[str]:
    return [part for part in cell.replace("|", ";").replace("\n", ";").split(";") if part.strip()]


class _Cells:
    """Reads the cells that have a spelling of their own, and collects what is wrong with them."""

    def __init__(self, cells: Mapping[str, str]) -> None:
        self._cells = cells
        self.problems: list[Problem] = []

    def yes(self, name: str, *, otherwise: bool) -> bool:
        cell = self._cells[name].strip().lower()
        if cell and cell not in _YES | _NO:
            self.problems.append(Problem(field=name, sentence="is yes or no"))
        return cell in _YES if cell else otherwise

    def number(self, name: str, otherwise: T) -> int | T:
        cell = self._cells[name].strip()
        if cell and not (cell.isdecimal() and cell.isascii() and len(cell) <= 9):
            self.problems.append(Problem(field=name, sentence="is a whole number, like 2"))
            return otherwise
        return int(cell) if cell else otherwise

    def menu(self, name: str) -> list[dict[str, str]]:
        pairs = [part.partition("=") for part in _several(self._cells[name])]
        if any(not equals for _, equals, _ in pairs):
            self.problems.append(Problem(field=name, sentence="is written like 1=reception; 2=accounts"))
            return []
        return [{"digits": digits.strip(), "group": group.strip()} for digits, _, group in pairs]

    def make(self, of: Callable[..., E], **fields: Any) -> E:
        """The entity, or every problem of its cells at once, each under the name of its column."""
        problems: list[Problem] = []
        try:
            made = of(**fields)
            if not self.problems:
                return made
        except Invalid as invalid:
            problems += invalid.problems
        problems += self.problems
        raise Invalid([replace(each, field=each.field.partition(".")[0]) for each in problems])


def _staff(cells: Mapping[str, str]) -> Staff:
    read = _Cells(cells)
    return read.make(
        Staff.of,
        external_ref=cells["external_ref"],
        name=cells["name"],
        numbers=_several(cells["numbers"]),
        active=read.yes("active", otherwise=True),
        working_hours=cells["working_hours"],
        skills=_several(cells["skills"]),
        capacity=read.number("capacity", 1),
        wrap_up_seconds=read.number("wrap_up_seconds", None),
    )


def _customer(cells: Mapping[str, str]) -> Customer:
    read = _Cells(cells)
    return read.make(
        Customer.of,
        external_ref=cells["external_ref"],
        name=cells["name"],
        numbers=_several(cells["numbers"]),
        emails=_several(cells["emails"]),
        gstin=cells["gstin"],
        owner=cells["owner"],
        vip=read.yes("vip", otherwise=False),
        language=cells["language"],
    )


def _did(cells: Mapping[str, str]) -> Did:
    read = _Cells(cells)
    return read.make(
        Did.of,
        did=cells["did"],
        label=cells["label"],
        default_staff=_several(cells["default_staff"]),
        fallback_number=cells["fallback_number"],
        default_group=cells["default_group"],
        calendar=cells["calendar"],
        skills=_several(cells["skills"]),
        menu=read.menu("menu"),
    )


SHEETS: dict[str, Sheet] = {
    "staff": Sheet(
        kind=KINDS["staff"],
        columns=(
            Column(name="external_ref", example="desk", required=True),
            Column(name="name", example="Desk", required=True),
            Column(name="numbers", example="+91 98470 00011; 0484 200 0011"),
            Column(name="active", example="yes"),
            Column(name="working_hours", example="Mon-Fri 09:30-18:00; Sat 09:30-13:00"),
            Column(name="skills", example="gst; ml"),
            Column(name="capacity", example="1"),
            Column(name="wrap_up_seconds", example="30"),
        ),
        entity=_staff,
    ),
    "customers": Sheet(
        kind=KINDS["customer"],
        columns=(
            Column(name="external_ref", example="k-001", required=True),
            Column(name="name", example="Kottakkal Traders", required=True),
            Column(name="numbers", example="+91 98470 00021"),
            Column(name="emails", example="accounts@kottakkal.example"),
            Column(name="gstin", example="32AAACK1234A1ZJ"),
            Column(name="owner", example="desk"),
            Column(name="vip", example="no"),
            Column(name="language", example="ml"),
        ),
        entity=_customer,
    ),
    "dids": Sheet(
        kind=KINDS["did"],
        columns=(
            Column(name="did", example="+91 484 200 0001", required=True),
            Column(name="label", example="Shop"),
            Column(name="default_staff", example="desk; accounts"),
            Column(name="fallback_number", example="+91 484 200 0099"),
            Column(name="default_group", example="reception"),
            Column(name="calendar", example="office"),
            Column(name="skills", example="ml"),
            Column(name="menu", example="1=reception; 2=accounts"),
        ),
        entity=_did,
    ),
}


def template_csv(sheet: Sheet) -> str:
    """A file to fill in: the header and one example."""
    return _csv([[column.name for column in sheet.columns], [column.example for column in sheet.columns]])


def read_sheet(sheet: Sheet, content: bytes) -> tuple[list[GoodRow], list[BadRow]]:
    """Every row is one or the other. Raises :class:`UnreadableSheet` for what is no such file at all."""
    lines = _lines(content)
    header = _header(sheet, lines[0][1] if lines else [])
    good: list[GoodRow] = []
    bad: list[BadRow] = []
    first_line: dict[str, int] = {}
    for line, values in lines[1:]:
        cells = {column.name: "" for column in sheet.columns}
        cells.update({name: value for name, value in zip(header, values, strict=False) if name in cells})
        if not any(value.strip() for value in cells.values()):
            continue
        if len(values) > len(header) and any(value.strip() for value in values[len(header) :]):
            extra = Problem(field="", sentence="has more cells than the header; quote a cell that holds a comma")
            bad.append(BadRow(line=line, problems=(extra,), cells=cells))
            continue
        row = _row(sheet, line, cells, first_line)
        if isinstance(row, GoodRow):
            good.append(row)
        else:
            bad.append(row)
    return good, bad


def _row(sheet: Sheet, line: int, cells: Mapping[str, str], first_line: dict[str, int]) -> GoodRow | BadRow:
    try:
        entity = sheet.entity(cells)
    except Invalid as invalid:
        return BadRow(line=line, problems=invalid.problems, cells=cells)
    key: str = getattr(entity, sheet.key)
    if key in first_line:
        again = Problem(field=sheet.key, sentence=f"is already on line {first_line[key]}")
        return BadRow(line=line, problems=(again,), cells=cells)
    first_line[key] = line
    return GoodRow(line=line, entity=entity, cells=cells)


def _lines(content: bytes) -> list[tuple[int, list[str]]]:
    """Rows with the number of the line each begins on."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableSheet("the file is not UTF-8; save it as 'CSV UTF-8' and try again") from None
    if "\0" in text:
        raise UnreadableSheet("the file is not text; export the sheet as CSV and try again")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines: list[tuple[int, list[str]]] = []
    begins = 1
    try:
        for values in reader:
            lines.append((begins, values))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise UnreadableSheet(f"line {begins} is not CSV ({error}); check its quotes") from None
    return lines


def _header(sheet: Sheet, given: Sequence[str]) -> list[str]:
    header = [name.strip().lower().replace(" ", "_") for name in given]
    known = [column.name for column in sheet.columns]
    problems = []
    for name in header:
        if name and name not in known and name != PROBLEM_COLUMN:
            near = difflib.get_close_matches(name, known, n=1)
            problems.append(f"there is no column {name}" + (f"; did you mean {near[0]}?" if near else ""))
    problems += [
        f"the column {column.name} is missing"
        for column in sheet.columns
        if column.required and column.name not in header
    ]
    problems += sorted({f"the column {name} stands there twice" for name in header if name and header.count(name) > 1})
    if problems:
        raise UnreadableSheet(f"line 1: {'; '.join(problems)}. The columns are {', '.join(known)}")
    return header


def bad_rows_csv(sheet: Sheet, rows: Iterable[BadRow]) -> str:
    """The rows that were left out, with what is wrong: mend them and import this file."""
    names = [column.name for column in sheet.columns]
    return _csv(
        [
            [*names, PROBLEM_COLUMN],
            *([*(row.cells[name] for name in names), "; ".join(map(_short, row.problems))] for row in rows),
        ]
    )


def _short(problem: Problem) -> str:
    return f"{problem.field} {problem.sentence}".strip()


def _csv(rows: Iterable[Iterable[str]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue()
