"""Starting and stopping a stack from outside its supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kit.migrations import MigrationError, migrate, provision
from kit.postgres import role_dsn, schema_of
from trunkline.stack import checks, kafka, observers, postgres, redis
from trunkline.stack.layout import DEFAULT_PORT_BASE, SERVICES, Layout, Service
from trunkline.stack.probes import probe
from trunkline.stack.problems import Problem
from trunkline.stack.processes import Process, digest_of_table, read_table, servers, services, watchers, write_table
from trunkline.stack.supervisor import MARK, lock_path, state_path

__all__ = ["clean", "down", "migrate_all", "probe", "start_one", "state", "stop_one", "supervisor_pid", "up"]

START_SECONDS = 60.0
Tell = Callable[[str], None]


def supervisor_pid(layout: Layout) -> int | None:
    """The living supervisor's process id. Its lock is the truth; a file left behind is not."""
    path = lock_path(layout)
    if not path.exists():
        return None
    with path.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(lock.read() or 0) or None
    return None


def state(layout: Layout) -> dict[str, Any]:
    """What the supervisor knows of each process; empty when it is not running."""
    found: dict[str, Any] = _written_by_the_supervisor(layout).get("processes", {})
    return found


def up(
    layout: Layout, *, with_services: bool, tell: Tell, observe: bool | None = None, otlp_endpoint: str | None = None
) -> None:
    """Bring the stack up, or what is missing of it. Safe to repeat, also after a start that was interrupted.

    Whether it is observed, and where its traces go, stays as it was unless it is given.
    """
    checks.directory(layout)
    layout.run_dir.mkdir(parents=True, exist_ok=True)
    with _alone(layout, tell):
        if observe:
            observers.require()
        layout.choose(observe=observe, otlp_endpoint=otlp_endpoint)
        _up(layout, with_services=with_services, tell=tell)


