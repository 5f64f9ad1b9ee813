"""Who gives way does so before other sessions too, and a terminal gets back what it had; who goes first does with all
its threads."""

from __future__ import annotations

import os
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


def nice(more: int) -> str:
    """What a process tells that is so much nicer than this one."""
    return str(min(19, os.nice(0) + more))


def session(niceness: int) -> str:
    return str(niceness) if SESSION.exists() else "none"


@pytest.mark.parametrize("niceness", [0, 5, 19])
def test_a_process_and_its_session_give_way(niceness: int) -> None:
    assert told(f"give_way({niceness}); tell()") == [[nice(niceness), session(niceness)]]


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
    assert told(program) == [[nice(9), session(7)], [nice(9), session(2)]]


ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may hand real time out")


@ROOT
def test_who_goes_first_does_with_the_threads_that_it_starts() -> None:
    program = """
import threading
from runtime.priority import go_first
go_first()
def tell_of_me(): print(os.sched_getscheduler(0) == os.SCHED_RR)
for each in (threading.Thread(target=tell_of_me) for _ in range(2)):
    each.start(); each.join()
"""
    assert told(program) == [["True"], ["True"]]


@ROOT
def test_another_process_goes_first() -> None:
    program = """
import subprocess
from runtime.priority import go_first
other = subprocess.Popen(["sleep", "60"])
go_first(other.pid)
print(os.sched_getscheduler(other.pid) == os.SCHED_RR, os.sched_getscheduler(0) == os.SCHED_RR)
other.kill()
"""
    assert told(program) == [["True", "False"]]


def test_who_may_not_go_first_is_told_so() -> None:
    program = """
import resource
from runtime.priority import go_first
if os.geteuid() == 0:
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    os.setuid(65534)
try:
    go_first()
except PermissionError:
    print("refused")
"""
    assert told(program) == [["refused"]]
