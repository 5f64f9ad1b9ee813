"""Replays on a terminal: plans, progress, reports, differences."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from recovery.replay.book import Entry
from recovery.replay.compare import Change, TableDiff
from recovery.replay.letters import letters_of
from recovery.replay.pace import Progress
from recovery.replay.plan import Plan
from recovery.replay.rehearsal import Findings
from recovery.replay.shadow import Letters

__all__ = ["as_json", "diff", "diff_json", "entries", "entry", "entry_json", "findings", "plan", "progress"]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
LINE_SECONDS = 10
LETTERS_SHOWN = 20
SHORT = 6
"""A text of fewer characters is hidden whole."""
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

Watch = Callable[[Progress], None]


def _pairs(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column()
    for name, value in rows:
        table.add_row(name, value)
    return table


def plan(made: Plan) -> None:
    """What would happen, and what stands in the way."""
    rows = [
        ("replay", f"[bold]{made.id}[/]   hash {made.hash()}"),
        ("consumer", f"{made.consumer} {made.code_version} → {made.target}"),
        ("source", escape(_source(made))),
    ]
    rows += [("only", escape(f"{name}: {value}")) for name, value in made.filters.chosen().items()]
    rows.append(("records", _records(made)))
    if made.target != "rewind":
        eta = timedelta(seconds=round(made.eta_seconds))
        rows.append(("takes", f"{eta} at {made.rate:g} records a second, if nothing waits"))
    rows += [("", f"{count:,} x {escape(kind)}") for kind, count in made.by_type.items()]
    if made.unreadable:
        rows.append(("[yellow]unreadable[/]", f"{made.unreadable:,}: they will be parked"))
    rows += [("handler", f"{topic}: {class_}") for topic, class_ in sorted(made.classes.items())]
    rows += [("no effect", escape(line)) for line in made.suppressed]
    rows += [("[yellow]effect[/]", escape(line)) for line in made.effects]
    rows += [("[yellow]hole[/]", escape(line)) for line in made.holes]
    rows += _beginnings(made)
    out.print(_pairs(rows))
    if not made.records:
        err.print("[yellow]Nothing matches: there is nothing to replay, and the plan cannot be applied.[/]")


def _source(made: Plan) -> str:
    source = made.source.replace("_", " ")
    if made.source == "dead_letters":
        return f"{source}: {made.asked_from}"
    return f"{source}: from {made.asked_from} to {made.asked_to}"


def _records(made: Plan) -> str:
    tenants = f"{len(made.tenants)} tenant{'' if len(made.tenants) == 1 else 's'}"
    if made.source == "store":
        return f"{made.records:,} of {tenants}"
    return f"{made.records:,} of {made.keys:,} keys, {tenants}, {made.size / 1e6:.1f} MB"


def _beginnings(made: Plan) -> list[tuple[str, str]]:
    """Which tables of a shadow run start empty and which as live has them, and what follows from it."""
    rows = []
    if made.starts_empty:
        rows.append(("start empty", f"{', '.join(made.starts_empty)}: rebuilt from these events"))
        if not made.reaches_back:
            rows.append(("[yellow]incomplete[/]", "not all keys since the first event: rows that the range says "
                         "nothing of stay as they are"))  # fmt: skip
    if made.starts_as_live:
        rows.append(("start as live", f"{', '.join(made.starts_as_live)}: an event that a handler knows, or knows a "
                     "newer version of, changes nothing in them"))  # fmt: skip
    return rows


def findings(found: Findings) -> None:
    rows = [("handled", f"{found.outcomes.get('handled', 0):,}, all taken back")]
    rows += [("would have", f"{count:,} rows: {what}") for what, count in sorted(found.rows.items()) if count]
    rows += [
        ("[red]cannot be handled[/]", f"{count:,} x {escape(f'{reason}: {found.examples[reason]}')}")
        for reason, count in sorted(found.failures.items())
    ]
    out.print(_pairs(rows))
    err.print("A dry run takes each step back, so later events did not see what earlier ones would have written.")


def entries(found: Sequence[Entry]) -> None:
    if not found:
        err.print("no replays yet; begin with: trunkline replay plan --help")
        return
    table = Table(box=None, padding=(0, 1))
    for column in ("replay", "state", "target", "done", "started", "who", "why"):
        table.add_column(column)
    for each in found:
        started = f"{each.started_at:%d %b %H:%M}"
        table.add_row(each.id, _state(each), each.plan.target, _done(each), started, escape(each.who), escape(each.why))
    out.print(table)


def entry(found: Entry, history: Sequence[dict[str, Any]], letters: Sequence[Letters] = ()) -> None:
    report = found.report or {}
    rows = [
        ("replay", f"[bold]{found.id}[/]   {_state(found)}"),
        ("consumer", f"{found.plan.consumer} → {found.plan.target}"),
        ("done", _done(found)),
        (
            "counts",
            ", ".join(f"{name} {count:,}" for name, count in sorted(found.counts.items()) if count) or "none yet",
        ),
    ]
    if found.state == "running":
        rows += _how_it_fares(found)
    if report and found.finished_at:
        rows.append(("took", f"{report['seconds']} s, {report['per_second']} records a second"))
    if found.failed:
        rows.append(("[red]failed[/]", f"{found.failed:,}" if letters else f"{found.failed:,}: {_where(found)}"))
    rows += [("", line) for line in _letters(letters)]
    for row in history:
        rows.append((f"{row['at']:%d %b %H:%M:%S}", escape(f"{row['action']} by {row['who']} {row['why']}")))
    out.print(_pairs(rows))
    if advice := _next(found):
        err.print(advice)


def _done(found: Entry) -> str:
    if found.plan.target == "rewind":
        return f"moved back over {found.counts.get('moved_back', 0):,} of {found.total:,}"
    return f"{found.seen:,} of {found.total:,}"


def _state(found: Entry) -> str:
    return "[yellow]stopped: no process runs it[/]" if found.stopped else found.state


def _how_it_fares(found: Entry) -> list[tuple[str, str]]:
    silent = max(0, round((datetime.now(UTC) - found.heartbeat_at).total_seconds()))
    rows = [("last sign", f"{timedelta(seconds=silent)} ago")]
    if found.stopped:
        return rows
    if found.waiting_for:
        rows.append(("[yellow]slower[/]", escape(found.waiting_for)))
    left = found.eta_seconds
    eta = "unknown" if left is None else str(timedelta(seconds=round(left)))
    return [*rows, ("pace", f"{found.per_second:.1f} of at most {found.plan.rate:g} records a second, {eta} left")]


def _where(found: Entry) -> str:
    # A shadow's dead letters are in the shadow: the commands for dead letters do not know them.
    if found.plan.target == "shadow":
        return f"trunkline replay status {found.id}"
    return f"trunkline dlq list --consumer {letters_of(found.plan.consumer, found.id)}"


def _next(found: Entry) -> str:
    if found.stopped or found.state in ("paused", "failed"):
        return f"go on with it: trunkline replay resume {found.id}"
    if found.state == "done" and found.failed:
        return f"mend the handler, then have what failed tried again: trunkline replay resume {found.id}"
    if found.state == "done" and found.plan.target == "shadow":
        return f"look at what it changed: trunkline replay diff {found.id}"
    return ""


def _letters(letters: Sequence[Letters]) -> list[str]:
    """What could not be handled, key by key, without what the keys say."""
    lines = [f"{each.letters:,} x {each.kind} of {hidden(each.key.partition(':')[2])}: {each.reason}: {each.message}"
             for each in letters[:LETTERS_SHOWN]]  # fmt: skip
    if len(letters) > LETTERS_SHOWN:
        lines.append(f"and {len(letters) - LETTERS_SHOWN:,} more keys; --json lists all")
    return [escape(line) for line in lines]


def hidden(value: Any) -> str:
    """A part of a key without what it says of anybody: ids and numbers as they are, of text the last two characters."""
    text = str(value)
    if not isinstance(value, str) or not text or _ID.fullmatch(text):
        return text or "none"
    return f"…{text[-2:]}" if len(text) >= SHORT else "…"


def diff(found: Sequence[TableDiff], letters: Sequence[Letters], id_: str, *, reveal: bool) -> None:
    """Counts of every table, then the changed rows: names of columns only, unless revealed."""
    table = Table(box=None, padding=(0, 1))
    unseen = any(each.unseen for each in found)
    for column in ("table", "added", "removed", "changed", "unchanged", "conflicts", *(["not met"] if unseen else [])):
        table.add_column(column, justify="left" if column == "table" else "right")
    for each in found:
        conflicts = f"[red]{each.conflicts:,}[/]" if each.conflicts else "0"
        table.add_row(each.table, f"{each.added:,}", f"{each.removed:,}", f"{each.changed:,}", f"{each.unchanged:,}",
                      conflicts, *([f"{each.unseen:,}"] if unseen else []))  # fmt: skip
    out.print(table)
    if unseen:
        err.print("Rows that were not met are older than the range, or of other keys; they stay as they are.")
    for each in found:
        for change in each.changes:
            key = escape(" ".join(_key(change, reveal=reveal).values()))
            mark = " [red]conflict[/]" if change.conflict else ""
            out.print(f"{each.table} {change.kind} {key}{mark}: {escape(_columns(change, reveal))}")
    for line in _letters(letters):
        out.print(f"[red]not handled[/] {line}")
    failed = " --with-failures" if letters else ""
    if any(each.conflicts for each in found):
        err.print("Conflicts were changed by live traffic as well; nothing can be promoted. Discard and run it again.")
    elif all(each.empty for each in found):
        err.print(f"Nothing differs. trunkline replay discard {id_}")
    else:
        err.print(f"Make it live: trunkline replay promote {id_}{failed} --why …   or: trunkline replay discard {id_}")


def _key(change: Change, *, reveal: bool) -> dict[str, str]:
    parts = {column: value for column, value in change.key.items() if column != "tenant_id"}
    return {column: str(value) if reveal else hidden(value) for column, value in parts.items()}


def _columns(change: Change, reveal: bool) -> str:
    names = sorted({*change.before, *change.after})
    if not reveal:
        return ", ".join(names)
    return ", ".join(f"{name}: {change.before.get(name)!r} → {change.after.get(name)!r}" for name in names)


def as_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, default=str, ensure_ascii=False) + "\n")


def entry_json(found: Entry, history: Sequence[dict[str, Any]] = (), letters: Sequence[Letters] = ()) -> dict[str, Any]:
    return {
        "id": found.id, "state": found.state, "stopped": found.stopped, "wanted": found.wanted,
        "target": found.plan.target, "heartbeat_at": found.heartbeat_at, "waiting_for": found.waiting_for,
        "per_second": found.per_second, "eta_seconds": found.eta_seconds,
        "consumer": found.plan.consumer, "seen": found.seen, "total": found.total, "counts": dict(found.counts),
        "report": found.report, "who": found.who, "why": found.why, "plan_hash": found.plan.hash(),
        "started_at": found.started_at, "finished_at": found.finished_at, "history": list(history),
        "not_handled": _letters_json(letters),
    }  # fmt: skip


def _letters_json(letters: Sequence[Letters]) -> list[dict[str, Any]]:
    return [{**asdict(each), "key": hidden(each.key.partition(":")[2])} for each in letters]


def diff_json(found: Sequence[TableDiff], letters: Sequence[Letters], *, reveal: bool) -> dict[str, Any]:
    tables = []
    for each in found:
        changes = []
        for change in each.changes:
            shown: dict[str, Any] = {"key": _key(change, reveal=reveal), "kind": change.kind,
                                     "conflict": change.conflict}  # fmt: skip
            if reveal:
                shown |= {"before": change.before, "after": change.after}
            else:
                shown["columns"] = sorted({*change.before, *change.after})
            changes.append(shown)
        tables.append({**asdict(each), "changes": changes})
    return {"tables": tables, "not_handled": _letters_json(letters)}


@contextmanager
def progress(total: int) -> Iterator[Watch]:
    """A bar on a terminal; elsewhere a line now and then. On standard error."""
    if not err.is_terminal:
        yield _lines()
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Bar(*columns, console=err) as bar:
        task = bar.add_task("", total=total)

        def watch(seen: Progress) -> None:
            why = f"[yellow]slower: {escape(seen.waiting_for)}[/]" if seen.waiting_for else ""
            bar.update(task, completed=seen.seen, description=why)

        yield watch


def _lines() -> Watch:
    told = time.monotonic()

    def watch(seen: Progress) -> None:
        nonlocal told
        if time.monotonic() - told >= LINE_SECONDS:
            told = time.monotonic()
            err.print(f"{seen.seen:,} of {seen.total:,} {escape(seen.waiting_for)}")

    return watch
