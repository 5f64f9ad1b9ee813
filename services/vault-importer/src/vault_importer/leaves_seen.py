"""Checks that leaves and archive are of one another: nothing is in it that no leaf speaks of, no leaf is there twice,
and no more is gone than the erasures on record tell.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Collection
from uuid import UUID

from kit.postgres import Transaction
from vault_importer.leaves import ID_BYTES, LeafKind
from vault_importer.leaves_beside import BESIDE
from vault_importer.ledger_beside import counts_beside, first_beside
from vault_importer.ledger_faults import Found, where_of
from vault_importer.ledger_store import Q, archive_counts, first_wording_beside, leaf_keys

__all__ = ["LeavesSeen", "check_leaves_seen"]

BUCKETS = 256
BATCHES_PER_PAGE = 12


class LeavesSeen:
    """What leaves were about. Of each only eight bytes are kept, since there may be millions."""

    def __init__(self) -> None:
        self.rows: Counter[LeafKind] = Counter()
        """By kind, those whose row is in the archive."""
        self.shredded = 0
        """Those that nothing opens any more, and whose row is gone."""
        self._hashes: dict[LeafKind, list[array[int]]] = defaultdict(lambda: [array("q") for _ in range(BUCKETS)])

    def note(self, kind: LeafKind, ids: bytes, revisions: bytes) -> None:
        buckets = self._hashes[kind]
        for key in leaf_keys(ids, revisions):
            short = hash(key)
            buckets[short % BUCKETS].append(short)

    def perhaps_twice(self) -> dict[LeafKind, set[int]]:
        """Hashes that came more than once, by kind; of the same leaf, or by chance."""
        found: dict[LeafKind, set[int]] = {}
        for kind, buckets in self._hashes.items():
            for bucket in buckets:
                if len(set(bucket)) < len(bucket):
                    found.setdefault(kind, set()).update(each for each, n in Counter(bucket).items() if n > 1)
        return found


async def check_leaves_seen(tx: Transaction, seen: LeavesSeen) -> None:
    """Raises :class:`Found`. All leaves have been noted before."""
    for kind, hashes in seen.perhaps_twice().items():
        await _check_once(tx, kind, hashes)
    await _check_erased(tx, seen.shredded)
    await _check_archive(tx, seen.rows)


async def _check_once(tx: Transaction, kind: LeafKind, hashes: Collection[int]) -> None:
    """A second leaf of one row would stand for a row that has none."""
    first: dict[bytes, int] = {}
    after = 0
    while page := await tx.fetch(Q.ledger_keys, tx.tenant, after, kind, BATCHES_PER_PAGE):
        for row in page:
            after = row["first_leaf"] + 1
            for leaf, key in enumerate(leaf_keys(row["ids"], row["revisions"]), row["first_leaf"]):
                if hash(key) in hashes and (before := first.setdefault(key, leaf)) != leaf:
                    where = where_of(kind, UUID(bytes=key[:ID_BYTES]), int.from_bytes(key[ID_BYTES:], "big"))
                    raise Found("twice", where, f"Of {where} there are two leaves, {before} and {leaf}.")


async def _check_erased(tx: Transaction, shredded: int) -> None:
    """What is deleted together with what opens it looks like erased: each erasure has records that tell how much."""
    told = await tx.fetchval(Q.openings_told, tx.tenant)
    if shredded > told:
        raise Found(
            "untold",
            f"{shredded - told} leaves",
            f"{shredded:,} leaves have lost what opens them and what they were about; the erasures on record tell of"
            f" {told:,}.",
        )


async def _check_archive(tx: Transaction, seen: Counter[LeafKind]) -> None:
    """Nothing is in the archive that no leaf speaks of."""
    counts, beside = await archive_counts(tx), await counts_beside(tx)
    if counts.wordings > seen["message"]:
        found = await first_wording_beside(tx)
        where = f"message {found[0]} revision {found[1]}" if found else "a message"
        raise Found("unrecorded", where, f"{where.capitalize()} is in the archive, and no leaf speaks of it.")
    if counts.imports > seen["import"]:
        raise Found("unrecorded", "import", "The archive holds imports that no leaf speaks of.")
    if counts.audit > seen["audit"]:
        raise Found("unrecorded", "audit log", "The audit log holds records that no leaf speaks of.")
    for kind in BESIDE:
        if beside[kind] > seen[kind]:
            key = await first_beside(tx, kind)
            where = where_of(kind, *key) if key else f"a row of {kind}"
            raise Found("unrecorded", where, f"{where.capitalize()} is in the archive, and no leaf speaks of it.")
