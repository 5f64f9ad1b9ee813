"""Keeps the processes of a table running: one that dies is started again after a back-off, its log kept.

Runs as a process of its own (``python -m trunkline.stack.supervisor``) that holds a lock for as long as it lives, so
whether it lives is never a guess. SIGHUP makes it read the table again; SIGTERM stops everything. Its children ask the
kernel to end them when it dies, however it dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from trunkline.stack.children import ending_with_parent
from trunkline.stack.layout import Layout
from trunkline.stack.probes import probe
from trunkline.stack.processes import Process, digest_of_table, read_table

__all__ = ["MARK", "Backoff", "lock_path", "main", "state_path"]

LOG_LIMIT_BYTES = 20_000_000
#: In every child's environment: whose it is. Two stacks run the same commands.
MARK = "TRUNKLINE_RUN_DIR"
LIVENESS_SECONDS, LIVENESS_STRIKES = 5.0, 3
FIRST_WAIT, LONGEST_WAIT, STABLE_SECONDS = 0.2, 15.0, 20.0


def lock_path(layout: Layout) -> Path:
    return layout.run_dir / "supervisor.lock"


def state_path(layout: Layout) -> Path:
    return layout.run_dir / "state.json"


@dataclass(slots=True)
class Backoff:
    """How long to wait before the next start: doubles while starts fail, forgets after a stable run."""

    wait: float = FIRST_WAIT

    def after(self, ran_seconds: float) -> float:
        if ran_seconds >= STABLE_SECONDS:
            self.wait = FIRST_WAIT
        now, self.wait = self.wait, min(self.wait * 2, LONGEST_WAIT)
        return now


class _Kept:
    """One process of the table and the task that keeps it running."""

    def __init__(self, process: Process, layout: Layout, changed: Any) -> None:
        self.process = process
        self._layout = layout
        self._changed = changed
        self.pid: int | None = None
        self.restarts = 0
        self.state = "starting"
        self.last_exit: str | None = None
        self.since = time.time()
        self._stopping = asyncio.Event()
        self.task = asyncio.create_task(self._keep(), name=process.name)

    def describe(self) -> dict[str, Any]:
        return {"pid": self.pid, "state": self.state, "restarts": self.restarts, "last_exit": self.last_exit,
                "since": self.since}  # fmt: skip

    def stop(self) -> None:
        self._stopping.set()

    async def _keep(self) -> None:
        backoff = Backoff()
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                child = await self._start()
            except OSError as error:
                self.last_exit = f"could not be started: {error.strerror}"
            else:
                self._note("running", child.pid)
                code = await self._until_end(child)
                self.last_exit = f"signal {-code}" if code < 0 else f"exit {code}"
            if self._stopping.is_set():
                break
            self.restarts += 1
            self._note("waiting", None)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff.after(time.monotonic() - begun))
        self._note("stopped", None)

    async def _start(self) -> asyncio.subprocess.Process:
        self._layout.logs.mkdir(parents=True, exist_ok=True)
        path = self._layout.logs / f"{self.process.name}.log"
        _rotate(path)
        with path.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *self.process.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**_plain_environment(), **self.process.environment, MARK: str(self._layout.run_dir)},
                cwd=self.process.cwd,
                user=self.process.user,
                group=self.process.user,
                extra_groups=[] if self.process.user else None,
                start_new_session=True,
                # Asked, not killed: a broker and consumers that say goodbye are back without waiting for timeouts.
                preexec_fn=ending_with_parent(self.process.stop_signal),
            )

    async def _until_end(self, child: asyncio.subprocess.Process) -> int:
        ended = asyncio.create_task(child.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        stuck = asyncio.create_task(self._until_stuck())
        await asyncio.wait([ended, stopping, stuck], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        stuck.cancel()
        if not ended.done():
            self._note("stopping", child.pid)
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(self.process.stop_signal)
            try:
                await asyncio.wait_for(asyncio.shield(ended), self.process.stop_seconds)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
        return await ended

    async def _until_stuck(self) -> None:
        """Returns when the process says, several times in a row, that it makes no progress: it is then restarted."""
        if self.process.ready_url is None:
            await asyncio.Event().wait()
        # What is not ready may only be reading its past in, as Prometheus does.
        url = str(self.process.ready_url).replace("/readyz", "/livez").replace("/-/ready", "/-/healthy")
        strikes = 0
        while strikes < LIVENESS_STRIKES:
            await asyncio.sleep(LIVENESS_SECONDS)
            code, _ = await asyncio.to_thread(probe, url)
            # No answer at all is a start, or a machine that is busy; only its own word counts.
            strikes = strikes + 1 if code == 503 else 0

    def _note(self, state: str, pid: int | None) -> None:
        self.state, self.pid, self.since = state, pid, time.time()
        self._changed()


def _plain_environment() -> dict[str, str]:
    """Ours without settings of Trunkline: a process gets those of the table and no others."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}


