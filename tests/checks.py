"""What needs no server, its steps side by side: ``python -m tests.checks [--thorough]``.

A step that passes is one line, its own last; one that fails is shown whole. Each pytest reads only the tests of its
folders, since reading all of them takes longer than most folders' tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

__all__ = ["Step", "files_of_tests", "main", "run", "steps"]

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
LARGE = ("vault-importer", "telephony-router")
"""Services whose tests are a step of their own."""
INTERRUPTED = 130


@dataclass(frozen=True)
class Step:
    name: str
    command: Sequence[str]


@dataclass(frozen=True)
class Ended:
    code: int
    output: str
    seconds: float

    @property
    def last_line(self) -> str:
        return (self.output.strip().splitlines() or [""])[-1]


def steps(*, thorough: bool) -> list[Step]:
    """All of them: what is told at once, then what takes longest. Thorough ones try every example of the properties.

    Types go beside the first tests: in a new environment two at once would both compile all that they import.
    """
    packages = [f"{path.relative_to(ROOT)}/src" for path in sorted(ROOT.glob("libs/*")) if (path / "src").is_dir()]
    services = [path.name for path in sorted(ROOT.glob("services/*")) if (path / "src").is_dir()]
    packages += [*(f"services/{name}/src" for name in services), "cli/src"]
    others = [f"services/{name}" for name in services if name not in LARGE]
    return [
        _step("lint", "ruff", "check"),
        _step("format", "ruff", "format", "--check"),
        _tests("repository, other services", ["tests", *others], thorough),
        _step("types", "mypy", *packages),
        *(_tests(name, [f"services/{name}"], thorough) for name in LARGE),
        _tests("libraries", ["libs"], thorough),
        _tests("command line", ["cli"], thorough),
        _step("dashboards and alerts", "trunkline", "dashboards", "check"),
        _step("event contracts", "trunkline", "contracts", "check"),
        _step("import rules", "lint-imports"),
    ]


def files_of_tests() -> list[Path]:
    """All there are, from the root."""
    return [
        path.relative_to(ROOT)
        for top in ("libs", "services", "cli", "tests")
        for path in (ROOT / top).rglob("test_*.py")
        if ".venv" not in path.parts
    ]


def _tests(name: str, folders: Sequence[str], thorough: bool) -> Step:
    profile = () if thorough else ("--hypothesis-profile=quick",)
    # This plug-in would only take time to load.
    unused = ("-p", "no:schemathesis")
    return _step(f"tests: {name}", "pytest", "-q", "-m", "not real", *unused, *profile, *folders)


def _step(name: str, program: str, *arguments: str) -> Step:
    return Step(name, [str(BIN / program), *arguments])


def run(todo: Sequence[Step], out: TextIO, *, at_once: int) -> int:
    """Run all, so many at once, whatever fails. Returns 0 when every step passed."""
    failed = []
    with ThreadPoolExecutor(at_once) as pool:
        running: dict[Future[Ended], Step] = {pool.submit(_ended, step): step for step in todo}
        try:
            for future in as_completed(running):
                step, ended = running[future], future.result()
                if ended.code:
                    failed.append(step.name)
                    print(f"✗ {step.name}, {ended.seconds:.0f} s\n{ended.output}", file=out, flush=True)
                else:
                    print(f"✓ {step.name}, {ended.seconds:.0f} s · {ended.last_line}", file=out, flush=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    if failed:
        print(f"✗ failed: {'; '.join(failed)}", file=out, flush=True)
    return int(bool(failed))


def _ended(step: Step) -> Ended:
    began = time.monotonic()
    done = subprocess.run(
        step.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", check=False,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, time.monotonic() - began)


def main() -> int:
    # One more than there are cores: some wait now and then.
    at_once = len(os.sched_getaffinity(0)) + 1
    try:
        return run(steps(thorough="--thorough" in sys.argv[1:]), sys.stdout, at_once=at_once)
    except KeyboardInterrupt:
        # The steps had it as well, from the same terminal, and have ended.
        return INTERRUPTED


if __name__ == "__main__":
    raise SystemExit(main())
