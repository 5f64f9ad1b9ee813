"""What of this service can be replayed: its consumers, the tables that they write."""

from __future__ import annotations

from contracts.anomalies import AnomalyFiredV1
from contracts.calls import CallInboundV1, CallStateV1
from contracts.facts import FactExtractedV1
from contracts.notifications import NotificationStateV1
from contracts.vault import MessageImportedV1, VaultStateV1
from front_desk import board_store
from front_desk.consumers import BULK, LIVE
from front_desk.settings import Settings
from front_desk.wiring import open_database
from recovery.replay.plan import Replayable, ShadowTable

__all__ = ["CONSUMERS", "replays"]

#: The consumer groups, each with what it subscribes to.
CONSUMERS = {"front-desk": LIVE, "front-desk-archive": BULK}

#: Everything that the handlers write, in the order in which rows may come.
TABLES = (
    ShadowTable(name="board_call", made_from=(CallInboundV1.topic(), CallStateV1.topic()), gathers=True),
    ShadowTable(name="board_missed", made_from=(CallStateV1.topic(),)),
    ShadowTable(name="board_fact", made_from=(FactExtractedV1.topic(),)),
    ShadowTable(name="board_anomaly", made_from=(AnomalyFiredV1.topic(),)),
    ShadowTable(name="board_mail", made_from=(NotificationStateV1.topic(),), gathers=True),
    ShadowTable(name="board_import", made_from=(VaultStateV1.topic(),), gathers=True),
    ShadowTable(name="board_message", made_from=(MessageImportedV1.topic(),), gathers=True),
    ShadowTable(name="board_chat", made_from=(MessageImportedV1.topic(),), gathers=True),
)


def replays() -> Replayable:
    """For ``trunkline replay``, with the settings of the environment. A promotion shows on open consoles at once."""
    settings = Settings.load()
    return Replayable.of(
        settings,
        database=lambda: open_database(settings),
        consumers=CONSUMERS,
        shadow_tables=TABLES,
        promoted=board_store.ring,
    )
