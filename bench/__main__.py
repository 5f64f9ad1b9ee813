"""``make bench [NAME=midring]``: prints a table and writes ``.run/bench/latest.json``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import (
    consume,
    degraded,
    event_age,
    guarantees,
    import_tenfold,
    importing,
    midring,
    midring_fleet,
    midring_import,
    outbox_history,
    relay,
    searching,
)  # fmt: skip
from bench.results import Addresses, Result, cores

LOAD = os.getloadavg()[0]
OUTPUT = Path(".run/bench/latest.json")
BENCHES: dict[str, Callable[[Addresses], Sequence[Result]]] = {
    "midring": midring.run,
    "midring_fleet": midring_fleet.run,
    "degraded": degraded.run,
    "import": importing.run,
    "import_tenfold": import_tenfold.run,
    "midring_import": midring_import.run,
    "search": searching.run,
    "event_age": event_age.run,
    "relay": relay.run,
    "outbox_history": outbox_history.run,
    "consume_single": consume.run_single,
    "consume_batch": consume.run_batch,
    "guarantees": guarantees.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("name", nargs="?", choices=[*BENCHES, "all"], default="all")
    wanted = parser.parse_args().name
    addresses = _addresses()
    results: list[Result] = []
    try:
        for name, run in BENCHES.items():
            if wanted in (name, "all"):
                print(f"measuring {name} …", file=sys.stderr)
                results.extend(run(addresses))
    finally:
        relay.forget_topics(addresses.kafka_bootstrap)
    _print(results)
    _write(results)
    return 0


def _addresses() -> Addresses:
    given = [os.environ.get(f"TRUNKLINE_TEST_{name}") for name in ("POSTGRES_DSN", "KAFKA_BOOTSTRAP", "REDIS_URL")]
    if not all(given):
        raise SystemExit("The servers' addresses are not set; run this by: make bench")
    return Addresses(*(str(value) for value in given))


def _print(results: Sequence[Result]) -> None:
    table = Table(title=f"{_machine()}")
    for column in (
        "name",
        "value",
        "target",
        "limit (same run)",
        "ratio",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "RSS MB",
        "note",
    ):
        table.add_column(column, justify="left" if column in ("name", "note") else "right")
    for r in results:
        limit = f"{_figure(r.limit)} {r.limit_name}" if r.limit is not None else ""
        cells = ["" if f is None else f"{f:.2f}" for f in (r.ratio, r.p50_ms, r.p95_ms, r.p99_ms)]
        memory = "" if r.rss_mb is None else f"{r.rss_mb:.0f}"
        target = "" if r.target is None else f"{r.target}: {'met' if r.met else 'MISSED'}"
        table.add_row(r.name, f"{_figure(r.value)} {r.unit}", target, limit, *cells, memory, r.note)
    Console(width=180 if not sys.stdout.isatty() else None).print(table)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _machine() -> str:
    kind = f"{cores()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{kind}; at the start {LOAD:.1f} processes wanted to run"


def _write(results: Sequence[Result]) -> None:
    """Replace the rows measured now, keep the others."""
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.exists() else []
    new = [result.row() for result in results]
    names = {row["name"] for row in new}
    OUTPUT.write_text(json.dumps([r for r in before if r["name"] not in names] + new, indent=2), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
