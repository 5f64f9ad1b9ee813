"""Redis with an append-only file, on loopback."""

from __future__ import annotations

import socket

from trunkline.stack.layout import Layout

__all__ = ["command", "is_up", "prepare"]


def prepare(layout: Layout) -> None:
    (layout.run_dir / "redis").mkdir(parents=True, exist_ok=True)


def command(layout: Layout) -> tuple[str, ...]:
    options = {"port": layout.ports["redis"], "bind": "127.0.0.1", "dir": layout.run_dir / "redis", "appendonly": "yes",
               "appendfsync": "everysec", "save": "", "maxmemory": "256mb", "maxmemory-policy": "noeviction",
               "daemonize": "no", "logfile": "",
               # It would hide its command and whose it is.
               "set-proc-title": "no"}  # fmt: skip
    return ("redis-server", *(part for name, value in options.items() for part in (f"--{name}", str(value))))


def is_up(layout: Layout) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", layout.ports["redis"]), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