@contextlib.contextmanager
def _alone(layout: Layout, tell: Tell) -> Iterator[None]:
    """Two starts at a time would make two clusters in one place: the second waits, and finds everything done."""
    with (layout.run_dir / "up.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("waiting for another start of this stack")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _up(layout: Layout, *, with_services: bool, tell: Tell) -> None:
    if supervisor_pid(layout) is None:
        _end_orphans(layout)
        checks.before_start(layout)
    layout.secrets()
    kafka.prepare(layout, tell)
    postgres.prepare(layout, tell)
    redis.prepare(layout)
    _run(layout, [*servers(layout), *_still_running(layout)])
    _wait(layout, {"postgres": postgres.is_up, "redis": redis.is_up, "kafka": kafka.is_up})
    _wait_http(layout, [process for process in servers(layout) if process.ready_url])
    for line in kafka.ensure_topics(layout.kafka_bootstrap):
        tell(f"kafka: {line}")
    if with_services:
        for line in migrate_all(layout):
            tell(line)
        _begin(layout, services(layout))
    if layout.choices.observe:
        _observe(layout)


def _begin(layout: Layout, processes: Sequence[Process]) -> None:
    """Start these beside what runs, and wait until they are ready."""
    names = {process.name for process in processes}
    others = [process for process in _still_running(layout) if process.name not in names]
    _run(layout, [*servers(layout), *others, *processes])
    _wait_http(layout, processes)


def _observe(layout: Layout) -> None:
    observers.require()
    observers.prepare(layout)
    running = state(layout).get("prometheus", {}).get("pid")
    if running:
        # It reads its configuration and rules anew.
        _signal(running, signal.SIGHUP)
    _begin(layout, watchers(layout))


def _still_running(layout: Layout) -> list[Process]:
    """Services and watchers that already run keep running while the servers are looked after."""
    if supervisor_pid(layout) is None:
        return []
    known = {process.name for process in read_table(layout)}
    return [process for process in (*services(layout), *watchers(layout)) if process.name in known]


def _run(layout: Layout, processes: Sequence[Process]) -> None:
    """Returns when the supervisor runs these: until then, whoever answers may be one that is about to be stopped."""
    write_table(layout, processes)
    pid = supervisor_pid(layout)
    if pid is not None:
        os.kill(pid, signal.SIGHUP)
    else:
        layout.logs.mkdir(parents=True, exist_ok=True)
        with (layout.logs / "supervisor.log").open("ab") as log:
            # It forks, so that nobody has to wait for it; its parent, which this waits for, ends at once.
            subprocess.run(
                [sys.executable, "-m", "trunkline.stack.supervisor", str(layout.run_dir), str(layout.port_base)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, check=True,
            )  # fmt: skip
    _wait_until(lambda: _taken_over(layout), "the supervisor did not take its table over", "supervisor")


def _taken_over(layout: Layout) -> bool:
    found = _written_by_the_supervisor(layout)
    # One of an older release does not say which table it has.
    return bool(found) and found.get("table") in (digest_of_table(layout), None)


def _written_by_the_supervisor(layout: Layout) -> dict[str, Any]:
    """Its state file; empty when it is not running, or has not written what a killed one left there anew."""
    pid = supervisor_pid(layout)
    try:
        found: dict[str, Any] = json.loads(state_path(layout).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found if pid is not None and found["pid"] == pid else {}


def stop_one(layout: Layout, name: str) -> None:
    """Stop one process and keep it stopped, until ``start_one`` or ``up``."""
    table = read_table(layout)
    if name not in {process.name for process in table} or supervisor_pid(layout) is None:
        names = ", ".join(process.name for process in table) if supervisor_pid(layout) else "nothing"
        raise Problem(f"{name} is not running; running are: {names}", "trunkline status")
    _run(layout, [process for process in table if process.name != name])
    _wait_until(lambda: name not in state(layout), f"{name} did not stop", name)


def start_one(layout: Layout, name: str) -> None:
    """Start one process of the stack that was stopped."""
    known = {process.name: process for process in (*servers(layout), *services(layout), *watchers(layout))}
    if name not in known or supervisor_pid(layout) is None:
        raise Problem(f"{name} cannot be started by itself; there are: {', '.join(known)}", "trunkline up")
    table = read_table(layout)
    if name not in {process.name for process in table}:
        _run(layout, [process for process in known.values() if process.name == name or process in table])
    _wait_until(lambda: state(layout).get(name, {}).get("state") == "running", f"{name} did not start", name)


def _wait_until(condition: Callable[[], bool], otherwise: str, name: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Problem(otherwise, f"trunkline logs {name}")
        time.sleep(0.05)


def _wait(layout: Layout, conditions: dict[str, Callable[[Layout], bool]]) -> None:
    deadline = time.monotonic() + START_SECONDS
    for name, is_up in conditions.items():
        while not is_up(layout):
            if time.monotonic() > deadline:
                raise Problem(
                    f"{name} did not come up; its log says:\n{_last_lines(layout, name)}", f"trunkline logs {name}"
                )
            time.sleep(0.1)


def _wait_http(layout: Layout, processes: Sequence[Process]) -> None:
    deadline = time.monotonic() + START_SECONDS
    for process in processes:
        while (verdict := probe(process.ready_url or ""))[0] != 200:
            # One that keeps dying will not come up by waiting.
            given_up = state(layout).get(process.name, {}).get("restarts", 0) > 3 and verdict[0] == 0
            if given_up or time.monotonic() > deadline:
                why = verdict[1] or _last_lines(layout, process.name)
                raise Problem(f"{process.name} is not ready: {why}", f"trunkline logs {process.name}")
            time.sleep(0.1)


def _last_lines(layout: Layout, name: str, count: int = 5) -> str:
    path = layout.logs / f"{name}.log"
    if not path.exists():
        return "(no log yet)"
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])


def migrate_all(layout: Layout) -> list[str]:
    """Provision and migrate every service's schema; return what was applied, a line each."""
    return asyncio.run(_migrate_all(layout))


async def _migrate_all(layout: Layout) -> list[str]:
    await postgres.ensure_database(layout)
    admin = layout.admin_dsn("trunkline")

    async def one(service: Service) -> list[str]:
        passwords = layout.passwords(service)
        await provision(admin, service=service.name, passwords=passwords)
        owner = role_dsn(layout.postgres_dsn, f"{schema_of(service.name)}_owner", passwords["owner"])
        try:
            applied = await migrate(owner, service=service.name, package=service.package)
        except MigrationError as error:
            raise Problem(
                str(error), "git diff -- '*/migrations/*'   # or, to forget a demo's data: make clean"
            ) from error
        return [f"{service.name}: applied {name}" for name in applied]

    lines: list[str] = []
    for service in SERVICES:
        lines += await one(service)
    return lines


def down(layout: Layout) -> bool:
    """Stop everything; false when nothing was running."""
    pid = supervisor_pid(layout)
    if pid is None:
        _end_orphans(layout)
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 60
    while supervisor_pid(layout) is not None:
        if time.monotonic() > deadline:
            raise Problem("the supervisor did not stop within a minute", f"kill -9 {pid} && trunkline down")
        time.sleep(0.05)
    return True


def _end_orphans(layout: Layout) -> None:
    """End what a killed supervisor left behind, before anything is started anew.

    The kernel ends its children with it; one that takes its time, as a database may, is waited for. A process is ours
    only when it runs the very command of our table and carries our directory in its environment.
    """
    commands = {process.argv: process.stop_signal for process in read_table(layout)}
    deadline, asked = time.monotonic() + 20, set()
    while orphans := {pid: argv for pid, argv in _processes(layout) if argv in commands}:
        for pid, argv in orphans.items():
            if pid not in asked or time.monotonic() > deadline:
                asked.add(pid)
                late = time.monotonic() > deadline
                _signal(pid, signal.SIGKILL if late else commands[argv])
        time.sleep(0.1)
    (layout.run_dir / "postgres" / "data" / "postmaster.pid").unlink(missing_ok=True)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _processes(layout: Layout) -> list[tuple[int, tuple[str, ...]]]:
    mark = f"{MARK}={layout.run_dir}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                raw = (entry / "cmdline").read_bytes()
                status = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
                ours = mark in (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if raw and status != "Z" and ours:
                found.append((int(entry.name), tuple(raw.decode("utf-8", "replace").rstrip("\0").split("\0"))))
    return found


def _holds_a_running_stack(entry: Path) -> bool:
    """Other stacks may live inside this one's directory, alone or several in a folder: while they run, it is theirs."""
    places = [entry, *entry.iterdir()] if entry.is_dir() else []
    return any(supervisor_pid(Layout(place, DEFAULT_PORT_BASE)) is not None for place in places)


def clean(layout: Layout) -> None:
    """Stop, and forget all data of the stack. Kafka's jars stay: they hold no data."""
    down(layout)
    for entry in layout.run_dir.iterdir() if layout.run_dir.exists() else []:
        if entry.name in ("kafka", "bench") or _holds_a_running_stack(entry):
            continue
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for name in ("data", "server.properties", "log4j2.properties"):
        path = layout.run_dir / "kafka" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
