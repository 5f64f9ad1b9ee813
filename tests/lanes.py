"""The tests on real servers, in lanes: ``python -m tests.lanes ROOT``.

Most of their time is waiting, so two lanes run side by side. They share nothing: each has servers, stacks, ports and
folders of its own, since what one test holds open in a Postgres would hold back the relays of another. What holds
deadlines in milliseconds runs after them, alone.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["ALONE", "BESIDE", "FIRST", "Lane", "lanes", "main", "run"]

# With limits of minutes, and on servers of their own; the packages' tests run beside them.
FIRST = (
    "libs",
    "services",
    "cli",
    # The judge of the faults, and a stack of its own with mistakes in it.
    "tests/faults/test_checker_power.py",
    "tests/faults/test_harness_on_servers.py",
    "tests/faults/test_bugs_in_the_stack.py",
)
BESIDE = (
    "tests/faults/test_mixed_faults.py",
    "tests/faults/test_rebalance.py",
    "tests/observability",
    # Timers of seconds, and a router and a Redis of their own.
    "tests/sip",
)
ALONE = ("tests", *(f"--ignore={path}" for path in (*FIRST, *BESIDE) if path.startswith("tests/")))
FAULTS = 4000
"""From a lane's first port to those of its stacks of the fault harness."""
CLOSING = re.compile(r"\b(?:passed|failed|errors?|deselected|no tests ran)\b.* in \d[\d.]*s")
INTERRUPTED = 130


@dataclass
class Lane:
    """One pytest of its own, which prints into ``log``."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    after: Callable[[], None] = lambda: None
    """Called when it has ended, however it did: its servers are stopped before anything else begins."""
    code: int | None = None
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            # A session of its own: an interrupt comes from us, once, to it and to all that it has started.
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment}, start_new_session=True,
            )  # fmt: skip

    def show(self, out: BinaryIO) -> None:
        """Write what it has printed and goes on printing, until it has ended."""
        assert self._process is not None
        with self.log.open("rb") as log:
            ended = False
            while not ended:
                ended = self._process.poll() is not None
                out.write(log.read())
                out.flush()
                time.sleep(0 if ended else 0.1)
        self.end()

    def end(self) -> None:
        assert self._process is not None
        code = self._process.wait()
        self.after()
        self.code = code

    def interrupt(self) -> None:
        """As Ctrl-C does: pytest ends its fixtures, and with them their stacks."""
        if self._process is not None and self.code is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGINT)

    @property
    def closing(self) -> str:
        """Pytest's last word."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if CLOSING.search(line)]
        return lines[-1].strip() if lines else f"ended without a word, code {self.code}"


def run(stages: Sequence[Sequence[Lane]], out: BinaryIO) -> int:
    """Run stage after stage; the lanes of one stage side by side. Returns 0 when every lane passed.

    The first lane of a stage is shown as it runs, the others after it, one after the other. The last lines say of each
    lane whether it passed, in pytest's words.
    """
    began: list[Lane] = []
    # Started in the background by a shell, we ignore interrupts, and so would every lane that has to tidy up at one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for stage in stages:
            for lane in stage:
                lane.start()
                began.append(lane)
            for lane in stage:
                beside = [
                    f"beside it, shown later: {each.name}" for each in stage if each.code is None and each is not lane
                ]
                _say(out, "; ".join((f"· {lane.name}", *beside)))
                lane.show(out)
    except KeyboardInterrupt:
        running = [lane for lane in began if lane.code is None]
        for lane in running:
            lane.interrupt()
        for lane in running:
            lane.end()
        return INTERRUPTED
    for lane in began:
        _say(out, f"· {lane.name}: {'FAILED' if lane.code else 'passed'}")
        _say(out, lane.closing)
    return int(any(lane.code for lane in began))


def _say(out: BinaryIO, text: str) -> None:
    out.write(text.encode() + b"\n")
    out.flush()


def lanes(root: Path) -> list[list[Lane]]:
    """All tests on real servers, each in one lane."""
    base = int(os.environ.get("TRUNKLINE_TEST_PORT_BASE", "18000"))
    return [
        [
            _lane("libraries, services, command line and planted mistakes", FIRST, root, base),
            _lane("mixed faults, rebalances, observability and SIP", BESIDE, root / "beside", base + 1000),
        ],
        [_lane("journeys and kills", ALONE, root, base)],
    ]


def _lane(name: str, paths: Sequence[str], root: Path, port_base: int) -> Lane:
    servers = [sys.executable, "-m", "trunkline", "down", "--run-dir", str(root / "test"), "--port-base"]
    return Lane(
        name,
        [sys.executable, "-m", "pytest", "-q", "-m", "real", "--durations=15", *paths],
        root / "lanes" / f"{name.replace(' ', '-').replace(',', '')}.log",
        {
            "TRUNKLINE_TEST_ROOT": str(root),
            "TRUNKLINE_TEST_PORT_BASE": str(port_base),
            "TRUNKLINE_TEST_FAULTS_PORT_BASE": str(port_base + FAULTS),
        },
        lambda: _quietly([*servers, str(port_base)]),
    )


def _quietly(command: Sequence[str]) -> None:
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def main() -> int:
    signal.signal(signal.SIGTERM, _interrupted)
    return run(lanes(Path(sys.argv[1]).resolve()), sys.stdout.buffer)


if __name__ == "__main__":
    raise SystemExit(main())
