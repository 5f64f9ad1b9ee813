"""Processes that end with us: nobody is left behind by a start that was killed."""

from __future__ import annotations

import ctypes
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["ending_with_parent", "run"]

PR_SET_PDEATHSIG = 1


def ending_with_parent(number: int) -> Callable[[], None]:
    """What a child does before it becomes its program: ask the kernel for a signal when its parent dies."""
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number)

    return ask


def run(
    argv: Sequence[str], *, cwd: Path | str, user: str | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end. Killed with us, it does not go on writing where the next start begins anew."""
    return subprocess.run(
        argv, cwd=cwd, user=user, group=user, extra_groups=[] if user else None, env=environment, check=False,
        capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
        preexec_fn=ending_with_parent(signal.SIGKILL),
    )  # fmt: skip
