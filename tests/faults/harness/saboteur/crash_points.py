"""Places in the code where a process can be told to die, and the wrapping that makes it so.

A point is armed by a file, ``<folder>/armed/<process>.<point>``, that holds how many passes are let go by. Reaching
it, the process notes that in ``<folder>/fired`` and kills itself with SIGKILL: no handler, no ``finally``, no flush.
With a number below zero it does not die but fails, every time: a bad deploy.

A file ``<folder>/clock.<process>`` moves the clock of the process that starts next, by libfaketime.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import importlib.machinery
import inspect
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

__all__ = ["FAKETIME", "POINTS", "Point", "install", "process_name", "step_clock", "wrap"]

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")

CONSUMERS = ("front_desk", "telephony_router", "brain_distiller", "anomaly_engine", "notifier")
WITH_RELAY = (*CONSUMERS, "vault_importer")


@dataclass(frozen=True, slots=True)
class Point:
    """Before or after a function, or after a transaction of ours was committed."""

    name: str
    module: str
    attribute: str
    when: Literal["before", "after"]
    processes: tuple[str, ...]
    """The packages, as they are run with ``python -m``, that come by here under load."""


POINTS = {
    point.name: point
    for point in (
        Point("after_outcome_before_offset", "kit.broker", "BatchSource._commit", "before", CONSUMERS),
        Point("after_offset", "kit.broker", "BatchSource._commit", "after", CONSUMERS),
        Point("after_claim_before_handler", "kit.delivery", "claim_many", "after", CONSUMERS),
        Point("after_a_commit_inside_a_batch", "kit.postgres", "Database.transaction", "after", CONSUMERS),
        Point("after_reading_before_produce", "runtime.relay", "Relay._publish", "before", WITH_RELAY),
        Point("after_produce_before_position", "runtime.relay", "Relay._publish", "after", WITH_RELAY),
        Point("after_parking_before_offset", "kit.dead_letters", "DeadLetters.park", "after",
              ("front_desk", "brain_distiller")),
        Point("after_intake_before_answer", "telephony_router.record", "PostgresIntakes.take_in", "after",
              ("telephony_router",)),
        Point("after_journal_sync_before_answer", "telephony_router.journal", "Journal._write", "after",
              ("telephony_router",)),
        Point("after_journal_record_is_stored", "telephony_router.record", "drain", "after", ("telephony_router",)),
        Point("after_meaning_before_next", "telephony_router.process_intake", "_process", "after",
              ("telephony_router",)),
        Point("after_lease_before_smtp", "notifier.store", "lease_send", "after", ("notifier",)),
        Point("after_note_before_data", "notifier.channels.email", "EmailChannel._deliver", "before", ("notifier",)),
        Point("after_data_before_outcome", "notifier.channels.email", "EmailChannel._deliver", "after", ("notifier",)),
        Point("after_outcome_of_mail", "notifier.deliver", "Deliverer._settle_once", "after", ("notifier",)),
        Point("after_audit_before_commit", "vault_importer.audit_store", "append_audit", "after", ("trunkline",)),
        Point("inside_an_import", "kit.postgres", "Database.transaction", "after", ("trunkline",)),
        Point("inside_a_migration", "kit.migrations", "_apply", "after", ("migrating",)),
        Point("inside_a_migration_file", "asyncpg.connection", "Connection.execute", "after", ("migrating",)),
    )
}  # fmt: skip
"""By name. The process ``trunkline`` is the command line, which imports backups."""


def process_name() -> str:
    """What this process is: the module that Python runs, or what FAULTS_PROCESS says."""
    given = os.environ.get("FAULTS_PROCESS")
    if given:
        return given
    arguments = sys.orig_argv
    return arguments[arguments.index("-m") + 1] if "-m" in arguments else Path(arguments[-1]).name


class _Crasher:
    """Dies at a point when its file is there."""

    def __init__(self, folder: Path, process: str) -> None:
        self._folder = folder
        self._process = process
        self._passed: dict[str, int] = {}

    def reach(self, point: str) -> None:
        path = self._folder / "armed" / f"{self._process}.{point}"
        try:
            passes = int(path.read_text() or 0)
        except (FileNotFoundError, ValueError):
            return
        if passes < 0:
            raise RuntimeError("told to fail")
        if self._passed.get(point, 0) < passes:
            self._passed[point] = self._passed.get(point, 0) + 1
            return
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        line = json.dumps({"at": time.time(), "process": self._process, "point": point, "pid": os.getpid()})
        with (self._folder / "fired").open("a") as fired:
            fired.write(line + "\n")
            fired.flush()
            os.fsync(fired.fileno())
        os.kill(os.getpid(), signal.SIGKILL)


def wrap(function: Callable[..., Any], when: str, reach: Callable[[], None]) -> Callable[..., Any]:
    """The function with ``reach`` called before or after it. Knows coroutines and async context managers."""
    inner = getattr(function, "__wrapped__", function)
    if inspect.isasyncgenfunction(inner):
        return _wrap_context(function, when, reach)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            if when == "before":
                reach()
            result = await function(*args, **kwargs)
            if when == "after":
                reach()
            return result

        return awaited

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            reach()
        result = function(*args, **kwargs)
        if when == "after":
            reach()
        return result

    return called


def _wrap_context(function: Callable[..., Any], when: str, reach: Callable[[], None]) -> Callable[..., Any]:
    @contextlib.asynccontextmanager
    async def entered(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            reach()
        async with function(*args, **kwargs) as value:
            yield value
        if when == "after":
            reach()

    return functools.wraps(function)(entered)


class _PatchingFinder(importlib.abc.MetaPathFinder):
    """Hands modules of interest to ``patch`` right after they were executed, before anybody has imported from them."""

    def __init__(self, modules: frozenset[str], patch: Callable[[ModuleType], None]) -> None:
        self._modules = modules
        self._patch = patch

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._modules:
            return None
        for finder in sys.meta_path:
            spec = finder.find_spec(fullname, path, target) if finder is not self else None
            if spec is not None and spec.loader is not None:
                self._hook(spec.loader)
                return spec
        return None

    def _hook(self, loader: Any) -> None:
        execute = loader.exec_module

        def then_patch(module: ModuleType) -> None:
            execute(module)
            self._patch(module)

        loader.exec_module = then_patch


def install(folder: Path, bugs: Mapping[str, Callable[[ModuleType], None]]) -> None:
    """Wrap every point of this process as its modules are imported, and put bugs into those that have one."""
    process = process_name()
    crasher = _Crasher(folder, process)
    # What follows a hyphen tells one migration from another.
    mine = [point for point in POINTS.values() if process.partition("-")[0] in point.processes]

    def patch(module: ModuleType) -> None:
        for point in mine:
            if point.module == module.__name__:
                *owners, name = point.attribute.split(".")
                owner: Any = functools.reduce(getattr, owners, module)
                reach = functools.partial(crasher.reach, point.name)
                setattr(owner, name, wrap(getattr(owner, name), point.when, reach))
        if module.__name__ in bugs:
            bugs[module.__name__](module)

    if mine or bugs:
        sys.meta_path.insert(0, _PatchingFinder(frozenset({point.module for point in mine} | bugs.keys()), patch))


def step_clock(folder: Path) -> None:
    """Begin again with another clock, when this process is told to. Monotonic time stays: machines do not jump."""
    path = folder / f"clock.{process_name()}"
    if "LD_PRELOAD" in os.environ or not path.exists():
        return
    moved = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": path.read_text(), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    os.execve(sys.executable, sys.orig_argv, {**os.environ, **moved})
