"""The lock of one replay: whoever runs, promotes or discards it is the only one that does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kit.postgres import Database
from recovery.replay.plan import Refused

__all__ = ["alone"]


@asynccontextmanager
async def alone(database: Database, id_: str) -> AsyncIterator[None]:
    """Hold the replay for as long as the block takes. Raises :class:`Refused` when another process holds it."""
    connection = await database.dedicated("replay")
    try:
        if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtext('replay'), hashtext($1))", id_):
            raise Refused(f"{id_} is running in another process; `trunkline replay status {id_}` shows it")
        yield
    finally:
        await connection.close()
