"""Where else a call has left its mark: in the log files of a stack, and in exemplars of histograms."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

__all__ = ["Exemplar", "LogLine", "exemplars_in", "exemplars_of", "log_lines"]

EXEMPLAR = re.compile(r'^(?P<series>\S+\{.*?\}|\S+) \S+ # \{trace_id="(?P<trace>[0-9a-f]{32})"\} (?P<value>\S+)')
AROUND = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    file: Path
    number: int
    at: str
    service: str
    level: str
    event: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Exemplar:
    series: str
    trace_id: str
    value: float

    @property
    def measurement(self) -> tuple[str, str, float]:
        """The same wherever it was found: Prometheus adds labels to the series."""
        return self.series.partition("{")[0], self.trace_id, self.value


def log_lines(folder: Path, ids: Iterable[str]) -> list[LogLine]:
    """The lines that name one of these ids, in time."""
    wanted = [each.encode() for each in ids]
    found = []
    for file in sorted(folder.glob("*.log")) if folder.exists() else []:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if any(each in line for each in wanted):
                    found.append(_line(file, number, line))
    return sorted(found, key=lambda line: line.at)


def _line(file: Path, number: int, line: bytes) -> LogLine:
    try:
        values = json.loads(line)
    except ValueError:
        values = {"event": line.decode("utf-8", "replace").strip()[:200]}
    given = {name: str(values.get(key, "")) for name, key in
             (("at", "timestamp"), ("service", "service"), ("level", "level"), ("event", "event"))}  # fmt: skip
    return LogLine(file=file, number=number, **given)


def exemplars_in(text: str, trace_ids: Sequence[str]) -> list[Exemplar]:
    """Those of these traces in what a service serves as its metrics (OpenMetrics)."""
    found = (EXEMPLAR.match(line) for line in text.splitlines() if "trace_id=" in line)
    return [
        Exemplar(series=match["series"], trace_id=match["trace"], value=float(match["value"]))
        for match in found
        if match and match["trace"] in trace_ids
    ]


def exemplars_of(
    trace_ids: Sequence[str], *, prometheus: str | None, services: Iterable[str], around: datetime
) -> list[Exemplar]:
    """From Prometheus, which remembers them, and from the services, which have the newest of each bucket at once."""
    if not trace_ids:
        return []
    found = _remembered(prometheus, trace_ids, around) if prometheus is not None else []
    for url in services:
        try:
            with urllib.request.urlopen(f"{url}/metrics", timeout=3) as answer:  # noqa: S310 - the stack's own
                served = exemplars_in(answer.read().decode(), trace_ids)
        except OSError:
            continue
        known = {each.measurement for each in found}
        found += [each for each in served if each.measurement not in known]
    return found


def _remembered(prometheus: str, trace_ids: Sequence[str], around: datetime) -> list[Exemplar]:
    asked = {
        "query": '{__name__=~"trunkline_.*_seconds_bucket"}',
        "start": str((around - AROUND).timestamp()),
        "end": str((around + AROUND).timestamp()),
    }
    try:
        url = f"{prometheus}/api/v1/query_exemplars?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - the stack's own
            rows: list[Any] = json.load(answer)["data"]
    except (OSError, ValueError, KeyError):
        return []
    return [
        Exemplar(series=_series(row["seriesLabels"]), trace_id=each["labels"]["trace_id"], value=float(each["value"]))
        for row in rows
        for each in row["exemplars"]
        if each["labels"].get("trace_id") in trace_ids
    ]


def _series(labels: dict[str, str]) -> str:
    shown = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()) if name != "__name__")
    return f"{labels['__name__']}{{{shown}}}"
