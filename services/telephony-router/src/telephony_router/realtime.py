"""Answering in real time: whoever answers callers waits for no core, and neither does the Postgres process that makes
their webhooks durable, where that one is on the same machine.

What may not be so is logged with what it needs, and the router goes on as any other process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kit.telemetry import get_logger
from runtime.priority import go_first
from telephony_router.settings import Settings
from telephony_router.store import server_process

__all__ = ["begin", "take_along"]

log = get_logger(__name__)

PROCESSES = Path("/proc")
NEEDED = "CAP_SYS_NICE (systemd: AmbientCapabilities=CAP_SYS_NICE)"


def begin(settings: Settings) -> None:
    """Go first, if it is set so, with all threads that are started from now on.

    All of them: one that holds the interpreter's lock must not wait for a core either.
    """
    if not settings.realtime:
        return
    try:
        go_first()
    except PermissionError:
        log.warning("not_in_real_time", who="router", needs=NEEDED)
    else:
        log.info("in_real_time", who="router")


async def take_along(connection: Any) -> None:
    """Have the Postgres process behind an asyncpg connection go first as well, for as long as it lives."""
    process, port = await server_process(connection)
    try:
        if _serves(process, port):
            go_first(process)
            log.info("in_real_time", who="postgres")
        else:
            log.info("not_in_real_time", who="postgres", why="it is not on this machine, or behind a socket")
    except PermissionError:
        log.warning("not_in_real_time", who="postgres", needs=NEEDED)
    except ProcessLookupError:
        # It has just ended, and with it the connection.
        log.info("not_in_real_time", who="postgres", why="it has ended")


def _serves(process: int, port: int | None) -> bool:
    """Whether this machine's process of that number says that it is Postgres', for a client at that port."""
    try:
        title = (PROCESSES / str(process) / "cmdline").read_bytes()
    except FileNotFoundError:
        return False
    return port is not None and title.startswith(b"postgres:") and b"(%d)" % port in title
