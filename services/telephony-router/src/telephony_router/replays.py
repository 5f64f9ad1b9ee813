"""What of this service can be replayed: its consumers, the tables that they write."""

from __future__ import annotations

from recovery.replay.plan import Replayable
from telephony_router.consumers import SUBSCRIPTIONS
from telephony_router.settings import Settings
from telephony_router.wiring import make_database

__all__ = ["CONSUMERS", "replays"]

#: The consumer groups, each with what it subscribes to.
CONSUMERS = {"telephony-router": SUBSCRIPTIONS}


def replays() -> Replayable:
    """For ``trunkline replay``, with the settings of the environment."""
    settings = Settings.load()
    return Replayable.of(settings, database=lambda: make_database(settings), consumers=CONSUMERS)
