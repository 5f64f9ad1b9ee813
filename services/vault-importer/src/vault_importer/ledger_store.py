"""The ledger in Postgres: leaves are appended, with the nodes that they complete, and read for proofs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from kit.postgres import Transaction, load_queries
from vault_importer.archive import Staged
from vault_importer.leaves import (
    ID_BYTES,
    REVISION_BYTES,
    LeafKind,
    Leaves,
    Wording,
    audit_content,
    canonical,
    leaves_of_wordings,
    single_leaf,
)
from vault_importer.merkle import (
    EMPTY,
    HASH_BYTES,
    Frontier,
    Node,
    append,
    assemble,
    consistency_ranges,
    needed,
    node_place,
    nodes_before,
)
from vault_importer.store import ImportRun, import_run

__all__ = [
    "ArchiveCounts",
    "Batch",
    "Q",
    "Record",
    "append_audit_leaf",
    "append_import_leaf",
    "append_leaves",
    "append_wordings",
    "archive_counts",
    "audit_beside",
    "audit_hashes",
    "consistency_proof",
    "ended_imports",
    "find_leaves",
    "first_wording_beside",
    "import_content",
    "imports_beside",
    "keys_in_ledger",
    "leaf_keys",
    "leaves_about",
    "leaves_of_imports",
    "leaves_of_messages",
    "ledger_head",
    "ledger_page",
    "lock_ledger",
    "read_nodes",
    "read_only",
    "records_of",
    "wording_imports",
    "wording_keys",
    "wordings_of",
]

BATCHES_PER_PAGE = 12
KEYS_PER_PAGE = 5_000

Q = load_queries("vault_importer", "ledger.sql")


async def lock_ledger(tx: Transaction) -> Frontier:
    """The tree, held until the transaction ends: nobody else appends meanwhile."""
    await tx.execute(Q.lock_ledger, str(tx.tenant))
    return await ledger_head(tx)


async def ledger_head(tx: Transaction) -> Frontier:
    head = await tx.fetchrow(Q.ledger_head, tx.tenant)
    if head is None:
        return EMPTY
    peaks = head["peaks"]
    return Frontier(head["size"], tuple(peaks[at : at + HASH_BYTES] for at in range(0, len(peaks), HASH_BYTES)))


async def append_leaves(tx: Transaction, leaves: Leaves, *, at: datetime) -> None:
    """Append to the tenant's tree. The last thing a transaction does, after the audit log: it holds the tree."""
    before = await lock_ledger(tx)
    after, nodes = append(before, leaves.hashes)
    await tx.execute(
        Q.add_ledger_batch,
        tx.tenant,
        before.size,
        len(leaves.hashes),
        nodes_before(before.size),
        leaves.kind,
        leaves.import_id,
        leaves.ids,
        leaves.revisions,
        leaves.commitments,
        nodes,
        b"".join(after.peaks),
        at,
        leaves.openings,
    )


async def append_wordings(
    tx: Transaction, staged: Sequence[Staged], written: Mapping[UUID, int], *, import_id: UUID, at: datetime
) -> None:
    """A leaf for each message that a chunk wrote; ``written`` is the revision by id."""
    wordings = [
        Wording(
            row.id, 1, row.chat_id, row.from_me, row.key_id, row.sender_id, row.sent_at, row.kind, row.raw_kind,
            row.text, row.revoked, row.edited_at, row.details,
        )
        for row in staged
        if written.get(row.id) == 1
    ]  # fmt: skip
    changed = [id_ for id_, revision in written.items() if revision > 1]
    if changed:
        # A change takes over a part of the staged message only; what is committed to is what stands there now.
        wordings += [Wording(*row.values()) for row in await tx.fetch(Q.current_wordings, tx.tenant, changed)]
    if wordings:
        await append_leaves(tx, leaves_of_wordings(wordings, import_id=import_id), at=at)


async def append_audit_leaf(tx: Transaction, sequence: int, record_hash: bytes, *, at: datetime) -> None:
    await append_leaves(tx, single_leaf("audit", UUID(int=sequence), audit_content(record_hash)), at=at)


