"""What every service runs beside its consumers, so that it can be recovered."""

from __future__ import annotations

from collections.abc import Sequence

from kit.consume import Consumer
from kit.postgres import Database
from recovery.dead_letters.worker import DeadLetterWorker
from recovery.replay.gauges import replay_gauges
from runtime.service import Component, Every

__all__ = ["consuming"]

REPLAYS_SECONDS = 5


def consuming(database: Database, *consumers: Consumer) -> Sequence[Component]:
    """The consumers, the worker of their dead letters, and what dashboards see of replays."""
    return (
        *consumers,
        DeadLetterWorker(database, consumers),
        Every("replays", REPLAYS_SECONDS, replay_gauges(database)),
    )
