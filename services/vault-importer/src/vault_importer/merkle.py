"""The tree of RFC 9162 (Certificate Transparency): roots, and proofs that a leaf is in it or that it only grew. Pure.

Nodes are numbered in the order in which appending leaves completes them: a leaf, then every perfect subtree that it
fills. A log of nodes in that order is only ever appended to, and holds whatever a root or a proof of any size needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import sha256

__all__ = [
    "EMPTY", "HASH_BYTES", "Frontier", "Node", "append", "assemble", "consistency_ranges", "inclusion_ranges",
    "leaf_hash", "needed", "node_hash", "node_place", "nodes_before", "root_of", "verify_consistency",
    "verify_inclusion",
]  # fmt: skip

HASH_BYTES = 32

Node = tuple[int, int]
"""A perfect subtree: its level (0 is a leaf) and its place among those of that level."""
Range = tuple[int, int]
"""Leaves from one up to, not including, another."""


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that appending needs of a tree: how many leaves it has, and its perfect subtrees, the largest first."""

    size: int
    peaks: tuple[bytes, ...]


EMPTY = Frontier(0, ())


def leaf_hash(record: bytes) -> bytes:
    return sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def append(frontier: Frontier, leaves: Iterable[bytes]) -> tuple[Frontier, bytes]:
    """The tree with these leaf hashes, and the nodes that they complete, in the order of the log of nodes."""
    size, peaks = frontier.size, list(frontier.peaks)
    nodes: list[bytes] = []
    for leaf in leaves:
        node, below = leaf, size
        nodes.append(node)
        while below & 1:
            node = sha256(b"\x01" + peaks.pop() + node).digest()
            nodes.append(node)
            below >>= 1
        peaks.append(node)
        size += 1
    return Frontier(size, tuple(peaks)), b"".join(nodes)


def root_of(frontier: Frontier) -> bytes:
    if not frontier.peaks:
        return sha256().digest()
    return _joined(frontier.peaks)


def _joined(perfect: Sequence[bytes]) -> bytes:
    """The subtree of perfect ones side by side, the largest first."""
    return reduce(lambda right, left: node_hash(left, right), reversed(perfect[:-1]), perfect[-1])


def nodes_before(size: int) -> int:
    """How long the log of nodes of a tree of this size is."""
    return 2 * size - size.bit_count()


def node_place(node: Node) -> int:
    """Where a node is in the log of nodes: behind its last leaf, as many as its level."""
    level, index = node
    return nodes_before(((index + 1) << level) - 1) + level


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The subtrees that prove a leaf in a tree of a size, the nearest to the leaf first (RFC 9162, 2.1.3)."""
    if not 0 <= index < size:
        raise ValueError("a tree has no such leaf")
    ranges: list[Range] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """The subtrees that prove a tree to continue a smaller one (RFC 9162, 2.1.4); none when that is empty or it."""
    if not 0 <= old <= new:
        raise ValueError("a tree never becomes smaller")
    if old in (0, new):
        return []
    ranges: list[Range] = []
    low, high = 0, new
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    if low:
        ranges.append((low, high))
    return ranges[::-1]


def _split(size: int) -> int:
    """The largest power of two below a size."""
    return 1 << ((size - 1).bit_length() - 1)


def _perfect(leaves: Range) -> list[Node]:
    """A subtree as perfect ones side by side, the largest first."""
    low, high = leaves
    nodes: list[Node] = []
    while low < high:
        level = (high - low).bit_length() - 1
        nodes.append((level, low >> level))
        low += 1 << level
    return nodes


def needed(ranges: Iterable[Range]) -> list[Node]:
    """The stored nodes that these subtrees are made of."""
    return [node for leaves in ranges for node in _perfect(leaves)]


def assemble(ranges: Iterable[Range], stored: Mapping[Node, bytes] | Callable[[Node], bytes]) -> list[bytes]:
    """The hashes of these subtrees from stored nodes: a proof."""
    read = stored if callable(stored) else stored.__getitem__
    return [_joined([read(node) for node in _perfect(leaves)]) for leaves in ranges]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a leaf is at a place of a tree (RFC 9162, 2.1.3.2). Never raises, whatever the proof is."""
    if not 0 <= index < size:
        return False
    place, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = node_hash(sibling, node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and node == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the larger tree continues the smaller one (RFC 9162, 2.1.4.2). Never raises, whatever the proof is."""
    if not 0 <= old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == root_of(EMPTY)
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    of_old = of_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            of_old, of_new = node_hash(sibling, of_old), node_hash(sibling, of_new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            of_new = node_hash(of_new, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and of_old == old_root and of_new == new_root