async def append_import_leaf(tx: Transaction, run: ImportRun, *, at: datetime) -> None:
    """A leaf for an import that has ended: its file's hash, what it took, changed and skipped, and why."""
    await append_leaves(tx, single_leaf("import", run.id, import_content(run)), at=at)


def import_content(run: ImportRun) -> bytes:
    """What the commitment to an import is made of: every field, times in UTC."""
    values = {name: getattr(run, name) for name in ImportRun.__dataclass_fields__ if name != "id"}
    return canonical({name: _plain(value) for name, value in values.items()})


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return str(value) if isinstance(value, UUID) else value


async def read_nodes(tx: Transaction, nodes: Iterable[Node]) -> dict[Node, bytes]:
    """Stored nodes, for a proof."""
    places = {node_place(node): node for node in nodes}
    leaves = [((index + 1) << level) - 1 for level, index in places.values()]
    rows = await tx.fetch(Q.ledger_nodes, tx.tenant, leaves, list(places))
    return {places[row["place"]]: row["hash"] for row in rows}


async def consistency_proof(tx: Transaction, old: int, new: int) -> list[bytes]:
    """That the tree of ``new`` leaves continues that of ``old``. Raises :class:`ValueError` when it is smaller."""
    ranges = consistency_ranges(old, new)
    return assemble(ranges, await read_nodes(tx, needed(ranges)))


# Reading the ledger and what it speaks of -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Leaves that entered together, as they are stored."""

    first_leaf: int
    first_node: int
    kind: LeafKind
    import_id: UUID | None
    ids: bytes
    revisions: bytes
    commitments: bytes
    nodes: bytes
    peaks: bytes
    openings: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveCounts:
    """What leaves should speak of."""

    wordings: int
    imports: int
    audit: int


async def read_only(tx: Transaction) -> None:
    """One picture of everything, however long it takes to look at. The first thing of a transaction."""
    await tx.execute(Q.read_only)


async def ledger_page(tx: Transaction, first_leaf: int) -> list[Batch]:
    """Batches from a leaf on, at most about ten megabytes of them."""
    return [Batch(**dict(row)) for row in await tx.fetch(Q.ledger_page, tx.tenant, first_leaf, BATCHES_PER_PAGE)]


async def wordings_of(tx: Transaction, message_ids: Sequence[UUID]) -> list[Wording]:
    """All that these messages say and said."""
    return [Wording(*row.values()) for row in await tx.fetch(Q.all_wordings, tx.tenant, message_ids)]


async def ended_imports(tx: Transaction, ids: Sequence[UUID]) -> list[ImportRun]:
    return [import_run(row) for row in await tx.fetch(Q.ledger_imports, tx.tenant, ids)]


async def audit_hashes(tx: Transaction, sequences: Sequence[int]) -> dict[int, bytes]:
    rows = await tx.fetch(Q.ledger_audit_hashes, tx.tenant, sequences)
    return {row["sequence"]: row["hash"] for row in rows}


async def archive_counts(tx: Transaction) -> ArchiveCounts:
    row = await tx.fetchrow(Q.archive_counts, tx.tenant)
    return ArchiveCounts(**dict(row or {}))


async def first_wording_beside(tx: Transaction) -> tuple[UUID, int] | None:
    """The first wording in the archive that no leaf speaks of. Holds every key at once: only when there is one."""
    known = await keys_in_ledger(tx, "message")
    after = (UUID(int=0), 0)
    while keys := await wording_keys(tx, after):
        for message_id, revision in keys:
            if message_id.bytes + revision.to_bytes(REVISION_BYTES, "big") not in known:
                return message_id, revision
        after = keys[-1]
    return None


async def keys_in_ledger(tx: Transaction, kind: LeafKind) -> set[bytes]:
    """Of what there are leaves, all of a kind."""
    known: set[bytes] = set()
    first = 0
    while page := await tx.fetch(Q.ledger_keys, tx.tenant, first, kind, BATCHES_PER_PAGE):
        for row in page:
            first = row["first_leaf"] + 1
            known.update(leaf_keys(row["ids"], row["revisions"]))
    return known