def _rotate(path: Path) -> None:
    """Keep one older log. The open descriptor of a running child is not disturbed: its file is copied and cut."""
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        older = path.with_suffix(".log.1")
        older.write_bytes(path.read_bytes()[-LOG_LIMIT_BYTES:])
        os.truncate(path, 0)


class _Supervisor:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._kept: dict[str, _Kept] = {}
        self._applied = ""
        """The table that what runs was made from: what it no longer has is gone, what it has is being started."""
        self._reread = asyncio.Event()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._reread.set)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        self._reread.set()
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._reread.wait(), 30)
            for path in self._layout.logs.glob("*.log"):
                _rotate(path)
            if self._reread.is_set() and not self._stopping.is_set():
                self._reread.clear()
                # Written anew between the two, it is read once more.
                digest = digest_of_table(self._layout)
                await self._apply({process.name: process for process in read_table(self._layout)})
                self._applied = digest
                self._write_state()
        await self._stop_all()

    def _stop(self) -> None:
        self._stopping.set()
        self._reread.set()

    async def _apply(self, wanted: dict[str, Process]) -> None:
        gone = [kept for name, kept in self._kept.items() if wanted.get(name) != kept.process]
        for kept in gone:
            kept.stop()
        for kept in gone:
            await kept.task
            del self._kept[kept.process.name]
        for name, process in wanted.items():
            if name not in self._kept:
                self._kept[name] = _Kept(process, self._layout, self._write_state)

    async def _stop_all(self) -> None:
        """Services first, then what they need."""
        for needed_last in (False, True):
            group = [
                k for k in self._kept.values() if (k.process.name in ("kafka", "postgres", "redis")) is needed_last
            ]
            for kept in group:
                kept.stop()
            for kept in group:
                await kept.task
        state_path(self._layout).unlink(missing_ok=True)

    def _write_state(self) -> None:
        path = state_path(self._layout)
        processes = {name: kept.describe() for name, kept in self._kept.items()}
        fresh = path.with_suffix(".new")
        fresh.write_text(
            json.dumps({"pid": os.getpid(), "table": self._applied, "processes": processes}), encoding="utf-8"
        )
        fresh.replace(path)


def _take_lock(layout: Layout) -> BinaryIO | None:
    """The lock, or nothing when another supervisor has it. Who only looks holds it for a moment: that is no other."""
    layout.run_dir.mkdir(parents=True, exist_ok=True)
    lock = lock_path(layout).open("ab")
    deadline = time.monotonic() + 2
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                lock.close()
                return None
            time.sleep(0.01)
        else:
            return lock


def main() -> int:
    """Returns to who started it when the lock is held and says whose it is; the child goes on with it."""
    layout = Layout(Path(sys.argv[1]), int(sys.argv[2]))
    lock = _take_lock(layout)
    if lock is None:
        return 0
    # Asked to read the table before it listens, it would die; it reads it anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with lock:
        lock.truncate(0)
        child = os.fork()
        if child > 0:
            lock.write(str(child).encode())
            return 0
        asyncio.run(_Supervisor(layout).run())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
