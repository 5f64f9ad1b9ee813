"""What stands in the way, in a sentence, with the command that mends it."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

__all__ = ["Problem", "copyable", "quote"]


class Problem(Exception):
    """The stack cannot do what was asked. ``mend`` is a command to copy."""

    def __init__(self, sentence: str, mend: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.mend = mend


def quote(path: Path) -> str:
    """A path as a shell takes it."""
    return shlex.quote(str(path))


def copyable(mend: str) -> str:
    """The command as it works where it is read: ``trunkline`` with its folder, unless that is on the path."""
    program = Path(sys.executable).parent / "trunkline"
    if shutil.which("trunkline") is not None or not program.exists():
        return mend
    near = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
    return re.sub(r"(?<![\w./-])trunkline (?=[a-z])", lambda _: f"{quote(near)} ", mend)
