"""The tree against the reference vectors of Certificate Transparency, and every proof of every small tree."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest

from vault_importer.merkle import (
    EMPTY,
    HASH_BYTES,
    Frontier,
    Node,
    append,
    assemble,
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
    needed,
    node_hash,
    node_place,
    nodes_before,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# The records of the test suite of Certificate Transparency, and the roots of the trees of the first 1 to 8 of them.
RECORDS = [
    bytes.fromhex(each)
    for each in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
}
CONSISTENCY = {
    (1, 1): (),
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
SIZES = 70


class Log:
    """A log of nodes as it is stored."""

    def __init__(self, records: Sequence[bytes], *, step: int = 1) -> None:
        self.frontiers = [EMPTY]
        self.nodes = b""
        leaves = [leaf_hash(record) for record in records]
        for at in range(0, len(leaves), step):
            frontier, nodes = append(self.frontiers[-1], leaves[at : at + step])
            self.frontiers.append(frontier)
            self.nodes += nodes

    def __getitem__(self, node: Node) -> bytes:
        at = node_place(node) * HASH_BYTES
        return self.nodes[at : at + HASH_BYTES]

    def root(self, size: int) -> bytes:
        return root_of(self.frontiers[size])

    def inclusion(self, index: int, size: int) -> list[bytes]:
        return assemble(inclusion_ranges(index, size), self.__getitem__)

    def consistency(self, old: int, new: int) -> list[bytes]:
        return assemble(consistency_ranges(old, new), self.__getitem__)


REFERENCE = Log(RECORDS)
MANY = Log([str(n).encode() for n in range(SIZES)])


def _root_by_definition(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(_root_by_definition(leaves[:split]), _root_by_definition(leaves[split:]))


def test_an_empty_tree_has_the_hash_of_nothing_as_its_root() -> None:
    assert root_of(EMPTY).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference(size: int) -> None:
    assert REFERENCE.root(size).hex() == ROOTS[size - 1]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_proofs_of_inclusion_are_those_of_the_reference(index: int, size: int) -> None:
    assert tuple(each.hex() for each in REFERENCE.inclusion(index, size)) == INCLUSION[index, size]


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_proofs_of_consistency_are_those_of_the_reference(old: int, new: int) -> None:
    assert tuple(each.hex() for each in REFERENCE.consistency(old, new)) == CONSISTENCY[old, new]


def test_every_root_is_that_of_the_definition() -> None:
    leaves = [leaf_hash(str(n).encode()) for n in range(SIZES)]
    assert [MANY.root(size) for size in range(SIZES + 1)] == [
        _root_by_definition(leaves[:size]) for size in range(SIZES + 1)
    ]


@pytest.mark.parametrize("step", [2, 3, 7, 64, SIZES])
def test_leaves_appended_together_make_the_tree_of_leaves_appended_one_by_one(step: int) -> None:
    together = Log([str(n).encode() for n in range(SIZES)], step=step)
    assert together.nodes == MANY.nodes
    assert together.frontiers[-1] == MANY.frontiers[-1]
    assert len(MANY.nodes) == nodes_before(SIZES) * HASH_BYTES


def test_every_leaf_of_every_tree_is_proven_and_no_other_one() -> None:
    for size in range(1, SIZES + 1):
        root = MANY.root(size)
        for index in range(size):
            leaf, proof = leaf_hash(str(index).encode()), MANY.inclusion(index, size)
            assert verify_inclusion(leaf, index, size, proof, root)
            assert not verify_inclusion(leaf_hash(b"another"), index, size, proof, root)
            assert not verify_inclusion(leaf, index, size, [*proof, root], root)
            assert not verify_inclusion(leaf, index, size, proof, leaf_hash(root))
            if proof:
                assert not verify_inclusion(leaf, index, size, proof[:-1], root)
                assert not verify_inclusion(leaf, index ^ 1, size, proof, root)
                assert not verify_inclusion(leaf, index, size, [leaf_hash(proof[0]), *proof[1:]], root)


def test_every_tree_is_proven_to_continue_every_smaller_one_and_no_other() -> None:
    for new in range(SIZES + 1):
        for old in range(new + 1):
            proof = MANY.consistency(old, new)
            old_root, new_root = MANY.root(old), MANY.root(new)
            assert verify_consistency(old, new, old_root, new_root, proof)
            assert not verify_consistency(old, new, leaf_hash(old_root), new_root, proof)
            assert not verify_consistency(old, new, old_root, new_root, [*proof, new_root])
            if old:
                assert not verify_consistency(old, new, old_root, leaf_hash(new_root), proof)
            if proof:
                assert not verify_consistency(old, new, old_root, new_root, proof[:-1])
                assert not verify_consistency(old, new, old_root, new_root, [leaf_hash(proof[0]), *proof[1:]])


def test_a_proof_that_asks_for_the_impossible_proves_nothing() -> None:
    root = MANY.root(5)
    assert not verify_inclusion(leaf_hash(b"0"), 5, 5, [], root)
    assert not verify_inclusion(leaf_hash(b"0"), -1, 5, [], root)
    assert not verify_consistency(6, 5, root, root, [])
    assert not verify_consistency(4, 5, MANY.root(4), root, [])
    assert not verify_consistency(0, 5, MANY.root(1), root, [])
    with pytest.raises(ValueError, match="no such leaf"):
        inclusion_ranges(5, 5)
    with pytest.raises(ValueError, match="smaller"):
        consistency_ranges(6, 5)


def test_a_proof_reads_a_handful_of_nodes_of_a_large_tree() -> None:
    size = 334_246
    assert max(len(needed(inclusion_ranges(index, size))) for index in (0, 1, size // 2, size - 1)) <= 30
    assert len(inclusion_ranges(0, size)) == 19
    assert len(needed(consistency_ranges(100_000, size))) <= 40
    assert Frontier(size, ()) != EMPTY
