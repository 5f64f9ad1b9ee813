"""What this service counts."""

from __future__ import annotations

from prometheus_client import Counter

__all__ = ["IMPORTS", "MESSAGES"]

#: Imports by how they ended: unchanged, completed, failed.
IMPORTS = Counter("trunkline_vault_imports", "Imports by outcome", ["outcome"])
#: Messages written, new or changed.
MESSAGES = Counter("trunkline_vault_messages", "Messages written by imports", ["change"])

# A series that begins at one hides its first increase from every rate.
for _outcome in ("unchanged", "completed", "failed"):
    IMPORTS.labels(_outcome)
for _change in ("new", "changed"):
    MESSAGES.labels(_change)
