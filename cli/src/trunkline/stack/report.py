"""What ``status`` shows: each process with its state and the memory that is its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trunkline.stack.control import probe, state, supervisor_pid
from trunkline.stack.layout import Layout
from trunkline.stack.processes import read_table

__all__ = ["memory_mb", "processes"]


def processes(layout: Layout) -> list[dict[str, Any]]:
    """A row a process, in the table's order, the supervisor last."""
    known, rows = state(layout), []
    for process in read_table(layout):
        entry = known.get(process.name)
        if entry is None:
            continue
        shown, why = entry["state"], ""
        if shown == "running" and process.ready_url:
            code, lack = probe(process.ready_url)
            shown, why = ("ready", "") if code == 200 else ("running", lack or "not answering yet")
        elif shown == "running":
            shown = "ready"
        elif entry["last_exit"]:
            why = f"({entry['last_exit']})"
        rows.append({"name": process.name, "state": shown, "why": why, "pid": entry["pid"],
                     "restarts": entry["restarts"], "memory_mb": memory_mb(entry["pid"]),
                     "where": _where(layout, process.name)})  # fmt: skip
    pid = supervisor_pid(layout)
    if pid is not None:
        rows.append({"name": "supervisor", "state": "ready", "why": "", "pid": pid, "restarts": 0,
                     "memory_mb": memory_mb(pid, alone=True), "where": ""})  # fmt: skip
    return rows


def _where(layout: Layout, name: str) -> str:
    if name in ("kafka", "postgres", "redis"):
        return f"127.0.0.1:{layout.ports[name]}"
    return layout.url("mail-page" if name == "smtp-sink" else name)


def memory_mb(pid: int | None, *, alone: bool = False) -> float:
    """Proportional set size of a process and its children: shared pages are counted once among their sharers."""
    if pid is None:
        return 0.0
    total = _pss_kb(pid)
    if not alone:
        total += sum(_pss_kb(child) for child in _children(pid))
    return total / 1024


def _pss_kb(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        return 0
    return 0


def _children(pid: int) -> list[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:
        return []
    return [int(child) for child in found]
