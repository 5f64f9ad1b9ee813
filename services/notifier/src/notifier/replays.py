"""What of this service can be replayed: its consumers, the tables that they write."""

from __future__ import annotations

from contracts.directory import TenantV1
from notifier.consumers import SUBSCRIPTIONS
from notifier.settings import Settings
from notifier.wiring import make_database
from recovery.replay.plan import Replayable, ShadowTable

__all__ = ["CONSUMERS", "replays"]

#: The consumer groups, each with what it subscribes to.
CONSUMERS = {"notifier": SUBSCRIPTIONS}

#: Everything that the handlers write, in the order in which rows may come.
TABLES = (ShadowTable(name="recipient", made_from=(TenantV1.topic(),)),)


def replays() -> Replayable:
    """For ``trunkline replay``, with the settings of the environment."""
    settings = Settings.load()
    return Replayable.of(settings, database=lambda: make_database(settings), consumers=CONSUMERS, shadow_tables=TABLES)
