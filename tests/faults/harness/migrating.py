"""Migrates one database: a process of its own, so that it can be killed in the middle."""

from __future__ import annotations

import asyncio
import os
import sys

import asyncpg

from kit.migrations import MigrationError, migrate

__all__ = ["AWAY", "main"]

AWAY = 75
"""The exit code when the server was not there (any more): it may be tried again."""
_GONE = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError,
         asyncpg.OperatorInterventionError, asyncpg.InsufficientResourcesError)  # fmt: skip


async def main(service: str, package: str) -> int:
    try:
        await migrate(os.environ["FAULTS_OWNER_DSN"], service=service, package=package)
    except _GONE:
        return AWAY
    except MigrationError as error:
        if isinstance(error.__cause__, _GONE):
            return AWAY
        raise
    return 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main(*sys.argv[1:])))
