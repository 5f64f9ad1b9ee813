"""What of this service can be replayed: its consumers, the tables that they write."""

from __future__ import annotations

from anomaly_engine.consumers import SUBSCRIPTIONS
from anomaly_engine.settings import Settings
from anomaly_engine.wiring import make_database
from contracts.calls import CallInboundV1, CallStateV1
from contracts.directory import TenantV1
from contracts.facts import FactExtractedV1
from contracts.vault import VaultStateV1
from recovery.replay.plan import Replayable, ShadowTable

__all__ = ["CONSUMERS", "replays"]

#: The consumer groups, each with what it subscribes to.
CONSUMERS = {"anomaly-engine": SUBSCRIPTIONS}

#: Everything that the handlers write, in the order in which rows may come.
TABLES = (
    ShadowTable(name="tenant", made_from=(TenantV1.topic(),)),
    ShadowTable(name="call", made_from=(CallInboundV1.topic(), CallStateV1.topic()), gathers=True),
    ShadowTable(name="fact", made_from=(FactExtractedV1.topic(),)),
    ShadowTable(name="archive", made_from=(VaultStateV1.topic(),), gathers=True),
)


def replays() -> Replayable:
    """For ``trunkline replay``, with the settings of the environment."""
    settings = Settings.load()
    return Replayable.of(settings, database=lambda: make_database(settings), consumers=CONSUMERS, shadow_tables=TABLES)
