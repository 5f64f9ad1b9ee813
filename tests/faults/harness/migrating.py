"""Migrates one database: a process of its own, so that it can be killed in the middle."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from kit.migrations import migrate, provision
from kit.postgres import role_dsn, schema_of

__all__ = ["main"]


async def main(service: str, package: str) -> None:
    dsn, passwords = os.environ["FAULTS_ADMIN_DSN"], json.loads(os.environ["FAULTS_PASSWORDS"])
    await provision(dsn, service=service, passwords=passwords)
    await migrate(role_dsn(dsn, f"{schema_of(service)}_owner", passwords["owner"]), service=service, package=package)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
