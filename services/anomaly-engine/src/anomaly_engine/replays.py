"""What of this service can be replayed: its consumers, the tables that they write."""

from __future__ import annotations

from anomaly_engine.consumers import SUBSCRIPTIONS
from anomaly_engine.settings import Settings
from anomaly_engine.wiring import make_database
from recovery.replay.plan import Replayable, ShadowTable

__all__ = ["CONSUMERS", "replays"]

#: The consumer groups, each with what it subscribes to.
CONSUMERS = {"anomaly-engine": SUBSCRIPTIONS}

#: Everything that the handlers write, in the order in which rows may come.
TABLES = (ShadowTable(name="tenant"), ShadowTable(name="call"), ShadowTable(name="fact"), ShadowTable(name="archive"))


def replays() -> Replayable:
    """For ``trunkline replay``, with the settings of the environment."""
    settings = Settings.load()
    return Replayable.of(settings, database=lambda: make_database(settings), consumers=CONSUMERS, shadow_tables=TABLES)
