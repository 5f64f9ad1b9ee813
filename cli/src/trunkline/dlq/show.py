"""Dead letters on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table

__all__ = ["difference", "groups", "jobs", "letter", "letters", "silent"]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def silent(services: Mapping[str, str]) -> None:
    for why in services.values():
        err.print(f"[yellow]{escape(why)}[/]")


def _when(text: str) -> str:
    return f"{datetime.fromisoformat(text):%d %b %H:%M}"


def groups(found: Sequence[Mapping[str, Any]]) -> None:
    if not found:
        err.print("No dead letters: everything was handled.")
        return
    table = Table(box=None, padding=(0, 1))
    for column in ("group", "consumer", "reason", "event", "letters", "keys", "behind", "state", "last"):
        table.add_column(column, justify="right" if column in ("letters", "keys", "behind") else "left")
    for each in found:
        state = f"{each['retrying']} retrying" if each["retrying"] else ""
        state = f"{each['dropped']} dropped" if each["dropped"] and not state else state
        table.add_row(each["fingerprint"], each["consumer"], each["reason"], each["event_type"] or each["topic"],
                      str(each["letters"]), str(each["keys"]), str(each["behind"]), state,
                      _when(each["last_failed_at"]))  # fmt: skip
        table.add_row("", "", f"[dim]{escape(each['message'][:90])}[/]", "", "", "", "", "", "")
    out.print(table)
    err.print("Look closer: trunkline dlq list --group …   Once the cause is mended: trunkline dlq retry --group …")


def letters(found: Sequence[Mapping[str, Any]]) -> None:
    if not found:
        err.print("No such dead letters.")
        return
    table = Table(box=None, padding=(0, 1))
    for column in ("letter", "consumer", "key", "state", "reason", "place", "times", "since"):
        table.add_column(column)
    for each in found:
        state = "waits behind" if each["parked_behind"] else each["state"]
        key = (each["lane"] or "").partition(":")[2] or "none"
        place = f"{each['topic']}/{each['partition']}@{each['offset']}"
        table.add_row(each["id"], each["consumer"], escape(key), state + (" edited" if each["is_edited"] else ""),
                      each["reason"], place, str(each["occurrences"]), _when(each["first_failed_at"]))  # fmt: skip
    out.print(table)


def letter(one: Mapping[str, Any], *, reveal: bool) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column()
    rows = [
        ("letter", f"[bold]{one['id']}[/]   {one['state']}"),
        ("consumer", f"{one['consumer']} {one['code_version']}"),
        ("record", f"{one['topic']}/{one['partition']}@{one['offset']}   {one['bytes']} bytes, "
                   f"written {one['recorded_at'] or 'at an unknown time'}"),
        ("event", f"{one['event_type'] or 'unreadable'}   {one['event_id'] or ''}"),
        ("key", escape(one["lane"] or "none: it blocks nobody")),
        ("why", f"[red]{escape(one['reason'])}[/]: {escape(one['message'])}"),
        ("tried", f"{one['attempts']} attempts, {one['retries']} retries, delivered {one['occurrences']} times"),
        ("trace", one["traceparent"].split("-")[1] if one["traceparent"].count("-") == 3 else "none"),
        ("group", one["fingerprint"]),
    ]  # fmt: skip
    for name, value in rows:
        table.add_row(name, value)
    for row in one["history"]:
        table.add_row(_when(row["at"]), escape(f"{row['action']} by {row['who']} {row['why']}"))
    out.print(table)
    out.print(escape("\n".join(f"{name}: {value}" for name, value in one["headers"])), style="dim")
    out.print(Syntax(one["value"], "json", background_color="default"))
    if one["is_edited"]:
        out.print("[yellow]will be tried as:[/]")
        out.print(Syntax(one["edited"], "json", background_color="default"))
    if not reveal:
        err.print("What it says is hidden; --reveal shows it and is audited.")


def difference(text: str) -> None:
    out.print(Syntax(text or "(the same)", "diff", background_color="default"))


def jobs(found: Sequence[Mapping[str, Any]]) -> None:
    if not found:
        err.print("No bulk actions yet.")
        return
    table = Table(box=None, padding=(0, 1))
    for column in ("job", "consumer", "action", "done", "state", "rate", "plan", "who", "why"):
        table.add_column(column)
    for each in found:
        done = f"{each['done']} of {each['letters']}"
        table.add_row(each["id"], each["consumer"], each["action"], done, each["state"], f"{each['rate']:g}/s",
                      each["plan_hash"], escape(each["who"]), escape(each["why"]))  # fmt: skip
    out.print(table)
