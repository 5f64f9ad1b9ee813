"""What of this service can be replayed: its consumers, the tables that they write, and the archive itself."""

from __future__ import annotations

from contracts.directory import CustomerV1, LeadV1, StaffV1, TenantV1
from contracts.vault import MessageImportedV1
from recovery.replay.plan import Replayable, ShadowTable
from vault_importer.consumers import SUBSCRIPTIONS
from vault_importer.settings import Settings
from vault_importer.tell_again import tell_messages
from vault_importer.wiring import make_database

__all__ = ["CONSUMERS", "replays"]

#: The consumer groups, each with what it subscribes to.
CONSUMERS = {"vault-importer": SUBSCRIPTIONS}

#: Everything that the handlers write, in the order in which rows may come.
TABLES = (
    ShadowTable(name="tenant_profile", made_from=(TenantV1.topic(),)),
    # Whether the links were made of a row already is no part of what it says.
    ShadowTable(name="party", ignore=("due",), made_from=(CustomerV1.topic(), LeadV1.topic())),
    ShadowTable(name="staff", ignore=("due",), made_from=(StaffV1.topic(),)),
)


def replays() -> Replayable:
    """For ``trunkline replay``, with the settings of the environment."""
    settings = Settings.load()
    return Replayable.of(
        settings,
        database=lambda: make_database(settings),
        consumers=CONSUMERS,
        shadow_tables=TABLES,
        reemitters={MessageImportedV1: tell_messages},
    )
