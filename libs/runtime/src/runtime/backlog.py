"""How far the relay is behind, seen from beside it: right also while it is stuck, halted or led by nobody."""

from __future__ import annotations

import time

from kit.postgres import Database
from kit.telemetry import METRICS, get_logger

__all__ = ["Backlog"]

log = get_logger(__name__)

_BACKLOG = "SELECT unpublished, oldest_seconds, holder, holder_xid FROM outbox_backlog($1)"
WARN_SECONDS = 30.0


class Backlog:
    """Measures one service's outbox. A transaction anywhere in the cluster that has written and is still open holds
    every relay back; how long is counted from when it was first seen, since its start is not ours to read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._holder: tuple[str | None, float] = (None, 0.0)
        self._warned = False

    async def measure(self) -> None:
        service = self._database.service
        async with self._database.system() as tx:
            row = await tx.fetchrow(_BACKLOG, service)
        if row is None:
            return
        now = time.monotonic()
        if row["holder_xid"] != self._holder[0]:
            self._holder, self._warned = (row["holder_xid"], now), False
        held_back = now - self._holder[1] if row["holder_xid"] is not None else 0.0
        METRICS.outbox_unpublished.labels(service).set(row["unpublished"])
        METRICS.outbox_age.labels(service).set(row["oldest_seconds"])
        METRICS.relay_held_back.labels(service).set(held_back)
        METRICS.relay_held_back_by.labels(service).set(row["holder"])
        if held_back > WARN_SECONDS and not self._warned:
            self._warned = True
            log.warning("relay_held_back", pid=row["holder"], seconds=round(held_back), waiting=row["unpublished"])
