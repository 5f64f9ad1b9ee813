"""What can be wrong with a ledger, by the check that finds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from vault_importer.leaves import LeafKind

__all__ = ["Check", "Fault", "Found", "where_of"]

Check = Literal[
    "missing_checkpoint",  # a checkpoint's number is not the next one
    "note",  # a checkpoint or a cosignature cannot be read, or is another log's
    "signature",  # not signed with the key that is known
    "handover",  # it names another key, and not both have signed it, or the other one was the log's before
    "time",  # earlier than the one before, in the future, or not as signed
    "consistency",  # the stored proof does not lead from one checkpoint to the next
    "cosignature",  # a witness that is known did not sign this
    "timestamp",  # an authority's token is not of this checkpoint, or from before it
    "gap",  # leaves are missing in between
    "leaf",  # a record is not what its leaf was made of
    "tree",  # a stored node is not what the leaves make
    "row",  # what a leaf was made of is not in the archive any more
    "commitment",  # what is in the archive is not what was committed to
    "shredded",  # it is in the archive, but what opens its commitment was destroyed
    "root",  # the leaves do not make the root that was signed
    "tail",  # a checkpoint speaks of leaves that are not there
    "fork",  # a checkpoint that was noted elsewhere is not of this history
    "twice",  # two leaves speak of the same
    "untold",  # more was erased than the erasures on record tell
    "unrecorded",  # it is in the archive and no leaf speaks of it
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    check: Check
    where: str
    sentence: str


class Found(Exception):
    """Ends a verification: the first fault."""

    def __init__(self, check: Check, where: str, sentence: str) -> None:
        super().__init__(sentence)
        self.fault = Fault(check=check, where=where, sentence=sentence)


def where_of(kind: LeafKind, id_: UUID, revision: int) -> str:
    """What a leaf is about, in words."""
    names: dict[LeafKind, str] = {
        "message": f"message {id_} revision {revision}",
        "import": f"import {id_}",
        "audit": f"audit record {id_.int}",
        "media": f"the file of message {id_}",
        "reaction": f"reaction {revision} to message {id_}",
        "vote": f"vote {revision} on message {id_}",
        "identity": f"identity {id_.int}",
    }
    return names[kind]
