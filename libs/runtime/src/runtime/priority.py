"""Who goes first where processes share a machine.

Linux weighs sessions against each other before it looks at what is nice in one of them (autogroups, sched(7)). A nice
process that is a session of its own, as each is that ``trunkline up`` starts, would yield to nobody; so its session is
made as nice as itself. A system without autogroups has niceness alone.

What must not wait for a core at all runs in real time, as telephone exchanges do: no niceness keeps others from
finishing their turn of some milliseconds first.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["give_way", "giving_way", "go_first"]

SESSION = Path("/proc/self/autogroup")
# Not root may change one, of the whole system, every tenth of a second.
AGAIN_SECONDS = 0.15


def give_way(niceness: int) -> None:
    """Let others on this machine go before this process and before its session: 0 as it was, 19 whenever they want."""
    if niceness:
        os.nice(niceness)
        _set_session(niceness)


@contextlib.contextmanager
def giving_way(niceness: int) -> Iterator[None]:
    """The same for a command: its session is somebody's terminal, and gets back what it had."""
    before = _session()
    give_way(niceness)
    try:
        yield
    finally:
        if before is not None:
            _set_session(before)


def go_first(process: int = 0) -> None:
    """Have this thread and those that it starts from now on, or another process of this machine, go before all that is
    not in real time (``SCHED_RR``, sched(7)); Linux keeps a twentieth of the time for the others. Raises
    ``PermissionError`` without ``CAP_SYS_NICE``; for this thread ``RLIMIT_RTPRIO`` will do.
    """
    os.sched_setscheduler(process, os.SCHED_RR, os.sched_param(1))


def _session() -> int | None:
    with contextlib.suppress(OSError):
        if found := re.search(r" nice (-?\d+)$", SESSION.read_text().strip()):
            return int(found[1])
    return None


def _set_session(niceness: int) -> None:
    with contextlib.suppress(OSError):
        try:
            SESSION.write_text(str(niceness))
        except BlockingIOError:
            time.sleep(AGAIN_SECONDS)
            SESSION.write_text(str(niceness))
