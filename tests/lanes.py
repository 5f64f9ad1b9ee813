"""The tests on real servers, in lanes: ``python -m tests.lanes ROOT``, or with ``clean`` what they have left behind.

Most of their time is waiting, so several lanes run side by side. They share nothing: each has servers, stacks, ports
and folders of its own, since what one test holds open in a Postgres would hold back the relays of another. What holds
short deadlines runs after them, alone.
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

__all__ = ["ALONE", "AT_ONCE", "PARTS", "Lane", "Part", "clean", "lanes", "main", "run"]

AT_ONCE = max(2, os.cpu_count() or 1)
"""One more lane would end sooner and miss deadlines of seconds when the machine is not ours alone."""


@dataclass(frozen=True)
class Part:
    """What one lane runs."""

    name: str
    paths: tuple[str, ...]
    port: int
    """Of its servers, counted from the first lane's."""
    faults: int = 4000
    """Of its stack of the fault harness, counted so as well."""


ALONE = Part(
    "short deadlines",
    (
        "tests/faults/test_backends_down.py",
        "tests/integration/test_loadtest.py",
        # A stack of its own with mistakes in it, which has seconds to come to rest in.
        "tests/faults/test_bugs_in_the_stack.py",
    ),
    0,
)
ARCHIVE = Part("archive and command line", ("services/vault-importer", "cli"), 11000)
OBSERVABILITY = Part(
    "observability, SIP and the judge of faults",
    (
        "tests/observability",
        "tests/sip",
        "tests/faults/test_checker_power.py",
        "tests/faults/test_harness_on_servers.py",
    ),
    1000,
)
MIXED_FAULTS = Part(
    "mixed faults and rebalances", ("tests/faults/test_mixed_faults.py", "tests/faults/test_rebalance.py"), 7000, 5000
)
LIBRARIES = Part("libraries", ("libs",), 9000)


def _rest(top: str) -> tuple[str, ...]:
    """All in a folder that is no other lane's."""
    others = [path for part in (ALONE, ARCHIVE, OBSERVABILITY, MIXED_FAULTS) for path in part.paths]
    return top, *(f"--ignore={path}" for path in others if path.startswith(f"{top}/"))


JOURNEYS = Part("journeys and kills", _rest("tests"), 0)
SERVICES = Part("services", _rest("services"), 12000)
PARTS = (ARCHIVE, OBSERVABILITY, JOURNEYS, SERVICES, MIXED_FAULTS, LIBRARIES)
"""What takes longest begins first."""
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

    def show(self, out: BinaryIO, meanwhile: Callable[[], None]) -> None:
        """Write what it has printed and goes on printing, until it has ended."""
        with self.log.open("rb") as log:
            ended = False
            while not ended:
                meanwhile()
                ended = self.code is not None
                out.write(log.read())
                out.flush()
                time.sleep(0 if ended else 0.1)

    @property
    def running(self) -> bool:
        return self._process is not None and self.code is None

    @property
    def waits(self) -> bool:
        return self._process is None

    def look(self) -> None:
        """End it, if its tests have ended."""
        if self.running and self._process is not None and self._process.poll() is not None:
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


def run(stages: Sequence[Sequence[Lane]], out: BinaryIO, at_once: int = AT_ONCE) -> int:
    """Run stage after stage; the lanes of one stage side by side, so many at once. Returns 0 when every lane passed.

    The first lane of a stage is shown as it runs, the others after it, one after the other. The last lines say of each
    lane whether it passed, in pytest's words.
    """
    every = [lane for stage in stages for lane in stage]
    # Started in the background by a shell, we ignore interrupts, and so would every lane that has to tidy up at one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for stage in stages:
            _run_stage(stage, out, at_once)
    except KeyboardInterrupt:
        running = [lane for lane in every if lane.running]
        for lane in running:
            lane.interrupt()
        for lane in running:
            lane.end()
        return INTERRUPTED
    for lane in every:
        _say(out, f"· {lane.name}: {'FAILED' if lane.code else 'passed'}")
        _say(out, lane.closing)
    return int(any(lane.code for lane in every))


def _run_stage(stage: Sequence[Lane], out: BinaryIO, at_once: int) -> None:
    def go_on() -> None:
        for lane in stage:
            lane.look()
        for lane in stage:
            if lane.waits and sum(each.running for each in stage) < at_once:
                lane.start()

    go_on()
    for lane in stage:
        later = ", ".join(each.name for each in stage if each.code is None and each is not lane)
        _say(out, f"· {lane.name}" + (f"; beside it, shown later: {later}" if later else ""))
        lane.show(out, go_on)


def _say(out: BinaryIO, text: str) -> None:
    out.write(text.encode() + b"\n")
    out.flush()


def lanes(root: Path) -> list[list[Lane]]:
    """All tests on real servers, each in one lane."""
    base = _base()
    return [[_lane(part, root, base) for part in PARTS], [_lane(ALONE, root, base)]]


def _lane(part: Part, root: Path, base: int) -> Lane:
    down = [sys.executable, "-m", "trunkline", "down", *_servers(part, root, base)]
    return Lane(
        part.name,
        [sys.executable, "-m", "pytest", "-q", "-m", "real", "--durations=15", *part.paths],
        root / "lanes" / f"{_slug(part)}.log",
        {
            "TRUNKLINE_TEST_ROOT": str(_folder(part, root)),
            "TRUNKLINE_TEST_PORT_BASE": str(base + part.port),
            "TRUNKLINE_TEST_FAULTS_PORT_BASE": str(base + part.faults),
        },
        lambda: _quietly(down),
    )


def _base() -> int:
    return int(os.environ.get("TRUNKLINE_TEST_PORT_BASE", "18000"))


def _slug(part: Part) -> str:
    return re.sub(r"\W+", "-", part.name)


def _folder(part: Part, root: Path) -> Path:
    """With the ports of the first lane goes its folder, which is also that of tests that are run by hand."""
    return root / "beside" / _slug(part) if part.port else root


def _servers(part: Part, root: Path, base: int) -> list[str]:
    return ["--run-dir", str(_folder(part, root) / "test"), "--port-base", str(base + part.port)]


def clean(root: Path) -> None:
    """Stop every lane's servers and forget their data."""
    for part in PARTS:
        command = [sys.executable, "-m", "trunkline", "clean", *_servers(part, root, _base())]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _quietly(command: Sequence[str]) -> None:
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def main() -> int:
    signal.signal(signal.SIGTERM, _interrupted)
    root = Path(sys.argv[1]).resolve()
    if sys.argv[2:] == ["clean"]:
        clean(root)
        return 0
    return run(lanes(root), sys.stdout.buffer)


if __name__ == "__main__":
    raise SystemExit(main())
