"""What was asked of the system, what it acknowledged, and what the outside world saw: kept outside the system.

One line of JSON per entry, on the disk before the harness goes on. An operation is entered twice or more: ``invoke``
before it leaves, then ``ok`` (acknowledged), ``fail`` (certainly refused) or ``info`` (nobody knows: the connection
broke). An operation that is tried again is entered again under the same key; one ``ok`` makes it acknowledged.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["Ledger", "Operation", "State", "read_ledger"]

State = Literal["invoke", "ok", "fail", "info"]
RANK: dict[str, int] = {"invoke": 0, "info": 1, "fail": 2, "ok": 3}


@dataclass(slots=True)
class Operation:
    """One input and the best that is known of it."""

    kind: str
    key: str
    state: State = "invoke"
    attempts: int = 0
    value: dict[str, Any] = field(default_factory=dict)
    first_at: float = 0.0
    settled_at: float = 0.0

    @property
    def acknowledged(self) -> bool:
        return self.state == "ok"


class Ledger:
    """Append-only. Thread-safe; entries of one moment share one fsync."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self._synced = threading.Event()
        self._dirty = threading.Event()
        self._closing = False
        self.operations: dict[tuple[str, str], Operation] = {}
        self.counts: Counter[str] = Counter()
        self._syncer = threading.Thread(target=self._sync, name="ledger", daemon=True)
        self._syncer.start()

    def enter(self, kind: str, key: str, state: State, **value: Any) -> None:
        """Note a step of an operation. An acknowledgement is on the disk within a few milliseconds."""
        at = time.time()
        with self._lock:
            self._write({"at": at, "kind": kind, "key": key, "state": state, **value})
            operation = self.operations.setdefault((kind, key), Operation(kind, key, first_at=at))
            apply(operation, state, at, value)
            self.counts[f"{kind} {state}"] += 1

    def note(self, kind: str, **value: Any) -> None:
        """Note something that happened in the outside world, or a fault."""
        with self._lock:
            self._write({"at": time.time(), "kind": kind, **value})
            self.counts[kind] += 1

    def of(self, kind: str) -> list[Operation]:
        with self._lock:
            return [operation for (known, _), operation in self.operations.items() if known == kind]

    def close(self) -> None:
        self._closing = True
        self._dirty.set()
        self._syncer.join(10)
        self._file.close()

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry, separators=(",", ":"), default=str) + "\n")
        self._dirty.set()

    def _sync(self) -> None:
        while not self._closing:
            self._dirty.wait()
            self._dirty.clear()
            with self._lock:
                self._file.flush()
            os.fsync(self._file.fileno())


def apply(operation: Operation, state: State, at: float, value: dict[str, Any]) -> None:
    """Bring an operation up to date: what is known for certain is never unlearned."""
    operation.attempts += state == "invoke"
    operation.value.update(value)
    if RANK[state] > RANK[operation.state]:
        operation.state, operation.settled_at = state, at


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """The entries of a ledger file; a torn last line is what a killed harness leaves."""
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
    return entries