async def wording_keys(tx: Transaction, after: tuple[UUID, int]) -> list[tuple[UUID, int]]:
    """A page of the id and revision of every wording in the archive."""
    rows = await tx.fetch(Q.page_of_wording_keys, tx.tenant, *after, KEYS_PER_PAGE)
    return [(row["message_id"], row["revision"]) for row in rows]


async def wording_imports(tx: Transaction, message_ids: Sequence[UUID]) -> dict[tuple[UUID, int], UUID]:
    """Which import brought each wording of some messages."""
    rows = await tx.fetch(Q.wording_imports, tx.tenant, message_ids)
    return {(row["message_id"], row["revision"]): row["import_id"] for row in rows}


async def imports_beside(tx: Transaction) -> list[ImportRun]:
    """Imports that have ended and have no leaf."""
    return [import_run(row) for row in await tx.fetch(Q.imports_beside, tx.tenant)]


async def audit_beside(tx: Transaction) -> dict[int, bytes]:
    """Hashes of audit records that have no leaf, by sequence."""
    return {row["sequence"]: row["hash"] for row in await tx.fetch(Q.audit_beside, tx.tenant)}


def leaf_keys(ids: bytes, revisions: bytes) -> list[bytes]:
    """The id and revision of each leaf of a pack, side by side."""
    return [
        ids[n * ID_BYTES : (n + 1) * ID_BYTES] + revisions[n * REVISION_BYTES : (n + 1) * REVISION_BYTES]
        for n in range(len(ids) // ID_BYTES)
    ]


# Single leaves --------------------------------------------------------------------------------------------------


async def leaves_of_messages(tx: Transaction, message_ids: Sequence[UUID]) -> dict[tuple[UUID, int], int]:
    """Where the leaves of all wordings of these messages are, by id and revision."""
    return await find_leaves(tx, "message", await wording_imports(tx, message_ids))


async def find_leaves(
    tx: Transaction, kind: LeafKind, imports: Mapping[tuple[UUID, int], UUID]
) -> dict[tuple[UUID, int], int]:
    """Where the leaves of some ids and revisions are, given which import brought each."""
    wanted = {id_.bytes + revision.to_bytes(REVISION_BYTES, "big"): (id_, revision) for id_, revision in imports}
    found: dict[tuple[UUID, int], int] = {}
    for pack in await tx.fetch(Q.packs_of_kind, tx.tenant, list(set(imports.values())), kind):
        for index, packed in enumerate(leaf_keys(pack["ids"], pack["revisions"]), pack["first_leaf"]):
            key = wanted.get(packed)
            if key is not None:
                found[key] = index
    return found


async def leaves_of_imports(tx: Transaction, import_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Where the leaves of these imports' manifests are."""
    rows = await tx.fetch(Q.packs_of_imports, tx.tenant, [id_.bytes for id_ in import_ids])
    return {UUID(bytes=row["ids"]): row["first_leaf"] for row in rows}


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    leaf: int
    commitment: bytes
    opening: bytes
    import_id: UUID | None


async def records_of(tx: Transaction, leaves: Sequence[int]) -> dict[int, Record]:
    """Commitments of leaves, and what opens them; empty where it was destroyed with its whole pack."""
    return {row["leaf"]: Record(**dict(row)) for row in await tx.fetch(Q.records_of_leaves, tx.tenant, leaves)}


async def leaves_about(tx: Transaction, message_ids: Sequence[UUID]) -> dict[UUID, list[int]]:
    """Where the leaves of these messages are: of all wordings of them, their files, and what people made of them by
    reactions and votes. Asked before they are erased: afterwards nobody knows."""
    found: dict[UUID, list[int]] = {id_: [] for id_ in message_ids}
    for (message_id, _), leaf in (await leaves_of_messages(tx, message_ids)).items():
        found[message_id].append(leaf)
    beside: dict[LeafKind, dict[tuple[UUID, int], UUID]] = defaultdict(dict)
    for kind, message_id, number, import_id in await tx.fetch(Q.keys_beside_messages, tx.tenant, list(message_ids)):
        beside[kind][message_id, number] = import_id
    for of_kind, imports in beside.items():
        for (message_id, _), leaf in (await find_leaves(tx, of_kind, imports)).items():
            found[message_id].append(leaf)
    return {id_: sorted(leaves) for id_, leaves in found.items()}
