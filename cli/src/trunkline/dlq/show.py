"""Dead letters on a terminal. What came with a record, or from an operator, is text: no markup, no control."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

__all__ = ["difference", "groups", "job_ids", "jobs", "letter", "letters", "missing", "number", "say"]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
# All but new line and tab: a record could otherwise move the cursor, or set the terminal's title.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: object, style: str = "") -> Text:
    return Text(clean(str(text)), style)


def clean(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


def say(sentence: str, style: str = "") -> None:
    """A sentence to the operator, on standard error; commands in it stay on one line to be copied."""
    err.print(plain(sentence, style), soft_wrap=True)


def missing(services: Mapping[str, str]) -> None:
    for why in services.values():
        say(why, "yellow")


def _when(text: str) -> str:
    return f"{datetime.fromisoformat(text):%d %b %H:%M}"


def number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def groups(found: Sequence[Mapping[str, Any]], *, all_answered: bool) -> None:
    """One group is one cause: a line of what it is, one of how many, one of what was said."""
    if not found:
        say("No dead letters: everything was handled." if all_answered else "Those that answer have no dead letters.")
        return
    for each in found:
        line = plain(each["fingerprint"], "bold")
        line.append_text(plain(f"  {each['reason']}", "red")).append_text(
            plain(f"  {each['event_type'] or each['topic']}  of {each['consumer']}")
        )
        out.print(line, soft_wrap=True)
        parts = [
            f"{number(each['letters'], 'letter', 'letters')} of {number(each['keys'], 'key', 'keys')}",
            f"{each['behind']} behind", f"delivered {number(each['occurrences'], 'time', 'times')}",
            *([f"{each['retrying']} retrying"] if each["retrying"] else []),
            *([f"{each['dropped']} dropped"] if each["dropped"] else []),
            *([f"code {', '.join(filter(None, each['code_versions']))}"] if any(each["code_versions"]) else []),
            f"since {_when(each['first_failed_at'])}, last {_when(each['last_failed_at'])}",
        ]  # fmt: skip
        out.print(plain("    " + ", ".join(parts)), soft_wrap=True)
        out.print(plain(f"    {each['message'][:300]}", "dim"), soft_wrap=True)
    name = found[0]["fingerprint"]
    say(f"Look closer: trunkline dlq list --group {name}")
    say(f"Once the cause is mended: trunkline dlq retry --group {name} --why …")


def letters(found: Sequence[Mapping[str, Any]], *, all_answered: bool, limit: int) -> None:
    if not found:
        say("No such dead letters." if all_answered else "Those that answer have no such dead letters.")
        return
    for each in found:
        state = "waits behind" if each["parked_behind"] and each["state"] == "waiting" else each["state"]
        line = plain(each["id"], "bold")
        line.append_text(plain(f"  {state}{', edited' if each['is_edited'] else ''}"))
        line.append_text(plain(f"  {each['reason']}  {each['consumer']}"))
        out.print(line, soft_wrap=True)
        place = f"{each['topic']}/{each['partition']}@{each['offset']}"
        times = f"delivered {number(each['occurrences'], 'time', 'times')}, {each['retries']} retried"
        key = (each["lane"] or "").partition(":")[2] or each["lane"] or "none"
        out.print(
            plain(f"    key {key}  {place}  {times}, since {_when(each['first_failed_at'])}", "dim"), soft_wrap=True
        )
    if len(found) >= limit:
        say(f"There may be more than {limit}: --limit shows more.")
    say("One of them whole: trunkline dlq show LETTER   Its key in order: trunkline dlq retry --key-of LETTER")


def letter(one: Mapping[str, Any], *, reveal: bool) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    trace = one["traceparent"].split("-")
    rows = [
        ("letter", f"{one['id']}   {one['state']}{', waits behind another' if one['parked_behind'] else ''}"),
        ("consumer", one["consumer"]),
        ("code", one["code_version"] or "unknown"),
        ("record", f"{one['topic']}/{one['partition']}@{one['offset']}   {one['bytes']} bytes, "
                   f"written {one['recorded_at'] or 'at an unknown time'}"),
        ("event", f"{one['event_type'] or 'unreadable'}   {one['event_id'] or ''}"),
        ("tenant", one["tenant_id"]),
        ("key", one["lane"] or "none: it blocks nobody"),
        ("why", f"{one['reason']}: {one['message']}"),
        ("tried", f"{one['attempts']} attempts, {one['retries']} retries, delivered {one['occurrences']} times"),
        ("failed", f"first {_when(one['first_failed_at'])}, last {_when(one['last_failed_at'])}"),
        ("stack", one["stack_hash"] or "none"),
        ("trace", trace[1] if len(trace) == 4 else "none"),
        ("group", one["fingerprint"]),
    ]  # fmt: skip
    for name, value in rows:
        table.add_row(name, plain(value, "red" if name == "why" else ""))
    for row in one["history"]:
        why = f": {row['why']}" if row["why"] else ""
        table.add_row(_when(row["at"]), plain(f"{row['action']} by {row['who']}{why}"))
    out.print(table)
    out.print(plain("\n".join(f"{name}: {value}" for name, value in one["headers"]), "dim"), soft_wrap=True)
    out.print(_json(one["value"] or "(no value: it deletes its key)"))
    if one["is_edited"]:
        out.print(plain("will be tried as:", "yellow"))
        out.print(_json(one["edited"]))
    if not reveal:
        say("What it says, and whom it names, is hidden; --reveal shows it and is audited.")


def _json(text: str) -> Syntax:
    return Syntax(clean(text), "json", background_color="default", word_wrap=True)


def difference(text: str) -> None:
    out.print(Syntax(clean(text) or "(the same)", "diff", background_color="default", word_wrap=True))


def jobs(found: Sequence[Mapping[str, Any]], *, all_answered: bool) -> None:
    """Every bulk action with what came of it and who did what to it."""
    if not found:
        say("No bulk actions yet." if all_answered else "Those that answer have no bulk actions.")
        return
    for each in found:
        line = plain(each["id"], "bold")
        line.append_text(plain(f"  {each['action']} of {each['consumer']}, {each['rate']:g} a second: {each['state']}"))
        out.print(line, soft_wrap=True)
        came = f"{each['done']} of {number(each['letters'], 'letter', 'letters')}"
        if each["action"] == "retry":
            came += f" asked for: {each['retried']} took effect, {each['failed']} failed again"
        else:
            came += f" looked at: {each['done'] - each['skipped']} dropped"
        came += f", {each['skipped']} no longer waited" if each["skipped"] else ""
        out.print(plain(f"    {came}   plan {each['plan_hash']}"), soft_wrap=True)
        for row in each.get("history", ()):
            why = f": {row['why']}" if row["why"] else ""
            told = f"    {_when(row['at'])}  {row['action']} by {row['who']}{why}"
            out.print(plain(told, "dim"), soft_wrap=True)


def job_ids(job: Mapping[str, Any], service: str) -> None:
    """What to type next, after a plan."""
    seconds = max(1, round(job["letters"] / job["rate"]))
    say(f"Nothing has changed yet. It will take about {number(seconds, 'second', 'seconds')}. Within a day:")
    say(f"  trunkline dlq apply {job['id']} --service {service} --hash {job['plan_hash']}")
