"""Parts of the harness that need real servers to be seen at work."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from tests.faults.harness import migrating
from tests.faults.harness.faults import MIGRATION_POINTS

from kit.migrations import migrations_of, provision
from kit.postgres import role_dsn
from kit.testing import PASSWORDS, Servers

pytestmark = pytest.mark.real

SABOTEUR = Path(__file__).parent / "harness" / "saboteur"
NOTED = {
    ("inside_a_migration", 0): 1, ("inside_a_migration", 1): 2,
    ("inside_a_migration_file", 4): 0, ("inside_a_migration_file", 9): 1,
}  # fmt: skip
"""How many files are noted as applied when a migration has died there."""


def migrate(owner_dsn: str, folder: Path) -> int:
    environment = {
        **os.environ, "FAULTS_DIR": str(folder), "FAULTS_PROCESS": "migrating-1", "FAULTS_OWNER_DSN": owner_dsn,
        "PYTHONPATH": f"{SABOTEUR}{os.pathsep}{Path.cwd()}",
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.faults.harness.migrating", "notifier", "notifier"]
    return subprocess.run(command, env=environment, check=False, stderr=subprocess.DEVNULL).returncode


@pytest.mark.parametrize(("point", "passes"), MIGRATION_POINTS)
async def test_a_migration_dies_where_it_is_told_to(servers: Servers, tmp_path: Path, point: str, passes: int) -> None:
    name = f"dying_{secrets.token_hex(4)}"
    dsn = urlunsplit(urlsplit(servers.postgres_dsn)._replace(path=f"/{name}"))
    admin = await asyncpg.connect(servers.postgres_dsn)
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        await provision(dsn, service="notifier", passwords=PASSWORDS)
        owner = role_dsn(dsn, "notifier_owner", PASSWORDS["owner"])
        (tmp_path / "armed").mkdir()
        (tmp_path / "armed" / f"migrating-1.{point}").write_text(str(passes))
        assert migrate(owner, tmp_path) == -signal.SIGKILL
        look = await asyncpg.connect(dsn)
        try:
            assert await look.fetchval("SELECT count(*) FROM notifier.schema_migration") == NOTED[point, passes]
            assert migrate(owner, tmp_path) == 0
            every = await look.fetchval("SELECT count(*) FROM notifier.schema_migration")
        finally:
            await look.close()
        assert every == len(migrations_of("notifier"))
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


def test_a_migration_says_when_the_server_is_not_there(tmp_path: Path) -> None:
    assert migrate("postgresql://127.0.0.1:1/nowhere", tmp_path) == migrating.AWAY
