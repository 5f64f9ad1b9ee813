"""Accounts for tables that say who is who: their rows become people, chats, pairs of identities, or nothing. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vault_importer.formats.base import LookedUp

__all__ = ["Outcome", "Outcomes", "accounted"]

Outcome = Literal["new", "changed", "unchanged"]


@dataclass(kw_only=True)
class Outcomes:
    """What an import did with the people and chats it saw, by their address, and with pairs of identities."""

    addresses: dict[str, Outcome] = field(default_factory=dict)
    pairs: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    erased: frozenset[str] = frozenset()
    """Addresses of people who must not come back."""

    def note(self, seen: Iterable[str], written: Mapping[str, bool]) -> None:
        """``written`` says of each address that was written whether it is new."""
        for address in seen:
            is_new = written.get(address)
            self.addresses[address] = "unchanged" if is_new is None else "new" if is_new else "changed"


def accounted(rows: Iterable[LookedUp], outcomes: Outcomes) -> dict[str, dict[str, Any]]:
    """For each table the rows seen, new, changed, unchanged, and skipped with the reason. Of several rows of one
    address the first counts."""
    counts: dict[str, Counter[str]] = {}
    skipped: dict[str, Counter[str]] = {}
    met: set[tuple[str, str, str]] = set()
    for row in rows:
        table = counts.setdefault(row.table, Counter())
        reason = row.reason
        outcome: Outcome | None = None
        if not reason:
            known = outcomes.pairs.get((row.address, row.other)) if row.other else outcomes.addresses.get(row.address)
            key = (row.table, row.address, row.other)
            if known is None:
                reason = "erased" if outcomes.erased & {row.address, row.other} else "nothing_names_it"
            elif key in met:
                reason = "same_address"
            else:
                met.add(key)
                outcome = known
        table["seen"] += 1
        if outcome is None:
            skipped.setdefault(row.table, Counter())[reason] += 1
        else:
            table[outcome] += 1
    return {
        name: {
            "seen": table["seen"],
            "new": table["new"],
            "changed": table["changed"],
            "unchanged": table["unchanged"],
            "skipped": dict(skipped.get(name, {})),
        }
        for name, table in counts.items()
    }
