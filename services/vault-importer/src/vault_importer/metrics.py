"""What this service counts."""

from __future__ import annotations

from kit.metrics import counter, gauge

__all__ = ["IMPORTED_AT", "IMPORTS", "MESSAGES", "UNANSWERED"]

#: Imports by how they ended: unchanged, completed, failed.
IMPORTS = counter("trunkline_vault_imports", "1", "Imports by outcome", ["outcome"])
#: Messages written, new or changed.
MESSAGES = counter("trunkline_vault_messages", "1", "Messages written by imports", ["change"])

#: When a backup was last taken in, as far as this process knows: also one that held nothing new.
IMPORTED_AT = gauge(
    "trunkline_vault_last_import_timestamp_seconds",
    "seconds of the epoch",
    "When the newest import ended well, since the start of the process; 0 before",
)

#: Looked at with every look at the open erasures.
UNANSWERED = gauge(
    "trunkline_erasure_unanswered_age_seconds",
    "seconds",
    "For how long the oldest erasure has waited for a receipt of every service; 0 when none waits",
)

# A series that begins at one hides its first increase from every rate.
for _outcome in ("unchanged", "completed", "failed"):
    IMPORTS.labels(_outcome)
for _change in ("new", "changed"):
    MESSAGES.labels(_change)
