"""Publishing again what was published already: after Kafka lost it, or when another Kafka takes its place."""

from __future__ import annotations

from datetime import datetime

from kit.postgres import Database

__all__ = ["rewind"]

_REWIND = "SELECT rewind_relay($1, coalesce($2::timestamptz, '-infinity'))"


async def rewind(database: Database, *, since: datetime | None) -> int:
    """Have the service's relay publish again, with the same ids, all that the outbox holds since a time (None: all).

    Returns how many events that is. It also accepts the Kafka that the relay finds, whichever it is: with a time
    after the last event this only ends a halt. A leader need not be stopped: it stores no position that it reached
    from the old one, and goes on from the new one within seconds. Consumers know the ids that they have handled.
    """
    async with database.system() as tx:
        return int(await tx.fetchval(_REWIND, database.service, since))
