"""A Postgres cluster of the stack's own, run by an unprivileged account, durable, on loopback."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import asyncpg

from trunkline.stack import children
from trunkline.stack.layout import Layout
from trunkline.stack.problems import Problem, quote

__all__ = ["binaries", "command", "is_up", "prepare", "unprivileged_user"]

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "synchronous_commit": "on",
    "fsync": "on",
    "max_connections": "200",
    # Transactions that emit events hold one advisory lock per key.
    "max_locks_per_transaction": "256",
    "shared_buffers": "64MB",
    "max_wal_size": "1GB",
    "wal_compression": "on",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_min_messages": "warning",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
}


def binaries() -> Path | None:
    """The folder of the newest installed server, 15 or later."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]), reverse=True)
    if found and int(found[0].parts[-3]) >= 15:
        return found[0].parent
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path else None


def unprivileged_user() -> str | None:
    """Postgres refuses to run as root; then it runs as its package's own account."""
    return "postgres" if os.geteuid() == 0 else None


def data_dir(layout: Layout) -> Path:
    return layout.run_dir / "postgres" / "data"


def command(layout: Layout) -> tuple[str, ...]:
    folder = binaries()
    executable = str(folder / "postgres") if folder else "postgres"
    return (executable, "-D", str(data_dir(layout)))


def closed_door(layout: Layout) -> Path | None:
    """The first directory on the way to the data that the unprivileged account cannot enter, or nothing."""
    account = unprivileged_user()
    if account is None:
        return None
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        return None
    for directory in [*reversed(layout.run_dir.parents), layout.run_dir]:
        if not directory.exists():
            continue
        status = directory.stat()
        mode = status.st_mode
        allowed = (
            mode & 0o100
            if status.st_uid == entry.pw_uid
            else mode & 0o010
            if status.st_gid == entry.pw_gid
            else mode & 1
        )
        if not allowed:
            return directory
    return None


def prepare(layout: Layout, tell: Callable[[str], None]) -> None:
    """Make the cluster if it is missing, write its settings."""
    door = closed_door(layout)
    if door is not None:
        raise Problem(
            f"the account {unprivileged_user()}, which must run Postgres, cannot enter {door}",
            f"chmod o+x {quote(door)}",
        )
    folder, data = layout.run_dir / "postgres", data_dir(layout)
    folder.mkdir(parents=True, exist_ok=True)
    account = unprivileged_user()
    if account:
        shutil.chown(folder, account)
    if not (data / "initialised").exists():
        tell("making a Postgres cluster")
        for half in folder.glob("data*"):
            shutil.rmtree(half, ignore_errors=True)
        # Beside its place, then moved there as a whole: what a killed start still writes, it writes elsewhere.
        fresh = folder / f"data.{os.getpid()}"
        _initialise(layout, fresh, account)
        fresh.rename(data)
    lines = [f"{name} = '{value}'" for name, value in SETTINGS.items()]
    lines += [f"port = {layout.ports['postgres']}", "unix_socket_directories = ''"]
    (data / "conf.d").mkdir(exist_ok=True)
    (data / "conf.d" / "trunkline.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if account:
        for path in (data / "conf.d", data / "conf.d" / "trunkline.conf"):
            shutil.chown(path, account)


def _initialise(layout: Layout, data: Path, account: str | None) -> None:
    folder = binaries()
    if folder is None:
        raise Problem("the Postgres server is not installed", "make setup")
    with tempfile.NamedTemporaryFile("w", prefix="trunkline-", dir=layout.run_dir / "postgres") as password:
        password.write(layout.secrets()["postgres"] + "\n")
        password.flush()
        if account:
            shutil.chown(password.name, account)
        done = children.run(
            [str(folder / "initdb"), "-D", str(data), "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-A",
             "scram-sha-256", "--data-checksums", f"--pwfile={password.name}"], user=account, cwd="/",
        )  # fmt: skip
    if done.returncode != 0:
        raise Problem(f"Postgres could not make a cluster: {done.stderr.strip()[-300:]}", "trunkline doctor")
    with (data / "postgresql.conf").open("a", encoding="utf-8") as configuration:
        configuration.write("\ninclude_dir = 'conf.d'\n")
    (data / "initialised").touch()


def is_up(layout: Layout) -> bool:
    async def ask() -> bool:
        try:
            connection = await asyncpg.connect(layout.admin_dsn(), timeout=2)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        await connection.close()
        return True

    return asyncio.run(ask())


async def ensure_database(layout: Layout) -> None:
    connection = await asyncpg.connect(layout.admin_dsn())
    try:
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = 'trunkline'"):
            await connection.execute("CREATE DATABASE trunkline")
    finally:
        await connection.close()
