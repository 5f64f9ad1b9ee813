"""What this service counts."""

from __future__ import annotations

from kit.metrics import counter

__all__ = ["IMPORTS", "MESSAGES"]

#: Imports by how they ended: unchanged, completed, failed.
IMPORTS = counter("trunkline_vault_imports", "1", "Imports by outcome", ["outcome"])
#: Messages written, new or changed.
MESSAGES = counter("trunkline_vault_messages", "1", "Messages written by imports", ["change"])

# A series that begins at one hides its first increase from every rate.
for _outcome in ("unchanged", "completed", "failed"):
    IMPORTS.labels(_outcome)
for _change in ("new", "changed"):
    MESSAGES.labels(_change)
