"""What of this service can be replayed: its consumers, the tables that they write."""

from __future__ import annotations

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
    ShadowTable(name="board_call"),
    ShadowTable(name="board_fact"),
    ShadowTable(name="board_anomaly"),
    ShadowTable(name="board_mail"),
    ShadowTable(name="board_import"),
    ShadowTable(name="board_message"),
    ShadowTable(name="board_chat"),
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
