"""What of this service can be replayed: its consumers, the tables that they write, and the facts themselves."""

from __future__ import annotations

from brain_distiller.consumers import DIRECTORY, MESSAGES
from brain_distiller.settings import Settings
from brain_distiller.tell_again import tell_facts
from brain_distiller.wiring import database_of
from contracts.directory import CustomerV1
from contracts.facts import FactExtractedV1
from recovery.replay.plan import Replayable, ShadowTable

__all__ = ["CONSUMERS", "replays"]

#: The consumer groups, each with what it subscribes to.
CONSUMERS = {"brain-distiller": MESSAGES, "brain-distiller.directory": DIRECTORY}

#: Everything that the handlers write, in the order in which rows may come.
TABLES = (
    ShadowTable(name="customer", made_from=(CustomerV1.topic(),)),
    ShadowTable(name="customer_number", made_from=(CustomerV1.topic(),)),
    ShadowTable(name="source"),
    ShadowTable(name="fact"),
    ShadowTable(name="fact_version"),
    ShadowTable(name="evidence"),
)


def replays() -> Replayable:
    """For ``trunkline replay``, with the settings of the environment."""
    settings = Settings.load()
    return Replayable.of(
        settings,
        database=lambda: database_of(settings),
        consumers=CONSUMERS,
        shadow_tables=TABLES,
        reemitters={FactExtractedV1: tell_facts},
    )
