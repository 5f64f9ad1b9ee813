"""What an operator types, understood: times, offsets, event ids, and whose replay an id names."""

from __future__ import annotations

import getpass
import importlib.metadata
import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from recovery.replay.plan import Plan, Refused, Replayable
from recovery.replay.topics import Bound

__all__ = ["bound", "of_id", "operator", "read_plan", "replayable", "services"]

ENTRY_POINTS = "trunkline.replays"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def services() -> dict[str, importlib.metadata.EntryPoint]:
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def replayable(service: str) -> Replayable:
    """What a service lets be replayed, with its settings from the environment."""
    known = services()
    if service not in known:
        raise Refused(f"there is no service {service}; there are: {', '.join(sorted(known))}")
    made: Replayable = known[service].load()()
    return made


def of_id(id_: str) -> Replayable:
    """The service that a replay's id names."""
    service, _, rest = id_.rpartition(".")
    if not service or not rest:
        raise Refused(f"{id_} is not a replay's id; `trunkline replay status` lists them")
    return replayable(service)


def read_plan(path: Path) -> Plan:
    try:
        return Plan.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from None


def bound(text: str | None, *, now: datetime | None = None) -> Bound | None:
    """``2026-11-20T09:00+05:30``; ``3h ago``; ``now``; ``topic/4@1200,topic/5@80``; an event's id; or nothing."""
    if text is None:
        return None
    at = now or datetime.now(UTC)
    if text == "now":
        return at
    if ago := re.fullmatch(r"(\d+)\s*([smhd])( ago)?", text):
        return at - timedelta(seconds=int(ago[1]) * UNITS[ago[2]])
    if "@" in text:
        return _offsets(text)
    try:
        return str(UUID(text))
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(
            f"{text!r} is neither a time (2026-11-20T09:00+05:30, or 3h for three hours ago), nor offsets "
            "(call.state/4@1200), nor an event's id"
        ) from None
    if time.tzinfo is None:
        raise Refused(f"{text} needs a zone: write {text}Z for UTC, or {text}+05:30 for India")
    return time


def _offsets(text: str) -> Bound:
    found: dict[tuple[str, int], int] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([\w.-]+)/(\d+)@(\d+)\s*", part)
        if match is None:
            raise Refused(f"{part!r} is not topic/partition@offset, for instance call.state/4@1200")
        found[match[1], int(match[2])] = int(match[3])
    return found


def operator() -> str:
    """Who asks, for the audit: the account and the machine."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
