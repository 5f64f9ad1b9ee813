"""Who gives way does so before other sessions too, and a terminal gets back what it had."""

from __future__ import annotations

import subprocess
import sys

import pytest

from runtime.priority import SESSION

TOLD = "print(os.nice(0), SESSION.read_text().split()[-1] if SESSION.exists() else 'none')"


def told(program: str) -> list[list[str]]:
    """What a process tells, in a session of its own, of its own niceness and the session's."""
    lines = ["import os", "from runtime.priority import SESSION, give_way, giving_way", f"def tell(): {TOLD}", program]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True, start_new_session=True
    )
    return [line.split() for line in done.stdout.splitlines()]


def session(niceness: int) -> str:
    return str(niceness) if SESSION.exists() else "none"


@pytest.mark.parametrize("niceness", [0, 5, 19])
def test_a_process_and_its_session_give_way(niceness: int) -> None:
    assert told(f"give_way({niceness}); tell()") == [[str(niceness), session(niceness)]]


def test_a_commands_session_gets_back_what_it_had() -> None:
    program = """
give_way(2)
try:
    with giving_way(7):
        tell()
        raise KeyError
except KeyError:
    tell()
"""
    assert told(program) == [["9", session(7)], ["9", session(2)]]
